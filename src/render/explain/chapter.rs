//! The chapters of the stages: headings, paragraphs and lists in a small part of Markdown, for the screen and for man pages.

use anstream::adapter::strip_str;
use anstyle::Style;

use super::super::path::{BOLD, COMMAND, DIM};
use super::WIDTH;

/// A part of a chapter.
#[derive(Debug, PartialEq)]
pub enum Block<'a> {
    /// `# Heading`.
    Heading(&'a str),
    /// Running text.
    Paragraph(String),
    /// A member of a list.
    Item(String),
}

/// The parts of a chapter, in order.
pub fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    // A line that begins nothing goes on with what the line before it began.
    let mut goes_on = false;
    for line in text.lines() {
        let line = line.trim();
        if let Some(heading) = line.strip_prefix("# ") {
            blocks.push(Block::Heading(heading));
        } else if let Some(item) = line.strip_prefix("- ") {
            blocks.push(Block::Item(item.to_owned()));
            goes_on = true;
            continue;
        } else if !line.is_empty() {
            match blocks.last_mut() {
                Some(Block::Paragraph(text) | Block::Item(text)) if goes_on => {
                    text.push(' ');
                    text.push_str(line);
                }
                _ => blocks.push(Block::Paragraph(line.to_owned())),
            }
            goes_on = true;
            continue;
        }
        goes_on = false;
    }
    blocks
}

/// Members of a chapter's lists that speak of `name`, and the heading that they stand under.
pub fn about<'a>(chapter: &'a str, name: &str) -> Vec<(&'a str, String)> {
    let mut heading = "";
    let mut found = Vec::new();
    for block in blocks(chapter) {
        match block {
            Block::Heading(text) => heading = text,
            Block::Item(text) if speaks_of(&text, name) => found.push((heading, text)),
            _ => {}
        }
    }
    found
}

/// Whether `name` stands in the text by itself, and not within a longer name.
fn speaks_of(text: &str, name: &str) -> bool {
    let in_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + name.len()..]);
        !before.ends_with(in_name) && !after.starts_with(in_name)
    })
}

/// Text without its marks, and whether each part of it is a name: of a function, a counter, a file.
pub fn spans(text: &str) -> impl Iterator<Item = (&str, bool)> {
    text.split('`').enumerate().map(|(n, part)| (part, n % 2 == 1)).filter(|(part, _)| !part.is_empty())
}

/// A chapter as it is shown on a screen.
pub fn show(out: &mut String, text: &str) {
    let blocks = blocks(text);
    let mut last: Option<&Block> = None;
    for block in &blocks {
        // Members of a list stand close together, and close to their heading.
        let close = matches!((last, block), (Some(Block::Item(_) | Block::Heading(_)), Block::Item(_)))
            || matches!((last, block), (Some(Block::Heading(_)), Block::Paragraph(_)));
        if !close {
            out.push('\n');
        }
        match block {
            Block::Heading(heading) => out.push_str(&format!("{BOLD}{heading}{BOLD:#}\n")),
            Block::Paragraph(text) => lines(out, "  ", "  ", text),
            Block::Item(text) => item(out, text),
        }
        last = Some(block);
    }
}

/// A member of a list.
pub fn item(out: &mut String, text: &str) {
    lines(out, "  · ", "    ", text);
}

/// Text broken at the right edge, with names coloured; `first` stands before the first line, `rest` before the others.
pub fn lines(out: &mut String, first: &str, rest: &str, text: &str) {
    let mut column = width_of(first);
    out.push_str(first);
    let mut is_code = false;
    let mut at_start = true;
    for word in text.split_whitespace() {
        let width = width_of(word) - word.matches('`').count();
        if !at_start && column + 1 + width > WIDTH {
            out.push('\n');
            out.push_str(rest);
            column = width_of(rest);
        } else if !at_start {
            out.push(' ');
            column += 1;
        }
        at_start = false;
        column += width;
        // A name that goes over blanks is coloured word by word, so that no line ends within a colour.
        let plain = if is_path(word) { DIM } else { Style::new() };
        for (n, part) in word.split('`').enumerate() {
            is_code ^= n > 0;
            let style = if is_code { COMMAND } else { plain };
            if !part.is_empty() {
                out.push_str(&format!("{style}{part}{style:#}"));
            }
        }
    }
    out.push('\n');
}

/// Columns that the text takes, colours not counted.
fn width_of(text: &str) -> usize {
    strip_str(text).map(|part| part.chars().count()).sum()
}

/// A file of the kernel's source.
fn is_path(word: &str) -> bool {
    let word = word.trim_end_matches([':', ',', ';', ')', '.']);
    word.contains('/') && (word.ends_with(".c") || word.ends_with(".h"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chapter_is_taken_apart() {
        let text = "# One\n\n- `a()` x/y.c: first\n  goes on\n- second\n\nRunning\ntext.\n# Two\n";
        let expected = vec![
            Block::Heading("One"),
            Block::Item("`a()` x/y.c: first goes on".into()),
            Block::Item("second".into()),
            Block::Paragraph("Running text.".into()),
            Block::Heading("Two"),
        ];
        assert_eq!(blocks(text), expected);
    }

    #[test]
    fn a_name_is_found_only_by_itself() {
        let chapter = "# Heading\n- `Udp.InErrors`: this one\n- `Udp.InErrorsToo`: another\n";
        assert_eq!(about(chapter, "Udp.InErrors"), [("Heading", "`Udp.InErrors`: this one".to_owned())]);
    }

    #[test]
    fn lines_fit_and_carry_no_marks() {
        let mut out = String::new();
        lines(&mut out, "  · ", "    ", &"`net_rx_action()` net/core/dev.c: takes packets. ".repeat(9));
        let plain = strip_str(&out).to_string();
        assert!(plain.lines().all(|line| line.chars().count() <= WIDTH), "{plain}");
        assert!(!plain.contains('`') && plain.lines().skip(1).all(|line| line.starts_with("    ")));
    }
}
