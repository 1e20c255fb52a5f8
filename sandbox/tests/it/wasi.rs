//! Every function of WASI that works, with its errors, and a few that do not.

use tallymill_protocol::{Limits, Outcome};
use tallymill_sandbox::{JobSpec, TaskResult};

use crate::guest::{exits, file, job, limits, prints, run, task};

const BAD_FD: u8 = 8;
const EXISTS: u8 = 20;
const FAULT: u8 = 21;
const ILLEGAL: u8 = 25;
const INVALID: u8 = 28;
const IS_DIRECTORY: u8 = 31;
const TOO_MANY: u8 = 33;
const TOO_LONG: u8 = 37;
const NO_ENTRY: u8 = 44;
const NO_SPACE: u8 = 51;
const NOT_OFFERED: u8 = 52;
const NOT_DIRECTORY: u8 = 54;
const NOT_EMPTY: u8 = 55;
const READ_ONLY: u8 = 69;
const STREAM: u8 = 70;
const NOT_CAPABLE: u8 = 76;

/// Vector of one part: 64 bytes at 1024; another, at 16, whose part leaves the memory.
const VECTORS: &str = r#"(data (i32.const 0) "\00\04\00\00\40\00\00\00")
    (data (i32.const 16) "\00\04\00\00\ff\ff\ff\7f")"#;

/// Names at fixed places: "in" 100, "new" 104, "dir" 108, "dir/f" 112, "../x" 120, "/x" 128, "in/x" 132, "\ff" 140, "dir2" 144, "." 150.
const NAMES: &str = r#"(data (i32.const 100) "in\00\00new\00dir\00dir/f\00\00\00../x\00\00\00\00/x\00\00in/x\00\00\00\00\ff\00\00\00dir2\00\00.")
    (data (i32.const 0) "\00\04\00\00\40\00\00\00")"#;

fn with_files() -> JobSpec {
    JobSpec { files: vec![file("a", b"AAA"), file("in", b"0123456789")], ..job() }
}

fn ended(text: &str, job: JobSpec, input: &[u8]) -> TaskResult {
    run(text, &task(job, input)).unwrap()
}

/// The exit code of a guest that exits with what `body` leaves.
fn code(names: &[&str], data: &str, body: &str) -> u8 {
    let result = ended(&exits(names, data, body), with_files(), b"input");
    match result.outcome {
        Outcome::Exited(code) => code,
        other => panic!("{other} after {body}"),
    }
}

/// Opens the file whose name has `length` bytes at `at`; the descriptor goes to address 200.
fn open(at: u32, length: u32, how: u32, rights: u64) -> String {
    format!(
        "(call $path_open (i32.const 3) (i32.const 0) (i32.const {at}) (i32.const {length}) (i32.const {how})
            (i64.const {rights}) (i64.const 0) (i32.const 0) (i32.const 200))"
    )
}

const READ: u64 = 2;
const WRITE: u64 = 64;

fn path(name: &str, at: u32, length: u32) -> String {
    format!("(call ${name} (i32.const 3) (i32.const {at}) (i32.const {length}))")
}

#[test]
fn arguments_and_environment_come_from_the_job_alone() {
    let job = JobSpec {
        argv: vec!["one".into(), String::new()],
        environment: vec![("A".into(), "1".into()), ("B".into(), "x=y".into())],
        ..job()
    };
    let names = ["args_get", "args_sizes_get", "environ_get", "environ_sizes_get"];
    let body = "(drop (call $args_sizes_get (i32.const 0) (i32.const 4)))
        (drop (call $environ_sizes_get (i32.const 8) (i32.const 12)))
        (drop (call $args_get (i32.const 16) (i32.const 64)))
        (drop (call $environ_get (i32.const 32) (i32.const 80)))";
    let output = ended(&prints(&names, "", body, 0, 96), job, b"").output;
    let word = |at: usize| u32::from_le_bytes(output[at..at + 4].try_into().unwrap());
    assert_eq!([0, 4, 8, 12].map(word), [3, 10, 2, 10]);
    assert_eq!([16, 20, 24, 32, 36].map(word), [64, 69, 73, 80, 84]);
    assert_eq!(&output[64..90], b"task\0one\0\0\0\0\0\0\0\0A=1\0B=x=y\0");
}

