//! Guests that break nothing and do what costs a volunteer most for what it pays.
//!
//! All of them go on until their fuel is gone, so that fuel and processor time of a run say what they pay. Which of them pays least
//! is measured; what they pay for is decided by the cost table alone. What they are held to is the price of [`ordinary`] work.

use super::text::{NAME, module, parse};

/// A guest that does one dear thing for ever.
#[derive(Debug, Clone)]
pub struct Harm {
    /// What it is called.
    pub name: &'static str,
    /// What it does.
    pub does: &'static str,
    module: fn() -> Vec<u8>,
}

impl Harm {
    const fn new(name: &'static str, does: &'static str, module: fn() -> Vec<u8>) -> Self {
        Self { name, does, module }
    }

    /// Its bytes.
    #[must_use]
    pub fn module(&self) -> Vec<u8> {
        (self.module)()
    }
}

/// Work as most jobs do it: what a unit of fuel is worth.
#[must_use]
pub fn ordinary() -> Vec<Harm> {
    vec![
        Harm::new("fibonacci", "recursion", || {
            parse("(module (func $fib (param i32) (result i32) (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
                (then (local.get 0)) (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
                    (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
                (func (export \"_start\") (loop $again (drop (call $fib (i32.const 20))) (br $again))))")
        }),
        Harm::new("collatz", "branches and integers", || {
            again("(local.set $n (i64.add (local.get $seed) (i64.const 27))) (local.set $seed (i64.add (local.get $seed) (i64.const 1)))
                (loop $step (if (i64.eqz (i64.and (local.get $n) (i64.const 1)))
                    (then (local.set $n (i64.shr_u (local.get $n) (i64.const 1))))
                    (else (local.set $n (i64.add (i64.mul (local.get $n) (i64.const 3)) (i64.const 1)))))
                    (br_if $step (i64.gt_u (local.get $n) (i64.const 1))))", "(local $n i64) (local $seed i64)")
        }),
        Harm::new("sieve", "bytes in a row", || {
            again("(local.set $p (i32.const 2)) (loop $prime (local.set $i (i32.mul (local.get $p) (local.get $p)))
                (loop $mark (i32.store8 (local.get $i) (i32.const 1)) (br_if $mark (i32.lt_u (local.tee $i (i32.add (local.get $i) (local.get $p))) (i32.const 60000))))
                (br_if $prime (i32.lt_u (local.tee $p (i32.add (local.get $p) (i32.const 1))) (i32.const 244))))", "(local $p i32) (local $i i32)")
        }),
        Harm::new("matmul", "products of 48 x 48 doubles", || {
            again("(local.set $i (i32.const 0)) (loop $row (local.set $j (i32.const 0)) (loop $column
                (local.set $k (i32.const 0)) (local.set $sum (f64.const 0)) (loop $dot
                    (local.set $sum (f64.add (local.get $sum) (f64.mul
                        (f64.load (i32.add (local.get $i) (i32.shl (local.get $k) (i32.const 3))))
                        (f64.load offset=20000 (i32.add (local.get $j) (i32.mul (local.get $k) (i32.const 384)))))))
                    (br_if $dot (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 1))) (i32.const 48))))
                (f64.store offset=40000 (i32.add (local.get $i) (local.get $j)) (local.get $sum))
                (br_if $column (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 8))) (i32.const 384))))
                (br_if $row (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 384))) (i32.const 18432))))",
                "(local $i i32) (local $j i32) (local $k i32) (local $sum f64)")
        }),
        Harm::new("hash", "bytes through multiplications and rotations", || {
            again("(local.set $i (i32.const 0)) (loop $byte
                (local.set $h (i32.rotl (i32.mul (i32.xor (local.get $h) (i32.load8_u (local.get $i))) (i32.const 16777619)) (i32.const 5)))
                (br_if $byte (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 60000))))
                (i32.store (i32.const 0) (local.get $h))", "(local $i i32) (local $h i32)")
        }),
        Harm::new("histogram", "loads and stores that depend on data", || {
            again("(local.set $i (i32.const 0)) (loop $byte
                (local.set $at (i32.shl (i32.load8_u offset=4096 (local.get $i)) (i32.const 2)))
                (i32.store (local.get $at) (i32.add (i32.load (local.get $at)) (i32.const 1)))
                (br_if $byte (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 50000))))",
                "(local $i i32) (local $at i32)")
        }),
    ]
}

/// Does `work` for ever in a page of memory.
fn again(work: &str, locals: &str) -> Vec<u8> {
    parse(&format!(
        "(module (memory 1) (func (export \"_start\") {locals} (loop $again {work} (br $again))))"
    ))
}

