//! OpenMetrics text for Prometheus: every counter by its own name, then the findings and sources.
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::model::{Counter, Instance, Kind};
use crate::report::{Report, Value};

/// All counters, findings and sources as metrics.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for (_, counter) in crate::stage::counters() {
        family(report, counter, out)?;
    }
    head(out, "netstat_deep_finding_lost_packets", "gauge", "Packets lost in the window by what a finding is about.")?;
    // Two findings of one rule about one instance are one sample.
    let mut lost: BTreeMap<String, u64> = BTreeMap::new();
    for finding in &report.findings {
        let (id, severity, instance) = (label(&finding.id), finding.severity, label(&finding.instance.to_string()));
        let sum = lost.entry(format!("id=\"{id}\",instance=\"{instance}\",severity=\"{severity}\"")).or_default();
        *sum = sum.saturating_add(finding.lost);
    }
    for (labels, lost) in lost {
        writeln!(out, "netstat_deep_finding_lost_packets{{{labels}}} {lost}")?;
    }
    if let Some(totals) = report.totals {
        head(
            out,
            "netstat_deep_unexplained_packets",
            "gauge",
            "Packets that came in, did not come out and were counted by nobody.",
        )?;
        writeln!(out, "netstat_deep_unexplained_packets {}", totals.unexplained)?;
    }
    head(out, "netstat_deep_source_success", "gauge", "1 if the source could be read.")?;
    for source in &report.sources {
        writeln!(out, "netstat_deep_source_success{{source=\"{}\"}} {}", label(&source.name), u8::from(source.ok))?;
    }
    writeln!(out, "# EOF")
}

fn family(report: &Report, counter: &'static Counter, out: &mut dyn Write) -> io::Result<()> {
    let mut values = report.values(counter).peekable();
    if values.peek().is_none() {
        return Ok(());
    }
    let name = counter.metric();
    let (kind, family) = match counter.kind {
        Kind::Total => ("counter", name.strip_suffix("_total").unwrap_or(&name)),
        Kind::Gauge => ("gauge", name.as_str()),
    };
    head(out, family, kind, &counter.text())?;
    for (instance, value) in values {
        let value = match value {
            Value::Total { total, .. } => total,
            Value::Gauge { value, .. } => value,
        };
        match instance {
            Instance::Only => writeln!(out, "{name} {value}")?,
            Instance::Cpu { cpu } => writeln!(out, "{name}{{cpu=\"{cpu}\"}} {value}")?,
            Instance::Device { device } => writeln!(out, "{name}{{device=\"{}\"}} {value}", label(device))?,
            Instance::Queue { device, queue: part }
            | Instance::Qdisc { device, qdisc: part }
            | Instance::Class { device, class: part } => {
                let key = match instance {
                    Instance::Queue { .. } => "queue",
                    Instance::Qdisc { .. } => "qdisc",
                    _ => "class",
                };
                writeln!(out, "{name}{{device=\"{}\",{key}=\"{}\"}} {value}", label(device), label(part))?
            }
            Instance::Socket { socket } => writeln!(out, "{name}{{socket=\"{}\"}} {value}", label(socket))?,
        }
    }
    Ok(())
}

pub(super) fn head(out: &mut dyn Write, family: &str, kind: &str, help: &str) -> io::Result<()> {
    writeln!(out, "# TYPE {family} {kind}")?;
    writeln!(out, "# HELP {family} {}", label(help))
}

/// Backslash, quote and newline are escaped, in labels and in help texts alike.
pub(super) fn label(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}