#[test]
fn nothing_is_moved_when_a_later_part_leaves_memory() {
    // A part of four bytes, then one of a byte behind all memory.
    let vectors =
        "(data (i32.const 0) \"\\40\\00\\00\\00\\04\\00\\00\\00\\ff\\ff\\ff\\ff\\01\\00\\00\\00\")";
    let body = |call: &str, fd: u32| {
        format!(
            "(i32.store (i32.const 96) (call {call} (i32.const {fd}) (i32.const 0) (i32.const 2) (i32.const 80)))"
        )
    };
    let with = |name: &str, fd| {
        let text = prints(&[name], vectors, &body(&format!("${name}"), fd), 64, 36);
        ended(&text, job(), b"gone")
    };
    let (read, written, logged) = (with("fd_read", 0), with("fd_write", 1), with("fd_write", 2));
    for result in [&read, &written, &logged] {
        assert_eq!(result.output[..4], [0; 4]);
        assert_eq!((result.output.len(), result.output[32]), (36, 21));
    }
    assert_eq!(logged.log.len(), 0);
}

#[test]
fn pointers_out_of_memory_are_faults() {
    let far = "(i32.const 0x7fffffff)";
    let calls = [
        ("args_get", format!("(call $args_get {far} (i32.const 0))")),
        ("args_sizes_get", format!("(call $args_sizes_get (i32.const 0) {far})")),
        ("environ_sizes_get", format!("(call $environ_sizes_get {far} (i32.const 0))")),
        ("clock_res_get", format!("(call $clock_res_get (i32.const 0) {far})")),
        ("clock_time_get", format!("(call $clock_time_get (i32.const 0) (i64.const 0) {far})")),
        ("random_get", format!("(call $random_get {far} (i32.const 4))")),
        ("fd_read", format!("(call $fd_read (i32.const 0) {far} (i32.const 1) (i32.const 8))")),
        ("fd_read", format!("(call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) {far})")),
        (
            "fd_read",
            "(call $fd_read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 8))".into(),
        ),
        (
            "fd_write",
            "(call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 8))".into(),
        ),
        (
            "fd_write",
            "(call $fd_write (i32.const 1) (i32.const -4) (i32.const 1) (i32.const 8))".into(),
        ),
        ("fd_fdstat_get", format!("(call $fd_fdstat_get (i32.const 0) {far})")),
        ("fd_filestat_get", format!("(call $fd_filestat_get (i32.const 0) {far})")),
        ("fd_prestat_get", format!("(call $fd_prestat_get (i32.const 3) {far})")),
        (
            "fd_prestat_dir_name",
            format!("(call $fd_prestat_dir_name (i32.const 3) {far} (i32.const 1))"),
        ),
        (
            "fd_readdir",
            format!(
                "(call $fd_readdir (i32.const 3) {far} (i32.const 9) (i64.const 0) (i32.const 8))"
            ),
        ),
        (
            "path_create_directory",
            format!("(call $path_create_directory (i32.const 3) {far} (i32.const 9))"),
        ),
        (
            "path_create_directory",
            "(call $path_create_directory (i32.const 3) (i32.const -1) (i32.const -1))".into(),
        ),
    ];
    for (name, call) in calls {
        assert_eq!(code(&[name], VECTORS, &call), FAULT, "{call}");
    }
}

