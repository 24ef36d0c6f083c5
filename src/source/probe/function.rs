//! Programs that run when a function of the kernel returns (fexit), also one that lies in a module: those the loader of
//! the other programs does not know. It reads the object and fits it to this kernel; what is asked of the kernel stands
//! here, in the kernel's order:
//! 1. the types of the kernel and of a module, taken as one, say where the fields lie that the programs read (CO-RE);
//! 2. BPF_BTF_LOAD: the programs' own types, since they hand functions of theirs to helpers;
//! 3. BPF_PROG_LOAD: a program for a function, which is named by its number among the types of its module;
//! 4. BPF_RAW_TRACEPOINT_OPEN: the link. The program runs as long as that is open: nothing is left behind.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use aya::Btf as AyaBtf;
use aya::maps::MapData;
use aya_obj::{Function as Code, Map, Object};

use super::hook::{self, Runs, not_loaded};
use super::sys::{
    BPF_BTF_GET_FD_BY_ID, BPF_BTF_GET_NEXT_ID, BPF_BTF_LOAD, BPF_OBJ_GET_INFO_BY_FD, BPF_PROG_LOAD,
    BPF_RAW_TRACEPOINT_OPEN, bpf, open,
};
use super::{Refusal, TYPES};
use crate::model::Probe;
use crate::source::btf::Btf;

// include/uapi/linux/bpf.h
const BPF_PROG_TYPE_TRACING: u32 = 26;
const BPF_TRACE_FEXIT: u32 = 25;
/// What the verifier may say, at most: its end tells why it refused.
const LOG: usize = 1 << 20;

/// A function of the kernel or of a module.
pub struct Function {
    /// Its number among the types of where it lies.
    number: u32,
    /// The types of its module; absent for one of the kernel itself.
    module: Option<OwnedFd>,
    /// What its arguments are, in C.
    pub arguments: Vec<String>,
}

/// Why there is no such function.
pub enum Absent {
    /// Its module is not loaded: nobody can call it.
    NotLoaded,
    /// It may be there, but can't be had.
    Refused(Refusal),
}

/// Where a function lies.
pub struct Place {
    number: u32,
    in_module: bool,
    arguments: Vec<String>,
}

impl Place {
    /// Looks for it in the kernel, or else in the module.
    pub fn of(name: &str, module: &str, kernel: &Btf) -> Result<Self, Absent> {
        if let Some((number, arguments)) = kernel.function(name) {
            return Ok(Place { number, in_module: false, arguments });
        }
        let bytes = match std::fs::read(format!("{TYPES}/{module}")) {
            Ok(bytes) => bytes,
            Err(_) if !is_loaded(module) => return Err(Absent::NotLoaded),
            Err(error) => {
                return Err(absent(format!("the kernel does not describe the types of its module {module}: {error}")));
            }
        };
        let found = Btf::module(&bytes, kernel).and_then(|btf| btf.function(name));
        let (number, arguments) = found.ok_or_else(|| absent(format!("{module} of this kernel has no {name}()")))?;
        Ok(Place { number, in_module: true, arguments })
    }
}

impl Function {
    /// Finds it in the kernel, or else in the module.
    pub fn find(name: &str, module: &str, kernel: &Btf) -> Result<Self, Absent> {
        let Place { number, in_module, arguments } = Place::of(name, module, kernel)?;
        let types = in_module.then(|| types_of(module)).transpose().map_err(|error| {
            absent(format!("the types of module {module} can't be opened ({error}): this needs CAP_SYS_ADMIN"))
        })?;
        Ok(Function { number, module: types, arguments })
    }
}

fn absent(what: String) -> Absent {
    Absent::Refused(Refusal::new(what, STAND_IN))
}

/// What to do about it: nothing.
pub const STAND_IN: &str = "rules' counters stand in for it";

/// Whether a module is loaded, or built in with settings of its own.
pub fn is_loaded(module: &str) -> bool {
    Path::new("/sys/module").join(module).exists()
}

/// The programs of an object, fitted to this kernel.
pub struct Programs {
    object: Object,
    types: OwnedFd,
}

