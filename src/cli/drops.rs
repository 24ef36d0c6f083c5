//! What may be typed behind `drops`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::value::{parse_interval, parse_share};
use super::{Color, Format};

/// Show every packet that the kernel drops.
#[derive(Debug, Args)]
pub struct DropsArgs {
    /// Length of the window: 1s, 500ms, 2m
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = parse_interval)]
    pub interval: Duration,
    /// How many windows, one after the other; 0 is without end
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1)]
    pub count: u64,
    /// A live screen: window after window in the same place, until it is interrupted
    #[arg(long, conflicts_with_all = ["count", "json", "jsonl", "each"])]
    pub watch: bool,
    /// What a line of the table stands for
    #[arg(long, value_enum, default_value_t = By::Reason)]
    pub by: By,
    /// Only drops of this reason: NO_SOCKET, SOCKET_RCVBUFF ...
    #[arg(long, value_name = "REASON")]
    pub reason: Option<String>,
    /// Only drops in this network namespace: a name that 'ip netns' knows, a path, or pid:N
    #[arg(long, value_name = "NAME|PATH|pid:N")]
    pub netns: Option<String>,
    /// Only drops of packets from or to this device
    #[arg(long, value_name = "DEVICE")]
    pub dev: Option<String>,
    /// Show the drops too that nobody needs to care for
    #[arg(long)]
    pub harmless: bool,
    /// Keep addresses and ports: also in JSON
    #[arg(long)]
    pub flows: bool,
    /// Keep the kernel's call stacks
    #[arg(long)]
    pub stack: bool,
    /// Show every single drop as it comes, a line each, before what they add up to; with --jsonl as JSON
    #[arg(long, conflicts_with = "json")]
    pub each: bool,
    /// Write the dropped packets into this file (pcapng), for tcpdump and Wireshark
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// Of single drops, take so many a second and CPU at most; those left out are counted
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub rate: u32,
    /// Keep so many rows (reason, place, device, namespace, protocol) apart; more are counted by reason alone
    #[arg(long, value_name = "N", default_value_t = crate::source::probe::drops::ROWS, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rows: u32,
    /// Also watch what every sent packet passes: drivers that refuse packets or are busy
    #[arg(long)]
    pub per_packet: bool,
    /// Give up what every packet passes when it takes more than this share of a CPU
    #[arg(long, value_name = "PERCENT", default_value = "1%", value_parser = parse_share)]
    pub max_cpu: f64,
    /// Where the drops are counted; auto: by the kernel's drop monitor if BPF is refused, which tells less
    #[arg(long, value_enum, default_value_t = Source::Auto)]
    pub source: Source,
    /// Use raw tracepoints, as on kernels that refuse typed ones
    #[arg(long, hide = true)]
    pub raw: bool,
    /// One JSON document
    #[arg(long, conflicts_with = "jsonl")]
    pub json: bool,
    /// A JSON document a line and window
    #[arg(long)]
    pub jsonl: bool,
    /// When to use colour
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// Show what the probe cost, and the places; also what the kernel's verifier says if it refuses
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// Where drops are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// By BPF if it is permitted here, else by the drop monitor
    Auto,
    /// By our program in the kernel
    Bpf,
    /// By the kernel's drop monitor: reason, function and protocol only
    DropMonitor,
}

/// What a line of the table of drops stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// Why
    Reason,
    /// The kernel function that dropped it
    Location,
    /// The stage of the packet's path
    Stage,
    /// The network device
    Device,
    /// The network namespace
    Netns,
    /// The process whose socket lost it
    Process,
    /// The systemd unit of that process
    Unit,
    /// From where to where it went
    Flow,
    /// The firewall rule, program or setting that refused it
    Rule,
}

impl DropsArgs {
    /// How many windows; 0 is without end.
    pub fn windows(&self) -> u64 {
        if self.watch { 0 } else { self.count }
    }

    /// The format, however it was asked for.
    pub fn format(&self) -> Format {
        match (self.json, self.jsonl) {
            (true, _) => Format::Json,
            (_, true) => Format::Jsonl,
            _ => Format::Table,
        }
    }
}
