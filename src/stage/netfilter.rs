//! Netfilter: firewall rules at five hooks of the path.

use crate::counters;
use crate::model::{
    Drop, Example, Finding, Knob, Observed, Reason, Risk, Rule, Scope, Severity, Stage, Threshold, Unit,
};
use crate::source::groups::{SYNPROXY, XFRM};
use crate::stage::conntrack;
use crate::stage::tcp_in::NETNS;

counters! {
    /// SYNs that the SYN proxy answered for a server behind it. net/netfilter/nf_synproxy_core.c.
    SYN_RECEIVED = SYNPROXY.total("syn_received", Unit::Packets);
    /// ACKs with a wrong cookie that the SYN proxy dropped. net/netfilter/nf_synproxy_core.c.
    COOKIE_INVALID = SYNPROXY.total("cookie_invalid", Unit::Packets);
    /// ACKs with a right cookie: connections that the SYN proxy passed on. net/netfilter/nf_synproxy_core.c.
    COOKIE_VALID = SYNPROXY.total("cookie_valid", Unit::Packets);
    /// SYNs that the SYN proxy sent again to a server. net/netfilter/nf_synproxy_core.c.
    COOKIE_RETRANS = SYNPROXY.total("cookie_retrans", Unit::Packets);
    /// Packets that IPsec dropped for other reasons. net/xfrm/xfrm_input.c xfrm_input().
    XFRM_IN_ERROR = XFRM.total("XfrmInError", Unit::Packets);
    /// Packets that IPsec dropped for want of memory. net/xfrm/xfrm_input.c xfrm_input().
    XFRM_IN_BUFFER_ERROR = XFRM.total("XfrmInBufferError", Unit::Packets);
    /// Packets whose IPsec header makes no sense. net/xfrm/xfrm_input.c xfrm_input().
    XFRM_IN_HDR_ERROR = XFRM.total("XfrmInHdrError", Unit::Packets);
    /// Packets of IPsec for which there is no security association: wrong SPI, or the key has expired at one end.
    /// net/xfrm/xfrm_input.c xfrm_input().
    XFRM_IN_NO_STATES = XFRM.total("XfrmInNoStates", Unit::Packets);
    /// Packets that could not be decrypted, or were not what their sender had signed. net/xfrm/xfrm_input.c
    /// xfrm_input().
    XFRM_IN_STATE_PROTO_ERROR = XFRM.total("XfrmInStateProtoError", Unit::Packets);
    /// Packets of IPsec in another mode (tunnel, transport) than agreed. net/xfrm/xfrm_input.c xfrm_input().
    XFRM_IN_STATE_MODE_ERROR = XFRM.total("XfrmInStateModeError", Unit::Packets);
    /// Packets of IPsec that came twice or far too late: the replay window is too small for how they are reordered,
    /// or it is an attack. net/xfrm/xfrm_input.c xfrm_input().
    XFRM_IN_STATE_SEQ_ERROR = XFRM.total("XfrmInStateSeqError", Unit::Packets);
    /// Packets of an IPsec security association that has expired. net/xfrm/xfrm_input.c xfrm_input().
    XFRM_IN_STATE_EXPIRED = XFRM.total("XfrmInStateExpired", Unit::Packets);
    /// Packets of IPsec whose encapsulation does not fit the association. net/xfrm/xfrm_input.c xfrm_input().
    XFRM_IN_STATE_MISMATCH = XFRM.total("XfrmInStateMismatch", Unit::Packets);
    /// Packets of an IPsec security association that is not valid yet, or any more. net/xfrm/xfrm_input.c
    /// xfrm_input().
    XFRM_IN_STATE_INVALID = XFRM.total("XfrmInStateInvalid", Unit::Packets);
    /// Packets that are not protected as the policy wants. net/xfrm/xfrm_policy.c __xfrm_policy_check().
    XFRM_IN_TMPL_MISMATCH = XFRM.total("XfrmInTmplMismatch", Unit::Packets);
    /// Packets that came protected, for which there is no policy. net/xfrm/xfrm_policy.c __xfrm_policy_check().
    XFRM_IN_NO_POLS = XFRM.total("XfrmInNoPols", Unit::Packets);
    /// Packets that an IPsec policy forbids. net/xfrm/xfrm_policy.c __xfrm_policy_check().
    XFRM_IN_POL_BLOCK = XFRM.total("XfrmInPolBlock", Unit::Packets);
    /// Packets for which the IPsec policy could not be looked up. net/xfrm/xfrm_policy.c __xfrm_policy_check().
    XFRM_IN_POL_ERROR = XFRM.total("XfrmInPolError", Unit::Packets);
    /// Packets on their way through this host that no IPsec policy lets pass. net/xfrm/xfrm_policy.c
    /// __xfrm_route_forward().
    XFRM_FWD_HDR_ERROR = XFRM.total("XfrmFwdHdrError", Unit::Packets);
}

