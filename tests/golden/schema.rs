//! Every JSON that any of these tests sees must be what the schema promises.

use std::sync::LazyLock;

use jsonschema::Validator;
use netstat_deep::generate;
use serde_json::{Value, json};

use crate::run;
use crate::tree::Tree;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(&generate::schema()).unwrap());
static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| jsonschema::validator_for(&SCHEMA).unwrap());

/// The document in `text`, which must be valid.
pub fn valid(text: &str) -> Value {
    let document: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"));
    let errors: Vec<String> =
        VALIDATOR.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path)).collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    document
}

#[test]
fn the_schema_refuses_what_is_not_a_report() {
    let good = run::report(&Tree::recorded("node-exporter"), &[]);
    let broken: [(&str, Value); 7] = [
        ("/schema", json!(1)),
        ("/stages", json!(null)),
        ("/stages/0/scope", json!("galaxy")),
        ("/stages/0/counters", json!({"softnet.processed": {"total": "many"}})),
        ("/findings/0/severity", json!("dreadful")),
        ("/findings/0/lost", json!(-1)),
        ("/sources/0/ok", json!("yes")),
    ];
    for (place, value) in broken {
        let mut document = good.clone();
        *document.pointer_mut(place).unwrap() = value;
        assert!(!VALIDATOR.is_valid(&document), "{place}");
    }
}

#[test]
fn the_schema_names_every_counter_of_a_report() {
    let text = SCHEMA.to_string();
    for (id, _) in run::cells(&run::report(&Tree::recorded("node-exporter"), &[])).keys() {
        assert!(text.contains(&format!("\"{id}\":{{")), "{id}");
    }
}