/// Makes the maps of an object, without loading a program.
pub fn maps(object: &[u8]) -> Result<HashMap<String, MapData>, String> {
    let object = Object::parse(object).map_err(|error| error.to_string())?;
    let make = |(name, map): (String, Map)| {
        let plain =
            Map::new_from_params(map.map_type(), map.key_size(), map.value_size(), map.max_entries(), map.map_flags());
        let made = MapData::create(plain, &name, None).map_err(|error| super::hook::innermost(&error))?;
        Ok((name, made))
    };
    object.maps.into_iter().map(make).collect()
}

impl Programs {
    /// Fits them to the types that their structures are of, and to their maps.
    pub fn new(object: &[u8], target: &AyaBtf, maps: &HashMap<String, MapData>) -> Result<Self, String> {
        let words = |error: &dyn std::error::Error| super::hook::innermost(error);
        let mut object = Object::parse(object).map_err(|error| words(&error))?;
        let features = aya::features();
        let types = match features.btf() {
            Some(known) => object.fixup_and_sanitize_btf(known).map_err(|error| words(&error))?,
            None => None,
        };
        let types = types.ok_or("the kernel takes no types (BTF) of programs")?.to_bytes();
        let types = load_types(&types).map_err(|error| format!("the programs' types are refused: {error}"))?;
        object.relocate_btf(target).map_err(|error| words(&error))?;
        let sections: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
        let known = std::mem::take(&mut object.maps);
        let fds = known.iter().filter_map(|(name, map)| {
            let fd = maps.get(name)?.fd().as_fd().as_raw_fd();
            Some((name.as_str(), fd, map))
        });
        object.relocate_maps(fds, &sections).map_err(|error| words(&error))?;
        object.relocate_calls(&sections).map_err(|error| words(&error))?;
        object.sanitize_functions(features);
        Ok(Programs { object, types })
    }

    /// Loads a program for the function, and lets it run there.
    pub fn attach(&self, program: &str, name: &str, function: &Function) -> Result<Attached, Refusal> {
        let code = self.object.programs.get(program).and_then(|its| self.object.functions.get(&its.function_key()));
        let code = code.ok_or_else(|| Refusal::new(format!("the object has no program {program}"), OURS))?;
        let mut log = Vec::new();
        let loaded = self.load(code, program, function, &mut log).or_else(|error| {
            // Once more for the verifier's words, which take time to write.
            log.resize(LOG, 0);
            self.load(code, program, function, &mut log).map_err(|_| error)
        });
        let program = loaded.map_err(|error| {
            let said = log.split(|&b| b == 0).next().unwrap_or_default();
            // The verifier comes only after this was permitted.
            if said.is_empty() && error.raw_os_error() == Some(libc::EPERM) {
                return Refusal::new(
                    format!("this kernel lets no program run at functions (fexit): {error}"),
                    STAND_IN,
                );
            }
            not_loaded(&format!("{name}()"), &error, &String::from_utf8_lossy(said))
        })?;
        let mut attr = Link { program: program.as_raw_fd() as u32, ..Link::default() };
        // SAFETY: `attr` has the layout of the kernel's structure, and points to nothing.
        let link = unsafe { open(BPF_RAW_TRACEPOINT_OPEN, &mut attr) }
            .map_err(|error| Refusal::new(format!("the kernel lets no program run at {name}(): {error}"), STAND_IN))?;
        Ok(Attached { name: format!("fexit/{name}"), program, link: Some(link), runs: Runs::default() })
    }

    fn load(&self, code: &Code, name: &str, function: &Function, log: &mut [u8]) -> io::Result<OwnedFd> {
        let functions = code.func_info.func_info_bytes();
        let mut attr = Load {
            kind: BPF_PROG_TYPE_TRACING,
            length: code.instructions.len() as u32,
            instructions: code.instructions.as_ptr() as u64,
            license: self.object.license.as_ptr() as u64,
            expected_attach_type: BPF_TRACE_FEXIT,
            types: self.types.as_raw_fd() as u32,
            function_size: code.func_info_rec_size as u32,
            functions: functions.as_ptr() as u64,
            function_count: code.func_info.len() as u32,
            attach_to: function.number,
            attach_types: function.module.as_ref().map_or(0, |types| types.as_raw_fd() as u32),
            ..Load::default()
        };
        // The last byte stays zero.
        for (to, from) in attr.name[..15].iter_mut().zip(name.bytes()) {
            *to = from;
        }
        if !log.is_empty() {
            (attr.log_level, attr.log_size, attr.log) = (1, log.len() as u32, log.as_mut_ptr() as u64);
        }
        // SAFETY: `attr` has the layout of the kernel's structure; the instructions, the license, the functions and the log
        // live through the call, and are as long as it says, the license up to its zero.
        unsafe { open(BPF_PROG_LOAD, &mut attr) }
    }
}

