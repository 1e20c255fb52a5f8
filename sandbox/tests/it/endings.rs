//! Every way a run can end, and the fuel it then owes.

use tallymill_meter::{CostTable, Profile, SLICE, meter};
use tallymill_protocol::{Limits, Outcome, Trap};
use tallymill_sandbox::{
    Engine, ModuleError, Pulse, TaskResult, profile, run_task, screen, with_stack,
};

use crate::guest::{ECHO, SPIN, compiled, exits, imports, job, limits, module, prints, run, task};

fn outcome(text: &str) -> Outcome {
    run(text, &task(job(), b"")).unwrap().outcome
}

#[test]
fn echo_returns_its_input() {
    let input = b"hello".repeat(2000);
    let result = run(ECHO, &task(job(), &input)).unwrap();
    assert_eq!(
        (result.outcome, result.bytes_in, result.bytes_out),
        (Outcome::Exited(0), 10_000, 10_000)
    );
    assert_eq!(result.output, input);
    assert!(result.fuel > 0);
    assert_eq!(result.peak_memory, 65_536);
    assert_eq!(result.memory_fuel, result.fuel);
}

#[test]
fn memory_is_paid_for_the_fuel_it_is_held() {
    let grows = |first: &str, then: &str| {
        let text = format!(
            "(module (memory 1) (func (export \"_start\") {first}
                (drop (memory.grow (i32.const 3))) {then}))"
        );
        run(&text, &task(job(), b"")).unwrap()
    };
    let work = "(drop (i32.const 0))".repeat(100);
    let (late, early) = (grows(&work, ""), grows("", &work));
    assert_eq!((late.fuel, late.peak_memory), (early.fuel, early.peak_memory));
    // All of it with one page; and the work with three more.
    assert_eq!(late.memory_fuel, late.fuel);
    let idle = early.fuel - grows("", "").fuel;
    assert!(idle > 0);
    assert_eq!(early.memory_fuel, early.fuel + 3 * idle);
}

#[test]
fn exit_codes_are_bytes() {
    assert_eq!(outcome(&exits(&[], "", "(i32.const 0)")), Outcome::Exited(0));
    assert_eq!(outcome(&exits(&[], "", "(i32.const 42)")), Outcome::Exited(42));
    assert_eq!(outcome(&exits(&[], "", "(i32.const 0x12345607)")), Outcome::Exited(7));
}

#[test]
fn an_endless_loop_uses_exactly_its_fuel() {
    for fuel in [1, 1000, SLICE, SLICE + 1, 3 * SLICE - 7] {
        let spin = task(tallymill_sandbox::JobSpec::new(Limits { fuel, ..limits() }), b"");
        let result = run(SPIN, &spin).unwrap();
        assert_eq!((result.outcome, result.fuel), (Outcome::FuelExhausted, fuel));
    }
}

#[test]
fn exhaustion_keeps_what_was_written_before() {
    let text = prints(&[], "(data (i32.const 0) \"kept\")", "", 0, 4);
    let text = text.strip_suffix("))").unwrap().to_owned() + "(loop $again (br $again))))";
    let result = run(&text, &task(job(), b"")).unwrap();
    assert_eq!((result.outcome, result.output.as_slice()), (Outcome::FuelExhausted, &b"kept"[..]));
}

