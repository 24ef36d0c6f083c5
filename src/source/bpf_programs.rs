//! Which BPF programs and traffic control filters stand where packets pass: at a device (XDP, tc, tcx) and in a cgroup.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use super::netlink::{self, Client, Family, Request, attributes};
use super::{Host, text};

/// include/uapi/linux/bpf.h
const BPF_PROG_QUERY: libc::c_long = 16;
const BPF_CGROUP_INET_INGRESS: u32 = 0;
const BPF_CGROUP_INET_EGRESS: u32 = 1;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;
/// Programs at one place, at most (BPF_MPROG_MAX and BPF_CGROUP_MAX_PROGS are 64).
const PROGRAMS: usize = 64;
/// Cgroups looked at, at most.
const CGROUPS: usize = 10_000;

// include/uapi/linux/rtnetlink.h, if_link.h, pkt_cls.h, pkt_sched.h
const RTM_GETLINK: u16 = 18;
const RTM_GETTFILTER: u16 = 46;
/// struct ifinfomsg
const IFINFO: usize = 16;
/// struct tcmsg
const TCMSG: usize = 20;
const IFLA_IFNAME: u16 = 3;
const IFLA_XDP: u16 = 43;
/// One of them for each way of attaching; IFLA_XDP_PROG_ID says the same once more.
const IFLA_XDP_IDS: std::ops::RangeInclusive<u16> = 5..=7;
const IFLA_XDP_PROG_ID: u16 = 4;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_ID: u16 = 11;
const CLSACT_INGRESS: u32 = 0xffff_fff2;
const CLSACT_EGRESS: u32 = 0xffff_fff3;

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Received.
    In,
    /// Sent.
    Out,
}

/// A device, and the XDP programs on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: Vec<u8>,
    /// Its number.
    pub index: i32,
    /// The programs' numbers.
    pub xdp: Vec<u32>,
}

/// A filter of traffic control.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// `bpf`, `flower`, `u32`...
    pub kind: String,
    /// The lowest comes first.
    pub preference: u32,
    /// What the user called it: often a file and section.
    pub name: Option<String>,
    /// The program's number, for `bpf`.
    pub program: Option<u32>,
}

/// The devices of the calling thread's network namespace.
pub fn devices() -> io::Result<Vec<Device>> {
    netlink::start(|| {
        let mut found = Vec::new();
        let request = Request { name: "getlink-xdp", kind: RTM_GETLINK, payload: vec![0; IFINFO] };
        Client::new(&Host::Live, Family::Route).dump(&request, &mut found, Vec::clear, |found, payload| {
            device(payload).map(|device| found.push(device)).is_some()
        })?;
        Ok(found)
    })?
    .wait()
}

/// A device from the payload of an RTM_NEWLINK message.
pub fn device(payload: &[u8]) -> Option<Device> {
    let index = i32::from_ne_bytes(payload.get(4..8)?.try_into().ok()?);
    let mut device = Device { name: Vec::new(), index, xdp: Vec::new() };
    for (kind, value) in attributes(payload.get(IFINFO..)?) {
        match kind {
            IFLA_IFNAME => device.name = value.split(|&b| b == 0).next().unwrap_or_default().to_vec(),
            IFLA_XDP => {
                let ids = attributes(value).filter(|(kind, _)| IFLA_XDP_IDS.contains(kind));
                device.xdp = ids.filter_map(|(_, id)| number(id)).collect();
                if device.xdp.is_empty() {
                    let one = attributes(value).find(|(kind, _)| *kind == IFLA_XDP_PROG_ID);
                    device.xdp.extend(one.and_then(|(_, id)| number(id)));
                }
            }
            _ => {}
        }
    }
    (!device.name.is_empty()).then_some(device)
}

/// The filters of clsact or ingress on a device. None if it has neither.
pub fn filters(device: i32, way: Way) -> io::Result<Vec<Filter>> {
    let parent = if way == Way::In { CLSACT_INGRESS } else { CLSACT_EGRESS };
    let mut payload = vec![0; TCMSG];
    payload[4..8].copy_from_slice(&device.to_ne_bytes());
    payload[12..16].copy_from_slice(&parent.to_ne_bytes());
    netlink::start(move || {
        let mut found = Vec::new();
        let request = Request { name: "gettfilter", kind: RTM_GETTFILTER, payload };
        Client::new(&Host::Live, Family::Route).dump(&request, &mut found, Vec::clear, |found, payload| {
            filter(payload).map(|filter| found.push(filter)).is_some()
        })?;
        // A classifier that holds several filters, or none yet, also stands there by itself.
        found.retain(|filter| filter.kind != "bpf" || filter.program.is_some());
        found.dedup();
        Ok(found)
    })?
    .wait()
}

