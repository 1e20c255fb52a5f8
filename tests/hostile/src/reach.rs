//! Guests that reach for what is outside: files, network, time, other functions of the host, memory that is not theirs.

use super::text::{attempts, parse};
use super::{Contained, Guest, refused};

/// What runs to its end and finds nothing open.
const NOTHING: Contained = Contained::FoundNothing;

pub(crate) fn guests() -> Vec<Guest> {
    let mut guests = imports();
    guests.extend(not_modules());
    guests.extend(vec![
        Guest::new(
            "paths-outside",
            "opens /etc/passwd, ../ and the like, from every descriptor",
            (NOTHING, "paths cannot leave the directory in memory"),
            paths,
        ),
        Guest::new(
            "links",
            "makes symbolic and hard links to files outside",
            (NOTHING, "links are not offered (ENOSYS)"),
            links,
        ),
        Guest::new(
            "sleep",
            "sleeps an hour",
            (NOTHING, "poll_oneoff is not offered (ENOSYS)"),
            sleeps,
        ),
        Guest::new(
            "sockets-and-signals",
            "accepts, sends, receives, raises signals, renumbers descriptors",
            (NOTHING, "not offered (ENOSYS)"),
            sockets,
        ),
        Guest::new(
            "vectors-wild",
            "reads and writes with vectors that leave memory, wrap around, or are 2^32 - 1",
            (NOTHING, "every pointer is checked (EFAULT, EINVAL)"),
            vectors,
        ),
    ]);
    guests
}

fn imports() -> Vec<Guest> {
    fn importing(import: &str) -> Vec<u8> {
        parse(&format!(
            "(module (import {import}) (memory (export \"memory\") 1) (func (export \"_start\")))"
        ))
    }
    vec![
        Guest::new("import-of-env", "imports env.system", refused(1, "is not offered"), || {
            importing("\"env\" \"system\" (func (param i32) (result i32))")
        }),
        Guest::new(
            "import-of-the-hook",
            "imports the meter's hook",
            refused(1, "is not offered"),
            || importing("\"tallymill\" \"hook\" (func (param i64))"),
        ),
        Guest::new(
            "import-with-floats",
            "imports a host function with another signature, to pass NaN bits",
            refused(1, "another signature"),
            || {
                importing(
                    "\"wasi_snapshot_preview1\" \"clock_time_get\" (func (param f64 i64 i32) (result i32))",
                )
            },
        ),
        Guest::new(
            "import-of-a-memory",
            "imports a memory",
            refused(1, "is not a function"),
            || parse("(module (import \"env\" \"memory\" (memory 1)) (func (export \"_start\")))"),
        ),
        Guest::new(
            "import-of-a-global",
            "imports the meter's counter",
            refused(1, "is not a function"),
            || importing("\"tallymill\" \"tallymill:count\" (global (mut i64))"),
        ),
        Guest::new(
            "memory-hidden",
            "imports host functions and keeps its memory from them",
            refused(1, "does not export its memory"),
            || {
                parse("(module (import \"wasi_snapshot_preview1\" \"random_get\" (func (param i32 i32) (result i32)))
                (memory 1) (func (export \"_start\")))")
            },
        ),
    ]
}

fn not_modules() -> Vec<Guest> {
    let invalid = refused(1, "invalid module");
    vec![
        Guest::new("not-wasm", "a shell script", invalid, || b"#!/bin/sh\nrm -rf /\n".to_vec()),
        Guest::new("nothing", "no bytes at all", invalid, Vec::new),
        Guest::new("truncated", "a module whose last bytes are missing", invalid, || {
            let mut whole = super::benign();
            whole.truncate(whole.len().saturating_sub(5));
            whole
        }),
        Guest::new("component", "a component", refused(1, "a component"), || parse("(component)")),
        Guest::new("threads", "waits on shared memory for ever", invalid, || {
            parse(
                "(module (memory 1 1 shared) (func (export \"_start\")
                (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1)))))",
            )
        }),
        Guest::new(
            "relaxed-simd",
            "uses operators whose results differ between machines",
            invalid,
            || {
                parse(
                    "(module (func (export \"_start\") (local v128)
                (drop (f32x4.relaxed_madd (local.get 0) (local.get 0) (local.get 0)))))",
                )
            },
        ),
        Guest::new("tail-calls", "calls itself without using stack", invalid, || {
            parse("(module (func $f (return_call $f)) (func (export \"_start\") (call $f)))")
        }),
        Guest::new("exceptions", "throws", invalid, || {
            parse("(module (tag $t) (func (export \"_start\") (throw $t)))")
        }),
    ]
}