#[test]
fn descriptors_that_are_not_open_are_refused() {
    let calls = [
        ("fd_read", "(call $fd_read (i32.const 9) (i32.const 0) (i32.const 1) (i32.const 8))"),
        ("fd_read", "(call $fd_read (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))"),
        ("fd_write", "(call $fd_write (i32.const -1) (i32.const 0) (i32.const 1) (i32.const 8))"),
        ("fd_write", "(call $fd_write (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))"),
        (
            "fd_pread",
            "(call $fd_pread (i32.const 9) (i32.const 0) (i32.const 1) (i64.const 0) (i32.const 8))",
        ),
        (
            "fd_pwrite",
            "(call $fd_pwrite (i32.const 9) (i32.const 0) (i32.const 1) (i64.const 0) (i32.const 8))",
        ),
        ("fd_seek", "(call $fd_seek (i32.const 9) (i64.const 0) (i32.const 0) (i32.const 8))"),
        ("fd_tell", "(call $fd_tell (i32.const 9) (i32.const 8))"),
        ("fd_close", "(call $fd_close (i32.const 9))"),
        ("fd_close", "(drop (call $fd_close (i32.const 1))) (call $fd_close (i32.const 1))"),
        ("fd_sync", "(call $fd_sync (i32.const 9))"),
        ("fd_fdstat_get", "(call $fd_fdstat_get (i32.const 9) (i32.const 8))"),
        ("fd_fdstat_set_flags", "(call $fd_fdstat_set_flags (i32.const 9) (i32.const 1))"),
        ("fd_filestat_get", "(call $fd_filestat_get (i32.const 9) (i32.const 8))"),
        ("fd_filestat_set_size", "(call $fd_filestat_set_size (i32.const 9) (i64.const 8))"),
        ("fd_prestat_get", "(call $fd_prestat_get (i32.const 0) (i32.const 8))"),
        (
            "fd_prestat_dir_name",
            "(call $fd_prestat_dir_name (i32.const 4) (i32.const 8) (i32.const 1))",
        ),
        (
            "fd_readdir",
            "(call $fd_readdir (i32.const 9) (i32.const 0) (i32.const 9) (i64.const 0) (i32.const 8))",
        ),
        ("path_unlink_file", "(call $path_unlink_file (i32.const 9) (i32.const 0) (i32.const 1))"),
    ];
    for (name, call) in calls {
        assert_eq!(code(&[name], VECTORS, call), BAD_FD, "{call}");
    }
}

#[test]
fn streams_have_no_position_and_no_names() {
    assert_eq!(
        code(
            &["fd_seek"],
            "",
            "(call $fd_seek (i32.const 0) (i64.const 0) (i32.const 1) (i32.const 8))"
        ),
        STREAM
    );
    assert_eq!(code(&["fd_tell"], "", "(call $fd_tell (i32.const 1) (i32.const 8))"), STREAM);
    assert_eq!(
        code(
            &["path_unlink_file"],
            NAMES,
            "(call $path_unlink_file (i32.const 1) (i32.const 100) (i32.const 2))"
        ),
        NOT_DIRECTORY
    );
}

#[test]
fn clocks_have_a_resolution_and_four_names() {
    assert_eq!(
        code(
            &["clock_time_get"],
            "",
            "(call $clock_time_get (i32.const 4) (i64.const 0) (i32.const 8))"
        ),
        INVALID
    );
    assert_eq!(
        code(&["clock_res_get"], "", "(call $clock_res_get (i32.const 4) (i32.const 8))"),
        INVALID
    );
    let body = "(drop (call $clock_res_get (i32.const 1) (i32.const 0)))
        (drop (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 8)))
        (drop (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 16)))
        (drop (call $clock_time_get (i32.const 3) (i64.const 0) (i32.const 24)))";
    let output =
        ended(&prints(&["clock_res_get", "clock_time_get"], "", body, 0, 32), job(), b"").output;
    let word = |at: usize| u64::from_le_bytes(output[at..at + 8].try_into().unwrap());
    assert_eq!(
        [0, 8, 16, 24].map(word),
        [1_000_000, 1_000_000, 1_577_836_800_002_000_000, 3_000_000]
    );
}

#[test]
fn what_is_not_offered_says_so_and_never_blocks() {
    let calls = [
        (
            "poll_oneoff",
            "(call $poll_oneoff (i32.const 0) (i32.const 8) (i32.const 1) (i32.const 64))",
        ),
        (
            "path_symlink",
            "(call $path_symlink (i32.const 0) (i32.const 1) (i32.const 3) (i32.const 0) (i32.const 1))",
        ),
        (
            "sock_send",
            "(call $sock_send (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 8))",
        ),
    ];
    for (name, call) in calls {
        assert_eq!(code(&[name], "", call), NOT_OFFERED, "{call}");
    }
    assert_eq!(code(&["sched_yield"], "", "(call $sched_yield)"), 0);
}

