//! OpenMetrics text for Prometheus: every counter by its own name, then the findings and sources.
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::model::{Counter, Instance, Kind};
use crate::report::{Report, Value, values_in};

/// All counters, findings and sources as metrics.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for (_, counter) in crate::stage::counters() {
        family(report, counter, out)?;
    }
    head(out, "netstat_deep_finding_lost_packets", "gauge", "Packets lost in the window by what a finding is about.")?;
    // Two findings of one rule about one instance are one sample.
    let mut lost: BTreeMap<String, u64> = BTreeMap::new();
    for (netns, finding) in report.all_findings() {
        let (id, severity, instance) = (label(&finding.id), finding.severity, label(&finding.instance.to_string()));
        let netns = netns.map_or(String::new(), |netns| format!(",netns=\"{}\"", label(netns)));
        let labels = format!("id=\"{id}\",instance=\"{instance}\",severity=\"{severity}\"{netns}");
        let sum = lost.entry(labels).or_default();
        *sum = sum.saturating_add(finding.lost);
    }
    for (labels, lost) in lost {
        writeln!(out, "netstat_deep_finding_lost_packets{{{labels}}} {lost}")?;
    }
    let own = report.totals.map(|totals| (None, totals));
    let of_each = report.namespaces.iter().flatten();
    let of_each = of_each.filter_map(|one| Some((Some(one.label.as_str()), one.totals?)));
    let mut totals = own.into_iter().chain(of_each).peekable();
    if totals.peek().is_some() {
        head(
            out,
            "netstat_deep_unexplained_packets",
            "gauge",
            "Packets that came in, did not come out and were counted by nobody.",
        )?;
    }
    for (netns, totals) in totals {
        let labels = labels(netns, &Instance::Only);
        writeln!(out, "netstat_deep_unexplained_packets{labels} {}", totals.unexplained)?;
    }
    head(out, "netstat_deep_source_success", "gauge", "1 if the source could be read.")?;
    for source in &report.sources {
        writeln!(out, "netstat_deep_source_success{{source=\"{}\"}} {}", label(&source.name), u8::from(source.ok))?;
    }
    writeln!(out, "# EOF")
}

fn family(report: &Report, counter: &'static Counter, out: &mut dyn Write) -> io::Result<()> {
    let of_each = report.namespaces.iter().flatten();
    let of_each = of_each.flat_map(|one| values_in(&one.stages, counter).map(move |value| (Some(&*one.label), value)));
    let mut values = report.values(counter).map(|value| (None, value)).chain(of_each).peekable();
    if values.peek().is_none() {
        return Ok(());
    }
    let name = counter.metric();
    let (kind, family) = match counter.kind {
        Kind::Total => ("counter", name.strip_suffix("_total").unwrap_or(&name)),
        Kind::Gauge => ("gauge", name.as_str()),
    };
    head(out, family, kind, &counter.text())?;
    for (netns, (instance, value)) in values {
        let value = match value {
            Value::Total { total, .. } => total,
            Value::Gauge { value, .. } => value,
        };
        writeln!(out, "{name}{} {value}", labels(netns, instance))?;
    }
    Ok(())
}

/// Which one: the namespace, where there are several, and the keys of the instance.
fn labels(netns: Option<&str>, instance: &Instance) -> String {
    let netns = netns.map(|netns| format!("netns=\"{}\"", label(netns)));
    let keys = match instance {
        Instance::Only => None,
        Instance::Cpu { cpu } => Some(format!("cpu=\"{cpu}\"")),
        Instance::Device { device } => Some(format!("device=\"{}\"", label(device))),
        Instance::Queue { device, queue } => Some(format!("device=\"{}\",queue=\"{}\"", label(device), label(queue))),
        Instance::Qdisc { device, qdisc } => Some(format!("device=\"{}\",qdisc=\"{}\"", label(device), label(qdisc))),
        Instance::Class { device, class } => Some(format!("device=\"{}\",class=\"{}\"", label(device), label(class))),
        Instance::Socket { socket } => Some(format!("socket=\"{}\"", label(socket))),
    };
    let all: Vec<String> = netns.into_iter().chain(keys).collect();
    if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
}

pub(super) fn head(out: &mut dyn Write, family: &str, kind: &str, help: &str) -> io::Result<()> {
    writeln!(out, "# TYPE {family} {kind}")?;
    writeln!(out, "# HELP {family} {}", label(help))
}

/// Backslash, quote and newline are escaped, in labels and in help texts alike.
pub(super) fn label(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}