#[test]
fn traps_have_their_kinds() {
    let body = |body: &str| {
        format!(
            "(module (memory 1) (table 2 funcref) (type $t (func)) (type $u (func (param i32)))
        (func $f (param i32)) (elem (i32.const 1) $f) (func (export \"_start\") {body}))"
        )
    };
    let cases = [
        ("unreachable", Trap::Unreachable),
        ("(drop (i32.load (i32.const 65536)))", Trap::MemoryOutOfBounds),
        ("(call_indirect (type $t) (i32.const 2))", Trap::TableOutOfBounds),
        ("(call_indirect (type $t) (i32.const 0))", Trap::BadSignature),
        ("(call_indirect (type $t) (i32.const 1))", Trap::BadSignature),
        ("(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))", Trap::IntegerOverflow),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", Trap::DivisionByZero),
        ("(drop (i32.trunc_f32_s (f32.const nan)))", Trap::IntegerOverflow),
        ("(memory.fill (i32.const 65536) (i32.const 0) (i32.const 1))", Trap::MemoryOutOfBounds),
        ("(table.fill (i32.const 2) (ref.null func) (i32.const 1))", Trap::TableOutOfBounds),
    ];
    for (code, trap) in cases {
        let result = run(&body(code), &task(job(), b"")).unwrap();
        assert_eq!(result.outcome, Outcome::Trapped(trap), "{code}");
        assert!(result.fuel > 0 && result.fuel <= SLICE, "{code}: {}", result.fuel);
    }
}

#[test]
fn the_fuel_of_a_trap_is_the_next_slice_and_at_most_the_limit() {
    let divides =
        "(module (func (export \"_start\") (drop (i32.div_u (i32.const 1) (i32.const 0)))))";
    assert_eq!(run(divides, &task(job(), b"")).unwrap().fuel, SLICE);
    let poor = task(tallymill_sandbox::JobSpec::new(Limits { fuel: 100, ..limits() }), b"");
    assert_eq!(run(divides, &poor).unwrap().fuel, 100);
}

#[test]
fn a_data_segment_out_of_bounds_is_a_trap_of_the_guest() {
    let text = "(module (memory 1) (data (i32.const 65536) \"x\") (func (export \"_start\")))";
    assert_eq!(outcome(text), Outcome::Trapped(Trap::MemoryOutOfBounds));
}

#[test]
fn deep_recursion_exhausts_the_modelled_stack_not_the_native_one() {
    let plain = "(module (func $f (call $f)) (func (export \"_start\") (call $f)))";
    assert_eq!(outcome(plain), Outcome::StackExhausted);
    // Frames of many live vectors: the largest native frames for what the model charges.
    let lives = "(v128.load (i32.const 0))".repeat(200);
    let drops = "v128.store ";
    let stores: String = (0..200)
        .map(|_| "(local.set $v) (i32.const 0) (local.get $v) ".to_owned() + drops)
        .collect();
    let wide = format!(
        "(module (memory 1) (func $f (local $v v128) {lives} (call $f) {stores}) (func (export \"_start\") (call $f)))"
    );
    assert_eq!(outcome(&wide), Outcome::StackExhausted);
    let fuel = || run(&wide, &task(job(), b"")).unwrap().fuel;
    assert_eq!(fuel(), fuel());
}

#[test]
fn growth_beyond_the_limit_answers_minus_one_and_pays_no_page() {
    let text = exits(&[], "", "(i32.eq (memory.grow (i32.const 3)) (i32.const -1))");
    let with = |memory| {
        let task = task(tallymill_sandbox::JobSpec::new(Limits { memory, ..limits() }), b"");
        run(&text, &task).unwrap()
    };
    let (small, exact, large) = (with(4 << 16), with(5 << 16), with(100 << 16));
    assert_eq!([small.outcome, exact.outcome, large.outcome].map(|o| o.parts().1), [1, 0, 0]);
    let page = u64::from(profile().costs.unit(tallymill_meter::Unit::MemoryGrow));
    assert_eq!((exact.fuel, large.fuel), (small.fuel + 3 * page, exact.fuel));
    assert_eq!((small.peak_memory, exact.peak_memory), (2 << 16, 5 << 16));
}

#[test]
fn growth_of_a_memory_that_is_not_exported_is_counted_too() {
    let text = "(module (memory 1) (func (export \"_start\") (drop (memory.grow (i32.const 2)))))";
    assert_eq!(run(text, &task(job(), b"")).unwrap().peak_memory, 3 << 16);
}

#[test]
fn declaring_more_than_the_limit_ends_before_anything_runs() {
    let result =
        run("(module (memory 65) (func (export \"_start\")))", &task(job(), b"in")).unwrap();
    assert_eq!((result.outcome, result.fuel, result.bytes_in), (Outcome::MemoryExceeded, 0, 2));
    assert_eq!(
        outcome("(module (table 10001 funcref) (func (export \"_start\")))"),
        Outcome::MemoryExceeded
    );
}

#[test]
fn output_beyond_its_limit_ends_the_run_with_what_fits() {
    let text = exits(&["fd_write"], "(data (i32.const 16) \"abcdef\") (data (i32.const 0) \"\\10\\00\\00\\00\\06\\00\\00\\00\")",
        "(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))
         (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32))) (i32.const 0)");
    let with = |output| {
        let task = task(tallymill_sandbox::JobSpec::new(Limits { output, ..limits() }), b"");
        run(&text, &task).unwrap()
    };
    let (short, exact) = (with(8), with(12));
    assert_eq!(
        (short.outcome, short.output.as_slice()),
        (Outcome::OutputExceeded, &b"abcdefab"[..])
    );
    assert_eq!(
        (exact.outcome, exact.output.as_slice()),
        (Outcome::Exited(0), &b"abcdefabcdef"[..])
    );
    assert!(short.fuel < exact.fuel);
}

#[test]
fn the_log_is_cut_and_the_guest_not_told() {
    let text = exits(
        &["fd_write"],
        "(data (i32.const 16) \"abcdef\") (data (i32.const 0) \"\\10\\00\\00\\00\\06\\00\\00\\00\")",
        "(drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 32))) (i32.load (i32.const 32))",
    );
    let task = task(tallymill_sandbox::JobSpec::new(Limits { log: 4, ..limits() }), b"");
    let result = run(&text, &task).unwrap();
    assert_eq!((result.outcome, result.log.as_slice()), (Outcome::Exited(6), &b"abcd"[..]));
}

/// Runs an endless loop until it has used some fuel, and stops it.
fn stopped_after(fuel: u64) -> TaskResult {
    let spin = compiled(&module(SPIN));
    let pulse = Pulse::default();
    std::thread::scope(|scope| {
        let run = || with_stack(|| run_task(&spin, &task(endless(), b""), &pulse)).unwrap();
        let run = scope.spawn(run);
        while pulse.fuel() < fuel {
            std::thread::yield_now();
        }
        pulse.stop();
        run.join().unwrap().unwrap()
    })
}

#[test]
fn a_stopped_run_owes_the_fuel_of_its_slice() {
    for slices in 1..4 {
        let result = stopped_after(slices * SLICE);
        assert_eq!(result.outcome, Outcome::Stopped);
        // It looks at the first check behind the end of each slice.
        assert!(result.fuel > slices * SLICE && result.fuel % SLICE < 100, "{}", result.fuel);
    }
}

#[test]
fn a_guest_of_long_calls_of_the_host_is_stopped_between_two_of_them() {
    // A MiB of randomness for each dozen of fuel, as if it cost nothing: a slice would take minutes.
    let text = r#"(module
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (memory (export "memory") 17)
        (func (export "_start") (loop $again
            (drop (call $random (i32.const 0) (i32.const 1048576)))
            (br $again))))"#;
    let unpaid = Profile { costs: CostTable::v1(), ..profile() };
    let metered = meter(&module(text), &unpaid).unwrap();
    let module = Engine::new(1).unwrap().compile_here(&metered.bytes, metered.info).unwrap();
    let pulse = Pulse::default();
    std::thread::scope(|scope| {
        let run = || with_stack(|| run_task(&module, &task(endless(), b""), &pulse)).unwrap();
        let run = scope.spawn(run);
        while pulse.fuel() == 0 {
            std::thread::yield_now();
        }
        pulse.stop();
        let result = run.join().unwrap().unwrap();
        assert_eq!(result.outcome, Outcome::Stopped);
        assert!(result.fuel > 0 && result.fuel < SLICE, "{}", result.fuel);
    });
}

