//! Makes a recording fit for strangers: addresses and names are replaced, each by the same one everywhere, so that a report
//! on it says the same of others.
//!
//! What is known to hold neither is kept; what is known to hold them is rewritten; everything else is left out. So a source
//! that is new here is missing in a redacted recording until it is said here what is to become of it, and never leaks.

mod messages;
mod names;
mod text;

use super::ethtool::driver;
use super::groups::DOORS;
use super::owner::HELD;
use super::tape::Reel;
use messages::{link, numbers, rewrite, socket};
use names::Names;

/// Files that hold numbers, and words of the kernel's own; besides those in [`DOORS`].
const PLAIN: [&str; 5] = ["proc/uptime", "proc/meminfo", "proc/net/dev", "proc/sys/kernel/osrelease", HELD];
/// Netlink answers that hold numbers, and of names only those of devices.
const OF_NUMBERS: [&str; 15] = [
    "generic/qstats-get",
    "generic/qstats-get-queue",
    "generic/page-pool-stats-get",
    "generic/napi-get",
    "generic/stats-get",
    "generic/pause-get",
    "generic/fec-get",
    "generic/linkstate-get",
    "generic/rings-get",
    "generic/channels-get",
    "generic/coalesce-get",
    "generic/features-get",
    "generic/linkmodes-get",
    "netfilter/ct_stats_cpu",
    "netfilter/ct_stats",
];
/// Folders whose members are devices. What drivers count, in the last, has names that the driver gives.
const OF_DEVICES: [&str; 6] = [
    DRIVERS,
    "sys/class/net/",
    "proc/sys/net/ipv4/conf/",
    "proc/sys/net/ipv6/conf/",
    "proc/sys/net/ipv4/neigh/",
    "proc/sys/net/ipv6/neigh/",
];
const DRIVERS: &str = ".ethtool/";
const HASH: &str = ".hash.bin";
/// Members of these folders that are no devices.
const NO_DEVICES: [&str; 2] = ["all", "default"];
/// Answers about devices.
const LINKS: &str = ".netlink/route/getlink.";
/// A setting may hold numbers, lists of them, bitmaps, and the kernel's names for algorithms.
const IN_SETTINGS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz_-,. \t\n";

/// Replaces what strangers must not see, in all samples alike. Returns what is left out.
pub fn redact(samples: &mut [Reel]) -> Vec<String> {
    let mut names = Names::default();
    // Names that stand in running text are known only once those are read that stand by themselves.
    for reel in &*samples {
        learn(reel, &mut names);
    }
    let mut left_out = Vec::new();
    for reel in samples {
        let files = std::mem::take(&mut reel.files);
        for (path, bytes) in files {
            let path_now = renamed(&path, &mut names);
            match rewritten(&path, &bytes, &mut names) {
                Some(bytes) => drop(reel.files.insert(path_now, bytes)),
                None => reel.notes.left_out.push(told(&path_now)),
            }
        }
        reel.notes.redacted = true;
        // A source may be called after its device.
        let read = std::mem::take(&mut reel.notes.read).into_iter();
        let renamed = |(name, span): (String, _)| {
            (String::from_utf8_lossy(&text::plain(name.as_bytes(), &mut names)).into_owned(), span)
        };
        reel.notes.read = read.map(renamed).collect();
        reel.notes.netns_name = reel.notes.netns_name.take().map(|name| names.netns(&name));
        // A namespace without a name was given by a path, or by a process.
        reel.notes.enter = reel.notes.netns_name.as_ref().map(|name| format!("ip netns exec {name}"));
        left_out.extend(reel.notes.left_out.iter().map(|path| format!("{path}: may hold addresses or names")));
    }
    left_out.sort();
    left_out.dedup();
    left_out
}

fn learn(reel: &Reel, names: &mut Names) {
    for (path, bytes) in &reel.files {
        match &path[..] {
            "proc/sys/kernel/hostname" => drop(names.host(bytes.trim_ascii())),
            _ if path.starts_with(LINKS) => drop(rewrite(bytes, |payload| link(payload, names))),
            _ => drop(renamed(path, names)),
        }
    }
}

/// What becomes of a file. None if it is not known here.
fn rewritten(path: &str, bytes: &[u8], names: &mut Names) -> Option<Vec<u8>> {
    if DOORS.iter().any(|door| door.path == path) || PLAIN.contains(&path) {
        return Some(text::plain(bytes, names));
    }
    match path {
        "proc/sys/kernel/hostname" => return Some(format!("{}\n", names.host(bytes.trim_ascii())).into()),
        _ if path.starts_with(LINKS) => return Some(rewrite(bytes, |payload| link(payload, names))),
        "proc/interrupts" => return Some(text::plain(bytes, names)),
        // Kinds of flows and fields, nothing of the very card.
        _ if path.starts_with(DRIVERS) && path.ends_with(HASH) => return Some(bytes.to_vec()),
        _ if path.starts_with(DRIVERS) => return Some(driver::without_firmware(bytes)),
        _ if is_of_numbers(path) => return Some(rewrite(bytes, |payload| numbers(payload, names))),
        _ if path.starts_with(".netlink/sock_diag/") => return Some(rewrite(bytes, |payload| socket(payload, names))),
        _ if ["proc/sys/net/", "proc/sys/vm/", "sys/class/net/"].iter().any(|folder| path.starts_with(folder)) => {
            let is_setting = bytes.iter().all(|byte| IN_SETTINGS.contains(byte));
            return is_setting.then(|| text::plain(bytes, names));
        }
        _ => {}
    }
    let (pid, file) = path.strip_prefix("proc/")?.split_once('/')?;
    match file {
        _ if !pid.bytes().all(|byte| byte.is_ascii_digit()) => None,
        "comm" => Some(format!("{}\n", names.process(bytes.trim_ascii_end())).into()),
        "cgroup" => Some(text::cgroups(bytes, names)),
        _ => None,
    }
}

