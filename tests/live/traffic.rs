//! Something to count: datagrams and connections between the two namespaces, also some that are lost or refused.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::ground::{Ground, enter};

const SERVERS: [&str; 2] = ["10.88.0.1", "[fd00:88::1]"];
const PORT: u16 = 7777;
/// Nobody listens there.
const CLOSED: u16 = 7778;

fn address(server: &str, port: u16) -> SocketAddr {
    format!("{server}:{port}").parse().unwrap()
}

fn any_port(of: SocketAddr) -> UdpSocket {
    UdpSocket::bind(if of.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }).unwrap()
}

/// Runs `work` on a thread inside a namespace.
pub fn inside<T: Send + 'static>(namespace: &str, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let namespace = namespace.to_owned();
    std::thread::spawn(move || {
        enter(&namespace);
        work()
    })
}

/// Datagrams that are read, datagrams to a closed port, and connections with data, over both versions of IP.
pub fn burst(ground: &Ground) {
    let servers = SERVERS.map(|server| {
        let (ready, wait) = std::sync::mpsc::channel();
        let thread = inside(&ground.server, move || {
            let udp = UdpSocket::bind(address(server, PORT)).unwrap();
            let tcp = TcpListener::bind(address(server, PORT)).unwrap();
            udp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            ready.send(()).unwrap();
            for _ in 0..100 {
                udp.recv(&mut [0; 64]).unwrap();
            }
            for _ in 0..10 {
                tcp.accept().unwrap().0.read_to_end(&mut Vec::new()).unwrap();
            }
        });
        wait.recv_timeout(Duration::from_secs(10)).unwrap();
        thread
    });
    let client = inside(&ground.client, || {
        for server in SERVERS {
            let udp = any_port(address(server, PORT));
            for n in 0..120 {
                // A datagram to a closed port may make a later send fail with the ICMP error: that is the point of it.
                let _refused = udp.send_to(b"datagram", address(server, if n < 20 { CLOSED } else { PORT }));
                std::thread::sleep(Duration::from_micros(200));
            }
            for _ in 0..10 {
                TcpStream::connect(address(server, PORT)).unwrap().write_all(&[7; 20_000]).unwrap();
            }
        }
    });
    client.join().unwrap();
    for server in servers {
        server.join().unwrap();
    }
}

/// A socket that reads nothing, and so many datagrams to it that some are lost.
pub fn flood(ground: &Ground) -> UdpSocket {
    let server = inside(&ground.server, || UdpSocket::bind(address(SERVERS[0], PORT)).unwrap()).join().unwrap();
    let client = inside(&ground.client, || {
        let udp = any_port(address(SERVERS[0], PORT));
        for _ in 0..40_000 {
            udp.send_to(&[7; 500], address(SERVERS[0], PORT)).unwrap();
        }
    });
    client.join().unwrap();
    server
}

/// Datagrams without a pause until dropped.
pub struct Steady {
    stop: Arc<AtomicBool>,
    sender: Option<JoinHandle<()>>,
}

impl Steady {
    pub fn start(ground: &Ground) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let sender = inside(&ground.client, move || {
            let udp = any_port(address(SERVERS[0], CLOSED));
            while !seen.load(Ordering::Relaxed) {
                let _refused = udp.send_to(b"datagram", address(SERVERS[0], CLOSED));
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        Steady { stop, sender: Some(sender) }
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            let _its_panic_was_printed = sender.join();
        }
    }
}
