//! `/proc/interrupts`: how often each vector of a network card fired.
//!
//! A line belongs to a card if it names the card's place on its bus (newer kernels print it with the interrupt chip,
//! mlx5 with the action), if the action begins with the device's name, or if sysfs lists its number among the card's
//! message-signalled interrupts: what virtio's are called says of no device.

use std::collections::BTreeMap;
use std::io;

use super::groups::INTERRUPTS;
use super::netlink::Dumped;
use super::sheet::{Owner, Rows};
use super::{Host, text};

/// A card: its name, and its place on the bus.
#[derive(Clone, Debug)]
pub struct Card {
    /// The device's name.
    pub device: Vec<u8>,
    /// Its place on the bus, as the driver tells it: `0000:00:03.0`. May be empty.
    pub bus: Vec<u8>,
    /// The numbers of its message-signalled interrupts, where nothing else tells which are its.
    pub irqs: Vec<Vec<u8>>,
}

/// One line: its number or name, how often it fired on all CPUs, and what stands behind the counts.
#[derive(Debug, PartialEq)]
pub struct Line<'a> {
    /// The interrupt's number; not always one.
    pub number: &'a [u8],
    /// The sum over the CPUs.
    pub count: u64,
    /// Chip, hardware interrupt, actions.
    pub rest: &'a [u8],
}

impl<'a> Line<'a> {
    fn action(&self) -> &'a [u8] {
        self.rest.split(|&b| b == b' ').next_back().unwrap_or_default()
    }
}

/// The address of a PCI device. What else a driver may tell (`usb-0000:00:14.0-4`, nothing) is none.
pub fn pci(bus: &[u8]) -> Option<String> {
    let fits = |b: &u8| b.is_ascii_hexdigit() || matches!(b, b':' | b'.');
    let bus = std::str::from_utf8(bus).ok()?;
    (bus.bytes().all(|b| fits(&b)) && bus.matches(':').count() == 2 && !bus.contains("..")).then(|| bus.to_owned())
}

/// The vectors of these cards.
pub fn read(host: &Host, cards: &[Card]) -> io::Result<(Vec<Rows>, Dumped)> {
    let mut bytes = Vec::new();
    host.read("proc/interrupts", &mut bytes)?;
    let cards: Vec<Card> = cards.iter().map(|card| card.clone().with_irqs(host, &bytes)).collect();
    Ok((vec![rows(&bytes, &cards)], Dumped::default()))
}

/// The vectors of these cards, from the whole file.
pub fn rows(bytes: &[u8], cards: &[Card]) -> Rows {
    let mut vectors: BTreeMap<Owner, u64> = BTreeMap::new();
    for line in lines(bytes) {
        if let Some(card) = cards.iter().find(|card| card.has(&line)) {
            let vector = Owner::Vector(card.device.clone(), short(line.action(), &card.device).into());
            // Nothing keeps a driver from giving two the same name.
            let sum = vectors.entry(vector).or_default();
            *sum = sum.saturating_add(line.count);
        }
    }
    let rows = vectors.into_iter().map(|(vector, count)| (vector, vec![Some(count)])).collect();
    Rows { group: &INTERRUPTS, columns: &["count"], rows }
}

/// The vectors of one card: number and short name of each.
pub fn vectors(bytes: &[u8], card: &Card) -> Vec<(u32, Vec<u8>)> {
    let vector = |line: Line| {
        let number = std::str::from_utf8(line.number).ok()?.parse().ok()?;
        card.has(&line).then(|| (number, short(line.action(), &card.device).into()))
    };
    lines(bytes).filter_map(vector).collect()
}

/// `eth0-TxRx-0` to `TxRx-0`, `virtio2-input.0` to `input.0`, `mlx5_comp0@pci:0000:3b:00.0` to `mlx5_comp0`: whose it is
/// is known.
fn short<'a>(action: &'a [u8], device: &[u8]) -> &'a [u8] {
    let action = action.split(|&b| b == b'@').next().unwrap_or(action);
    let virtio = || {
        let rest = action.strip_prefix(b"virtio")?;
        rest.iter().position(|b| !b.is_ascii_digit()).map(|at| &rest[at..])
    };
    let rest = action.strip_prefix(device).or_else(virtio).and_then(|rest| rest.strip_prefix(b"-"));
    rest.filter(|rest| !rest.is_empty()).unwrap_or(action)
}

