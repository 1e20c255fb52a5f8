//! Segments run again by the sandbox: from the snapshot before them, and step by step where two hosts disagree.

use std::sync::Arc;

use tallymill_audit::{
    Claims, Found, Part, PartResult, RunSegment as _, Task, Verdict, VerifyError, first_turn,
    judge, verify_segment,
};
use tallymill_protocol::snapshot::{Global, Part as Place, decode};
use tallymill_protocol::{Digest, Limits, Outcome, Receipt, Segment, Steps, TaskIndex, Trap};
use tallymill_sandbox::{JobSpec, versions};

use crate::world::{World, executor, limits};

/// Adds up in memory and in a global, with work of about 36,000 fuel a step, which makes six of a segment; ends after 20 steps, or traps where `BAD` is.
const COUNTER: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (global $done (mut i32) (i32.const 0))
    (data (i32.const 0) "\08\00\00\00\04\00\00\00")
    (func (export "init"))
    (func (export "step") (param i64) (result i32) (local $n i32)
        (loop $more
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $n) (i32.const 2000))))
        (global.set $done (i32.add (global.get $done) (i32.const 1)))
        (if (i32.eq (global.get $done) (i32.const BAD)) (then (unreachable)))
        (i32.store (i32.const 8) (i32.mul (i32.add (i32.load (i32.const 8)) (i32.const 7)) (i32.const 5)))
        (if (i32.lt_u (global.get $done) (i32.const 20)) (then (return (i32.const 0))))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))
        (i32.const 1)))"#;

const STEPS: Steps = Steps { budget: 1, segment: 550_000 };

struct Case {
    module: Vec<u8>,
}

impl Case {
    fn new(bad: u32) -> Self {
        Self { module: wat::parse_str(COUNTER.replace("BAD", &bad.to_string())).unwrap() }
    }

    fn task(&self) -> Task<'_> {
        let job = JobSpec::new(Limits { fuel: 10_000_000, ..limits() });
        let input = Arc::from(&b"in"[..]);
        Task { module: &self.module, job: Arc::new(job), versions: versions(), input }
    }
}

const fn part<'t>(task: &'t Task<'t>, from: Option<&'t [u8]>) -> Part<'t> {
    Part { task, index: TaskIndex(0), steps: STEPS, from }
}

fn ran(part: &Part<'_>) -> PartResult {
    executor().run_segment(part, None).unwrap()
}

/// What an honest host says of a segment.
fn told(part: &Part<'_>, found: &PartResult, index: u32) -> Receipt {
    let from = part.from.map(|from| decode(from, &part.task.job.limits).unwrap());
    let (before, fuel_before) =
        from.map_or((Digest::ZERO, 0), |from| (from.root(), from.facts.fuel));
    let fuel_after = fuel_before + found.fuel;
    let segment = Segment { index, before, after: found.after, fuel_before, fuel_after };
    Receipt {
        module: Digest::of(part.task.module),
        input: Digest::of(&part.task.input),
        bytes_in: (part.task.input.len() + part.from.map_or(0, <[u8]>::len)) as u64,
        metered: found.metered,
        outcome: found.outcome,
        output: Digest::of(&found.output),
        bytes_out: found.output.len() as u64,
        log: Digest::of(&found.log),
        fuel: found.fuel,
        memory_fuel: found.memory_fuel,
        peak_memory: found.peak_memory,
        segment: Some(segment),
        ..World::range().receipts[1].clone()
    }
}

