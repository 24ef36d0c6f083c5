//! Our programs in the kernel (eBPF, `ebpf/*.bpf.c`): loading them, attaching each to its hook, reading their maps. Nothing
//! is pinned: the kernel takes everything back when this process ends, however it ends.

pub mod drops;
pub mod event;
mod hook;
mod map;
pub mod privilege;

use aya::{Btf as AyaBtf, Endianness};

use super::btf::Btf;
use super::reasons::ReasonNames;

/// Where the kernel shows its types, and those of its modules.
const TYPES: &str = "/sys/kernel/btf";

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
    /// As the loader wants them.
    loader: AyaBtf,
    /// The arguments of the hooks asked for; absent for a hook that this kernel does not have.
    arguments: Vec<Option<Vec<String>>>,
    names: ReasonNames,
}

impl Types {
    /// Reads them, and looks up the arguments of some tracepoints.
    pub(crate) fn read(tracepoints: &[&str]) -> Result<Self, Refusal> {
        let path = format!("{TYPES}/vmlinux");
        let without = "'netstat-deep rx' works without";
        let bytes = std::fs::read(&path).map_err(|e| {
            let todo = format!("a kernel built with CONFIG_DEBUG_INFO_BTF is needed; {without}");
            Refusal::new(format!("the kernel does not describe its types: {path}: {e}"), todo)
        })?;
        let unreadable =
            |why: String| Refusal::new(format!("the kernel's types in {path} can't be read: {why}"), without);
        let btf = Btf::kernel(&bytes).ok_or_else(|| unreadable("not BTF".into()))?;
        let arguments = tracepoints.iter().map(|tracepoint| btf.arguments(tracepoint)).collect();
        let names = names(&btf);
        drop(btf);
        let loader = AyaBtf::parse(&bytes, Endianness::default()).map_err(|e| unreadable(e.to_string()))?;
        Ok(Types { loader, arguments, names })
    }
}

/// The names of this kernel's drop reasons; empty if it has none, or does not describe its types.
pub fn reason_names() -> ReasonNames {
    let bytes = std::fs::read(format!("{TYPES}/vmlinux")).unwrap_or_default();
    Btf::kernel(&bytes).map(|btf| names(&btf)).unwrap_or_default()
}

fn names(btf: &Btf) -> ReasonNames {
    ReasonNames::read(btf, |module| std::fs::read(format!("{TYPES}/{module}")).ok())
}
