//! A reader of OpenMetrics text that takes nothing on trust: <https://prometheus.io/docs/specs/om/open_metrics_spec/>.

use std::collections::{BTreeMap, BTreeSet};

/// One value with its labels.
#[derive(Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Sample {
    /// The value as a count: whole, and small enough to be exact.
    pub fn number(&self) -> u64 {
        assert!(self.value >= 0.0 && self.value < 2_f64.powi(53) && self.value.fract() == 0.0, "{self:?}");
        self.value as u64
    }
}

/// All samples of a text that must be flawless. The first flaw is the error.
pub fn check(text: &str) -> Result<Vec<Sample>, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("does not end with # EOF")?;
    let mut families: BTreeMap<String, String> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut samples = Vec::new();
    // The family that is being told, its type, and whether it has a help text.
    let mut now: Option<(String, String, bool)> = None;
    for line in body.lines() {
        let flaw = |what: &str| format!("{what}: {line}");
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (family, kind) = rest.split_once(' ').ok_or_else(|| flaw("no type"))?;
            if !is_name(family) || !["counter", "gauge", "info"].contains(&kind) {
                return Err(flaw("bad name or type"));
            }
            if now.is_some_and(|(.., helped)| !helped) {
                return Err(flaw("no help for the family before"));
            }
            if families.insert(family.into(), kind.into()).is_some() {
                return Err(flaw("a family twice"));
            }
            now = Some((family.into(), kind.into(), false));
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (family, help) = rest.split_once(' ').ok_or_else(|| flaw("no help"))?;
            match &mut now {
                Some((name, _, helped)) if name == family && !*helped && !help.is_empty() => *helped = true,
                _ => return Err(flaw("help at the wrong place")),
            }
        } else {
            let sample = sample(line).ok_or_else(|| flaw("no sample"))?;
            let Some((family, kind, true)) = &now else { return Err(flaw("a sample before TYPE and HELP")) };
            let suffix = sample.name.strip_prefix(family.as_str()).ok_or_else(|| flaw("of another family"))?;
            if suffix != (if kind == "counter" { "_total" } else { "" }) {
                return Err(flaw("the wrong ending for its type"));
            }
            if kind == "counter" && (sample.value.is_nan() || sample.value < 0.0) {
                return Err(flaw("no count"));
            }
            if !seen.insert((sample.name.clone(), sample.labels.clone())) {
                return Err(flaw("a sample twice"));
            }
            samples.push(sample);
        }
    }
    let clash =
        families.iter().find(|(name, kind)| *kind == "counter" && families.contains_key(&format!("{name}_total")));
    clash.map_or(Ok(samples), |(name, _)| Err(format!("{name}_total is a counter's sample and a family")))
}

/// All samples of what the program printed.
pub fn checked(text: &str) -> Vec<Sample> {
    check(text).unwrap_or_else(|flaw| panic!("{flaw}"))
}

/// The samples of somebody else's text.
pub fn samples(text: &str) -> Vec<Sample> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| sample(line).expect(line)).collect()
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase() || "_:".contains(c))
        && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c))
}

/// `name{label="value",...} number`
fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (key, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            let is_key = is_name(key) && !key.contains(':');
            if !is_key || labels.insert(key.into(), value).is_some() {
                return None;
            }
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ')?.parse().ok()?;
    // Our own names have small letters only; those of others need not.
    name.chars().all(|c| c.is_ascii_alphanumeric() || "_:".contains(c)).then(|| Sample {
        name: name.into(),
        labels,
        value,
    })
}

/// Up to the closing quote: `\\`, `\"` and `\n` are the only escapes that there are.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            }),
            c if c.is_control() => return None,
            c => value.push(c),
        }
    }
    None
}

#[test]
fn the_checker_finds_every_flaw() {
    let head = "# TYPE a counter\n# HELP a x\n";
    assert_eq!(check(&format!("{head}a_total{{l=\"v\\\"\\n\"}} 1\n# EOF\n")).unwrap()[0].labels["l"], "v\"\n");
    for bad in [
        format!("{head}a_total 1\n"),
        format!("{head}a 1\n# EOF\n"),
        format!("{head}b_total 1\n# EOF\n"),
        format!("{head}a_total -1\n# EOF\n"),
        format!("{head}a_total{{l=\"\x1b\"}} 1\n# EOF\n"),
        format!("{head}a_total{{l=\"v}} 1\n# EOF\n"),
        format!("{head}a_total{{l=\"\\q\"}} 1\n# EOF\n"),
        format!("{head}a_total 1\na_total 2\n# EOF\n"),
        format!("{head}a_total 1\n{head}# EOF\n"),
        format!("{head}# TYPE a_total gauge\n# HELP a_total x\na_total 1\n# EOF\n"),
        "a_total 1\n# EOF\n".into(),
        "# TYPE a counter\na_total 1\n# EOF\n".into(),
        "# TYPE A counter\n# HELP A x\nA_total 1\n# EOF\n".into(),
        "# TYPE a gauge\n# HELP a x\na_total 1\n# EOF\n".into(),
    ] {
        assert!(check(&bad).is_err(), "{bad}");
    }
}
