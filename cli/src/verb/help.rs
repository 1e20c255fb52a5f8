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

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use clap::ValueEnum as _;

    use super::*;

    /// The names that lead to every command which is not hidden, `tallymill` itself left out.
    fn commands(of: &clap::Command, path: &[String], into: &mut Vec<Vec<String>>) {
        for sub in of.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let path = [path, &[sub.get_name().to_owned()]].concat();
            commands(sub, &path, into);
            into.push(path);
        }
    }

    fn all() -> Vec<Vec<String>> {
        let mut all = Vec::new();
        commands(&Cli::command(), &[], &mut all);
        assert!(all.len() > 30, "{all:?}");
        all
    }

    #[test]
    fn completions_of_every_shell_name_every_command() {
        let all = all();
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell)).unwrap();
            let words: std::collections::BTreeSet<&str> =
                script.split(|c: char| !c.is_ascii_alphanumeric()).collect();
            for path in &all {
                assert!(path.iter().all(|name| words.contains(name.as_str())), "{shell}: {path:?}");
            }
            assert!(script.contains("allow-unconfined"), "{shell} lacks an option");
        }
    }

    #[test]
    fn completions_of_bash_are_a_script_that_bash_reads() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), script(Shell::Bash)).unwrap();
        let read = Command::new("bash").arg("-n").arg(file.path()).stdin(Stdio::null()).output();
        let read = read.unwrap();
        assert!(read.status.success() && read.stderr.is_empty(), "{read:?}");
    }

    /// A page without what the formatter reads as markup of a name: `job\-cancel` is `job-cancel`.
    fn page(folder: &Path, name: &str) -> String {
        let page = std::fs::read_to_string(folder.join(format!("{name}.1")));
        page.unwrap_or_else(|e| panic!("{name}: {e}")).replace("\\-", "-")
    }

    #[test]
    fn every_command_has_a_man_page_and_is_named_by_the_one_above() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        clap_mangen::generate_to(Cli::command(), folder).unwrap();
        let name = |path: &[String]| [&["tallymill".to_owned()], path].concat().join("-");
        let all = all();
        for path in &all {
            let (last, above) = path.split_last().unwrap();
            let (own, above) = (page(folder, &name(path)), page(folder, &name(above)));
            for section in [".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", "--json"] {
                assert!(own.contains(section), "{path:?} lacks {section}");
            }
            assert!(above.contains(&format!("{}(1)", name(path))), "{last} is not named: {above}");
        }
        let pages = std::fs::read_dir(folder).unwrap().count();
        assert_eq!(pages, all.len() + 1, "one each and one of the whole");
    }
}
