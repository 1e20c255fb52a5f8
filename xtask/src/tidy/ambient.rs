//! No ambient time, randomness, files or network in the crates that decide.

use super::Violation;
use super::source::SourceFile;
use super::tokens::{self, Token};

/// Folders of the crates that get everything as arguments.
pub(crate) const PURE: [&str; 4] = ["protocol", "meter", "ledger", "engine"];

/// Paths into the outside world. `getrandom` and `rand` are crates of randomness.
const OUTSIDE: [&str; 14] = [
    "SystemTime::now",
    "Instant::now",
    "Uuid::now_v7",
    "Uuid::new_v4",
    "OsRng",
    "thread_rng",
    "getrandom",
    "rand::rng",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "tokio",
];

/// Uses of the outside world by a pure crate.
pub(crate) fn check(file: &SourceFile) -> Vec<Violation> {
    if !PURE.contains(&file.crate_folder()) {
        return Vec::new();
    }
    paths(&tokens::of(file))
        .into_iter()
        .filter(|(line, _)| !file.is_test(*line))
        .filter_map(|(line, path)| {
            let word = OUTSIDE.iter().find(|word| contains(&path, word))?;
            file.violation(line, "ambient", format!("`{word}`: take it as an argument"))
        })
        .collect()
}

fn contains(path: &str, word: &str) -> bool {
    format!("::{path}::").contains(&format!("::{word}::"))
}

/// All `a::b::c` paths; `use a::{b, c}` gives `a::b` and `a::c`.
fn paths(tokens: &[Token]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut prefixes: Vec<Option<String>> = Vec::new();
    let mut path = String::new();
    let mut line = 1;
    for token in tokens {
        match token.text.as_str() {
            ":" => path.push(':'),
            "{" if path.ends_with("::") => prefixes.push(Some(std::mem::take(&mut path))),
            text => {
                let joined = path.ends_with("::");
                if !joined {
                    close(&mut found, &mut path, &prefixes, line);
                }
                match text {
                    "{" => prefixes.push(None),
                    "}" => drop(prefixes.pop()),
                    _ => {}
                }
                if is_name(token) {
                    path.push_str(text);
                    line = token.line;
                }
            }
        }
    }
    close(&mut found, &mut path, &prefixes, line);
    found
}

fn close(
    found: &mut Vec<(usize, String)>,
    path: &mut String,
    prefixes: &[Option<String>],
    line: usize,
) {
    let last = std::mem::take(path);
    if !last.is_empty() {
        let prefix: String = prefixes.iter().flatten().cloned().collect();
        found.push((line, prefix + &last));
    }
}

fn is_name(token: &Token) -> bool {
    !token.literal && token.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        check(&SourceFile::parse(path, text.to_owned()).unwrap()).len()
    }

    #[test]
    fn the_outside_world_is_found_in_pure_crates_only() {
        for text in [
            "fn f() { std::time::Instant::now(); }",
            "use std::fs;",
            "use std::{collections::BTreeMap, fs::File};",
            "use std::{io, time::{Duration, SystemTime}};\nfn f() { SystemTime::now(); }",
            "fn f() { let id = uuid::Uuid::now_v7(); }",
            "fn f() { m!(std::env::var(x)); }",
            "use tokio::sync::mpsc;",
        ] {
            assert_eq!(found("engine/src/a.rs", text), 1, "{text}");
            assert_eq!(found("worker/src/a.rs", text), 0, "{text}");
            assert_eq!(found("engine/tests/a.rs", text), 0, "{text}");
        }
    }

    #[test]
    fn harmless_paths_are_not() {
        let text =
            "use std::{fmt, time::Duration};\nfn f(fs: u8, env: u8) { offs::et(fs); now(); }";
        assert_eq!(found("protocol/src/a.rs", text), 0);
    }
}
