//! Our programs in the kernel (eBPF, `ebpf/*.bpf.c`): loading them, attaching each to its hook, reading their maps. Nothing
//! is pinned: the kernel takes everything back when this process ends, however it ends.

pub mod attempt;
mod bytes;
pub mod drops;
pub mod event;
mod function;
mod hook;
pub mod hooks;
mod map;
mod sys;
pub mod verdicts;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use aya::sys::{Stats, enable_stats};
use aya::{Btf as AyaBtf, Endianness};

use super::btf::Btf;
use super::privilege;
use super::reasons::ReasonNames;
use super::text;
use crate::model::Probe;
use drops::{DropProbe, Wanted};
use hooks::HookProbe;
use verdicts::VerdictProbe;

/// Where the kernel shows its types, and those of its modules.
const TYPES: &str = "/sys/kernel/btf";

/// A share of the time is taken over this long at least: shorter, a burst would look like a lasting load.
const WHILE: Duration = Duration::from_millis(200);

/// What becomes of the programs that every packet passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PerPacket {
    /// They are attached.
    Wanted,
    /// They were asked for, but the kernel does not take the time of programs: so they could not be given up in time.
    Untimed,
    /// Nobody asked for them.
    Unwanted,
}

impl PerPacket {
    /// Why they can't be attached, though they are wanted.
    fn refused() -> Refusal {
        Refusal::new("what it would cost can't be known: needs CAP_SYS_ADMIN", "")
    }
}

/// Why no program can run here: one line for what is missing, one for what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is missing.
    pub what: String,
    /// What to do about it.
    pub todo: String,
    /// The verifier's last lines, if it was the one to refuse.
    pub verifier: Vec<String>,
}

impl Refusal {
    fn new(what: impl Into<String>, todo: impl Into<String>) -> Self {
        Refusal { what: what.into(), todo: todo.into(), verifier: Vec::new() }
    }
}

/// What the kernel's types say, kept only as long as programs are being loaded: it is large.
pub(crate) struct Types {
    /// As the kernel gives them.
    bytes: Vec<u8>,
    /// As the loader wants them.
    loader: AyaBtf,
    /// The arguments of the hooks asked for; absent for a hook that this kernel does not have.
    arguments: HashMap<&'static str, Vec<String>>,
    names: ReasonNames,
    reset_reasons: HashMap<u32, String>,
}

impl Types {
    /// Reads them, and looks up the arguments of our hooks.
    fn read() -> Result<Self, Refusal> {
        let path = format!("{TYPES}/vmlinux");
        let without = "'netstat-deep rx' works without";
        let bytes = std::fs::read(&path).map_err(|e| {
            let todo = format!("a kernel built with CONFIG_DEBUG_INFO_BTF is needed; {without}");
            Refusal::new(format!("the kernel does not describe its types: {path}: {e}"), todo)
        })?;
        let unreadable =
            |why: String| Refusal::new(format!("the kernel's types in {path} can't be read: {why}"), without);
        let btf = Btf::kernel(&bytes).ok_or_else(|| unreadable("not BTF".into()))?;
        let tracepoints = hooks::names().chain([drops::TRACEPOINT]);
        let arguments = tracepoints.filter_map(|name| Some((name, btf.arguments(name)?))).collect();
        let names = names(&btf);
        let resets = btf.values("sk_rst_reason").into_iter();
        let reset_reasons =
            resets.filter_map(|(name, value)| Some((u32::try_from(value).ok()?, text::printable(name))));
        let reset_reasons = reset_reasons.collect();
        drop(btf);
        let loader = AyaBtf::parse(&bytes, Endianness::default()).map_err(|e| unreadable(e.to_string()))?;
        Ok(Types { bytes, loader, arguments, names, reset_reasons })
    }

    pub(crate) fn arguments(&self, tracepoint: &str) -> Option<&[String]> {
        self.arguments.get(tracepoint).map(Vec::as_slice)
    }
}

