//! What the probes cost traffic that is not dropped: datagrams and a TCP stream over a veth pair, with and without them.
//!
//! `cargo bench --bench throughput` (root, iproute2, a kernel with BTF). One thread sends and reads, in turn, so that
//! nothing waits for a scheduler; each turn measures both ways, one right after the other, and the ratio is that of the
//! two. The probes sit where packets are lost, so the ratio should be one.

#[path = "support/lab.rs"]
mod lab;

use std::io::{ErrorKind, Read, Result, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Instant;

use lab::{Lab, RECEIVER, SENDER, Tool, median};
use netstat_deep::source::place::Place;

const TURNS: usize = 21;
const DATAGRAMS: usize = 400_000;
/// Datagrams that a default buffer holds for sure.
const BURST: usize = 100;
const BYTES: usize = 4 << 30;

/// Millions of datagrams a second.
fn udp(from: &Place, to: &Place) -> Result<f64> {
    let reader = to.inside(|| UdpSocket::bind("10.79.0.2:5001")).expect("the namespace can be entered")?;
    let sender = from.inside(|| UdpSocket::bind("10.79.0.1:0")).expect("the namespace can be entered")?;
    sender.connect("10.79.0.2:5001")?;
    let begun = Instant::now();
    for _ in 0..DATAGRAMS / BURST {
        for _ in 0..BURST {
            sender.send(&[0; 64])?;
        }
        // None is lost: a read that waits for ever would show it.
        for _ in 0..BURST {
            reader.recv(&mut [0; 64])?;
        }
    }
    Ok(DATAGRAMS as f64 / begun.elapsed().as_secs_f64() / 1e6)
}

/// Gigabits a second.
fn tcp(from: &Place, to: &Place) -> Result<f64> {
    let listener = to.inside(|| TcpListener::bind("10.79.0.2:5002")).expect("the namespace can be entered")?;
    let mut sender = from.inside(|| TcpStream::connect("10.79.0.2:5002")).expect("the namespace can be entered")?;
    let (mut reader, _) = listener.accept()?;
    sender.set_nonblocking(true)?;
    reader.set_nonblocking(true)?;
    let mut buffer = vec![0; 128 << 10];
    let (mut read, begun) = (0, Instant::now());
    while read < BYTES {
        would_block(sender.write(&buffer))?;
        read += would_block(reader.read(&mut buffer))?;
    }
    Ok(read as f64 * 8.0 / begun.elapsed().as_secs_f64() / 1e9)
}

fn would_block(result: Result<usize>) -> Result<usize> {
    result.or_else(|e| if e.kind() == ErrorKind::WouldBlock { Ok(0) } else { Err(e) })
}

fn main() {
    // cargo test runs this too, and must not measure.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let _lab = Lab::new();
    let [from, to] = [SENDER, RECEIVER].map(|name| Place::find(name).expect("a namespace that was just made"));
    println!("{TURNS} turns; medians, and the median, least and most of the ratios of each turn");
    for (name, unit, measure) in
        [("UDP", "million/s", udp as fn(&Place, &Place) -> Result<f64>), ("TCP", "Gbit/s", tcp)]
    {
        let measure = || measure(&from, &to).unwrap_or_else(|e| panic!("{name}: {e}"));
        // The first one warms the caches.
        measure();
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for turn in 0..TURNS {
            let mut probed = || {
                let tool = Tool::start(env!("CARGO_BIN_EXE_netstat-deep"), &["drops", "-i", "1h", "--json"]);
                with.push(measure());
                drop(tool);
            };
            // Whoever comes second may find the machine otherwise: each does as often.
            if turn % 2 == 0 {
                without.push(measure());
                probed();
            } else {
                probed();
                without.push(measure());
            }
        }
        let mut ratios: Vec<f64> = with.iter().zip(&without).map(|(with, without)| with / without).collect();
        ratios.sort_by(f64::total_cmp);
        println!(
            "{name}  without {:.2}  with {:.2} {unit}  ratio {:.3} ({:.3} to {:.3})",
            median(without),
            median(with),
            median(ratios.clone()),
            ratios[0],
            ratios[TURNS - 1]
        );
    }
}