#[test]
fn the_root_is_preopened_as_a_slash() {
    let body = "(drop (call $fd_prestat_get (i32.const 3) (i32.const 0)))
        (drop (call $fd_prestat_dir_name (i32.const 3) (i32.const 8) (i32.const 1)))";
    let names = ["fd_prestat_get", "fd_prestat_dir_name"];
    assert_eq!(ended(&prints(&names, "", body, 0, 9), job(), b"").output, b"\0\0\0\0\x01\0\0\0/");
    assert_eq!(
        code(
            &["fd_prestat_dir_name"],
            "",
            "(call $fd_prestat_dir_name (i32.const 3) (i32.const 8) (i32.const 0))"
        ),
        TOO_LONG
    );
}

#[test]
fn an_input_file_is_read_sought_and_described() {
    let names = [
        "path_open",
        "fd_read",
        "fd_seek",
        "fd_tell",
        "fd_pread",
        "fd_filestat_get",
        "fd_fdstat_get",
    ];
    let body = format!(
        "(drop {})
        (drop (call $fd_seek (i32.load (i32.const 200)) (i64.const -4) (i32.const 2) (i32.const 208)))
        (drop (call $fd_read (i32.load (i32.const 200)) (i32.const 0) (i32.const 1) (i32.const 216)))
        (drop (call $fd_tell (i32.load (i32.const 200)) (i32.const 220)))
        (drop (call $fd_filestat_get (i32.load (i32.const 200)) (i32.const 228)))
        (drop (call $fd_fdstat_get (i32.load (i32.const 200)) (i32.const 292)))
        (i32.store (i32.const 0) (i32.const 1100))
        (drop (call $fd_pread (i32.load (i32.const 200)) (i32.const 0) (i32.const 1) (i64.const 7) (i32.const 316)))
        (i32.store (i32.const 320) (i32.load (i32.const 1024))) (i32.store (i32.const 324) (i32.load (i32.const 1100)))",
        open(100, 2, 0, READ)
    );
    let output = ended(&prints(&names, NAMES, &body, 200, 128), with_files(), b"").output;
    let word = |at: usize| u64::from_le_bytes(output[at - 200..at - 192].try_into().unwrap());
    assert_eq!(word(200) & 0xffff_ffff, 4, "the lowest free descriptor");
    assert_eq!((word(208), word(216) & 0xffff_ffff, word(220)), (6, 4, 10));
    assert_eq!(
        (word(228), word(244) & 0xff, word(252), word(260)),
        (1, 4, 1, 10),
        "device, type, links, size"
    );
    assert_eq!(word(292) & 0xff, 4);
    assert_eq!(word(300) & WRITE, 0, "no right to write");
    assert_eq!((word(316) & 0xffff_ffff, &output[120..127]), (3, &b"6789789"[..]));
}

#[test]
fn inputs_cannot_be_changed() {
    for how in [0, 1, 8] {
        assert_eq!(code(&["path_open"], NAMES, &open(100, 2, how, READ | WRITE)), READ_ONLY);
    }
    assert_eq!(code(&["path_open"], NAMES, &open(100, 2, 8, READ)), READ_ONLY, "truncation alone");
    assert_eq!(code(&["path_unlink_file"], NAMES, &path("path_unlink_file", 100, 2)), READ_ONLY);
    let rename = "(call $path_rename (i32.const 3) (i32.const 100) (i32.const 2) (i32.const 3) (i32.const 104) (i32.const 3))";
    assert_eq!(code(&["path_rename"], NAMES, rename), READ_ONLY);
    let onto = format!(
        "(drop {}) (call $path_rename (i32.const 3) (i32.const 104) (i32.const 3) (i32.const 3) (i32.const 100) (i32.const 2))",
        open(104, 3, 1, WRITE)
    );
    assert_eq!(code(&["path_open", "path_rename"], NAMES, &onto), READ_ONLY);
    let write = format!(
        "(drop {}) (call $fd_write (i32.load (i32.const 200)) (i32.const 0) (i32.const 1) (i32.const 8))",
        open(100, 2, 0, READ)
    );
    assert_eq!(code(&["path_open", "fd_write"], NAMES, &write), BAD_FD);
}

