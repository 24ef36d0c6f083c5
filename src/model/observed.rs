//! All that a rule may look at, and the words it builds its findings with.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{
    Change, ChangeRow, ChangeTable, Changes, Counter, Direction, Drop, Evidence, Finding, Incident, Instance, Kind,
    Lasting, Layout, PortUse, Probed, Protocol, Row, Rule, Sender, Senders, Settings, SocketChange, Sockets, Span,
    Table, Victim, per_second,
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
    /// Next hops of this namespace whose link address is not known; looked up only where some were asked in vain.
    pub next_hops: Vec<Unresolved>,
    /// Packets that went into a stage, did not come out, and were counted by nobody, by the stage's id: the ledger's.
    pub unexplained: BTreeMap<&'static str, u64>,
    /// Devices that one way of asking shows and another does not. Looked for in a window only.
    pub hidden: Vec<Hidden>,
    /// Which CPU works for which queue. Looked at only by who asks for that.
    pub layout: Option<Layout>,
    /// What the windows directly before this one found.
    pub lasting: Lasting,
    /// Settings that this program made and that are not so any more. Looked for on the running host only.
    pub drifted: Vec<Drift>,
    /// Local ports in use, by service, the most first. Looked up only where so many connections are there that some could
    /// be short of them.
    pub ports: Vec<PortUse>,
    /// Devices that this program itself may have restarted in the window, by what it set. Looked up only if a link went
    /// down.
    pub restarted: BTreeMap<String, String>,
}

/// A setting that this program made, and that is not so any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// Its name.
    pub setting: String,
    /// Its value before the change.
    pub from: String,
    /// Its value after.
    pub to: String,
    /// Its value now.
    pub now: String,
    /// The number of the change.
    pub change: u64,
    /// When that was: RFC 3339, UTC.
    pub at: String,
    /// True if it was to outlive a reboot.
    pub kept: bool,
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

/// A next hop whose link address is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// Its address.
    pub address: IpAddr,
    /// The device that leads to it.
    pub device: String,
    /// True if it did not answer; false if it is still being asked.
    pub failed: bool,
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
            Kind::Gauge => Change::Gauge { first: Some(amount), value: amount, max: amount },
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

    /// The same, with connections that send.
    pub fn with_senders(mut self, senders: Senders) -> Self {
        self.sockets.get_or_insert_default().senders = Some(senders);
        self
    }

    /// The connections that send, of one kind. None where they were not looked at.
    pub fn senders(&self, which: impl Fn(&Senders) -> &Vec<Sender>) -> &[Sender] {
        self.sockets.as_ref().and_then(|sockets| sockets.senders.as_ref()).map_or(&[], |senders| which(senders))
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

    /// The number that tcp_info shows of one connection.
    pub fn sender_evidence(&self, name: &str, sender: &Sender, amount: u64, threshold: Option<f64>) -> Evidence {
        let instance = Instance::Socket { socket: sender.socket.local.to_string() };
        let counter = format!("tcp_info.{name}");
        Evidence { counter, instance, delta: amount, per_second: self.rate(amount), threshold }
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
}
