//! The command line: what may be typed. What it means stands in `command/`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::model::Severity;

/// Shows where this host loses packets, why, who is hurt, and which setting binds.
#[derive(Debug, Parser)]
#[command(name = "netstat-deep", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 --check found something, 2 usage or input error, 3 privilege or kernel \
                        feature missing that was asked for, 130 interrupted.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Report on the receive path: what came in, what was lost where, who was hurt, which setting binds
    Rx(RxArgs),
    /// Show every packet that the kernel drops: reason, place, device, victim, and whether that is normal (eBPF)
    Drops(DropsArgs),
    /// Show what the findings suggest as one plan; with --apply make the change and see whether it helped
    Tune(RxArgs),
    /// Keep a change that was made with --confirm-within
    Confirm(ConfirmArgs),
    /// Take back what --apply changed: the newest change, a given one, or all
    Revert(RevertArgs),
    /// List the changes that --apply made, and what became of them
    History(HistoryArgs),
    /// Explain a counter, rule, knob, stage or drop reason: what it is, what to do, what not to do
    Explain(ExplainArgs),
    /// Show what this kernel, these privileges and this container allow, what is lost, and how to get it
    Doctor(DoctorArgs),
    /// Wait, and take a change back that is not confirmed
    #[command(hide = true)]
    Guard(GuardArgs),
    /// Write the papers made from the code: man pages, completions, JSON schema
    #[command(hide = true)]
    Generate(GenerateArgs),
}

impl Verb {
    /// The journal in which there may be a change that nobody confirmed in time.
    pub fn state_dir(&self) -> Option<&std::path::Path> {
        match self {
            Verb::Rx(args) | Verb::Tune(args) => Some(&args.change.state_dir),
            Verb::Confirm(ConfirmArgs { state_dir, .. })
            | Verb::Revert(RevertArgs { state_dir, .. })
            | Verb::History(HistoryArgs { state_dir, .. }) => Some(state_dir),
            Verb::Drops(_) | Verb::Explain(_) | Verb::Doctor(_) => {
                Some(std::path::Path::new(crate::tune::journal::DEFAULT))
            }
            Verb::Generate(_) | Verb::Guard(_) => None,
        }
    }
}

/// Report on the receive path.
#[derive(Debug, Args)]
pub struct RxArgs {
    /// Length of the window: 1s, 500ms, 2m. 0 shows the totals since boot
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = parse_interval)]
    pub interval: Duration,
    /// How many windows, one after the other; 0 is without end
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1)]
    pub count: u64,
    /// A live screen: window after window in the same place, until it is interrupted
    #[arg(long, conflicts_with_all = ["count", "output", "json", "jsonl", "root"])]
    pub watch: bool,
    /// Of the devices, show only this one
    #[arg(long, value_name = "DEVICE")]
    pub dev: Option<String>,
    /// Look at this network namespace: a name that 'ip netns' knows, a path, or pid:N
    #[arg(long, value_name = "NAME|PATH|pid:N")]
    pub netns: Option<String>,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = Format::Table, conflicts_with_all = ["json", "jsonl"])]
    pub output: Format,
    /// One JSON document, the same as --output json
    #[arg(long, conflicts_with = "jsonl")]
    pub json: bool,
    /// A JSON document a line and window, the same as --output jsonl
    #[arg(long)]
    pub jsonl: bool,
    /// Read a recorded tree of /proc and /sys instead of this host; two samples if it holds before/ and after/
    #[arg(long, value_name = "DIR", conflicts_with = "netns")]
    pub root: Option<PathBuf>,
    /// Exit with 1 if there is a finding of this severity or above
    #[arg(long, value_enum, value_name = "SEVERITY", num_args = 0..=1, require_equals = true, default_missing_value = "critical")]
    pub check: Option<Severity>,
    /// Leave out findings of this rule, or of this rule for this instance
    #[arg(long, value_name = "ID[:INSTANCE]")]
    pub ignore: Vec<String>,
    /// Limits of rules other than the built-in ones: a TOML file with a table per rule
    #[arg(long, value_name = "FILE")]
    pub thresholds: Option<PathBuf>,
    /// Whether to count dropped packets in the kernel too (eBPF), which tells what no counter knows; auto: if it is
    /// permitted here
    #[arg(long, value_enum, default_value_t = Probes::Auto)]
    pub probes: Probes,
    /// When to use colour
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// Show the counters that moved too; twice, also those that did not, and the sources
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Changing settings
    #[command(flatten)]
    pub change: ChangeArgs,
}

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

/// Change settings.
#[derive(Debug, Args)]
#[command(next_help_heading = "Changing settings")]
pub struct ChangeArgs {
    /// Make the changes that the findings suggest; all: also those that carry a high risk or are no sysctls
    #[arg(long, value_enum, value_name = "WHAT", num_args = 0..=1, require_equals = true, default_missing_value = "usual")]
    pub apply: Option<Apply>,
    /// Show what --apply would do, exactly, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long, requires = "apply")]
    pub yes: bool,
    /// Of the settings, change only this one
    #[arg(long, value_name = "KNOB")]
    pub only: Vec<String>,
    /// Length of the windows before and after the change, by which it is judged: the interval, or 10s if no time is given
    #[arg(long, value_name = "TIME", requires = "apply", num_args = 0..=1, default_missing_value = "10s", value_parser = parse_interval)]
    pub verify: Option<Duration>,
    /// Keep a change that had no effect or hurt
    #[arg(long, requires = "apply")]
    pub keep: bool,
    /// Take the change back unless 'netstat-deep confirm' comes within this time, also if this terminal is lost
    #[arg(long, value_name = "TIME", requires = "apply", value_parser = parse_interval)]
    pub confirm_within: Option<Duration>,
    /// Keep the change over a reboot, in sysctl.d or a udev rule; revert removes it again
    #[arg(long, requires = "apply", conflicts_with = "netns")]
    pub persist: bool,
    /// The folder to keep it in, instead of /etc
    #[arg(long, value_name = "DIR", default_value = "/etc")]
    pub root_etc: PathBuf,
    /// Where changes are written down before they are made
    #[arg(long, value_name = "DIR", default_value = crate::tune::journal::DEFAULT)]
    pub state_dir: PathBuf,
}

