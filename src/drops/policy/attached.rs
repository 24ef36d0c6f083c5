//! Which program dropped a packet, by what is attached where it passed. The kernel does not count what a program refuses:
//! only where a single one stands is it known.

use std::collections::HashMap;

use crate::model::{Drop, Layer, Means, Policy, Refuser};
use crate::source::bpf_programs::{self, Device, Way};

/// Candidates named, at most.
const CANDIDATES: usize = 10;

/// What is attached in a namespace, looked up when it is first asked for.
#[derive(Default)]
pub struct Attached {
    devices: Option<Vec<Device>>,
    cgroups: Option<Vec<(String, Vec<u32>)>>,
    names: Option<HashMap<u32, String>>,
}

impl Attached {
    /// Names the program, or those that it may have been.
    pub fn name(&mut self, drop: &mut Drop) -> Result<(), String> {
        let Some(mut policy) = drop.policy.take() else { return Ok(()) };
        let result = match policy.layer {
            Layer::Tc => self.tc(drop),
            Layer::Xdp => self.xdp(drop),
            Layer::CgroupBpf => self.cgroup(drop),
            Layer::SocketFilter => {
                policy.note = Some("the filter is the socket's own, or a BPF program of its cgroup".into());
                Ok(Vec::new())
            }
            Layer::Xfrm => {
                policy.note = Some("'ip xfrm policy' shows the policies, /proc/net/xfrm_stat what failed".into());
                Ok(Vec::new())
            }
            Layer::Lsm => {
                let modules = std::fs::read_to_string("/sys/kernel/security/lsm");
                policy.note = modules.ok().map(|modules| format!("security modules here: {}", modules.trim()));
                Ok(Vec::new())
            }
            _ => Ok(Vec::new()),
        };
        let outcome = result.map(|found| found.into_iter().map(|refuser| self.named(refuser)).collect());
        let result = outcome.map(|found| fill(&mut policy, found, drop.count));
        drop.policy = Some(policy);
        result
    }

    fn tc(&mut self, drop: &Drop) -> Result<Vec<Refuser>, String> {
        let way = if drop.likely.as_ref().unwrap_or(&drop.reason) == "TC_EGRESS" { Way::Out } else { Way::In };
        let Some(device) = self.device(drop)? else { return Ok(Vec::new()) };
        let (index, name) = (device.index, drop.device.clone());
        let hook = if way == Way::In { "ingress" } else { "egress" };
        let at = |filter: String| Refuser {
            hook: Some(hook.into()),
            device: name.clone(),
            filter: Some(filter),
            ..Refuser::default()
        };
        // Kernels before 6.6 have none.
        let tcx = bpf_programs::tcx(index, way).unwrap_or_default();
        let mut found: Vec<Refuser> =
            tcx.into_iter().map(|id| Refuser { program_id: Some(id), ..at("tcx".into()) }).collect();
        let filters = bpf_programs::filters(index, way).map_err(|e| format!("tc filters: {e}"))?;
        found.extend(filters.into_iter().map(|filter| Refuser {
            program_id: filter.program,
            comment: filter.name,
            ..at(format!("{} pref {}", filter.kind, filter.preference))
        }));
        Ok(found)
    }

    fn xdp(&mut self, drop: &Drop) -> Result<Vec<Refuser>, String> {
        let Some(device) = self.device(drop)? else { return Ok(Vec::new()) };
        let ids = device.xdp.clone();
        let at = |id| Refuser { device: drop.device.clone(), program_id: Some(id), ..Refuser::default() };
        Ok(ids.into_iter().map(at).collect())
    }

    /// The programs of the cgroups that a sender is in: its own, and those above it. Of all, if the sender is not known.
    fn cgroup(&mut self, drop: &Drop) -> Result<Vec<Refuser>, String> {
        let all = match &self.cgroups {
            Some(all) => all,
            None => {
                self.cgroups.insert(bpf_programs::cgroups(Way::Out).map_err(|e| format!("cgroups' programs: {e}"))?)
            }
        };
        let senders: Vec<&str> = drop.victims.iter().filter_map(|victim| victim.cgroup.as_deref()).collect();
        let concerns = |cgroup: &str| senders.is_empty() || senders.iter().any(|sender| is_in(sender, cgroup));
        let found = all.iter().filter(|(cgroup, _)| concerns(cgroup)).flat_map(|(cgroup, programs)| {
            programs.iter().map(|&id| Refuser {
                hook: Some("egress".into()),
                cgroup: Some(cgroup.clone()),
                program_id: Some(id),
                ..Refuser::default()
            })
        });
        Ok(found.collect())
    }

    fn device(&mut self, drop: &Drop) -> Result<Option<&Device>, String> {
        let devices = match &mut self.devices {
            Some(devices) => devices,
            none => none.insert(bpf_programs::devices().map_err(|e| format!("devices: {e}"))?),
        };
        let same = |device: &&Device| drop.device == Some(crate::source::text::printable(&device.name));
        Ok(devices.iter().find(same))
    }

    fn named(&mut self, refuser: Refuser) -> Refuser {
        let names = self.names.get_or_insert_with(bpf_programs::names);
        let program = refuser.program_id.and_then(|id| names.get(&id).cloned()).filter(|name| !name.is_empty());
        Refuser { program, ..refuser }
    }
}

/// A sender in `/a/b` is also in `/a` and in `/`.
fn is_in(sender: &str, cgroup: &str) -> bool {
    cgroup == "/" || sender.strip_prefix(cgroup).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn fill(policy: &mut Policy, mut found: Vec<Refuser>, count: u64) {
    if let [_] = found[..] {
        policy.by = Means::OnlyAttached;
        policy.refuser = found.remove(0);
        return;
    }
    if policy.note.is_some() {
        return;
    }
    policy.unattributed = count;
    policy.note = Some(if found.is_empty() {
        "nothing is attached there any more".into()
    } else {
        "several programs stand there, and the kernel does not count what each refuses".into()
    });
    found.truncate(CANDIDATES);
    policy.candidates = found;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_holds_those_below_it() {
        assert!(is_in("/a/b", "/a") && is_in("/a", "/a") && is_in("/a", "/"));
        assert!(!is_in("/ab", "/a") && !is_in("/", "/a"));
    }

    #[test]
    fn only_a_single_program_is_named() {
        let program = |id| Refuser { program_id: Some(id), ..Refuser::default() };
        let mut policy = Policy::of(Layer::Xdp, Means::Reason);
        fill(&mut policy, vec![program(1), program(2)], 9);
        assert_eq!((policy.by, policy.candidates.len(), policy.unattributed), (Means::Reason, 2, 9));
        let mut policy = Policy::of(Layer::Xdp, Means::Reason);
        fill(&mut policy, vec![program(1)], 9);
        assert_eq!((policy.by, policy.refuser.program_id, policy.unattributed), (Means::OnlyAttached, Some(1), 0));
    }
}
