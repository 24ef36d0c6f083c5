//! Rules of the firewall that drop a known number of packets and have no counter: which rule it was shows only to who looks
//! on as the kernel evaluates the chain. Played inside the guest, judged outside.

use std::fs;
use std::path::Path;
use std::process::Child;

use serde_json::{Value, json};

use crate::boot::Guest;
use crate::drops::{Ready, during};
use crate::guest::{FLAG, from_peer, own, program, shell};
use crate::judge::{Judge, same, valid};

/// A rule or policy, who sends to it, where to, and how many.
struct Fault {
    comment: &'static str,
    /// By the table's family and name, chain and hook.
    place: [&'static str; 4],
    verdict: &'static str,
    from_peer: bool,
    to: &'static str,
    count: u64,
}

const INPUT: [&str; 4] = ["inet", "t", "i", "input"];

const FAULTS: [Fault; 7] = [
    Fault { comment: "silent", place: INPUT, verdict: "drop", from_peer: true, to: "10.78.0.1:5000", count: 37 },
    Fault { comment: "silent", place: INPUT, verdict: "drop", from_peer: true, to: "[fd78::1]:5000", count: 11 },
    Fault { comment: "back", place: INPUT, verdict: "reject", from_peer: true, to: "10.78.0.1:5001", count: 17 },
    Fault {
        comment: "out",
        place: ["ip", "p", "o", "output"],
        verdict: "drop",
        from_peer: false,
        to: "10.78.0.2:5002",
        count: 23,
    },
    Fault {
        comment: "through",
        place: ["inet", "t", "deny", "forward"],
        verdict: "drop",
        from_peer: true,
        to: "10.79.0.1:5003",
        count: 41,
    },
    Fault {
        comment: "by map",
        place: ["ip", "p", "i", "input"],
        verdict: "verdict map",
        from_peer: true,
        to: "10.78.0.1:5004",
        count: 13,
    },
    // No rule decides.
    Fault {
        comment: "",
        place: ["ip", "p", "i", "input"],
        verdict: "policy",
        from_peer: true,
        to: "10.78.0.1:5005",
        count: 29,
    },
];

const RULES: &str = "\
echo 1 >/proc/sys/net/ipv4/ip_forward
ip -n peer route add 10.79.0.0/24 via 10.78.0.1
ip route add 10.79.0.0/24 via 10.78.0.2
ip addr add fd78::1/64 dev va nodad
ip -n peer addr add fd78::2/64 dev vb nodad
ping -c 1 -W 5 fd78::2 >/dev/null
nft -f - <<END
table inet t {
	chain deny { udp dport 5003 drop comment \"through\"
	}
	chain i { type filter hook input priority -5
		udp dport 9 accept
		udp dport 5000 drop comment \"silent\"
		udp dport 5001 reject comment \"back\"
	}
	chain f { type filter hook forward priority 0
		jump deny
	}
}
table ip p {
	chain i { type filter hook input priority 10; policy drop
		udp dport vmap { 5004 : drop, 9 : accept } comment \"by map\"
		icmp type echo-reply accept
	}
	chain o { type filter hook output priority 0
		udp dport 5002 drop comment \"out\"
	}
}
END";

/// Two rules for two addresses: whose counter tells of which protocol's packets is not known, but that they were of this
/// table is.
const OLD_RULES: &str = "\
ip addr add 10.78.0.5/32 dev va
ip addr add 10.78.0.6/32 dev va
ip -n peer route add 10.78.0.4/30 via 10.78.0.1
iptables-legacy -A INPUT -d 10.78.0.5 -j DROP
iptables-legacy -A INPUT -d 10.78.0.6 -j DROP";
const OLD_UDP: [u64; 2] = [19, 7];
const PINGS: u64 = 3;

/// Inside.
pub fn play() {
    shell(RULES);
    shell(OLD_RULES);
    during(
        "fexit",
        program(&["drops", "--per-packet", "--max-cpu", "100%", "--json", "-i", "300s"]),
        Child::holds_probe,
        || {
            for Fault { from_peer: peer, to, count, .. } in FAULTS {
                let count = count.to_string();
                if peer {
                    from_peer(&[to, &count]);
                } else {
                    assert!(own().args([FLAG, to, &count]).status().unwrap().success());
                }
            }
            from_peer(&["10.78.0.5:6000", &OLD_UDP[0].to_string()]);
            from_peer(&["10.78.0.6:6000", &OLD_UDP[1].to_string()]);
            shell(&format!("ip netns exec peer ping -c {PINGS} -W 1 10.78.0.5 >/dev/null || true"));
        },
    );
    let handles = program_output("nft", &["-a", "list", "ruleset"]);
    // Whether this kernel describes the types of its modules.
    let described = Path::new("/sys/kernel/btf/nf_tables").exists();
    let left = netstat_deep::source::bpf_programs::names().len();
    let truth = json!({"rules": handles, "described": described, "left": left});
    fs::write("/out/fexit-truth.json", truth.to_string()).unwrap();
    shell("iptables-legacy -F; nft flush ruleset; echo 0 >/proc/sys/net/ipv4/ip_forward");
}

fn program_output(name: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(name).args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub const ALL: [(&str, Judge); 2] =
    [("rules_without_counters", |boot| rules(boot.guest()?)), ("tables_of_the_old_kind", |boot| tables(boot.guest()?))];

/// Every rule and the policy, to the packet, where the kernel lets programs look on; else that is told, and nobody is
/// blamed for what is not known.
fn rules(guest: &Guest) -> Result<(), String> {
    let (report, truth) = (guest.json("fexit.json")?, guest.json("fexit-truth.json")?);
    valid("fexit", &report)?;
    let probes = report["self"]["probes"].as_array().ok_or("no probes")?;
    let looked = probes.iter().find(|probe| probe["name"] == "fexit/nft_do_chain").ok_or("no word of fexit")?;
    same(&looked["attached"], &truth["described"])?;
    // Nothing is left behind that looks on.
    same(&truth["left"], &0.into())?;
    let told = told(&report, "nftables")?;
    if truth["described"] == false {
        let reason = looked["reason"].as_str().unwrap_or_default();
        same(&(reason.contains("nf_tables"), told.iter().any(|share| share["by"] == "fexit")), &(true, false))?;
        return Ok(());
    }
    let listed = truth["rules"].as_str().ok_or("no rules")?;
    for Fault { comment, place, verdict, count, .. } in &FAULTS {
        let ours =
            |share: &&Value| share["comment"].as_str().unwrap_or_default() == *comment && share["count"] == *count;
        let share = told.iter().find(ours).ok_or_else(|| format!("no {count} for '{comment}' in {told:#?}"))?;
        same(&share["by"], &"fexit".into())?;
        same(&share["verdict"], &(*verdict).into())?;
        for (field, expected) in ["family", "table", "chain", "hook"].into_iter().zip(place) {
            same(&(field, share[field].as_str()), &(field, Some(*expected)))?;
        }
        let line = listed.lines().find(|line| !comment.is_empty() && line.contains(&format!("\"{comment}\"")));
        let handle = line.and_then(|line| line.rsplit("# handle ").next()?.trim().parse::<u64>().ok());
        same(&(comment, share["handle"].as_u64()), &(comment, handle))?;
    }
    let all: u64 = told.iter().filter_map(|share| share["count"].as_u64()).sum();
    same(&all, &FAULTS.iter().map(|fault| fault.count).sum())
}

/// The table, to the packet, where the counters of its rules leave open which of them it was.
fn tables(guest: &Guest) -> Result<(), String> {
    let (report, truth) = (guest.json("fexit.json")?, guest.json("fexit-truth.json")?);
    let mut told = told(&report, "iptables")?;
    if truth["described"] == false {
        return same(&told.iter().any(|share| share["by"] == "fexit"), &false);
    }
    told.sort_by_key(|share| share["count"].as_u64());
    let counts: Vec<u64> = told.iter().filter_map(|share| share["count"].as_u64()).collect();
    same(&counts, &vec![PINGS, OLD_UDP.iter().sum()])?;
    for share in &told {
        let words = ["by", "tool", "table", "chain", "hook"].map(|field| share[field].as_str().unwrap_or_default());
        same(&words, &["fexit", "iptables-legacy", "filter", "INPUT", "input"])?;
    }
    Ok(())
}

/// What of a layer is known to have refused packets, with how many.
fn told(report: &Value, layer: &str) -> Result<Vec<Value>, String> {
    let rows = report["drops"].as_array().ok_or("no drops")?.iter();
    let mut told = Vec::new();
    for row in rows.filter(|row| row["policy"]["layer"] == layer) {
        let policy = &row["policy"];
        match policy["shares"].as_array() {
            Some(shares) => told.extend(shares.iter().cloned()),
            None if policy.is_object() && policy["by"] != "reason" => {
                let mut whole = policy.clone();
                whole["count"] = row["count"].clone();
                told.push(whole);
            }
            None => {}
        }
    }
    Ok(told)
}
