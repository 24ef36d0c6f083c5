//! Which CPU does the work of which queue: sysfs, `/proc/irq`, `/proc/interrupts`, netdev netlink, put together.

use std::collections::BTreeMap;
use std::io;

use super::ethtool::driver::{self, Asker};
use super::ethtool::rss;
use super::interrupts::{self, Card};
use super::netlink::{Client, Family};
use super::{Host, link, netdev, settings, text};
use crate::model::layout::{cpu_list, cpu_mask};
use crate::model::{CpuPlace, DevicePlace, Layout, PcieLink, QueuePlace, SettingFile, Settings, Tree, VectorPlace};

/// Of the queues of all devices. Software devices have them too.
const QUEUES: [&str; 4] = [
    "class/net/DEV/queues/rx-N/rps_cpus",
    "class/net/DEV/queues/rx-N/rps_flow_cnt",
    // Of a device with one queue it can't be read (net/core/net-sysfs.c xps_cpus_show()), but its name is there.
    "class/net/DEV/queues/tx-N/tx_timeout",
    "class/net/DEV/speed",
];
/// SPEED_UNKNOWN of include/uapi/linux/ethtool.h, as a 32-bit number: a port that is down.
const UNKNOWN: u64 = 0xffff_ffff;
const XPS: &str = "class/net/DEV/queues/tx-N/xps_cpus";

/// The layout, as far as it can be read. The devices are those of the calling thread's network namespace.
///
/// # Errors
/// If the devices can't be listed. What else is missing is left out.
pub fn read(host: &Host) -> io::Result<Layout> {
    read_beside(host, host)
}

/// Reads it for a recording: what holds counters too was kept with their sample, and is not kept again.
///
/// # Errors
/// As [`read`].
pub fn keep(host: &Host) -> io::Result<()> {
    read_beside(host, &Host::Live).map(drop)
}

fn read_beside(host: &Host, counted: &Host) -> io::Result<Layout> {
    let (links, _) = link::read(counted)?;
    let templates = QUEUES.iter().copied().chain([XPS]).map(|path| sysfs(path.into()));
    let found = settings::read(host, templates);
    let (irqs, napis) = polled(host);
    let mut interrupts = Vec::new();
    // Without it the vectors stay unknown.
    let _ = counted.read("proc/interrupts", &mut interrupts);
    let mut asker = Asker::new(counted).ok();
    let mut devices: Vec<DevicePlace> = Vec::new();
    for link in &links {
        let name = text::printable(&link.name);
        let mut place = DevicePlace { queues: queues(&found, &name), device: name, ..DevicePlace::default() };
        let answer = asker.as_mut().filter(|_| link.hardware).and_then(|asker| asker.ask(&link.name).ok());
        if let Some(driver) = answer.as_deref().and_then(driver::parse) {
            place.driver = Some(text::printable(driver.name));
            let card = Card { device: link.name.clone(), bus: driver.bus.into(), irqs: Vec::new() };
            place.vectors = vectors(host, &interrupts, &card.with_irqs(counted, &interrupts));
            spread(&mut place, &rss::read(host, &link.name));
            place.port_mbit_per_second =
                found.number(&format!("class/net/{}/speed", place.device)).filter(|speed| (1..UNKNOWN).contains(speed));
            if let Some(bus) = interrupts::pci(driver.bus) {
                on_bus(host, &bus, &mut place);
                place.bus = Some(bus);
            }
        }
        join(&mut place, link.index, &irqs, &napis);
        devices.push(place);
    }
    Ok(Layout { cpus: cpus(host), devices, irqbalance: irqbalance(host) })
}

fn sysfs(path: String) -> SettingFile {
    SettingFile { tree: Tree::Sysfs, path }
}

/// A single setting of the machine.
fn one(host: &Host, path: &str) -> Option<String> {
    settings::read(host, std::iter::once(sysfs(path.into()))).get(path).map(str::to_owned)
}

fn list(host: &Host, path: &str) -> Vec<u32> {
    one(host, path).and_then(|list| cpu_list(&list)).unwrap_or_default()
}

