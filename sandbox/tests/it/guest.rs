//! Small guests in text form, and what it takes to run them.

use std::sync::Arc;

use tallymill_protocol::{Limits, TaskIndex};
use tallymill_sandbox::{
    CompiledModule, Engine, InputFile, JobSpec, Launcher, Pulse, TaskResult, TaskSpec, Void,
    run_task, screen, with_stack,
};

/// Limits that a mistake in a test reaches quickly.
pub fn limits() -> Limits {
    Limits {
        fuel: 10_000_000_000,
        memory: 4 << 20,
        output: 1 << 16,
        log: 1 << 10,
        scratch: 1 << 16,
        ..Limits::default()
    }
}

pub fn job() -> JobSpec {
    JobSpec::new(limits())
}

pub fn task(job: JobSpec, input: &[u8]) -> TaskSpec {
    TaskSpec { job: Arc::new(job), index: TaskIndex(0), input: input.into() }
}

pub fn file(name: &str, bytes: &[u8]) -> InputFile {
    InputFile { name: name.into(), bytes: bytes.into() }
}

pub fn module(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

pub fn compiled(module: &[u8]) -> CompiledModule {
    let metered = screen(module).unwrap();
    Engine::new(1).unwrap().compile_here(&metered.bytes, metered.info).unwrap()
}

pub fn run_compiled(module: &CompiledModule, task: &TaskSpec) -> Result<TaskResult, Void> {
    with_stack(|| run_task(module, task, &Pulse::default())).unwrap()
}

/// Runs a guest in this process.
pub fn run(text: &str, task: &TaskSpec) -> Result<TaskResult, Void> {
    run_compiled(&compiled(&module(text)), task)
}

/// Imports by name with their types in text form, and a memory.
pub fn imports(names: &[&str]) -> String {
    let all = [
        ("args_get", "i32 i32"),
        ("args_sizes_get", "i32 i32"),
        ("environ_get", "i32 i32"),
        ("environ_sizes_get", "i32 i32"),
        ("clock_res_get", "i32 i32"),
        ("clock_time_get", "i32 i64 i32"),
        ("random_get", "i32 i32"),
        ("sched_yield", ""),
        ("fd_read", "i32 i32 i32 i32"),
        ("fd_write", "i32 i32 i32 i32"),
        ("fd_pread", "i32 i32 i32 i64 i32"),
        ("fd_pwrite", "i32 i32 i32 i64 i32"),
        ("fd_seek", "i32 i64 i32 i32"),
        ("fd_tell", "i32 i32"),
        ("fd_close", "i32"),
        ("fd_sync", "i32"),
        ("fd_fdstat_get", "i32 i32"),
        ("fd_fdstat_set_flags", "i32 i32"),
        ("fd_filestat_get", "i32 i32"),
        ("fd_filestat_set_size", "i32 i64"),
        ("fd_prestat_get", "i32 i32"),
        ("fd_prestat_dir_name", "i32 i32 i32"),
        ("fd_readdir", "i32 i32 i32 i64 i32"),
        ("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32"),
        ("path_filestat_get", "i32 i32 i32 i32 i32"),
        ("path_create_directory", "i32 i32 i32"),
        ("path_remove_directory", "i32 i32 i32"),
        ("path_unlink_file", "i32 i32 i32"),
        ("path_rename", "i32 i32 i32 i32 i32 i32"),
        ("poll_oneoff", "i32 i32 i32 i32"),
        ("path_symlink", "i32 i32 i32 i32 i32"),
        ("sock_send", "i32 i32 i32 i32 i32"),
    ];
    let mut text = String::new();
    for name in names {
        let types = all.iter().find(|(other, _)| other == name).unwrap().1;
        text += &format!(
            "(import \"wasi_snapshot_preview1\" \"{name}\" (func ${name} (param {types}) (result i32)))\n"
        );
    }
    text + "(import \"wasi_snapshot_preview1\" \"proc_exit\" (func $proc_exit (param i32)))
            (memory (export \"memory\") 2 8)\n"
}

/// A guest that runs `body` and then exits with the i32 it leaves.
pub fn exits(names: &[&str], data: &str, body: &str) -> String {
    format!(
        "(module {} {data} (func (export \"_start\") (call $proc_exit (block (result i32) {body}))))",
        imports(names)
    )
}

/// A guest that runs `body`, then writes `length` bytes at `at` to stdout.
pub fn prints(names: &[&str], data: &str, body: &str, at: u32, length: u32) -> String {
    let mut names = names.to_vec();
    if !names.contains(&"fd_write") {
        names.push("fd_write");
    }
    format!(
        "(module {} {data} (func (export \"_start\") {body}
            (i32.store (i32.const 65000) (i32.const {at})) (i32.store (i32.const 65004) (i32.const {length}))
            (drop (call $fd_write (i32.const 1) (i32.const 65000) (i32.const 1) (i32.const 65008)))))",
        imports(&names)
    )
}

/// A guest that copies its input to its output, 4 KiB at a time.
pub const ECHO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "_start")
        (loop $more
            (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 4096))
            (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
            (if (i32.load (i32.const 8)) (then
                (i32.store (i32.const 4) (i32.load (i32.const 8)))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
                (br $more))))))"#;

/// A guest that never ends.
pub const SPIN: &str = "(module (func (export \"_start\") (loop $again (br $again))))";

pub fn launcher() -> Launcher {
    Launcher::program(env!("CARGO_BIN_EXE_sandbox-child")).with_errors_shown()
}
