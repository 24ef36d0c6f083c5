//! A device's queue is full, or its queue management drops.

use super::knobs::{LIMIT, TXQUEUELEN};
use super::{CAKE_ACKS, CHILD_DROPS, DROPS, OVERLIMITS, QLEN, SENT, SENT_BYTES};
use crate::model::{
    Change, Example, Finding, Instance, Knob, Observed, Rule, Scope, Severity, Threshold, power_of_two,
};
use crate::source::qdisc::limit;

pub static DROPPING: Rule = Rule {
    id: "qdisc-drops",
    title: "A device's queue drops what is to be sent",
    explain: "More was to be sent than the device, or the rate that its queue is shaped to, lets go, and the queue was full \
              (pfifo_fast, pfifo, tbf, htb) or dropped a packet to tell a sender to slow down (fq_codel, cake, codel: \
              expected when a link is saturated). The device's own tx_dropped does not hold these. TCP keeps little in the \
              queue and sends again, so what is lost for good is mostly UDP and what is sent on for others; an application \
              learns of it only with IP_RECVERR (udp-send-fails tells the same packets). A longer queue helps against \
              bursts; if more comes all the time, it only makes everything wait.",
    triggers: &[&DROPS],
    seen: &[],
    knobs: &[&LIMIT, &TXQUEUELEN],
    thresholds: &[
        Threshold { key: "warning_percent", default: 2.0, help: "share of the packets that is dropped, in %; netdata" },
        Threshold { key: "warning_per_second", default: 1.0, help: "packets/s dropped; own: below, a remark" },
        Threshold {
            key: "burst_times",
            default: 16.0,
            help: "the longest queue that is suggested, in lengths of the present one; own",
        },
    ],
    fires: dropping,
    examples: &[
        Example {
            what: "a shaper lost 97 of 100 datagrams, that a longer queue would have held",
            severity: Some(Severity::Warning),
            observed: || lossy("tbf 1:", 97, 3).with_setting("qdisc/eth0/1:/limit", "30000"),
        },
        Example {
            what: "pfifo_fast lost a burst",
            severity: Some(Severity::Warning),
            observed: || lossy("pfifo_fast 0:", 400, 1_000).with_setting("class/net/eth0/tx_queue_len", "1000"),
        },
        Example {
            what: "far more than any queue holds",
            severity: Some(Severity::Warning),
            observed: || {
                let seen = lossy("pfifo 1:", 100_000, 1_000).with_setting("qdisc/eth0/1:/limit", "100");
                seen.with_at(&QLEN, Instance::qdisc("eth0", "pfifo 1:"), 100)
            },
        },
        Example {
            what: "many bursts, and the queue is empty in between",
            severity: Some(Severity::Warning),
            observed: || lossy("pfifo 1:", 100_000, 1_000).with_setting("qdisc/eth0/1:/limit", "100"),
        },
        Example {
            what: "one packet in a thousand",
            severity: Some(Severity::Info),
            observed: || lossy("pfifo 1:", 10, 10_000).with_setting("qdisc/eth0/1:/limit", "100"),
        },
        Example {
            what: "queue management at a saturated link: expected",
            severity: Some(Severity::Info),
            observed: || lossy("fq_codel 0:", 500, 10_000),
        },
        Example {
            what: "a class of htb: its parent counts the same packets",
            severity: Some(Severity::Warning),
            observed: || {
                let class = Instance::Class { device: "eth0".into(), class: "htb 1:10".into() };
                lossy("htb 1:", 500, 1_000).with_at(&CHILD_DROPS, class, 500)
            },
        },
        Example {
            what: "cake's ACK filter drops what a later ACK says again",
            severity: None,
            observed: || lossy("cake 1:", 40, 1_000).with_at(&CAKE_ACKS, Instance::qdisc("eth0", "cake 1:"), 40),
        },
    ],
};

fn lossy(qdisc: &str, lost: u64, sent: u64) -> Observed {
    let at = || Instance::qdisc("eth0", qdisc);
    let seen = Observed::quiet().with_at(&DROPS, at(), lost);
    seen.with_at(&SENT, at(), sent).with_at(&SENT_BYTES, at(), sent.saturating_mul(1_000))
}

/// Disciplines that drop so that senders slow down.
const MANAGE: [&str; 8] = ["fq_codel", "codel", "cake", "fq_pie", "pie", "red", "sfb", "dualpi2"];

fn dropping(seen: &Observed, rule: &Rule) -> Vec<Finding> {
    let device = |(at, lost): (&Instance, u64)| {
        // What cake drops of ACKs is no loss: a later one says the same.
        let lost = lost.saturating_sub(seen.changes.delta_at(&CAKE_ACKS, at));
        (lost > 0).then(|| of_device(seen, rule, at, lost))
    };
    seen.grown(&DROPS).into_iter().filter_map(device).collect()
}