/// All our programs, attached.
pub struct Probes {
    /// Every packet freed as dropped.
    pub drops: DropProbe,
    /// What counters lack; or why not.
    pub hooks: Result<HookProbe, Refusal>,
    /// Which rule of the firewall refused.
    pub verdicts: VerdictProbe,
    /// Why resets are sent, by number.
    pub reset_reasons: HashMap<u32, String>,
    /// As long as this is open, the kernel takes the time of every program.
    stats: Option<OwnedFd>,
    /// When the cost of what every packet passes was last looked at, and how many nanoseconds it was then.
    looked: Option<(Instant, u64)>,
}

impl Probes {
    /// Loads and attaches them. The kernel's types are freed again before this returns.
    pub fn attach(wanted: Wanted) -> Result<Self, Refusal> {
        // The kernel would say so too, but only after its types were read, which is the dearest part.
        if !privilege::missing(&[privilege::BPF, privilege::PERFMON]).is_empty() {
            return Err(hook::forbidden("not permitted"));
        }
        let types = Types::read()?;
        // Before a program runs for the first time, so that no run is left out.
        let stats = enable_stats(Stats::RunTime).ok();
        let per_packet = match (wanted.per_packet, &stats) {
            (false, _) => PerPacket::Unwanted,
            (true, Some(_)) => PerPacket::Wanted,
            (true, None) => PerPacket::Untimed,
        };
        let hooks = HookProbe::attach(&types, per_packet);
        let verdicts = VerdictProbe::attach(&types, per_packet);
        let drops = DropProbe::attach(wanted, &types)?;
        Ok(Probes { drops, hooks, verdicts, reset_reasons: types.reset_reasons, stats, looked: None })
    }

    /// Stops counting; what was counted can still be read.
    pub fn detach(&mut self) {
        self.drops.detach();
        if let Ok(hooks) = &mut self.hooks {
            hooks.detach();
        }
        self.verdicts.detach();
    }

    /// Takes what every packet passes away for good if it takes more than this share of one CPU's time.
    pub fn keep_below(&mut self, share: f64) {
        let of_hooks = self.hooks.as_ref().map_or(0, HookProbe::nanoseconds_per_packet);
        let spent = of_hooks + self.verdicts.nanoseconds();
        let Some((since, before)) = self.looked else {
            self.looked = Some((Instant::now(), spent));
            return;
        };
        let passed = since.elapsed();
        if passed < WHILE {
            return;
        }
        self.looked = Some((Instant::now(), spent));
        let took = spent.saturating_sub(before) as f64 / passed.as_nanos() as f64;
        if took > share {
            let why = format!("gave up: what every packet passes took {:.1} % of a CPU; see --max-cpu", took * 100.0);
            if let Ok(hooks) = &mut self.hooks {
                hooks.give_up(&why);
            }
            self.verdicts.give_up(&why);
        }
    }

    /// What each program did since this was last asked, the drop probe first.
    pub fn did(&mut self) -> Vec<Probe> {
        let timed = self.stats.is_some();
        let mut did = vec![self.drops.did(timed)];
        if let Ok(hooks) = &mut self.hooks {
            did.extend(hooks.did(timed));
        }
        did.extend(self.verdicts.did(timed));
        did
    }
}

/// How many bytes of memory this process may lock, if that limits what it can load and can't be raised: where the kernel
/// counts maps and programs as locked memory (kernel/bpf/syscall.c bpf_map_charge_init(), until 5.10).
fn locked_memory() -> Option<u64> {
    const CHARGES: &[u8] = b"\0bpf_map_charge_init\0";
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current?;
    if privilege::missing(&[privilege::SYS_RESOURCE]).is_empty() {
        return None;
    }
    // The functions of the kernel are among its types.
    let types = std::fs::read(format!("{TYPES}/vmlinux")).unwrap_or_default();
    types.windows(CHARGES.len()).any(|name| name == CHARGES).then_some(limit)
}

/// The names of this kernel's drop reasons; empty if it has none, or does not describe its types.
pub fn reason_names() -> ReasonNames {
    let bytes = std::fs::read(format!("{TYPES}/vmlinux")).unwrap_or_default();
    Btf::kernel(&bytes).map(|btf| names(&btf)).unwrap_or_default()
}

fn names(btf: &Btf) -> ReasonNames {
    ReasonNames::read(btf, |module| std::fs::read(format!("{TYPES}/{module}")).ok())
}
