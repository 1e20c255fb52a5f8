//! What protects this machine from what its children run: found out by trying.
//!
//! [`Protection::examine`] starts children under the confinement of real ones, each of which makes one attempt to get out.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use crate::child::PROBE;
use crate::confine::escape::{ATTEMPTS, LAYERS, ROLES};
use crate::confine::{Layer, gaps};
use crate::launch::{Broken, Launcher};
use crate::prepare::sealed;
use crate::wire::{Finding, OVERHEAD};

/// Time one attempt may take.
const PROBE_WALL: Duration = Duration::from_secs(10);

/// What holds on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protection {
    /// The layers around a child that runs guests.
    pub layers: Vec<Layer>,
    /// What children tried, and what came of it.
    pub attempts: Vec<Attempt>,
}

/// One attempt to get out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What was tried.
    pub name: &'static str,
    /// The kind of child that tried it: "run" or "compile".
    pub child: &'static str,
    /// What came of it.
    pub ending: Ending,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The system refused, with this error.
    Denied(String),
    /// The child was ended for it, in this way.
    Killed(String),
    /// It worked.
    Succeeded,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(why) => write!(f, "denied: {why}"),
            Self::Killed(how) => write!(f, "killed: {how}"),
            Self::Succeeded => f.write_str("NOT STOPPED"),
        }
    }
}

impl Protection {
    /// Finds out what holds here, with `launcher`'s children; takes some tens of milliseconds.
    ///
    /// # Errors
    /// When no child can be started or one does not answer.
    pub fn examine(launcher: &Launcher) -> io::Result<Self> {
        let Some(Finding::Layers(layers)) = probe(launcher, "run", LAYERS)?.ok() else {
            return Err(io::Error::other("the child that tells its layers does not"));
        };
        let mut attempts = Vec::new();
        for child in ["run", "compile"] {
            for attempt in ATTEMPTS {
                let ending = ending(probe(launcher, child, attempt.name)?);
                attempts.push(Attempt { name: attempt.name, child, ending });
            }
        }
        Ok(Self { layers, attempts })
    }

    /// Makes all attempts in children that are not confined: those that fail here prove nothing on this machine.
    ///
    /// # Errors
    /// When no child can be started.
    pub fn examine_nothing(launcher: &Launcher) -> io::Result<Vec<Attempt>> {
        let child = ROLES[2];
        let attempt = |name| {
            let ending = ending(probe(launcher, child, name)?);
            Ok(Attempt { name, child, ending })
        };
        ATTEMPTS.iter().map(|known| attempt(known.name)).collect()
    }

    /// Why strangers' modules must not be run here; `None` when every layer is there and every attempt was stopped.
    #[must_use]
    pub fn gap(&self) -> Option<String> {
        let missing = gaps(&self.layers);
        if !missing.is_empty() {
            return Some(missing);
        }
        let open = self.attempts.iter().find(|attempt| attempt.ending == Ending::Succeeded)?;
        Some(format!("a child that {}s can {}", open.child, open.name))
    }
}

/// What the child found, or how it died.
fn probe(launcher: &Launcher, child: &str, name: &str) -> io::Result<Result<Finding, String>> {
    let module = sealed(b"not a module")?;
    let mut link = launcher.start(&[PROBE, child, name], Some(&module))?;
    let until = Instant::now() + PROBE_WALL;
    loop {
        let found =
            link.frame(OVERHEAD).and_then(|frame| Ok(frame.map(Finding::parse).transpose()?));
        match found {
            Ok(Some(finding)) => return Ok(Ok(finding)),
            Ok(None) if Instant::now() >= until => return Err(io::ErrorKind::TimedOut.into()),
            Ok(None) => {}
            Err(broken) => return dead(broken),
        }
        if let Err(broken) = link.turn(until, None) {
            return dead(broken);
        }
    }
}

fn dead<T>(broken: Broken) -> io::Result<Result<T, String>> {
    match broken {
        Broken::Died(how) => Ok(Err(how)),
        Broken::Nonsense(what) => Err(io::Error::other(what)),
    }
}

fn ending(found: Result<Finding, String>) -> Ending {
    match found {
        Ok(Finding::Denied(why)) => Ending::Denied(why),
        Err(how) if how.contains("signal") => Ending::Killed(how),
        // Another program took its place and ended well, or it answers what was not asked.
        Ok(_) | Err(_) => Ending::Succeeded,
    }
}