#[test]
fn opening_has_its_errors() {
    let refused = |at, length, how| code(&["path_open"], NAMES, &open(at, length, how, READ));
    assert_eq!(refused(104, 3, 0), NO_ENTRY);
    assert_eq!(refused(104, 0, 1), NO_ENTRY, "an empty path");
    assert_eq!(refused(100, 2, 2), NOT_DIRECTORY);
    assert_eq!(refused(100, 2, 5), EXISTS);
    assert_eq!(refused(120, 4, 1), NOT_CAPABLE, "above the root");
    assert_eq!(refused(128, 2, 1), NOT_CAPABLE, "an absolute path");
    assert_eq!(refused(132, 4, 1), NOT_DIRECTORY, "below a file");
    assert_eq!(refused(140, 1, 1), ILLEGAL);
    assert_eq!(refused(112, 5, 1), NO_ENTRY, "in a directory that is not there");
    assert_eq!(refused(2000, 4097, 1), TOO_LONG);
    assert_eq!(refused(150, 1, 8), IS_DIRECTORY, "truncating a directory");
    assert_eq!(refused(150, 1, 0), 0, "the root itself");
}

#[test]
fn a_file_is_made_written_read_cut_and_removed() {
    let names = [
        "path_open",
        "fd_write",
        "fd_pwrite",
        "fd_read",
        "fd_seek",
        "fd_filestat_set_size",
        "fd_sync",
        "fd_close",
        "path_unlink_file",
    ];
    let fd = "(i32.load (i32.const 200))";
    let body = format!(
        "(drop {}) (i64.store (i32.const 1024) (i64.const 0x4847464544434241)) (i32.store (i32.const 4) (i32.const 8))
        (drop (call $fd_write {fd} (i32.const 0) (i32.const 1) (i32.const 8)))
        (drop (call $fd_pwrite {fd} (i32.const 0) (i32.const 1) (i64.const 10) (i32.const 8)))
        (drop (call $fd_filestat_set_size {fd} (i64.const 12))) (drop (call $fd_sync {fd}))
        (drop (call $fd_seek {fd} (i64.const 0) (i32.const 0) (i32.const 16)))
        {} (i32.store (i32.const 4) (i32.const 64)) (i32.store (i32.const 0) (i32.const 1100))
        (drop (call $fd_read {fd} (i32.const 0) (i32.const 1) (i32.const 1096)))
        (drop (call $fd_close {fd}))
        (i32.store (i32.const 1164) {})",
        open(104, 3, 1, READ | WRITE),
        format_args!("(drop {})", path("path_unlink_file", 104, 3)),
        open(104, 3, 0, READ),
    );
    let output = ended(&prints(&names, NAMES, &body, 1096, 72), job(), b"").output;
    assert_eq!(&output[..16], b"\x0c\0\0\0ABCDEFGH\0\0AB");
    assert_eq!(output[68], NO_ENTRY, "removed, though it was open");
}

#[test]
fn appending_goes_to_the_end() {
    let names = ["path_open", "fd_write", "fd_seek", "fd_fdstat_set_flags", "fd_tell"];
    let fd = "(i32.load (i32.const 200))";
    let body = format!(
        "(drop {}) (drop (call $fd_fdstat_set_flags {fd} (i32.const 1)))
        (drop (call $fd_write {fd} (i32.const 0) (i32.const 1) (i32.const 8)))
        (drop (call $fd_seek {fd} (i64.const 0) (i32.const 0) (i32.const 16)))
        (drop (call $fd_write {fd} (i32.const 0) (i32.const 1) (i32.const 8)))
        (drop (call $fd_tell {fd} (i32.const 16))) (i32.load (i32.const 16))",
        open(104, 3, 1, WRITE)
    );
    assert_eq!(code(&names, NAMES, &body), 128);
    assert_eq!(
        code(
            &["fd_fdstat_set_flags"],
            "",
            "(call $fd_fdstat_set_flags (i32.const 1) (i32.const 0x20))"
        ),
        INVALID
    );
}