fn of_device(seen: &Observed, rule: &Rule, at: &Instance, lost: u64) -> Finding {
    let (Instance::Qdisc { qdisc, .. }, Some(device)) = (at, at.of_device()) else {
        return Finding::new(rule, Severity::Info, Scope::Device, lost, "a queue without a name");
    };
    let kind = qdisc.split(' ').next().unwrap_or_default();
    let sent = seen.changes.delta_at(&SENT, at);
    let percent = lost as f64 * 100.0 / sent.saturating_add(lost) as f64;
    let manages = MANAGE.contains(&kind);
    let (share, rate) = (seen.threshold(rule, "warning_percent"), seen.threshold(rule, "warning_per_second"));
    let many = percent > share && seen.rate(lost).is_some_and(|lost| lost > rate);
    let severity = if many && !manages { Severity::Warning } else { Severity::Info };
    let shaped = seen.changes.delta_at(&OVERLIMITS, at) > 0;
    let mut why = format!("{kind} of {device} dropped {percent:.1} % of what was to be sent");
    if manages {
        why += ", so that senders slow down: expected while a link is saturated";
    } else if shaped {
        why += ", because more came than the rate that it is shaped to";
    }
    let worst = seen.grown(&CHILD_DROPS).into_iter().find(|(child, _)| child.of_device() == Some(device));
    if let Some((Instance::Class { class: part, .. } | Instance::Qdisc { qdisc: part, .. }, dropped)) = worst {
        why += &format!("; most of them, {dropped}, in {part}");
    }
    let mut finding = Finding::new(rule, severity, Scope::Device, lost, why);
    finding.instance = at.clone();
    finding.evidence = vec![seen.evidence_at(&DROPS, at, Some(rate)), seen.evidence_at(&SENT, at, None)];
    if shaped {
        finding.evidence.push(seen.evidence_at(&OVERLIMITS, at, None));
    }
    finding.refuse("net.core.netdev_max_backlog", "it is about packets that come in");
    turn(seen, rule, at, [kind, device], lost, &mut finding);
    finding
}

/// The setting that makes room for a burst, where there is one.
fn turn(seen: &Observed, rule: &Rule, at: &Instance, [kind, device]: [&str; 2], lost: u64, finding: &mut Finding) {
    let (knob, place): (&'static Knob, Instance) = match kind {
        "pfifo_fast" => (&TXQUEUELEN, Instance::device(device)),
        _ => (&LIMIT, at.clone()),
    };
    let Some(present) = seen.settings.number(&knob.path_of(&place)) else {
        finding.no_setting_helps = Some(match kind {
            "htb" | "hfsc" | "drr" | "prio" | "qfq" => format!(
                "what waits below {kind} is up to the classes: give the one that loses a larger rate, or a longer queue \
                 where it is made ('tc -s class show dev {device}')"
            ),
            "mq" | "mqprio" => {
                "each of its queues has a qdisc of its own that the kernel made: 'tc qdisc replace' makes another"
                    .into()
            }
            _ => {
                format!("the kernel made this {kind} by itself; 'tc qdisc replace dev {device} root ...' makes another")
            }
        });
        return;
    };
    // A packet of the size of those that were sent; of a full frame if none was.
    let size = seen.changes.delta_at(&SENT_BYTES, at).checked_div(seen.changes.delta_at(&SENT, at)).unwrap_or(1_514);
    let unit = if limit::in_bytes(kind) { size.max(1) } else { 1 };
    let held = power_of_two(present.saturating_add(lost.saturating_mul(unit)));
    let most = (present.max(1) as f64 * seen.threshold(rule, "burst_times")) as u64;
    // A queue that is empty in between has lost bursts, however many. One that still holds something had no rest.
    let waits = seen
        .changes
        .each(&QLEN)
        .any(|(other, change)| other == at && matches!(change, Change::Gauge { value, .. } if value > 0));
    if MANAGE.contains(&kind) || (held > most && waits) {
        finding.no_setting_helps = Some(
            "more is sent than leaves, all the time: a longer queue would only make it wait. Let the sender pace itself, \
             or give it a faster device or a higher rate"
                .into(),
        );
        finding.refuse(knob.id, "it would delay the loss, and everything behind it");
        return;
    }
    // What waits is charged about twice its size (truesize).
    let memory =
        |more: u64| if unit > 1 { more.saturating_mul(2) } else { more.saturating_mul(size.saturating_mul(2)) };
    let why = match held <= most {
        true => "the next power of two above what it holds and what was lost: the bursts of this window fit",
        false => "so many times its present length: what was lost came in bursts, between which the queue was empty",
    };
    finding.suggest(seen.raise_at(knob, &place, |_| held.min(most), why, memory));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suggested(seen: &Observed) -> Vec<(String, String)> {
        let found = dropping(seen, &DROPPING);
        found[0].suggestions.iter().map(|one| (one.knob.clone(), one.to.clone())).collect()
    }

    #[test]
    fn a_shaper_s_queue_is_measured_in_bytes() {
        let seen = lossy("tbf 1:", 97, 3).with_setting("qdisc/eth0/1:/limit", "30000");
        assert_eq!(suggested(&seen), [("qdisc.limit".into(), (1_u64 << 17).to_string())]);
    }

    #[test]
    fn pfifo_fast_is_as_long_as_the_device_says() {
        let seen = lossy("pfifo_fast 0:", 400, 1_000).with_setting("class/net/eth0/tx_queue_len", "1000");
        assert_eq!(suggested(&seen), [("txqueuelen".into(), "2048".into())]);
    }

    #[test]
    fn no_queue_is_long_enough_for_what_comes_all_the_time() {
        let seen = lossy("pfifo 1:", 100_000, 1_000).with_setting("qdisc/eth0/1:/limit", "100");
        assert_eq!(suggested(&seen), [("qdisc.limit".into(), "1600".into())]);
        let seen = seen.with_at(&QLEN, Instance::qdisc("eth0", "pfifo 1:"), 100);
        assert_eq!(suggested(&seen), []);
    }
}