const OURS: &str = "this is a fault of ours";

/// A program that runs at a function.
pub struct Attached {
    name: String,
    program: OwnedFd,
    link: Option<OwnedFd>,
    runs: Runs,
}

impl Attached {
    /// Takes it away from there.
    pub fn detach(&mut self) {
        self.link = None;
    }

    /// Takes it away because it costs too much, which `why` says.
    pub fn give_up(&mut self, why: &str) {
        self.detach();
        self.runs.give_up(why);
    }

    /// The time that it has taken so far, in nanoseconds, as long as the kernel takes the time.
    pub fn nanoseconds(&self) -> u64 {
        hook::counted(self.program.as_fd()).map_or(0, |counted| counted.nanoseconds)
    }

    /// What it did since this was last asked.
    pub fn did(&mut self, timed: bool) -> Probe {
        self.runs.did(&self.name, Some(self.program.as_fd()), timed)
    }
}

fn load_types(types: &[u8]) -> io::Result<OwnedFd> {
    let mut attr = Types { bytes: types.as_ptr() as u64, length: types.len() as u32, ..Types::default() };
    // SAFETY: `attr` has the layout of the kernel's structure, and `types` lives through the call.
    unsafe { open(BPF_BTF_LOAD, &mut attr) }
}

/// The types of a module, as something that can be handed back to the kernel.
fn types_of(module: &str) -> io::Result<OwnedFd> {
    let mut id = 0;
    loop {
        let mut next = Next { start: id, ..Next::default() };
        // SAFETY: `next` has the layout of the kernel's structure, and points to nothing.
        unsafe { bpf(BPF_BTF_GET_NEXT_ID, &mut next) }?;
        id = next.next;
        let mut by_id = Next { start: id, ..Next::default() };
        // SAFETY: so has `by_id`.
        let types = match unsafe { open(BPF_BTF_GET_FD_BY_ID, &mut by_id) } {
            Ok(types) => types,
            // It went meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
            Err(error) => return Err(error),
        };
        let mut name = [0_u8; 64];
        let mut info = Info { name: name.as_mut_ptr() as u64, name_length: name.len() as u32, ..Info::default() };
        let mut attr =
            About { fd: types.as_raw_fd() as u32, length: size_of::<Info>() as u32, info: &raw mut info as u64 };
        // SAFETY: both have the layout of the kernel's structures and live through the call, as does the room for the name.
        unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
        // Programs have types too, and may be called as they like.
        if info.of_kernel != 0 && name.split(|&b| b == 0).next() == Some(module.as_bytes()) {
            return Ok(types);
        }
    }
}

/// union bpf_attr for BPF_PROG_LOAD, as kernels since 5.11 take it.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    length: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    device: u32,
    expected_attach_type: u32,
    types: u32,
    function_size: u32,
    functions: u64,
    function_count: u32,
    line_size: u32,
    lines: u64,
    line_count: u32,
    attach_to: u32,
    attach_types: u32,
    unused: u32,
}

/// For BPF_RAW_TRACEPOINT_OPEN.
#[repr(C)]
#[derive(Default)]
struct Link {
    name: u64,
    program: u32,
    unused: u32,
}

/// For BPF_BTF_LOAD.
#[repr(C)]
#[derive(Default)]
struct Types {
    bytes: u64,
    log: u64,
    length: u32,
    log_size: u32,
    log_level: u32,
    unused: u32,
}

/// For BPF_BTF_GET_NEXT_ID, and BPF_BTF_GET_FD_BY_ID.
#[repr(C)]
#[derive(Default)]
struct Next {
    start: u32,
    next: u32,
    flags: u32,
}

/// For BPF_OBJ_GET_INFO_BY_FD.
#[repr(C)]
struct About {
    fd: u32,
    length: u32,
    info: u64,
}

/// struct bpf_btf_info
#[repr(C)]
#[derive(Default)]
struct Info {
    bytes: u64,
    length: u32,
    id: u32,
    name: u64,
    name_length: u32,
    of_kernel: u32,
}
