//! What one value of a counter stands for, and which of several it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What one value of a counter stands for: the whole machine, one network namespace, one device...
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// One value for the machine; the same in every network namespace.
    Machine,
    /// One value per network namespace.
    Netns,
    /// One value per network device.
    Device,
    /// One value per receive or transmit queue of a device.
    Queue,
    /// One value per CPU of the machine; the same in every network namespace.
    Cpu,
    /// One value per socket.
    Socket,
    /// Something the application decides, not the kernel.
    Application,
}

impl Scope {
    /// True if it is the same in every network namespace.
    pub const fn is_of_machine(self) -> bool {
        matches!(self, Scope::Machine | Scope::Cpu)
    }
}

/// Which one: the keys that tell a row of a table from its neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Instance {
    /// The only one there is, in its scope.
    #[default]
    #[serde(skip)]
    Only,
    /// A CPU, by the kernel's number.
    Cpu {
        /// The kernel's number of the CPU.
        cpu: u32,
    },
    /// A network device, by name; bytes that do not print are written `\xNN`.
    Device {
        /// The device's name.
        device: String,
    },
    /// A receive or transmit queue of a network device: `rx-0`, as sysfs calls it.
    Queue {
        /// The device's name.
        device: String,
        /// The queue's name.
        queue: String,
    },
    /// A queueing discipline of a network device, as tc(8) calls it: `htb 1:`.
    Qdisc {
        /// The device's name.
        device: String,
        /// The qdisc's kind and handle.
        qdisc: String,
    },
    /// A class of a queueing discipline, as tc(8) calls it: `htb 1:10`.
    Class {
        /// The device's name.
        device: String,
        /// The class's kind and handle.
        class: String,
    },
    /// A socket, by the address it is bound to.
    Socket {
        /// Local address and port.
        socket: String,
    },
}

impl Instance {
    /// A device by name.
    pub fn device(name: impl Into<String>) -> Self {
        Instance::Device { device: name.into() }
    }

    /// A queue of a device.
    pub fn queue(device: impl Into<String>, queue: impl Into<String>) -> Self {
        Instance::Queue { device: device.into(), queue: queue.into() }
    }

    /// A qdisc of a device.
    pub fn qdisc(device: impl Into<String>, qdisc: impl Into<String>) -> Self {
        Instance::Qdisc { device: device.into(), qdisc: qdisc.into() }
    }

    /// The device that it is, or is a part of.
    pub fn of_device(&self) -> Option<&str> {
        match self {
            Instance::Device { device }
            | Instance::Queue { device, .. }
            | Instance::Qdisc { device, .. }
            | Instance::Class { device, .. } => Some(device),
            Instance::Only | Instance::Cpu { .. } | Instance::Socket { .. } => None,
        }
    }

    /// True when there are no keys to show.
    pub fn is_only(&self) -> bool {
        *self == Instance::Only
    }
}

impl std::fmt::Display for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Instance::Only => Ok(()),
            Instance::Cpu { cpu } => write!(f, "cpu{cpu}"),
            Instance::Device { device } => f.write_str(device),
            Instance::Queue { device, queue: part }
            | Instance::Qdisc { device, qdisc: part }
            | Instance::Class { device, class: part } => write!(f, "{device} {part}"),
            Instance::Socket { socket } => f.write_str(socket),
        }
    }
}
