//! Which layer refused a packet, and which rule or program in it: for drops whose reason is a policy.
//!
//! The surest means is to look on as the kernel evaluates a chain ([`seen`]), where it allows that; else the counters of
//! rules are left.

mod attached;
mod netfilter;
mod possible;
mod seen;
mod site;
mod solve;
mod tables;

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use crate::model::{Drop, Layer, Means, Policy, Refuser, SettingFile, SourceStatus};
use crate::source::place::{self, Place};
use crate::source::probe::verdicts::VerdictProbe;
use crate::source::settings;
use attached::Attached;
use possible::{Rules, Twice};
use seen::Seen;

/// Namespaces whose rules are read before a window, at most.
const NAMESPACES: usize = 256;
/// Kinds of single packets that are remembered, at most: beyond, each is looked up.
const SINGLES: usize = 1024;

/// What there is to refuse packets: the counters of firewall rules at both ends of the window, by the inode of their
/// namespace. The probe's counts are to be read between the two readings of each end.
#[derive(Default)]
pub struct Refusals {
    begin: HashMap<u32, Twice>,
    end: HashMap<u32, Twice>,
    seen: Seen,
    sites: netfilter::Sites,
    /// What was found out for single packets that look alike, in this window.
    singles: HashMap<Alike, Option<Policy>>,
}

/// What tells single packets apart, as far as a policy can.
type Alike = [Option<String>; 7];

impl Refusals {
    /// Before the first counts: of one namespace or of all that can be found.
    pub fn begin(netns: Option<u32>, verdicts: &VerdictProbe) -> Self {
        let begin = gather(netns.map_or(NAMESPACES, |_| 1), |inode| netns.is_none_or(|netns| netns == inode));
        let begin = begin.into_iter().map(|(inode, early)| (inode, Twice { early, ..Twice::default() })).collect();
        Refusals { begin, seen: Seen::begin(verdicts), ..Refusals::default() }
    }

    /// After the first counts.
    pub fn begun(&mut self, verdicts: &VerdictProbe) {
        self.seen.begun(verdicts);
        late(&mut self.begin);
    }

    /// Before the last counts, of the namespaces that have lost packets.
    pub fn ending(&mut self, namespaces: &HashSet<u32>, verdicts: &VerdictProbe) {
        let early = gather(namespaces.len(), |inode| namespaces.contains(&inode));
        self.end = early.into_iter().map(|(inode, early)| (inode, Twice { early, ..Twice::default() })).collect();
        self.seen.ending(verdicts);
    }

    /// After the last counts.
    pub fn ended(&mut self, verdicts: &VerdictProbe) {
        self.seen.ended(verdicts);
        late(&mut self.end);
    }

    /// Names what refused the packets of those rows that a policy dropped.
    pub fn name(&mut self, drops: &mut [Drop]) -> Vec<SourceStatus> {
        let mut by_namespace: HashMap<u32, Vec<&mut Drop>> = HashMap::new();
        for drop in drops.iter_mut() {
            let Some(layer) = layer(drop.likely.as_ref().unwrap_or(&drop.reason)) else { continue };
            drop.policy = Some(Policy::of(layer, Means::Reason));
            match namespace(drop) {
                Some(inode) => by_namespace.entry(inode).or_default().push(drop),
                // The namespace is not known if neither device nor socket was; the system then has only one mostly.
                None => continue,
            }
        }
        let mut sources: Vec<SourceStatus> = self.seen.trouble().into_iter().collect();
        for (inode, drops) in by_namespace {
            let start = Instant::now();
            if let Err(reason) = self.in_namespace(inode, drops) {
                let name = format!("policies in net:[{inode}]");
                sources.push(super::status(&name, Some(reason), start));
            }
        }
        self.singles.clear();
        // The end of this window is the beginning of the next.
        self.begin.extend(std::mem::take(&mut self.end));
        self.seen.next();
        sources
    }

    /// Says of a single packet which layer refused it, and what in it, or what may have: at once, so not by counters.
    pub fn name_single(&mut self, drop: &mut Drop) {
        let reason = drop.likely.as_ref().unwrap_or(&drop.reason);
        let Some(layer) = layer(reason) else { return };
        let direction = drop.direction.map(|direction| format!("{direction:?}"));
        let Drop { netns, device, network, protocol, location, .. } = &drop;
        let alike = [Some(reason), netns.as_ref(), device.as_ref(), network.as_ref(), protocol.as_ref()];
        let [reason, netns, device, network, protocol] = alike.map(Option::<&String>::cloned);
        let alike = [reason, netns, device, network, protocol, location.clone(), direction];
        if let Some(known) = self.singles.get(&alike) {
            drop.policy.clone_from(known);
            return;
        }
        drop.policy = Some(Policy::of(layer, Means::Reason));
        match (layer, namespace(drop)) {
            (Layer::Netfilter, Some(inode)) => {
                drop.policy =
                    self.begin.get(&inode).map(|rules| self.sites.candidates(drop, rules)).or(drop.policy.take());
            }
            // What can't be read is told with the totals.
            (_, Some(inode)) => {
                let _ = within(inode, || in_here(None, netfilter::Verdicts::default(), &mut self.sites, vec![drop]));
            }
            (_, None) => {}
        }
        if self.singles.len() < SINGLES {
            self.singles.insert(alike, drop.policy.clone());
        }
    }

