//! Real faults in network namespaces of our own, each with an oracle that does not come from the program under test.
//!
//! One `Case` is one fault (or one quiet host). A case that this machine cannot run (no root, no `nft`, one CPU ...)
//! is listed as ignored with the reason, never as passed.
//!
//! Machinery, in the order in which a case meets it:
//! - `case`: what a case is, the marks of a try that must be repeated, and the list of things that did not hold
//! - `need`: what a machine must have, and whether this one has it
//! - `lab`: two namespaces joined by a veth pair, gone again whatever happens
//! - `guard`: a machine-wide sysctl lowered for a while and put back even if this process is killed
//! - `cgroup`: a memory cgroup of our own, gone again whatever happens
//! - `actor`: victims and senders: this binary started again inside a namespace, steered line by line
//! - `endpoint`: what such a process does: UDP readers and senders, TCP listeners and clients
//! - `frame`: frames made by hand, for what no socket would send
//! - `kernel`: the kernel's own counters, read without the program under test
//! - `process`: a child that does not outlive the test
//! - `tool`: starts the program under test and waits for its report
//! - `report`: look-ups in that report
//! - `sending`: one window of `tx`, as long as the traffic
//! - `observe`: one window: counters, program, traffic, counters, and whether all of it fell inside
//!
//! Faults, one file a rule:
//! - `udp_buffer`, `accept_queue`, `syn_queue`, `listen_drops`, `tcp_receive`, `tcp_memory`,
//!   `backlog`, `poll_budget`, `conntrack`, `rp_filter`
//! - `strays`, `fragments`, `udp_loss`: a few rules each, of packets that make no sense or that nobody asked for
//! - `send_path`: what this host sends, and is not let through
//! - `neighbour`: next hops that do not answer, and a table without room for them
//! - `send_tcp`: what TCP answers to segments that are not as they should be
//! - `ports`: connects that find no local port
//! - `settings`: those that hurt whatever the traffic is, and those that did not stay
//! - `senders`: single connections that could send more, or send again for nothing
//! - `qdisc`: what a device's queue does not let through, and where packets go between IP and a device
//! - `send_devices`: what a device does not send
//! - `firewall`, `forward`: a loss that no counter knows of must show as unexplained
//! - `quiet`: hosts without a fault
//! - `sockets`: a socket's numbers are those that ss and its peer know
//! - `namespaces`: whose counters these are
//! - `netns_all`: all of them in one report, each with its own
//! - `drops`: what the kernel drops, as the probe counts it
//! - `tune`, `confirm`, `loops`: a fault, its setting, and the ways back
//! - `sweep`: killed at every call of an apply of eight steps
//! - `verdicts`, `refusals`, `places`: what it did, what stands in the way, and settings that are no sysctls
//! - `topology`: queues and masks that are crooked, and a mask that is set straight
//! - `record`: a recording says what its host said, and a redacted one not whose it was

mod accept_queue;
mod actor;
mod backlog;
mod case;
mod cgroup;
mod confirm;
mod conntrack;
mod drops;
mod endpoint;
mod firewall;
mod forward;
mod fragments;
mod frame;
mod guard;
mod kernel;
mod lab;
mod listen_drops;
mod loops;
mod namespaces;
mod need;
mod neighbour;
mod netns_all;
mod observe;
mod places;
mod poll_budget;
mod ports;
mod process;
mod qdisc;
mod quiet;
mod record;
mod refusals;
mod report;
mod rp_filter;
mod send_devices;
mod send_path;
mod send_tcp;
mod senders;
mod sending;
mod settings;
mod sockets;
mod strays;
mod sweep;
mod syn_queue;
mod tcp_memory;
mod tcp_receive;
mod tool;
mod topology;
mod tune;
mod udp_buffer;
mod udp_loss;
mod verdicts;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some(actor::FLAG) => endpoint::play(&args[2..]),
        Some(guard::FLAG) => guard::stand(&args[2..]),
        _ => test(),
    }
}

/// Runs the list. One at a time: several cases lower a limit of the whole machine or read a counter of the whole
/// machine, and exact counts need a CPU that is not fought over.
fn test() {
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(1);
    if !args.list {
        lab::sweep();
    }
    let machine = need::Machine::look();
    let lists = [
        udp_buffer::cases(),
        accept_queue::cases(),
        syn_queue::cases(),
        listen_drops::cases(),
        tcp_receive::cases(),
        tcp_memory::cases(),
        backlog::cases(),
        conntrack::cases(),
        rp_filter::cases(),
        firewall::cases(),
        forward::cases(),
        strays::cases(),
        fragments::cases(),
        udp_loss::cases(),
        send_path::cases(),
        neighbour::cases(),
        send_tcp::cases(),
        ports::cases(),
        settings::cases(),
        senders::cases(),
        qdisc::cases(),
        send_devices::cases(),
        quiet::cases(),
        sockets::cases(),
        namespaces::cases(),
        netns_all::cases(),
        drops::cases(),
        tune::cases(),
        confirm::cases(),
        poll_budget::cases(),
        loops::cases(),
        verdicts::cases(),
        refusals::cases(),
        places::cases(),
        topology::cases(),
        record::cases(),
        sweep::cases(),
    ];
    let counted =
        [udp_buffer::cases(), accept_queue::cases(), backlog::cases(), conntrack::cases(), rp_filter::cases()];
    let probed = counted.into_iter().flatten().map(case::Case::with_probes);
    let trials = lists.into_iter().flatten().chain(probed).map(|case| trial(case, &machine)).collect();
    libtest_mimic::run(&args, trials).exit();
}

/// The reason for ignoring a case stands in brackets before its name, and is the error if it is run all the same.
fn trial(case: case::Case, machine: &need::Machine) -> Trial {
    match machine.lacks(&case.needs) {
        None => Trial::test(case.name.clone(), move || case.run()),
        Some(reason) => {
            let error = format!("cannot run here: {reason}");
            Trial::test(case.name, move || Err(error.into())).with_kind(reason).with_ignored_flag(true)
        }
    }
}
