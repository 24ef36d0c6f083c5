//! All that a rule may look at, and the words it builds its findings with.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{
    Change, ChangeRow, ChangeTable, Changes, Counter, Direction, Drop, Evidence, Finding, Folklore, Incident, Instance,
    Kind, Knob, Layout, Place, Probed, Protocol, Row, Rule, Settings, SocketChange, Sockets, Span, Suggestion, Table,
    Victim, ethtool, grow, per_second, quoted,
};

/// What was observed in one network namespace over one window.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// By how much the counters changed.
    pub changes: Changes,
    /// What the sockets did. Absent where sock_diag gave nothing.
    pub sockets: Option<Sockets>,
    /// The settings that the rules asked for.
    pub settings: Settings,
    /// Limits that the user set otherwise: rule id and key.
    pub thresholds: BTreeMap<(String, String), f64>,
    /// What to write before a command so that it acts in the observed namespace.
    pub enter: Option<String>,
    /// What the probes in the kernel saw. Absent without them.
    pub probed: Option<Probed>,
    /// The paths whose MTU the kernel was told in the window, the latest first; looked up only if it was told something.
    pub path_mtus: Vec<PathMtu>,
    /// Packets that went into a stage, did not come out, and were counted by nobody, by the stage's id: the ledger's.
    pub unexplained: BTreeMap<&'static str, u64>,
    /// Devices that one way of asking shows and another does not. Looked for in a window only.
    pub hidden: Vec<Hidden>,
    /// Which CPU works for which queue. Looked at only by who asks for that.
    pub layout: Option<Layout>,
}

/// A device that one way of asking shows and another does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// Its name.
    pub device: String,
    /// What shows it.
    pub shown: Vec<&'static str>,
    /// What does not.
    pub hidden: Vec<&'static str>,
}

/// A path whose MTU is smaller than the link's, as others told.
#[derive(Clone, Debug, PartialEq)]
pub struct PathMtu {
    /// Where it leads.
    pub to: IpAddr,
    /// Its MTU, in bytes.
    pub mtu: u32,
    /// How long ago that was told last, in seconds.
    pub age: f64,
}

impl Observed {
    /// An observation of one second in which nothing happened.
    pub fn quiet() -> Self {
        Observed { changes: Changes { seconds: Some(1.0), ..Changes::default() }, ..Observed::default() }
    }

    /// The same, but `counter` grew by `amount` (a gauge: was at most that high).
    pub fn with(self, counter: &'static Counter, amount: u64) -> Self {
        self.with_at(counter, Instance::Only, amount)
    }

    /// The same for one instance.
    pub fn with_at(mut self, counter: &'static Counter, instance: Instance, amount: u64) -> Self {
        let change = match counter.kind {
            Kind::Total => Change::Total { total: amount, delta: Some(amount) },
            Kind::Gauge => Change::Gauge { value: amount, max: amount },
        };
        self.changes.tables.push(ChangeTable {
            group: counter.group,
            counters: vec![counter],
            rows: vec![ChangeRow { instance, changes: vec![Some(change)] }],
            read: [Span::default(); 2],
        });
        self
    }

    /// The same, but a gauge held this value for some time.
    pub fn with_held(mut self, counter: &'static Counter, instance: Instance, amount: u64) -> Self {
        let rows = vec![Row { instance: instance.clone(), values: vec![Some(amount)] }];
        self.changes.held.push(Table { group: counter.group, counters: vec![counter], rows, read: Span::default() });
        self.with_at(counter, instance, amount)
    }

    /// The same, on a machine that is laid out so.
    pub fn with_layout(mut self, layout: Layout) -> Self {
        self.layout = Some(layout);
        self
    }

    /// The same, with packets that are missing at a stage.
    pub fn with_unexplained(mut self, stage: &'static str, packets: u64) -> Self {
        self.unexplained.insert(stage, packets);
        self
    }

    /// The same, with a setting of this value.
    pub fn with_setting(mut self, path: &str, value: &str) -> Self {
        self.settings.insert(path, value);
        self
    }

    /// The same, with a socket that lost packets.
    pub fn with_socket(mut self, change: SocketChange) -> Self {
        self.sockets.get_or_insert_default().worst.push(change);
        self
    }

    /// The same, with packets that the probe saw being dropped.
    pub fn with_drops(mut self, drop: Drop) -> Self {
        self.probed.get_or_insert_default().drops.push(drop);
        self
    }

    /// The same, with something that a hook saw.
    pub fn with_incident(mut self, incident: Incident) -> Self {
        self.probed.get_or_insert_default().incidents.push(incident);
        self
    }

    /// The received packets that the probe saw being dropped for this reason.
    pub fn drops_for(&self, reason: &'static str) -> impl Iterator<Item = &Drop> {
        let drops = self.probed.iter().flat_map(|probed| &probed.drops);
        drops.filter(move |drop| drop.is_for(reason) && drop.direction != Some(Direction::Out))
    }

    /// How many of them there were. Packets that came before or after the counters' window are left out, as far as the
    /// ledger tells: then a finding says the same number as it does.
    pub fn dropped(&self, reason: &'static str) -> u64 {
        let count = self.drops_for(reason).map(|drop| drop.count).fold(0, u64::saturating_add);
        let Some(probed) = &self.probed else { return count };
        // Three times as many as on average may come in that time, and some in any.
        let outside = (count as f64 * probed.longer * 3.0) as u64 + 3;
        let missing = probed.explained.get(reason).copied();
        missing.filter(|missing| *missing > 0 && *missing < count && count - missing <= outside).unwrap_or(count)
    }

    /// The number that the probe shows for a drop reason or hook.
    pub fn probe_evidence(&self, name: &str, count: u64, threshold: Option<f64>) -> Evidence {
        let counter = format!("drop.{name}");
        Evidence { counter, instance: Instance::Only, delta: count, per_second: self.rate(count), threshold }
    }