    fn in_namespace(&mut self, inode: u32, drops: Vec<&mut Drop>) -> Result<(), String> {
        let rules = self.begin.get(&inode).zip(self.end.get(&inode));
        let now = rules.map(|(_, end)| &end.late);
        let seen = self.seen.in_namespace(inode, now.unwrap_or(&Rules::default()));
        let sites = &mut self.sites;
        within(inode, || in_here(rules, seen, sites, drops))
    }
}

/// Does `work` in the namespace with this inode.
fn within(inode: u32, work: impl FnOnce() -> Result<(), String> + Send) -> Result<(), String> {
    let mut places = std::iter::once(Place::here()).chain(place::all());
    let place = places.find(|place| place.inode() == Some(inode)).ok_or("the namespace is gone")?;
    place.inside(work).map_err(|error| error.to_string())?
}

/// The rules of the namespaces that are asked for, of so many at most: there the search ends.
fn gather(most: usize, wanted: impl Fn(u32) -> bool) -> HashMap<u32, Rules> {
    let mut found = HashMap::new();
    let mut seen = HashSet::new();
    for place in std::iter::once(Place::here()).chain(place::all()) {
        if seen.len() >= most.min(NAMESPACES) {
            break;
        }
        let Some(inode) = place.inode().filter(|&inode| wanted(inode) && seen.insert(inode)) else { continue };
        // What can't be read is told when it would be needed.
        if let Ok(Ok(rules)) = place.inside(Rules::read) {
            found.insert(inode, rules);
        }
    }
    found
}

/// Reads once more those that are not empty.
fn late(all: &mut HashMap<u32, Twice>) {
    let filled = all.iter().filter(|(_, twice)| !twice.early.is_empty()).map(|(&inode, _)| inode);
    let filled: HashSet<u32> = filled.collect();
    let mut again = gather(filled.len(), |inode| filled.contains(&inode));
    for (inode, twice) in all {
        twice.late = again.remove(inode).unwrap_or_default();
    }
}

/// For drops of the calling thread's namespace.
fn in_here(
    rules: Option<(&Twice, &Twice)>,
    seen: netfilter::Verdicts,
    sites: &mut netfilter::Sites,
    drops: Vec<&mut Drop>,
) -> Result<(), String> {
    let (mut filtered, mut others): (Vec<&mut Drop>, Vec<&mut Drop>) =
        drops.into_iter().partition(|drop| drop.policy.as_ref().is_some_and(|policy| policy.layer == Layer::Netfilter));
    let mut result = Ok(());
    if !filtered.is_empty() {
        let unread = Twice::default();
        match rules {
            Some(rules) => netfilter::attribute(&mut filtered, rules, seen, sites),
            None if seen.chains.is_some() => netfilter::attribute(&mut filtered, (&unread, &unread), seen, sites),
            // Asked once more for the reason.
            None => result = Rules::read().and(Err("the rules were not read before the window".into())),
        }
    }
    let mut attached = Attached::default();
    for drop in &mut others {
        match drop.policy.as_ref().map(|policy| policy.layer) {
            Some(Layer::ReversePathFilter) => reverse_path_filter(drop),
            Some(_) => result = attached.name(drop).and(result),
            None => {}
        }
    }
    result
}

/// The larger of the device's setting and that for all holds (IN_DEV_RPFILTER(), include/linux/inetdevice.h).
fn reverse_path_filter(drop: &mut Drop) {
    let (Some(policy), Some(device)) = (&mut drop.policy, &drop.device) else { return };
    let read = |name: &str| {
        let value = settings::value(&SettingFile::sysctl(format!("net/ipv4/conf/{name}/rp_filter"))).ok()?;
        Some((value.parse::<u8>().ok()?, format!("net.ipv4.conf.{}.rp_filter = {value}", name.replace('.', "/"))))
    };
    let settings = [read(device), read("all")].into_iter().flatten();
    if let Some((_, setting)) = settings.rev().max_by_key(|(value, _)| *value).filter(|(value, _)| *value > 0) {
        policy.by = Means::Setting;
        policy.refuser = Refuser { setting: Some(setting), device: Some(device.clone()), ..Refuser::default() };
    }
}

fn namespace(drop: &Drop) -> Option<u32> {
    drop.netns.as_ref()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// The layer by the kernel's reason, or the one that the place stands for.
fn layer(reason: &str) -> Option<Layer> {
    Some(match reason {
        // What of it is nftables turns out later.
        "NETFILTER_DROP" => Layer::Netfilter,
        "TC_INGRESS" | "TC_EGRESS" => Layer::Tc,
        "XDP" => Layer::Xdp,
        "BPF_CGROUP_EGRESS" => Layer::CgroupBpf,
        "SOCKET_FILTER" => Layer::SocketFilter,
        "XFRM_POLICY" => Layer::Xfrm,
        "SECURITY_HOOK" => Layer::Lsm,
        "IP_RPFILTER" => Layer::ReversePathFilter,
        _ => return None,
    })
}
