//! A case, and how a run of it ends: passed, to be tried again, or wrong.

use std::fmt::{self, Debug, Display};
use std::time::Duration;

use libtest_mimic::Failed;

use crate::guard;
use crate::need::Need;
use crate::tool;

/// One fault to provoke. `body` gets the sampling window to use; it grows with each try, for a loaded machine.
pub struct Case {
    pub name: String,
    pub needs: Vec<Need>,
    body: Box<dyn Fn(Duration) -> Outcome + Send>,
    seconds: u64,
}

/// How a try ended when it did not pass.
#[derive(Debug)]
pub enum Trouble {
    /// The experiment did not go as planned (traffic outside the window, a packet lost elsewhere): says nothing
    /// about the program.
    Again(String),
    /// The experiment went as planned and the program is wrong, or the experiment cannot be done at all.
    Wrong(String),
}

pub type Outcome<T = ()> = Result<T, Trouble>;

const TRIES: u64 = 3;

impl Case {
    pub fn new(name: impl Into<String>, needs: &'static [Need], body: fn(Duration) -> Outcome) -> Self {
        Self::with(name, needs, body)
    }

    pub fn with(
        name: impl Into<String>,
        needs: &'static [Need],
        body: impl Fn(Duration) -> Outcome + Send + 'static,
    ) -> Self {
        Self { name: name.into(), needs: needs.to_vec(), body: Box::new(body), seconds: 2 }
    }

    /// A window longer than the usual two seconds.
    pub fn seconds(mut self, seconds: u64) -> Self {
        self.seconds = seconds;
        self
    }

    /// The same fault, with the probes in the kernel beside the counters.
    pub fn with_probes(mut self) -> Self {
        self.name.push_str("_with_probes");
        self.needs.push(Need::Bpf);
        let body = self.body;
        self.body = Box::new(move |window| tool::with_probes(|| body(window)));
        self
    }

    pub fn run(&self) -> Result<(), Failed> {
        // A case that lowers a limit of the machine takes the lock alone, through its guard; all others share it.
        let _shared = if self.needs.contains(&Need::MachineWide) { None } else { Some(guard::share()?) };
        let mut tries = String::new();
        for n in 1..=TRIES {
            match (self.body)(Duration::from_secs(self.seconds * n)) {
                Ok(()) => return Ok(()),
                Err(Trouble::Wrong(what)) => return Err(what.into()),
                Err(Trouble::Again(why)) => {
                    eprintln!("{}: try {n} of {TRIES} says nothing: {why}", self.name);
                    tries.push_str(&format!("\n  try {n}: {why}"));
                }
            }
        }
        Err(format!("the fault could not be provoked cleanly:{tries}").into())
    }
}

/// Every error of the machinery (a command, a process, a file) means that the experiment cannot be done.
impl<E: std::error::Error> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Wrong(error.to_string())
    }
}

pub fn wrong<T>(what: impl Display) -> Outcome<T> {
    Err(Trouble::Wrong(what.to_string()))
}

pub fn again<T>(why: impl Display) -> Outcome<T> {
    Err(Trouble::Again(why.to_string()))
}

/// Collects what does not hold, so that one run shows everything that is wrong and not only the first of it.
#[derive(Default)]
pub struct Checks(Vec<String>);

impl Checks {
    pub fn same<T: PartialEq + Debug>(&mut self, what: &str, expected: T, found: T) {
        self.that(expected == found, format_args!("{what}: expected {expected:?}, found {found:?}"));
    }

    pub fn that(&mut self, holds: bool, otherwise: impl Display) {
        if !holds {
            self.0.push(otherwise.to_string());
        }
    }

    /// Fails with the list, and with `evidence` to judge it by.
    pub fn done(self, evidence: &dyn Display) -> Outcome {
        if self.0.is_empty() { Ok(()) } else { wrong(format_args!("{self}\n{evidence}")) }
    }
}

impl Display for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} things do not hold:", self.0.len())?;
        self.0.iter().try_for_each(|line| writeln!(f, "  - {line}"))
    }
}
