//! `cargo xtask setup`: what a fresh machine lacks for building guests.

use std::path::Path;

use anyhow::Context;

use crate::repo;

/// The compiler target of guest programs.
pub(crate) const GUEST_TARGET: &str = "wasm32-wasip1";

/// Installs the guest target for the pinned toolchain unless it is there.
pub(crate) fn run() -> anyhow::Result<()> {
    let sysroot = repo::output(repo::command("rustc").args(["--print", "sysroot"]))?;
    if has_target(Path::new(sysroot.trim())) {
        return Ok(());
    }
    repo::run(repo::command("rustup").args(["target", "add", GUEST_TARGET])).with_context(|| {
        format!(
            "the Rust target {GUEST_TARGET} is missing and could not be installed. With rustup \
             (https://rustup.rs) and network access run: rustup target add {GUEST_TARGET}. \
             Without rustup install your system's package of that target's standard library \
             (on Debian libstd-rust-dev-wasm32) for the compiler in {}",
            sysroot.trim()
        )
    })
}

fn has_target(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib").join(GUEST_TARGET).join("lib").is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sysroot_without_the_target_is_recognised() {
        assert!(!has_target(Path::new("/nonexistent")));
    }
}
