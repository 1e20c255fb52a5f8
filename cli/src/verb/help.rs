//! `tallymill completions` and `tallymill man`: what shells and readers know of the command line, made from its definition.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;
use serde_json::json;

use crate::args::{Cli, Common};
use crate::ui;

/// Prints completions.
pub fn completions(common: &Common, shell: Shell) -> anyhow::Result<ExitCode> {
    let script = script(shell);
    if common.json {
        let script = String::from_utf8(script).context("the script is no text")?;
        ui::json(&json!({ "shell": shell.to_string(), "script": script }))?;
    } else {
        ui::raw(&script);
    }
    Ok(ExitCode::SUCCESS)
}

fn script(shell: Shell) -> Vec<u8> {
    // Into memory first: the generator panics when its pipe is closed.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tallymill", &mut script);
    script
}

/// Writes a man page per command.
pub fn man(common: &Common, folder: &Path) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .with_context(|| format!("failed to write man pages into {}", folder.display()))?;
    if common.json {
        ui::json(&json!({ "folder": folder }))?;
    }
    Ok(ExitCode::SUCCESS)
}
