//! Claims and whether they hold: all are printed, and one that does not hold fails the demo.

use anyhow::ensure;

use crate::say::say;

/// What was checked so far.
#[derive(Debug, Default)]
pub(super) struct Checks {
    held: usize,
    failed: usize,
}

impl Checks {
    /// Notes whether a claim holds.
    pub(super) fn that(&mut self, claim: &str, holds: bool) {
        say(format!("{}  {claim}", if holds { "ok" } else { "NO" }));
        *(if holds { &mut self.held } else { &mut self.failed }) += 1;
    }

    /// Notes a claim that holds unless there is an error, which is printed.
    pub(super) fn result(&mut self, claim: &str, result: anyhow::Result<()>) {
        self.that(claim, result.is_ok());
        if let Err(error) = result {
            say(format!("    {error:#}"));
        }
    }

    /// Fails unless something was checked and everything held.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        let Self { held, failed } = self;
        ensure!(failed == 0, "{failed} of {} checks failed", held + failed);
        ensure!(held > 0, "nothing was checked");
        say(format!("all {held} checks hold"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_claim_that_does_not_hold_fails_all() {
        let mut checks = Checks::default();
        checks.that("a", true);
        checks.result("b", Err(anyhow::anyhow!("because")));
        assert_eq!(checks.finish().unwrap_err().to_string(), "1 of 2 checks failed");
    }

    #[test]
    fn nothing_checked_is_not_success() {
        assert!(Checks::default().finish().is_err());
        let mut checks = Checks::default();
        checks.result("a", Ok(()));
        checks.finish().unwrap();
    }
}
