//! What the program can do here, what each thing needs, and how to get it.

use super::Facts;
use crate::model::SourceStatus;
use crate::report::card::{Ability, Capability, Hook, Remedy};
use crate::source::privilege::{
    BPF, CAPABILITIES, Cap, DAC_READ_SEARCH, NET_ADMIN, PERFMON, SYS_ADMIN, SYS_PTRACE, SYSLOG, Status,
};
use crate::source::probe::verdicts::NOT_LOADED;

/// The sources without which there is nothing to report.
const ESSENTIAL: [&str; 4] = ["proc/net/snmp", "proc/net/netstat", "proc/net/softnet_stat", "rtnetlink links"];

/// Each that the program can use.
pub fn capabilities(status: &Status) -> Vec<Capability> {
    CAPABILITIES
        .iter()
        .map(|Cap(name, number, gives)| Capability { name, present: status.has(*number), gives })
        .collect()
}

/// Judges everything that the program can do, and says how to get what it can't.
pub fn judge(facts: &Facts, hooks: &[Hook], sources: &[SourceStatus]) -> (Vec<Ability>, Vec<Remedy>) {
    let abilities = [
        ("counters", "what came in, where it was lost, which setting binds", "there is no report", counters(sources)),
        (
            "drops",
            "every dropped packet by reason, place and device (BPF)",
            "drops have counters, but no reason, place or flow",
            drops(facts, hooks),
        ),
        (
            "rules",
            "which rule drops, seen as it decides (drops --per-packet)",
            "rules are told by their counters, where they have some",
            rules(facts, hooks),
        ),
        ("drop-monitor", "the same without BPF, at a higher cost", "drops have no fall-back", drop_monitor(facts)),
        ("symbols", "names of the functions that drop packets", "places of drops stay bare addresses", symbols(facts)),
        (
            "victims",
            "whose socket lost: processes of other users",
            "only your own processes are named",
            Wall::of(facts, &[SYS_PTRACE, DAC_READ_SEARCH]),
        ),
        (
            "namespaces",
            "other network namespaces (--netns)",
            "only this namespace can be looked at",
            Wall::of(facts, &[SYS_ADMIN]),
        ),
        (
            "cost",
            "what each probe costs, as the kernel measures it",
            "the cost of probes is not shown",
            Wall::of(facts, &[SYS_ADMIN]),
        ),
        ("apply", "change the setting that binds (--apply)", "suggestions must be carried out by hand", apply(facts)),
    ];
    let mut remedies = Remedies::default();
    let abilities = abilities.map(|(id, title, lost, wall)| {
        remedies.take(id, &wall);
        Ability { id, title, works: wall.missing.is_empty(), missing: wall.missing, lost }
    });
    (abilities.into(), remedies.all(&facts.status))
}

fn counters(sources: &[SourceStatus]) -> Wall {
    let mut wall = Wall::default();
    for source in sources.iter().filter(|source| !source.ok && ESSENTIAL.contains(&source.name.as_str())) {
        let why = source.reason.as_deref().unwrap_or("gives nothing");
        wall.add(format!("{}: {why}", source.name), "mount /proc as this process's own namespaces show it");
    }
    wall
}

/// True if nothing is known to stand in the way of programs in the kernel.
pub fn may_attach(facts: &Facts) -> bool {
    bpf(facts).missing.is_empty()
}

fn drops(facts: &Facts, hooks: &[Hook]) -> Wall {
    let mut wall = bpf(facts);
    let hook = hooks.iter().find(|hook| hook.id == super::hooks::DROPS);
    match hook {
        Some(hook) if facts.types.is_ok() && hook.found.is_none() => {
            wall.add(format!("the hook {}", hook.id), "use a kernel with tracepoints");
        }
        Some(Hook { id, attached: Some(false), reason, .. }) => {
            let why = reason.as_deref().unwrap_or("no reason given");
            wall.add(format!("the hook {id}: {why}"), "'netstat-deep drops -v' says more");
        }
        _ => {}
    }
    wall
}

/// Where nftables is not loaded there is nothing to see, and nothing is missing.
fn rules(facts: &Facts, hooks: &[Hook]) -> Wall {
    let mut wall = bpf(facts);
    let hook = hooks.iter().find(|hook| hook.id == super::hooks::CHAINS);
    let reason = hook.filter(|hook| hook.attached != Some(true)).and_then(|hook| hook.reason.as_deref());
    if let (true, Some(reason)) = (wall.missing.is_empty(), reason.filter(|reason| *reason != NOT_LOADED)) {
        wall.add(
            reason,
            "give rules a counter; or use a kernel that lets programs look on (5.17 or later, as of Debian)",
        );
    }
    wall
}

