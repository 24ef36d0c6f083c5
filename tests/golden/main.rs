//! The program against recorded hosts: what it says of a tree of files is known beforehand, to the last digit.
//!
//! Machinery: `run` starts the program, `tree` makes trees, `message` writes netlink answers, `schema` and
//! `openmetrics` judge every output. Trees and expected outputs lie in `hosts/` and `expected/`.

mod bad_input;
mod bundle;
mod choice;
mod conntrack;
mod delta;
mod drops;
mod explain;
mod findings;
mod kernels;
mod ledger;
mod message;
mod names;
mod namespaces;
mod nic;
mod node_exporter;
mod numbered;
mod openmetrics;
mod run;
mod schema;
mod send;
mod snapshots;
mod sockets;
mod topology;
mod tree;