/// Whether it is one of [`OF_NUMBERS`], to whichever question of that name.
fn is_of_numbers(path: &str) -> bool {
    let name = path.strip_prefix(".netlink/").and_then(|path| path.split('.').next());
    name.is_some_and(|name| OF_NUMBERS.contains(&name))
}

/// What may be said of a file that is left out: names of folders that the kernel has, and of requests, which are ours.
fn told(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        [".netlink", ..] | ["proc", "net" | "sys", _] => path.into(),
        ["proc", "net", file, ..] => format!("proc/net/{file}/"),
        [top, ..] => format!("{top}/"),
        [] => String::new(),
    }
}

/// The path, with the device in it replaced.
fn renamed(path: &str, names: &mut Names) -> String {
    let Some(folder) = OF_DEVICES.iter().find(|folder| path.starts_with(**folder)) else { return path.into() };
    let rest = &path[folder.len()..];
    let (device, file) = rest.split_once('/').unwrap_or((rest, ""));
    if NO_DEVICES.contains(&device) {
        return path.into();
    }
    if *folder == DRIVERS {
        let end = if device.ends_with(HASH) { HASH } else { ".bin" };
        return format!("{folder}{}{end}", names.device(device.trim_end_matches(end).as_bytes()));
    }
    format!("{folder}{}/{file}", names.device(device.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reel(files: &[(&str, &[u8])]) -> Reel {
        Reel { files: files.iter().map(|(path, bytes)| ((*path).into(), bytes.to_vec())).collect(), ..Reel::default() }
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let mut samples = [reel(&[
            ("proc/net/fib_trie", b"10.1.2.3"),
            ("proc/net/dev_snmp6/wan0", b"1"),
            ("etc/wan0", b"1"),
            ("proc/7/environ", b"PASSWORD=x"),
            ("sys/class/net/wan0/ifalias", b"Customer"),
            (".netlink/netfilter/getrule.bin", b"office"),
        ])];
        let left_out = redact(&mut samples);
        assert!(samples[0].files.is_empty(), "{:?}", samples[0].files);
        assert_eq!(left_out.len(), 6);
        assert!(!format!("{left_out:?}{:?}", samples[0].notes).contains("wan0"));
    }

    #[test]
    fn one_name_stands_for_the_same_everywhere() {
        let files = |uptime: &'static [u8]| {
            reel(&[
                ("proc/uptime", uptime),
                (".ethtool/wan0.bin", b""),
                (".ethtool/wan0.hash.bin", b"fields"),
                ("proc/sys/kernel/hostname", b"db-7.example.org\n"),
                ("proc/sys/net/ipv4/conf/wan0/rp_filter", b"1\n"),
                ("proc/sys/net/ipv4/conf/all/rp_filter", b"0\n"),
                ("sys/class/net/wan0/queues/rx-0/rps_cpus", b"00000000,00000003\n"),
                (".ethtool/wan0.bin", b"rx_missed"),
                ("proc/net/dev", b"  wan0: 1 2\n"),
                ("proc/stat", b"cpu 1 2\nintr wan0-rx-0 10.1.2.3\n"),
            ])
        };
        let mut samples = [files(b"1.00 2.00\n"), files(b"3.00 4.00\n")];
        samples[0].notes.read.insert("driver statistics of wan0".into(), [1, 2]);
        assert!(redact(&mut samples).is_empty());
        let [before, after] = samples;
        assert_eq!(before.files.keys().collect::<Vec<_>>(), after.files.keys().collect::<Vec<_>>());
        assert_eq!(before.notes.read.keys().collect::<Vec<_>>(), ["driver statistics of dev1"]);
        assert_eq!(after.files["proc/uptime"], b"3.00 4.00\n");
        assert!(after.files.contains_key(".ethtool/dev1.bin"));
        assert_eq!(after.files[".ethtool/dev1.hash.bin"], b"fields");
        assert_eq!(after.files["proc/sys/net/ipv4/conf/dev1/rp_filter"], b"1\n");
        assert_eq!(after.files["sys/class/net/dev1/queues/rx-0/rps_cpus"], b"00000000,00000003\n");
        assert_eq!(after.files["proc/sys/net/ipv4/conf/all/rp_filter"], b"0\n");
        assert_eq!(after.files["proc/stat"], b"cpu 1 2\nintr dev1-rx-0 198.18.0.1\n");
        assert_eq!(after.files[".ethtool/dev1.bin"], b"rx_missed");
        assert_eq!(after.files["proc/net/dev"], b"  dev1: 1 2\n");
        assert_eq!(after.files["proc/sys/kernel/hostname"], b"host1\n");
    }
}
