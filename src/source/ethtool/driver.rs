//! Driver statistics: what `ethtool -S` and `ethtool -i` show. Names and numbers are each driver's own; only the ioctl
//! tells them, no netlink message does.
//!
//! A recorded tree keeps them in `.ethtool/DEVICE.bin`: struct ethtool_drvinfo, struct ethtool_gstrings and struct
//! ethtool_stats, one after the other, as the kernel filled them. In DEVICE, bytes that do not print are written `\xNN`.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::source::{Host, text};

// include/uapi/linux/ethtool.h
const ETHTOOL_GDRVINFO: u32 = 0x3;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSTATS: u32 = 0x1d;
const ETH_SS_STATS: u32 = 1;
/// struct ethtool_drvinfo: command, five strings of 32 bytes, 12 reserved bytes, five numbers.
const DRVINFO: usize = 196;
/// Of the strings: fw_version and erom_version. bus_info stands between them, by which the card's interrupts are found.
const FIRMWARE: [std::ops::Range<usize>; 2] = [68..100, 132..164];
const DRIVER: usize = 4;
const BUS: usize = 100;
const N_STATS: usize = 180;
/// struct ethtool_gstrings: command, set, number of strings.
const GSTRINGS: usize = 12;
const NAME: usize = 32;
/// struct ethtool_stats: command, number of values.
const STATS: usize = 8;
const VALUE: usize = 8;

/// Room for 131,000 names: the kernel fills in as many as the driver has by now, however few it said it had.
const ROOM: usize = 4 << 20;
const PAGE: usize = 64 << 10;

/// What a driver tells of a device.
#[derive(Debug, Default, PartialEq)]
pub struct Driver<'a> {
    /// Its name, as of a module.
    pub name: &'a [u8],
    /// The device's place on its bus: `0000:00:03.0`.
    pub bus: &'a [u8],
    /// Its statistics in the driver's order. Names may be empty, stand twice, or be no text.
    pub statistics: Vec<(&'a [u8], u64)>,
}

/// Asks about one device after the other.
pub struct Asker<'h> {
    host: &'h Host,
    live: Option<Caller>,
}

impl<'h> Asker<'h> {
    /// One that asks the live kernel, or reads the recording.
    pub fn new(host: &'h Host) -> io::Result<Self> {
        let live = if host.is_recorded() { None } else { Some(Caller::new()?) };
        Ok(Asker { host, live })
    }

    /// The three structures of this device; only the first if its driver has no statistics.
    pub fn ask(&mut self, device: &[u8]) -> io::Result<Vec<u8>> {
        let live = &mut self.live;
        self.host.answer(&format!(".ethtool/{}.bin", text::printable(device)), || {
            let caller = live.as_mut().ok_or(io::ErrorKind::NotFound)?;
            let mut bytes = caller.call(device, &[ETHTOOL_GDRVINFO], |_| DRVINFO)?.to_vec();
            let count = number(&bytes, N_STATS).unwrap_or(0);
            if count == 0 {
                return Ok(bytes);
            }
            let strings = |head: &[u8]| GSTRINGS + count_at(head, 8) * NAME;
            bytes.extend(caller.call(device, &[ETHTOOL_GSTRINGS, ETH_SS_STATS, count], strings)?);
            bytes.extend(caller.call(device, &[ETHTOOL_GSTATS, count], |head| STATS + count_at(head, 4) * VALUE)?);
            Ok(bytes)
        })
    }
}

/// An answer without what tells of the very card: its firmware.
pub fn without_firmware(answer: &[u8]) -> Vec<u8> {
    let mut bytes = answer.to_vec();
    for range in FIRMWARE {
        if let Some(own) = bytes.get_mut(range) {
            own.fill(0);
        }
    }
    bytes
}

/// The ioctl SIOCETHTOOL, with room for its answer.
pub(super) struct Caller {
    socket: OwnedFd,
    room: Room,
}

impl Caller {
    pub(super) fn new() -> io::Result<Self> {
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        Ok(Caller { socket, room: Room::new()? })
    }

    /// `head` is what the structure begins with. `length` tells from the answer how long it is.
    pub(super) fn call(&mut self, device: &[u8], head: &[u32], length: impl Fn(&[u8]) -> usize) -> io::Result<&[u8]> {
        self.room.call(&self.socket, device, head, length)
    }
}

/// Memory that the kernel may write to. It trusts the caller to have room for all names (net/ethtool/ioctl.c
/// ethtool_get_strings()), and a driver may have got more of them since it was asked how many: so what lies behind can't
/// be written to, and the call fails instead.
struct Room(ptr::NonNull<u8>);