#[test]
fn a_run_stopped_before_it_begins_ends_at_its_first_look() {
    let pulse = Pulse::default();
    pulse.stop();
    let spin = compiled(&module(SPIN));
    let result = with_stack(|| run_task(&spin, &task(job(), b""), &pulse)).unwrap().unwrap();
    assert_eq!(result.outcome, Outcome::Stopped);
    // Its function was entered; what follows in it costs as much again at most.
    let entry = u64::from(profile().costs.function());
    assert!((entry..=2 * entry).contains(&result.fuel), "{}", result.fuel);
}

#[test]
fn a_pulse_serves_one_run_after_the_other() {
    let spin = compiled(&module(SPIN));
    let pulse = Pulse::default();
    let run = || with_stack(|| run_task(&spin, &task(job(), b""), &pulse)).unwrap().unwrap();
    let exhausted = run();
    assert_eq!(exhausted.outcome, Outcome::FuelExhausted);
    assert_eq!(pulse.fuel() / SLICE, (exhausted.fuel - 1) / SLICE, "what the last slice left");
    pulse.reset(true);
    assert_eq!((pulse.fuel(), run().outcome), (0, Outcome::Stopped));
    pulse.reset(false);
    let again = run();
    assert_eq!((again.outcome, again.fuel), (exhausted.outcome, exhausted.fuel));
}

