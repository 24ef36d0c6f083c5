//! `explain`, as it is called: what may be asked for, how it may be misspelt, and what a pipe gets.

use std::process::{Command, Output};

fn explain(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_netstat-deep")).arg("explain").args(args).output().unwrap()
}

fn text(args: &[&str]) -> String {
    let output = explain(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

#[test]
fn a_name_may_be_written_as_others_write_it() {
    for (asked, found) in [
        ("udp_in", "udp_in"),
        ("Backlog-Overflow", "backlog-overflow"),
        ("Udp.RcvbufErrors", "Udp.RcvbufErrors"),
        ("UdpRcvbufErrors", "Udp.RcvbufErrors"),
        ("ListenOverflows", "TcpExt.ListenOverflows"),
        ("netstat_deep_tcp_ext_listen_overflows_total", "TcpExt.ListenOverflows"),
        ("net.core.rmem_max", "net.core.rmem_max"),
        ("/proc/sys/net/core/rmem_max", "net.core.rmem_max"),
        ("net.ipv4.conf.eth0.rp_filter", "net.ipv4.conf.DEV.rp_filter"),
        ("SKB_DROP_REASON_NO_SOCKET", "NO_SOCKET"),
    ] {
        assert_eq!(first_word(&text(&[asked])), found, "{asked}");
    }
    // A stage is not also every counter whose name ends so.
    assert!(!text(&["softirq"]).contains("cpu.softirq   counter"));
}

#[test]
fn a_misspelt_name_finds_its_neighbours() {
    for (wrong, right) in [
        ("udp-recieve-buffer-overflow", "udp-receive-buffer-overflow"),
        ("Udp.RcvbufEror", "Udp.RcvbufErrors"),
        ("net.core.rmem_mx", "net.core.rmem_max"),
        ("NO_SOKET", "NO_SOCKET"),
        ("somaxcon", "net.core.somaxconn"),
    ] {
        let output = explain(&[wrong]);
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), err.lines().count()), (Some(2), 2), "{err}");
        assert!(err.contains(right), "{wrong}: {err}");
    }
    let nothing = explain(&["zzzzzzzzzz"]);
    assert!(String::from_utf8(nothing.stderr).unwrap().contains("--list"));
}

#[test]
fn a_pipe_gets_no_colour_and_a_list_of_one_kind_holds_no_other() {
    assert!(!text(&["tcp_listen"]).contains('\u{1b}'));
    assert!(text(&["tcp_listen", "--color", "always"]).contains('\u{1b}'));
    let knobs = text(&["--list=knobs"]);
    assert!(knobs.contains("net.core.somaxconn") && !knobs.contains("ListenOverflows"));
    assert!(text(&["--list"]).contains("ListenOverflows"));
}

#[test]
fn a_stage_leads_to_the_next_one() {
    let mut stage = "link".to_owned();
    let mut seen = vec![stage.clone()];
    while let Some(next) =
        text(&[&stage]).lines().find_map(|line| line.strip_prefix(" after it   netstat-deep explain "))
    {
        stage = next.to_owned();
        seen.push(stage.clone());
    }
    assert_eq!((seen.first().unwrap().as_str(), seen.last().unwrap().as_str()), ("link", "read"));
    assert_eq!(seen.len(), netstat_deep::stage::RECEIVE.len());
}
