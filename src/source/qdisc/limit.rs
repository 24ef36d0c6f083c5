//! How much a qdisc may hold, as a setting: `qdisc/DEVICE/HANDLE/limit`, in packets, for tbf and bfifo in bytes.
//!
//! Only of those that have a handle: what the kernel made by itself (handle 0) can be replaced, but not changed
//! (tc_modify_qdisc() in net/sched/sch_api.c looks for none there).

use std::io;

use super::{Qdisc, TCA_KIND, TCA_OPTIONS, TCMSG, all, attributes, client, handle, narrow};
use crate::model::Settings;
use crate::source::genl::push;
use crate::source::netlink::Request;
use crate::source::{Host, link, text};

const RTM_NEWQDISC: u16 = 36;

/// Where the limit stands among the options.
#[derive(Clone, Copy)]
enum Where {
    /// The options are a structure; it begins there.
    At(usize),
    /// An attribute of its own; the others keep their values if they are not sent.
    Attribute(u16),
    /// An attribute holds a structure in which it begins there; the whole structure has to be sent.
    Within(u16, usize),
}

/// By kind: struct tc_fifo_qopt, TCA_FQ_PLIMIT, TCA_FQ_CODEL_LIMIT, TCA_CODEL_LIMIT, struct tc_tbf_qopt in TCA_TBF_PARMS
/// (include/uapi/linux/pkt_sched.h).
static KINDS: &[(&[u8], Where)] = &[
    (b"pfifo", Where::At(0)),
    (b"bfifo", Where::At(0)),
    (b"fq", Where::Attribute(1)),
    (b"fq_codel", Where::Attribute(2)),
    (b"codel", Where::Attribute(2)),
    (b"tbf", Where::Within(1, 24)),
];

/// True if its limit is in bytes.
pub fn in_bytes(kind: &str) -> bool {
    ["tbf", "bfifo"].contains(&kind)
}

/// Takes the limits of all qdiscs into `settings`. A device whose name is no text can't stand in a path.
pub fn read(host: &Host, settings: &mut Settings) {
    let Ok((qdiscs, names)) = both(host) else { return };
    for qdisc in &qdiscs {
        let name = names.get(&qdisc.index).and_then(|name| std::str::from_utf8(name).ok());
        if let (Some(name), Some(limit)) = (name, limit(qdisc)) {
            settings.insert(path(name, qdisc.handle), limit.to_string());
        }
    }
}

/// The present value, from the live kernel.
pub fn value(path: &str) -> io::Result<String> {
    let limit = limit(&find(path)?).ok_or(io::ErrorKind::NotFound)?;
    Ok(limit.to_string())
}

/// Whether it could be set.
pub fn settable(path: &str) -> io::Result<()> {
    let qdisc = find(path)?;
    if qdisc.handle == 0 || limit(&qdisc).is_none() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(())
}

/// Sets it, and nothing else of the qdisc. What it holds beyond a smaller limit is lost.
pub fn set(path: &str, value: &str) -> io::Result<()> {
    let limit: u32 = value.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
    let qdisc = find(path)?;
    let options = with_limit(&qdisc, limit).ok_or(io::ErrorKind::Unsupported)?;
    let mut payload = vec![0; TCMSG];
    payload[4..8].copy_from_slice(&qdisc.index.to_ne_bytes());
    payload[8..12].copy_from_slice(&qdisc.handle.to_ne_bytes());
    payload[12..16].copy_from_slice(&qdisc.parent.to_ne_bytes());
    push(&mut payload, TCA_KIND, &[&qdisc.kind[..], &[0]].concat());
    push(&mut payload, TCA_OPTIONS, &options);
    let host = Host::Live;
    client(&host).ask(&Request { name: "newqdisc", kind: RTM_NEWQDISC, payload }, |_| true).map(drop)
}

fn path(device: &str, own: u32) -> String {
    format!("qdisc/{device}/{}/limit", handle(own))
}

fn find(wanted: &str) -> io::Result<Qdisc> {
    let (qdiscs, names) = both(&Host::Live)?;
    let is = |qdisc: &Qdisc| {
        let name = names.get(&qdisc.index).map(|name| text::printable(name));
        name.is_some_and(|name| path(&name, qdisc.handle) == wanted)
    };
    qdiscs.into_iter().find(is).ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn both(host: &Host) -> io::Result<(Vec<Qdisc>, super::Names)> {
    let names = link::names(host)?;
    // A recording keeps the statistics that were read with the limits before.
    let (mut qdiscs, _) = all(&mut client(host.untaped()))?;
    qdiscs.retain(|qdisc| qdisc.handle != 0);
    Ok((qdiscs, names))
}

fn place(qdisc: &Qdisc) -> Option<Where> {
    KINDS.iter().find(|(kind, _)| *kind == qdisc.kind).map(|(_, place)| *place)
}

fn limit(qdisc: &Qdisc) -> Option<u64> {
    let attribute = |wanted| attributes(&qdisc.options).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    match place(qdisc)? {
        Where::At(at) => narrow(&qdisc.options, at),
        Where::Attribute(kind) => narrow(attribute(kind)?, 0),
        Where::Within(kind, at) => narrow(attribute(kind)?, at),
    }
}

/// The options that set this limit.
fn with_limit(qdisc: &Qdisc, limit: u32) -> Option<Vec<u8>> {
    let mut options = Vec::new();
    match place(qdisc)? {
        Where::At(_) => options.extend(limit.to_ne_bytes()),
        Where::Attribute(kind) => push(&mut options, kind, &limit.to_ne_bytes()),
        Where::Within(wanted, at) => {
            let (_, value) = attributes(&qdisc.options).find(|(kind, _)| *kind == wanted)?;
            let mut value = value.to_vec();
            value.get_mut(at..at + 4)?.copy_from_slice(&limit.to_ne_bytes());
            push(&mut options, wanted, &value);
        }
    }
    Some(options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::genl::attribute;

    #[test]
    fn a_shaper_keeps_its_rate() {
        let mut parameters: Vec<u8> = (0..36).collect();
        let qdisc = Qdisc { kind: b"tbf".to_vec(), options: attribute(1, &parameters), ..Qdisc::default() };
        let changed = with_limit(&qdisc, 7).unwrap();
        parameters[24..28].copy_from_slice(&7_u32.to_ne_bytes());
        assert_eq!(changed, attribute(1, &parameters));
        assert_eq!(limit(&Qdisc { options: changed, ..qdisc }), Some(7));
    }

    #[test]
    fn of_what_is_cut_off_nothing_is_set() {
        let qdisc = Qdisc { kind: b"tbf".to_vec(), options: attribute(1, &[0; 25]), ..Qdisc::default() };
        assert_eq!((limit(&qdisc), with_limit(&qdisc, 7)), (None, None));
    }
}
