//! Connects whose SYN is not answered.

use super::{ACTIVE_OPENS, SYN_RETRANS};
use crate::model::{Example, Finding, Observed, Rule, Scope, Severity, Threshold};
use crate::stage::tcp_in::timers::SYN_RETRIES;
use crate::stage::tcp_listen::PASSIVE_OPENS;

pub static RETRANSMIT: Rule = Rule {
    id: "connects-retransmit",
    title: "Connects wait: SYNs are not answered",
    explain: "A SYN that is not answered is sent again after a second: the server is down, its accept queue is full, or a \
              firewall drops SYNs. The application waits a second at least, and with net.ipv4.tcp_syn_retries about two \
              minutes until it gets an error. The kernel counts SYN-ACKs that are sent again in the same place, so on a \
              host that accepts more connections than it opens this is a remark: it may be clients that vanished. Health \
              checks of dead servers provoke it, too.",
    triggers: &[&SYN_RETRANS],
    seen: &[],
    knobs: &[&SYN_RETRIES],
    thresholds: &[
        Threshold { key: "warning_percent", default: 5.0, help: "SYNs sent again, of connects, in %; own" },
        Threshold { key: "least", default: 3.0, help: "SYNs sent again in the window; own: below, silent" },
    ],
    fires: connects,
    examples: &[
        Example { what: "20 of 100 connects", severity: Some(Severity::Warning), observed: || syns(20, 100) },
        Example {
            what: "a server that accepts 500 and opens 100",
            severity: Some(Severity::Info),
            observed: || syns(20, 100).with(&PASSIVE_OPENS, 500),
        },
        Example { what: "2 of 10 connects: a dead backend's check", severity: None, observed: || syns(2, 10) },
        Example { what: "4 of 100 connects", severity: None, observed: || syns(4, 100) },
        Example {
            what: "a server sends SYN-ACKs again, and opens no connection",
            severity: None,
            observed: || Observed::quiet().with(&SYN_RETRANS, 50).with(&PASSIVE_OPENS, 500),
        },
    ],
};

fn syns(again: u64, of: u64) -> Observed {
    let seen = Observed::quiet().with(&SYN_RETRANS, again).with(&ACTIVE_OPENS, of);
    seen.with_setting("net/ipv4/tcp_syn_retries", "6")
}

fn connects(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let (again, opened, accepted) = (seen.delta(&SYN_RETRANS), seen.delta(&ACTIVE_OPENS), seen.delta(&PASSIVE_OPENS));
    let limit = seen.threshold(rule, "warning_percent");
    let percent = again as f64 * 100.0 / opened.max(1) as f64;
    if opened == 0 || (again as f64) < seen.threshold(rule, "least") || percent <= limit {
        return Vec::new();
    }
    let severity = if accepted > opened { Severity::Info } else { Severity::Warning };
    let mut why = format!("{again} SYNs were sent again, for {opened} connects that began");
    if accepted > 0 {
        why += &format!("; {accepted} connections were accepted, and SYN-ACKs sent again are in the same number");
    }
    if let Some(retries) = seen.settings.number(&SYN_RETRIES.path()) {
        why += &format!("; each is tried {retries} times more before connect() fails");
    }
    let mut finding = Finding::new(rule, severity, Scope::Netns, again, why);
    let moved = [&SYN_RETRANS, &ACTIVE_OPENS, &PASSIVE_OPENS];
    let moved = moved.into_iter().filter(|counter| seen.delta(counter) > 0);
    finding.evidence = moved.map(|counter| seen.evidence(counter, None)).collect();
    finding.no_setting_helps = Some(
        "the other side does not answer: 'ss -tn state syn-sent' shows whom. There, look for a full accept queue \
         ('netstat-deep rx') and for a firewall"
            .into(),
    );
    finding.refuse("net.ipv4.tcp_syn_retries", "fewer tries only let connect() fail sooner");
    finding.refuse("net.core.somaxconn", "it is about connections that come in here; the server's own may matter");
    vec![finding]
}