/// What to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Apply {
    /// Sysctls that carry a low or medium risk
    Usual,
    /// Also what carries a high risk, and what is no sysctl
    All,
}

/// Keep a change.
#[derive(Debug, Args)]
pub struct ConfirmArgs {
    /// The number of the change; without, the newest that waits
    pub id: Option<u64>,
    /// Where changes are written down
    #[arg(long, value_name = "DIR", default_value = crate::tune::journal::DEFAULT)]
    pub state_dir: PathBuf,
}

/// Wait for a confirmation.
#[derive(Debug, Args)]
pub struct GuardArgs {
    /// The number of the change
    pub id: u64,
    /// Where changes are written down
    #[arg(long, value_name = "DIR")]
    pub state_dir: PathBuf,
}

/// Take back changes.
#[derive(Debug, Args)]
pub struct RevertArgs {
    /// The number of the change, as history shows it; without, the newest that is not taken back yet
    #[arg(conflicts_with = "all")]
    pub id: Option<u64>,
    /// All changes
    #[arg(long)]
    pub all: bool,
    /// Where changes are written down
    #[arg(long, value_name = "DIR", default_value = crate::tune::journal::DEFAULT)]
    pub state_dir: PathBuf,
}

/// List changes.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Look again at changes of which it is not known yet what they did; take back what had no effect or hurt
    #[arg(long)]
    pub verify: bool,
    /// Keep those, too
    #[arg(long, requires = "verify")]
    pub keep: bool,
    /// Where changes are written down
    #[arg(long, value_name = "DIR", default_value = crate::tune::journal::DEFAULT)]
    pub state_dir: PathBuf,
}

/// How to show a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// One JSON document
    Json,
    /// A JSON document a line
    Jsonl,
    /// For Prometheus
    Openmetrics,
}

/// Whether to use probes in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Probes {
    /// If they are permitted here
    Auto,
    /// Or fail
    On,
    /// Counters only
    Off,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Also in a pipe
    Always,
    /// Never
    Never,
}

/// Explain something.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A counter (Udp.RcvbufErrors), rule (backlog-overflow), knob (net.core.rmem_max), stage (udp_in) or
    /// drop reason (NO_SOCKET)
    #[arg(required_unless_present = "list")]
    pub id: Option<String>,
    /// List all that can be explained
    #[arg(long)]
    pub list: bool,
}

/// Show what can be done here.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// When to use colour
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// Show each hook and source too
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// Write the papers made from the code.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// The folder that holds README.md, man/ and completions/
    #[arg(default_value = ".")]
    pub folder: PathBuf,
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

impl RxArgs {
    /// How many windows; 0 is without end.
    pub fn windows(&self) -> u64 {
        if self.watch { 0 } else { self.count }
    }

    /// True if a plan is wanted, or a change.
    pub fn plans(&self) -> bool {
        self.change.dry_run || self.change.apply.is_some()
    }

    /// The format, however it was asked for.
    pub fn format(&self) -> Format {
        match (self.json, self.jsonl) {
            (true, _) => Format::Json,
            (_, true) => Format::Jsonl,
            _ => self.output,
        }
    }
}

/// The shortest window: below it, reading takes a good part of it.
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A time: a number and ms, s, m or h; a bare number is seconds.
fn parse_interval(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[number.len()..] {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        other => return Err(format!("'{other}' is no unit of time; use ms, s, m or h")),
    };
    let value: f64 = number.parse().map_err(|_| "not a number".to_string())?;
    let time = Duration::try_from_secs_f64(value * unit).map_err(|_| "not a length of time".to_string())?;
    if time.is_zero() || (SHORTEST..=LONGEST).contains(&time) {
        Ok(time)
    } else {
        Err("not between 10ms and 24h (or 0)".into())
    }
}

/// A share of a CPU: a number and %.
fn parse_share(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    let percent: f64 = number.parse().map_err(|_| "not a number".to_string())?;
    if (0.0..=100.0).contains(&percent) { Ok(percent / 100.0) } else { Err("not between 0% and 100%".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percent() {
        assert_eq!(parse_share("1%"), Ok(0.01));
        assert_eq!(parse_share("2.5"), Ok(0.025));
        assert!(parse_share("101%").is_err() && parse_share("NaN").is_err() && parse_share("-1%").is_err());
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, ms) in [("1s", 1000), ("500ms", 500), ("2m", 120_000), ("0", 0), ("1.5", 1500)] {
            assert_eq!(parse_interval(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "-1s", "1y", "1ms", "1e99s", "nan"] {
            assert!(parse_interval(text).is_err(), "{text}");
        }
    }
}
