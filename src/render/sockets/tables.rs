//! What all sockets add up to.

use std::io::{self, Write};

use super::words::{cut, ends, owner, percent};
use crate::render::path::{BAD, BOLD, DIM};
use crate::render::words::{bytes, grouped};
use crate::report::sockets::{Binds, Group, Percentiles, SocketReport};

/// From this share of all ports on, a destination is shown.
const MANY_PORTS: f64 = 0.1;

/// Listeners: those whose queue holds something, or that lose; all with -v.
pub fn listeners(report: &SocketReport, verbose: u8, out: &mut dyn Write) -> io::Result<()> {
    let busy = |row: &&crate::report::sockets::SocketRow| {
        verbose > 0 || row.drops > 0 || row.accept_queue.is_some_and(|queue| queue.length > 0)
    };
    let shown: Vec<_> = report.listeners.iter().filter(busy).collect();
    let rest = report.listeners.len() - shown.len();
    if !shown.is_empty() {
        writeln!(
            out,
            "\n {BOLD}{:<28} {:>6} {:>6}  {:<12}  process{BOLD:#}",
            "listener", "queue", "limit", "bound by"
        )?;
    }
    for row in shown {
        let Some(queue) = row.accept_queue else { continue };
        let bound = match queue.bound_by {
            Some(Binds::Application) => "application",
            Some(Binds::Somaxconn) => "somaxconn",
            Some(Binds::Earlier) => "earlier",
            None => "-",
        };
        let local = cut(ends(row).trim_start_matches("tcp ").trim_end_matches(" listen"), 28);
        let style = if queue.length > queue.limit { BAD } else { anstyle::Style::new() };
        let [length, limit] = [queue.length, queue.limit].map(|number| grouped(number.into()));
        let owner = cut(&owner(row), 21);
        writeln!(out, " {local:<28} {style}{length:>6}{style:#} {limit:>6}  {bound:<12}  {owner}")?;
    }
    if rest > 0 {
        let (listeners, have) =
            if rest == 1 { ("listener has", "an empty queue") } else { ("listeners have", "empty queues") };
        writeln!(out, "\n{DIM} {rest} {listeners} {have}: -v shows{DIM:#}")?;
    }
    Ok(())
}

/// Connections that belong together, and how they fare.
pub fn groups(title: &str, groups: &[Group], most: usize, out: &mut dyn Write) -> io::Result<()> {
    if groups.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n {BOLD}{title:<20} {:>7}  {:<15}  {:<11}  {:>7} {:>11}{BOLD:#}",
        "conns", "rtt p50, p99 ms", "× least rtt", "again", "rate p50/s"
    )?;
    for group in groups.iter().take(most) {
        let ms = |value: u64| {
            let ms = value as f64 / 1e3;
            if ms < 10.0 { format!("{ms:.3}") } else { format!("{ms:.0}") }
        };
        let two = |values: &Option<Percentiles>, write: &dyn Fn(u64) -> String| {
            values.map_or("-".into(), |values| format!("{} {}", write(values.p50), write(values.p99)))
        };
        let again = (group.sent > 0).then(|| group.retransmitted as f64 / group.sent as f64);
        writeln!(
            out,
            " {:<20} {:>7}  {:<15}  {:<11}  {:>7} {:>11}",
            cut(&group.name, 20),
            grouped(group.connections),
            two(&group.rtt_microseconds, &ms),
            two(&group.inflation_percent, &|times| format!("{:.1}", times as f64 / 100.0)),
            percent(again),
            group.delivery_rate.map_or("-".into(), |rate| bytes(rate.p50)),
        )?;
        if group.beyond_send_limit > 0 {
            let many = grouped(group.beyond_send_limit);
            writeln!(out, "{DIM}   {many} of them need more send buffer than tcp_wmem allows (2 × rate × rtt){DIM:#}")?;
        }
    }
    let rest = groups.len().saturating_sub(most);
    if rest > 0 {
        writeln!(out, "{DIM} and {rest} more: -v shows{DIM:#}")?;
    }
    Ok(())
}

/// Where many of the ports for connections of our own go; the first of all with -v.
pub fn destinations(report: &SocketReport, verbose: u8, out: &mut dyn Write) -> io::Result<()> {
    let shown = report.destinations.iter().filter(|one| verbose > 0 || one.share >= MANY_PORTS).take(10);
    let ports = report.ephemeral_ports.map(grouped).unwrap_or_default();
    for (at, one) in shown.enumerate() {
        if at == 0 {
            writeln!(out, "\n {BOLD}{:<58} {:>20}{BOLD:#}", "ports in use towards", format!("of {ports}"))?;
        }
        let ends = format!("{} → {}", one.source, std::net::SocketAddr::new(one.destination, one.port));
        let used = format!("{}, {}", grouped(one.used), percent(Some(one.share)));
        let style = if one.share >= 0.8 { BAD } else { anstyle::Style::new() };
        writeln!(out, " {:<58} {style}{used:>20}{style:#}", cut(&ends, 58))?;
    }
    Ok(())
}