static DROPS: Rule = Rule {
    id: "firewall-drops",
    title: "A firewall rule or policy drops received packets",
    explain: "Rules of nftables and iptables drop packets that no counter of IP, UDP or TCP knows of; only the rules' own \
              counters do, and the drop probe. Scans from the internet are dropped all day, and rightly. It is a fault if \
              somebody misses these packets: a rule that matches too much, or a policy of drop without a rule for a new \
              service. What connection tracking drops because its table is full is told by conntrack-table-full.",
    triggers: &[],
    seen: &[NETFILTER_DROP],
    knobs: &[],
    thresholds: &[
        Threshold {
            key: "warning_percent",
            default: 1.0,
            help: "share of the packets taken in that is dropped, in %; own",
        },
        Threshold {
            key: "warning_per_second",
            default: 10.0,
            help: "packets/s dropped below which it is a remark; own",
        },
    ],
    fires: dropped,
    examples: &[
        Example { what: "a port scan: 3 of 10,000 packets", severity: Some(Severity::Info), observed: || filtered(3) },
        Example {
            what: "500 of 10,000 packets dropped",
            severity: Some(Severity::Warning),
            observed: || filtered(500),
        },
        Example {
            what: "connection tracking dropped them: its table is full",
            severity: None,
            observed: || filtered(500).with(&conntrack::DROP, 500),
        },
    ],
};

fn filtered(packets: u64) -> Observed {
    Observed::quiet().with(&super::ip_in::IN_RECEIVES, 10_000).with_drops(Drop::example(NETFILTER_DROP, packets))
}

const NETFILTER_DROP: &str = "NETFILTER_DROP";

fn dropped(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let lost = seen.dropped(NETFILTER_DROP).saturating_sub(seen.delta(&conntrack::DROP));
    if lost == 0 {
        return Vec::new();
    }
    let (percent, rate) = (seen.threshold(rule, "warning_percent"), seen.threshold(rule, "warning_per_second"));
    let taken = seen.delta_of(&[&super::ip_in::IN_RECEIVES, &super::ip_in::IN6_RECEIVES]);
    let many = lost as f64 * 100.0 > percent * taken as f64 && seen.rate(lost).is_some_and(|lost| lost > rate);
    let severity = if many { Severity::Warning } else { Severity::Info };
    let rules: Vec<String> = seen.drops_for(NETFILTER_DROP).flat_map(Drop::refusers).map(|(rule, ..)| rule).collect();
    let places: Vec<String> = seen.drops_for(NETFILTER_DROP).map(Drop::place).collect();
    let mut named = if rules.is_empty() { places } else { rules };
    named.sort();
    named.dedup();
    let why = format!("refused by {}; 'netstat-deep drops --by flow' shows from where to where", named.join(", "));
    let mut finding = Finding::new(rule, severity, Scope::Netns, lost, why);
    finding.evidence.push(seen.probe_evidence(NETFILTER_DROP, lost, Some(rate)));
    finding.no_setting_helps = Some(
        "whoever made the rule can change it: 'nft list ruleset' shows the rules, and the counters of those that have \
         one"
        .into(),
    );
    vec![finding]
}

static REASONS: &[Reason] = &[
    Reason::harmful(
        NETFILTER_DROP,
        "A firewall rule or policy dropped the packet (nftables, iptables, or their connection tracking). Normal if \
         the rule is meant. 'drops' names the rule: it looks on as the kernel decides where that lets it ('doctor' \
         says so), else by the rule's counter ('counter drop'), which costs next to nothing.",
    )
    .missing_at("ip_in")
    .missing_on_send("ip_out")
    .in_functions(&["nf_hook_slow", "nft_do_chain", "ipt_do_table", "ip6t_do_table"]),
    Reason::harmful(
        "XFRM_POLICY",
        "An IPsec policy does not allow the packet, or its protection is missing. See /proc/net/xfrm_stat.",
    )
    .in_functions(&["xfrm4_", "xfrm6_", "xfrm_", "__xfrm_policy_check"]),
    Reason::watch(
        "SOCKET_FILTER",
        "The application's own filter on its socket (SO_ATTACH_FILTER) did not want the packet. Normal: that is what \
         it is for.",
    )
    .in_functions(&["sk_filter_trim_cap", "raw_rcv", "raw_v4_input", "raw_local_deliver"]),
    Reason::harmful(
        "SECURITY_HOOK",
        "A security module (SELinux, AppArmor, BPF LSM) refused the packet. See the audit log.",
    )
    .in_functions(&["security_sock_rcv_skb"]),
    Reason::watch("PSP_INPUT", "A packet of a PSP connection was not encrypted as it must be."),
    Reason::watch("PSP_OUTPUT", "A packet of a PSP connection could not be encrypted."),
];

static BRIDGED: Knob = Knob {
    id: "net.bridge.bridge-nf-call-iptables",
    unit: "switch",
    range: 0..=1,
    default: "1 where the module br_netfilter is loaded, else absent",
    help: "Whether packets that a bridge passes from port to port go through the firewall's IP rules as well.",
    formula: "0, unless container software asks for 1 (Kubernetes does)",
    risk: Risk::Medium,
    harm: "0: rules that are meant for bridged packets no longer see them",
    takes_effect: "at once",
    ..NETNS
};

/// Between R8 and R11.
pub static STAGE: Stage = Stage {
    id: "netfilter",
    title: "firewall",
    explain: "Rules of nftables and iptables see the packet before routing (PREROUTING), on its way to a socket (INPUT) \
              and on its way out again (FORWARD). What a rule drops is in no counter of IP, UDP or TCP: without \
              the drop probe the ledger shows it as unexplained at ip_in. 'netstat-deep drops --by rule' names the \
              rules: seen as the kernel decides (fexit), or by their own counters.",
    chapter: include_str!("chapter/netfilter.md"),
    fed_by: None,
    queues_in_sockets: false,
    counters: COUNTERS,
    reasons: REASONS,
    rules: &[&DROPS],
    knobs: &[&BRIDGED],
};
