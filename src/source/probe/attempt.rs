//! Each program at its hook for a moment, to see whether the kernel takes it.

use super::drops::{DropProbe, TRACEPOINT, Wanted};
use super::hooks::{self, HookProbe};
use super::verdicts::VerdictProbe;
use super::{PerPacket, Refusal, Types};
use crate::model::Probe;

/// The group of the tracepoint that every dropped packet passes.
const DROPS: &str = "skb";
/// How programs are attached to tracepoints, where nothing else is said.
pub(super) const TYPED: &str = "tp_btf";

/// The tracepoints that have a program of ours, each as group and name; the one of dropped packets first.
pub fn tracepoints() -> impl Iterator<Item = (&'static str, &'static str)> {
    [(DROPS, TRACEPOINT)].into_iter().chain(hooks::tracepoints())
}

/// Attaches every program and takes it away again: what each did, by the hook's name behind the way that it was
/// attached, as in `tp_btf/kfree_skb`. Functions that nobody can call are left out.
pub fn all() -> Vec<Probe> {
    let types = match Types::read() {
        Ok(types) => types,
        Err(refusal) => return tracepoints().map(|(_, name)| missing(TYPED, name, &refusal)).collect(),
    };
    let drops = match DropProbe::attach(Wanted::default(), &types) {
        Ok(mut probe) => probe.did(true),
        Err(refusal) => missing(TYPED, TRACEPOINT, &refusal),
    };
    let hooks = match HookProbe::attach(&types, PerPacket::Wanted) {
        Ok(mut probe) => probe.did(true),
        Err(refusal) => hooks::names().map(|name| missing(TYPED, name, &refusal)).collect(),
    };
    let verdicts = VerdictProbe::attach(&types, PerPacket::Wanted).did(true);
    [drops].into_iter().chain(hooks).chain(verdicts).collect()
}

/// A hook that could not be attached to in that way.
pub(super) fn missing(way: &str, hook: &str, refusal: &Refusal) -> Probe {
    Probe {
        name: format!("{way}/{hook}"),
        attached: false,
        reason: Some(refusal.what.clone()),
        hits: None,
        missed: None,
        nanoseconds_per_hit: None,
        verifier: refusal.verifier.clone(),
    }
}
