//! What commands print: lines for people and for scripts.

use std::io::Write as _;

/// Prints a line to standard output; a closed pipe is no error, the exit code still tells.
pub(crate) fn say(text: impl std::fmt::Display) {
    let mut out = std::io::stdout();
    let _closed = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Prints a line to standard error: progress, beside a result that scripts read.
pub(crate) fn note(text: impl std::fmt::Display) {
    let _closed = writeln!(std::io::stderr(), "{text}");
}

/// Micro-credits as credits, all six places.
pub(crate) fn credits(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let all = micros.unsigned_abs();
    format!("{sign}{}.{:06}", all / 1_000_000, all % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credits_keep_their_sign_and_places() {
        assert_eq!([credits(-1_000_002), credits(30)], ["-1.000002", "0.000030"]);
    }
}
