//! The event stream's memory: the latest batches of events, so that a client that comes back misses nothing.
//!
//! An entry's id is the sequence of the commit it follows from, so ids survive a restart. A client that asks for what is
//! no longer kept, or for what this database never wrote, is told to read everything anew.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use tallymill_engine::Event;
use tokio::sync::watch;

/// The events of one commit.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Sequence of the commit.
    pub id: u64,
    /// Topic and contents of each event.
    pub events: Vec<(String, Value)>,
}

/// What a client gets that has seen everything up to some id.
#[derive(Debug, Clone, PartialEq)]
pub enum Since {
    /// Everything after it, perhaps nothing.
    Entries(Vec<Entry>),
    /// Too much is gone; go on from this id after reading everything anew.
    Reset(u64),
}

/// A ring of entries and a bell that rings when one is added.
#[derive(Debug)]
pub struct Events {
    ring: Mutex<Ring>,
    bell: watch::Sender<u64>,
}

#[derive(Debug)]
struct Ring {
    entries: VecDeque<Entry>,
    limit: usize,
    /// Everything after this id is in the ring.
    complete_from: u64,
}

impl Events {
    /// An empty ring that keeps `limit` entries, for a database whose last commit is `sequence`.
    #[must_use]
    pub fn new(limit: usize, sequence: u64) -> Self {
        let ring = Ring { entries: VecDeque::new(), limit, complete_from: sequence };
        Self { ring: Mutex::new(ring), bell: watch::Sender::new(sequence) }
    }

    /// Adds the events of commit `id` and wakes those who wait.
    pub fn add(&self, id: u64, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        while ring.entries.len() >= ring.limit.max(1) {
            if let Some(gone) = ring.entries.pop_front() {
                ring.complete_from = gone.id;
            }
        }
        ring.entries.push_back(Entry { id, events: events.iter().map(describe).collect() });
        drop(ring);
        self.bell.send_replace(id);
    }

    /// What happened after `id`.
    #[must_use]
    pub fn since(&self, id: u64) -> Since {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = ring.entries.back().map_or(ring.complete_from, |entry| entry.id);
        if id < ring.complete_from || id > latest {
            return Since::Reset(latest);
        }
        Since::Entries(ring.entries.iter().filter(|entry| entry.id > id).cloned().collect())
    }

    /// The id of the latest entry.
    #[must_use]
    pub fn latest(&self) -> u64 {
        *self.bell.borrow()
    }

    /// A bell that rings when an entry is added.
    #[must_use]
    pub fn bell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }
}

fn describe(event: &Event) -> (String, Value) {
    match event {
        Event::Job { id, state, totals } => {
            let value = json!({
                "job": id.to_string(), "state": format!("{state:?}").to_lowercase(),
                "tasks": totals.tasks, "final": totals.finished, "failed": totals.failed,
                "provisional": totals.provisional, "spent": totals.spent.micros().to_string(),
                "escrow": totals.escrow.micros().to_string(), "fuel": totals.fuel.to_string(),
            });
            (format!("job:{id}"), value)
        }
        Event::Account { owner } => {
            (format!("account:{owner}"), json!({ "account": owner.to_string() }))
        }
        Event::Network => ("network".to_owned(), json!({})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(since: Since) -> Vec<u64> {
        match since {
            Since::Entries(entries) => entries.iter().map(|entry| entry.id).collect(),
            Since::Reset(_) => panic!("reset"),
        }
    }

    #[test]
    fn a_client_resumes_where_it_stopped() {
        let events = Events::new(10, 4);
        [5, 6, 9].into_iter().for_each(|id| events.add(id, &[Event::Network]));
        assert_eq!(ids(events.since(4)), [5, 6, 9]);
        assert_eq!(ids(events.since(6)), [9]);
        assert_eq!(ids(events.since(9)), [0; 0]);
        assert_eq!(events.latest(), 9);
    }

    #[test]
    fn a_client_that_is_too_old_or_from_elsewhere_is_reset() {
        let events = Events::new(2, 4);
        [5, 6, 7].into_iter().for_each(|id| events.add(id, &[Event::Network]));
        assert_eq!(events.since(4), Since::Reset(7));
        assert_eq!(ids(events.since(5)), [6, 7]);
        assert_eq!(events.since(8), Since::Reset(7));
        assert_eq!(Events::new(2, 4).since(3), Since::Reset(4));
    }
}