/// What every program in the kernel needs.
fn bpf(facts: &Facts) -> Wall {
    let mut wall = Wall::of(facts, &[BPF, PERFMON]);
    if let Err(e) = &facts.types {
        wall.add(format!("the kernel's types (BTF): {}", super::why(e)), "use a kernel with CONFIG_DEBUG_INFO_BTF");
    }
    if facts.lockdown.as_deref() == Some("confidentiality") {
        wall.add("a kernel that is not locked down", "boot with lockdown=integrity, or without");
    }
    // Without the capabilities a refusal says nothing more.
    if let (true, Err(e)) = (wall.missing.is_empty(), &facts.bpf) {
        let what = "allow the system call bpf in the seccomp profile or security module";
        wall.add(format!("the system call bpf, which is refused: {e}"), what);
    }
    wall
}

fn drop_monitor(facts: &Facts) -> Wall {
    let mut wall = Wall::of(facts, &[NET_ADMIN, SYS_ADMIN]);
    if !facts.drop_monitor {
        wall.add("the kernel's module drop_monitor", "install the kernel's module drop_monitor");
    }
    if !facts.initial_net {
        wall.add("the initial network namespace", AT_HOME);
    }
    wall
}

fn symbols(facts: &Facts) -> Wall {
    if facts.addresses {
        return Wall::default();
    }
    let mut wall = Wall::of(facts, &[SYSLOG]);
    if wall.missing.is_empty() {
        wall.add("addresses in /proc/kallsyms", "let it show them: sysctl -w kernel.kptr_restrict=1");
    }
    wall
}

fn apply(facts: &Facts) -> Wall {
    let mut wall = Wall::default();
    let read_only = &facts.settings.read_only;
    if !read_only.is_empty() {
        let elsewhere = read_only.iter().any(|setting| setting.reason == super::limits::NOT_IN_THIS_NAMESPACE);
        let what = if elsewhere { AT_HOME } else { "run as root, where /proc/sys is writable" };
        wall.add(format!("write access to settings, {} of them", read_only.len()), what);
    }
    wall
}

const AT_HOME: &str = "run it in the initial network namespace: nsenter -t 1 -n netstat-deep";

/// What stands in the way of an ability, and how to get past it.
#[derive(Default)]
struct Wall {
    missing: Vec<String>,
    lacking: Vec<Cap>,
    what: Vec<&'static str>,
}

impl Wall {
    /// The capabilities that are missing, or do not count.
    fn of(facts: &Facts, caps: &[Cap]) -> Self {
        let mut wall = Self::default();
        wall.lacking.extend(caps.iter().filter(|cap| !facts.status.allows(**cap)));
        if !wall.lacking.is_empty() {
            let names: Vec<&str> = wall.lacking.iter().map(|cap| cap.0).collect();
            wall.missing.push(names.join(", "));
        } else if !facts.initial_user {
            wall.add("the initial user namespace, where capabilities count", "run it on the host itself");
        }
        wall
    }

    fn add(&mut self, missing: impl Into<String>, what: &'static str) {
        self.missing.push(missing.into());
        self.what.push(what);
    }
}

/// What to do, each thing once, with all that it is good for.
#[derive(Default)]
struct Remedies {
    lacking: Vec<(Cap, &'static str)>,
    what: Vec<(&'static str, Vec<&'static str>)>,
}

impl Remedies {
    fn take(&mut self, ability: &'static str, wall: &Wall) {
        self.lacking.extend(wall.lacking.iter().map(|cap| (*cap, ability)));
        for what in &wall.what {
            match self.what.iter_mut().find(|(other, _)| other == what) {
                Some((_, abilities)) => abilities.push(ability),
                None => self.what.push((what, vec![ability])),
            }
        }
    }

    fn all(self, status: &Status) -> Vec<Remedy> {
        let (never, not_yet): (Vec<_>, Vec<_>) = self.lacking.iter().partition(|(cap, _)| status.can_never_have(cap.1));
        let mut remedies = Vec::new();
        if !not_yet.is_empty() {
            let names: Vec<String> = names(&not_yet).map(|name| format!("{}+ep", name.to_lowercase())).collect();
            remedies.push(Remedy {
                what: "run it as root, or give the program what it lacks".into(),
                command: Some(format!("setcap '{}' netstat-deep", names.join(" "))),
                abilities: abilities(&not_yet),
            });
        }
        if !never.is_empty() {
            let options: Vec<String> =
                names(&never).map(|name| format!("--cap-add={}", name.trim_start_matches("CAP_"))).collect();
            let what = format!("start the container with {} (a service: CapabilityBoundingSet=)", options.join(" "));
            remedies.push(Remedy { what, command: None, abilities: abilities(&never) });
        }
        let other = self.what.into_iter();
        remedies.extend(other.map(|(what, abilities)| Remedy { what: what.into(), command: None, abilities }));
        remedies
    }
}

/// Each name once, in the order of the list.
fn names(lacking: &[(Cap, &'static str)]) -> impl Iterator<Item = &'static str> {
    CAPABILITIES.iter().filter(|cap| lacking.iter().any(|(other, _)| other == *cap)).map(|cap| cap.0)
}

fn abilities(lacking: &[(Cap, &'static str)]) -> Vec<&'static str> {
    let mut abilities: Vec<&str> = lacking.iter().map(|(_, ability)| *ability).collect();
    abilities.dedup();
    abilities
}
