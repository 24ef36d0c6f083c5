//! A socket in words.

use crate::model::Transport;
use crate::render::words::{bytes, grouped, short, time};
use crate::report::sockets::{Binds, Buffer, SocketReport, SocketRow};
use crate::sockets::By;
use crate::sockets::limits::SetBy;
use crate::sockets::trouble::Trouble;

/// What leads its entry: the worst that is wrong, or what it is ranked by.
pub fn headword(socket: &SocketRow, report: &SocketReport) -> String {
    let seconds = report.window_seconds;
    let at_most = if socket.at_most { "≤ " } else { "" };
    let tcp = socket.tcp.clone().unwrap_or_default();
    let rate = |much: u64| match seconds {
        Some(seconds) => format!(" ({}/s)", short(much as f64 / seconds.max(0.001))),
        None => " in its life".into(),
    };
    let volume = |much: u64| match seconds {
        Some(seconds) => format!("{at_most}{}/s", bytes((much as f64 / seconds.max(0.001)) as u64)),
        None => format!("{} in its life", bytes(much)),
    };
    let lost = || format!("lost {at_most}{}{}", packets(socket.drops), rate(socket.drops));
    let queue = || match socket.accept_queue {
        Some(queue) => format!("{} of {}", grouped(queue.length.into()), grouped(queue.limit.into())),
        None => String::new(),
    };
    let resent = || format!("sent {} again", percent(tcp.retransmitted_share));
    let inflated = || format!("round trip {:.1} × the least", tcp.inflation.unwrap_or(0.0));
    let by_window = || format!("held by the peer's window {}", percent(tcp.window_limited));
    let by_buffer = || format!("held by its send buffer {}", percent(tcp.send_buffer_limited));
    let unread = || match socket.unread_milliseconds {
        Some(age) if age >= 1000 => format!("unread for {} or longer", time(age as f64 / 1e3)),
        _ => format!("unread {}", bytes(socket.unread.unwrap_or(0).into())),
    };
    match report.ranked_by {
        By::Trouble => match socket.troubles.first() {
            Some(Trouble::Drops) => lost(),
            Some(Trouble::SegmentsDropped) => {
                format!("dropped {at_most}{} segments{}", grouped(socket.drops), rate(socket.drops))
            }
            Some(Trouble::AcceptQueueFull) => format!("accept queue full: {}", queue()),
            Some(Trouble::AcceptQueueFilling) => format!("accept queue fills: {}", queue()),
            Some(Trouble::SegmentsRefused) => "its segments are refused by this host".into(),
            Some(Trouble::PeerWindowClosed) => "the peer's window is closed".into(),
            Some(Trouble::Unanswered) => format!("no answer to {} tries", tcp.unanswered.max(2)),
            Some(Trouble::Unread) => unread(),
            Some(Trouble::PeerWindowLimited) => by_window(),
            Some(Trouble::SendBufferLimited) => by_buffer(),
            Some(Trouble::Retransmits) => resent(),
            Some(Trouble::RttInflated) => inflated(),
            None => String::new(),
        },
        By::Drops => lost(),
        By::Queue => format!("unread {}", bytes(socket.unread.unwrap_or(0).into())),
        By::Age => {
            format!("unread for {} or longer", time(socket.unread_milliseconds.unwrap_or(0) as f64 / 1e3))
        }
        By::Accept => format!("accept queue {}", queue()),
        By::Backlog => format!("backlog {}", bytes(socket.backlog.unwrap_or(0).into())),
        By::Buffer => format!("buffer {} full", percent(fullest(socket))),
        By::Sendbuf => by_buffer(),
        By::Window => by_window(),
        By::Retrans => resent(),
        By::Rtt => inflated(),
        By::Sent => format!("sent {}", volume(tcp.acknowledged_bytes)),
        By::Received => format!("received {}", volume(tcp.received_bytes)),
    }
}

/// What sockets are ranked by.
pub fn by(by: By) -> &'static str {
    match by {
        By::Trouble => "trouble",
        By::Drops => "packets lost",
        By::Queue => "bytes unread",
        By::Age => "age of what is unread",
        By::Accept => "accept queue",
        By::Backlog => "backlog",
        By::Buffer => "fullness of buffers",
        By::Sendbuf => "send buffer limitation",
        By::Window => "peer window limitation",
        By::Retrans => "share sent again",
        By::Rtt => "round trip inflation",
        By::Sent => "bytes sent",
        By::Received => "bytes received",
    }
}

fn fullest(socket: &SocketRow) -> Option<f64> {
    let share = |buffer: &Buffer| f64::from(buffer.used) / f64::from(buffer.size.max(1));
    let shares = [&socket.receive_buffer, &socket.send_buffer].map(|buffer| buffer.as_ref().map_or(0.0, share));
    Some(shares[0].max(shares[1]))
}

