//! What a counter is. One declaration says everything about it, and everything else is derived: how it is read, its
//! rate, its JSON field and schema, its OpenMetrics name, its table row, its `explain` text.

use super::Scope;
use super::flow::Flow;

/// Does the value only grow, or does it go up and down?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows: what matters is by how much.
    Total,
    /// Goes up and down: what matters is where it is, and the highest it was.
    Gauge,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "a unit is named for what it is")]
pub enum Unit {
    Packets,
    /// Packets as they were on the wire, before GRO merged them.
    WirePackets,
    Fragments,
    Segments,
    Bytes,
    /// Pages of memory, 4 KiB on most machines.
    Pages,
    Sockets,
    Connections,
    Entries,
    Events,
    /// Blocks of forward error correction.
    Blocks,
    /// Pause frames: each stops a sender for a moment.
    Frames,
    Messages,
    /// Times that a function ran.
    Runs,
    /// 1/USER_HZ of a second: 10 ms on every Linux architecture in use.
    Ticks,
    Milliseconds,
    Microseconds,
    /// 1 for yes, 0 for no.
    Flag,
}

impl Unit {
    /// The word behind a number of them.
    pub const fn word(self) -> &'static str {
        match self {
            Unit::Packets => "packets",
            Unit::WirePackets => "wire packets",
            Unit::Fragments => "fragments",
            Unit::Segments => "segments",
            Unit::Bytes => "bytes",
            Unit::Pages => "pages",
            Unit::Sockets => "sockets",
            Unit::Connections => "connections",
            Unit::Entries => "entries",
            Unit::Events => "events",
            Unit::Blocks => "blocks",
            Unit::Frames => "frames",
            Unit::Messages => "messages",
            Unit::Runs => "runs",
            Unit::Ticks => "ticks of 10 ms",
            Unit::Milliseconds => "milliseconds",
            Unit::Microseconds => "microseconds",
            Unit::Flag => "(1 is yes, 0 is no)",
        }
    }
}

/// A table of the kernel: which rows it has, and how wide its cells are. Said once for all counters in it.
#[derive(Debug)]
pub struct Group {
    /// The kernel's own name for it, and the first half of its counters' ids.
    pub id: &'static str,
    /// What a row stands for.
    pub scope: Scope,
    /// Bits of a cell in the kernel. A 32-bit cell wraps; a 64-bit cell that falls was reset.
    pub bits: u32,
    /// The rows are per-CPU parts of one value: they are compared one by one (each wraps alone), then added up.
    pub folded: bool,
    /// The file or netlink request it is read from.
    pub origin: &'static str,
    /// The kernel function that writes it.
    pub kernel: &'static str,
}

impl Group {
    /// Declares a counter of this table that only grows.
    pub const fn total(&'static self, name: &'static str, unit: Unit) -> Counter {
        self.counter(name, unit, Kind::Total)
    }

    /// Declares a counter of this table that goes up and down.
    pub const fn gauge(&'static self, name: &'static str, unit: Unit) -> Counter {
        self.counter(name, unit, Kind::Gauge)
    }

    const fn counter(&'static self, name: &'static str, unit: Unit, kind: Kind) -> Counter {
        Counter {
            group: self,
            name,
            key: Key::Name(name),
            kind,
            unit,
            same_loss: None,
            flow: None,
            sends: None,
            quiet_below: 1,
            help: "",
        }
    }
}

/// Groups are statics: two of them are the same if they are at the same place.
impl PartialEq for Group {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

/// Where in a row of its table the value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Under this name in the table's header. Kernels insert columns in the middle, so never by position there.
    Name(&'static str),
    /// In this column, counted from 0: for tables without a header.
    Column(usize),
}

/// The declaration of one counter.
#[derive(Debug)]
pub struct Counter {
    /// The table it is in.
    pub group: &'static Group,
    /// The second half of its id: the kernel's own name where it has one.
    pub name: &'static str,
    /// Where in the row it stands.
    pub key: Key,
    /// Total or gauge.
    pub kind: Kind,
    /// What is counted.
    pub unit: Unit,
    /// Counters with the same word here count the same lost packets: never add them up.
    pub same_loss: Option<&'static str>,
    /// What it says about the packet's way, for the ledger of what is received.
    pub flow: Option<Flow>,
    /// The same for the ledger of what is sent.
    pub sends: Option<Flow>,
    /// As a trigger of a rule: below this, in the window, it is not worth a look.
    pub quiet_below: u64,
    /// What it means, from the doc comment of its declaration. The first sentence stands alone.
    pub help: &'static str,
}

impl Counter {
    /// Read from this column of a table without header.
    pub const fn column(mut self, index: usize) -> Self {
        self.key = Key::Column(index);
        self
    }