fn paths() -> Vec<u8> {
    const PATHS: [&str; 9] = [
        "/etc/passwd",
        "../etc/passwd",
        "d/../../etc/passwd",
        "./../..",
        "/",
        "/proc/self/environ",
        "/dev/null",
        "d/../../../proc/self/mem",
        "..",
    ];
    let mut at = 1024;
    let mut fields = String::from("(data (i32.const 512) \"d\")");
    let mut body = String::from(
        "(drop (call $path_create_directory (i32.const 3) (i32.const 512) (i32.const 1)))
        (drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 512) (i32.const 1) (i32.const 2) (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 32)))",
    );
    for path in PATHS {
        fields += &format!("(data (i32.const {at}) \"{path}\")");
        for descriptor in ["0", "1", "2", "3", "4", "5", "-1"] {
            // As it is, made if it is missing, and as a directory.
            for how in [0, 1, 2] {
                body += &format!(
                    "(call $denied (call $path_open (i32.const {descriptor}) (i32.const 1) (i32.const {at}) (i32.const {})
                        (i32.const {how}) (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 36)))",
                    path.len()
                );
            }
        }
        at += 64;
    }
    attempts(&["path_open", "path_create_directory"], &fields, &body)
}

fn links() -> Vec<u8> {
    let fields = "(data (i32.const 64) \"/etc/passwd\") (data (i32.const 128) \"link\")";
    let body = "
        (call $denied (call $path_symlink (i32.const 64) (i32.const 11) (i32.const 3) (i32.const 128) (i32.const 4)))
        (call $denied (call $path_link (i32.const 3) (i32.const 1) (i32.const 64) (i32.const 11) (i32.const 3) (i32.const 128) (i32.const 4)))
        (call $denied (call $path_readlink (i32.const 3) (i32.const 128) (i32.const 4) (i32.const 256) (i32.const 64) (i32.const 32)))
        (call $denied (call $path_open (i32.const 3) (i32.const 1) (i32.const 128) (i32.const 4) (i32.const 0) (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 36)))
        (call $denied (call $path_rename (i32.const 3) (i32.const 64) (i32.const 11) (i32.const 3) (i32.const 128) (i32.const 4)))
        (call $denied (call $path_unlink_file (i32.const 3) (i32.const 64) (i32.const 11)))";
    attempts(
        &[
            "path_symlink",
            "path_link",
            "path_readlink",
            "path_open",
            "path_rename",
            "path_unlink_file",
        ],
        fields,
        body,
    )
}

/// A subscription to a clock, an hour from now.
fn sleeps() -> Vec<u8> {
    let body = "(i32.store (i32.const 80) (i32.const 1)) (i64.store (i32.const 88) (i64.const 3600000000000))
        (call $denied (call $poll_oneoff (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 32)))";
    attempts(&["poll_oneoff"], "", body)
}

fn sockets() -> Vec<u8> {
    let calls = (0..6).map(|fd| {
        format!(
            "(call $denied (call $sock_accept (i32.const {fd}) (i32.const 0) (i32.const 32)))
            (call $denied (call $sock_send (i32.const {fd}) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 32)))
            (call $denied (call $sock_recv (i32.const {fd}) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 32) (i32.const 36)))
            (call $denied (call $fd_renumber (i32.const 3) (i32.const {fd})))
            (call $denied (call $proc_raise (i32.const {fd})))"
        )
    });
    attempts(
        &["sock_accept", "sock_send", "sock_recv", "fd_renumber", "proc_raise"],
        "",
        &calls.collect::<String>(),
    )
}

fn vectors() -> Vec<u8> {
    // At 0 a vector that leaves memory, at 8 one of 2^32 - 1 bytes, at 16 one that begins at the end of all memory, at 24 a good one.
    let fields = "(data (i32.const 0) \"\\ff\\ff\\01\\00\\02\\00\\00\\00\\01\\00\\00\\00\\ff\\ff\\ff\\ff\\ff\\ff\\ff\\ff\\01\\00\\00\\00\\00\\01\\00\\00\\04\\00\\00\\00\")";
    let mut body = String::new();
    for (call, descriptor) in [("$fd_write", 1), ("$fd_write", 2), ("$fd_read", 0)] {
        for (at, count, answer) in [
            ("0", "1", "512"),
            ("8", "1", "512"),
            ("16", "1", "512"),
            ("0", "3", "512"),
            ("24", "-1", "512"),
            ("24", "1025", "512"),
            ("-8", "1", "512"),
            ("-1", "2", "512"),
            ("24", "1", "131070"),
            ("24", "1", "-1"),
        ] {
            body += &format!(
                "(call $denied (call {call} (i32.const {descriptor}) (i32.const {at}) (i32.const {count}) (i32.const {answer})))"
            );
        }
    }
    // A vector that overlaps itself and the place of the answer is allowed and stays inside.
    body += "(i64.store (i32.const 600) (i64.const 0x1000000258)) (i64.store (i32.const 608) (i64.const 0x1000000258))
        (drop (call $fd_read (i32.const 0) (i32.const 600) (i32.const 2) (i32.const 604)))
        (call $denied (call $random_get (i32.const 131071) (i32.const 2)))
        (call $denied (call $random_get (i32.const 1) (i32.const -1)))
        (call $denied (call $random_get (i32.const -1) (i32.const 1)))";
    attempts(&["fd_write", "fd_read", "random_get"], fields, &body)
}
