//! Long tasks in steps: what a segment comes to, and that nothing of a guest is lost or taken on trust between two of them.

use std::sync::Arc;
use std::time::Duration;

use tallymill_protocol::snapshot::{
    Content, Files, Global, Node, Open, PAGE, Pages, Part, Snapshot, decode, difference,
};
use tallymill_protocol::work::VoidCause;
use tallymill_protocol::{Digest, Interface, Limits, Outcome, STEP_FUEL, Steps, Trap};
use tallymill_sandbox::{
    Control, ModuleError, Pulse, Runner, SegmentResult, SegmentSpec, Void, prepare, run_segment,
    screen, screen_as, with_stack,
};

use crate::guest::{compiled, file, imports, job, launcher, limits, module, task};

/// A guest that does `work` in each step until it has done `total` of them, with everything that a guest can keep. It copies
/// three bytes of its input to its output in each step, reads clocks and random numbers, and writes a file that it renames.
fn keeper(work: u32, total: u32) -> String {
    let names = ["fd_read", "fd_write", "clock_time_get", "random_get", "path_open", "path_rename"];
    format!(
        r#"(module {imports}
    (table $t 4 9 funcref)
    (type $number (func (result i32)))
    (global $done (mut i32) (i32.const 0))
    (global $big (mut i64) (i64.const -8))
    (global $f (mut f32) (f32.const nan:0x12345))
    (global $d (mut f64) (f64.const -nan:0x123456789))
    (global $v (mut v128) (v128.const i64x2 5 -6))
    (global $r (mut funcref) (ref.func $one))
    (global $file (mut i32) (i32.const 0))
    (elem (table $t) (i32.const 1) func $one)
    (elem $passive func $two)
    (data (i32.const 1024) "notes")
    (data $bytes "passive")
    (data $later "later")
    (func $one (result i32) (i32.const 1))
    (func $two (result i32) (i32.const 2))
    (func (export "init")
        (drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 5) (i32.const 1)
            (i64.const 66) (i64.const 0) (i32.const 0) (i32.const 2000)))
        (global.set $file (i32.load (i32.const 2000))))
    (func $use (local $n i32)
        (loop $more
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $n) (i32.const {work})))))
    (func (export "step") (param i64) (result i32)
        (call $use)
        (global.set $done (i32.add (global.get $done) (i32.const 1)))
        (global.set $big (i64.mul (global.get $big) (i64.const 3)))
        (global.set $f (f32.mul (global.get $f) (f32.const 1.5)))
        (global.set $d (f64.add (global.get $d) (f64.const 1.5)))
        (global.set $v (i64x2.add (global.get $v) (v128.const i64x2 1 1)))
        (if (i32.eq (global.get $done) (i32.const 2)) (then
            (memory.init $bytes (i32.const 1100) (i32.const 0) (i32.const 7)) (data.drop $bytes)
            (table.init $t $passive (i32.const 2) (i32.const 0) (i32.const 1)) (elem.drop $passive)
            (drop (table.grow $t (ref.func $two) (i32.const 2)))
            (global.set $r (ref.null func))
            (drop (memory.grow (i32.const 1)))
            (drop (call $path_rename (i32.const 3) (i32.const 1024) (i32.const 5)
                (i32.const 3) (i32.const 1024) (i32.const 4)))))
        (drop (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 2048)))
        (drop (call $random_get (i32.const 2056) (i32.const 5)))
        (i32.store (i32.const 3000) (i32.const 2048)) (i32.store (i32.const 3004) (i32.const 13))
        (drop (call $fd_write (global.get $file) (i32.const 3000) (i32.const 1) (i32.const 3008)))
        (i32.store (i32.const 3000) (i32.const 4096)) (i32.store (i32.const 3004) (i32.const 3))
        (drop (call $fd_read (i32.const 0) (i32.const 3000) (i32.const 1) (i32.const 3008)))
        (drop (call $fd_write (i32.const 1) (i32.const 3000) (i32.const 1) (i32.const 3008)))
        (drop (call $fd_write (i32.const 2) (i32.const 3000) (i32.const 1) (i32.const 3008)))
        (i32.store (i32.mul (global.get $done) (i32.const 4096)) (i32.add (global.get $done)
            (if (result i32) (i32.eq (global.get $done) (i32.const 1)) (then (i32.const 0))
                (else (call_indirect $t (type $number) (i32.const 2))))))
        (i32.ge_u (global.get $done) (i32.const {total}))))"#,
        imports = imports(&names)
    )
}

