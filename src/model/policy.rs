//! Who refused a packet: the layer, and in it the rule or program, as far as that is known.

use schemars::JsonSchema;
use serde::Serialize;

/// What refused the packets of a row. Where one thing is known to have refused all of them, its fields stand here.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Policy {
    /// The part of the system that refuses.
    pub layer: Layer,
    /// How that is known.
    pub by: Means,
    /// What refused all of them.
    #[serde(flatten)]
    pub refuser: Refuser,
    /// What refused how many of them, where several are known to have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<Share>,
    /// What may have refused those that no share accounts for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Refuser>,
    /// How many of the row's packets nothing is known to have refused.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unattributed: u64,
    /// What is not known, and what to do to know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A part of the system that refuses packets because somebody told it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// A rule or a chain's policy, of nftables or of iptables over nftables.
    Nftables,
    /// A rule or a chain's policy of iptables of the old kind (ip_tables).
    Iptables,
    /// Netfilter, but which part of it is not known: connection tracking too may drop.
    Netfilter,
    /// A filter or BPF program of traffic control: clsact, ingress, tcx.
    Tc,
    /// An XDP program.
    Xdp,
    /// A BPF program of a cgroup.
    CgroupBpf,
    /// A filter that the socket's own application set.
    SocketFilter,
    /// An IPsec policy.
    Xfrm,
    /// A security module.
    Lsm,
    /// The kernel's check that packets come from where answers would go.
    ReversePathFilter,
}

/// How it is known what refused a packet, the surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Means {
    /// A program of ours looked on as the kernel evaluated the chain (fexit on `nft_do_chain()`, `ipt_do_table()`).
    Fexit,
    /// Its own counter grew by as many.
    Counter,
    /// The setting is on, and nothing else gives this reason.
    Setting,
    /// It is the only one attached there at the end of the window.
    OnlyAttached,
    /// It is the only policy that can have: no other on this hook drops, and the rules' counters don't account for it.
    Elimination,
    /// The kernel's reason names the layer; in it, what could have refused is listed.
    Reason,
}

impl Means {
    /// As it stands beside what refused.
    pub fn words(self) -> &'static str {
        match self {
            Means::Fexit => "seen by fexit",
            Means::Counter => "by its counter",
            Means::Setting => "by the setting",
            Means::OnlyAttached => "the only one there",
            Means::Elimination => "by elimination",
            Means::Reason => "by the reason",
        }
    }
}

/// A rule, a chain's policy, or a program: only the fields that it has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, JsonSchema)]
pub struct Refuser {
    /// The command that looks after the table, where it is not `nft`: `iptables`, `ip6tables-legacy`...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The table's family: `ip`, `ip6`, `inet`, `arp`, `bridge`, `netdev`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// The table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// The hook that the chain stands at, or that leads to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<String>,
    /// The chain's priority on that hook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// The rule's handle in nftables; absent for a chain's policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handle: Option<u64>,
    /// The rule's place in its chain, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// What it does: `drop`, `reject`, `policy`, `verdict map`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// The comment beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// How many packets its counter counted in the window, if it has one that counts only what it refuses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted: Option<u64>,
    /// The kind of filter, for one of traffic control: `bpf`, `flower`, `u32`; and its preference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// The BPF program's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// The BPF program's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program_id: Option<u32>,
    /// The device that it is attached to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The cgroup that it is attached to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// The setting that refuses, with its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setting: Option<String>,
}

impl Refuser {
    /// Its name, as its own tool calls it: `nft inet filter input handle 7 "block telnet"`.
    pub fn label(&self, layer: Layer) -> String {
        let mut words: Vec<String> = Vec::new();
        match layer {
            Layer::Nftables | Layer::Iptables | Layer::Netfilter => {
                words.push(self.tool.clone().unwrap_or_else(|| "nft".into()));
                words.extend(self.family.clone().filter(|_| self.tool.is_none()));
                words.extend(self.table.clone());
                words.extend(self.chain.clone());
                // As the tool itself counts: 'nft delete rule' takes the handle, 'iptables -D' the number.
                words.extend(match (self.handle, self.rule) {
                    (_, Some(number)) if self.tool.is_some() => Some(format!("rule {number}")),
                    (Some(handle), _) => Some(format!("handle {handle}")),
                    _ if self.verdict.as_deref() == Some("policy") => Some("policy drop".into()),
                    _ => None,
                });
            }
            Layer::CgroupBpf => {
                words.push("cgroup".into());
                words.extend(self.cgroup.clone());
                words.extend(self.hook.clone());
            }
            Layer::ReversePathFilter => words.extend(self.setting.clone()),
            Layer::Tc | Layer::Xdp | Layer::SocketFilter | Layer::Xfrm | Layer::Lsm => {
                let filter = self.filter.as_ref();
                words.push(
                    if layer == Layer::Xdp {
                        "xdp"
                    } else if filter.is_some_and(|f| f == "tcx") {
                        "tcx"
                    } else {
                        "tc"
                    }
                    .into(),
                );
                words.extend(self.device.clone());
                words.extend(self.hook.clone());
                words.extend(filter.filter(|filter| *filter != "tcx").cloned());
            }
        }
        words.extend(self.program.clone());
        words.extend(self.program_id.map(|id| format!("(program {id})")));
        words.extend(self.comment.as_ref().map(|comment| format!("\"{comment}\"")));
        words.join(" ")
    }
}

/// A part of a row's packets.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Share {
    /// How many.
    pub count: u64,
    /// How it is known.
    pub by: Means,
    /// What refused them.
    #[serde(flatten)]
    pub refuser: Refuser,
}

impl Policy {
    /// A layer of which nothing more is known.
    pub fn of(layer: Layer, by: Means) -> Self {
        Policy {
            layer,
            by,
            refuser: Refuser::default(),
            shares: Vec::new(),
            candidates: Vec::new(),
            unattributed: 0,
            note: None,
        }
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}
