//! What failed, and what to do about it.

/// An error that ends the run: one line for what failed, one for what to do, and the exit code.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Error {
    what: String,
    hint: Option<String>,
    code: u8,
}

/// `--check` found something at or above its severity.
pub const EXIT_FOUND: u8 = 1;
/// Usage or input error.
pub const EXIT_USAGE: u8 = 2;
/// A privilege or kernel feature is missing that was asked for explicitly.
pub const EXIT_MISSING: u8 = 3;
/// A change failed, or did not help, and was taken back.
pub const EXIT_ROLLED_BACK: u8 = 4;
/// A change could not be taken back wholly; the journal still holds it.
pub const EXIT_INCOMPLETE: u8 = 5;
/// Interrupted, after printing what there was.
pub const EXIT_INTERRUPTED: u8 = 130;

impl Error {
    /// The user asked for something that can't be: unknown name, malformed file.
    pub fn usage(what: impl Into<String>) -> Self {
        Error { what: what.into(), hint: None, code: EXIT_USAGE }
    }

    /// A privilege or kernel feature is missing that was asked for.
    pub fn missing(what: impl Into<String>) -> Self {
        Error { what: what.into(), hint: None, code: EXIT_MISSING }
    }

    /// A change failed and was taken back.
    pub fn rolled_back(what: impl Into<String>) -> Self {
        Error { what: what.into(), hint: None, code: EXIT_ROLLED_BACK }
    }

    /// A change could not be taken back wholly.
    pub fn incomplete(what: impl Into<String>) -> Self {
        Error { what: what.into(), hint: None, code: EXIT_INCOMPLETE }
    }

    /// What was to be shown could not be written. A reader that went away (a closed pipe) is no error.
    pub fn output(error: std::io::Error) -> Self {
        let code = if error.kind() == std::io::ErrorKind::BrokenPipe { 0 } else { EXIT_USAGE };
        Error { what: format!("the report can't be written: {error}"), hint: None, code }
    }

    /// A device that is none of those that there are.
    pub fn no_device(wrong: &str, mut there: Vec<String>) -> Self {
        let near = near_misses(wrong, there.iter().cloned());
        there.truncate(8);
        let there = if near.is_empty() { there } else { near };
        let hint =
            if there.is_empty() { "no device could be read".into() } else { format!("there is {}", there.join(", ")) };
        Error::usage(format!("there is no device '{wrong}' here")).hint(hint)
    }

    /// What to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The line for what to do.
    pub fn what_to_do(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        self.code
    }
}

/// The most alike of `names` to a `wrong` one, for "did you mean": at most three, none that differ in more than a third; or,
/// if there is none, the shortest that hold it.
pub fn near_misses(wrong: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    /// A shorter word is in everything.
    const WORD: usize = 3;
    let lower = wrong.to_lowercase();
    let mut near: Vec<(usize, String)> = Vec::new();
    let mut holding: Vec<(usize, String)> = Vec::new();
    for name in names {
        let (distance, length) = (distance(&lower, &name.to_lowercase()), name.chars().count());
        if distance * 3 <= length.max(3) {
            near.push((distance, name));
        } else if lower.chars().count() >= WORD && name.to_lowercase().contains(&lower) {
            holding.push((length, name));
        }
    }
    let mut best = if near.is_empty() { holding } else { near };
    best.sort();
    best.dedup();
    best.into_iter().take(3).map(|(_, name)| name).collect()
}

/// What to do about a `wrong` name: the most alike of `names`, or `otherwise` if none is.
pub fn did_you_mean(wrong: &str, names: impl Iterator<Item = String>, otherwise: &str) -> String {
    match near_misses(wrong, names) {
        near if near.is_empty() => otherwise.into(),
        near => format!("did you mean {}?", near.join(" or ")),
    }
}

/// Edits (insert, delete, replace) that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replace = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_finds_its_neighbours() {
        let names = ["udp-receive-buffer-overflow", "backlog-overflow", "Udp.RcvbufErrors"].map(String::from);
        assert_eq!(near_misses("backlog-overflo", names.clone().into_iter()), ["backlog-overflow"]);
        assert_eq!(near_misses("udp.rcvbuferors", names.clone().into_iter()), ["Udp.RcvbufErrors"]);
        assert_eq!(near_misses("rcvbuf", names.clone().into_iter()), ["Udp.RcvbufErrors"]);
        assert_eq!(near_misses("overflow", names.clone().into_iter())[0], "backlog-overflow");
        assert!(near_misses("zzzzzzz", names.into_iter()).is_empty());
    }
}
