//! Doors: bytes in, rows out, no meaning. A door reads (from the live kernel or a recorded tree, both through [`Host`])
//! and hands the bytes to a parser that knows only their shape. Every parser takes what it can, counts what it can't,
//! never panics, and never allocates more than its input is long.

pub mod bpf_programs;
pub mod btf;
pub mod bundle;
pub mod conntrack;
pub mod devices;
pub mod dropmon;
pub mod ethtool;
pub mod genl;
pub mod groups;
pub mod host;
pub mod interrupts;
pub mod inventory;
pub mod layout;
pub mod link;
pub mod lists;
pub mod namespaces;
pub mod neighbour;
pub mod netdev;
pub mod netlink;
pub mod nftables;
pub mod owner;
pub mod path_mtu;
pub mod place;
pub mod privilege;
pub mod probe;
pub mod qdisc;
pub mod reasons;
pub mod redact;
pub mod route;
pub mod settings;
pub mod sheet;
pub mod sockdiag;
pub mod symbols;
pub mod sysfs;
pub mod tape;
pub mod text;
pub mod tracepoint;
pub mod transmit;
pub mod xfrm;
pub mod xtables;

pub use host::Host;
pub use sheet::{Label, Sheet, SheetRow};