const STEPS: Steps = Steps { budget: 1, segment: 3 * STEP_FUEL };
const METERED: Digest = Digest([7; 32]);

fn spec(from: Option<&[u8]>, pause_after: Option<u64>) -> SegmentSpec {
    let mut job = job();
    job.files = vec![file("given", b"bytes of the job")];
    let task = task(job, b"the quick brown fox jumps");
    SegmentSpec { task, steps: STEPS, from: from.map(Arc::from), pause_after }
}

struct Machine(tallymill_sandbox::CompiledModule);

impl Machine {
    fn new(text: &str) -> Self {
        Self(compiled(&module(text)))
    }

    fn run(&self, spec: &SegmentSpec) -> Result<SegmentResult, Void> {
        with_stack(|| run_segment(&self.0, METERED, spec, &Pulse::default())).unwrap()
    }

    /// All segments of a task, each from the snapshot of the one before.
    fn chain(&self, segment: u64) -> Vec<SegmentResult> {
        let mut all: Vec<SegmentResult> = Vec::new();
        loop {
            let from = all.last().map(|last| last.result.output.clone());
            let steps = Steps { segment, ..STEPS };
            let next = self.run(&SegmentSpec { steps, ..spec(from.as_deref(), None) }).unwrap();
            let over = next.result.outcome != Outcome::Paused;
            all.push(next);
            if over {
                return all;
            }
        }
    }
}

fn snapshot(ended: &SegmentResult) -> Snapshot<'_> {
    assert_eq!(ended.result.outcome, Outcome::Paused);
    decode(&ended.result.output, &limits()).unwrap()
}

#[test]
fn a_task_comes_to_the_same_in_one_segment_and_in_many() {
    let machine = Machine::new(&keeper(3_000, 6));
    let whole = machine.chain(u64::MAX);
    let [whole] = &whole[..] else { panic!("{} segments", whole.len()) };
    assert_eq!((whole.result.outcome, whole.steps), (Outcome::Exited(0), 6));
    assert_eq!(whole.result.output, b"the quick brown fo");
    for segment in [1, 30_000, 45_000] {
        let parts = machine.chain(segment);
        assert!(parts.len() >= 2, "{segment}");
        let last = parts.last().unwrap();
        let sum = |figure: fn(&SegmentResult) -> u64| parts.iter().map(figure).sum::<u64>();
        assert_eq!(sum(|part| part.result.fuel), whole.result.fuel, "{segment}");
        assert_eq!(sum(|part| part.result.memory_fuel), whole.result.memory_fuel, "{segment}");
        assert_eq!(sum(|part| part.steps), 6);
        assert_eq!(
            (&last.result.output, &last.result.log),
            (&whole.result.output, &whole.result.log)
        );
        assert_eq!((last.after, last.result.peak_memory), (whole.after, whole.result.peak_memory));
        for part in &parts[..parts.len() - 1] {
            assert!(part.result.fuel >= segment, "a segment but the last is full");
            assert_eq!(part.after, snapshot(part).root());
        }
    }
}

#[test]
fn a_snapshot_restored_and_taken_again_is_the_same_bytes() {
    let machine = Machine::new(&keeper(10, 9));
    for steps in 1..5 {
        let taken = machine.run(&spec(None, Some(steps))).unwrap();
        let again = machine.run(&spec(Some(&taken.result.output), Some(0))).unwrap();
        assert_eq!((again.after, again.result.fuel, again.steps), (taken.after, 0, 0));
        assert!(again.result.output == taken.result.output);
    }
}

#[test]
fn the_state_of_a_guest_is_in_its_snapshot() {
    let machine = Machine::new(&keeper(10, 9));
    let taken = machine.run(&spec(None, Some(3))).unwrap();
    let found = snapshot(&taken);
    assert_eq!(found.facts.metered, METERED);
    assert_eq!((found.facts.steps, found.facts.peak_pages, found.pages.len()), (3, 3, 3));
    assert_eq!(found.facts.fuel, taken.result.fuel);
    assert_eq!(found.globals[0], Global::I32(3));
    assert_eq!(found.globals[1], Global::I64((-8i64 * 27).cast_unsigned()));
    assert_eq!(found.globals[2], Global::F32(0x7fc0_0000), "a NaN of arithmetic is canonical");
    assert_eq!(found.globals[4], Global::V128(8 | (u128::from((-3i64).cast_unsigned()) << 64)));
    // Function 0 to 6 are imported; null is 0.
    assert_eq!((found.globals[5], &found.tables[0]), (Global::Func(0), &vec![0, 8, 9, 0, 9, 9]));
    assert_eq!(
        (&found.data[..], &found.elements[..]),
        (&[false, true, false][..], &[false, true][..])
    );
    assert_eq!((found.output, found.log), (&b"the quick"[..], &b"the quick"[..]));
    assert_eq!((found.counters.ticks, found.counters.random), (3, 15));
    assert!(found.handles.0.iter().any(|handle| handle.open == Open::Input { position: 9 }));
    let note = found.files.nodes.iter().find(|node| node.number == 2).unwrap();
    assert!(matches!(&note.content, Content::File(bytes) if bytes.len() == 39));
}

