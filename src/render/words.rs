//! Numbers and paragraphs as people read them.

/// `41,241`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.char_indices() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `812 k`: three digits at most and a factor.
pub fn short(n: f64) -> String {
    for (limit, divisor, letter) in
        [(999.5, 1.0, ""), (999.5e3, 1e3, " k"), (999.5e6, 1e6, " M"), (f64::MAX, 1e9, " G")]
    {
        if n < limit {
            let value = n / divisor;
            return match value {
                v if v >= 99.95 || v == 0.0 || (letter.is_empty() && v.fract() == 0.0) => format!("{v:.0}{letter}"),
                v if v >= 9.995 => format!("{v:.1}{letter}"),
                v => format!("{v:.2}{letter}"),
            };
        }
    }
    "∞".into()
}

/// `0.8 MB`.
pub fn bytes(n: u64) -> String {
    let n = n as f64;
    match n {
        n if n < 1e3 => format!("{n:.0} B"),
        n if n < 1e6 => format!("{:.1} kB", n / 1e3),
        n if n < 1e9 => format!("{:.1} MB", n / 1e6),
        n => format!("{:.1} GB", n / 1e9),
    }
}

/// `5.1 %` of the whole.
pub fn share(part: u64, whole: u64) -> String {
    let percent = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    match percent {
        0.0 => "0 %".into(),
        p if p < 0.1 => "< 0.1 %".into(),
        p => format!("{p:.1} %"),
    }
}

/// `1.0 s`, `2 min 5 s`, `3 d 4 h`.
pub fn time(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// Breaks `text` into lines of at most `width` characters, at blanks. A longer word stands alone.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("never empty");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_right() {
        assert_eq!(
            [0, 7, 999, 1000, 41_241, 1_234_567].map(grouped),
            ["0", "7", "999", "1,000", "41,241", "1,234,567"]
        );
        assert_eq!(
            [0.0, 7.0, 812.4, 999.6, 41_241.0, 812_431.0, 2.5e6].map(short),
            ["0", "7", "812", "1.00 k", "41.2 k", "812 k", "2.50 M"]
        );
        assert_eq!(share(41_241, 812_431), "5.1 %");
        assert_eq!([share(0, 0), share(1, 1_000_000)], ["0 %", "< 0.1 %"]);
        assert_eq!([0.98, 125.0, 11_000.0, 300_000.0].map(time), ["1.0 s", "2 min 5 s", "3 h 3 min", "3 d 11 h"]);
    }

    #[test]
    fn paragraphs_are_broken_at_blanks() {
        assert_eq!(wrap("one two  three", 8), ["one two", "three"]);
        assert_eq!(wrap("a-word-longer-than-the-line b", 8), ["a-word-longer-than-the-line", "b"]);
    }
}
