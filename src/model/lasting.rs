//! For how long findings have stood, window after window.

use std::collections::BTreeMap;

use super::{Finding, Instance};

/// What the windows directly before this one found.
#[derive(Clone, Debug, Default)]
pub struct Lasting(BTreeMap<(String, String), f64>);

impl Lasting {
    /// For how many seconds `rule` stood for `instance` in the windows directly before: 0 in the first one.
    pub fn seconds(&self, rule: &str, instance: &Instance) -> f64 {
        self.0.get(&(rule.into(), instance.to_string())).copied().unwrap_or(0.0)
    }

    /// Takes in what a window of so many seconds found.
    pub fn follow(&mut self, findings: &[Finding], seconds: f64) {
        let next = findings.iter().map(|finding| {
            let before = self.seconds(&finding.id, &finding.instance);
            ((finding.id.clone(), finding.instance.to_string()), before + seconds)
        });
        self.0 = next.collect();
    }

    /// The same, as an example has it.
    pub fn of(rule: &str, instance: &Instance, seconds: f64) -> Self {
        Lasting([((rule.into(), instance.to_string()), seconds)].into())
    }
}