impl Card {
    /// The same, with the numbers of its interrupts if no line of the file tells that it is this card's.
    pub fn with_irqs(mut self, host: &Host, bytes: &[u8]) -> Self {
        let named = lines(bytes).any(|line| self.has(&line));
        if let Some(bus) = pci(&self.bus).filter(|_| !named) {
            let folder = format!("sys/bus/pci/devices/{bus}/msi_irqs");
            self.irqs = host.list(&folder).unwrap_or_default();
            for irq in &self.irqs {
                // Only the names count.
                host.keep(&format!("{folder}/{}", text::printable(irq)), b"");
            }
        }
        self
    }

    fn has(&self, line: &Line) -> bool {
        let on_bus = !self.bus.is_empty() && line.rest.windows(self.bus.len()).any(|part| part == self.bus);
        // eth1 is not the owner of eth10-rx-0.
        let by_name = line.action().strip_prefix(self.device.as_slice());
        let by_name = by_name.is_some_and(|rest| rest.first().is_none_or(|next| !next.is_ascii_alphanumeric()));
        on_bus || (by_name && !self.device.is_empty()) || self.irqs.iter().any(|irq| irq == line.number)
    }
}

/// All lines that have a count for each CPU of the header (kernel/irq/proc.c show_interrupts()). What is fewer, like the
/// lines of errors, has no vector.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mut all = bytes.split(|&b| b == b'\n');
    let header = all.next().unwrap_or_default();
    let cpus = header.split(|&b| b == b' ').filter(|word| word.starts_with(b"CPU")).count();
    all.filter_map(move |line| {
        let at = line.iter().position(|&b| b == b':')?;
        let (number, mut rest) = (line[..at].trim_ascii(), &line[at + 1..]);
        let mut sum = 0_u64;
        for _ in 0..cpus {
            rest = rest.trim_ascii_start();
            let end = rest.iter().position(|&b| b == b' ').unwrap_or(rest.len());
            let count: u64 = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
            sum = sum.saturating_add(count);
            rest = &rest[end..];
        }
        Some(Line { number, count: sum, rest: rest.trim_ascii() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &[u8] = b"           CPU0       CPU1       
  0:         36          0   IO-APIC   2-edge      timer
 25:          0          0  PCI-MSIX-0000:00:03.0   0-edge      virtio0-config
 26:       1200         34  PCI-MSIX-0000:00:03.0   1-edge      virtio0-input.0
 40:          7          1   PCI-MSI 524288-edge      eth1-TxRx-0
 41:          3          0   PCI-MSI 524289-edge      eth10-TxRx-0
 44:          1          0   PCI-MSI 524291-edge      eth1-TxRx-0
 42:          5          0   PCI-MSI 524290-edge      mlx5_comp0@pci:0000:3b:00.0
NMI:          0          0   Non-maskable interrupts
ERR:          0
";

    fn card(device: &str, bus: &str) -> Card {
        Card { device: device.into(), bus: bus.into(), irqs: Vec::new() }
    }

    #[test]
    fn only_pci_addresses_are_taken_for_paths() {
        assert_eq!(pci(b"0000:3b:00.0").as_deref(), Some("0000:3b:00.0"));
        for other in [&b""[..], b"usb-0000:00:14.0-4", b"../../../etc", b"0000:3b:..", b"\xff"] {
            assert_eq!(pci(other), None, "{other:?}");
        }
    }

    #[test]
    fn vectors_are_found_by_bus_and_by_name() {
        let cards = [card("eth0", "0000:00:03.0"), card("eth1", ""), card("ib0", "0000:3b:00.0")];
        let found = rows(TEXT, &cards).rows;
        let found: Vec<(&str, u64)> = found
            .iter()
            .map(|(owner, cells)| match owner {
                Owner::Vector(_, action) => (std::str::from_utf8(action).unwrap(), cells[0].unwrap()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(found, [("config", 0), ("input.0", 1234), ("TxRx-0", 9), ("mlx5_comp0", 5)]);
    }

    #[test]
    fn lines_with_too_few_counts_are_none() {
        assert_eq!(lines(TEXT).count(), 8);
        assert_eq!(lines(b"").count(), 0);
    }

    proptest! {
        #[test]
        fn no_file_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = rows(&bytes, &[card("eth0", "0000:00:03.0")]);
        }
    }
}