    /// By how much `counter` grew, over all its rows; 0 if that is not known.
    pub fn delta(&self, counter: &'static Counter) -> u64 {
        self.changes.delta(counter).unwrap_or(0)
    }

    /// By how much several counters grew in all.
    pub fn delta_of(&self, counters: &[&'static Counter]) -> u64 {
        self.changes.delta_of(counters)
    }

    /// `amount` in this window, per second.
    pub fn rate(&self, amount: u64) -> Option<f64> {
        per_second(amount, self.changes.seconds?)
    }

    /// The limit `key` of `rule`: the user's, else the rule's own.
    pub fn threshold(&self, rule: &Rule, key: &str) -> f64 {
        let own = || rule.thresholds.iter().find(|t| t.key == key).map_or(f64::INFINITY, |t| t.default);
        self.thresholds.get(&(rule.id.into(), key.into())).copied().unwrap_or_else(own)
    }

    /// The rows of `counter` that grew, and by how much, those that grew most first.
    pub fn grown(&self, counter: &'static Counter) -> Vec<(&Instance, u64)> {
        let mut grown: Vec<_> = self
            .changes
            .each(counter)
            .filter_map(|(instance, change)| match change {
                Change::Total { delta: Some(delta), .. } if delta > 0 => Some((instance, delta)),
                _ => None,
            })
            .collect();
        grown.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        grown
    }

    /// The number that `counter` shows, over all rows.
    pub fn evidence(&self, counter: &'static Counter, threshold: Option<f64>) -> Evidence {
        let (delta, rate) = match counter.kind {
            Kind::Total => (self.delta(counter), self.rate(self.delta(counter))),
            Kind::Gauge => (self.changes.gauge(counter).map_or(0, |(max, _)| max), None),
        };
        Evidence { counter: counter.id(), instance: Instance::Only, delta, per_second: rate, threshold }
    }

    /// The number that `counter` shows of one device, queue or CPU.
    pub fn evidence_at(&self, counter: &'static Counter, at: &Instance, threshold: Option<f64>) -> Evidence {
        let delta = self.changes.delta_at(counter, at);
        Evidence { counter: counter.id(), instance: at.clone(), delta, per_second: self.rate(delta), threshold }
    }

    /// Splits a loss by what caused it: a finding for each cause, its victims the sockets that lose by it. What can't be
    /// laid to a socket (it was closed since) is told with the worst; if there is no socket at all, `unknown` says so.
    pub fn by_cause<C: PartialEq>(
        &self,
        protocol: Protocol,
        lost: u64,
        found: impl Fn(u64) -> Finding,
        cause: impl Fn(&SocketChange) -> C,
        explain: impl Fn(&C, &SocketChange, &mut Finding),
        unknown: &str,
    ) -> Vec<Finding> {
        let sockets: Vec<SocketChange> =
            self.sockets.iter().flat_map(|sockets| sockets.worst_of(protocol)).cloned().collect();
        self.by_cause_of(&sockets, lost, found, cause, explain, unknown)
    }

    /// The same for these sockets, of which each lost no more by the cause than it says.
    pub fn by_cause_of<C: PartialEq>(
        &self,
        sockets: &[SocketChange],
        lost: u64,
        found: impl Fn(u64) -> Finding,
        cause: impl Fn(&SocketChange) -> C,
        explain: impl Fn(&C, &SocketChange, &mut Finding),
        unknown: &str,
    ) -> Vec<Finding> {
        let mut causes: Vec<(C, Vec<&SocketChange>)> = Vec::new();
        for socket in sockets {
            let cause = cause(socket);
            match causes.iter_mut().find(|(other, _)| *other == cause) {
                Some((_, alike)) => alike.push(socket),
                None => causes.push((cause, vec![socket])),
            }
        }
        if causes.is_empty() {
            let mut finding = found(lost);
            finding.why = "which socket it was is not known: it was closed, or sockets can't be read".into();
            finding.no_setting_helps = Some(unknown.into());
            return vec![finding];
        }
        let named: u64 = causes.iter().flat_map(|(_, alike)| alike).map(|socket| socket.lost).sum();
        let mut unnamed = lost.saturating_sub(named);
        let finding = |(cause, alike): (C, Vec<&SocketChange>)| {
            let lost: u64 = alike.iter().map(|socket| socket.lost).sum();
            let mut finding = found(lost.saturating_add(std::mem::take(&mut unnamed)));
            finding.instance = Instance::Socket { socket: alike[0].socket.local.to_string() };
            explain(&cause, alike[0], &mut finding);
            finding.victims = alike.iter().map(|change| Victim::of(&change.socket, change.lost)).collect();
            finding
        };
        causes.into_iter().map(finding).collect()
    }

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
            return Err(format!("{} would help, but the driver of {device} does not tell or set it", knob.id));
        };
        let most = self.settings.number(&format!("{path}/max")).unwrap_or(*knob.range.end());
        let to = to(from).min(most).min(*knob.range.end());
        if to <= from {
            return Err(format!(
                "{} of {device} is {from} {} already, and more is not to be had or would not help: let other CPUs or                  devices take part, or less traffic come",
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
            Place::Application => (format!("{name} = {to}, in the application"), format!("{name} = {from}")),
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
            appliable: knob.place != Place::Application,
        }
    }

    /// A machine-wide setting is changed from the host's own namespace, whatever namespace was looked at.
    fn sysctl(&self, knob: &Knob, name: &str, value: &str) -> String {
        let set = format!("sysctl -w {}", quoted(&format!("{name}={value}")));
        match &self.enter {
            Some(enter) if knob.scope != super::Scope::Machine => format!("{enter} {set}"),
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