#[test]
fn every_segment_of_a_chain_is_confirmed_from_the_snapshot_before_it() {
    let case = Case::new(99);
    let task = case.task();
    let (mut from, mut index): (Option<Vec<u8>>, u32) = (None, 0);
    loop {
        let part = part(&task, from.as_deref());
        let found = ran(&part);
        let receipt = told(&part, &found, index);
        verify_segment(&receipt, &part, &executor()).unwrap();
        let stopped =
            Receipt { outcome: Outcome::Stopped, fuel: 220_000, segment: None, ..receipt.clone() };
        let segment = receipt.segment.unwrap();
        let after = segment.fuel_before + 220_000;
        let cut = Segment { after: Digest::ZERO, fuel_after: after, ..segment };
        verify_segment(&Receipt { segment: Some(cut), ..stopped }, &part, &executor()).unwrap();
        let lie = Receipt { memory_fuel: receipt.memory_fuel + 1, ..receipt };
        let error = verify_segment(&lie, &part, &executor()).unwrap_err();
        assert!(matches!(error, VerifyError::Mismatch(found) if found.what == "memory × fuel"));
        if found.outcome != Outcome::Paused {
            assert_eq!((found.outcome, found.output.len()), (Outcome::Exited(0), 4));
            break;
        }
        (from, index) = (Some(found.output), index + 1);
    }
    assert!(index >= 2, "{index}");
}

/// A host that changed the guest's state in the middle of its segment and went on from that.
struct Cheat<'c> {
    part: Part<'c>,
    honest_steps: u64,
    /// The state that it went on from.
    changed: Vec<u8>,
}

impl<'c> Cheat<'c> {
    fn new(part: Part<'c>, honest_steps: u64) -> Self {
        let (_, honest) = executor().run_part(&part, Some(honest_steps)).unwrap();
        let mut state = decode(&honest.result.output, &part.task.job.limits).unwrap();
        state.globals[0] = Global::I32(3);
        let changed = state.encode();
        Self { part, honest_steps, changed }
    }

    fn state_after(&self, steps: u64) -> Vec<u8> {
        let (part, steps) = match steps.checked_sub(self.honest_steps) {
            Some(more) => (Part { from: Some(&self.changed), ..self.part }, more),
            None => (self.part, steps),
        };
        executor().run_part(&part, Some(steps)).unwrap().1.result.output
    }
}

impl Claims for Cheat<'_> {
    type Error = VerifyError;

    fn root_after(&mut self, steps: u64) -> Result<Digest, VerifyError> {
        let state = self.state_after(steps);
        Ok(decode(&state, &self.part.task.job.limits).unwrap().root())
    }
}

#[test]
fn a_cheat_is_found_at_the_step_where_it_left_the_truth_and_by_what_it_changed() {
    let case = Case::new(99);
    let task = case.task();
    let first = ran(&part(&task, None));
    let part = part(&task, Some(&first.output));
    let executor = executor();
    let mut cheat = Cheat::new(part, 3);
    let mut truth = Found { executor: &executor, part };
    let turn = first_turn(5, &mut cheat, &mut truth).unwrap().unwrap();
    assert_eq!(turn.step, 2, "two steps were right, the third was not");
    let shown = cheat.state_after(3);
    let found = executor.run_part(&part, Some(3)).unwrap().1.result.output;
    let limits = &task.job.limits;
    let (shown, found) = (decode(&shown, limits).unwrap(), decode(&found, limits).unwrap());
    assert_eq!(judge(&turn, &shown, &found), Verdict::Differs(Place::Global(0)));
    assert_eq!(judge(&turn, &found, &found), Verdict::Unfounded, "not the state it claimed");
    assert!(first_turn(5, &mut Found { executor: &executor, part }, &mut truth).unwrap().is_none());
}

#[test]
fn a_segment_that_ends_within_a_step_is_confirmed_without_a_root() {
    let case = Case::new(9);
    let task = case.task();
    let first = ran(&part(&task, None));
    let part = part(&task, Some(&first.output));
    let found = ran(&part);
    assert_eq!((found.outcome, found.after), (Outcome::Trapped(Trap::Unreachable), Digest::ZERO));
    verify_segment(&told(&part, &found, 1), &part, &executor()).unwrap();
}

#[test]
fn a_segment_under_other_rules_of_counting_is_left_to_other_programs() {
    let case = Case::new(99);
    let mut task = case.task();
    let found = ran(&part(&task, None));
    let receipt = told(&part(&task, None), &found, 0);
    task.versions.meter += 1;
    let error = verify_segment(&receipt, &part(&task, None), &executor()).unwrap_err();
    assert!(matches!(error, VerifyError::Versions { .. }), "{error}");
}
