//! Which network devices there are, asked in three ways. They must agree: who hides a device from people hides it mostly
//! from one of them only.

use std::collections::BTreeSet;
use std::io;

use super::netlink::{Client, Family, Request, attributes};
use super::text::{lines, printable};
use super::{Host, sysfs};
use crate::model::Hidden;

// include/uapi/linux/rtnetlink.h, if_link.h
const RTM_GETLINK: u16 = 18;
const IFLA_IFNAME: u16 = 3;
const IFLA_EXT_MASK: u16 = 29;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
/// struct ifinfomsg
const IFINFO: usize = 16;
/// Among the devices in sysfs, but a file (drivers/net/bonding/bond_sysfs.c).
const NO_DEVICE: &[u8] = b"bonding_masters";

type Names = BTreeSet<Vec<u8>>;

/// Devices that one way shows and another does not, in the calling thread's network namespace. One that came or went
/// between two looks is none.
pub fn hidden(host: &Host) -> Vec<Hidden> {
    let first = differ(&ways(host));
    if first.is_empty() || host.is_recorded() {
        return first;
    }
    let again = differ(&ways(host));
    first.into_iter().filter(|hidden| again.contains(hidden)).collect()
}

/// What each way shows; absent where it may not be asked.
fn ways(host: &Host) -> [(&'static str, Option<Names>); 3] {
    [
        ("/proc/net/dev", in_proc(host).ok()),
        ("rtnetlink", in_netlink(host).ok()),
        ("/sys/class/net", in_sysfs(host).ok()),
    ]
}

/// What some show and others do not.
pub fn differ(ways: &[(&'static str, Option<Names>)]) -> Vec<Hidden> {
    let shown: Vec<(&str, &Names)> = ways.iter().filter_map(|(way, names)| Some((*way, names.as_ref()?))).collect();
    let all: BTreeSet<&Vec<u8>> = shown.iter().flat_map(|(_, names)| *names).collect();
    let ways = |device: &Vec<u8>, there: bool| {
        let ways = shown.iter().filter(|(_, names)| names.contains(device) == there);
        ways.map(|(way, _)| *way).collect::<Vec<_>>()
    };
    all.into_iter()
        .map(|device| Hidden { device: printable(device), shown: ways(device, true), hidden: ways(device, false) })
        .filter(|device| !device.hidden.is_empty())
        .collect()
}

fn in_proc(host: &Host) -> io::Result<Names> {
    let mut bytes = Vec::new();
    host.read("proc/net/dev", &mut bytes)?;
    Ok(listed(&bytes))
}

/// The names in `/proc/net/dev`: what stands before the colon, below two lines of headings.
pub fn listed(bytes: &[u8]) -> Names {
    let name = |line: &[u8]| Some(line[..line.iter().position(|&b| b == b':')?].trim_ascii().to_vec());
    lines(bytes).skip(2).filter_map(name).filter(|name| !name.is_empty()).collect()
}

fn in_netlink(host: &Host) -> io::Result<Names> {
    // Without statistics, which would be most of the answer.
    let mut payload = vec![0; IFINFO];
    super::genl::push(&mut payload, IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
    let request = Request { name: "getlink", kind: RTM_GETLINK, payload };
    let mut names = Names::new();
    Client::new(host, Family::Route).dump(&request, &mut names, Names::clear, |names, payload| {
        let name = payload.get(IFINFO..).and_then(|all| attributes(all).find(|(kind, _)| *kind == IFLA_IFNAME));
        name.map(|(_, name)| names.insert(super::genl::string(name).to_vec())).is_some()
    })?;
    Ok(names)
}

fn in_sysfs(host: &Host) -> io::Result<Names> {
    let names = if host.is_recorded() {
        host.list("sys/class/net")?
    } else {
        // That of the namespace, not the one that happens to be mounted.
        sysfs::list(&sysfs::root()?, "class/net")?
    };
    Ok(names.into_iter().filter(|name| name != NO_DEVICE).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(all: &[&str]) -> Option<Names> {
        Some(all.iter().map(|name| name.as_bytes().to_vec()).collect())
    }

    /// In a namespace of our own, where no device comes or goes; without the right to make one, here.
    #[test]
    fn the_three_ways_agree_here() {
        assert_eq!(hidden(&Host::Live), []);
    }

    #[test]
    fn what_one_way_hides_is_found() {
        let ways = [("a", names(&["lo", "eth0"])), ("b", names(&["lo", "eth0", "spy0"])), ("c", None)];
        let spy = Hidden { device: "spy0".into(), shown: vec!["b"], hidden: vec!["a"] };
        assert_eq!(differ(&ways), [spy]);
        assert_eq!(differ(&[("a", names(&["lo"])), ("b", None)]), []);
    }

    #[test]
    fn names_stand_before_the_colon() {
        let text = b"Inter-|   Receive\n face |bytes    packets\n    lo: 1 2\n eth0.5:99 1\nbroken\n";
        assert_eq!(Some(listed(text)), names(&["lo", "eth0.5"]));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = listed(&bytes);
        }
    }
}
