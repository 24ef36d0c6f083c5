//! A live screen: each report takes the place of the one before. What was there comes back at the end, with the last
//! report below it.

use std::io::{self, IsTerminal, Write};

/// Another screen, and back (xterm's 1049); the cursor to its begin, and all after it away.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const CLEAR: &str = "\x1b[H\x1b[J";

/// The screen, while reports are shown on it.
pub struct Live {
    /// It was wanted, and standard output is a terminal.
    on: bool,
    /// The newest report, whole.
    last: Vec<u8>,
}

impl Live {
    /// Takes the screen, if that is wanted and there is one; in a pipe reports follow each other.
    pub fn begin(wanted: bool) -> io::Result<Self> {
        let live = Live { on: wanted && io::stdout().is_terminal(), last: Vec::new() };
        live.control(ENTER)?;
        Ok(live)
    }

    /// Shows a report, as much of it as the screen is high.
    pub fn show(
        &mut self,
        out: &mut dyn Write,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        if !self.on {
            write(out)?;
            return out.flush();
        }
        self.last.clear();
        write(&mut self.last)?;
        let height = rustix::termios::tcgetwinsize(io::stdout()).map_or(24, |size| usize::from(size.ws_row).max(2));
        self.control(CLEAR)?;
        out.write_all(top(&self.last, height - 1))?;
        out.flush()
    }

    /// Gives the screen back, and leaves the last report on it.
    pub fn end(mut self, out: &mut dyn Write) -> io::Result<()> {
        self.control(LEAVE)?;
        if std::mem::take(&mut self.on) {
            out.write_all(&self.last)?;
        }
        out.flush()
    }

    /// Past the stream of reports, which leaves out everything but text where colours are off.
    fn control(&self, code: &str) -> io::Result<()> {
        if !self.on {
            return Ok(());
        }
        let mut screen = io::stdout().lock();
        screen.write_all(code.as_bytes())?;
        screen.flush()
    }
}

/// An error must not leave the terminal on the other screen.
impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.control(LEAVE);
    }
}

/// The first lines.
fn top(text: &[u8], lines: usize) -> &[u8] {
    let end = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(lines.saturating_sub(1));
    end.map_or(text, |(at, _)| &text[..=at])
}

#[cfg(test)]
mod tests {
    use super::top;

    #[test]
    fn no_more_lines_than_there_is_room_for() {
        assert_eq!(top(b"a\nb\nc\n", 2), b"a\nb\n");
        assert_eq!(top(b"a\nb", 5), b"a\nb");
        assert_eq!(top(b"", 1), b"");
    }
}
