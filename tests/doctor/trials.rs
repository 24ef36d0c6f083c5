//! Who asks, and what the card must say.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::card::{Card, run, shell};

type Trial = fn() -> Result<(), String>;

/// Name, commands that must work here, and what must hold.
pub const ALL: [(&str, &[&str], Trial); 11] = [
    ("anybody_gets_a_card", &[], anybody),
    ("the_screen_fits_a_terminal_and_a_pipe_has_no_colours", &[], screen),
    ("root_has_it_all", &[ROOT], root),
    ("nobody_has_counters_and_hears_what_is_missing", &[ROOT, "setpriv --version"], nobody),
    ("each_capability_costs_what_the_card_says", &[ROOT, "setpriv --version"], one_less),
    ("hooks_are_those_of_tracefs", &[EVENTS], hooks),
    ("hooks_are_tried_where_that_is_permitted", &[ROOT, "test -r /sys/kernel/btf/vmlinux"], attached),
    ("a_filter_that_forbids_bpf_is_told", &[ROOT], filtered),
    ("without_locked_memory_bpf_works_or_that_is_told", &[ROOT, "test -r /sys/kernel/btf/vmlinux"], locked),
    ("another_network_namespace_is_told", &["unshare -n true"], network_namespace),
    ("another_user_namespace_is_told", &["unshare -Ur true"], user_namespace),
];

/// Root in the initial user namespace, with all that is looked at.
const ROOT: &str = "test $(id -u) = 0 && setpriv -d | grep 'Capability bounding set' | grep perfmon | grep bpf | \
                    grep syslog | grep sys_admin";
const NOBODY: &str = "setpriv --reuid 65534 --regid 65534 --clear-groups";
/// All tracepoints, by another way than the program's.
const EVENTS: &str = "unshare -m sh -c 'mount -t tracefs none /sys/kernel/tracing && \
                      cat /sys/kernel/tracing/available_events'";

fn anybody() -> Result<(), String> {
    let card = Card::of("")?;
    same(&card.0["kind"], &Value::from("doctor"))?;
    that(card.works("counters"), &card)?;
    let named: BTreeSet<&str> = card.list("sources").filter_map(|source| source["name"].as_str()).collect();
    that(named.contains("proc/net/snmp") && named.contains("rtnetlink links"), &card)?;
    that(card.list("sources").all(|source| source["microseconds"].is_u64()), &card)
}

fn screen() -> Result<(), String> {
    for arguments in ["doctor", "doctor -v"] {
        let text = run("", arguments)?;
        let long = text.lines().find(|line| line.chars().count() > 80);
        same(&long, &None)?;
        same(&text.contains('\x1b'), &false)?;
    }
    same(&run("", "doctor --color always")?.contains('\x1b'), &true)
}

fn root() -> Result<(), String> {
    let card = Card::of("")?;
    let absent: Vec<&Value> = card.list("capabilities").filter(|capability| capability["present"] != true).collect();
    same(&absent, &vec![])?;
    // What the kernel itself lacks (types, the drop monitor) is no matter of privileges.
    for ability in ["victims", "namespaces", "cost"] {
        that(card.works(ability), &card)?;
    }
    Ok(())
}

fn nobody() -> Result<(), String> {
    let card = Card::of(NOBODY)?;
    that(card.works("counters"), &card)?;
    let present: Vec<&Value> = card.list("capabilities").filter(|capability| capability["present"] != false).collect();
    same(&present, &vec![])?;
    for (ability, missing) in [
        ("drops", "CAP_BPF, CAP_PERFMON"),
        ("drop-monitor", "CAP_NET_ADMIN, CAP_SYS_ADMIN"),
        ("victims", "CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH"),
        ("namespaces", "CAP_SYS_ADMIN"),
        ("apply", "write access to settings"),
    ] {
        that(!card.works(ability) && card.missing(ability).contains(missing), &card)?;
    }
    let command = card.list("remedies").find_map(|remedy| remedy["command"].as_str()).ok_or("no remedy")?;
    that(command.starts_with("setcap '") && command.contains("cap_bpf+ep"), &card)?;
    // And the counters do work.
    let report: Value = serde_json::from_str(&run(NOBODY, "rx --json --interval 0")?).map_err(|e| e.to_string())?;
    let counters = report["stages"].as_array().into_iter().flatten().filter_map(|stage| stage["counters"].as_object());
    that(counters.map(serde_json::Map::len).sum::<usize>() > 100, &card)
}

fn one_less() -> Result<(), String> {
    let hidden = Card::of(NOBODY)?.missing("symbols").contains("CAP_SYSLOG");
    // The types of modules are for CAP_SYS_ADMIN alone; those of the kernel itself are not.
    let module = std::path::Path::new("/sys/kernel/btf/nf_tables").exists();
    let of_admin = ["cost", "drop-monitor", "namespaces"].into_iter().chain(module.then_some("rules")).collect();
    for (capability, costs) in [
        ("net_admin", vec!["drop-monitor"]),
        ("sys_ptrace", vec!["victims"]),
        ("dac_read_search", vec!["victims"]),
        ("sys_admin", of_admin),
        // Where everybody sees addresses, nobody needs it.
        ("syslog", if hidden { vec!["symbols"] } else { vec![] }),
        // CAP_SYS_ADMIN stands for these two.
        ("bpf", vec![]),
        ("perfmon", vec![]),
    ] {
        let card = Card::of(&format!("setpriv --bounding-set -{capability} --inh-caps -{capability}"))?;
        let name = format!("CAP_{}", capability.to_uppercase());
        same(&(&name, card.without(&name)), &(&name, costs.into_iter().collect()))?;
        let of = card.list("capabilities").find(|other| other["name"] == name.as_str());
        same(&of.map(|capability| capability["present"].clone()), &Some(false.into()))?;
    }
    let card = Card::of("setpriv --bounding-set -bpf,-sys_admin --inh-caps -bpf,-sys_admin")?;
    same(&card.without("CAP_BPF"), &BTreeSet::from(["drops", "rules"]))?;
    let remedy =
        card.list("remedies").find_map(|remedy| remedy["what"].as_str().filter(|what| what.contains("--cap-add")));
    that(remedy.is_some_and(|what| what.contains("--cap-add=BPF") && !what.contains("PERFMON")), &card)
}

