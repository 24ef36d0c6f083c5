//! Names that somebody else chose: escape sequences, quotes, newlines, bytes that are no text.

use crate::message::{self, LINKS, Link};
use crate::openmetrics;
use crate::run::{self, rx};
use crate::tree::Samples;

/// What `dev_valid_name()` lets through, and a few that only a forged recording holds.
const NAMES: [(&[u8], &str); 8] = [
    (b"eth0", "eth0"),
    (b"a\x1b[31mred", "a\\x1b[31mred"),
    (b"q\"uote\\x", "q\"uote\\x"),
    (b"new\nline\r", "new\\x0aline\\x0d"),
    (&[0xff; 15], "\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff"),
    (b"{},=# EOF", "{},=# EOF"),
    (b"\xe2\x80\xaeright", "\\xe2\\x80\\xaeright"),
    ("ünï".as_bytes(), "ünï"),
];

fn samples() -> Samples {
    let links = |packets: u64| {
        let all: Vec<Link> = NAMES.iter().map(|(name, _)| Link::new(name).stat(0, packets).stat(15, packets)).collect();
        message::links(&all)
    };
    let samples = Samples::quiet();
    samples.write(LINKS, [links(100), links(107)]);
    samples
}

#[test]
fn json_holds_every_name() {
    let report = run::report(samples().path(), &[]);
    for (_, shown) in NAMES {
        assert_eq!(run::delta(&report, "link.rx_packets", shown), Some(7), "{shown}");
    }
}

#[test]
fn openmetrics_labels_hold_every_name() {
    let run = rx(samples().path(), &["--output", "openmetrics"]);
    let found: Vec<String> = openmetrics::checked(&run.out)
        .into_iter()
        .filter(|sample| sample.name == "netstat_deep_link_rx_packets_total")
        .map(|sample| sample.labels["device"].clone())
        .collect();
    assert_eq!(found, NAMES.map(|(_, shown)| shown));
}

#[test]
fn nothing_but_text_reaches_the_terminal() {
    for args in [&[][..], &["-v"], &["-vv"], &["--jsonl"], &["--output", "openmetrics"]] {
        for root in [samples().path(), &samples().path().join("after")] {
            let run = rx(root, args);
            let odd = run.out.chars().find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
            assert_eq!((run.code, odd), (0, None), "{args:?}");
        }
    }
}

#[test]
fn a_device_can_be_chosen_by_the_name_that_is_shown() {
    let samples = samples();
    for (_, shown) in NAMES {
        let report = run::report(samples.path(), &["--dev", shown]);
        let cells = run::cells(&report);
        let devices: Vec<_> =
            cells.keys().filter(|(id, _)| id == "link.rx_packets").map(|(_, device)| device).collect();
        assert_eq!(devices, [shown]);
    }
}

#[test]
fn a_host_s_name_is_escaped_too() {
    let samples = samples().setting("kernel/hostname", "evil\x1b]0;x\x07");
    assert_eq!(run::report(samples.path(), &[])["host"], "evil\\x1b]0;x\\x07");
}
