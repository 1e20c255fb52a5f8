//! Guests as text.

/// Functions of WASI preview 1 with their parameters; all but `proc_exit` answer an i32.
const WASI: [(&str, &str); 27] = [
    ("args_get", "i32 i32"),
    ("clock_time_get", "i32 i64 i32"),
    ("environ_get", "i32 i32"),
    ("fd_close", "i32"),
    ("fd_fdstat_set_flags", "i32 i32"),
    ("fd_filestat_set_size", "i32 i64"),
    ("fd_pread", "i32 i32 i32 i64 i32"),
    ("fd_pwrite", "i32 i32 i32 i64 i32"),
    ("fd_read", "i32 i32 i32 i32"),
    ("fd_readdir", "i32 i32 i32 i64 i32"),
    ("fd_renumber", "i32 i32"),
    ("fd_write", "i32 i32 i32 i32"),
    ("path_create_directory", "i32 i32 i32"),
    ("path_filestat_get", "i32 i32 i32 i32 i32"),
    ("path_link", "i32 i32 i32 i32 i32 i32 i32"),
    ("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32"),
    ("path_readlink", "i32 i32 i32 i32 i32 i32"),
    ("path_rename", "i32 i32 i32 i32 i32 i32"),
    ("path_symlink", "i32 i32 i32 i32 i32"),
    ("path_unlink_file", "i32 i32 i32"),
    ("poll_oneoff", "i32 i32 i32 i32"),
    ("proc_raise", "i32"),
    ("random_get", "i32 i32"),
    ("sched_yield", ""),
    ("sock_accept", "i32 i32 i32"),
    ("sock_recv", "i32 i32 i32 i32 i32 i32"),
    ("sock_send", "i32 i32 i32 i32 i32"),
];

/// A module of this text. Text that is none gives no bytes, which every test of it notices.
pub(crate) fn parse(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_default()
}

/// A command with these imports, `proc_exit`, two pages of memory that may grow to 16,384, fields, and the body of `_start`.
pub(crate) fn module(imports: &[&str], fields: &str, body: &str) -> Vec<u8> {
    let known = |name: &&str| WASI.iter().find(|(other, _)| other == name);
    let imports: String = imports
        .iter()
        .filter_map(known)
        .map(|(name, parameters)| {
            format!(
                "(import \"wasi_snapshot_preview1\" \"{name}\" (func ${name} (param {parameters}) (result i32)))"
            )
        })
        .collect();
    parse(&format!(
        "(module {imports} (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $proc_exit (param i32)))
            (memory (export \"memory\") 2 16384) {fields} (func (export \"_start\") {body}))"
    ))
}

/// A command that calls `$denied` with the answer of everything it tries; it exits with the number of calls that succeeded.
pub(crate) fn attempts(imports: &[&str], fields: &str, body: &str) -> Vec<u8> {
    let fields = format!(
        "(global $open (mut i32) (i32.const 0)) {fields}
        (func $denied (param i32) (if (i32.eqz (local.get 0)) (then
            (global.set $open (i32.add (global.get $open) (i32.const 1))))))"
    );
    module(imports, &fields, &format!("{body} (call $proc_exit (global.get $open))"))
}

/// Writes four characters at 48 that differ for every `$n` below 32,768.
pub(crate) const NAME: &str = "(i32.store (i32.const 48) (i32.or (i32.const 0x40404040) (i32.or (i32.and (local.get $n) (i32.const 31))
    (i32.or (i32.shl (i32.and (local.get $n) (i32.const 992)) (i32.const 3)) (i32.shl (i32.and (local.get $n) (i32.const 0x7c00)) (i32.const 6))))))";
