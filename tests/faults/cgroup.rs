//! A memory cgroup that limits what its sockets may hold (version 1).

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use crate::case::Outcome;
use crate::need::MEMORY_CGROUPS;

/// A memory cgroup of our own, gone again whatever happens.
pub struct Cgroup(PathBuf);

impl Cgroup {
    pub fn new(tcp_bytes: u32) -> Outcome<Self> {
        let cgroup = Self(PathBuf::from(format!("{MEMORY_CGROUPS}/nsdf-{}.service", std::process::id())));
        std::fs::create_dir(&cgroup.0)?;
        cgroup.limit(tcp_bytes)?;
        Ok(cgroup)
    }

    /// Sets another limit.
    pub fn limit(&self, tcp_bytes: u32) -> Outcome {
        Ok(std::fs::write(self.0.join("memory.kmem.tcp.limit_in_bytes"), tcp_bytes.to_string())?)
    }

    /// Puts a process in: what it opens and accepts from now on is charged here.
    pub fn take(&self, pid: u32) -> Outcome {
        Ok(std::fs::write(self.0.join("cgroup.procs"), pid.to_string())?)
    }

    /// The most bytes that its sockets held: at least the limit where memory was refused, for what must not fail is charged
    /// all the same.
    pub fn most(&self) -> Outcome<u64> {
        Ok(std::fs::read_to_string(self.0.join("memory.kmem.tcp.max_usage_in_bytes"))?.trim().parse()?)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Empty only once the process in it is reaped.
        for _ in 0..50 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        eprintln!("{} is still there", self.0.display());
    }
}
