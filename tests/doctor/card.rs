//! Gets a card, through commands that take privileges away.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::LazyLock;

use netstat_deep::generate;
use serde_json::Value;
use tempfile::TempDir;

/// The program where everybody can start it: the folder that it is built in may be closed to others.
static COPY: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(env!("CARGO_BIN_EXE_netstat-deep"), folder.path().join("netstat-deep")).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
});

/// What a shell command prints, or what it says when it fails.
pub fn shell(command: &str) -> Result<String, String> {
    let output = Command::new("sh").args(["-c", command]).env("LC_ALL", "C").output().map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{command}: {}, {}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// What the program prints when `prefix` starts it.
pub fn run(prefix: &str, arguments: &str) -> Result<String, String> {
    shell(&format!("{prefix} {}/netstat-deep {arguments}", COPY.path().display()))
}

pub struct Card(pub Value);

impl Card {
    /// The card that is valid by its schema, of a program that `prefix` started.
    pub fn of(prefix: &str) -> Result<Self, String> {
        let text = run(prefix, "doctor --json")?;
        let card: Value = serde_json::from_str(&text).map_err(|e| format!("{e} in {text}"))?;
        let schema = serde_json::from_str(&generate::card_schema()).map_err(|e| e.to_string())?;
        let validator = jsonschema::validator_for(&schema).map_err(|e| e.to_string())?;
        let errors: Vec<String> = validator.iter_errors(&card).map(|e| format!("{}: {e}", e.instance_path)).collect();
        if errors.is_empty() { Ok(Card(card)) } else { Err(errors.join("\n")) }
    }

    pub fn works(&self, ability: &str) -> bool {
        self.ability(ability)["works"] == true
    }

    /// All that is missing for an ability, in one line.
    pub fn missing(&self, ability: &str) -> String {
        let missing = self.ability(ability)["missing"].as_array().cloned().unwrap_or_default();
        missing.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; ")
    }

    fn ability(&self, id: &str) -> &Value {
        self.list("abilities").find(|ability| ability["id"] == id).unwrap_or(&Value::Null)
    }

    pub fn limit(&self, name: &str) -> Option<&str> {
        self.list("limits").find(|limit| limit["name"] == name)?["value"].as_str()
    }

    /// The abilities for which a capability is missing.
    pub fn without(&self, capability: &str) -> BTreeSet<&str> {
        let ids = self.list("abilities").filter_map(|ability| ability["id"].as_str());
        ids.filter(|id| self.missing(id).split([',', ';', ' ']).any(|word| word == capability)).collect()
    }

    pub fn list(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.0[name].as_array().into_iter().flatten()
    }
}