fn cpus(host: &Host) -> Vec<CpuPlace> {
    let isolated = list(host, "devices/system/cpu/isolated");
    let nodes: Vec<(u32, Vec<u32>)> = list(host, "devices/system/node/online")
        .into_iter()
        .map(|node| (node, list(host, &format!("devices/system/node/node{node}/cpulist"))))
        .collect();
    let place = |cpu: u32| CpuPlace {
        cpu,
        node: nodes.iter().find(|(_, cpus)| cpus.contains(&cpu)).map(|(node, _)| *node),
        isolated: isolated.contains(&cpu),
        ..CpuPlace::default()
    };
    list(host, "devices/system/cpu/online").into_iter().map(place).collect()
}

/// The queues of a device, receiving ones first, each kind by its number.
fn queues(found: &Settings, device: &str) -> Vec<QueuePlace> {
    let start = format!("class/net/{device}/queues/");
    let mut queues = Vec::new();
    for (queue, printed) in found.between(&start, "/rps_cpus") {
        let rfs_flows = found.number(&format!("{start}{queue}/rps_flow_cnt"));
        queues.push(queue_place(queue, Some(printed), rfs_flows));
    }
    for (queue, _) in found.between(&start, "/tx_timeout") {
        queues.push(queue_place(queue, found.get(&format!("{start}{queue}/xps_cpus")), None));
    }
    queues.sort_by_key(|queue| (queue.queue.starts_with("tx-"), number_in(queue.queue.as_bytes())));
    queues
}

fn queue_place(queue: &str, printed: Option<&str>, rfs_flows: Option<u64>) -> QueuePlace {
    let mask = printed.and_then(cpu_mask).unwrap_or_default();
    QueuePlace { queue: queue.into(), mask, printed: printed.map(str::to_owned), rfs_flows, ..QueuePlace::default() }
}

fn vectors(host: &Host, interrupts: &[u8], card: &Card) -> Vec<VectorPlace> {
    let place = |(irq, name): (u32, Vec<u8>)| {
        let of = |file: &str| {
            let path = format!("irq/{irq}/{file}");
            let wanted = SettingFile { tree: Tree::Irq, path: path.clone() };
            settings::read(host, std::iter::once(wanted)).get(&path).map(str::to_owned)
        };
        let printed = of("smp_affinity_list");
        let allowed = printed.as_deref().and_then(cpu_list).unwrap_or_default();
        // Kernels without it (before 4.15, some architectures) deliver where they may.
        let effective = of("effective_affinity_list").and_then(|list| cpu_list(&list));
        let effective = effective.filter(|cpus| !cpus.is_empty()).unwrap_or_else(|| allowed.clone());
        VectorPlace { vector: text::printable(&name), irq, allowed, printed, effective, per_second: None }
    };
    interrupts::vectors(interrupts, card).into_iter().map(place).collect()
}

fn on_bus(host: &Host, bus: &str, place: &mut DevicePlace) {
    let of = |file: &str| one(host, &format!("bus/pci/devices/{bus}/{file}"));
    // -1 without nodes: then it hangs on none.
    place.node = of("numa_node").and_then(|node| node.parse().ok());
    let lanes = |file| of(file).and_then(|lanes| lanes.parse::<u64>().ok()).filter(|lanes| (1..=32).contains(lanes));
    // `8.0 GT/s PCIe`, or `Unknown` (drivers/pci/pci-sysfs.c, pci_speed_string()).
    let speed =
        |file| of(file).and_then(|speed| speed.split(' ').next()?.parse::<f64>().ok()).filter(|speed| *speed > 0.0);
    let widths = ["current_link_width", "max_link_width"].map(lanes);
    let speeds = ["current_link_speed", "max_link_speed"].map(speed);
    if let ([Some(lanes), Some(most_lanes)], [Some(gigatransfers), Some(most_gigatransfers)]) = (widths, speeds) {
        place.pcie = Some(PcieLink { lanes, most_lanes, gigatransfers, most_gigatransfers });
    }
}

/// The entries of the device's RSS table that lead to each of its receive queues.
fn spread(place: &mut DevicePlace, entries: &BTreeMap<u32, u64>) {
    for queue in place.queues.iter_mut().filter(|queue| queue.receives() && !entries.is_empty()) {
        let number = number_in(queue.queue.as_bytes());
        queue.rss_entries = number.map(|number| entries.get(&number).copied().unwrap_or(0));
    }
}

/// The NAPI instance of each queue, by the device's number, whether it receives, and its own number.
type Polled = BTreeMap<(u32, bool, u32), u32>;

