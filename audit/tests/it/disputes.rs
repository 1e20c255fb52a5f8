//! Disputes: the step that tells two hosts apart is found in few questions, and what differs is named.

use tallymill_audit::{Claims, Turn, Verdict, first_turn, judge};
use tallymill_protocol::Digest;
use tallymill_protocol::snapshot::{
    Counters, Facts, Files, Global, Handles, PAGE, Pages, Part, Snapshot,
};

/// A host whose states are right before step `turn`, and wrong from then on.
struct Host {
    turn: u64,
    asked: u64,
}

impl Host {
    const fn lying_from(turn: u64) -> Self {
        Self { turn, asked: 0 }
    }

    const fn honest() -> Self {
        Self::lying_from(u64::MAX)
    }
}

impl Claims for Host {
    type Error = &'static str;

    fn root_after(&mut self, steps: u64) -> Result<Digest, &'static str> {
        self.asked += 1;
        Ok(Digest::of(format!("{steps} {}", steps > self.turn).as_bytes()))
    }
}

#[test]
fn the_first_false_step_is_found_wherever_it_is() {
    for steps in [1, 2, 3, 7, 64, 1_000] {
        for turn in [0, 1, steps / 2, steps - 1] {
            let (mut liar, mut honest) = (Host::lying_from(turn), Host::honest());
            let found = first_turn(steps, &mut liar, &mut honest).unwrap();
            let turn = turn.min(steps);
            match found {
                Some(Turn { step, claimed, found }) => {
                    assert_eq!((step, claimed != found), (turn, true), "{steps} steps");
                    assert_eq!(Ok(found), Host::honest().root_after(step + 1));
                }
                None => assert!(turn >= steps, "{steps} steps, wrong from {turn}"),
            }
            assert!(liar.asked <= 12, "{} questions about {steps} steps", liar.asked);
        }
    }
}

#[test]
fn hosts_that_agree_at_the_end_have_no_dispute() {
    let (mut a, mut b) = (Host::honest(), Host::honest());
    assert_eq!(first_turn(1 << 40, &mut a, &mut b), Ok(None));
    assert_eq!((a.asked, b.asked), (1, 1));
}

#[test]
fn a_host_whose_lies_come_and_go_is_caught_at_one_of_them() {
    struct Mixed;
    impl Claims for Mixed {
        type Error = &'static str;
        fn root_after(&mut self, steps: u64) -> Result<Digest, &'static str> {
            if steps.is_multiple_of(3) {
                Host::honest().root_after(steps)
            } else {
                Ok(Digest::of(&steps.to_be_bytes()))
            }
        }
    }
    let turn = first_turn(1_000, &mut Mixed, &mut Host::honest()).unwrap().unwrap();
    let root = |steps| Host::honest().root_after(steps).unwrap();
    assert_eq!(Mixed.root_after(turn.step).unwrap(), root(turn.step), "right before the step");
    assert_ne!(Mixed.root_after(turn.step + 1).unwrap(), root(turn.step + 1), "and wrong after it");
}

#[test]
fn a_question_without_an_answer_ends_the_search() {
    struct Silent;
    impl Claims for Silent {
        type Error = &'static str;
        fn root_after(&mut self, steps: u64) -> Result<Digest, &'static str> {
            if steps == 8 { Ok(Digest::ZERO) } else { Err("no answer") }
        }
    }
    assert_eq!(first_turn(8, &mut Silent, &mut Host::honest()), Err("no answer"));
}

fn state(memory: &[u8]) -> Snapshot<'_> {
    let facts = Facts {
        metered: Digest::ZERO,
        fuel: 9,
        memory_fuel: 9,
        summed: 9,
        steps: 1,
        peak_pages: 2,
    };
    Snapshot {
        facts,
        pages: Pages::of(memory).unwrap(),
        globals: vec![Global::I64(1)],
        tables: Vec::new(),
        data: Vec::new(),
        elements: Vec::new(),
        output: b"",
        log: b"",
        handles: Handles::default(),
        files: Files::default(),
        counters: Counters::default(),
    }
}

#[test]
fn the_state_that_a_host_shows_is_judged_by_its_claim_and_by_the_step_run_again() {
    let (memory, mut other) = (vec![1; 2 * PAGE], vec![1; 2 * PAGE]);
    other[PAGE] = 2;
    let (found, shown) = (state(&memory), state(&other));
    let turn = Turn { step: 0, claimed: shown.root(), found: found.root() };
    assert_eq!(judge(&turn, &shown, &found), Verdict::Differs(Part::Page(1)));
    let honest = Turn { claimed: found.root(), ..turn };
    assert_eq!(judge(&honest, &found, &found), Verdict::Right);
    assert_eq!(judge(&honest, &shown, &found), Verdict::Unfounded, "another state than it claimed");
    let mut globals = found.clone();
    globals.globals[0] = Global::I64(2);
    let turn = Turn { claimed: globals.root(), ..turn };
    assert_eq!(judge(&turn, &globals, &found), Verdict::Differs(Part::Global(0)));
}
