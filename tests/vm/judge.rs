//! What must hold of a guest, whatever its kernel.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::boot::{Boot, Guest};
use crate::guest::{FILES, FLOOD, KNOCKS};

pub type Judge = fn(&Boot) -> Result<(), String>;

pub const ALL: [(&str, Judge); 6] = [
    ("schema", |boot| schema(boot.guest()?)),
    ("overflow", |boot| overflow(boot.guest()?)),
    ("only_what_the_kernel_has", |boot| only_what_the_kernel_has(boot.guest()?)),
    ("watching_is_cheap", |boot| watching_is_cheap(boot.guest()?)),
    ("drop_monitor", |boot| drop_monitor(boot.guest()?)),
    ("doctor", |boot| doctor(boot.guest()?)),
];

/// Every document is what the published schemas promise.
fn schema(guest: &Guest) -> Result<(), String> {
    for name in ["window.json", "since-boot.json", "since-boot-tx.json", "doctor.json"] {
        valid(name, &guest.json(name)?)?;
    }
    Ok(())
}

/// A document is what its schema promises.
pub fn valid(name: &str, document: &Value) -> Result<(), String> {
    let promise = match document["kind"].as_str() {
        Some("doctor") => include_str!("../../man/netstat-deep-doctor-1.schema.json"),
        _ => include_str!("../../man/netstat-deep-1.schema.json"),
    };
    let promise = serde_json::from_str(promise).map_err(|e| e.to_string())?;
    let validator = jsonschema::validator_for(&promise).map_err(|e| e.to_string())?;
    let errors: Vec<String> =
        validator.iter_errors(document).map(|error| format!("{name}: {}: {error}", error.instance_path)).collect();
    same(&errors.join("\n"), &String::new())
}

/// Each datagram that the reader did not find is counted, in its place, at its victim.
fn overflow(guest: &Guest) -> Result<(), String> {
    let (report, truth) = (guest.json("window.json")?, guest.json("truth.json")?);
    let lost = truth["lost"].as_u64().ok_or("no truth")?;
    assert_within(&report, &truth)?;
    if lost == 0 {
        return Err("nothing overflowed".into());
    }
    let stages = report["stages"].as_array().ok_or("no stages")?.iter();
    let counted = stages.filter_map(|stage| stage["counters"]["Udp.RcvbufErrors"]["delta"].as_u64()).sum::<u64>();
    same(&counted, &lost)?;
    let ledger = report["ledger"].as_array().ok_or("no ledger")?.iter().filter(|line| line["stage"] == "udp_in");
    same(&ledger.filter_map(|line| line["lost"].as_u64()).sum::<u64>(), &lost)?;
    let findings = report["findings"].as_array().ok_or("no findings")?;
    let found = findings.iter().find(|finding| finding["id"] == "udp-receive-buffer-overflow");
    let victim = &found.ok_or_else(|| format!("not found among {findings:?}"))?["victims"][0];
    same(&victim["lost"].as_u64(), &Some(lost))?;
    same(&victim["pid"], &truth["pid"])
}

/// All that was sent was sent while the program watched.
fn assert_within(report: &Value, truth: &Value) -> Result<(), String> {
    let time = |value: &Value| value.as_str().unwrap_or_default().parse::<Timestamp>().map_err(|e| e.to_string());
    let seconds = report["window_seconds"].as_f64().ok_or("no window")?;
    let end = time(&report["taken_at"])?;
    let begin = end - SignedDuration::from_millis((seconds * 1000.0) as i64);
    if begin < time(&truth["begin"])? && time(&truth["end"])? < end {
        return Ok(());
    }
    Err(format!("the guest was too slow to say anything: watched from {begin} to {end}, {truth}"))
}

/// Also on a machine where a look at the sockets takes long, as it does here.
fn watching_is_cheap(guest: &Guest) -> Result<(), String> {
    let report = guest.json("window.json")?;
    let seconds = report["window_seconds"].as_f64().ok_or("no window")?;
    let cpu = report["self"]["cpu_microseconds"].as_f64().ok_or("no cost")? / 1e6;
    if cpu < seconds / 4.0 { Ok(()) } else { Err(format!("{cpu} s of CPU to watch for {seconds} s")) }
}

/// Every dropped packet once, at its place, and by its reason on kernels that have reasons.
fn drop_monitor(guest: &Guest) -> Result<(), String> {
    let told = guest.json("dropmon.json")?;
    same(&(told["lost"].as_u64(), told["bad"].as_u64()), &(Some(0), Some(0)))?;
    same(&told["complete"], &true.into())?;
    let rows = told["rows"].as_array().ok_or("no rows")?;
    let reasons = rows.iter().any(|row| !row["reason"].is_null());
    let cases = [
        ("SOCKET_RCVBUFF", "udp_queue_rcv_one_skb", told["overflown"].as_u64()),
        ("NO_SOCKET", "__udp4_lib_rcv", Some(KNOCKS)),
    ];
    for (reason, location, count) in cases {
        let ours = |row: &&Value| if reasons { row["reason"] == reason } else { row["location"] == location };
        let row = rows.iter().find(ours).ok_or_else(|| format!("no {reason} among {rows:?}"))?;
        same(&row["count"].as_u64(), &count)?;
        same(&row["in_port"].to_string(), &told["device"].as_str().unwrap_or_default().to_owned())?;
        same(&(row["ethertype"].as_u64(), row["protocol"].as_u64()), &(Some(0x0800), Some(17)))?;
    }
    let [counted, lost] = [0, 1].map(|at| told["flood"][at].as_u64().unwrap_or_default());
    // How many are lost depends on how fast they come; none may be lost untold.
    // A few packets of others may be among the lost.
    if !(FLOOD..FLOOD + 20).contains(&(counted + lost)) {
        return Err(format!("{counted} were told and {lost} lost, of {FLOOD}"));
    }
    same(&guest.text("dropmon-busy")?, &"Err(ResourceBusy)".to_owned())
}