/// The interrupt of each NAPI instance, and the instance of each queue, of drivers that take part in netdev netlink
/// (since 6.8; the interrupt too).
fn polled(host: &Host) -> (BTreeMap<u32, u32>, Polled) {
    let mut client = Client::new(host, Family::Generic);
    let napis = netdev::napis(&mut client).map(|(napis, _)| napis).unwrap_or_default();
    let queues = netdev::queues(&mut client).map(|(queues, _)| queues).unwrap_or_default();
    let irqs = napis.into_iter().filter_map(|napi| Some((napi.id, napi.irq?))).collect();
    let queues = queues.into_iter().filter_map(|queue| Some(((queue.device, queue.receives, queue.id), queue.napi?)));
    (irqs, queues.collect())
}

/// Which interrupt announces the work of which queue: as the kernel tells, else by the interrupt's name.
fn join(place: &mut DevicePlace, index: u32, irqs: &BTreeMap<u32, u32>, napis: &Polled) {
    for queue in &mut place.queues {
        let receives = queue.receives();
        let Some(number) = number_in(queue.queue.as_bytes()) else { continue };
        queue.napi = napis.get(&(index, receives, number)).copied();
        let told = queue.napi.and_then(|napi| irqs.get(&napi).copied());
        let named = || place.vectors.iter().find(|vector| serves(&vector.vector, receives, number));
        queue.irq = told.or_else(|| named().map(|vector| vector.irq));
    }
}

/// True if an interrupt of this name is that of the queue: `TxRx-1`, `input.0`, `output.0`, `rx-0`, `Tx-Rx-3`,
/// `mlx5_comp2`; not `config`, `mgmnt`, or mlx5's `mlx5_async0`.
fn serves(vector: &str, receives: bool, number: u32) -> bool {
    let name = vector.to_ascii_lowercase();
    let of = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let kind = if receives { of(&["rx", "input", "comp"]) } else { of(&["tx", "output", "comp"]) };
    kind && number_in(name.as_bytes()) == Some(number)
}

/// The number at the end of a name.
fn number_in(name: &[u8]) -> Option<u32> {
    let digits = name.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    std::str::from_utf8(&name[name.len() - digits..]).ok()?.parse().ok()
}

/// The process of irqbalance, by the socket that it opens for questions (irqbalance's `/run/irqbalance/irqbalancePID.sock`).
/// A killed one leaves its socket behind, so the process must be there.
fn irqbalance(host: &Host) -> Option<u32> {
    let names = host.list("run/irqbalance").ok()?;
    names.into_iter().find_map(|name| {
        let name = String::from_utf8(name).ok()?;
        let pid: u32 = name.strip_prefix("irqbalance")?.strip_suffix(".sock")?.parse().ok()?;
        let mut comm = Vec::new();
        host.read(&format!("proc/{pid}/comm"), &mut comm).ok()?;
        let runs = comm.trim_ascii() == b"irqbalance";
        if runs {
            // A socket can't be kept in a recording, but its name.
            host.keep(&format!("run/irqbalance/{name}"), b"");
        }
        runs.then_some(pid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn interrupts_are_joined_to_queues_by_name() {
        for (vector, rx, tx) in [
            ("input.1", true, false),
            ("output.1", false, true),
            ("TxRx-1", true, true),
            ("Tx-Rx-1", true, true),
            ("rx-1", true, false),
            ("mlx5_comp1", true, true),
            ("mlx5_async1", false, false),
            ("config", false, false),
            ("TxRx-11", false, false),
        ] {
            assert_eq!([serves(vector, true, 1), serves(vector, false, 1)], [rx, tx], "{vector}");
        }
    }

    #[test]
    fn this_machine_is_laid_out() {
        let layout = read(&Host::Live).unwrap();
        assert!(!layout.cpus.is_empty());
        let lo = layout.devices.iter().find(|device| device.device == "lo").unwrap();
        assert_eq!(lo.queues.iter().map(|queue| queue.queue.as_str()).collect::<Vec<_>>(), ["rx-0", "tx-0"]);
    }

    proptest! {
        #[test]
        fn no_name_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = (number_in(&bytes), interrupts::pci(&bytes), netdev::queue(&bytes));
            let _ = serves(&String::from_utf8_lossy(&bytes), true, 1);
        }
    }
}
