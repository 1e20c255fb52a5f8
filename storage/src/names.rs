//! The names under which states and kinds are stored, and names that live as long as the process.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tallymill_engine::rows::{
    AccountStatus, FaultKind, HoldKind, JobState, ReplicaState, SuspensionKind, TaskState,
};

/// A state or kind with a stored name.
pub(crate) trait Named: Copy + PartialEq + 'static {
    /// Every value with its name.
    const NAMES: &'static [(Self, &'static str)];

    /// The name of this value.
    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(value, _)| *value == self).map_or("", |(_, name)| name)
    }

    /// The value with this name.
    fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(value, _)| *value)
    }
}

macro_rules! named {
    ($type:ident { $($value:ident = $name:literal),* $(,)? }) => {
        impl Named for $type {
            const NAMES: &'static [(Self, &'static str)] = &[$((Self::$value, $name)),*];
        }
    };
}

named!(AccountStatus { Active = "active", Waiting = "waiting", Suspended = "suspended" });
named!(JobState {
    Running = "running",
    Stopping = "stopping",
    Finished = "finished",
    Cancelled = "cancelled",
    Expired = "expired",
    Suspended = "suspended",
});
named!(ReplicaState {
    Reported = "reported",
    Provisional = "provisional",
    Final = "final",
    Lost = "lost",
    Stopped = "stopped",
    Void = "void",
});
named!(FaultKind {
    Void = "void",
    Declined = "declined",
    Lapsed = "lapsed",
    Refused = "refused",
});
named!(HoldKind { Payer = "payer", Operator = "operator" });
named!(TaskState { Provisional = "provisional", Final = "final", Failed = "failed" });
named!(SuspensionKind { Account = "account", Module = "module", Job = "job", Host = "host" });

/// Most distinct names of routes, actions and kinds; a program has a few dozen.
const MAX_NAMES: usize = 256;

/// Names that rows hold as `&'static str`. A program knows a fixed few, so each distinct one is kept for ever.
static KEPT: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// The same name with the life of the process; `None` beyond [`MAX_NAMES`] distinct ones, which only a corrupt table holds.
pub(crate) fn keep(name: &str) -> Option<&'static str> {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = kept.get(name) {
        return Some(known);
    }
    (kept.len() < MAX_NAMES).then(|| {
        let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
        kept.insert(name);
        name
    })
}