fn hooks() -> Result<(), String> {
    let events = shell(EVENTS)?;
    let events: BTreeSet<&str> = events.lines().collect();
    let card = Card::of("")?;
    for hook in card.list("hooks") {
        let id = hook["id"].as_str().ok_or("no id")?;
        if !id.starts_with("fexit:") {
            same(&(id, hook["found"].is_string()), &(id, events.contains(id)))?;
        }
        // Who may not attach is not told more than that it is there.
        let works = hook["attached"].as_bool().unwrap_or(hook["found"].is_string());
        that(works != hook["reason"].is_string(), &card)?;
    }
    that(card.list("hooks").count() > 10, &card)
}

/// Root's programs are taken, but at functions not by every kernel, which is told; who may load none is not told that each
/// failed.
fn attached() -> Result<(), String> {
    let card = Card::of("")?;
    for hook in card.list("hooks") {
        if hook["id"].as_str().is_some_and(|id| id.starts_with("fexit:")) {
            let works = hook["attached"].as_bool().unwrap_or(false);
            that(works != hook["reason"].is_string(), &card)?;
            if hook["id"] == "fexit:nft_do_chain" {
                let no_rules = hook["reason"].as_str().is_some_and(|reason| reason.contains("not loaded"));
                same(&card.works("rules"), &(works || no_rules))?;
            }
            continue;
        }
        same(&(&hook["id"], &hook["attached"]), &(&hook["id"], &hook["found"].is_string().into()))?;
    }
    same(&card.works("drops"), &true)?;
    let card = Card::of("setpriv --bounding-set -bpf,-sys_admin --inh-caps -bpf,-sys_admin")?;
    that(card.list("hooks").all(|hook| hook["attached"].is_null()), &card)
}

/// As in a container: root with all capabilities, and yet no BPF.
fn filtered() -> Result<(), String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let prefix = format!("{} {}", own.display(), crate::WITHOUT_BPF);
    let card = Card::of(&prefix)?;
    that(card.missing("drops").starts_with("the system call bpf, which is refused"), &card)?;
    that(card.limit("seccomp") == Some("system calls are filtered") && card.works("counters"), &card)?;
    let remedy = card.list("remedies").find(|remedy| remedy["what"].to_string().contains("seccomp profile"));
    that(remedy.is_some_and(|remedy| remedy["abilities"].to_string().contains("drops")), &card)?;
    // The drop monitor takes over, or is missing as well, and then both are named and what is left.
    match run(&prefix, "drops --json -i 100ms") {
        Ok(report) => same(&report.contains("used instead of BPF"), &true),
        Err(said) => {
            let named = ["exit status: 3", "no program can be loaded", "drop monitor", "'netstat-deep rx'"];
            named.into_iter().try_for_each(|word| same(&(word, said.contains(word)), &(word, true)))
        }
    }?;
    // Who wants nothing else gets nothing else.
    let said = run(&prefix, "drops --source bpf").err().unwrap_or_default();
    same(&(said.contains("exit status: 3"), said.contains("drop monitor")), &(true, false))?;
    let said = run("", "drops --source drop-monitor --flows").err().unwrap_or_default();
    same(&(said.contains("exit status: 3"), said.contains("--flows")), &(true, true))
}

/// Where maps are locked memory, none fits (until 5.10); elsewhere the limit does not matter.
fn locked() -> Result<(), String> {
    let card = Card::of(
        "setpriv --bounding-set -sys_resource --inh-caps -sys_resource sh -c 'ulimit -l 0; exec \"$0\" \"$@\"'",
    )?;
    that(card.works("drops") || card.missing("drops").contains("RLIMIT_MEMLOCK"), &card)
}

fn network_namespace() -> Result<(), String> {
    let card = Card::of("unshare -n")?;
    same(&card.limit("network namespace"), &Some("another"))?;
    that(card.missing("drop-monitor").contains("the initial network namespace"), &card)?;
    that(card.works("counters"), &card)?;
    let absent = |card: &Card| card.0["settings"]["absent"].as_array().cloned().unwrap_or_default();
    that(absent(&card).contains(&"net.core.netdev_max_backlog".into()), &card)?;
    let home = Card::of("")?;
    same(&home.limit("network namespace"), &Some("initial"))?;
    that(!absent(&home).contains(&"net.core.netdev_max_backlog".into()), &home)
}

fn user_namespace() -> Result<(), String> {
    let card = Card::of("unshare -Ur")?;
    same(&card.limit("user namespace"), &Some("another"))?;
    for ability in ["drops", "drop-monitor", "victims", "namespaces"] {
        that(!card.works(ability) && card.missing(ability).contains("the initial user namespace"), &card)?;
    }
    that(card.works("counters"), &card)
}

fn same<T: PartialEq + std::fmt::Debug>(found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("found {found:?}, expected {expected:?}")) }
}

#[track_caller]
fn that(holds: bool, card: &Card) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{}: does not hold of {:#}", std::panic::Location::caller(), card.0)) }
}
