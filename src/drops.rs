//! Packets that the kernel drops: what the probe counted, in words.

mod classify;
pub mod incidents;
pub mod monitor;
mod policy;
mod stream;
mod victims;
mod words;

use std::collections::HashMap;
use std::io;
use std::time::Instant;

use jiff::Timestamp;

use crate::model::{Drop, DropEvent, DropTotals, Incident, Probe, SourceStatus, Victim};
use crate::source::probe::drops::{Counts, Wanted};
use crate::source::probe::event::Event;
use crate::source::probe::hooks::Hit;
use crate::source::probe::{Probes, Refusal};
use crate::source::{Host, owner, place, symbols};
use classify::namespace;
use policy::Refusals;
pub use stream::Clock;
use stream::Owners;

/// Which drops are wanted.
#[derive(Clone, Debug, Default)]
pub struct Only {
    /// Of this reason, by the kernel's name.
    pub reason: Option<String>,
    /// Of this device.
    pub device: Option<String>,
    /// In the namespace with this inode.
    pub netns: Option<u32>,
}

impl Only {
    fn everything(&self) -> bool {
        self.reason.is_none() && self.device.is_none() && self.netns.is_none()
    }
}

/// The drops of one window.
#[derive(Debug)]
pub struct Window {
    /// By reason, place, device, namespace and protocol, the most harmful first.
    pub drops: Vec<Drop>,
    /// What they add up to.
    pub totals: DropTotals,
    /// What went wrong besides, the most harmful first.
    pub incidents: Vec<Incident>,
    /// What each of our programs did.
    pub probes: Vec<Probe>,
    /// How the look-ups went.
    pub sources: Vec<SourceStatus>,
    /// Single drops that were not shown because there were too many at a time.
    pub left_out: u64,
    /// How long the window was.
    pub seconds: f64,
    /// When it ended: the counts were read then, and looked up afterwards.
    pub ended: Timestamp,
}

/// Watches what the kernel drops.
pub struct DropWatch {
    probes: Probes,
    only: Only,
    begun: Instant,
    before: Counts,
    /// What the hooks had counted when the window began.
    hits: HashMap<Hit, u64>,
    /// Names of places, kept from window to window: looking them up takes longer than the rest.
    symbols: HashMap<u64, String>,
    refusals: Refusals,
    /// Whose the sockets of single drops are.
    owners: Owners,
    /// The firewall's counters were read already, for the end of the window.
    ending: bool,
}

impl DropWatch {
    /// Attaches the probe; the first window begins.
    pub fn begin(wanted: Wanted, only: Only) -> Result<Self, Refusal> {
        let mut probes = Probes::attach(wanted)?;
        let mut refusals = Refusals::begin(only.netns, &probes.verdicts);
        // What was dropped until the firewall's counters were read belongs to no window: they could not explain it.
        let before = probes.drops.read().unwrap_or_default();
        probes.did();
        refusals.begun(&probes.verdicts);
        let hits = probes.hooks.as_ref().ok().and_then(|hooks| hooks.read().ok()).unwrap_or_default().0;
        let hits = hits.into_iter().map(|(hit, (count, _))| (hit, count)).collect();
        let (begun, symbols) = (Instant::now(), HashMap::new());
        let owners = Owners::default();
        Ok(DropWatch { probes, only, begun, before, hits, symbols, refusals, owners, ending: false })
    }

    /// The names of the reasons of this kernel.
    pub fn reason_names(&self) -> impl Iterator<Item = &str> {
        self.probes.drops.names().iter().map(|(_, name)| name)
    }

    /// Takes what every packet passes away if it takes more than this share of one CPU's time.
    pub fn keep_below(&mut self, share: f64) {
        self.probes.keep_below(share);
    }

    /// Stops counting: the next window is the last.
    pub fn end(&mut self) {
        // If the counts can't be read now, they can't be for the window, which says so.
        self.ending = self.read_rules().is_ok();
        self.probes.detach();
    }

    /// Reads the firewall's counters where packets were lost, before the counts that end the window.
    fn read_rules(&mut self) -> io::Result<()> {
        let so_far = since(&self.probes.drops.read()?, &self.before);
        let namespaces = so_far.rows.keys().map(|key| key.netns).filter(|&netns| netns != 0).collect();
        self.refusals.ending(&namespaces, &self.probes.verdicts);
        Ok(())
    }