    /// Counts the same packets as the others with this word.
    pub const fn same_loss(mut self, word: &'static str) -> Self {
        self.same_loss = Some(word);
        self
    }

    /// As a trigger of a rule, not worth a look below so much.
    pub const fn quiet_below(mut self, least: u64) -> Self {
        self.quiet_below = least;
        self
    }

    /// What it says about the packet's way.
    pub const fn flow(mut self, flow: Flow) -> Self {
        self.flow = Some(flow);
        self
    }

    /// What it says about the way of packets that are sent.
    pub const fn sends(mut self, flow: Flow) -> Self {
        self.sends = Some(flow);
        self
    }

    /// True if packets that it counts were lost, or not wanted.
    pub fn is_loss(&self) -> bool {
        let ends = [self.flow, self.sends].into_iter().flatten().any(Flow::is_loss);
        ends || self.same_loss.is_some()
    }

    /// Set by [`counters!`](crate::counters) from the doc comment.
    pub const fn help(mut self, help: &'static str) -> Self {
        self.help = help;
        self
    }

    /// `Udp.RcvbufErrors`: how users, dashboards and tests name it.
    pub fn id(&self) -> String {
        format!("{}.{}", self.group.id, self.name)
    }

    /// The doc comment as running text.
    pub fn text(&self) -> String {
        self.help.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// `netstat_deep_udp_rcvbuf_errors_total`: the name in OpenMetrics, with the base unit where there is one.
    pub fn metric(&self) -> String {
        let mut name = String::from("netstat_deep");
        for part in [self.group.id, self.name] {
            name.push('_');
            name.push_str(&snake_case(part));
        }
        if self.unit == Unit::Bytes && !name.ends_with("_bytes") {
            name.push_str("_bytes");
        }
        if self.kind == Kind::Total {
            name.push_str("_total");
        }
        name
    }
}

/// Counters are statics: two of them are the same if they are at the same place.
impl PartialEq for Counter {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

/// `TCPReqQFullDrop` to `tcp_req_q_full_drop`: a word starts at a capital after a small letter or a digit, and at the
/// last capital of a run.
fn snake_case(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (i, &c) in chars.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| chars[i]);
        let after = chars.get(i + 1);
        let starts_word = c.is_ascii_uppercase()
            && before.is_some_and(|b| {
                b.is_ascii_lowercase()
                    || b.is_ascii_digit()
                    || (b.is_ascii_uppercase() && after.is_some_and(char::is_ascii_lowercase))
            });
        if starts_word {
            out.push('_');
        }
        out.push(if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
    }
    out
}

/// Declares the counters of a stage: each a static of its own, whose doc comment is its help text, and `COUNTERS`, the
/// list of them all in the order of the file.
#[macro_export]
macro_rules! counters {
    ($($(#[doc = $help:literal])+ $name:ident = $made:expr;)*) => {
        $($(#[doc = $help])+ pub static $name: $crate::model::Counter = $made.help(concat!($($help, "\n"),+));)*
        /// Everything that is counted at this stage.
        pub static COUNTERS: &[&$crate::model::Counter] = &[$(&$name),*];
    };
}

#[cfg(test)]
mod tests {
    use super::snake_case;

    #[test]
    fn kernel_names_become_metric_names() {
        for (kernel, metric) in [
            ("RcvbufErrors", "rcvbuf_errors"),
            ("TCPReqQFullDoCookies", "tcp_req_q_full_do_cookies"),
            ("IPReversePathFilter", "ip_reverse_path_filter"),
            ("InNoECTPkts", "in_no_ect_pkts"),
            ("InECT0Pkts", "in_ect0_pkts"),
            ("Ip6", "ip6"),
            ("UdpLite6", "udp_lite6"),
            ("rx_missed_errors", "rx_missed_errors"),
            ("NET_RX", "net_rx"),
            ("TCPAOBad", "tcpao_bad"),
        ] {
            assert_eq!(snake_case(kernel), metric);
        }
    }
}
