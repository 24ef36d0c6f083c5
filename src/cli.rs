//! The command line: what may be typed, a file per verb. What it means stands in `command/`.

mod change;
mod confirm;
mod doctor;
mod drops;
mod explain;
mod generate;
mod history;
mod path;
mod record;
mod revert;
mod show;
mod sockets;
mod topology;
mod value;

use clap::{Parser, Subcommand};

pub use change::{Apply, ChangeArgs};
pub use confirm::{ConfirmArgs, GuardArgs};
pub use doctor::DoctorArgs;
pub use drops::{By, DropsArgs, Source};
pub use explain::{ExplainArgs, Kind};
pub use generate::GenerateArgs;
pub use history::HistoryArgs;
pub use path::PathArgs;
pub use record::RecordArgs;
pub use revert::RevertArgs;
pub use show::ShowArgs;
pub use sockets::{In, SocketsArgs, Speaks};
pub use topology::TopologyArgs;
pub use value::{Color, Format, Probes};

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
    Rx(PathArgs),
    /// Report on the send path: what was sent again, refused or lost on its way to a device, why, and which setting binds
    Tx(PathArgs),
    /// Show every packet that the kernel drops: reason, place, device, victim, and whether that is normal (eBPF)
    Drops(DropsArgs),
    /// Rank sockets by what is wrong with them: lost packets, full queues and buffers, what holds them back, whose they are
    Sockets(SocketsArgs),
    /// Show which CPU works for which queue: device, queue, NAPI, interrupt, CPU, NUMA node, and what is crooked in it
    Topology(TopologyArgs),
    /// Show what the findings suggest as one plan; with --apply make the change and see whether it helped
    Tune(PathArgs),
    /// Keep a change that was made with --confirm-within
    Confirm(ConfirmArgs),
    /// Take back what --apply changed: the newest change, a given one, or all
    Revert(RevertArgs),
    /// List the changes that --apply made, and what became of them
    History(HistoryArgs),
    /// Record what this host tells, so that rx, tx and tune can look at it elsewhere and later (with --root)
    Record(RecordArgs),
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
            Verb::Rx(args) | Verb::Tx(args) | Verb::Tune(args) => Some(&args.change.state_dir),
            Verb::Confirm(ConfirmArgs { state_dir, .. })
            | Verb::Revert(RevertArgs { state_dir, .. })
            | Verb::History(HistoryArgs { state_dir, .. }) => Some(state_dir),
            Verb::Drops(_)
            | Verb::Sockets(_)
            | Verb::Topology(_)
            | Verb::Record(_)
            | Verb::Explain(_)
            | Verb::Doctor(_) => Some(std::path::Path::new(crate::tune::journal::DEFAULT)),
            Verb::Generate(_) | Verb::Guard(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