/// Every guest of this kind.
#[must_use]
pub fn harms() -> Vec<Harm> {
    let mut harms = operators();
    harms.extend(memory());
    harms.extend(vec![
        Harm::new("yield", "host calls that do nothing", || {
            calls("sched_yield", "", "(drop (call $sched_yield))")
        }),
        Harm::new("clock", "readings of the clock", || {
            calls(
                "clock_time_get",
                "",
                "(drop (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 64)))",
            )
        }),
        Harm::new("random-bytes", "random bytes one by one", || {
            calls("random_get", "", "(drop (call $random_get (i32.const 64) (i32.const 1)))")
        }),
        Harm::new("random-mib", "random bytes by the MiB", || {
            calls(
                "random_get",
                "(drop (memory.grow (i32.const 32)))",
                "(drop (call $random_get (i32.const 0) (i32.const 1048576)))",
            )
        }),
        Harm::new("environment", "copies of a large environment", || {
            calls("environ_get", "", "(drop (call $environ_get (i32.const 0) (i32.const 1024)))")
        }),
    ]);
    harms.extend(streams());
    harms.extend(files());
    harms
}

/// Sixteen times the same, so that the loop around it does not count.
fn sixteen(work: &str, locals: &str) -> Vec<u8> {
    again(&work.repeat(16), locals)
}

/// A chain in which each step waits for the one before.
fn chain(ty: &str, operator: &str, second: &str) -> Vec<u8> {
    let step = format!("(local.set $x ({operator} (local.get $x) {second}))");
    let start =
        if ty == "v128" { "(v128.const i64x2 0x4000000000000001 0x4000000000000001)" } else { "" };
    let start = if start.is_empty() { format!("({ty}.const 3)") } else { start.to_owned() };
    parse(&format!(
        "(module (func (export \"_start\") (local $x {ty}) (local.set $x {start})
            (loop $again {} (br $again))))",
        step.repeat(16)
    ))
}

fn operators() -> Vec<Harm> {
    vec![
        Harm::new("divisions", "64-bit divisions, each waiting for the last", || {
            sixteen(
                "(local.set $x (i64.or (i64.div_u (i64.const -3) (i64.or (local.get $x) (i64.const 5))) (i64.const 1)))",
                "(local $x i64)",
            )
        }),
        Harm::new("remainders", "64-bit remainders of what no compiler knows", || {
            sixteen(
                "(local.set $x (i64.or (i64.rem_u (i64.const -3) (i64.or (local.get $x) (i64.const 5))) (i64.const 1)))",
                "(local $x i64)",
            )
        }),
        Harm::new("roots", "square roots of doubles", || chain("f64", "f64.sqrt", "")),
        Harm::new("float-divisions", "divisions of doubles", || {
            chain("f64", "f64.div", "(f64.const 1.0000001)")
        }),
        Harm::new("float-extremes", "maxima of doubles", || {
            chain("f64", "f64.max", "(f64.const 1)")
        }),
        Harm::new("float-rounding", "nearest integers of doubles", || {
            chain("f64", "f64.nearest", "")
        }),
        Harm::new("conversions", "doubles to unsigned integers and back", || {
            sixteen(
                "(local.set $x (i64.trunc_sat_f64_u (f64.convert_i64_u (local.get $x))))",
                "(local $x i64)",
            )
        }),
        Harm::new("vector-roots", "square roots of two doubles", || {
            chain("v128", "f64x2.sqrt", "")
        }),
        Harm::new("vector-divisions", "divisions of four floats", || {
            chain("v128", "f32x4.div", "(v128.const f32x4 1.1 1.1 1.1 1.1)")
        }),
        Harm::new("vector-products", "products of 64-bit lanes", || {
            chain("v128", "i64x2.mul", "(v128.const i64x2 3 5)")
        }),
        Harm::new("vector-shifts", "shifts of byte lanes by an amount that is not known", || {
            sixteen(
                "(local.set $x (i8x16.shr_s (local.get $x) (i32x4.extract_lane 0 (local.get $x))))",
                "(local $x v128)",
            )
        }),
        Harm::new("calls", "calls of a function that does nothing", || {
            parse(&format!(
                "(module (func $f) (func (export \"_start\") (loop $again {} (br $again))))",
                "(call $f)".repeat(16)
            ))
        }),
        Harm::new("indirect-calls", "calls through a table of functions drawn at random", || {
            parse(&format!("(module (type $t (func)) (table 2 funcref) (elem (i32.const 0) $f $g) (func $f) (func $g)
                (func (export \"_start\") (local $x i64) (local.set $x (i64.const 88172645463325252)) (loop $again {} (br $again))))",
                format!("{RANDOM}(call_indirect (type $t) (i32.and (i32.wrap_i64 (local.get $x)) (i32.const 1)))").repeat(4)))
        }),
        Harm::new("branches", "branches that nobody can predict", || {
            parse(&format!("(module (func (export \"_start\") (local $x i64) (local $y i64) (local.set $x (i64.const 88172645463325252)) (loop $again {} (br $again))))",
                format!("{RANDOM}(if (i64.eqz (i64.and (local.get $x) (i64.const 1))) (then (local.set $y (i64.div_u (local.get $x) (i64.const 3)))) (else (local.set $y (i64.const 0))))").repeat(4)))
        }),
    ]
}

/// The next number of a generator in `$x`.
const RANDOM: &str =
    "(local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 13))))
    (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 7))))
    (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 17))))";

