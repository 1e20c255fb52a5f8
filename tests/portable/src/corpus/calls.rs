//! Calls of host functions, sensible and senseless: every function with every kind of argument.

use std::fmt::Write as _;

use tallymill_meter::{Import, Ty};
use tallymill_sandbox::profile;

use super::text;
use crate::draw::Draw;

/// Names within the guest's files; each stands in memory at 1,024 + 64 × its number.
const NAMES: [&str; 24] = [
    "a",
    "b",
    "data.bin",
    "dir",
    "dir/x",
    "dir/../a",
    "dir/sub",
    "dir/sub/y",
    ".",
    "..",
    "/a",
    "",
    "b/",
    "dir/",
    "a/x",
    "./b",
    "ü",
    "é/ü",
    "\\ff\\fe",
    "a\\00b",
    "dir//x",
    "dir/./sub",
    "zz",
    "dir/sub/../../b",
];
/// Where results are put.
const RESULTS: u64 = 8192;
/// Where buffers are.
const BUFFERS: u64 = 16_384;
/// Where vectors of buffers are: 16 of them.
const VECTORS: u64 = 512;

/// A random sequence of calls; everything they answer is written out.
pub(super) fn random(draw: &mut Draw) -> String {
    let offered = profile().imports;
    let mut body = vectors(draw);
    if draw.chance(1, 2) {
        body += &one_file(draw, offered);
    }
    for _ in 0..draw.between(10, 100) {
        let import = choose(draw, offered);
        let arguments = arguments(draw, import);
        if import.results.is_empty() {
            if draw.chance(1, 12) {
                let _ = writeln!(body, "(call ${} {arguments})", import.name);
            }
            continue;
        }
        let _ =
            writeln!(body, "(call $mix (i64.extend_i32_u (call ${} {arguments})))", import.name);
        if draw.chance(1, 6) {
            body += "(call $show)\n";
        }
    }
    text::module("1", &names(), &body).replacen(text::FD_WRITE, &imports(offered), 1)
}

/// The descriptor that the first file gets.
const FIRST: u64 = 4;

/// A file that is made, written, read and moved about in.
fn one_file(draw: &mut Draw, offered: &[Import]) -> String {
    const WORK: [&str; 10] = [
        "fd_write",
        "fd_write",
        "fd_read",
        "fd_seek",
        "fd_seek",
        "fd_tell",
        "fd_pwrite",
        "fd_pread",
        "fd_fdstat_set_flags",
        "fd_filestat_set_size",
    ];
    let (rights, flags) = (rights(draw), draw.below(2));
    let mut text = format!(
        "(call $mix (i64.extend_i32_u (call $path_open (i32.const 3) (i32.const 0) (i32.const {}) (i32.const 1) (i32.const 1)
          (i64.const {rights}) (i64.const 0) (i32.const {flags}) (i32.const {RESULTS}))))\n",
        1024 + 64
    );
    for _ in 0..draw.between(5, 40) {
        let name = draw.pick(&WORK);
        let Some(import) = offered.iter().find(|import| import.name == name) else { continue };
        let mut all = format!("(i32.const {FIRST})");
        for (at, ty) in import.params.iter().enumerate().skip(1) {
            let _ = match ty {
                Ty::I32 => write!(all, " (i32.const {})", usual(draw, name, at)),
                Ty::I64 => {
                    write!(all, " (i64.const {})", i64::from(draw.bits().to_le_bytes()[0]) - 20)
                }
            };
        }
        let _ = writeln!(text, "(call $mix (i64.extend_i32_u (call ${name} {all})))");
    }
    text + "(call $show)\n"
}

/// Calls of host functions whose numbers come from a table.
pub(super) fn through_tables(draw: &mut Draw) -> String {
    let offered = profile().imports;
    let mut elements = String::new();
    let mut body = vectors(draw);
    for at in 0..20 {
        let import = choose(draw, offered);
        let _ = write!(elements, " ${}", import.name);
        let called = if draw.chance(1, 12) { choose(draw, offered) } else { import };
        if import.results.is_empty() || called.results.is_empty() {
            continue;
        }
        let (types, arguments) = (types(called), arguments(draw, called));
        let _ = writeln!(
            body,
            "(call $mix (i64.extend_i32_u (call_indirect {types} {arguments} (i32.const {at}))))"
        );
    }
    let table = format!("{} (table 24 funcref) (elem (i32.const 0){elements})", names());
    text::module("1", &table, &body).replacen(text::FD_WRITE, &imports(offered), 1)
}

