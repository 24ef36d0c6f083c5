//! Netlink answers in a recorded tree: where they lie, and how they are replayed.

use std::io;

use super::{Client, Dumped, Host, Request, messages};

/// A recorded answer longer than this is not read: a million sockets take 140 MB.
const LONGEST: usize = 256 << 20;

impl Client<'_> {
    /// Where the answer to the first question of this name lies in a recorded tree.
    fn path(&self, request: &Request) -> String {
        format!(".netlink/{}/{}.bin", self.family.folder(), request.name)
    }

    /// Where that to another one lies.
    fn own_path(&self, request: &Request) -> String {
        format!(".netlink/{}/{}.{:016x}.bin", self.family.folder(), request.name, request.fingerprint())
    }

    /// Where the answer is to be kept, if it is.
    pub(super) fn kept_at(&self, request: &Request) -> Option<String> {
        let Host::Taped(tape) = self.host else { return None };
        let path = self.path(request);
        Some(if tape.is_first(&path, request.fingerprint()) { path } else { self.own_path(request) })
    }

    pub(super) fn replay(&mut self, request: &Request, each: impl FnMut(&[u8]) -> bool) -> io::Result<Dumped> {
        let mut dumped = Dumped::default();
        match self.host.read_up_to(LONGEST, &self.own_path(request), &mut self.buffer) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.host.read_up_to(LONGEST, &self.path(request), &mut self.buffer)?;
            }
            read => read?,
        }
        // One that was cut off where a message ends lacks the end.
        if !messages(&self.buffer, None, &mut dumped, each)? && dumped.bad == 0 {
            dumped.bad = 1;
        }
        Ok(dumped)
    }
}

impl Request {
    /// Tells questions of one name apart: FNV-1a over the payload. The type is left out, for generic netlink numbers its
    /// families anew at every boot.
    fn fingerprint(&self) -> u64 {
        self.payload
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Family;
    use super::*;

    #[test]
    fn two_questions_of_one_name_are_recorded_and_replayed_apart() {
        /// RTM_GETLINK, with IFLA_EXT_MASK RTEXT_FILTER_SKIP_STATS in the second.
        const GETLINK: u16 = 18;
        let plain = Request { name: "getlink", kind: GETLINK, payload: vec![0; 16] };
        let mut short = plain.clone();
        short.payload.extend([8, 0, 29, 0, 8, 0, 0, 0]);
        let length = |host: &Host, request: &Request| {
            let mut bytes = 0;
            let count = |bytes: &mut usize, payload: &[u8]| {
                *bytes += payload.len();
                true
            };
            Client::new(host, Family::Route).dump(request, &mut bytes, |bytes| *bytes = 0, count).unwrap();
            bytes
        };
        let folder = tempfile::tempdir().unwrap();
        for order in [[&plain, &short], [&short, &plain]] {
            let tape = std::sync::Arc::new(crate::source::tape::Tape::default());
            let live = order.map(|request| length(&Host::Taped(tape.clone()), request));
            assert_ne!(live[0], live[1]);
            let path = folder.path().join(live[0].to_string());
            crate::source::bundle::Bundle::new(&path).unwrap().write(&[("", &tape.take())]).unwrap();
            let again = Host::recorded(&path).unwrap().remove(0);
            assert_eq!(order.map(|request| length(&again, request)), live);
        }
    }
}
