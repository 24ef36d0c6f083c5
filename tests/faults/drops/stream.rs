//! Single drops: each once, what is left out counted, and the packets themselves for other tools.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::{attached, valid};
use crate::actor::Actor;
use crate::case::{Case, Checks, Outcome, wrong};
use crate::lab::{Family, Lab, SERVER_DEVICE};
use crate::need::Need;
use crate::tool;

const PORT: u16 = 5042;

pub fn cases() -> Vec<Case> {
    let capture = &[Need::Namespaces, Need::Bpf, Need::Tcpdump];
    let case = |family: Family| {
        Case::with(format!("drops::each_and_pcap_{}", family.suffix()), capture, move |window| each(family, window))
    };
    let mut cases: Vec<Case> = Family::BOTH.map(case).into();
    cases.push(Case::new("drops::more_than_the_stream_takes", &[Need::Namespaces, Need::Bpf], flood));
    let needs = &[Need::Namespaces, Need::Bpf, Need::Nft];
    cases.push(Case::new("drops::each_with_its_rule", needs, with_its_rule));
    cases.push(Case::new("drops::each_with_its_victim", &[Need::Namespaces, Need::Bpf], with_its_victim));
    cases
}

/// The lines of the stream, and the report behind them.
fn stream(lab: &Lab, window: Duration, more: &[&str], order: &str) -> Outcome<(Vec<Value>, Value, u64)> {
    let source = |family: Family| SocketAddr::new(family.client(), 0).to_string();
    let family = if order.contains('[') { Family::V6 } else { Family::V4 };
    let mut sender = Actor::start(&lab.client, "nsd-sender", "udp-sender", &[&source(family), "1", "any"])?;
    let args = [&["drops", "--jsonl", "--each", "--netns", &lab.server.name][..], more].concat();
    let run = tool::start_with(&args, window)?;
    attached(&run)?;
    let sent = sender.ask(order)?;
    let ended = run.end()?;
    let mut lines: Vec<Value> = ended.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    match lines.pop() {
        Some(report) if ended.status.success() => {
            lines.iter().chain([&report]).try_for_each(valid)?;
            Ok((lines, report, sent))
        }
        _ => wrong(format_args!("{}: {}", ended.status, ended.stderr)),
    }
}

fn each(family: Family, window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("drops.pcapng");
    let to = family.server(PORT);
    let name = file.to_string_lossy().into_owned();
    let (lines, report, sent) =
        stream(&lab, window, &["--reason", "NO_SOCKET", "--pcap", &name], &format!("send {to} 200 100 0"))?;
    let mut checks = Checks::default();
    checks.same("lines", sent, lines.len() as u64);
    checks.same("left out", Some(0), report["self"]["events_lost"].as_u64());
    for line in lines.iter().take(1) {
        checks.same("kind", Some("drop"), line["kind"].as_str());
        checks.same("to", Some(to.to_string()), line["to"].as_str().map(str::to_owned));
        checks.same("device", Some(SERVER_DEVICE), line["device"].as_str());
        let headers = if family == Family::V4 { 14 + 20 + 8 } else { 14 + 40 + 8 };
        checks.same("length", Some(headers + 100), line["length"].as_u64());
    }
    let output = Command::new("tcpdump").args(["-nr", &name]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let shows = format!("> {}.{PORT}: UDP, length 100", to.ip());
    checks.same("packets that tcpdump reads", sent as usize, text.lines().filter(|line| line.contains(&shows)).count());
    checks.done(&text.lines().next().unwrap_or_default())
}

/// What the stream has no room for is counted all the same.
fn flood(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let order = format!("send {} 20000 18 0", Family::V4.server(PORT));
    let (lines, report, sent) = stream(&lab, window, &["--reason", "NO_SOCKET", "--rate", "100"], &order)?;
    let mut checks = Checks::default();
    let left_out = report["self"]["events_lost"].as_u64().unwrap_or(0);
    checks.that(left_out > 0, "nothing was left out");
    checks.same("shown and left out", sent, lines.len() as u64 + left_out);
    checks.same("counted", Some(sent), report["drop_totals"]["packets"].as_u64());
    checks.done(&report)
}

/// Nothing counts a single packet: what may have dropped it is named, and that it is not certain.
fn with_its_rule(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let rule = |port: u16, comment: &str| format!("add rule inet f i udp dport {port} drop comment \"{comment}\"");
    let chain = "add table inet f; add chain inet f i { type filter hook input priority 0; }";
    lab.server.nft(&format!("{chain}; {}", rule(PORT, "told apart by nothing")))?;
    let order = format!("send {} 20 100 0", Family::V4.server(PORT));
    let (lines, _, sent) = stream(&lab, window, &["--reason", "NETFILTER_DROP"], &order)?;
    let mut checks = Checks::default();
    checks.same("lines", sent, lines.len() as u64);
    for line in lines {
        let policy = &line["policy"];
        checks.same("certain", Some("reason"), policy["by"].as_str());
        checks.same("candidates", Some(1), policy["candidates"].as_array().map(Vec::len));
        checks.same("comment", Some("told apart by nothing"), policy["candidates"][0]["comment"].as_str());
    }
    checks.done(&lab.server.name)
}

fn with_its_victim(window: Duration) -> Outcome {
    let lab = Lab::new()?;
    let local = Family::V4.server(PORT).to_string();
    let reader = Actor::start(&lab.server, "nsd-reader", "udp-reader", &[&local, "ask", "2304"])?;
    let order = format!("send {local} 50 500 0");
    let (lines, report, _) = stream(&lab, window, &["--reason", "SOCKET_RCVBUFF"], &order)?;
    let mut checks = Checks::default();
    checks.same("lines", report["drop_totals"]["packets"].as_u64(), Some(lines.len() as u64));
    checks.that(!lines.is_empty(), "nothing was lost");
    for line in lines {
        checks.same("victim", Some(u64::from(reader.pid())), line["victims"][0]["pid"].as_u64());
    }
    checks.done(&report)
}
