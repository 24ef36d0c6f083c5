//! Packets that the kernel dropped, and what it cost to see them.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Harm, Means, Policy, Victim};

/// Packets dropped for one reason, at one place, from one device.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Drop {
    /// The kernel's name for the reason, without `SKB_DROP_REASON_`. `NOT_SPECIFIED` where it gives none.
    pub reason: String,
    /// Its number on this kernel: others number otherwise. Absent where only the name is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason_number: Option<u32>,
    /// The part of the kernel that names its own reasons: `core`, `mac80211`, `openvswitch`.
    pub subsystem: String,
    /// The reason that the place stands for, where the kernel names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likely: Option<String>,
    /// How much it hurts.
    pub harm: Harm,
    /// Is this drop normal?
    pub normal: String,
    /// The stage of the packet's path.
    pub stage: String,
    /// The kernel function that dropped it, and the distance in it; the bare address without permission for symbols;
    /// absent for packets of which only the reason was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The device that it came from, or was to leave by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The network namespace, as the kernel writes it: `net:[4026531840]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// The namespace's name, where `ip netns` knows one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns_name: Option<String>,
    /// The network protocol: `ipv4`, `ipv6`, `arp`, or the EtherType as a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The transport protocol: `udp`, `tcp`, `icmp`, or its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Received, or to be sent; absent where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// What refused them, if the reason is a policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// Packets dropped in the window.
    pub count: u64,
    /// The same per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    /// The sockets that lost them, the worst first: receivers where the kernel says which, senders of local packets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub victims: Vec<Victim>,
    /// From where to where they went, the largest first; only if flows were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<DropFlow>,
    /// The kernel's call stack, the innermost first; only if stacks were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<String>,
}

impl Drop {
    /// True if the kernel gives this reason, or its place stands for it.
    pub fn is_for(&self, reason: &str) -> bool {
        self.reason == reason || self.likely.as_deref() == Some(reason)
    }

    /// The device and the function, as far as they are known: `eth0, in nf_hook_slow`.
    pub fn place(&self) -> String {
        let function = self.location.as_deref().and_then(|place| place.split('+').next());
        let function = function.map(|function| format!("in {function}"));
        let parts: Vec<String> = self.device.clone().into_iter().chain(function).collect();
        if parts.is_empty() { "place unknown".into() } else { parts.join(", ") }
    }

    /// What is known to have refused its packets, how that is known, and how many each.
    pub fn refusers(&self) -> Vec<(String, Means, u64)> {
        let Some(policy) = &self.policy else { return Vec::new() };
        if policy.by != Means::Reason && policy.shares.is_empty() {
            return vec![(policy.refuser.label(policy.layer), policy.by, self.count)];
        }
        policy.shares.iter().map(|share| (share.refuser.label(policy.layer), share.by, share.count)).collect()
    }

    /// Received packets of a reason, as examples need them.
    pub fn example(reason: &str, count: u64) -> Self {
        Drop {
            reason: reason.into(),
            reason_number: Some(0),
            subsystem: "core".into(),
            likely: None,
            harm: Harm::Harmful,
            normal: String::new(),
            stage: String::new(),
            location: None,
            device: Some("eth0".into()),
            netns: None,
            netns_name: None,
            network: Some("ipv4".into()),
            protocol: Some("udp".into()),
            policy: None,
            direction: Some(Direction::In),
            count,
            per_second: None,
            victims: Vec::new(),
            flows: Vec::new(),
            stack: Vec::new(),
        }
    }
}

/// Which way a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Received.
    In,
    /// To be sent.
    Out,
}

/// Dropped packets of one sender, receiver and pair of ports.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct DropFlow {
    /// The sender's address, with its port if there is one.
    pub from: String,
    /// The receiver's.
    pub to: String,
    /// Packets dropped in the window.
    pub count: u64,
}

/// One dropped packet: a line of the stream.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct DropEvent {
    /// The version of this format.
    pub schema: &'static str,
    /// Always `drop`.
    pub kind: &'static str,
    /// When it was dropped: RFC 3339, UTC, microseconds.
    pub time: String,
    /// Its sender, with the port if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Its receiver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Its length, with its link header if it has one.
    pub length: u32,
    /// The inode of the socket that lost it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_inode: Option<u64>,
    /// Why and where; its count is 1.
    #[serde(flatten)]
    pub drop: Drop,
}

/// What all drops of a window add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DropTotals {
    /// All packets that the kernel freed as dropped.
    pub packets: u64,
    /// Those that somebody wanted.
    pub harmful: u64,
    /// Those that are worth a look.
    pub watch: u64,
    /// Those that nobody misses.
    pub harmless: u64,
    /// Those that were not seen, because the probe was running already or the drop monitor's queues were full: in
    /// `packets`, but without a reason.
    pub unseen: u64,
    /// Those of which only the reason is known, because the table was full.
    pub detail_not_kept: u64,
    /// Those whose socket is not known, because the table was full.
    pub victims_not_kept: u64,
}

impl DropTotals {
    /// Adds up these, and with them all packets.
    pub fn add(&mut self, drops: &[Drop]) {
        for drop in drops {
            *match drop.harm {
                Harm::Harmful => &mut self.harmful,
                Harm::Watch => &mut self.watch,
                Harm::Harmless => &mut self.harmless,
            } += drop.count;
        }
        self.packets = self.harmful + self.watch + self.harmless + self.unseen;
    }
}

/// Something that went wrong at one of the kernel's hooks without a packet being freed as dropped, or besides.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Incident {
    /// The kernel's tracepoint.
    pub hook: String,
    /// The stage of the packet's path.
    pub stage: String,
    /// How much it hurts.
    pub harm: Harm,
    /// What it means.
    pub normal: String,
    /// The error, reason, action or queue that the hook tells, as a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_name: Option<String>,
    /// The device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The socket's protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The network namespace, as the kernel writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// The namespace's name, where `ip netns` knows one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns_name: Option<String>,
    /// The other end, with its port if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// The socket that it happened to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub victim: Option<Victim>,
    /// How often it happened in the window.
    pub count: u64,
}

impl Incident {
    /// Something that a hook saw on a device, as examples need it.
    pub fn example(hook: &str, count: u64) -> Self {
        Incident {
            hook: hook.into(),
            stage: String::new(),
            harm: Harm::Harmful,
            normal: String::new(),
            code: None,
            code_name: None,
            device: Some("eth0".into()),
            protocol: None,
            netns: None,
            netns_name: None,
            remote: None,
            victim: None,
            count,
        }
    }
}

/// What one of our programs in the kernel did.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Probe {
    /// The hook, and how it is attached: `tp_btf/kfree_skb`.
    pub name: String,
    /// False if it could not be attached.
    pub attached: bool,
    /// Why not, or what is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How often it ran in the window; absent without permission for the kernel's statistics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hits: Option<u64>,
    /// How often it did not run because it was running already (since 5.12).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed: Option<u64>,
    /// What a run took, with the kernel's own clock readings around it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nanoseconds_per_hit: Option<f64>,
    /// The verifier's last lines, if it refused the program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verifier: Vec<String>,
}
