//! Which layer refused a packet, and which rule or program in it: for drops whose reason is a policy.
//!
//! The surest means would be to look on as the kernel evaluates a chain (fexit on nft_do_chain() and ipt_do_table(), where
//! it allows that): it would stand before [`netfilter::attribute`], and leave to it what it did not see.

mod attached;
mod netfilter;
mod possible;
mod site;
mod solve;

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use crate::model::{Drop, Layer, Means, Policy, Refuser, SourceStatus};
use crate::source::place::{self, Place};
use crate::source::sysctl;
use attached::Attached;
use possible::Rules;

/// Namespaces whose rules are read before a window, at most.
const NAMESPACES: usize = 256;

/// What there was to refuse packets before the window: the counters of firewall rules, by the inode of their namespace.
pub struct Refusals {
    before: HashMap<u32, Rules>,
    sites: netfilter::Sites,
}

impl Refusals {
    /// Reads the counters, of one namespace or of all that can be found.
    pub fn begin(netns: Option<u32>) -> Self {
        let mut before = HashMap::new();
        let mut seen = HashSet::new();
        for place in std::iter::once(Place::here()).chain(place::all()) {
            let Some(inode) = place.inode().filter(|inode| seen.insert(*inode)) else { continue };
            if netns.is_some_and(|netns| netns != inode) {
                continue;
            }
            // What can't be read now can't be at the end either, and is told then.
            if let Ok(Ok(rules)) = place.inside(Rules::read) {
                before.insert(inode, rules);
            }
            if netns.is_some() || before.len() >= NAMESPACES {
                break;
            }
        }
        Refusals { before, sites: netfilter::Sites::default() }
    }

    /// Names what refused the packets of those rows that a policy dropped.
    pub fn name(&mut self, drops: &mut [Drop]) -> Vec<SourceStatus> {
        let mut by_namespace: HashMap<u32, Vec<&mut Drop>> = HashMap::new();
        for drop in drops.iter_mut() {
            let Some(layer) = layer(drop) else { continue };
            drop.policy = Some(Policy::of(layer, Means::Reason));
            match namespace(drop) {
                Some(inode) => by_namespace.entry(inode).or_default().push(drop),
                // The namespace is not known if neither device nor socket was; the system then has only one mostly.
                None => continue,
            }
        }
        let mut sources = Vec::new();
        for (inode, drops) in by_namespace {
            let start = Instant::now();
            if let Err(reason) = self.in_namespace(inode, drops) {
                let name = format!("policies in net:[{inode}]");
                sources.push(super::status(&name, Some(reason), start));
            }
        }
        sources
    }

    fn in_namespace(&mut self, inode: u32, drops: Vec<&mut Drop>) -> Result<(), String> {
        let mut places = std::iter::once(Place::here()).chain(place::all());
        let place = places.find(|place| place.inode() == Some(inode)).ok_or("the namespace is gone")?;
        let (before, sites) = (self.before.entry(inode), &mut self.sites);
        place.inside(|| in_here(before, sites, drops)).map_err(|error| error.to_string())?
    }
}

type Before<'a> = std::collections::hash_map::Entry<'a, u32, Rules>;

/// For drops of the calling thread's namespace.
fn in_here(before: Before, sites: &mut netfilter::Sites, drops: Vec<&mut Drop>) -> Result<(), String> {
    let (mut filtered, mut others): (Vec<&mut Drop>, Vec<&mut Drop>) =
        drops.into_iter().partition(|drop| drop.policy.as_ref().is_some_and(|policy| policy.layer == Layer::Netfilter));
    let mut result = Ok(());
    if !filtered.is_empty() {
        match Rules::read() {
            Ok(now) => netfilter::attribute(&mut filtered, before.or_default(), now, sites),
            Err(error) => result = Err(error),
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
        let value = sysctl::value(&format!("net/ipv4/conf/{name}/rp_filter")).ok()?;
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
fn layer(drop: &Drop) -> Option<Layer> {
    Some(match drop.likely.as_ref().unwrap_or(&drop.reason).as_str() {
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
