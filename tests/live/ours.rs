//! What the program says of a namespace, since boot.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

pub fn report(namespace: &str) -> Value {
    report_of("rx", namespace)
}

/// The same of either path.
pub fn report_of(verb: &str, namespace: &str) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_netstat-deep"))
        .args([verb, "--json", "--interval", "0", "--netns", namespace])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The counters of one instance by id: of the namespace itself, or of a device. No gauges: `nstat` leaves them out.
pub fn counters(report: &Value, device: Option<&str>) -> BTreeMap<String, u64> {
    let mut counters = BTreeMap::new();
    for stage in report["stages"].as_array().unwrap() {
        let of = stage.get("instance").map(|instance| &instance["device"]);
        if of.map(Value::as_str) == device.map(Some) {
            for (id, value) in stage["counters"].as_object().unwrap() {
                if let Some(total) = value["total"].as_u64() {
                    counters.insert(id.clone(), total);
                }
            }
        }
    }
    counters
}

/// Who is hurt, by the address of its socket.
pub fn victims(report: &Value, rule: &str) -> BTreeMap<String, Value> {
    let findings = report["findings"].as_array().unwrap().iter().filter(|finding| finding["id"] == rule);
    let victims = findings.flat_map(|finding| finding["victims"].as_array().unwrap());
    victims.map(|victim| (victim["local"].as_str().unwrap().to_owned(), victim.clone())).collect()
}
