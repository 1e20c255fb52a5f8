//! Words that have no place: panics outside tests, unfinished code, commented-out code,
//! `#[allow]`, and sleeping tests.

use super::Violation;
use super::source::SourceFile;
use super::tokens::{self, Token};

/// Tokens, the clippy lint whose `#[expect(…, reason)]` excuses them, and the advice.
const PANICS: [(&[&str], &str, &str); 5] = [
    (&[".", "unwrap", "("], "unwrap_used", "return the error, or `expect` a stated invariant"),
    (&[".", "expect", "("], "expect_used", "return the error, or state why it cannot happen"),
    (&["panic", "!"], "panic", "return an error"),
    (&["todo", "!"], "todo", "finish it"),
    (&["unimplemented", "!"], "unimplemented", "finish it, or return an error"),
];

/// Everything banned in one file.
pub(crate) fn check(file: &SourceFile) -> Vec<Violation> {
    let tokens = tokens::of(file);
    let mut found = panics(file, &tokens);
    found.extend(allow_attributes(file, &tokens));
    found.extend(sleeping_tests(file, &tokens));
    found.extend(commented_code(file, &tokens));
    found
}

fn panics(file: &SourceFile, tokens: &[Token]) -> Vec<Violation> {
    // A parser of its own may well have an `expect` that returns an error.
    let own: Vec<usize> = tokens::occurrences(tokens, &["self", ".", "expect", "("]).collect();
    let rows = PANICS.iter().flat_map(|(words, lint, advice)| {
        tokens::occurrences(tokens, words).map(move |line| (line, *lint, *advice))
    });
    rows.filter(|(line, lint, _)| !file.is_test(*line) && !file.expects(*line, lint))
        .filter(|(line, lint, _)| *lint != "expect_used" || !own.contains(line))
        .filter_map(|(line, lint, advice)| {
            file.violation(
                line,
                "no-panic",
                format!("{lint}: {advice}, under #[expect(.., reason)]"),
            )
        })
        .collect()
}

fn allow_attributes(file: &SourceFile, tokens: &[Token]) -> Vec<Violation> {
    let outer = tokens::occurrences(tokens, &["#", "[", "allow", "("]);
    let inner = tokens::occurrences(tokens, &["#", "!", "[", "allow", "("]);
    outer
        .chain(inner)
        .filter_map(|line| {
            file.violation(
                line,
                "no-allow",
                "use #[expect(.., reason)], which tells when it is moot",
            )
        })
        .collect()
}

fn sleeping_tests(file: &SourceFile, tokens: &[Token]) -> Vec<Violation> {
    tokens::occurrences(tokens, &["sleep", "("])
        .filter(|line| file.is_test(*line))
        .filter_map(|line| file.violation(line, "test-sleep", "wait for a state, not for time"))
        .collect()
}

/// Runs of line comments that read as Rust and end like a statement or a block.
fn commented_code(file: &SourceFile, tokens: &[Token]) -> Vec<Violation> {
    let in_literal =
        |line: usize| tokens.iter().any(|t| t.literal && t.line < line && line <= t.last_line);
    comment_runs(&file.text)
        .into_iter()
        .filter(|(line, text)| !in_literal(*line) && is_code(text))
        .filter_map(|(line, _)| {
            file.violation(line, "commented-code", "delete it; the history keeps it")
        })
        .collect()
}

/// Each run of consecutive `//` lines as its first line's number and its text.
fn comment_runs(text: &str) -> Vec<(usize, String)> {
    let mut runs: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        let comment = plain_comment(line);
        match (comment, runs.last_mut()) {
            (Some(comment), Some((_, run))) if open => {
                run.push('\n');
                run.push_str(comment);
            }
            (Some(comment), _) => runs.push((index + 1, comment.to_owned())),
            (None, _) => {}
        }
        open = comment.is_some();
    }
    runs
}

fn plain_comment(line: &str) -> Option<&str> {
    let comment = line.trim_start().strip_prefix("//")?;
    (!comment.starts_with('/') && !comment.starts_with('!')).then_some(comment)
}

fn is_code(comment: &str) -> bool {
    let whole = comment.trim();
    let looks = |text: &str| text.ends_with(';') || text.ends_with('}');
    let parses = |text: &str| syn::parse_str::<syn::Block>(&format!("{{{text}}}")).is_ok();
    let line = |text: &str| text.trim().ends_with(';') && parses(text);
    (looks(whole) && parses(whole)) || comment.lines().any(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<(usize, &'static str)> {
        let file = SourceFile::parse("a/src/lib.rs", text.to_owned()).unwrap();
        check(&file).into_iter().map(|v| (v.line, v.rule)).collect()
    }

    #[test]
    fn every_panicking_word_is_found() {
        for word in ["a.unwrap()", "a.expect(\"b\")", "panic!()", "todo!()", "unimplemented!()"] {
            assert_eq!(rules(&format!("fn f() {{\n{word};\n}}")), [(2, "no-panic")], "{word}");
            assert_eq!(rules(&format!("#[test]\nfn f() {{\n{word};\n}}")), [], "{word}");
        }
        assert_eq!(rules("fn f() { self.expect(Token::Comma)?; }"), []);
        assert_eq!(rules("fn f() { a.unwrap_or(b); a.expected(); a.unwrap_err_of(c) }"), []);
    }

    #[test]
    fn a_stated_invariant_is_no_panic() {
        let stated = "#[expect(clippy::expect_used, reason = \"r\")]\nfn f() { a.expect(\"b\"); }";
        assert_eq!(rules(stated), []);
        let other = "#[expect(clippy::unwrap_used, reason = \"r\")]\nfn f() { a.expect(\"b\"); }";
        assert_eq!(rules(other), [(2, "no-panic")]);
        let statement =
            "fn f() {\n#[expect(clippy::unwrap_used, reason = \"r\")]\nlet a = b.unwrap();\n}";
        assert_eq!(rules(statement), []);
    }

    #[test]
    fn allow_is_found_outside_and_inside() {
        assert_eq!(rules("#[allow(dead_code)]\nfn f() {}"), [(1, "no-allow")]);
        assert_eq!(rules("#![allow(dead_code)]"), [(1, "no-allow")]);
    }

    #[test]
    fn only_tests_must_not_sleep() {
        assert_eq!(rules("#[test]\nfn f() {\n    std::thread::sleep(x);\n}"), [(3, "test-sleep")]);
        assert_eq!(rules("fn f() { std::thread::sleep(x); }"), []);
    }

    #[test]
    fn commented_code_is_found_and_prose_is_not() {
        assert_eq!(rules("// let a = b();\nfn f() {}"), [(1, "commented-code")]);
        assert_eq!(rules("// if a {\n//     b()\n// }\nfn f() {}"), [(1, "commented-code")]);
        assert_eq!(rules("// Explains.\n// return a;\nfn f() {}"), [(1, "commented-code")]);
        assert_eq!(rules("// This waits; it must, for\n// the other side is slow.\nfn f() {}"), []);
        assert_eq!(rules("const A: &str = r\"\n// let a = b;\n\";"), []);
    }
}
