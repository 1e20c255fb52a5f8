//! systemd's own judgement of our units, which tests ask for. It need not run here.

use anyhow::Context;

use crate::repo;

/// Installs `systemd-analyze` unless it is there.
pub(crate) fn ensure() -> anyhow::Result<()> {
    let version = || repo::output(repo::command("systemd-analyze").arg("--version"));
    if version().is_err() {
        repo::install("systemd").context("tests of our units need systemd-analyze")?;
        version()?;
    }
    Ok(())
}
