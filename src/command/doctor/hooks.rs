//! The kernel's hooks that the program counts at.

use std::io;

use super::FoundIn;
use crate::drops::incidents;
use crate::model::Probe;
use crate::report::card::Hook;
use crate::source::probe::{attempt, verdicts};
use crate::source::tracepoint::{self, Types};

/// The one that sees every dropped packet.
pub const DROPS: &str = "skb:kfree_skb";

/// The one that sees every verdict of nftables.
pub const CHAINS: &str = "fexit:nft_do_chain";

/// Looks for each. Not every kernel has all of them; each missing one costs only what it gives.
pub fn look(types: &io::Result<Types>) -> Vec<Hook> {
    let tracepoints = attempt::tracepoints().map(|(group, name)| one(group, name, types));
    let functions = verdicts::look().into_iter().map(|(name, gives, found)| Hook {
        id: format!("fexit:{name}"),
        gives,
        found: found.is_ok().then_some(FoundIn::Btf),
        attached: None,
        reason: found.err(),
        verifier: Vec::new(),
    });
    tracepoints.chain(functions).collect()
}

fn one(group: &str, name: &'static str, types: &io::Result<Types>) -> Hook {
    let id = format!("{group}:{name}");
    let gives = if id == DROPS { "Every packet that the kernel frees as dropped." } else { incidents::meaning(name).2 };
    let in_types = types.as_ref().is_ok_and(|types| types.tracepoints.contains(name.as_bytes()));
    let (found, reason) = if in_types {
        (Some(FoundIn::Btf), None)
    } else {
        match tracepoint::in_tracefs(&format!("{group}/{name}")) {
            Ok(true) => (Some(FoundIn::Tracefs), None),
            Ok(false) => (None, Some("this kernel does not have it".into())),
            Err(_) if types.is_ok() => (None, Some("not among this kernel's types".into())),
            Err(e) => (None, Some(format!("not known: no types, and tracefs can't be read ({})", super::why(&e)))),
        }
    };
    Hook { id, gives, found, attached: None, reason, verifier: Vec::new() }
}

/// Attaches to each for a moment, and says what came of it.
pub fn attempt(hooks: &mut Vec<Hook>) {
    for Probe { name, attached, reason, verifier, .. } in attempt::all() {
        let behind = |text: &str, mark: char| text.split_once(mark).map(|(_, name)| name.to_owned());
        let Some(hook) = hooks.iter_mut().find(|hook| behind(&hook.id, ':') == behind(&name, '/')) else {
            // A function beside those that count.
            if let Some(function) = name.strip_prefix("fexit/") {
                let (id, gives) = (format!("fexit:{function}"), verdicts::gives(function));
                hooks.push(Hook { id, gives, found: Some(FoundIn::Btf), attached: Some(attached), reason, verifier });
            }
            continue;
        };
        hook.attached = Some(attached);
        // Why it is not there at all was said before.
        hook.reason = hook.reason.take().or(reason.filter(|_| !attached));
        hook.verifier = verifier;
    }
}
