//! Whose datagrams were dropped, on kernels where the hook of dropped packets does not carry the receiving socket (before
//! 6.11): the hook of refused datagrams does, net/ipv4/udp.c __udp_queue_rcv_skb().

use crate::model::{Drop, Incident, Victim};

const HOOK: &str = "udp_fail_queue_rcv_skb";
/// The drop's reason, and the error with which the socket refuses (net/ipv4/udp.c __udp_enqueue_schedule_skb()).
const REFUSALS: [(&str, i32); 2] = [("SOCKET_RCVBUFF", -libc::ENOMEM), ("PROTO_MEM", -libc::ENOBUFS)];

/// Gives each row that knows no socket those that the hook knows, as far as it is certain that they belong to it.
pub fn from_hook(drops: &mut [Drop], incidents: &[Incident]) {
    for (reason, error) in REFUSALS {
        let is_ours = |drop: &&mut Drop| drop.is_for(reason) && drop.protocol.as_deref() == Some("udp");
        let rows: Vec<&mut Drop> = drops.iter_mut().filter(is_ours).collect();
        let in_same = rows.iter().map(|row| row.netns.clone()).collect::<Vec<_>>();
        for row in rows.into_iter().filter(|row| row.victims.is_empty() && row.netns.is_some()) {
            let at = |incident: &&Incident| {
                incident.hook == HOOK && incident.code == Some(error) && incident.netns == row.netns
            };
            let victims: Vec<&Victim> = incidents.iter().filter(at).filter_map(|it| it.victim.as_ref()).collect();
            let alone = in_same.iter().filter(|netns| **netns == row.netns).count() == 1;
            // Rows differ by device or protocol, which the hook does not tell.
            row.victims = match victims[..] {
                [one] => vec![Victim { lost: row.count, ..one.clone() }],
                _ if alone => victims.into_iter().cloned().collect(),
                _ => Vec::new(),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "net:[1]";

    fn row(device: &str, count: u64) -> Drop {
        Drop { device: Some(device.into()), netns: Some(HERE.into()), ..Drop::example("SOCKET_RCVBUFF", count) }
    }

    fn refused(inode: u32, error: i32, netns: &str, count: u64) -> Incident {
        let victim = Some(Victim { inode, lost: count, ..Victim::default() });
        Incident { code: Some(-error), netns: Some(netns.into()), victim, ..Incident::example(HOOK, count) }
    }

    fn victims(rows: &mut [Drop], incidents: &[Incident]) -> Vec<Vec<(u32, u64)>> {
        from_hook(rows, incidents);
        rows.iter().map(|row| row.victims.iter().map(|victim| (victim.inode, victim.lost)).collect()).collect()
    }

    #[test]
    fn a_row_alone_has_all_sockets() {
        let elsewhere = [refused(3, libc::ENOMEM, "net:[2]", 9), refused(4, libc::ENOBUFS, HERE, 9)];
        let here = [refused(1, libc::ENOMEM, HERE, 5), refused(2, libc::ENOMEM, HERE, 2)];
        let all = [here, elsewhere].concat();
        assert_eq!(victims(&mut [row("a", 7)], &all), [[(1, 5), (2, 2)]]);
    }

    #[test]
    fn a_socket_alone_has_all_rows() {
        let found = victims(&mut [row("a", 4), row("b", 3)], &[refused(1, libc::ENOMEM, HERE, 7)]);
        assert_eq!(found, [[(1, 4)], [(1, 3)]]);
    }

    #[test]
    fn what_is_not_certain_is_not_said() {
        let two = [refused(1, libc::ENOMEM, HERE, 5), refused(2, libc::ENOMEM, HERE, 2)];
        assert!(victims(&mut [row("a", 4), row("b", 3)], &two).concat().is_empty());
        let mut known = row("a", 7);
        known.victims.push(Victim { inode: 8, lost: 7, ..Victim::default() });
        assert_eq!(victims(&mut [known], &two), [[(8, 7)]]);
    }
}