/// The card knows this kernel: its hooks are those that tracefs lists, and all that needs no hook works for root.
fn doctor(guest: &Guest) -> Result<(), String> {
    let (card, events) = (guest.json("doctor.json")?, guest.text("events")?);
    let events: Vec<&str> = events.lines().collect();
    for hook in card["hooks"].as_array().ok_or("no hooks")? {
        let id = hook["id"].as_str().ok_or("no id")?;
        // No tracepoint: its own trial looks at that.
        if id.starts_with("fexit:") {
            continue;
        }
        let there = events.contains(&id);
        same(&(id, hook["found"].is_string()), &(id, there))?;
        // Our program is taken wherever its hook is there; where it is not, that is said.
        same(&(id, &hook["attached"], hook["reason"].is_string()), &(id, &there.into(), !there))?;
    }
    for ability in card["abilities"].as_array().ok_or("no abilities")? {
        // Before 5.11 the kernel does not describe its modules.
        if ability["id"] == "rules" && guest.json("fexit-truth.json")?["described"] == false {
            same(&ability["missing"].to_string().contains("nf_tables"), &true)?;
            continue;
        }
        same(&(&ability["id"], &ability["missing"]), &(&ability["id"], &Value::Array(Vec::new())))?;
    }
    // The drop monitor told reasons if, and only if, this kernel has some.
    let told = guest.json("dropmon.json")?;
    let told = told["rows"].as_array().ok_or("no rows")?.iter().any(|row| row["reason"].is_string());
    same(&(card["features"]["drop_reasons"].as_u64() > Some(0)), &told)?;
    same(&(&card["features"]["btf"]["ok"], &card["features"]["drop_monitor"]), &(&true.into(), &true.into()))
}

/// Of the protocols' tables, a counter is told if the kernel has it, with the kernel's value, and no other is told.
fn only_what_the_kernel_has(guest: &Guest) -> Result<(), String> {
    let kernel = tables(guest)?;
    let mut told = BTreeMap::new();
    for name in ["since-boot.json", "since-boot-tx.json"] {
        for stage in guest.json(name)?["stages"].as_array().ok_or("no stages")? {
            for (id, value) in stage["counters"].as_object().ok_or("no counters")? {
                told.insert(id.clone(), value["total"].as_i64().or_else(|| value["value"].as_i64()));
            }
        }
    }
    let groups = ["Ip", "Icmp", "Tcp", "Udp", "UdpLite", "TcpExt", "IpExt", "Ip6", "Icmp6", "Udp6", "UdpLite6"];
    told.retain(|id, _| groups.contains(&id.split('.').next().unwrap_or_default()));
    for (_, counter) in netstat_deep::stage::counters() {
        let id = counter.id();
        if groups.contains(&counter.group.id) {
            same(&(&id, told.contains_key(&id)), &(&id, kernel.contains_key(&id)))?;
        }
    }
    // Nothing but the program itself ran between the two reads, and it sends nothing.
    for (id, value) in &told {
        same(&(id, *value), &(id, kernel.get(id).copied()))?;
    }
    if told.len() < 100 {
        return Err(format!("only {} counters are told", told.len()));
    }
    Ok(())
}

/// The kernel's own tables by counter id, read in another way than the program does.
fn tables(guest: &Guest) -> Result<BTreeMap<String, i64>, String> {
    let mut values = BTreeMap::new();
    for file in FILES {
        let text = guest.text(file)?;
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let mut words = line.split_whitespace();
            let first = words.next().ok_or("an empty line")?;
            let number = |word: &str| word.parse::<i64>().map_err(|e| format!("{file}: {word}: {e}"));
            match first.strip_suffix(':') {
                Some(group) => {
                    let numbers = lines.next().ok_or("a header alone")?.split_whitespace().skip(1);
                    for (name, word) in words.zip(numbers) {
                        values.insert(format!("{group}.{name}"), number(word)?);
                    }
                }
                None => {
                    // Ip6InReceives: the group ends with the first 6.
                    let (group, name) = first.split_once('6').ok_or("no 6")?;
                    values.insert(format!("{group}6.{name}"), number(words.next().ok_or("no value")?)?);
                }
            }
        }
    }
    Ok(values)
}

pub fn same<T: PartialEq + std::fmt::Debug + ?Sized>(found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("found {found:?}, expected {expected:?}")) }
}