/// Random places in 64 MiB, one access each, `access` at `$at`.
fn scattered(access: &str) -> Vec<u8> {
    let step = format!(
        "(local.set $at (i32.and (i32.add (i32.mul (local.get $at) (i32.const 1664525)) (i32.add (local.get $v) (i32.const 1013904223))) (i32.const 0x3fffff8))) {access}"
    );
    parse(&format!(
        "(module (memory 1024) (func (export \"_start\") (local $at i32) (local $v i32) (loop $again {} (br $again))))",
        step.repeat(8)
    ))
}

fn memory() -> Vec<Harm> {
    vec![
        Harm::new(
            "scattered-loads",
            "loads from random places in 64 MiB, each waiting for the last",
            || scattered("(local.set $v (i32.load (local.get $at)))"),
        ),
        Harm::new("scattered-stores", "stores to random places in 64 MiB", || {
            scattered("(i32.store (local.get $at) (i32.const 0))")
        }),
        Harm::new("page-by-page", "one store in every page of 64 MiB", || {
            parse("(module (memory 1024) (func (export \"_start\") (local $at i32) (loop $again
                (i32.store (local.get $at) (i32.const 1)) (local.set $at (i32.and (i32.add (local.get $at) (i32.const 4096)) (i32.const 0x3ffffff))) (br $again))))")
        }),
        Harm::new("fills-of-nothing", "memory.fill of a length that turns out to be 0", || {
            sixteen("(memory.fill (i32.const 0) (i32.const 0) (local.get $n))", "(local $n i32)")
        }),
        Harm::new("copies-of-nothing", "memory.copy of a length that turns out to be 0", || {
            sixteen("(memory.copy (i32.const 0) (i32.const 0) (local.get $n))", "(local $n i32)")
        }),
        Harm::new(
            "table-fills-of-nothing",
            "table.fill of a length that turns out to be 0",
            || {
                parse(&format!(
                    "(module (table 1 funcref) (func (export \"_start\") (local $n i32) (loop $again {} (br $again))))",
                    "(table.fill (i32.const 0) (ref.null func) (local.get $n))".repeat(16)
                ))
            },
        ),
        Harm::new("copies-that-overlap", "memory.copy of 60,000 bytes by one", || {
            again(
                "(memory.copy (i32.const 1) (i32.const 0) (i32.const 60000)) (memory.copy (i32.const 0) (i32.const 1) (i32.const 60000))",
                "",
            )
        }),
        Harm::new("copies-of-tables", "table.copy of 9,000 entries", || {
            parse(
                "(module (table 9001 funcref) (func (export \"_start\") (loop $again
                (table.copy (i32.const 1) (i32.const 0) (i32.const 9000)) (br $again))))",
            )
        }),
        Harm::new("growth-by-nothing", "memory.grow by 0 pages", || {
            sixteen("(drop (memory.grow (i32.const 0)))", "")
        }),
        Harm::new("growth-refused", "memory.grow by too much", || {
            sixteen("(drop (memory.grow (i32.const -1)))", "")
        }),
        Harm::new("table-growth-by-nothing", "table.grow by 0 entries", || {
            parse(&format!(
                "(module (table 1 funcref) (func (export \"_start\") (loop $again {} (br $again))))",
                "(drop (table.grow (ref.null func) (i32.const 0)))".repeat(16)
            ))
        }),
    ]
}

/// Calls one host function for ever.
fn calls(name: &str, first: &str, call: &str) -> Vec<u8> {
    several(&[name], "", first, call)
}

fn several(names: &[&str], fields: &str, first: &str, call: &str) -> Vec<u8> {
    module(names, fields, &format!("{first} (loop $again {call} (br $again))"))
}

