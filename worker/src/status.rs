//! What the worker is doing, in numbers and in one sentence.

use serde::{Deserialize, Serialize};

use crate::mode::Mode;

/// Why work does not come or results do not leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What is wrong and what to do, in words.
    pub what: String,
}

/// Where a trouble comes from: only the same place can tell that it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Calls to the coordinator.
    Calls,
    /// Leases that came.
    Leases,
    /// Starting runs.
    Runs,
    /// Signing and keeping results.
    Results,
    /// Removing reports that are done with.
    Outbox,
    /// The file of the chain.
    Chain,
}

/// A moment's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of this structure: 1.
    pub version: u32,
    /// The mode.
    pub mode: Mode,
    /// Tasks it runs at once.
    pub slots: u32,
    /// Slots that run something.
    pub busy: u32,
    /// Tasks leased and not finished.
    pub queued: u64,
    /// Reports that wait for their final answer.
    pub undelivered: u64,
    /// Receipts settled or taken since the start.
    pub credited: u64,
    /// Receipts for tasks that were decided without them.
    pub superseded: u64,
    /// Receipts refused since the start.
    pub refused: u64,
    /// Void runs since the start.
    pub voids: u64,
    /// Why the last refused receipt was refused.
    pub last_refusal: Option<String>,
    /// Why there is no work, most important first.
    pub reasons: Vec<String>,
    /// What stands in the way.
    pub trouble: Option<Trouble>,
    /// Submitters whose jobs are not taken for a while, because they paid too little for their processor time.
    #[serde(default)]
    pub refused_payers: Vec<String>,
    /// What its owner should know about this machine.
    #[serde(default)]
    pub warning: Option<String>,
}

impl Status {
    pub(crate) fn new(slots: u32, warning: Option<String>) -> Self {
        Self {
            version: 1,
            mode: Mode::Working,
            slots,
            busy: 0,
            queued: 0,
            undelivered: 0,
            credited: 0,
            superseded: 0,
            refused: 0,
            voids: 0,
            last_refusal: None,
            reasons: Vec::new(),
            trouble: None,
            refused_payers: Vec::new(),
            warning,
        }
    }

    /// The one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let waiting = match self.undelivered {
            0 => String::new(),
            1 => "; 1 report waits to be delivered".to_owned(),
            n => format!("; {n} reports wait to be delivered"),
        };
        let warning = self.warning.as_ref().map(|text| format!("; {text}")).unwrap_or_default();
        let refused = match self.refused_payers[..] {
            [] => String::new(),
            [ref one] => format!("; jobs of {one} are not taken for a while: they pay too little"),
            ref many => format!(
                "; jobs of {} submitters are not taken for a while: they pay too little",
                many.len()
            ),
        };
        format!("{}{waiting}{refused}{warning}.", self.clause())
    }

    fn clause(&self) -> String {
        let trouble = self.trouble.as_ref().map(|trouble| format!(", but {}", trouble.what));
        let but = trouble.clone().unwrap_or_default();
        match self.mode {
            Mode::Finished => "Finished: start the worker again to work".into(),
            Mode::Paused => format!("Paused by its owner: `worker resume` lets it work again{but}"),
            Mode::Finishing => {
                format!("Finishing: {} tasks left, no new ones are taken{but}", self.queued)
            }
            Mode::Working if self.busy > 0 => {
                let (busy, slots) = (self.busy, self.slots);
                format!("Working on {busy} of {slots} slots, {} tasks left here{but}", self.queued)
            }
            Mode::Working => match (&self.trouble, self.reasons.first()) {
                (Some(trouble), _) => format!("Not working: {}", trouble.what),
                (None, _) if self.queued > 0 => {
                    "Not working yet: fetching what a lease needs".into()
                }
                (None, Some(reason)) => format!("Not working: {reason}"),
                (None, None) => "Not working: waiting for the coordinator to have work".into(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentence_gives_the_reason() {
        let mut status = Status::new(2, None);
        assert_eq!(status.sentence(), "Not working: waiting for the coordinator to have work.");
        status.reasons = vec!["no job has tasks ready".into()];
        assert_eq!(status.sentence(), "Not working: no job has tasks ready.");
        status.trouble = Some(Trouble { what: "the coordinator is unreachable".into() });
        status.undelivered = 2;
        let text = "Not working: the coordinator is unreachable; 2 reports wait to be delivered.";
        assert_eq!(status.sentence(), text);
        (status.busy, status.queued, status.undelivered, status.trouble) = (1, 5, 0, None);
        assert_eq!(status.sentence(), "Working on 1 of 2 slots, 5 tasks left here.");
        status.warning = Some("take care".into());
        assert_eq!(status.sentence(), "Working on 1 of 2 slots, 5 tasks left here; take care.");
        status.refused_payers = vec!["abab".to_owned()];
        assert!(status.sentence().contains("; jobs of abab"), "{}", status.sentence());
        status.refused_payers.push("acac".to_owned());
        assert!(status.sentence().contains("; jobs of 2 submitters are not taken"));
        status.mode = Mode::Paused;
        assert!(status.sentence().starts_with("Paused by its owner"));
    }
}
