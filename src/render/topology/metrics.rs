//! OpenMetrics: what leads where as labels, and how busy it was in the window.

use std::io::{self, Write};

use crate::model::layout::written;
use crate::render::openmetrics::{head, label};
use crate::report::topology::Topology;

/// All of it.
pub fn write(found: &Topology, out: &mut dyn Write) -> io::Result<()> {
    let devices = &found.layout.devices;
    head(out, "netstat_deep_queue_packets_per_second", "gauge", "Packets of a device's queue a second of the window.")?;
    for device in devices {
        for queue in &device.queues {
            let (Some(rate), name) = (queue.packets_per_second, label(&device.device)) else { continue };
            let vector = device.vectors.iter().find(|vector| Some(vector.irq) == queue.irq);
            let cpus = vector.map_or_else(String::new, |vector| written(&vector.effective));
            let queue = &queue.queue;
            writeln!(
                out,
                "netstat_deep_queue_packets_per_second{{device=\"{name}\",queue=\"{queue}\",cpus=\"{cpus}\"}} {rate}"
            )?;
        }
    }
    head(out, "netstat_deep_interrupts_per_second", "gauge", "Times that a device's interrupt fired a second.")?;
    for device in devices {
        for vector in &device.vectors {
            let Some(rate) = vector.per_second else { continue };
            let (name, what, irq) = (label(&device.device), label(&vector.vector), vector.irq);
            let cpus = written(&vector.effective);
            writeln!(
                out,
                "netstat_deep_interrupts_per_second{{device=\"{name}\",vector=\"{what}\",irq=\"{irq}\",cpus=\"{cpus}\"}} {rate}"
            )?;
        }
    }
    head(out, "netstat_deep_cpu_softirq_ratio", "gauge", "Share of a CPU's time that went to softirqs in the window.")?;
    for cpu in &found.layout.cpus {
        let Some(share) = cpu.softirq_percent else { continue };
        let node = cpu.node.map_or_else(String::new, |node| node.to_string());
        writeln!(out, "netstat_deep_cpu_softirq_ratio{{cpu=\"{}\",node=\"{node}\"}} {}", cpu.cpu, share / 100.0)?;
    }
    head(out, "netstat_deep_placement_findings", "gauge", "What is crooked in the layout.")?;
    for (at, finding) in found.findings.iter().enumerate() {
        let (id, severity, instance) = (label(&finding.id), finding.severity, label(&finding.instance.to_string()));
        writeln!(
            out,
            "netstat_deep_placement_findings{{id=\"{id}\",instance=\"{instance}\",severity=\"{severity}\",number=\"{at}\"}} 1"
        )?;
    }
    head(out, "netstat_deep_source_success", "gauge", "1 if the source could be read.")?;
    for source in &found.sources {
        writeln!(out, "netstat_deep_source_success{{source=\"{}\"}} {}", label(&source.name), u8::from(source.ok))?;
    }
    writeln!(out, "# EOF")
}
