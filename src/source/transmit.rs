//! The transmit queues of network cards, which only sysfs tells of: how often each was reset because nothing was sent any
//! more, and what byte queue limits (BQL) let wait in it. A file for each value: read for the send path alone.

use std::io;

use super::Host;
use super::groups::{BQL, TX_QUEUE};
use super::netlink::Dumped;
use super::settings::Trees;
use super::sheet::{Owner, Rows};
use crate::model::{Tree, numbers};

/// Files of a queue.
static QUEUE_FILES: [&str; 1] = ["tx_timeout"];
/// Files of its limits. Not there without BQL in the kernel or, of late, for drivers that do not use it
/// (net/core/net-sysfs.c netdev_uses_bql()); the last two since 6.9.
static LIMIT_FILES: [&str; 4] = ["limit", "inflight", "stall_cnt", "stall_max"];

/// The queues of these devices, of the calling thread's network namespace.
pub fn read(host: &Host, devices: &[Vec<u8>]) -> io::Result<(Vec<Rows>, Dumped)> {
    let mut trees = Trees::new(host);
    let (mut queues, mut limits) = (Rows::new(&TX_QUEUE, &QUEUE_FILES), Rows::new(&BQL, &LIMIT_FILES));
    let mut failed = None;
    for device in devices {
        // One that is no text has no path here.
        let Ok(name) = std::str::from_utf8(device) else { continue };
        let folder = format!("class/net/{name}/queues");
        let names = match trees.names(Tree::Sysfs, &folder) {
            Ok(names) => names,
            // It may have gone meanwhile; the others are still there.
            Err(e) => {
                failed = Some(e);
                continue;
            }
        };
        let mut numbers: Vec<u32> = names.iter().filter_map(|name| number(name)).collect();
        numbers.sort_unstable();
        for number in numbers {
            let mut row = |rows: &mut Rows, folder: String| {
                let cells: Vec<Option<u64>> = rows.columns.iter().map(|file| trees.number(&folder, file)).collect();
                if cells.iter().any(Option::is_some) {
                    rows.rows.push((Owner::TxQueue(device.clone(), number), cells));
                }
            };
            row(&mut queues, format!("{folder}/tx-{number}"));
            row(&mut limits, format!("{folder}/tx-{number}/byte_queue_limits"));
        }
    }
    match failed {
        Some(e) if queues.rows.is_empty() => Err(e),
        _ => Ok((vec![queues, limits], Dumped::default())),
    }
}

/// The number of a transmit queue, by its name.
fn number(name: &str) -> Option<u32> {
    name.strip_prefix("tx-")?.parse().ok()
}

impl Trees<'_> {
    fn number(&mut self, folder: &str, file: &str) -> Option<u64> {
        match numbers(&self.value(Tree::Sysfs, &format!("{folder}/{file}"))?)?[..] {
            [number] => Some(number),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("proc")).unwrap();
        for (path, text) in files {
            let path = folder.path().join("sys/class/net").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let host = Host::recorded(folder.path()).unwrap().remove(0);
        (folder, host)
    }

    #[test]
    fn what_is_not_there_is_absent_and_not_zero() {
        let (_folder, host) = tree(&[
            ("eth0/queues/tx-10/tx_timeout", "3\n"),
            ("eth0/queues/tx-2/tx_timeout", "0\n"),
            ("eth0/queues/tx-2/byte_queue_limits/limit", "18446744073709551615\n"),
            ("eth0/queues/tx-2/byte_queue_limits/inflight", "no number\n"),
            ("eth0/queues/rx-0/rps_cpus", "0\n"),
        ]);
        let (rows, _) = read(&host, &[b"eth0".to_vec()]).unwrap();
        let queue = |number| Owner::TxQueue(b"eth0".to_vec(), number);
        assert_eq!(rows[0].rows, [(queue(2), vec![Some(0)]), (queue(10), vec![Some(3)])]);
        assert_eq!(rows[1].rows, [(queue(2), vec![Some(u64::MAX), None, None, None])]);
    }

    #[test]
    fn a_device_that_is_gone_costs_its_own_rows() {
        let (_folder, host) = tree(&[("eth0/queues/tx-0/tx_timeout", "3\n")]);
        let [here, gone] = [b"eth0".to_vec(), b"eth1".to_vec()];
        assert_eq!(read(&host, std::slice::from_ref(&gone)).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(read(&host, &[gone, here]).unwrap().0[0].rows.len(), 1);
        assert_eq!(read(&host, &[vec![0xff]]).unwrap().0[0].rows, []);
    }
}
