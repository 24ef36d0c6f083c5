//! What paths do to senders: one whose send buffer holds it back, and networks that fare differently.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::net::sockopt;

use super::{PATIENCE, PORT, connection, life, wait_for, word};
use crate::case::{Checks, Outcome, again};
use crate::lab::{CLIENT_DEVICE, Family, Lab, batch};
use crate::report::Report;
use crate::tool;

/// A link of 2 Mbit/s delays each segment by 6 ms; the application's buffer of a few segments does not bridge that. Another
/// connection over the same link, whose buffer the kernel sizes, is held by the congestion window and not by its buffer.
pub fn send_buffer(family: Family, window: Duration) -> Outcome {
    let lab = Lab::new()?;
    batch(&lab.client.name, &[format!("link set {CLIENT_DEVICE} gso_max_segs 1")])?;
    let tbf = format!("qdisc add dev {CLIENT_DEVICE} root tbf rate 2mbit burst 4000 limit 200000");
    lab.client.exec(&[&["tc"][..], &tbf.split(' ').collect::<Vec<_>>()].concat())?;
    let (client, server) = connection(&lab, family, Some(2048))?;
    let over = AtomicBool::new(false);
    let (report, ss) = std::thread::scope(|scope| {
        let reading = server.try_clone()?;
        scope.spawn(move || std::io::copy(&mut &reading, &mut std::io::sink()));
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                (&client).write_all(&[7; 16 << 10])?;
            }
            client.shutdown(std::net::Shutdown::Both)
        });
        let look = || -> Outcome<(Report, String)> {
            wait_for("it sends", || Ok(lab.client.exec(&["ss", "-HOtin"])?.contains("sndbuf_limited")))?;
            let args = ["sockets", "--json", "--by", "sendbuf", "--netns", &lab.client.path()];
            let report = tool::start_with(&args, window)?.report()?;
            Ok((report, lab.client.exec(&["ss", "-HOtin"])?))
        };
        let looked = look();
        over.store(true, Ordering::Relaxed);
        looked
    })?;
    let local = client.local_addr().map_or_else(|_| String::new(), |local| local.to_string());
    let found = &report.0["sockets"][0];
    let mut checks = Checks::default();
    checks.that(!local.is_empty(), "its own end");
    checks.same("first by its send buffer", Some(local.as_str()), found["local"].as_str());
    checks.that(found["troubles"].to_string().contains("send-buffer-limited"), &found["troubles"]);
    checks.that(!found["troubles"].to_string().contains("window-limited"), &found["troubles"]);
    checks.same("who set it", Some("application"), found["send_buffer"]["set_by"].as_str());
    // sndbuf_limited:123ms(45.6%), of its life.
    let percent = word(&ss, "sndbuf_limited:")
        .is_some()
        .then(|| ss.split("sndbuf_limited:").nth(1)?.split(['(', '%']).nth(1)?.parse::<f64>().ok())
        .flatten();
    let share = found["tcp"]["send_buffer_limited"].as_f64();
    checks.that(
        share.zip(percent).is_some_and(|(share, percent)| (share * 100.0 - percent).abs() < 25.0),
        format_args!("{share:?} in the window, {percent:?} % in its life"),
    );
    checks.done(&report)
}

/// Two remote networks, one of which loses every tenth segment with data: the census tells which.
pub fn networks(family: Family) -> Outcome {
    let lab = Lab::new()?;
    let (near, far): (IpAddr, IpAddr) = match family {
        Family::V4 => (family.client(), [10, 78, 1, 1].into()),
        Family::V6 => (family.client(), "fd00:78::1".parse()?),
    };
    let (bits, v) = if family == Family::V4 { (32, "-4") } else { (128, "-6") };
    let nodad = if family == Family::V4 { "" } else { " nodad" };
    batch(&lab.client.name, &[format!("addr add {far}/{bits} dev {CLIENT_DEVICE}{nodad}")])?;
    let route = format!("ip {v} route add {far}/{bits} via {near}");
    lab.server.exec(&route.split(' ').collect::<Vec<_>>())?;
    let ip = if family == Family::V4 { "ip" } else { "ip6" };
    let rule = format!("{ip} daddr {far} tcp sport {PORT} meta length > 500 numgen inc mod 10 0 counter drop");
    lab.client.nft(&format!("table inet t {{ chain c {{ type filter hook input priority 0; {rule}; }}; }}"))?;
    let at = family.server(PORT);
    let listener = lab.server.inside(|| TcpListener::bind(at))?;
    let mut held = Vec::new();
    for from in [near, near, far, far, far] {
        let client = lab.client.inside(|| from_address(from, at))?;
        let (server, _) = listener.accept()?;
        held.push((client, server));
    }
    std::thread::scope(|scope| {
        for (client, server) in &held {
            scope.spawn(|| std::io::copy(&mut &*client, &mut std::io::sink()));
            let mut server = server;
            server.set_write_timeout(Some(PATIENCE))?;
            server.write_all(&vec![7; 512 << 10])?;
        }
        let all = wait_for("all was acknowledged", || {
            let report = life(&lab.server, &["--by", "sent", "--state", "established"])?;
            let rows = report.0["sockets"].as_array().into_iter().flatten();
            Ok(rows.filter(|row| row["unacknowledged"] == 0).count() == held.len())
        });
        for (_, server) in &held {
            server.shutdown(std::net::Shutdown::Write)?;
        }
        all
    })?;
    let report = life(&lab.server, &[])?;
    let dropped = counted(&lab)?;
    if dropped == 0 {
        return again("nothing was dropped");
    }
    let prefix = |address: IpAddr| match address {
        IpAddr::V4(v4) => format!("{}/24", std::net::Ipv4Addr::from_bits(v4.to_bits() & !0xff)),
        IpAddr::V6(v6) => format!("{}/48", std::net::Ipv6Addr::from_bits(v6.to_bits() >> 80 << 80)),
    };
    let group = |address| {
        let groups = report.0["networks"].as_array().into_iter().flatten();
        groups.into_iter().find(|group| group["name"] == prefix(address)).cloned().unwrap_or_default()
    };
    let [near, far] = [near, far].map(group);
    let mut checks = Checks::default();
    checks.same("connections", [Some(2), Some(3)], [&near, &far].map(|group| group["connections"].as_u64()));
    checks.same("resent to the sound network", Some(0), near["retransmitted"].as_u64());
    checks.that(far["retransmitted"].as_u64() >= Some(dropped), format_args!("{dropped} were dropped: {far}"));
    checks.that(far["sent"].as_u64() >= Some(3 * (512 << 10) / 1500), &far);
    checks.that(far["rtt_microseconds"]["p50"].as_u64() > Some(0), &far);
    checks.that(far["retransmitted_ppm"]["p50"].as_u64() > Some(20_000), &far);
    checks.done(&report.0["networks"])
}

fn from_address(from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
    let domain = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(domain, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddr::new(from, 0))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE))?;
    connect(&socket, &to)?;
    Ok(socket.into())
}

/// Packets that the client's firewall dropped.
fn counted(lab: &Lab) -> Outcome<u64> {
    let rules = lab.client.exec(&["nft", "list", "ruleset"])?;
    let count = rules.split("counter packets ").nth(1).and_then(|rest| rest.split(' ').next());
    Ok(count.and_then(|count| count.parse().ok()).unwrap_or(0))
}
