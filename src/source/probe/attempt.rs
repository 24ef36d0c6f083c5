//! Each program at its hook for a moment, to see whether the kernel takes it.

use super::drops::{DropProbe, TRACEPOINT, Wanted};
use super::hooks::{self, HookProbe, PerPacket};
use super::{Refusal, Types};
use crate::model::Probe;

/// The group of the tracepoint that every dropped packet passes.
const DROPS: &str = "skb";

/// The tracepoints that have a program of ours, each as group and name; the one of dropped packets first.
pub fn tracepoints() -> impl Iterator<Item = (&'static str, &'static str)> {
    [(DROPS, TRACEPOINT)].into_iter().chain(hooks::tracepoints())
}

/// Attaches every program and takes it away again: what each did, by the tracepoint's name behind the way that it was
/// attached, as in `tp_btf/kfree_skb`.
pub fn all() -> Vec<Probe> {
    let types = match Types::read() {
        Ok(types) => types,
        Err(refusal) => return tracepoints().map(|(_, name)| missing(name, &refusal)).collect(),
    };
    let drops = match DropProbe::attach(Wanted::default(), &types) {
        Ok(mut probe) => probe.did(true),
        Err(refusal) => missing(TRACEPOINT, &refusal),
    };
    let hooks = match HookProbe::attach(&types, PerPacket::Wanted) {
        Ok(mut probe) => probe.did(true),
        Err(refusal) => hooks::names().map(|name| missing(name, &refusal)).collect(),
    };
    [drops].into_iter().chain(hooks).collect()
}

pub(super) fn missing(tracepoint: &str, refusal: &Refusal) -> Probe {
    Probe {
        name: format!("tp_btf/{tracepoint}"),
        attached: false,
        reason: Some(refusal.what.clone()),
        hits: None,
        missed: None,
        nanoseconds_per_hit: None,
        verifier: refusal.verifier.clone(),
    }
}
