//! Two network namespaces joined by a veth pair.
//!
//! ```text
//! client  va 10.77.0.1/30 fd00:77::1/64  <---->  vb 10.77.0.2/30 fd00:77::2/64  server
//! ```
//!
//! Both ends have fixed link addresses and permanent neighbour entries, so that no ARP or neighbour discovery takes
//! part in a count.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::case::{Outcome, wrong};

const PREFIX: &str = "nsdf";
/// The server's end of the veth pair.
pub const SERVER_DEVICE: &str = "vb";
/// The client's end.
pub const CLIENT_DEVICE: &str = "va";
pub const CLIENT_MAC: &str = "02:00:00:77:00:01";
pub const SERVER_MAC: &str = "02:00:00:77:00:02";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub fn client(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(10, 77, 0, 1).into(),
            Self::V6 => Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 1).into(),
        }
    }

    pub fn server(self, port: u16) -> SocketAddr {
        let address: IpAddr = match self {
            Self::V4 => Ipv4Addr::new(10, 77, 0, 2).into(),
            Self::V6 => Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 2).into(),
        };
        SocketAddr::new(address, port)
    }

    /// The kernel counts UDP apart for each family, under one name and two groups.
    pub fn udp(self, counter: &str) -> String {
        format!("{}.{counter}", if self == Self::V4 { "Udp" } else { "Udp6" })
    }

    /// For the names of cases.
    pub fn suffix(self) -> &'static str {
        if self == Self::V4 { "v4" } else { "v6" }
    }
}

/// A namespace of ours; deleted when dropped, also by a panic.
pub struct Namespace {
    pub name: String,
}

impl Namespace {
    fn new(role: &str) -> Outcome<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        // The process id makes the name unique, and tells a later run whether its owner still lives.
        let name = format!("{PREFIX}-{}-{n}{role}", std::process::id());
        ip(&["netns", "add", &name])?;
        Ok(Self { name })
    }

    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// Runs a command inside, where `ip netns exec` also mounts the sysfs of that namespace.
    pub fn exec(&self, command: &[&str]) -> Outcome<String> {
        ip(&[&["netns", "exec", &self.name], command].concat())
    }

    /// Runs `work` on a thread of its own that is inside; `/proc/sys/net` and `/proc/thread-self/net` follow it.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(&self.name)?;
                work()
            });
            thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread inside the namespace panicked")))
        })
    }

    pub fn get(&self, sysctl: &str) -> Outcome<String> {
        let path = format!("/proc/sys/{sysctl}");
        Ok(self.inside(|| std::fs::read_to_string(&path))?.trim().to_owned())
    }

    pub fn set(&self, sysctl: &str, value: &str) -> Outcome {
        let path = format!("/proc/sys/{sysctl}");
        Ok(self.inside(|| std::fs::write(&path, value))?)
    }

    pub fn nft(&self, rules: &str) -> Outcome {
        self.exec(&["nft", rules]).map(drop)
    }

    /// More rules than a command line holds, a line each.
    pub fn nft_file(&self, rules: &str) -> Outcome {
        let nft = ["netns", "exec", &self.name, "nft", "-f", "-"];
        run(Command::new("ip").args(nft), rules).map(drop)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(trouble) = ip(&["netns", "del", &self.name]) {
            eprintln!("{}: not deleted: {trouble:?}", self.name);
        }
    }
}

/// Moves the calling thread into the named namespace.
pub fn enter(name: &str) -> io::Result<()> {
    let file = File::open(format!("/run/netns/{name}"))?;
    Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?)
}

pub struct Lab {
    pub client: Namespace,
    pub server: Namespace,
}

impl Lab {
    pub fn new() -> Outcome<Self> {
        let lab = Self { client: Namespace::new("c")?, server: Namespace::new("s")? };
        let (client, server) = (lab.client.name.as_str(), lab.server.name.as_str());
        let near = ["link", "add", CLIENT_DEVICE, "address", CLIENT_MAC, "netns", client, "type", "veth"];
        let far = ["peer", "name", SERVER_DEVICE, "address", SERVER_MAC, "netns", server];
        ip(&[near.as_slice(), &far].concat())?;
        for (end, device, host, other, mac) in
            [(client, CLIENT_DEVICE, 1, 2, SERVER_MAC), (server, SERVER_DEVICE, 2, 1, CLIENT_MAC)]
        {
            // One `ip` process for all of it: starting a process is what takes the time here.
            batch(
                end,
                &[
                    "link set lo up".into(),
                    format!("link set {device} up"),
                    format!("addr add 10.77.0.{host}/30 dev {device}"),
                    format!("addr add fd00:77::{host}/64 dev {device} nodad"),
                    format!("neigh replace 10.77.0.{other} lladdr {mac} nud permanent dev {device}"),
                    format!("neigh replace fd00:77::{other} lladdr {mac} nud permanent dev {device}"),
                ],
            )?;
        }
        lab.wait_for_links()?;
        Ok(lab)
    }

    /// Addresses can be bound and packets pass only once both ends have a carrier.
    fn wait_for_links(&self) -> Outcome {
        let deadline = Instant::now() + Duration::from_secs(5);
        for (end, device) in [(&self.client, CLIENT_DEVICE), (&self.server, SERVER_DEVICE)] {
            while !ip(&["-n", &end.name, "-o", "link", "show", device])?.contains("LOWER_UP") {
                if Instant::now() > deadline {
                    return wrong(format_args!("{device} has no carrier after 5 s"));
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }
}

/// Deletes namespaces left behind by a run that was killed: ours by name, and their owner is gone.
pub fn sweep() {
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').nth(1)).unwrap_or_default();
        if owner.parse::<u32>().is_ok() && !std::path::Path::new("/proc").join(owner).exists() {
            let _gone_already = ip(&["netns", "del", &name]);
        }
    }
}

pub fn batch(namespace: &str, commands: &[String]) -> Outcome {
    let script = commands.join("\n");
    run(Command::new("ip").args(["-n", namespace, "-batch", "-"]), &script).map(drop)
}

pub fn ip(args: &[&str]) -> Outcome<String> {
    run(Command::new("ip").args(args), "")
}

fn run(command: &mut Command, input: &str) -> Outcome<String> {
    use io::Write;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    wrong(format_args!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
