//! Two network namespaces joined by a veth pair, ours alone.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const PREFIX: &str = "nsdl";
/// The device at either end.
pub const DEVICE: &str = "live0";

/// Why the trials can't run here.
pub fn lacking() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root".into());
    }
    let absent = |tool: &&str| Command::new(tool).arg("-V").output().is_err();
    if let Some(tool) = ["ip", "nstat", "ss"].into_iter().find(absent) {
        return Some(format!("needs the tool {tool}"));
    }
    Ground::new().err().map(|trouble| format!("no namespaces with a veth pair: {trouble}"))
}

/// A network card of this machine whose driver has statistics.
pub fn card() -> Option<String> {
    let names = std::fs::read_dir("/sys/class/net").ok()?.flatten().map(|entry| entry.file_name());
    let names = names.filter_map(|name| name.into_string().ok());
    let hardware = names.filter(|name| std::path::Path::new("/sys/class/net").join(name).join("device").exists());
    let has_statistics = |name: &String| {
        let output = Command::new("ethtool").args(["-S", name]).output();
        output.is_ok_and(|output| output.status.success())
    };
    hardware.into_iter().find(has_statistics)
}

/// Why what is asked of `ethtool` can't be compared.
pub fn no_card() -> Option<String> {
    match Command::new("ethtool").arg("--version").output() {
        Err(_) => Some("needs the tool ethtool".into()),
        Ok(_) => card().is_none().then(|| "needs a network card whose driver has statistics".into()),
    }
}

/// The two namespaces, deleted when dropped.
pub struct Ground {
    pub server: String,
    pub client: String,
}

impl Ground {
    pub fn new() -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        // The process id makes the name unique, and tells a later run whether its owner still lives.
        let [server, client] = ["s", "c"].map(|role| format!("{PREFIX}-{}-{n}{role}", std::process::id()));
        let ground = Ground { server, client };
        let (server, client) = (&ground.server, &ground.client);
        for end in [server, client] {
            ip(&["netns", "add", end])?;
        }
        let near = ["link", "add", DEVICE, "netns", server, "type", "veth"];
        ip(&[&near[..], &["peer", "name", DEVICE, "netns", client]].concat())?;
        for (end, host) in [(server, 1), (client, 2)] {
            ip(&["-n", end, "addr", "add", &format!("10.88.0.{host}/30"), "dev", DEVICE])?;
            ip(&["-n", end, "addr", "add", &format!("fd00:88::{host}/64"), "dev", DEVICE, "nodad"])?;
            ip(&["-n", end, "link", "set", "lo", "up"])?;
            ip(&["-n", end, "link", "set", DEVICE, "up"])?;
        }
        ground.wait()?;
        Ok(ground)
    }

    /// Packets pass only once both ends have a carrier.
    fn wait(&self) -> Result<(), String> {
        let end = Instant::now() + Duration::from_secs(5);
        for namespace in [&self.server, &self.client] {
            while !ip(&["-n", namespace, "link", "show", DEVICE])?.contains("LOWER_UP") {
                if Instant::now() > end {
                    return Err("no carrier after 5 s".into());
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for namespace in [&self.server, &self.client] {
            if let Err(trouble) = ip(&["netns", "del", namespace]) {
                eprintln!("{namespace} is left: {trouble}");
            }
        }
    }
}

/// Moves the calling thread into a namespace.
pub fn enter(namespace: &str) {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap();
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

/// Deletes what a killed run left.
pub fn sweep() {
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').nth(1)).unwrap_or_default();
        if owner.parse::<u32>().is_ok() && !std::path::Path::new("/proc").join(owner).exists() {
            let _gone_already = ip(&["netns", "del", &name]);
        }
    }
}

fn ip(args: &[&str]) -> Result<String, String> {
    let output = Command::new("ip").args(args).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}
