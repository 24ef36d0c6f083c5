//! `doctor`: what this kernel, these privileges and this container allow, what is lost without each, and how to get it.
//! It attaches its programs to their hooks for a moment, where it may, and else only looks: nothing is changed.

mod abilities;
mod hooks;
mod limits;

use std::io::{self, Read, Write};

use super::path::{name, now};
use crate::cli::DoctorArgs;
use crate::error::Error;
use crate::observe::Observer;
use crate::render;
use crate::report::card::{Access, Btf, Card, CardKind, Features, FoundIn};
use crate::report::{Netns, Own, SCHEMA};
use crate::source::privilege::{self, Status};
use crate::source::tracepoint::{self, Types};
use crate::source::{Host, genl, place};

/// Shows the card.
pub fn run(args: &DoctorArgs, out: &mut dyn Write) -> Result<u8, Error> {
    let facts = Facts::look();
    let mut hooks = hooks::look(&facts.types);
    if abilities::may_attach(&facts) {
        hooks::attempt(&mut hooks);
    }
    let sources = Observer::new(Host::Live).snapshot().sources;
    let (id, cookie) = place::identity();
    let (abilities, remedies) = abilities::judge(&facts, &hooks, &sources);
    let card = Card {
        schema: SCHEMA,
        kind: CardKind::Doctor,
        tool_version: env!("CARGO_PKG_VERSION"),
        host: name(&Host::Live, "proc/sys/kernel/hostname"),
        kernel: name(&Host::Live, "proc/sys/kernel/osrelease"),
        taken_at: now(),
        netns: Netns { id, cookie, name: None },
        abilities,
        remedies,
        features: facts.features(),
        hooks,
        capabilities: abilities::capabilities(&facts.status),
        limits: limits::look(&facts),
        settings: facts.settings,
        sources,
        own: Own::measure(),
    };
    render::card(&card, args.json, args.verbose, out).map_err(Error::output)?;
    Ok(0)
}

/// What was found out, for all that is judged by it.
struct Facts {
    status: Status,
    /// True in the initial namespace of each kind: only there do capabilities count for the whole machine.
    initial_user: bool,
    initial_pid: bool,
    initial_net: bool,
    types: io::Result<Types>,
    /// Whether the system call for BPF can be reached.
    bpf: io::Result<()>,
    lockdown: Option<String>,
    /// Whether /proc/kallsyms shows addresses.
    addresses: bool,
    drop_monitor: bool,
    settings: Access,
}

impl Facts {
    fn look() -> Self {
        let mut bytes = Vec::new();
        let mut read = |path: &str| Host::Live.read(path, &mut bytes).ok().map(|()| bytes.clone());
        // Fixed numbers: include/linux/proc_ns.h PROC_USER_INIT_INO, PROC_PID_INIT_INO. The network's has none, but
        // machine-wide settings show only in the initial one (net/core/sysctl_net_core.c).
        let is = |kind: &str, number: u32| {
            let link = std::fs::read_link(format!("/proc/thread-self/ns/{kind}"));
            link.is_ok_and(|link| link.as_os_str() == format!("{kind}:[{number}]").as_str())
        };
        Facts {
            status: read("proc/thread-self/status").map(|text| privilege::status(&text)).unwrap_or_default(),
            initial_user: is("user", 0xEFFF_FFFD),
            initial_pid: is("pid", 0xEFFF_FFFC),
            initial_net: read("proc/sys/net/core/netdev_max_backlog").is_some(),
            types: tracepoint::types(),
            bpf: privilege::bpf_answers(),
            lockdown: read("sys/kernel/security/lockdown").and_then(|text| privilege::chosen(&text).map(str::to_owned)),
            addresses: first_symbols().is_ok_and(|text| privilege::shows_addresses(&text)),
            drop_monitor: genl::is_there("NET_DM").unwrap_or(false) || can_load("drop_monitor"),
            settings: limits::access(),
        }
    }

    fn features(&self) -> Features {
        let btf = match &self.types {
            Ok(types) => Btf { ok: true, bytes: Some(types.bytes), reason: None },
            Err(e) => Btf { ok: false, bytes: None, reason: Some(why(e)) },
        };
        let drop_reasons = self.types.as_ref().ok().map(|types| types.drop_reasons);
        Features { btf, drop_reasons, drop_monitor: self.drop_monitor }
    }
}

/// The file is large; whether it tells addresses shows at its beginning.
fn first_symbols() -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    std::fs::File::open("/proc/kallsyms")?.take(1 << 14).read_to_end(&mut text)?;
    Ok(text)
}

/// Whether the kernel would find this module. It is not loaded for that.
fn can_load(module: &str) -> bool {
    let Some(release) = name(&Host::Live, "proc/sys/kernel/osrelease") else { return false };
    let mut list = Vec::new();
    let known = Host::Live.read(&format!("lib/modules/{release}/modules.dep"), &mut list).is_ok();
    known && String::from_utf8_lossy(&list).lines().any(|line| line.contains(&format!("/{module}.ko")))
}

fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "this kernel has none".into(),
        io::ErrorKind::PermissionDenied => "not permitted".into(),
        _ => error.to_string(),
    }
}