/// A function: those on files and streams more often than others.
fn choose(draw: &mut Draw, offered: &'static [Import]) -> &'static Import {
    const OFTEN: [&str; 12] = [
        "path_open",
        "fd_write",
        "fd_read",
        "fd_seek",
        "fd_readdir",
        "path_open",
        "path_create_directory",
        "path_rename",
        "fd_pwrite",
        "random_get",
        "fd_close",
        "path_open",
    ];
    let often = draw.pick(&OFTEN);
    if draw.chance(1, 2) {
        offered.iter().find(|import| import.name == often).unwrap_or(&offered[0])
    } else {
        &offered[usize::try_from(draw.below(offered.len() as u64)).unwrap_or(0)]
    }
}

fn types(import: &Import) -> String {
    let name = |ty: &Ty| match ty {
        Ty::I32 => " i32",
        Ty::I64 => " i64",
    };
    let parameters: String = import.params.iter().map(name).collect();
    let results: String = import.results.iter().map(name).collect();
    format!("(param{parameters}) (result{results})")
}

fn imports(offered: &[Import]) -> String {
    let line = |import: &Import| {
        format!(
            "(import \"{}\" \"{}\" (func ${} {}))\n",
            import.module,
            import.name,
            import.name,
            types(import)
        )
    };
    offered.iter().map(line).collect()
}

/// Memory with the names in it.
fn names() -> String {
    let mut text = String::new();
    for (at, name) in NAMES.iter().enumerate() {
        let _ = writeln!(text, "(data (i32.const {}) \"{name}\")", 1024 + 64 * at);
    }
    text
}

/// Bytes of a name as it stands in text.
fn length(name: &str) -> u64 {
    let escapes = name.matches('\\').count() as u64;
    name.len() as u64 - 2 * escapes
}

/// Statements that make 16 vectors, some of which point nowhere.
fn vectors(draw: &mut Draw) -> String {
    let mut text = String::new();
    for at in 0..16 {
        let (place, size) = match draw.below(12) {
            0 => (65_536 - draw.below(20), 16),
            1 => (draw.below(70_000), draw.bits() >> 34),
            2 => (VECTORS, 128),
            _ => (BUFFERS + draw.below(8) * 1024, draw.magnitude(900) - 1),
        };
        let _ = writeln!(
            text,
            "(i32.store (i32.const {}) (i32.const {place})) (i32.store (i32.const {}) (i32.const {size}))",
            VECTORS + at * 8,
            VECTORS + at * 8 + 4
        );
    }
    text
}

/// Arguments that would often do, in the order of preview 1.
fn arguments(draw: &mut Draw, import: &Import) -> String {
    let wild = draw.chance(1, 10);
    let mut all = String::new();
    let mut name = draw.pick(&NAMES);
    let mut is_length = false;
    for (at, ty) in import.params.iter().enumerate() {
        let word = match ty {
            Ty::I64 if import.name == "path_open" && !wild => rights(draw),
            Ty::I64 => wide(draw),
            Ty::I32 if wild && draw.chance(1, 3) => draw.bits() >> 32,
            Ty::I32 if is_length => length(name),
            Ty::I32 => usual(draw, import.name, at),
        };
        is_length = false;
        let mut word = word;
        if *ty == Ty::I32 && path_position(import.name, at) && !wild {
            name = draw.pick(&NAMES);
            word = 1024 + 64 * NAMES.iter().position(|other| *other == name).unwrap_or(0) as u64;
            is_length = true;
        }
        let _ = match ty {
            Ty::I32 => write!(all, " (i32.const {})", text::low(word).cast_signed()),
            Ty::I64 => write!(all, " (i64.const {})", word.cast_signed()),
        };
    }
    all
}

/// Whether the argument points at a path.
fn path_position(function: &str, at: usize) -> bool {
    match function {
        "path_open" | "path_filestat_get" => at == 2,
        "path_rename" => at == 1 || at == 4,
        other => other.starts_with("path_") && at == 1,
    }
}

/// Rights: most often all, to read, to write, or both.
fn rights(draw: &mut Draw) -> u64 {
    const ALL: u64 = (1 << 30) - 1;
    draw.pick(&[ALL, ALL, ALL, ALL, 2 | 64, 2, 64, 0])
}

fn wide(draw: &mut Draw) -> u64 {
    match draw.below(8) {
        0 => draw.bits(),
        1 => u64::MAX - draw.below(20),
        2 => i64::MAX.unsigned_abs() - draw.below(3),
        3..=4 => (1 << 30) - 1 - draw.below(2) * 64,
        _ => draw.below(300),
    }
}

fn usual(draw: &mut Draw, function: &str, at: usize) -> u64 {
    let descriptor = |draw: &mut Draw| draw.pick(&[0, 1, 2, 3, 3, 4, 4, 4, 5, 5, 6, 9]);
    match (function, at) {
        ("args_get" | "environ_get" | "args_sizes_get" | "environ_sizes_get", _) => {
            BUFFERS + draw.below(4) * 512
        }
        ("clock_time_get" | "clock_res_get", 0) => draw.below(6),
        ("random_get", 0) => BUFFERS,
        ("random_get", 1) => draw.magnitude(3000),
        (name, 0) if name.starts_with("path_") => draw.pick(&[3, 3, 3, 3, 4, 5, 1]),
        ("fd_read" | "fd_write" | "fd_pread" | "fd_pwrite", 1) => VECTORS + 8 * draw.below(16),
        ("fd_read" | "fd_write" | "fd_pread" | "fd_pwrite", 2) => {
            draw.pick(&[0, 1, 1, 2, 3, 16, 1025])
        }
        ("fd_seek", 2) => draw.below(4),
        ("fd_readdir", 1) => BUFFERS,
        ("fd_readdir", 2) => draw.magnitude(600),
        ("fd_prestat_dir_name", 1) => BUFFERS,
        ("fd_prestat_dir_name", 2) => draw.below(3),
        ("fd_fdstat_set_flags", 1) => draw.pick(&[0, 1, 4, 31, 32]),
        ("path_open", 4) => draw.pick(&[0, 0, 1, 1, 1, 1, 2, 5, 8, 9, 15]),
        ("path_open", 7) => draw.pick(&[0, 0, 1, 1, 4, 64]),
        ("path_rename", 3) => 3,
        (_, 0) => descriptor(draw),
        _ => RESULTS + 64 * draw.below(16),
    }
}
