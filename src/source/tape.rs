//! What was read of the running kernel, kept as the recorded tree that replays it.
//!
//! The list of what a recording holds is the doors themselves: whatever is read through a [`Host`](super::Host) that tapes
//! is on the tape. It is kept in memory until the end: nothing is written while the host is being watched.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::place::{Place, identity};
use crate::model::Span;

/// Where [`Notes`] are in a recorded tree.
pub const NOTES: &str = ".recording.json";

/// One sample of a host: files by their path in a recorded tree, and when they were read.
#[derive(Debug, Default)]
pub struct Tape(Mutex<Reel>);

/// What is on a tape.
#[derive(Debug, Default)]
pub struct Reel {
    /// What each file held when it was last read.
    pub files: BTreeMap<String, Vec<u8>>,
    /// When that was.
    pub notes: Notes,
    /// Which question the file of each name answers.
    pub(super) questions: BTreeMap<String, u64>,
}

/// What a recording knows of itself besides what it holds. Every field may be missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notes {
    /// The version of the program that made it.
    pub tool_version: String,
    /// The end of the window: RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<String>,
    /// The network namespace, as the kernel writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns_name: Option<String>,
    /// What to write before a command so that it acts there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enter: Option<String>,
    /// Bytes of a page of its memory: limits of protocols are in pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_size: Option<u64>,
    /// True if addresses and names are replaced.
    pub redacted: bool,
    /// What is not in it, because it could have held addresses or names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// When its reading ended, in microseconds on a clock that both samples have in common.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// When each source was read: begin and end, in microseconds on that clock.
    pub read: BTreeMap<String, [u64; 2]>,
}

impl Tape {
    /// Keeps what the file at `path` held.
    pub fn keep(&self, path: &str, bytes: &[u8]) {
        self.reel().files.insert(path.to_owned(), bytes.to_owned());
    }

    /// Keeps another part of what is at `path`.
    pub fn keep_more(&self, path: &str, bytes: &[u8]) {
        self.reel().files.entry(path.to_owned()).or_default().extend_from_slice(bytes);
    }

    /// Whether the answer to this question is the one that is kept at `path`: that to the first asked there.
    pub fn is_first(&self, path: &str, fingerprint: u64) -> bool {
        *self.reel().questions.entry(path.to_owned()).or_insert(fingerprint) == fingerprint
    }

    /// Notes when a source was read. Returns that as the recording will tell it.
    pub fn note_span(&self, source: &str, span: Span) -> Span {
        let mut reel = self.reel();
        reel.notes.read.insert(source.to_owned(), [span.begin, span.end].map(microseconds));
        reel.notes.span(source)
    }

    /// Notes when the sample was complete. Returns that as the recording will tell it.
    pub fn note_end(&self, at: Duration) -> Option<Duration> {
        let at = microseconds(at);
        self.reel().notes.at = Some(at);
        Some(Duration::from_micros(at))
    }

    /// Notes when and where the sample was taken, which is in the namespace of the calling thread.
    pub fn note_place(&self, taken_at: String, place: &Place) {
        let notes = &mut self.reel().notes;
        notes.tool_version = env!("CARGO_PKG_VERSION").into();
        notes.taken_at = Some(taken_at);
        notes.page_size = Some(rustix::param::page_size() as u64);
        (notes.netns, _) = identity();
        (notes.netns_name, notes.enter) = (place.name.clone(), place.enter.clone());
    }

    /// What is on it; it is empty afterwards.
    pub fn take(&self) -> Reel {
        std::mem::take(&mut self.reel())
    }

    /// A thread that panicked while it kept something leaves what was kept before.
    fn reel(&self) -> MutexGuard<'_, Reel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notes {
    /// From the bytes of a recording. None if they make no sense.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// When a source was read. A recording that does not say so was not read at any time.
    pub fn span(&self, source: &str) -> Span {
        let [begin, end] = self.read.get(source).copied().unwrap_or_default().map(Duration::from_micros);
        Span { begin, end }
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn notes_are_read_as_they_were_written() {
        let tape = Tape::default();
        tape.note_span("proc/stat", Span { begin: Duration::from_micros(3), end: Duration::from_micros(9) });
        tape.note_end(Duration::from_micros(11));
        let notes = tape.take().notes;
        let read = Notes::parse(&serde_json::to_vec(&notes).unwrap()).unwrap();
        assert_eq!(read, notes);
        assert_eq!(
            (read.span("proc/stat").end, read.span("proc/nothing")),
            (Duration::from_micros(9), Span::default())
        );
    }

    #[test]
    fn notes_with_less_or_more_in_them_are_notes() {
        assert_eq!(Notes::parse(b"{\"new\": 1}"), Some(Notes::default()));
        assert_eq!(Notes::parse(b"{\"at\": -1}"), None);
    }

    proptest! {
        #[test]
        fn no_notes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Notes::parse(&bytes).map(|notes| notes.span(""));
        }
    }
}