impl Room {
    fn new() -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at no place in particular; it overlaps nothing.
        let start = unsafe { libc::mmap(ptr::null_mut(), ROOM + PAGE, libc::PROT_NONE, flags, -1, 0) };
        let start = ptr::NonNull::new(start.cast()).filter(|_| start != libc::MAP_FAILED);
        let room = Room(start.ok_or_else(io::Error::last_os_error)?);
        // SAFETY: the first ROOM bytes of the mapping that was just made.
        let result = unsafe { libc::mprotect(room.0.as_ptr().cast(), ROOM, libc::PROT_READ | libc::PROT_WRITE) };
        if result == 0 { Ok(room) } else { Err(io::Error::last_os_error()) }
    }

    fn call(
        &mut self,
        socket: &OwnedFd,
        device: &[u8],
        head: &[u32],
        length: impl Fn(&[u8]) -> usize,
    ) -> io::Result<&[u8]> {
        // SAFETY: the mapping is ours alone, ROOM bytes of it can be read and written, and it lives as long as `self`.
        let bytes = unsafe { std::slice::from_raw_parts_mut(self.0.as_ptr(), ROOM) };
        bytes[..DRVINFO].fill(0);
        for (place, word) in bytes.chunks_exact_mut(4).zip(head) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        // SAFETY: all zeros is a valid ifreq.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        if device.len() >= request.ifr_name.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for (place, byte) in request.ifr_name.iter_mut().zip(device) {
            *place = *byte as libc::c_char;
        }
        request.ifr_ifru.ifru_data = self.0.as_ptr().cast();
        // SAFETY: `request` lives through the call. What it points to has ROOM bytes, and behind them no page that could
        // be written.
        if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: as above; the kernel is done with it.
        let bytes = unsafe { std::slice::from_raw_parts(self.0.as_ptr(), ROOM) };
        bytes.get(..length(bytes)).ok_or_else(|| io::Error::other("the kernel filled in more than there is room for"))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // SAFETY: the mapping that new() made, with nothing left that refers to it.
        unsafe { libc::munmap(self.0.as_ptr().cast(), ROOM + PAGE) };
    }
}

/// Takes the three structures apart. What does not fit in is left out.
pub fn parse(bytes: &[u8]) -> Option<Driver<'_>> {
    let (info, rest) = bytes.split_at_checked(DRVINFO)?;
    let [name, bus] = [DRIVER, BUS].map(|at| string(&info[at..at + NAME]));
    let statistics = if rest.is_empty() { Vec::new() } else { statistics(rest)? };
    Some(Driver { name, bus, statistics })
}

fn statistics(bytes: &[u8]) -> Option<Vec<(&[u8], u64)>> {
    let (head, bytes) = bytes.split_at_checked(GSTRINGS)?;
    let names = bytes.get(..count_at(head, 8).checked_mul(NAME)?)?;
    let (head, values) = bytes[names.len()..].split_at_checked(STATS)?;
    let values = values.chunks_exact(VALUE).take(count_at(head, 4));
    let value = |value: &[u8]| value.try_into().map(u64::from_ne_bytes).ok();
    Some(names.chunks_exact(NAME).map(string).zip(values.map_while(value)).collect())
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn count_at(bytes: &[u8], at: usize) -> usize {
    number(bytes, at).unwrap_or(0) as usize
}

/// Up to the zero that ends it; a name of 32 bytes has none.
fn string(bytes: &[u8]) -> &[u8] {
    bytes.split(|&b| b == 0).next().unwrap_or_default()
}

/// The three structures as a driver would give them.
#[cfg(test)]
pub fn structures(driver: &str, statistics: &[(&[u8], u64)]) -> Vec<u8> {
    let fixed = |text: &[u8]| {
        let mut bytes = text.to_vec();
        bytes.resize(NAME, 0);
        bytes
    };
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
    let count = u32::try_from(statistics.len()).unwrap_or(u32::MAX);
    let mut bytes = words(&[ETHTOOL_GDRVINFO]);
    bytes.extend(fixed(driver.as_bytes()));
    bytes.resize(N_STATS, 0);
    bytes.extend(words(&[count]));
    bytes.resize(DRVINFO, 0);
    bytes.extend(words(&[ETHTOOL_GSTRINGS, ETH_SS_STATS, count]));
    bytes.extend(statistics.iter().flat_map(|(name, _)| fixed(name)));
    bytes.extend(words(&[ETHTOOL_GSTATS, count]));
    bytes.extend(statistics.iter().flat_map(|(_, value)| value.to_ne_bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_filled_in_is_read_back() {
        let names: [(&[u8], u64); 4] = [(b"rx_drops", 7), (b"", 1), (&[0xff; 32], u64::MAX), (b"rx_drops", 9)];
        let bytes = structures("igb", &names);
        assert_eq!(parse(&bytes), Some(Driver { name: b"igb", bus: b"", statistics: names.to_vec() }));
    }

    #[test]
    fn fewer_values_than_names_leave_the_last_names_out() {
        let mut bytes = structures("igb", &[(b"a", 1), (b"b", 2)]);
        bytes.truncate(bytes.len() - 3);
        assert_eq!(parse(&bytes).unwrap().statistics, [(&b"a"[..], 1)]);
    }

    #[test]
    fn a_driver_without_statistics_still_has_a_name() {
        let bytes = structures("igb", &[]);
        assert_eq!(parse(&bytes[..DRVINFO]), Some(Driver { name: b"igb", ..Driver::default() }));
    }

    #[test]
    fn more_names_than_bytes_are_none() {
        let mut bytes = structures("igb", &[(b"a", 1)]);
        bytes[DRVINFO + 8..DRVINFO + 12].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(parse(&bytes), None);
    }

    #[test]
    fn the_kernel_is_asked_about_any_device_and_answers_or_not() {
        let mut asker = Asker::new(&Host::Live).unwrap();
        for device in [&b"no_such_device"[..], &[0xff; 15], &[b'x'; 40]] {
            assert!(asker.ask(device).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
        }
    }
}