#[test]
fn seeking_stays_within_sixty_three_bits() {
    let seek = |by: &str, whence: u32| {
        let seek = format!(
            "(call $fd_seek (i32.load (i32.const 200)) (i64.const {by}) (i32.const {whence}) (i32.const 16))"
        );
        code(&["path_open", "fd_seek"], NAMES, &format!("(drop {}) {seek}", open(100, 2, 0, READ)))
    };
    assert_eq!(seek("-11", 2), INVALID);
    assert_eq!(seek("-10", 2), 0);
    assert_eq!(seek("0x7fffffffffffffff", 0), 0);
    assert_eq!(seek("0x7fffffffffffffff", 2), INVALID);
    assert_eq!(seek("0", 3), INVALID);
}

#[test]
fn directories_are_made_filled_renamed_and_removed() {
    let names = [
        "path_create_directory",
        "path_remove_directory",
        "path_rename",
        "path_unlink_file",
        "path_open",
        "path_filestat_get",
    ];
    let make = format!("(drop {})", path("path_create_directory", 108, 3));
    let fill = format!("(drop {})", open(112, 5, 1, WRITE));
    let after = |body: &str| code(&names, NAMES, &format!("{make} {fill} {body}"));
    assert_eq!(code(&names, NAMES, &path("path_create_directory", 108, 3)), 0);
    assert_eq!(after(&path("path_create_directory", 108, 3)), EXISTS);
    assert_eq!(after(&path("path_remove_directory", 108, 3)), NOT_EMPTY);
    assert_eq!(after(&path("path_unlink_file", 108, 3)), IS_DIRECTORY);
    assert_eq!(after(&path("path_remove_directory", 112, 5)), NOT_DIRECTORY);
    assert_eq!(after(&path("path_remove_directory", 104, 3)), NO_ENTRY);
    assert_eq!(after(&path("path_remove_directory", 150, 1)), INVALID);
    let rename = |from: (u32, u32), to: (u32, u32)| {
        format!(
            "(call $path_rename (i32.const 3) (i32.const {}) (i32.const {}) (i32.const 3) (i32.const {}) (i32.const {}))",
            from.0, from.1, to.0, to.1
        )
    };
    assert_eq!(after(&rename((108, 3), (112, 5))), INVALID, "into itself");
    assert_eq!(after(&rename((112, 5), (104, 3))), 0);
    let moved =
        format!("(drop {}) {}", rename((108, 3), (144, 4)), path("path_create_directory", 108, 3));
    assert_eq!(after(&moved), 0, "the old name is free");
    let stat = "(call $path_filestat_get (i32.const 3) (i32.const 0) (i32.const 112) (i32.const 5) (i32.const 300))";
    assert_eq!(after(stat), 0);
    assert_eq!(after(&format!("(drop {}) {stat}", rename((108, 3), (144, 4)))), NO_ENTRY);
}

#[test]
fn a_directory_lists_in_order_and_resumes_at_a_cookie() {
    let names = ["fd_readdir", "path_open"];
    let list = |cookie: u64, room: u32| {
        let body = format!(
            "(drop {}) (drop (call $fd_readdir (i32.const 3) (i32.const 1004) (i32.const {room}) (i64.const {cookie}) (i32.const 1000)))",
            open(104, 3, 1, WRITE)
        );
        let output = ended(&prints(&names, NAMES, &body, 1000, 512), with_files(), b"").output;
        let used = u32::from_le_bytes(output[..4].try_into().unwrap()) as usize;
        output[4..4 + used].to_vec()
    };
    let listed = |mut bytes: &[u8]| {
        let mut all = Vec::new();
        while bytes.len() >= 24 {
            let length = u32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize;
            all.push((
                bytes[0],
                String::from_utf8(bytes[24..24 + length].to_vec()).unwrap(),
                bytes[20],
            ));
            bytes = &bytes[24 + length..];
        }
        all
    };
    let name = |at: u8, name: &str, kind| (at, name.to_owned(), kind);
    let all =
        [name(1, ".", 3), name(2, "..", 3), name(3, "a", 4), name(4, "in", 4), name(5, "new", 4)];
    assert_eq!(listed(&list(0, 500)), all);
    assert_eq!(listed(&list(3, 500)), all[3..]);
    assert_eq!(list(0, 30).len(), 30, "a full buffer says that there is more");
    assert!(list(5, 500).is_empty());
}