#[test]
fn progress_is_readable_while_a_guest_runs() {
    let spin = compiled(&module(SPIN));
    let pulse = Pulse::default();
    std::thread::scope(|scope| {
        let run =
            scope.spawn(|| with_stack(|| run_task(&spin, &task(endless(), b""), &pulse)).unwrap());
        while pulse.fuel() < 3 * SLICE {
            std::thread::yield_now();
        }
        pulse.stop();
        let result = run.join().unwrap().unwrap();
        assert_eq!(result.outcome, Outcome::Stopped);
        assert!(result.fuel >= 3 * SLICE);
    });
}

fn endless() -> tallymill_sandbox::JobSpec {
    tallymill_sandbox::JobSpec::new(Limits { fuel: 1 << 60, ..limits() })
}

#[test]
fn a_start_function_runs_first_and_is_counted() {
    let with = "(module (global $g (mut i32) (i32.const 0)) (func $s (global.set $g (i32.const 1))) (start $s)
        (func (export \"_start\") (if (i32.eqz (global.get $g)) (then unreachable))))";
    let without = with.replace("(start $s)", "");
    assert_eq!(outcome(with), Outcome::Exited(0));
    assert_eq!(outcome(&without), Outcome::Trapped(Trap::Unreachable));
}

#[test]
fn modules_that_are_no_commands_are_refused_with_what_to_do() {
    let refused = |text: &str| screen(&module(text)).unwrap_err();
    assert_eq!(refused("(module)"), ModuleError::NoStart { offset: 8 });
    // After the header: a function and its type (10 bytes), then one export of 7 bytes and its count.
    let other = refused("(module (func (export \"main\")))");
    assert_eq!(other, ModuleError::NoStart { offset: 28 });
    assert!(other.to_string().contains("wasm32-wasip1"), "{other}");
    let hidden = imports(&["fd_write"]).replace("(export \"memory\")", "");
    let hidden = module(&format!("(module {hidden} (func (export \"_start\")))"));
    let at = hidden.windows(22).position(|w| w == b"wasi_snapshot_preview1").unwrap() - 1;
    assert_eq!(screen(&hidden).unwrap_err(), ModuleError::NoMemory { offset: at });
    let foreign = refused("(module (import \"env\" \"f\" (func)) (func (export \"_start\")))");
    let said = foreign.to_string();
    assert!(said.contains("rule 1 ") && said.contains("\"env\" \"f\" at offset 17"), "{said}");
}

#[test]
fn a_trap_at_instantiation_had_the_memory_that_is_declared() {
    let text = r#"(module (memory (export "memory") 2) (data (i32.const 131072) "x") (func (export "_start")))"#;
    let result = run(text, &task(job(), b"")).unwrap();
    assert_eq!(result.outcome, Outcome::Trapped(Trap::MemoryOutOfBounds));
    assert_eq!(result.peak_memory, 2 << 16);
}
