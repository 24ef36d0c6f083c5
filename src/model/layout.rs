//! Which CPU does the work of which queue: devices, their queues and interrupts, the CPUs and NUMA nodes.

use schemars::JsonSchema;
use serde::Serialize;

/// More CPUs than any kernel has (CONFIG_NR_CPUS ends at 8192): a list that names higher ones is none.
const MOST_CPUS: u32 = 8192;

/// All that was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Layout {
    /// The CPUs that are online.
    pub cpus: Vec<CpuPlace>,
    /// The devices that have queues.
    pub devices: Vec<DevicePlace>,
    /// The process of irqbalance, which moves interrupts, if it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub irqbalance: Option<u32>,
}

/// A CPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct CpuPlace {
    /// The kernel's number.
    pub cpu: u32,
    /// Its NUMA node, where the kernel tells of nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<u32>,
    /// True if it was set apart for other work (isolcpus=).
    pub isolated: bool,
    /// Share of its time in the window that went to softirqs, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub softirq_percent: Option<f64>,
    /// Runs of the receive softirq per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_rx_per_second: Option<f64>,
}

/// A network device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct DevicePlace {
    /// Its name.
    pub device: String,
    /// Its driver, of hardware.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Its place on the bus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bus: Option<String>,
    /// The NUMA node that it hangs on, if it hangs on one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<u32>,
    /// Its link to the PCIe bus, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pcie: Option<PcieLink>,
    /// The speed of its port, in Mbit/s; absent while it is down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_mbit_per_second: Option<u64>,
    /// Its queues.
    pub queues: Vec<QueuePlace>,
    /// Its interrupts.
    pub vectors: Vec<VectorPlace>,
}

/// A link to the PCIe bus, as it was negotiated, and as the device could have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct PcieLink {
    /// Lanes in use.
    pub lanes: u64,
    /// Lanes that the device has.
    pub most_lanes: u64,
    /// Transfers in 10^9 a second and lane.
    pub gigatransfers: f64,
    /// The same, as fast as the device can.
    pub most_gigatransfers: f64,
}

impl PcieLink {
    /// What it carries, in Gbit/s, before the headers of its packets: of ten bits eight (up to 5 GT/s), of 130 bits 128.
    pub fn gbit(&self) -> f64 {
        let code = if self.gigatransfers > 5.0 { 128.0 / 130.0 } else { 0.8 };
        self.lanes as f64 * self.gigatransfers * code
    }

    /// True if the slot gives less than the device could use.
    pub fn is_narrow(&self) -> bool {
        self.lanes < self.most_lanes || self.gigatransfers < self.most_gigatransfers
    }
}

/// A queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct QueuePlace {
    /// Its name: `rx-0`, as sysfs calls it.
    pub queue: String,
    /// The NAPI instance that polls it, where the driver tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub napi: Option<u32>,
    /// The interrupt that announces its work: as netdev netlink tells it, else by the interrupt's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub irq: Option<u32>,
    /// CPUs of its RPS mask (receive) or XPS mask (transmit).
    pub mask: Vec<u32>,
    /// The mask as the kernel prints it, where there is one.
    #[serde(skip)]
    pub printed: Option<String>,
    /// Entries of the device's RSS table that lead to it: its share of the flows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rss_entries: Option<u64>,
    /// Flows that RFS follows on it; 0 is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rfs_flows: Option<u64>,
    /// Packets per second in the window, where the driver counts by queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_per_second: Option<f64>,
}

/// An interrupt of a device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct VectorPlace {
    /// What the driver calls it.
    pub vector: String,
    /// Its number.
    pub irq: u32,
    /// CPUs that may take it.
    pub allowed: Vec<u32>,
    /// The CPUs as the kernel prints them.
    #[serde(skip)]
    pub printed: Option<String>,
    /// CPUs that do take it.
    pub effective: Vec<u32>,
    /// Times that it fired per second in the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
}

impl Layout {
    /// The NUMA node of a CPU.
    pub fn node_of(&self, cpu: u32) -> Option<u32> {
        self.cpus.iter().find(|place| place.cpu == cpu)?.node
    }