#[test]
fn scratch_space_ends_with_an_error_and_is_given_back() {
    let job = |scratch| JobSpec::new(Limits { scratch, ..limits() });
    let names = ["path_open", "fd_write", "fd_filestat_set_size", "path_unlink_file", "fd_close"];
    let make = open(104, 3, 1, WRITE);
    let write =
        "(call $fd_write (i32.load (i32.const 200)) (i32.const 0) (i32.const 1) (i32.const 8))";
    let with = |scratch, body: &str| {
        let result = ended(&exits(&names, NAMES, body), job(scratch), b"");
        result.outcome.parts().1
    };
    assert_eq!(with(4095, &make), NO_SPACE, "an empty file costs 4 KiB");
    assert_eq!(with(4096 + 64, &format!("(drop {make}) {write}")), 0);
    assert_eq!(
        with(4096 + 63, &format!("(drop {make}) (drop {write}) (i32.load (i32.const 8))")),
        63,
        "what fits"
    );
    assert_eq!(with(4096 + 64, &format!("(drop {make}) (drop {write}) {write}")), NO_SPACE);
    let size = "(call $fd_filestat_set_size (i32.load (i32.const 200)) (i64.const 65))";
    assert_eq!(with(4096 + 64, &format!("(drop {make}) {size}")), NO_SPACE);
    let remove = path("path_unlink_file", 104, 3);
    let again = format!(
        "(drop {make}) (drop {write}) (drop (call $fd_close (i32.load (i32.const 200)))) (drop {remove}) (drop {make}) {write}"
    );
    assert_eq!(with(4096 + 64, &again), 0);
    let held = format!("(drop {make}) (drop {write}) (drop {remove}) {make}");
    assert_eq!(with(4096 + 64, &held), NO_SPACE, "a removed file counts while it is open");
}

#[test]
fn open_files_are_limited() {
    let body = format!(
        "(loop $more (local.set $last {}) (br_if $more (i32.eqz (local.get $last)))) (local.get $last)",
        open(100, 2, 0, READ)
    );
    let text = exits(&["path_open"], NAMES, &body)
        .replace("(func (export \"_start\")", "(func (export \"_start\") (local $last i32)");
    assert_eq!(ended(&text, with_files(), b"").outcome, Outcome::Exited(TOO_MANY));
}

#[test]
fn one_call_moves_at_most_a_mebibyte_and_a_thousand_parts() {
    let read = |count: u32| {
        format!("(call $fd_read (i32.const 0) (i32.const 0) (i32.const {count}) (i32.const 60000))")
    };
    assert_eq!(code(&["fd_read"], "", &read(1025)), INVALID);
    assert_eq!(code(&["fd_read"], "", &read(1024)), 0);
    assert_eq!(
        code(
            &["random_get"],
            "",
            "(drop (memory.grow (i32.const 30))) (call $random_get (i32.const 0) (i32.const 1048577))"
        ),
        INVALID
    );
    // Thirty-two parts of 64 KiB, all at the same place.
    let fill: String = (0..32).map(|n| format!("(i32.store (i32.const {}) (i32.const 1024)) (i32.store (i32.const {}) (i32.const 65536))", n * 8, n * 8 + 4)).collect();
    let text = exits(
        &["fd_read"],
        "",
        &format!(
            "{fill} (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 32) (i32.const 512))) (i32.shr_u (i32.load (i32.const 512)) (i32.const 16))"
        ),
    );
    assert_eq!(ended(&text, job(), &vec![7; 3 << 20]).outcome, Outcome::Exited(16));
}
