//! The nouns: counter, flow, snapshot, change, socket, rule, finding, knob, suggestion. No input or output, and nothing
//! of ours is imported here.

mod change;
mod changes;
mod connection;
mod counter;
mod drop;
mod endpoint;
pub mod flow;
mod instance;
mod knob;
mod lasting;
pub mod layout;
mod observed;
mod policy;
mod ports;
mod probed;
mod reason;
mod rule;
pub mod sender;
mod settings;
mod snapshot;
mod socket;
mod stage;
mod suggest;

pub use change::{grown, per_second};
pub use changes::{Change, ChangeRow, ChangeTable, Changes};
pub use connection::{Connection, ConnectionSums, Connections};
pub use counter::{Counter, Group, Key, Kind, Unit};
pub use drop::{Direction, Drop, DropEvent, DropFlow, DropTotals, Incident, Probe};
pub use endpoint::{Endpoint, Memory as SocketMemory, State, TcpInfo, Transport};
pub use flow::{Flow, Uncounted};
pub use instance::{Instance, Scope};
pub use knob::{
    Knob, Memory, Place, Risk, SettingFile, Suggestion, Tree, ethtool, grow, numbers, power_of_two, quoted,
};
pub use lasting::Lasting;
pub use layout::{CpuPlace, DevicePlace, Layout, PcieLink, QueuePlace, VectorPlace};
pub use observed::{Drift, Hidden, Observed, PathMtu, Unresolved};
pub use policy::{Layer, Means, Policy, Refuser, Share};
pub use ports::PortUse;
pub use probed::Probed;
pub use reason::{Harm, Reason};
pub use rule::{Evidence, Example, Finding, Folklore, Rule, Severity, Threshold, Victim};
pub use sender::{Sender, SenderSums, Senders};
pub use settings::Settings;
pub use snapshot::{Row, Snapshot, SourceStatus, Span, Table};
pub use socket::{FullListener, Protocol, Socket, SocketChange, SocketSums, SocketWatch, Sockets};
pub use stage::{Stage, stage_of};
