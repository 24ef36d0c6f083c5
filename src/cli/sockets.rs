//! What may be typed behind `sockets`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::value::parse_interval;
use super::{Color, ShowArgs};
use crate::model::{State, Transport};
use crate::sockets::By;

/// Show sockets.
#[derive(Debug, Args)]
pub struct SocketsArgs {
    /// Length of the window: 1s, 500ms, 2m. 0 shows the totals of the sockets' lives
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = parse_interval)]
    pub interval: Duration,
    /// How many windows, and how each is shown
    #[command(flatten)]
    pub show: ShowArgs,
    /// What to rank them by
    #[arg(long, value_enum, default_value_t = By::Trouble)]
    pub by: By,
    /// How many to show
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub top: u16,
    /// Only sockets that speak this
    #[arg(long, value_enum, value_delimiter = ',', value_name = "TRANSPORT")]
    pub transport: Vec<Speaks>,
    /// Only sockets in this state
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STATE")]
    pub state: Vec<In>,
    /// Only sockets with this port, at either end
    #[arg(long)]
    pub port: Option<u16>,
    /// Only sockets of this process
    #[arg(long)]
    pub pid: Option<u32>,
    /// Only sockets of the processes of this systemd unit
    #[arg(long, value_name = "UNIT", conflicts_with = "pid")]
    pub unit: Option<String>,
    /// Look at this network namespace: a name that 'ip netns' knows, a path, or pid:N
    #[arg(long, value_name = "NAME|PATH|pid:N")]
    pub netns: Option<String>,
    /// Read a recorded tree instead of this host; two samples if it holds before/ and after/
    #[arg(long, value_name = "DIR", conflicts_with = "netns")]
    pub root: Option<PathBuf>,
    /// When to use colour
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// Show all listeners, more networks and destinations, and how the sources went
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// What a socket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Speaks {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// Raw IP
    Raw,
}

impl From<Speaks> for Transport {
    fn from(speaks: Speaks) -> Self {
        match speaks {
            Speaks::Tcp => Transport::Tcp,
            Speaks::Udp => Transport::Udp,
            Speaks::Raw => Transport::Raw,
        }
    }
}

/// A state by its name.
#[derive(Clone, Copy, Debug)]
pub struct In(pub State);

impl ValueEnum for In {
    fn value_variants<'a>() -> &'a [Self] {
        const KNOWN: [In; 11] = [
            In(State::Established),
            In(State::SynSent),
            In(State::SynRecv),
            In(State::FinWait1),
            In(State::FinWait2),
            In(State::TimeWait),
            In(State::Close),
            In(State::CloseWait),
            In(State::LastAck),
            In(State::Listen),
            In(State::Closing),
        ];
        &KNOWN
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.0.name()))
    }
}
