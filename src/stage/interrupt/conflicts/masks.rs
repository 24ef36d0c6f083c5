//! RPS masks against what the device, irqbalance or isolcpus= want.

use super::{Look, RPS_CPUS};
use crate::model::layout::written;
use crate::model::{Finding, Instance, QueuePlace, Suggestion};
use crate::stage::backlog::with_cpus;

impl Look<'_> {
    fn masked(&self) -> Vec<&QueuePlace> {
        self.device.receive().filter(|queue| !queue.mask.is_empty()).collect()
    }

    /// True if the device has a queue for each CPU that works: then its own hash is enough.
    fn spreads(&self) -> bool {
        let cpus = self.layout.cpus.iter().filter(|cpu| !cpu.isolated).count();
        let queues = self.device.receive().count();
        queues > 1 && queues >= cpus && !self.device.vectors.is_empty()
    }

    /// RPS on a device that spreads by itself.
    pub fn both_spread(&self) -> Option<Finding> {
        let masked = self.masked();
        if masked.is_empty() || !self.spreads() {
            return None;
        }
        let why = format!(
            "{} has {} receive queues, one for each CPU, and spreads flows over them by itself (RSS); the RPS masks of {} of \
             them pass each packet on to a second CPU",
            self.name(),
            self.device.receive().count(),
            masked.len()
        );
        let mut finding = self.found(why);
        finding.suggestions = self.without(&masked, |queue| queue.mask.clone(), "the device spreads by itself");
        Some(finding)
    }

    /// RPS masks with CPUs in them that were set apart.
    pub fn away_from_isolated(&self) -> Option<Finding> {
        let apart = |queue: &QueuePlace| -> Vec<u32> {
            queue.mask.iter().copied().filter(|cpu| self.layout.isolated(*cpu)).collect()
        };
        let masked: Vec<&QueuePlace> = self.masked().into_iter().filter(|queue| !apart(queue).is_empty()).collect();
        // Where the masks are to go altogether, it is said above.
        let first = masked.first().filter(|_| !self.spreads())?;
        let why = format!(
            "the RPS mask of {} of {} gives packets to CPU {}, which was set apart for other work (isolcpus=)",
            first.queue,
            self.name(),
            written(&apart(first))
        );
        let mut finding = self.found(why);
        finding.suggestions = self.without(&masked, apart, "leaves the CPUs alone that were set apart");
        Some(finding)
    }

    /// irqbalance moves the interrupts under masks that were chosen for where they were.
    pub fn balanced(&self) -> Option<Finding> {
        let (pid, masked) = (self.layout.irqbalance?, self.masked());
        if masked.is_empty() || self.device.vectors.is_empty() {
            return None;
        }
        let mut finding = self.found(format!(
            "irqbalance[{pid}] moves the interrupts of {} as it sees fit; the RPS masks of {} of its queues were chosen by \
             hand for where they were then",
            self.name(),
            masked.len()
        ));
        finding.no_setting_helps = Some(
            "decide for one of them: let irqbalance leave these interrupts alone (--banirq) or stop it, or clear the masks"
                .into(),
        );
        Some(finding)
    }

    /// The masks of these queues without some CPUs.
    fn without(&self, queues: &[&QueuePlace], cpus: impl Fn(&QueuePlace) -> Vec<u32>, why: &str) -> Vec<Suggestion> {
        let mask = |queue: &&QueuePlace| {
            let from = queue.printed.clone()?;
            let to = with_cpus(&from, &cpus(queue), false)?;
            let at = Instance::queue(self.name(), queue.queue.clone());
            (to != from).then(|| self.seen.suggest(&RPS_CPUS, at, from, to, why))
        };
        queues.iter().filter_map(mask).collect()
    }
}
