//! netstat-deep on one page:
//!
//! ```text
//! kernel ─▶ source ─rows─▶ Snapshot ─between─▶ Changes ─▶ diagnose ─▶ Findings
//!                                                 └─▶ ledger            │
//!                                                        └── Report ────┘ ─▶ render
//! ```
//!
//! A [`source`] reads a file or asks netlink and knows only the shape of the bytes. The [`stage`] files say what each
//! counter means, what can be wrong and what can be turned, a file per stage of the packet's path. [`observe`] takes
//! snapshots and compares them; [`ledger`] and [`diagnose`] work on the comparison; a [`report`] is all that a renderer
//! may see. Imports run one way, left to right; a test holds that.

pub mod cli;
pub mod command;
pub mod diagnose;
pub mod drops;
pub mod error;
pub mod generate;
pub mod ledger;
pub mod model;
pub mod observe;
pub mod render;
pub mod report;
pub mod sockets;
pub mod source;
pub mod stage;
pub mod tune;
