//! Starts the program on a recorded tree.

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::schema;

/// No recorded tree takes the program a second; one that blocks it must not block the tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a run ended.
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs `rx` on the tree at `root`. A panic or a signal is never right, whatever the input.
pub fn rx(root: &Path, args: &[&str]) -> Run {
    verb("rx", root, args)
}

/// Runs any verb that takes a tree.
pub fn verb(verb: &str, root: &Path, args: &[&str]) -> Run {
    let [mut out, mut err] = [(); 2].map(|()| tempfile::tempfile().unwrap());
    let mut child = Command::new(env!("CARGO_BIN_EXE_netstat-deep"))
        .args([verb, "--root"])
        .arg(root)
        .args(args)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        // Files, not pipes: nobody need empty them while the program runs.
        .stdout(out.try_clone().unwrap())
        .stderr(err.try_clone().unwrap())
        .spawn()
        .unwrap();
    let end = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("{verb} {args:?} on {} does not end", root.display());
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let [out, err] = [&mut out, &mut err].map(|file| {
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).expect("all that is printed is UTF-8");
        text
    });
    let code = status.code().unwrap_or_else(|| panic!("{verb} {args:?}: {status}: {err}"));
    assert!(!err.contains("panicked"), "{verb} {args:?}: {err}");
    Run { code, out, err }
}

/// The report as JSON, valid by the schema.
pub fn report(root: &Path, args: &[&str]) -> Value {
    let run = rx(root, &[&["--json"], args].concat());
    assert_eq!(run.code, 0, "{}", run.err);
    schema::valid(&run.out)
}

/// A counter's id, and which CPU or device it is of; nothing for the only one.
pub type Cell = (String, String);

/// Every counter in a report by id and instance.
pub fn cells(report: &Value) -> BTreeMap<Cell, Value> {
    let mut cells = BTreeMap::new();
    for stage in report["stages"].as_array().unwrap() {
        let instance = match &stage["instance"] {
            Value::Null => String::new(),
            keys => keys.as_object().unwrap().values().map(plain).collect(),
        };
        for (id, value) in stage["counters"].as_object().unwrap() {
            let old = cells.insert((id.clone(), instance.clone()), value.clone());
            assert_eq!(old, None, "{id} of '{instance}' stands twice");
        }
    }
    cells
}

/// A counter's total, or a gauge's value.
pub fn number(value: &Value) -> u64 {
    value.get("total").or(value.get("value")).and_then(Value::as_u64).expect("a total or a value")
}

/// By how much the counter grew, if the report says so.
pub fn delta(report: &Value, id: &str, instance: &str) -> Option<u64> {
    let cells = cells(report);
    let cell = cells.get(&(id.into(), instance.into())).unwrap_or_else(|| panic!("{id} of '{instance}' is not there"));
    cell.get("delta").map(|delta| delta.as_u64().unwrap())
}

/// A line of the ledger.
pub fn line<'a>(report: &'a Value, stage: &str) -> Option<&'a Value> {
    report["ledger"].as_array().unwrap().iter().find(|line| line["stage"] == stage)
}

/// A finding by its rule.
pub fn finding<'a>(report: &'a Value, id: &str) -> Option<&'a Value> {
    report["findings"].as_array().unwrap().iter().find(|finding| finding["id"] == id)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