/// A filter from the payload of an RTM_NEWTFILTER message.
pub fn filter(payload: &[u8]) -> Option<Filter> {
    let info = number(payload.get(16..20)?)?;
    let mut filter = Filter { preference: info >> 16, ..Filter::default() };
    for (kind, value) in attributes(payload.get(TCMSG..)?) {
        match kind {
            // The first: what follows was read by it.
            TCA_KIND if filter.kind.is_empty() => filter.kind = string(value),
            TCA_OPTIONS if filter.kind == "bpf" => {
                for (kind, value) in attributes(value) {
                    match kind {
                        TCA_BPF_NAME => filter.name = Some(string(value)),
                        TCA_BPF_ID => filter.program = number(value),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    (!filter.kind.is_empty()).then_some(filter)
}

/// The programs at a device's tcx hook, in their order; an error on kernels without (before 6.6).
pub fn tcx(device: i32, way: Way) -> io::Result<Vec<u32>> {
    query(device.cast_unsigned(), if way == Way::In { BPF_TCX_INGRESS } else { BPF_TCX_EGRESS })
}

/// The cgroups that have programs for packets, with the programs' numbers. The first folder is the root of cgroup v2.
pub fn cgroups(way: Way) -> io::Result<Vec<(String, Vec<u32>)>> {
    let root = mount().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "cgroup v2 is not mounted"))?;
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        seen += 1;
        if seen > CGROUPS {
            return Err(io::Error::other(format!("more than {CGROUPS} cgroups")));
        }
        // One may be removed meanwhile.
        let Ok(file) = File::open(&folder) else { continue };
        let kind = if way == Way::In { BPF_CGROUP_INET_INGRESS } else { BPF_CGROUP_INET_EGRESS };
        let programs = query(file.as_raw_fd().cast_unsigned(), kind)?;
        if !programs.is_empty() {
            let path = folder.strip_prefix(&root).unwrap_or(Path::new(""));
            found.push((format!("/{}", text::printable(path.as_os_str().as_encoded_bytes())), programs));
        }
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        folders.extend(entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()));
    }
    Ok(found)
}

/// Where cgroup v2 is mounted.
fn mount() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/thread-self/mounts").ok()?;
    let words = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let path = words.into_iter().find(|words| words.get(2) == Some(&"cgroup2"))?[1].to_owned();
    Some(path.into())
}

/// The names of all programs in the kernel, by their numbers.
pub fn names() -> HashMap<u32, String> {
    let programs = aya::programs::loaded_programs().filter_map(Result::ok);
    programs.map(|program| (program.id(), text::printable(program.name()))).collect()
}

/// The part of union bpf_attr for BPF_PROG_QUERY, as kernels since 4.15 take it.
#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    unused: u32,
}

fn query(target: u32, attach_type: u32) -> io::Result<Vec<u32>> {
    let mut ids = vec![0_u32; PROGRAMS];
    let mut attr = Query { target, attach_type, programs: ids.as_mut_ptr() as u64, ..Query::default() };
    attr.count = PROGRAMS as u32;
    // SAFETY: `attr` has the layout of the kernel's structure and lives through the call, as does `ids`, which has room
    // for as many numbers as `count` says.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, &raw mut attr, size_of::<Query>() as libc::c_ulong) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    ids.truncate(attr.count as usize);
    Ok(ids)
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

fn string(bytes: &[u8]) -> String {
    text::printable(bytes.split(|&b| b == 0).next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::genl::attribute;
    use proptest::prelude::*;

    #[test]
    fn a_program_is_named_once_however_often_it_is_told() {
        let ids = [attribute(IFLA_XDP_PROG_ID, &9_u32.to_ne_bytes()), attribute(6, &9_u32.to_ne_bytes())].concat();
        let bytes = [vec![0; IFINFO], attribute(IFLA_IFNAME, b"eth0\0"), attribute(IFLA_XDP, &ids)].concat();
        let device = device(&bytes).unwrap();
        assert_eq!((device.name, device.xdp), (b"eth0".to_vec(), vec![9]));
    }

    #[test]
    fn a_filter_of_a_program_has_its_number() {
        let mut head = vec![0; TCMSG];
        head[16..20].copy_from_slice(&(49152_u32 << 16 | 3).to_ne_bytes());
        let options = [attribute(TCA_BPF_NAME, b"drop.o:[tc]\0"), attribute(TCA_BPF_ID, &7_u32.to_ne_bytes())].concat();
        let bytes = [head, attribute(TCA_KIND, b"bpf\0"), attribute(TCA_OPTIONS, &options)].concat();
        let filter = filter(&bytes).unwrap();
        assert_eq!((filter.preference, filter.program), (49152, Some(7)));
        assert_eq!(filter.name.as_deref(), Some("drop.o:[tc]"));
    }

    #[test]
    fn this_kernel_tells_its_devices() {
        assert!(devices().unwrap().iter().any(|device| device.name == b"lo"));
    }

    proptest! {
        #[test]
        fn no_message_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = device(&bytes);
            let _ = filter(&bytes);
        }
    }
}
