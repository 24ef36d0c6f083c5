//! OpenMetrics: what all sockets add up to, and the first of them. There are as many series as are shown, not as there are
//! sockets.

use std::io::{self, Write};

use crate::render::openmetrics::{head, label};
use crate::report::sockets::{Group, Percentiles, SocketReport};

/// All of it.
pub fn write(report: &SocketReport, out: &mut dyn Write) -> io::Result<()> {
    head(out, "netstat_deep_sockets", "gauge", "Sockets by what they speak and their state.")?;
    for one in &report.states {
        let (transport, state) = (one.transport.name(), one.state.name());
        writeln!(out, "netstat_deep_sockets{{transport=\"{transport}\",state=\"{state}\"}} {}", one.count)?;
    }
    head(out, "netstat_deep_sockets_lost_packets", "gauge", "Packets that sockets lost in the window.")?;
    writeln!(out, "netstat_deep_sockets_lost_packets {}", report.drops)?;
    let queues = report.listeners.iter().filter_map(|row| Some((row, row.accept_queue?)));
    for (name, help, limit) in [
        (
            "netstat_deep_accept_queue_connections",
            "Connections that a listener's application did not accept yet.",
            false,
        ),
        ("netstat_deep_accept_queue_limit_connections", "The limit of that.", true),
    ] {
        head(out, name, "gauge", help)?;
        for (row, queue) in queues.clone() {
            let value = if limit { queue.limit } else { queue.length };
            writeln!(out, "{name}{{local=\"{}\",cookie=\"{}\"}} {value}", label(&row.local), row.cookie)?;
        }
    }
    head(
        out,
        "netstat_deep_socket_lost_packets",
        "gauge",
        "Packets that one of the first sockets lost in the window.",
    )?;
    for row in &report.sockets {
        let (local, remote) = (label(&row.local), label(row.remote.as_deref().unwrap_or_default()));
        let comm = label(row.comm.as_deref().unwrap_or_default());
        let (cookie, drops) = (row.cookie, row.drops);
        writeln!(
            out,
            "netstat_deep_socket_lost_packets{{local=\"{local}\",remote=\"{remote}\",comm=\"{comm}\",cookie=\"{cookie}\"}} {drops}"
        )?;
    }
    groups("congestion", &report.congestion, out)?;
    groups("network", &report.networks, out)?;
    head(out, "netstat_deep_ephemeral_ports_used", "gauge", "Local ports with a connection to one service.")?;
    for one in &report.destinations {
        let (source, destination, port) = (one.source, one.destination, one.port);
        writeln!(
            out,
            "netstat_deep_ephemeral_ports_used{{source=\"{source}\",destination=\"{destination}\",port=\"{port}\"}} {}",
            one.used
        )?;
    }
    head(out, "netstat_deep_source_success", "gauge", "1 if the source could be read.")?;
    for source in &report.sources {
        writeln!(out, "netstat_deep_source_success{{source=\"{}\"}} {}", label(&source.name), u8::from(source.ok))?;
    }
    writeln!(out, "# EOF")
}

type Column = (&'static str, &'static str, f64, fn(&Group) -> Option<Percentiles>);

const COLUMNS: [Column; 4] = [
    ("rtt_seconds", "Round-trip time", 1e-6, |group| group.rtt_microseconds),
    ("min_rtt_seconds", "The least round-trip time of the last minutes", 1e-6, |group| group.min_rtt_microseconds),
    ("retransmitted_ratio", "The share of segments that were sent again", 1e-6, |group| group.retransmitted_ppm),
    ("delivery_bytes_per_second", "The rate at which data arrives", 1.0, |group| group.delivery_rate),
];

fn groups(by: &str, groups: &[Group], out: &mut dyn Write) -> io::Result<()> {
    let name = format!("netstat_deep_tcp_by_{by}_connections");
    head(out, &name, "gauge", &format!("TCP connections by {by}."))?;
    for group in groups {
        writeln!(out, "{name}{{{by}=\"{}\"}} {}", label(&group.name), group.connections)?;
    }
    for (column, help, factor, of) in COLUMNS {
        let name = format!("netstat_deep_tcp_by_{by}_{column}");
        head(out, &name, "gauge", &format!("{help} of TCP connections by {by}: percentiles."))?;
        for (group, values) in groups.iter().filter_map(|group| Some((group, of(group)?))) {
            for (quantile, value) in [("0.5", values.p50), ("0.9", values.p90), ("0.99", values.p99)] {
                let value = value as f64 * factor;
                writeln!(out, "{name}{{{by}=\"{}\",quantile=\"{quantile}\"}} {value}", label(&group.name))?;
            }
        }
    }
    Ok(())
}