    /// The single drops since this was last asked, as far as they are wanted; each with its words.
    pub fn events(&mut self, clock: Clock) -> Vec<(Event, DropEvent)> {
        let events = self.probes.drops.events();
        if events.is_empty() {
            return Vec::new();
        }
        // Without permission the bare addresses stand for the names; the report says why.
        let _ = self.name_places(events.iter().map(|event| event.key.location).collect());
        let netns_names = place::names_by_inode();
        let described = events.into_iter().map(|event| {
            let drop = self.drop(event.key.reason, Some(&event.key), 1, 0.0);
            let said = stream::describe(&event, drop, clock, &netns_names);
            (event, said)
        });
        let mut wanted: Vec<_> = described.filter(|(_, said)| self.wants(&said.drop)).collect();
        self.owners.name(&mut wanted);
        for (_, said) in &mut wanted {
            self.refusals.name_single(&mut said.drop);
        }
        wanted
    }

    /// The window that ends now; the next one begins.
    pub fn window(&mut self) -> io::Result<Window> {
        if !std::mem::take(&mut self.ending) {
            self.read_rules()?;
        }
        let counts = self.probes.drops.read()?;
        let (now, ended) = (Instant::now(), Timestamp::now());
        let probes = self.probes.did();
        self.refusals.ended(&self.probes.verdicts);
        let seconds = (now - self.begun).as_secs_f64();
        self.begun = now;
        let grown = since(&counts, &self.before);
        self.before = counts;
        let mut sources = Vec::new();
        sources.extend(self.find_symbols(&grown));
        let mut drops = self.drops(&grown, seconds);
        let mut incidents = self.incidents(&mut sources);
        victims::from_hook(&mut drops, &incidents);
        // A namespace or a device is named by the hooks as well; a drop reason is not.
        if self.only.reason.is_some() {
            incidents.clear();
        }
        sources.extend(find_owners(&mut drops, &mut incidents));
        sources.extend(self.refusals.name(&mut drops));
        drops.retain(|drop| self.wants(drop));
        let mut totals = DropTotals {
            detail_not_kept: grown.unkept.values().sum(),
            victims_not_kept: grown.without_socket,
            // Which of them were wanted nobody knows.
            unseen: probes[0].missed.filter(|_| self.only.everything()).unwrap_or(0),
            ..DropTotals::default()
        };
        totals.add(&drops);
        Ok(Window { drops, totals, incidents, probes, sources, left_out: grown.left_out, seconds, ended })
    }

    /// What the hooks saw in the window.
    fn incidents(&mut self, sources: &mut Vec<SourceStatus>) -> Vec<Incident> {
        let start = Instant::now();
        let hooks = match &self.probes.hooks {
            Ok(hooks) => hooks,
            Err(refusal) => {
                sources.push(status("hooks", Some(refusal.what.clone()), start));
                return Vec::new();
            }
        };
        let (hits, unkept) = match hooks.read() {
            Ok(read) => read,
            Err(e) => {
                sources.push(status("hooks", Some(e.to_string()), start));
                return Vec::new();
            }
        };
        let netns_names = place::names_by_inode();
        let mut incidents = Vec::new();
        for (hit, (count, name)) in &hits {
            let count = count - self.hits.get(hit).copied().unwrap_or(0).min(*count);
            let mut incident = incidents::describe(hit, count, name, &self.probes.reset_reasons);
            incident.netns_name = netns_names.get(&hit.netns).cloned();
            let device = self.only.device.as_ref().is_none_or(|wanted| Some(wanted) == incident.device.as_ref());
            if count > 0 && device && self.only.netns.is_none_or(|wanted| wanted == hit.netns) {
                incidents.push(incident);
            }
        }
        self.hits = hits.into_iter().map(|(hit, (count, _))| (hit, count)).collect();
        if unkept > 0 {
            sources.push(status("hooks", Some(format!("the table was full: {unkept} hits were not kept")), start));
        }
        incidents.sort_by(|a, b| (b.harm, b.count, &a.hook, &a.remote).cmp(&(a.harm, a.count, &b.hook, &b.remote)));
        incidents
    }

    fn find_symbols(&mut self, counts: &Counts) -> Option<SourceStatus> {
        let start = Instant::now();
        let stacks = counts.rows.keys().flat_map(|key| self.probes.drops.stack(key.stack));
        let places = counts.rows.keys().map(|key| key.location).chain(stacks);
        let places: Vec<u64> = places.collect();
        let known = self.symbols.len();
        let result = self.name_places(places);
        let looked = result.is_err() || self.symbols.len() > known;
        looked.then(|| status("kernel symbols", result.err(), start))
    }

