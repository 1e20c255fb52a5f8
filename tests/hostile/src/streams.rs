//! Guests that flood: output, log, files, descriptors, randomness.

use tallymill_protocol::Outcome;

use super::text::{NAME, module};
use super::{Contained, Guest, LITTLE, OUT_OF_FUEL};

/// One vector at 0: 64 KiB at 65,536.
const VECTOR: &str = "(data (i32.const 0) \"\\00\\00\\01\\00\\00\\00\\01\\00\")";

pub(crate) fn guests() -> Vec<Guest> {
    let too_much = (Contained::Ends(Outcome::OutputExceeded), "output limit");
    let mut guests = vec![
        Guest::new("stdout-flood", "writes output for ever", too_much, || writes(1, 1)),
        Guest::new(
            "stdout-flood-of-parts",
            "writes output for ever, the same 64 KiB 1,024 times in a call",
            too_much,
            || writes(1, 1024),
        ),
        Guest::new(
            "stderr-flood",
            "writes its log for ever",
            (OUT_OF_FUEL.0, "fuel limit; the log is cut at its own"),
            || writes(2, 1),
        )
        .fuel(LITTLE),
        Guest::new("random-flood", "asks for a MiB of randomness for ever", OUT_OF_FUEL, || {
            module(&["random_get"], "", "(drop (memory.grow (i32.const 64)))
                (loop $again (drop (call $random_get (i32.const 0) (i32.const 1048576))) (br $again))")
        })
        .fuel(2_000),
    ];
    guests.extend(files());
    guests
}

/// Writes `parts` vectors to a stream, again and again.
fn writes(stream: u32, parts: u32) -> Vec<u8> {
    let fields = VECTOR.to_owned();
    let vectors = format!(
        "(local $at i32) (loop $fill (i64.store (local.get $at) (i64.const 0x1000000010000))
            (br_if $fill (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const {}))))",
        parts * 8
    );
    module(
        &["fd_write"],
        &fields,
        &format!(
            "{vectors} (loop $again (drop (call $fd_write (i32.const {stream}) (i32.const 0) (i32.const {parts}) (i32.const 32768))) (br $again))"
        ),
    )
}

fn files() -> Vec<Guest> {
    let scratch = (OUT_OF_FUEL.0, "scratch limit, then fuel");
    vec![
        Guest::new("file-flood", "writes one file for ever", scratch, || {
            let body = format!(
                "{} (loop $again (drop (call $fd_write (i32.load (i32.const 32)) (i32.const 0) (i32.const 1) (i32.const 40))) (br $again))",
                open("(i32.const 48)", 1)
            );
            module(&["path_open", "fd_write"], VECTOR, &body)
        })
        .fuel(LITTLE),
        Guest::new("files-many", "makes files for ever, each with another name", scratch, || {
            let body = format!("(local $n i32) (loop $again {NAME} (local.set $n (i32.add (local.get $n) (i32.const 1)))
                {} (drop (call $fd_close (i32.load (i32.const 32)))) (br $again))", open("(i32.const 48)", 4));
            module(&["path_open", "fd_close"], "", &body)
        })
        .fuel(LITTLE),
        Guest::new(
            "directories-deep",
            "makes directories within directories for ever",
            scratch,
            || {
                let body = "(local $at i32) (local.set $at (i32.const 3)) (loop $again
                (drop (call $path_create_directory (local.get $at) (i32.const 48) (i32.const 1)))
                (drop (call $path_open (local.get $at) (i32.const 0) (i32.const 48) (i32.const 1) (i32.const 2) (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 32)))
                (if (i32.gt_u (local.get $at) (i32.const 3)) (then (drop (call $fd_close (local.get $at)))))
                (local.set $at (i32.load (i32.const 32))) (br $again))";
                module(
                    &["path_create_directory", "path_open", "fd_close"],
                    "(data (i32.const 48) \"d\")",
                    body,
                )
            },
        )
        .fuel(LITTLE),
        Guest::new(
            "descriptors-many",
            "opens a file for ever and closes nothing",
            (OUT_OF_FUEL.0, "1,024 descriptors, then fuel"),
            || {
                module(
                    &["path_open"],
                    "(data (i32.const 48) \"f\")",
                    &format!("(loop $again {} (br $again))", open("(i32.const 48)", 1)),
                )
            },
        )
        .fuel(LITTLE),
        Guest::new(
            "file-with-a-hole",
            "writes one byte at the far end of a file and cuts it, for ever",
            scratch,
            || {
                let body = format!("{} (loop $again
                (drop (call $fd_pwrite (i32.load (i32.const 32)) (i32.const 0) (i32.const 1) (i64.const 0x3f00000) (i32.const 40)))
                (drop (call $fd_filestat_set_size (i32.load (i32.const 32)) (i64.const 0))) (br $again))", open("(i32.const 48)", 1));
                let vector = "(data (i32.const 0) \"\\10\\00\\00\\00\\01\\00\\00\\00\")";
                module(&["path_open", "fd_pwrite", "fd_filestat_set_size"], vector, &body)
            },
        )
        .fuel(LITTLE),
    ]
}

/// Opens, and makes if need be, the file whose name stands at `at`; its descriptor is left at 32.
fn open(at: &str, length: u32) -> String {
    format!(
        "(drop (call $path_open (i32.const 3) (i32.const 0) {at} (i32.const {length}) (i32.const 1) (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 32)))"
    )
}