    /// The CPUs that may work for a device on this node: not set apart; all nodes' if it hangs on none. Those with the fewest
    /// devices' interrupts first, and of them those that have most time left.
    pub fn fit_for(&self, node: Option<u32>) -> Vec<u32> {
        let fits = |cpu: &&CpuPlace| !cpu.isolated && (node.is_none() || cpu.node == node);
        let vectors = |cpu: u32| {
            let taken = self.devices.iter().flat_map(|device| &device.vectors);
            taken.filter(|vector| vector.effective == [cpu] && vector.per_second.is_none_or(|rate| rate >= 1.0)).count()
        };
        let mut fit: Vec<&CpuPlace> = self.cpus.iter().filter(fits).collect();
        // A few percent more or less say nothing.
        fit.sort_by_key(|cpu| (vectors(cpu.cpu), (cpu.softirq_percent.unwrap_or(0.0) / 10.0) as u64));
        fit.into_iter().map(|cpu| cpu.cpu).collect()
    }

    /// True if the CPUs hang on more than one NUMA node.
    pub fn has_nodes(&self) -> bool {
        let first = self.cpus.first().and_then(|cpu| cpu.node);
        self.cpus.iter().any(|cpu| cpu.node != first)
    }

    /// True if a CPU was set apart.
    pub fn isolated(&self, cpu: u32) -> bool {
        self.cpus.iter().any(|place| place.cpu == cpu && place.isolated)
    }
}

impl QueuePlace {
    /// True for a receive queue.
    pub fn receives(&self) -> bool {
        self.queue.starts_with("rx-")
    }
}

impl DevicePlace {
    /// Its receive queues.
    pub fn receive(&self) -> impl Iterator<Item = &QueuePlace> {
        self.queues.iter().filter(|queue| queue.receives())
    }

    /// Its transmit queues.
    pub fn transmit(&self) -> impl Iterator<Item = &QueuePlace> {
        self.queues.iter().filter(|queue| !queue.receives())
    }
}

/// CPUs from a list as the kernel prints it (`0-3,8`; `%*pbl` in lib/vsprintf.c). An empty one has none; absent if it is
/// no list.
pub fn cpu_list(list: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in list.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if last >= MOST_CPUS || cpus.len() > MOST_CPUS as usize {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// CPUs from a bitmap as the kernel prints it (`ff,00000000`; `%*pb` in lib/vsprintf.c). Absent if it is none.
pub fn cpu_mask(mask: &str) -> Option<Vec<u32>> {
    let words: Vec<u32> =
        mask.trim().split(',').map(|group| u32::from_str_radix(group, 16).ok()).collect::<Option<_>>()?;
    let bits = words.iter().rev().zip(0_u32..).flat_map(|(word, group)| {
        (0..32).filter(move |bit| word & (1 << bit) != 0).map(move |bit| group.saturating_mul(32).saturating_add(bit))
    });
    Some(bits.collect())
}

/// CPUs as people and the kernel write them: `0-3,8`; `none`.
pub fn written(cpus: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for cpu in cpus {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*cpu) => *last = *cpu,
            _ => ranges.push((*cpu, *cpu)),
        }
    }
    let range = |(first, last): &(u32, u32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    ranges.iter().map(range).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_and_masks_are_read_as_the_kernel_prints_them() {
        assert_eq!(cpu_list("0-2,8\n"), Some(vec![0, 1, 2, 8]));
        assert_eq!(cpu_list(""), Some(vec![]));
        assert_eq!(cpu_list("0-4294967295"), None);
        assert_eq!(cpu_list("all"), None);
        assert_eq!(cpu_mask("3,80000001"), Some(vec![0, 31, 32, 33]));
        assert_eq!(cpu_mask("x"), None);
        assert_eq!(written(&[0, 1, 2, 8]), "0-2,8");
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".{0,60}") {
            let _ = (cpu_list(&text), cpu_mask(&text));
        }
    }
}