fn streams() -> Vec<Harm> {
    vec![
        Harm::new("writes-of-nothing", "writes without bytes", || {
            calls(
                "fd_write",
                "",
                "(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 64)))",
            )
        }),
        Harm::new("writes-to-a-full-log", "log lines behind the log's limit", || {
            let fields = "(data (i32.const 0) \"\\00\\01\\00\\00\\00\\ff\\01\\00\")";
            several(
                &["fd_write"],
                fields,
                "",
                "(drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 64)))",
            )
        }),
        Harm::new("vectors-of-nothing", "reads into 1,024 vectors without bytes", || {
            calls(
                "fd_read",
                "",
                "(drop (call $fd_read (i32.const 0) (i32.const 1024) (i32.const 1024) (i32.const 64)))",
            )
        }),
        Harm::new(
            "write-then-fault",
            "writes of 1 MiB to a file whose last vector leaves memory",
            || {
                let fields = "(data (i32.const 48) \"f\") (data (i32.const 0) \"\\00\\01\\00\\00\\00\\ff\\0f\\00\\ff\\ff\\ff\\ff\\01\\00\\00\\00\")";
                several(
                    &["path_open", "fd_write"],
                    fields,
                    &format!("(drop (memory.grow (i32.const 16))) {OPEN}"),
                    "(drop (call $fd_write (i32.load (i32.const 32)) (i32.const 0) (i32.const 2) (i32.const 40)))",
                )
            },
        ),
    ]
}

/// Opens, and makes, the file whose one-letter name stands at 48; its descriptor is left at 32.
const OPEN: &str = "(drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 48) (i32.const 1) (i32.const 1) (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 32)))";

/// Makes 8,192 empty directories beside each other in the directory `within`.
fn crowd(within: u32) -> String {
    format!(
        "(loop $make {NAME}
            (drop (call $path_create_directory (i32.const {within}) (i32.const 48) (i32.const 4)))
            (br_if $make (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 8192))))"
    )
}

fn files() -> Vec<Harm> {
    vec![
        Harm::new("long-paths", "looks up paths of 4,096 bytes with 1,024 names", || {
            let fields = format!(
                "(data (i32.const 8192) \"{}\") (data (i32.const 48) \"d\")",
                "d/..".to_owned() + &"/d/..".repeat(818)
            );
            several(
                &["path_filestat_get", "path_create_directory"],
                &fields,
                "(drop (call $path_create_directory (i32.const 3) (i32.const 48) (i32.const 1)))",
                "(drop (call $path_filestat_get (i32.const 3) (i32.const 0) (i32.const 8192) (i32.const 4094) (i32.const 64)))",
            )
        }),
        Harm::new("end-of-a-crowd", "reads the last entry of a directory of 8,192", || {
            several(
                &["path_create_directory", "fd_readdir"],
                "",
                &format!("(local $n i32) {}", crowd(3)),
                "(drop (call $fd_readdir (i32.const 3) (i32.const 64) (i32.const 24) (i64.const 8190) (i32.const 32)))",
            )
        }),
        Harm::new("moves-of-a-tree", "renames a directory above 8,192 others", || {
            let first = format!("(drop (call $path_create_directory (i32.const 3) (i32.const 1024) (i32.const 1)))
                (drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 2) (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 32))) {}",
                crowd(4));
            let fields = "(data (i32.const 1024) \"ab\")";
            several(&["path_create_directory", "path_open", "path_rename"], fields, &format!("(local $n i32) {first}"),
                "(drop (call $path_rename (i32.const 3) (i32.const 1024) (i32.const 1) (i32.const 3) (i32.const 1025) (i32.const 1)))
                (drop (call $path_rename (i32.const 3) (i32.const 1025) (i32.const 1) (i32.const 3) (i32.const 1024) (i32.const 1)))")
        }),
        Harm::new("holes", "writes one byte at the far end of a file and cuts it", || {
            let fields = "(data (i32.const 48) \"f\") (data (i32.const 0) \"\\10\\00\\00\\00\\01\\00\\00\\00\")";
            several(&["path_open", "fd_pwrite", "fd_filestat_set_size"], fields, OPEN,
                "(drop (call $fd_pwrite (i32.load (i32.const 32)) (i32.const 0) (i32.const 1) (i64.const 0x3f00000) (i32.const 40)))
                (drop (call $fd_filestat_set_size (i32.load (i32.const 32)) (i64.const 0)))")
        }),
        Harm::new("creations", "makes and removes a file", || {
            several(&["path_open", "fd_close", "path_unlink_file"], "(data (i32.const 48) \"f\")", "", &format!("{OPEN}
                (drop (call $fd_close (i32.load (i32.const 32)))) (drop (call $path_unlink_file (i32.const 3) (i32.const 48) (i32.const 1)))"))
        }),
    ]
}