/// Its ends and its state.
pub fn ends(socket: &SocketRow) -> String {
    let mut words: Vec<String> = socket.transport.map(|transport| transport.name().to_owned()).into_iter().collect();
    words.push(match &socket.remote {
        Some(remote) => format!("{} → {remote}", socket.local),
        None => socket.local.clone(),
    });
    if let (Some(Transport::Tcp), Some(state)) = (socket.transport, socket.state) {
        words.push(state.name().into());
    }
    words.join(" ")
}

/// Whose it is.
pub fn owner(socket: &SocketRow) -> String {
    let mut parts: Vec<String> = Vec::new();
    match (&socket.comm, socket.pid) {
        (Some(comm), Some(pid)) => parts.push(format!("{comm}[{pid}]")),
        (None, Some(pid)) => parts.push(format!("process {pid}")),
        // An orphan, or one whose process can't be seen.
        _ if socket.uid > 0 => parts.push(format!("user {}", socket.uid)),
        _ => parts.push("process unknown".into()),
    }
    match &socket.container {
        Some(id) => parts.push(format!("container {}", id.get(..12).unwrap_or(id))),
        None => parts.extend(socket.unit.clone()),
    }
    parts.join(" ")
}

/// Its numbers, those that say something.
pub fn details(socket: &SocketRow, report: &SocketReport) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    if let Some(queue) = &socket.accept_queue {
        parts.push(match queue.bound_by {
            Some(Binds::Application) => format!("the application asks for {}, less than somaxconn", queue.limit),
            Some(Binds::Somaxconn) => "somaxconn binds, or the application asks for as much".into(),
            Some(Binds::Earlier) => "its limit was set when somaxconn was larger".into(),
            None => String::new(),
        });
    }
    if socket.drops == 0 && socket.drops_total > 0 && report.window_seconds.is_some() {
        parts.push(format!("lost {} before", packets(socket.drops_total.into())));
    }
    let waits = socket.unread.filter(|unread| *unread > 0);
    if let (Some(unread), Some(age)) = (waits, socket.unread_milliseconds) {
        parts.push(format!("{} unread for {:.1} s or longer", bytes(unread.into()), age as f64 / 1e3));
    }
    if waits.is_some() || socket.drops > 0 {
        parts.extend(buffer("receive", &socket.receive_buffer));
    }
    if socket.unacknowledged.is_some_and(|bytes| bytes > 0) {
        parts.extend(buffer("send", &socket.send_buffer));
    }
    let Some(tcp) = &socket.tcp else { return without_empty(parts) };
    let ms = |microseconds: u32| match f64::from(microseconds) / 1e3 {
        _ if microseconds < 1000 => format!("{microseconds} µs"),
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms => format!("{ms:.0} ms"),
    };
    if tcp.rtt_microseconds > 0 {
        let least = tcp.min_rtt_microseconds.map(|least| format!(", least {}", ms(least))).unwrap_or_default();
        parts.push(format!("round trip {}{least}", ms(tcp.rtt_microseconds)));
    }
    if tcp.sent > 0 {
        let share = percent(tcp.retransmitted_share);
        parts.push(format!("{} segments sent, {share} again", grouped(tcp.sent)));
    }
    for (what, share) in [("peer's window", tcp.window_limited), ("send buffer", tcp.send_buffer_limited)] {
        if share.is_some_and(|share| share >= 0.01) {
            parts.push(format!("held by {what} {}", percent(share)));
        }
    }
    if let Some(congestion) = &tcp.congestion {
        parts.push(format!("{congestion} window {}", tcp.congestion_window));
    }
    parts.extend(tcp.delivery_rate.map(|rate| format!("delivers {}/s", bytes(rate))));
    without_empty(parts)
}

fn without_empty(mut parts: Vec<String>) -> Vec<String> {
    parts.retain(|part| !part.is_empty());
    parts
}

fn buffer(name: &str, buffer: &Option<Buffer>) -> Option<String> {
    let Buffer { used, size, set_by } = buffer.as_ref()?;
    let who = match set_by {
        Some(SetBy::Default) => ", the default",
        Some(SetBy::Autotuned) => ", autotuned",
        Some(SetBy::Application) => ", set by the application",
        None => "",
    };
    Some(format!("{name} buffer {} of {}{who}", bytes((*used).into()), bytes((*size).into())))
}

fn packets(count: u64) -> String {
    if count == 1 { "1 packet".into() } else { format!("{} packets", grouped(count)) }
}

/// A share in percent.
pub fn percent(share: Option<f64>) -> String {
    match share.map(|share| share * 100.0) {
        None => "-".into(),
        Some(0.0) => "0 %".into(),
        Some(percent) if percent < 0.1 => "< 0.1 %".into(),
        Some(percent) if percent < 10.0 => format!("{percent:.1} %"),
        Some(percent) => format!("{percent:.0} %"),
    }
}

/// Puts parts on lines, as many as fit; no part is broken.
pub fn flow(parts: &[String], between: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if line.chars().count() + between.len() + part.chars().count() < width => {
                line.push_str(between);
                line.push_str(part);
            }
            Some(line) => {
                line.push_str(between.trim_end());
                lines.push(part.clone());
            }
            None => lines.push(part.clone()),
        }
    }
    lines
}

/// The begin of a text that is too long.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}
