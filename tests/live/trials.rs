//! The comparisons.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::Duration;

use crate::card;
use crate::ground::{DEVICE, Ground};
use crate::ours;
use crate::peer::{self, Values};
use crate::placement;
use crate::traffic::{self, Steady, inside};

pub const ALL: [(&str, fn()); 10] = [
    ("nstat/at-rest", nstat_at_rest),
    ("nstat/under-traffic", nstat_under_traffic),
    ("ip-link/at-rest", link_at_rest),
    ("ip-link/under-traffic", link_under_traffic),
    ("ethtool/driver-statistics", card::statistics),
    ("ethtool/what-they-mean", card::meanings),
    ("ethtool/settings", card::settings),
    ("ethtool/topology", placement::card),
    ("ss/udp", ss_udp),
    ("ss/listener", ss_listener),
];

/// Groups that both `nstat` and we read.
const NSTAT_GROUPS: [&str; 9] = ["Ip", "Icmp", "Tcp", "Udp", "TcpExt", "IpExt", "Ip6", "Icmp6", "Udp6"];

/// How many values were compared, how many of them were not zero, how many moved.
#[derive(Debug, Default)]
struct Compared {
    all: usize,
    nonzero: usize,
    moved: usize,
}

/// Runs the other tool, the program, and the other tool again, and compares what both have.
fn compare(theirs: impl Fn() -> Values, ours: impl Fn() -> BTreeMap<String, u64>) -> Compared {
    let (before, ours, after) = (theirs(), ours(), theirs());
    let mut compared = Compared::default();
    for (name, value) in &ours {
        let (Some(low), Some(high)) = (before.get(name), after.get(name)) else { panic!("the other has no {name}") };
        let (low, high) = (low.min(high), low.max(high));
        assert!((low..=high).contains(&value), "{name}: {value}, the other says {low} before and {high} after");
        compared.all += 1;
        compared.nonzero += usize::from(*value > 0);
        compared.moved += usize::from(low != high);
    }
    compared
}

fn nstat(ground: &Ground) -> Compared {
    let ours = || {
        // Each path has counters of its own.
        let reports = ["rx", "tx"].map(|verb| ours::report_of(verb, &ground.server));
        let ours = reports.iter().flat_map(|report| ours::counters(report, None)).filter_map(|(id, value)| {
            let (group, name) = id.split_once('.')?;
            NSTAT_GROUPS.contains(&group).then(|| (format!("{group}{name}"), value))
        });
        ours.collect()
    };
    compare(|| peer::nstat(&ground.server), ours)
}

fn nstat_at_rest() {
    let ground = Ground::new().unwrap();
    traffic::burst(&ground);
    let compared = nstat(&ground);
    assert!(compared.all > 200 && compared.nonzero > 30, "{compared:?}");
    assert!(compared.moved < 10, "nothing else moves here: {compared:?}");
}

fn nstat_under_traffic() {
    let ground = Ground::new().unwrap();
    let _steady = Steady::start(&ground);
    std::thread::sleep(Duration::from_millis(100));
    let compared = nstat(&ground);
    assert!(compared.moved >= 4, "{compared:?}");
}

fn link(ground: &Ground) -> Compared {
    let ours = || {
        let counters = ours::counters(&ours::report(&ground.server), Some(DEVICE));
        // `ip` prints these two only when they are not zero.
        let shown = |name: &&str| !["rx_nohandler", "rx_otherhost_dropped"].contains(name);
        let named = counters.iter().filter_map(|(id, value)| Some((id.strip_prefix("link.").filter(shown)?, *value)));
        named.map(|(name, value)| (name.to_owned(), value)).collect()
    };
    compare(|| peer::link(&ground.server), ours)
}

fn link_at_rest() {
    let ground = Ground::new().unwrap();
    traffic::burst(&ground);
    let compared = link(&ground);
    assert!(compared.all >= 8 && compared.nonzero >= 2, "{compared:?}");
}

fn link_under_traffic() {
    let ground = Ground::new().unwrap();
    let _steady = Steady::start(&ground);
    std::thread::sleep(Duration::from_millis(100));
    assert!(link(&ground).moved >= 2);
}

fn ss_udp() {
    let ground = Ground::new().unwrap();
    let _socket = traffic::flood(&ground);
    let theirs = peer::sockets(&ground.server, "--udp");
    let victims = ours::victims(&ours::report(&ground.server), "udp-receive-buffer-overflow");
    assert_eq!(theirs, peer::sockets(&ground.server, "--udp"), "nothing moves here any more");
    let (address, socket) = theirs.first_key_value().unwrap();
    let victim = &victims[address];
    assert!(socket.drops > 1000 && socket.queue > 0, "{socket:?}");
    assert_eq!(victim["lost"], socket.drops);
    assert_eq!(victim["queue"], serde_json::json!([socket.queue, socket.buffer]));
    assert_eq!(victim["pid"], std::process::id(), "it is ours");
}

/// A listener whose accept queue nobody empties; more connections than it holds are tried.
fn ss_listener() {
    let ground = Ground::new().unwrap();
    let listener = inside(&ground.server, || TcpListener::bind("10.88.0.1:7777").unwrap()).join().unwrap();
    // The standard library asks for a backlog of its own choice; once more with a small one.
    rustix::net::listen(&listener, 3).unwrap();
    let clients = inside(&ground.client, || {
        let server = "10.88.0.1:7777".parse().unwrap();
        let tries = (0..8).map(|_| std::net::TcpStream::connect_timeout(&server, Duration::from_millis(300)));
        tries.collect::<Vec<_>>()
    });
    let _open = clients.join().unwrap();
    let theirs = peer::sockets(&ground.server, "--tcp");
    let victims = ours::victims(&ours::report(&ground.server), "accept-queue-overflow");
    let after = peer::sockets(&ground.server, "--tcp");
    let (address, socket) =
        theirs.iter().find(|(_, socket)| socket.backlog == 3).unwrap_or_else(|| panic!("{theirs:?}"));
    let victim = &victims[address];
    assert!(socket.drops > 0 && socket.queue > 3, "{socket:?}");
    // Clients that gave up may still be retrying.
    let lost = victim["lost"].as_u64().unwrap();
    assert!((socket.drops..=after[address].drops).contains(&lost), "{lost}, ss says {socket:?}");
    assert_eq!(victim["queue"], serde_json::json!([socket.queue, socket.backlog]));
}
