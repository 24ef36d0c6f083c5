//! What can be turned on how this host answers, and asks, for link addresses.

use crate::model::{Knob, Risk};
use crate::stage::tcp_in::NETNS;

pub static ALL: &[&Knob] = &[&IGNORE, &ANNOUNCE, &FILTER];

static IGNORE: Knob = Knob {
    id: "net.ipv4.conf.DEV.arp_ignore",
    unit: "mode",
    range: 0..=8,
    default: "0: any of our addresses, whatever device has it",
    help: "For which of our addresses requests are answered on a device: 1 only for its own, 2 also only to hosts of its \
           network. The larger of conf.all and conf.DEVICE is in force.",
    formula: "1 where several devices are on one link, or an address is on a device of its own behind a load balancer",
    risk: Risk::Medium,
    harm: "addresses that others reach by another device are no longer answered for",
    takes_effect: "with the next request",
    ..NETNS
};

static ANNOUNCE: Knob = Knob {
    id: "net.ipv4.conf.DEV.arp_announce",
    unit: "mode",
    range: 0..=2,
    default: "0: the packet's own",
    help: "Which of our addresses stands in our requests: 1 one of the target's network if there is one, 2 always the best. \
           The larger of conf.all and conf.DEVICE is in force.",
    formula: "2 together with arp_ignore 1",
    risk: Risk::Low,
    harm: "none known",
    takes_effect: "with the next request",
    ..NETNS
};

static FILTER: Knob = Knob {
    id: "net.ipv4.conf.DEV.arp_filter",
    unit: "switch",
    range: 0..=1,
    default: "0",
    help: "Whether a request is answered only by the device through which we would send to who asks.",
    formula: "leave it; 1 needs routes by source address, else use arp_ignore",
    risk: Risk::Medium,
    harm: "with the wrong routes nobody is answered",
    takes_effect: "with the next request",
    ..NETNS
};
