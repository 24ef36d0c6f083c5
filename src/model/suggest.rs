//! How a rule turns what it saw into a suggestion: the present value, the wanted one, and the commands forth and back.

use super::{Finding, Folklore, Instance, Knob, Observed, Place, Scope, Suggestion, ethtool, grow, quoted};

impl Observed {
    /// Suggests to raise `knob`, or says why it can't be: never below its present value, never out of its range.
    pub fn raise(
        &self,
        knob: &'static Knob,
        to: u64,
        why: &str,
        memory: impl Fn(u64) -> u64,
    ) -> Result<Suggestion, String> {
        self.raise_all(knob, |_| vec![to], why, memory)
    }

    /// The same for a knob of several numbers: `to` makes the wanted ones of the present ones. `memory` tells what it may
    /// cost that the last one grows by so much.
    pub fn raise_all(
        &self,
        knob: &'static Knob,
        to: impl Fn(&[u64]) -> Vec<u64>,
        why: &str,
        memory: impl Fn(u64) -> u64,
    ) -> Result<Suggestion, String> {
        let Some(from) = self.settings.numbers(&knob.path()) else {
            return Err(format!(
                "{} is what binds, but its present value is not known here; from inside a container only the host shows \
                 machine-wide settings",
                knob.id
            ));
        };
        let to = grow(&from, &to(&from), &knob.range);
        let more = to.last().zip(from.last()).map_or(0, |(to, from)| to - from);
        let [from, to] = [from, to].map(|numbers| numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(" "));
        if to == from {
            return Err(format!("{} already is {from} {}: more would only hide the cause longer", knob.id, knob.unit));
        }
        let mut suggestion = self.suggest(knob, Instance::Only, from, to, why);
        suggestion.memory_bytes = memory(more);
        Ok(suggestion)
    }

    /// Suggests to raise a device's own `knob`, as far as its driver lets it.
    pub fn raise_at(
        &self,
        knob: &'static Knob,
        device: &Instance,
        to: impl Fn(u64) -> u64,
        why: &str,
        memory: impl Fn(u64) -> u64,
    ) -> Result<Suggestion, String> {
        let path = knob.path_of(device);
        if self.changes.since_boot {
            return Err(format!("whether {} of {device} binds now shows only in a window: --interval 1s", knob.id));
        }
        let Some(from) = self.settings.number(&path) else {
            return Err(format!(
                "{} of {device} would help, but its present value is not known here: the driver does not tell it, or it \
                 was not recorded",
                knob.id
            ));
        };
        let most = self.settings.number(&format!("{path}/max")).unwrap_or(*knob.range.end());
        let to = to(from).min(most).min(*knob.range.end());
        if to <= from {
            return Err(format!(
                "{} of {device} is {from} {} already, and more is not to be had or would not help: let other CPUs or \
                 devices take part, or less traffic come",
                knob.id, knob.unit
            ));
        }
        let mut suggestion = self.suggest(knob, device.clone(), from.to_string(), to.to_string(), why);
        suggestion.memory_bytes = memory(to - from);
        Ok(suggestion)
    }

    /// Suggests `knob` from one value to another.
    pub fn suggest(&self, knob: &'static Knob, instance: Instance, from: String, to: String, why: &str) -> Suggestion {
        let name = knob.name_of(&instance);
        let (command, undo) = match knob.place {
            Place::Sysctl => (self.sysctl(knob, &name, &to), self.sysctl(knob, &name, &from)),
            Place::Sysfs(_) => {
                let file = format!("/sys/{}", knob.path_of(&instance));
                (self.sysfs(&file, &to), self.sysfs(&file, &from))
            }
            // An interrupt belongs to the machine, not to a namespace.
            Place::Irq(_) => {
                let file = format!("/proc/{}", knob.path_of(&instance));
                (format!("echo {to} > {file}"), format!("echo {from} > {file}"))
            }
            Place::Ethtool(_) => {
                let path = knob.path_of(&instance);
                (self.ethtool(&path, &to), self.ethtool(&path, &from))
            }
            Place::Qdisc(_) => (self.qdisc(&instance, &to), self.qdisc(&instance, &from)),
            Place::Elsewhere(_) => (format!("{name} = {to}, in the application"), format!("{name} = {from}")),
        };
        Suggestion {
            knob: name,
            file: knob.file_of(&instance),
            instance,
            from,
            to,
            unit: knob.unit.into(),
            why: why.into(),
            risk: knob.risk,
            memory_bytes: 0,
            memory: knob.memory,
            scope: knob.scope,
            takes_effect: knob.takes_effect.into(),
            waits: knob.waits,
            command,
            undo,
            appliable: !matches!(knob.place, Place::Elsewhere(_)),
        }
    }

    /// A machine-wide setting is changed from the host's own namespace, whatever namespace was looked at.
    fn sysctl(&self, knob: &Knob, name: &str, value: &str) -> String {
        let set = format!("sysctl -w {}", quoted(&format!("{name}={value}")));
        match &self.enter {
            Some(enter) if knob.scope != Scope::Machine => format!("{enter} {set}"),
            _ => set,
        }
    }

    /// Devices are the namespace's own, so they are turned there, through a sysfs that belongs to it: `ip netns exec`
    /// mounts one, `nsenter` does not.
    fn sysfs(&self, file: &str, value: &str) -> String {
        let write = format!("echo {value} > {}", quoted(file));
        match &self.enter {
            Some(enter) if enter.starts_with("ip netns exec") => format!("{enter} sh -c {}", quoted(&write)),
            Some(enter) => {
                let mounted = format!("mount -t sysfs none /sys && {write}");
                format!("{enter} unshare --mount sh -c {}", quoted(&mounted))
            }
            None => write,
        }
    }

    /// `tc qdisc change` wants tbf's rate and burst too, as 'tc qdisc show' prints them.
    fn qdisc(&self, instance: &Instance, limit: &str) -> String {
        let Instance::Qdisc { device, qdisc } = instance else { return String::new() };
        let (kind, handle) = qdisc.split_once(' ').unwrap_or((qdisc, ""));
        let kept = if kind == "tbf" { "rate RATE burst BURST " } else { "" };
        let set = format!("tc qdisc change dev {} root handle {handle} {kind} {kept}limit {limit}", quoted(device));
        match &self.enter {
            Some(enter) => format!("{enter} {set}"),
            None => set,
        }
    }

    fn ethtool(&self, path: &str, value: &str) -> String {
        let set = ethtool(path, value).unwrap_or_default();
        match &self.enter {
            Some(enter) => format!("{enter} {set}"),
            None => set,
        }
    }
}

impl Finding {
    /// Adds a suggestion, or the reason why there is none.
    pub fn suggest(&mut self, suggestion: Result<Suggestion, String>) {
        match suggestion {
            Ok(suggestion) => self.suggestions.push(suggestion),
            Err(reason) => self.no_setting_helps = Some(reason),
        }
    }

    /// Notes a setting that is often turned in this case and does not help.
    pub fn refuse(&mut self, knob: &str, why: impl Into<String>) {
        self.folklore.push(Folklore { knob: knob.into(), why: why.into() });
    }
}
