//! A progress bar for long windows.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use crate::cli::Format;

/// A progress bar is shown for windows longer than this.
const WORTH_A_BAR: Duration = Duration::from_secs(2);

/// A progress bar on the terminal, on standard error: the report is not disturbed.
pub struct Bar {
    shown: bool,
    seconds: f64,
}

impl Bar {
    /// For a window of this length, shown in this format.
    pub fn new(format: Format, interval: Duration) -> Self {
        let seen = std::io::stderr().is_terminal() && std::io::stdout().is_terminal();
        let wanted = format == Format::Table && interval > WORTH_A_BAR;
        Bar { shown: seen && wanted, seconds: interval.as_secs_f64() }
    }

    /// Shows how much of the window has passed.
    pub fn show(&self, share: f64) {
        const CELLS: usize = 40;
        if self.shown {
            let full = ((share * CELLS as f64) as usize).min(CELLS);
            let (done, left) = ("█".repeat(full), "░".repeat(CELLS - full));
            // A terminal that went away takes the bar with it, not the run.
            let _ = write!(
                std::io::stderr(),
                "\r watching {done}{left} {:.1} of {:.1} s ",
                share * self.seconds,
                self.seconds
            );
        }
    }

    /// Takes it away.
    pub fn clear(&self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
