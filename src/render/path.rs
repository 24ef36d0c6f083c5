//! The path at a glance: stages from left to right, under each what it lost, the bottleneck marked.

use anstyle::{AnsiColor, Style};

use super::words::short;
use crate::model::{Counter, Instance};
use crate::report::{Report, Value};
use crate::stage::{driver_tx, forward, link, softirq};

/// Loss, and what is critical.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// What should be looked at.
pub const ODD: Style = AnsiColor::Yellow.on_default();
/// What is as it should be.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// What matters less.
pub const DIM: Style = Style::new().dimmed();
/// What a line is about.
pub const BOLD: Style = Style::new().bold();
/// What may be typed.
pub const COMMAND: Style = AnsiColor::Cyan.on_default();

/// A name over a value.
struct Box {
    name: String,
    value: String,
    style: Style,
}

/// The two lines of the picture, at most `width` characters wide. `None` if nothing is known to draw.
pub fn draw(report: &Report, width: usize) -> Option<[String; 2]> {
    let boxes = boxes(report)?;
    let arrow = ["  ──▶ ", " ──▶ ", " ─▶ ", " ▶ ", "▶"];
    let arrow = arrow.iter().find(|arrow| {
        let wide: usize = boxes.iter().map(Box::width).sum();
        1 + wide + (boxes.len() - 1) * arrow.chars().count() <= width
    })?;
    let (mut names, mut values) = (String::from(" "), String::from(" "));
    for (i, part) in boxes.iter().enumerate() {
        if i > 0 {
            names.push_str(&format!("{DIM}{arrow}{DIM:#}"));
            values.push_str(&" ".repeat(arrow.chars().count()));
        }
        let pad = |text: &str| {
            let free = part.width() - text.chars().count();
            (" ".repeat(free / 2), " ".repeat(free - free / 2))
        };
        let style = part.style;
        let (left, right) = pad(&part.name);
        names.push_str(&format!("{left}{style}{}{style:#}{right}", part.name));
        let (left, right) = pad(&part.value);
        values.push_str(&format!("{left}{style}{}{style:#}{right}", part.value));
    }
    Some([names.trim_end().into(), values.trim_end().into()])
}

impl Box {
    fn width(&self) -> usize {
        self.name.chars().count().max(self.value.chars().count())
    }
}

fn boxes(report: &Report) -> Option<Vec<Box>> {
    let (totals, ledger, seconds) = (report.totals?, report.ledger.as_ref()?, report.window_seconds?);
    let rate = |packets: u64| format!("{}/s", tight(packets as f64 / seconds));
    let lost = |stages: &[&str]| {
        ledger.iter().filter(|line| stages.contains(&line.stage)).fold(0_u64, |sum, line| sum.saturating_add(line.lost))
    };
    let stage = |name: &str, stages: &[&str]| {
        let lost: u64 = lost(stages);
        let (value, style) = if lost > 0 { (format!("✗{}", tight(lost as f64)), BAD) } else { ("0".into(), DIM) };
        Box { name: name.into(), value, style }
    };
    let whole = |name: String, packets: u64, style: Style| Box { name, value: rate(packets), style };
    let passed = if totals.lost > 0 { ODD } else { GOOD };
    if report.is_of_sending() {
        let odd = |stages: &[&str]| {
            let lines = ledger.iter().filter(|line| stages.contains(&line.stage));
            lines.filter_map(|line| line.unexplained).fold(0, u64::saturating_add)
        };
        // What nothing explains shows where it is missing, if nothing was lost there that is known.
        let stage = |name: &str, stages: &[&str]| match (lost(stages), odd(stages)) {
            (0, unknown) if unknown > 0 => {
                Box { name: name.into(), value: format!("?{}", tight(unknown as f64)), style: ODD }
            }
            _ => stage(name, stages),
        };
        // A router sends what nobody here made.
        let forwards = forward::SENT_ON.iter().any(|counter| report.delta(counter).is_some_and(|sent| sent > 0));
        let from = if forwards { "app, fwd" } else { "app" };
        return Some(vec![
            whole(from.into(), totals.taken, Style::new()),
            stage("ip", &["ip_out"]),
            stage("neighbour", &["neighbour"]),
            stage("egress", &["egress"]),
            stage("qdisc", &["qdisc"]),
            stage("driver", &["validate", "driver_tx", "completion", "watchdog", "virtual_devices"]),
            whole(busiest_device(report, &driver_tx::TX_PACKETS, "out"), totals.delivered, passed),
        ]);
    }
    let squeezes = report.delta(&softirq::TIME_SQUEEZE).unwrap_or(0);
    let softirq = match squeezes {
        0 => Box { name: "softirq".into(), value: "0".into(), style: DIM },
        n => Box { name: "softirq".into(), value: format!("{} sq", tight(n as f64)), style: ODD },
    };
    let mut netfilter = stage("netfilter", &["netfilter", "conntrack"]);
    if totals.unexplained > 0 && netfilter.value == "0" {
        netfilter = Box { value: format!("?{}", tight(totals.unexplained as f64)), style: ODD, ..netfilter };
    }
    Some(vec![
        whole(busiest_device(report, &link::RX_PACKETS, "in"), totals.taken, Style::new()),
        stage("ring", &["link", "ring"]),
        softirq,
        stage("backlog", &["backlog"]),
        stage("ip", &["ip_in", "forward"]),
        netfilter,
        stage("udp", &["udp_in"]),
        stage("tcp", &["tcp_listen", "tcp_in"]),
        whole("app".into(), totals.delivered, passed),
    ])
}

/// `41.2k`: there is no room for blanks here.
fn tight(n: f64) -> String {
    short(n).replace(' ', "")
}

/// The device that counted most, and how many others counted something; `none` if there is none.
fn busiest_device(report: &Report, counter: &'static Counter, none: &str) -> String {
    let mut devices: Vec<(u64, &str)> = report
        .values(counter)
        .filter_map(|(instance, value)| match (instance, value) {
            (Instance::Device { device }, Value::Total { delta: Some(delta), .. }) if delta > 0 => {
                Some((delta, device.as_str()))
            }
            _ => None,
        })
        .collect();
    devices.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    match devices[..] {
        [] => none.into(),
        [(_, name)] => cut(name),
        [(_, name), ..] => format!("{} +{}", cut(name), devices.len() - 1),
    }
}

fn cut(name: &str) -> String {
    if name.chars().count() <= 10 { name.into() } else { name.chars().take(9).chain(['…']).collect() }
}
