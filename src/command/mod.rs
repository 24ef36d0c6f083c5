//! One file per verb; each a short chain of pipeline calls.

mod bar;
pub mod choice;
pub mod confirm;
pub mod doctor;
mod drift;
mod drop_monitor;
pub mod drops;
pub mod explain;
pub mod generate;
pub mod history;
mod live;
mod lookup;
mod memory;
mod namespaces;
pub mod panel;
pub mod path;
mod ports;
mod probing;
pub mod record;
pub mod revert;
pub mod sockets;
pub mod topology;
pub mod tune;
mod verdict;
