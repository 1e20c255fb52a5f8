//! Everything printed goes through here: plain lines, JSON, progress on a terminal, escaped foreign text.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::fault;

/// What keeps the log going, and sends the last spans when it is dropped.
#[cfg(feature = "otel")]
pub type Log = crate::traces::Traces;
/// Nothing: the log needs none.
#[cfg(not(feature = "otel"))]
pub struct Log;

/// Writes logs to stderr: warnings, or more when asked.
pub fn log_to_stderr(verbose: u8) -> Log {
    let level = ["warn", "info", "debug", "trace"][usize::from(verbose.min(3))];
    let filter = tracing_subscriber::EnvFilter::try_from_env("TALLYMILL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    // A log on a full disk is lost, and nothing else: by default its failure is printed to stderr, which panics in turn.
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log =
        tracing_subscriber::registry().with(log.log_internal_errors(false).with_filter(filter));
    #[cfg(feature = "otel")]
    let (log, kept) = {
        let (spans, kept) = crate::traces::layer();
        (log.with(spans), kept)
    };
    #[cfg(not(feature = "otel"))]
    let kept = Log;
    // A second subscriber is refused; the first one keeps logging, so nothing is lost.
    drop(log.try_init());
    kept
}

/// Base64 of bytes that are no text, for JSON, which can hold no others.
pub fn base64_of_binary(bytes: &[u8]) -> Option<String> {
    let binary = std::str::from_utf8(bytes).is_err();
    binary.then(|| data_encoding::BASE64.encode(bytes))
}

/// Prints a line to stdout; a closed pipe is no error.
pub fn line(text: impl std::fmt::Display) {
    let _closed = writeln!(std::io::stdout(), "{text}");
}

/// Prints bytes to stdout as they are.
pub fn raw(bytes: &[u8]) {
    let mut out = std::io::stdout();
    let _closed = out.write_all(bytes).and_then(|()| out.flush());
}

/// Prints bytes to stderr as they are: what the user's own program said.
pub fn raw_note(bytes: &[u8]) {
    let _closed = std::io::stderr().write_all(bytes);
}

/// Prints a line to stderr.
pub fn note(text: impl std::fmt::Display) {
    let _closed = writeln!(std::io::stderr(), "{text}");
}

/// Prints a value as one line of JSON.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(serde_json::to_string(value)?);
    Ok(())
}

/// Text from elsewhere, safe for a terminal: control characters are escaped.
pub fn plain(text: &str) -> String {
    let escape = |c: char| -> String {
        if c.is_control() { c.escape_default().to_string() } else { c.to_string() }
    };
    text.chars().map(escape).collect()
}

/// Micro-credits as credits.
pub fn credits(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let all = micros.unsigned_abs();
    format!("{sign}{}.{:06}", all / 1_000_000, all % 1_000_000)
}

/// Says what happened, why, and what to do next; gives the exit code.
pub fn fail(error: &anyhow::Error, json: bool) -> ExitCode {
    let code = fault::code(error);
    let next = fault::next(error);
    if json {
        let document =
            serde_json::json!({ "error": format!("{error:#}"), "next": next, "exit": code });
        line(document);
    } else {
        note(format!("error: {}", plain(&format!("{error:#}"))));
        next.iter().for_each(|next| note(format!("  next: {next}")));
    }
    ExitCode::from(code)
}

/// Says what is wrong with the command line, or what was asked of it: help, version.
pub fn misread(error: &clap::Error, words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let code = u8::try_from(error.exit_code()).unwrap_or(2);
    if error.use_stderr() && asks_for_json(words) {
        let said = error.to_string();
        line(serde_json::json!({ "error": said.trim_end(), "next": null, "exit": code }));
    } else {
        let _closed = error.print();
    }
    ExitCode::from(code)
}

/// Whether words that could not be read ask for JSON; those after `--` are a program's own.
fn asks_for_json(words: impl IntoIterator<Item = OsString>) -> bool {
    words.into_iter().take_while(|word| word != "--").any(|word| word == "--json")
}

/// A bar on a terminal, nothing elsewhere.
pub fn bar(total: u64, what: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    let style = ProgressStyle::with_template("{msg} [{bar:40}] {pos}/{len} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_of_others_do_not_reach_the_terminal() {
        assert_eq!(plain("a\u{1b}[31mb"), "a\\u{1b}[31mb");
    }

    #[test]
    fn words_that_cannot_be_read_may_still_ask_for_json() {
        let asks = |words: &[&str]| asks_for_json(words.iter().map(OsString::from));
        assert!(asks(&["tallymill", "nonsense", "--json"]));
        assert!(!asks(&["tallymill", "run", "--nonsense", "--", "--json"]));
    }

    #[test]
    fn credits_have_six_places() {
        assert_eq!(
            (credits(1_500_000), credits(-1)),
            ("1.500000".to_owned(), "-0.000001".to_owned())
        );
    }
}
