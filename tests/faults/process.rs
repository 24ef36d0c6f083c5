//! A child that does not outlive the test, however it ends.

use std::ops::{Deref, DerefMut};
use std::process::Child;

/// Killed when dropped, if it still runs.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _status = self.0.wait();
    }
}

impl Deref for Process {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Process {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}