/// One thing of a snapshot changed, and the part that then differs.
type Change = (fn(&mut Snapshot<'_>), Part);

const CHANGES: [Change; 12] = [
    (|s| s.globals[0] = Global::I32(77), Part::Global(0)),
    (|s| s.globals[4] = Global::V128(1), Part::Global(4)),
    (|s| s.globals[5] = Global::Func(9), Part::Global(5)),
    (|s| s.tables[0][1] = 9, Part::Table { table: 0, entry: 1 }),
    (|s| s.data[1] = false, Part::Data(1)),
    (|s| s.elements[1] = false, Part::Element(1)),
    (|s| s.output = b"xhe quick", Part::Output(0)),
    (|s| s.log = b"the quicl", Part::Log(8)),
    (|s| s.handles.0[0].open = Open::Input { position: 8 }, Part::Handle(0)),
    (|s| s.counters.ticks += 1, Part::Counters),
    (|s| s.counters.random += 1, Part::Counters),
    (|s| file_of(&mut s.files)[0] ^= 1, Part::Node(2)),
];

fn file_of(files: &mut Files) -> &mut Vec<u8> {
    match &mut files.nodes[2].content {
        Content::File(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_kind_of_state_changed_between_two_steps_shows_in_the_root_and_by_name() {
    let machine = Machine::new(&keeper(10, 9));
    let taken = machine.run(&spec(None, Some(3))).unwrap();
    let honest = snapshot(&taken);
    let told = |changed: &Snapshot<'_>, part: Part| {
        assert_ne!(changed.root(), honest.root(), "{part}");
        // The change lives on in the guest: what it comes to differs too, in the same part.
        let blob = changed.encode();
        let here = machine.run(&spec(Some(&blob), Some(0))).unwrap();
        assert_eq!(here.after, changed.root(), "{part} is not restored");
        assert_eq!(difference(&honest, &snapshot(&here)), Some(part));
    };
    for (change, part) in CHANGES {
        let mut changed = honest.clone();
        change(&mut changed);
        told(&changed, part);
    }
    let mut memory = vec![0; 3 * PAGE];
    let pages = honest.pages.iter().zip(memory.chunks_mut(PAGE));
    pages.for_each(|(page, bytes)| page.into_iter().for_each(|page| bytes.copy_from_slice(page)));
    memory[2 * PAGE + 5] = 1;
    let changed = Snapshot { pages: Pages::of(&memory).unwrap(), ..honest.clone() };
    told(&changed, Part::Page(2));
    for (change, field) in [
        ((|s| s.facts.steps += 1) as fn(&mut Snapshot<'_>), "steps"),
        (|s| s.facts.fuel += 1, "fuel"),
        (|s| s.facts.memory_fuel += 1, "memory × fuel"),
        (|s| s.facts.summed -= 1, "fuel up to which memory × fuel is summed"),
    ] {
        let mut changed = honest.clone();
        change(&mut changed);
        told(&changed, Part::Head(field));
    }
}

/// Something that no run could have left in a snapshot, and what is said of it.
type Wrong<'w> = (&'w dyn Fn(&mut Snapshot<'_>), &'w str);

#[test]
fn what_no_run_could_have_left_is_refused_with_its_reason() {
    let machine = Machine::new(&keeper(10, 9));
    let taken = machine.run(&spec(None, Some(3))).unwrap();
    let linked = |number, linked, content| Node { number, linked, content };
    let directory = |names: &[(&str, u32)]| {
        Content::Directory(names.iter().map(|(name, id)| ((*name).to_owned(), *id)).collect())
    };
    let loops = [linked(3, true, directory(&[("b", 4)])), linked(4, true, directory(&[("a", 3)]))];
    let cases: [Wrong<'_>; 17] = [
        (&|s| s.facts.metered = Digest::ZERO, "another module"),
        (&|s| s.facts.peak_pages = 4, "shrunk"),
        (&|s| s.globals.truncate(5), "globals"),
        (&|s| s.globals[0] = Global::I64(1), "another type"),
        (&|s| s.globals[5] = Global::Func(99), "reference"),
        (&|s| s.globals[5] = Global::Func(10), "reference"),
        (&|s| s.tables.clear(), "tables"),
        (&|s| s.tables[0] = vec![0; 3], "smaller table"),
        (&|s| s.tables[0] = vec![0; 10], "larger table"),
        (&|s| s.data[0] = true, "cannot drop"),
        (&|s| s.data.push(false), "segments"),
        (&|s| s.handles.0[0].open = Open::Input { position: 26 }, "input's end"),
        (&|s| s.counters.ticks = 1 << 40, "clock"),
        (&|s| s.counters.random = u64::MAX, "random"),
        (&|s| s.files.nodes.extend(loops.clone()), "no directory leads to"),
        (&|s| s.files.nodes[2].linked = false, "no directory leads to"),
        (&|s| *file_of(&mut s.files) = vec![1; 1 << 16], "scratch"),
    ];
    for (change, why) in cases {
        let mut changed = snapshot(&taken);
        change(&mut changed);
        let void = machine.run(&spec(Some(&changed.encode()), None)).unwrap_err();
        assert_eq!(void.cause, VoidCause::Other);
        assert!(void.detail.contains(why), "{void}: {why}");
    }
    let void = machine.run(&spec(Some(b"rubbish"), None)).unwrap_err();
    assert!(void.detail.contains("snapshot"), "{void}");
    let mut less = snapshot(&taken);
    (less.pages, less.facts.peak_pages) = (Pages::default(), 0);
    let void = machine.run(&spec(Some(&less.encode()), None)).unwrap_err();
    assert!(void.detail.contains("less memory"), "{void}");
}

/// A guest whose step does this, and another with the same as its `init`.
fn ends(body: &str, total_fuel: u64) -> [SegmentResult; 2] {
    let guest = |init: &str, step: &str| {
        let text = format!(
            r#"(module {} (func (export "init") {init})
                (func (export "step") (param i64) (result i32) {step} (i32.const 0)))"#,
            imports(&["fd_write"])
        );
        let mut spec = spec(None, None);
        let limits = Limits { fuel: total_fuel, ..limits() };
        spec.task.job = Arc::new(tallymill_sandbox::JobSpec::new(limits));
        Machine::new(&text).run(&spec).unwrap()
    };
    [guest("", body), guest(body, "")]
}

#[test]
fn a_task_ends_within_a_step_as_a_command_does() {
    let cases = [
        ("(call $proc_exit (i32.const 3))", Outcome::Exited(3)),
        ("(unreachable)", Outcome::Trapped(Trap::Unreachable)),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", Outcome::Trapped(Trap::DivisionByZero)),
        ("(loop $l (br $l))", Outcome::FuelExhausted),
    ];
    for (body, outcome) in cases {
        for ended in ends(body, 10 * STEP_FUEL) {
            assert_eq!((ended.result.outcome, ended.after), (outcome, Digest::ZERO));
            let fuel = ended.result.fuel;
            let exact = outcome == Outcome::FuelExhausted
                || matches!(outcome, Outcome::Trapped(Trap::DivisionByZero));
            assert!(fuel > 0 && (!exact || fuel == 10 * STEP_FUEL), "{outcome}: {fuel}");
        }
    }
}

#[test]
fn steps_that_do_nothing_cost_fuel_and_come_to_an_end() {
    let [ended, _] = ends("", 40 * STEP_FUEL);
    assert_eq!((ended.result.outcome, ended.steps), (Outcome::Paused, 3));
    let own = ended.result.fuel - 3 * STEP_FUEL;
    // `init` and three steps of a function each, and what little is in them.
    let entries = 4 * u64::from(tallymill_sandbox::profile().costs.function());
    assert!((entries..entries + 40).contains(&own), "{own} for {entries}");
    let [ended, _] = ends("", 2 * STEP_FUEL);
    assert_eq!((ended.result.outcome, ended.result.fuel), (Outcome::FuelExhausted, 2 * STEP_FUEL));
}

#[test]
fn a_stop_ends_a_segment_with_the_fuel_so_far_and_whoever_looks_sees_that_of_the_segment() {
    let machine = Machine::new(&keeper(3_000, 9));
    let first = machine.run(&spec(None, Some(2))).unwrap();
    let spec = spec(Some(&first.result.output), Some(3));
    let pulse = Pulse::default();
    let run = || with_stack(|| run_segment(&machine.0, METERED, &spec, &pulse)).unwrap().unwrap();
    let whole = run();
    assert_eq!(whole.result.outcome, Outcome::Paused);
    // The last look was at the beginning of its last step.
    let seen = pulse.fuel();
    assert!(seen > 0 && seen < whole.result.fuel, "{seen} of {}", whole.result.fuel);
    pulse.reset(true);
    let ended = run();
    assert_eq!((ended.result.outcome, ended.after), (Outcome::Stopped, Digest::ZERO));
    assert!(ended.result.fuel < 2 * STEP_FUEL, "{} begins with this segment", ended.result.fuel);
}

#[test]
fn a_child_does_the_same_as_this_process_and_takes_a_bounded_answer() {
    let text = keeper(3_000, 6);
    let prepared = prepare(None, &launcher(), &module(&text)).unwrap();
    let metered = prepared.metered;
    let mut runner = Runner::new(launcher(), prepared, Duration::from_secs(60));
    let here = Machine::new(&text);
    let control = Control::new().unwrap();
    let mut from: Option<Vec<u8>> = None;
    for _ in 0..2 {
        let spec = spec(from.as_deref(), None);
        let mut there = runner.run_segment(&spec, &control).unwrap();
        let mut expected = with_stack(|| run_segment(&here.0, metered, &spec, &Pulse::default()))
            .unwrap()
            .unwrap();
        (there.result.cpu_time_us, expected.result.cpu_time_us) = (0, 0);
        assert!(there == expected);
        from = Some(there.result.output);
    }
    // A task of the same module that is no segment has nothing to call.
    let void = runner.run_one(&spec(None, None).task, &control).unwrap_err();
    assert!(void.detail.contains("_start"), "{void}");
}

#[test]
fn a_segment_in_a_child_is_stopped_from_outside() {
    let endless = r#"(module (memory (export "memory") 1) (func (export "init"))
        (func (export "step") (param i64) (result i32) (loop $l (br $l)) (i32.const 1)))"#;
    let prepared = prepare(None, &launcher(), &module(endless)).unwrap();
    let mut runner = Runner::new(launcher(), prepared, Duration::from_secs(60));
    let mut spec = spec(None, None);
    let limits = Limits { fuel: 1 << 61, ..limits() };
    spec.task.job = Arc::new(tallymill_sandbox::JobSpec::new(limits));
    let stopped = Control::new().unwrap();
    stopped.stop_all();
    let ended = runner.run_segment(&spec, &stopped).unwrap();
    assert_eq!((ended.result.outcome, ended.after), (Outcome::Stopped, Digest::ZERO));
    assert_eq!(ended.result.bytes_in, spec.bytes_in());
}

#[test]
fn a_job_of_which_no_frame_could_carry_a_snapshot_is_not_begun() {
    let prepared = prepare(None, &launcher(), &module(&keeper(10, 6))).unwrap();
    let mut runner = Runner::new(launcher(), prepared, Duration::from_secs(60));
    let mut spec = spec(None, None);
    let limits = Limits { memory: 2 << 30, ..limits() };
    spec.task.job = Arc::new(tallymill_sandbox::JobSpec::new(limits));
    let void = runner.run_segment(&spec, &Control::new().unwrap()).unwrap_err();
    assert_eq!(void.cause, VoidCause::OwnerLimit);
    assert!(runner.child_id().is_none());
}

#[test]
fn a_module_is_screened_for_the_interface_it_is_submitted_for() {
    let refused = |text: &str, interface| screen_as(&module(text), interface).unwrap_err();
    let step = keeper(1, 1);
    screen_as(&module(&step), Interface::Step).unwrap();
    let refusal = refused(&step, Interface::Command);
    assert!(matches!(refusal, ModuleError::NoStart { offset } if offset > 8), "{refusal}");
    let command = "(module (func (export \"_start\")))";
    assert!(refused(command, Interface::Step).to_string().contains("\"init\""));
    let half = "(module (func (export \"init\")))";
    assert!(screen(&module(half)).unwrap_err().to_string().contains("\"step\""));
    let hidden = "(module (memory 1) (func (export \"init\"))
        (func (export \"step\") (param i64) (result i32) (i32.const 1)))";
    let refusal = refused(hidden, Interface::Step);
    assert!(matches!(refusal, ModuleError::HiddenMemory { offset } if offset > 8), "{refusal}");
}
