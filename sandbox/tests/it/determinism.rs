//! The same module, input and job give the same result, and only what the manifest names changes it.

use std::sync::Arc;

use tallymill_protocol::TaskIndex;
use tallymill_sandbox::{JobSpec, TaskResult, TaskSpec};

use crate::guest::{compiled, file, job, module, prints, run, run_compiled, task};

/// Prints clocks, randomness and the directory.
fn everything() -> String {
    let names = ["clock_time_get", "random_get", "fd_readdir", "path_create_directory"];
    let body = "(drop (call $path_create_directory (i32.const 3) (i32.const 0) (i32.const 1)))
        (drop (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 64)))
        (drop (call $random_get (i32.const 72) (i32.const 40)))
        (drop (call $random_get (i32.const 112) (i32.const 3)))
        (drop (call $fd_readdir (i32.const 3) (i32.const 128) (i32.const 200) (i64.const 0) (i32.const 120)))
        (loop $spin (i32.store8 (i32.const 500) (i32.add (i32.load8_u (i32.const 500)) (i32.const 1)))
            (br_if $spin (i32.load8_u (i32.const 500))))";
    prints(&names, "(data (i32.const 0) \"m\")", body, 64, 300)
}

fn seeded(seed: u8) -> JobSpec {
    JobSpec { seed: [seed; 32], files: vec![file("b", b"1"), file("z", b"2")], ..job() }
}

fn same(result: TaskResult) -> TaskResult {
    TaskResult { cpu_time_us: 0, ..result }
}

#[test]
fn a_hundred_runs_are_equal() {
    let guest = compiled(&module(&everything()));
    let task = task(seeded(1), b"input");
    let first = same(run_compiled(&guest, &task).unwrap());
    assert_eq!(first.bytes_out, 300);
    for _ in 0..100 {
        assert_eq!(same(run_compiled(&guest, &task).unwrap()), first);
    }
    assert_eq!(same(run(&everything(), &task).unwrap()), first, "another compilation");
}

#[test]
fn randomness_depends_on_seed_and_index_alone() {
    let guest = compiled(&module(&everything()));
    let output = |seed, index| {
        let task = TaskSpec {
            job: Arc::new(seeded(seed)),
            index: TaskIndex(index),
            input: b"".as_slice().into(),
        };
        run_compiled(&guest, &task).unwrap().output
    };
    let random = |bytes: Vec<u8>| bytes[8..51].to_vec();
    assert_ne!(random(output(1, 0)), random(output(2, 0)));
    assert_ne!(random(output(1, 0)), random(output(1, 1)));
    assert_eq!(output(1, 7), output(1, 7));
    // The documented definition, computed independently.
    let mut hasher = blake3::Hasher::new_keyed(&[1; 32]);
    let mut expected = [0; 43];
    hasher
        .update(b"tallymill/v1/random")
        .update(&7u32.to_be_bytes())
        .finalize_xof()
        .fill(&mut expected);
    assert_eq!(random(output(1, 7)), expected);
}

#[test]
fn nothing_is_left_over_from_one_task_to_the_next() {
    let names = ["path_open"];
    let body = "(i32.store (i32.const 100) (i32.add (i32.load (i32.const 100)) (i32.const 1)))
        (i32.store (i32.const 104) (call $path_open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 5)
            (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 108)))
        (i32.store (i32.const 112) (global.get $g)) (global.set $g (i32.const 9))
        (i32.store (i32.const 116) (memory.size)) (drop (memory.grow (i32.const 1)))";
    let text = prints(
        &names,
        "(global $g (mut i32) (i32.const 5)) (data (i32.const 0) \"f\")",
        body,
        100,
        20,
    );
    let guest = compiled(&module(&text));
    for _ in 0..3 {
        let output = run_compiled(&guest, &task(job(), b"")).unwrap().output;
        assert_eq!(output, [1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0]);
    }
}
