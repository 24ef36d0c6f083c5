//! The settings against which a socket's buffers and queues are held.

use schemars::JsonSchema;
use serde::Serialize;

use crate::model::{Endpoint, Transport};
use crate::source::{Host, text};

/// Who set the size of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SetBy {
    /// It has the size that a new socket gets.
    Default,
    /// TCP itself, as it found it needs to; an application that chose a size between the default and the limit looks the
    /// same, for the kernel does not tell (SOCK_RCVBUF_LOCK, include/net/sock.h).
    Autotuned,
    /// The application: a size that the kernel would not choose.
    Application,
}

/// Settings of the network namespace, and of the machine as far as they show in it. What can't be read is absent.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    tcp_rmem: Option<[u64; 3]>,
    tcp_wmem: Option<[u64; 3]>,
    rmem_default: Option<u64>,
    wmem_default: Option<u64>,
    /// net.core.somaxconn
    pub somaxconn: Option<u64>,
    /// net.ipv4.ip_local_port_range
    pub port_range: Option<[u64; 2]>,
}

impl Limits {
    /// The machine-wide ones, which show in the initial network namespace alone: the default receive and send buffer.
    pub fn machine(host: &Host) -> [Option<u64>; 2] {
        ["net/core/rmem_default", "net/core/wmem_default"].map(|path| numbers::<1>(host, path).map(|[value]| value))
    }

    /// Those of the calling thread's network namespace, with the machine-wide ones.
    pub fn read(host: &Host, [rmem_default, wmem_default]: [Option<u64>; 2]) -> Self {
        Limits {
            tcp_rmem: numbers(host, "net/ipv4/tcp_rmem"),
            tcp_wmem: numbers(host, "net/ipv4/tcp_wmem"),
            rmem_default,
            wmem_default,
            somaxconn: numbers::<1>(host, "net/core/somaxconn").map(|[value]| value),
            port_range: numbers(host, "net/ipv4/ip_local_port_range"),
        }
    }

    /// The most that TCP gives a send buffer by itself.
    pub fn tcp_send_most(&self) -> Option<u64> {
        self.tcp_wmem.map(|[.., most]| most)
    }

    /// Whether connections that were made here take their port from where this one is.
    pub fn is_ephemeral(&self, port: u16) -> bool {
        self.port_range.is_some_and(|[first, last]| (first..=last).contains(&port.into()))
    }

    /// How many ports there are for connections that are made here.
    pub fn ports(&self) -> Option<u64> {
        self.port_range.map(|[first, last]| (last + 1).saturating_sub(first))
    }

    /// Who set the receive buffer.
    pub fn receive_buffer(&self, socket: &Endpoint) -> Option<SetBy> {
        let size = socket.memory?.receive_buffer.into();
        set_by(size, socket.transport, self.tcp_rmem, self.rmem_default)
    }

    /// Who set the send buffer.
    pub fn send_buffer(&self, socket: &Endpoint) -> Option<SetBy> {
        let size = socket.memory?.send_buffer.into();
        set_by(size, socket.transport, self.tcp_wmem, self.wmem_default)
    }
}

fn set_by(size: u64, transport: Transport, tcp: Option<[u64; 3]>, default: Option<u64>) -> Option<SetBy> {
    if transport != Transport::Tcp {
        let set = if size == default? { SetBy::Default } else { SetBy::Application };
        return Some(set);
    }
    let [_, default, most] = tcp?;
    Some(match size {
        _ if size == default => SetBy::Default,
        // Neither tcp_rcv_space_adjust() nor tcp_sndbuf_expand() goes beyond the limit or below where it began.
        _ if size > default && size <= most => SetBy::Autotuned,
        _ => SetBy::Application,
    })
}

fn numbers<const N: usize>(host: &Host, path: &str) -> Option<[u64; N]> {
    let mut bytes = Vec::new();
    host.read(&format!("proc/sys/{path}"), &mut bytes).ok()?;
    let text = text::one_blank(&bytes);
    let numbers: Vec<u64> = text.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
    numbers.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_tells_who_set_it() {
        let tcp = Some([4096, 131_072, 6_291_456]);
        let of = |size| set_by(size, Transport::Tcp, tcp, None).unwrap();
        assert_eq!(
            [131_072, 1_000_000, 9000, 16 << 20].map(of),
            [SetBy::Default, SetBy::Autotuned, SetBy::Application, SetBy::Application]
        );
        assert_eq!(set_by(212_992, Transport::Udp, tcp, Some(212_992)), Some(SetBy::Default));
        assert_eq!(set_by(425_984, Transport::Udp, tcp, Some(212_992)), Some(SetBy::Application));
        assert_eq!(set_by(425_984, Transport::Udp, tcp, None), None);
    }
}