    /// Looks up the names of those places that have none yet.
    fn name_places(&mut self, mut places: Vec<u64>) -> Result<(), String> {
        places.retain(|address| !self.symbols.contains_key(address));
        self.symbols.extend(symbols::find(&Host::Live, places.into_iter())?);
        Ok(())
    }

    fn wants(&self, drop: &Drop) -> bool {
        let reason = |wanted: &String| *wanted == drop.reason || Some(wanted) == drop.likely.as_ref();
        self.only.reason.as_ref().is_none_or(reason)
            && self.only.device.as_ref().is_none_or(|wanted| Some(wanted) == drop.device.as_ref())
            && self.only.netns.is_none_or(|wanted| drop.netns == Some(namespace(wanted)))
    }
}

/// By how much the counts grew.
fn since(now: &Counts, before: &Counts) -> Counts {
    let mut grown = now.clone();
    for (key, row) in &mut grown.rows {
        row.packets -= before.rows.get(key).map_or(0, |old| old.packets).min(row.packets);
    }
    grown.rows.retain(|_, row| row.packets > 0);
    for (key, socket) in &mut grown.sockets {
        socket.packets -= before.sockets.get(key).map_or(0, |old| old.packets).min(socket.packets);
    }
    grown.sockets.retain(|_, socket| socket.packets > 0);
    // A flow that made room and came back begins anew.
    for (key, packets) in &mut grown.flows {
        let old = before.flows.get(key).copied().unwrap_or(0);
        *packets = packets.checked_sub(old).unwrap_or(*packets);
    }
    grown.flows.retain(|_, packets| *packets > 0);
    for (reason, packets) in &mut grown.unkept {
        *packets -= before.unkept.get(reason).copied().unwrap_or(0).min(*packets);
    }
    grown.unkept.retain(|_, packets| *packets > 0);
    grown.left_out -= before.left_out.min(grown.left_out);
    grown.without_socket -= before.without_socket.min(grown.without_socket);
    grown
}

fn find_owners(drops: &mut [Drop], incidents: &mut [Incident]) -> Option<SourceStatus> {
    let start = Instant::now();
    let of_drops = drops.iter_mut().flat_map(|drop| &mut drop.victims);
    let of_incidents = incidents.iter_mut().filter_map(|incident| incident.victim.as_mut());
    let mut victims: Vec<&mut Victim> = of_drops.chain(of_incidents).collect();
    if victims.is_empty() {
        return None;
    }
    let reason = owner::find(&Host::Live, &mut victims).err();
    Some(status("owners of sockets", reason, start))
}

fn status(name: &str, reason: Option<String>, start: Instant) -> SourceStatus {
    let microseconds = start.elapsed().as_micros().try_into().unwrap_or(u64::MAX);
    SourceStatus { name: name.into(), ok: reason.is_none(), reason, microseconds }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::probe::drops::{Ends, Key, Row};

    fn counts(packets: u64, flow: u64) -> Counts {
        let key = Key { reason: 3, ..Key::default() };
        let end = (std::net::IpAddr::from([10, 0, 0, 1]), 53);
        let ends: Ends = (end, end);
        Counts {
            rows: HashMap::from([(key, Row { packets, device: b"eth0".to_vec() })]),
            flows: HashMap::from([((key, ends), flow)]),
            unkept: HashMap::from([(3, packets)]),
            without_socket: packets,
            left_out: packets,
            ..Counts::default()
        }
    }

    #[test]
    fn a_window_is_the_difference_of_two_counts() {
        let grown = since(&counts(10, 7), &counts(4, 2));
        let rows: Vec<u64> = grown.rows.values().map(|row| row.packets).collect();
        let flows: Vec<u64> = grown.flows.values().copied().collect();
        assert_eq!((rows, flows, grown.unkept[&3]), (vec![6], vec![5], 6));
        assert_eq!((grown.without_socket, grown.left_out), (6, 6));
        let quiet = since(&counts(4, 2), &counts(4, 2));
        assert!(quiet.rows.is_empty() && quiet.flows.is_empty() && quiet.unkept.is_empty());
    }

    #[test]
    fn a_flow_that_made_room_and_came_back_begins_anew() {
        let grown = since(&counts(10, 3), &counts(4, 9));
        assert_eq!(grown.flows.into_values().collect::<Vec<_>>(), [3]);
    }
}
