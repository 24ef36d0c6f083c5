//! Interrupts on CPUs that are far away, or that were set apart.

use super::{AFFINITY, Look};
use crate::model::layout::written;
use crate::model::{Finding, Instance, VectorPlace};

impl Look<'_> {
    /// Interrupts that go to another NUMA node than the device's.
    pub fn remote(&self) -> Option<Finding> {
        let node = self.device.node?;
        let near = |cpu: &u32| self.layout.node_of(*cpu) == Some(node);
        let far = self.astray(|vector| !vector.effective.iter().any(near));
        let why = format!(
            "{} to CPU {} of another NUMA node than {node}, on which {} hangs: each packet crosses between them",
            go(&far)?,
            where_to(&far),
            self.name()
        );
        Some(self.moved(why, &far))
    }

    /// Interrupts that go to CPUs set apart for other work, on the device's own node or a machine without nodes.
    pub fn isolated(&self) -> Option<Finding> {
        let near = |cpu: u32| self.device.node.is_none() || self.layout.node_of(cpu) == self.device.node;
        let apart = |cpu: &u32| self.layout.isolated(*cpu) && near(*cpu);
        let disturbed = self.astray(|vector| vector.effective.iter().all(apart));
        let why = format!(
            "{} to CPU {}, which was set apart for other work (isolcpus=), whenever {} receives",
            go(&disturbed)?,
            where_to(&disturbed),
            self.name()
        );
        Some(self.moved(why, &disturbed))
    }

    /// Of the interrupts that fired, those that are `wrong`.
    fn astray(&self, wrong: impl Fn(&VectorPlace) -> bool) -> Vec<&VectorPlace> {
        let is = |vector: &&VectorPlace| self.fired(vector) > 0 && !vector.effective.is_empty() && wrong(vector);
        self.device.vectors.iter().filter(is).collect()
    }

    /// With a CPU for each of them that may work for the device, one after the other.
    fn moved(&self, why: String, vectors: &[&VectorPlace]) -> Finding {
        let mut finding = self.found(why);
        let fit = self.layout.fit_for(self.device.node);
        for (vector, cpu) in vectors.iter().zip(fit.iter().cycle()) {
            let Some(from) = vector.printed.clone() else { continue };
            let at = Instance::queue(self.name(), vector.irq.to_string());
            let why = "a CPU of the device's own node that is not set apart";
            finding.suggestions.push(self.seen.suggest(&AFFINITY, at, from, cpu.to_string(), why));
        }
        if fit.is_empty() {
            finding.no_setting_helps =
                Some("no CPU of the device's node is free for it: move the card, or set other CPUs apart".into());
        }
        if self.layout.irqbalance.is_some() {
            finding.refuse(
                AFFINITY.id,
                "alone, while irqbalance runs: it sets the masks again; its --banirq tells it not to",
            );
        }
        finding
    }
}

/// `3 interrupts go`. Absent if there is none.
fn go(vectors: &[&VectorPlace]) -> Option<String> {
    match vectors.len() {
        0 => None,
        1 => Some("1 interrupt goes".into()),
        n => Some(format!("{n} interrupts go")),
    }
}

fn where_to(vectors: &[&VectorPlace]) -> String {
    let mut cpus: Vec<u32> = vectors.iter().flat_map(|vector| vector.effective.iter().copied()).collect();
    cpus.sort_unstable();
    cpus.dedup();
    written(&cpus)
}
