//! Long tasks for tests: what an honest host says of each segment, and worlds that run them.

use tallymill_engine::*;
use tallymill_protocol::work::{SegmentStart, Verdict};
use tallymill_protocol::*;

use crate::world::*;

/// Fuel of a segment: what a machine can use in no time at all.
pub const SEGMENT: u64 = MIN_SEGMENT;

/// A job of account 2 whose tasks are divided, at most ten segments each.
pub fn stepped(count: u32, policy: Policy) -> Manifest {
    let mut manifest = manifest(count, policy);
    manifest.limits.fuel = 10 * SEGMENT - 1;
    manifest.interface = Interface::Step;
    manifest.steps = Some(Steps { budget: 1_000, segment: SEGMENT });
    manifest
}

/// Segments of a task.
pub const fn length(task: u32) -> u32 {
    2 + task % 3
}

/// The snapshot after a segment.
pub fn snapshot(task: u32, index: u32) -> Digest {
    digest(b"snapshot", task, index)
}

/// The state root after a segment.
pub fn root(task: u32, index: u32) -> Digest {
    digest(b"root", task, index)
}

fn digest(what: &[u8], task: u32, index: u32) -> Digest {
    Digest::of(&[what, &task.to_be_bytes(), &index.to_be_bytes()].concat())
}

/// What an honest host says of a segment: paused, but for the last one.
pub fn honest(receipt: &mut Receipt, start: &SegmentStart) {
    let TaskIndex(task) = start.task;
    let last = start.index + 1 == length(task);
    let fuel = if last { 1_000 + u64::from(task) } else { SEGMENT };
    let after = root(task, start.index);
    let (before, fuel_before, fuel_after) = (start.root, start.fuel, start.fuel + fuel);
    let segment = Segment { index: start.index, before, after, fuel_before, fuel_after };
    (receipt.fuel, receipt.memory_fuel) = (fuel, fuel);
    receipt.segment = Some(segment);
    receipt.bytes_in = 3 + start.length;
    if !last {
        receipt.outcome = Outcome::Paused;
        receipt.output = snapshot(task, start.index);
        receipt.bytes_out = 70_000 + u64::from(task);
    }
}

/// A lease of one task, and where it begins.
pub type Given = (Lease, SegmentStart);

fn given(granted: Granted) -> Given {
    assert_eq!((granted.lease.count, granted.states.len()), (1, 1), "one task a lease");
    assert_eq!(granted.states[0].task, granted.lease.first);
    (granted.lease, granted.states[0])
}

impl World {
    /// Leases of long tasks for a host with these slots.
    pub fn give(&mut self, number: u8, slots: u32) -> Vec<Given> {
        let answer = self.work(number, Ask { slots, ..Self::ask() }, Vec::new());
        answer.grants.into_iter().map(given).collect()
    }

    /// The receipt of a segment, changed at will.
    pub fn part(
        &mut self,
        (lease, start): &Given,
        change: impl Fn(&mut Receipt),
    ) -> CheckedReceipt {
        let mut checked = self.receipt(lease, start.task.0, Run::honest(start.task.0));
        honest(&mut checked.receipt, start);
        change(&mut checked.receipt);
        checked.bytes = checked.receipt.to_bytes();
        checked
    }

    /// Reports a segment, changed at will.
    pub fn tell(
        &mut self,
        number: u8,
        given: &Given,
        change: impl Fn(&mut Receipt),
    ) -> (Verdict, String) {
        let receipt = self.part(given, change);
        let report = self.report(number, vec![receipt]);
        let answer = self.send_report(number, report);
        (answer.verdicts[0], answer.reason)
    }

    /// Reports an honest segment.
    pub fn go(&mut self, number: u8, given: &Given) -> Verdict {
        self.tell(number, given, |_| {}).0
    }

    /// Lets hosts work honestly on long tasks until none of them gets anything.
    pub fn walk(&mut self, hosts: &[u8]) {
        loop {
            let mut idle = true;
            for number in hosts {
                for given in self.give(*number, 4) {
                    idle = false;
                    assert_ne!(self.go(*number, &given), Verdict::Refused);
                }
            }
            if idle {
                return;
            }
        }
    }

    /// One agreed segment of the only task, by these two hosts.
    pub fn pass_segment(&mut self, hosts: [u8; 2]) {
        let given = hosts.map(|number| (number, self.give(number, 1).remove(0)));
        let verdicts = given.map(|(number, given)| self.go(number, &given));
        assert_eq!(verdicts, [Verdict::Taken, Verdict::Settled]);
    }
}
