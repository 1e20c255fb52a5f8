//! `tallymill config show`: what a coordinator started here would be set up with, and why.

use std::process::ExitCode;

use clap::ArgMatches;

use crate::args::{Common, ConfigVerb};
use crate::fault::Usage;
use crate::settings::Resolved;
use crate::ui;

pub fn run(common: &Common, verb: ConfigVerb, typed: &ArgMatches) -> anyhow::Result<ExitCode> {
    let ConfigVerb::Show { origin, settings } = verb;
    let resolved = Resolved::of(settings)?;
    // What would be refused at a start is refused here.
    resolved.options()?.private().map_err(|error| Usage(error.to_string()))?;
    let shown = resolved.shown(typed)?;
    if common.json {
        let setting = |it: &crate::settings::Shown| serde_json::json!({ "name": it.name, "value": it.value, "origin": it.origin.to_string() });
        let all: Vec<_> = shown.iter().map(setting).collect();
        ui::json(&serde_json::json!({ "coordinator": all }))?;
        return Ok(ExitCode::SUCCESS);
    }
    for it in shown {
        let value = ui::plain(it.value.as_deref().unwrap_or("-"));
        match origin {
            true => ui::line(format!("{:<16} {value:<32} {}", it.name, it.origin)),
            false => ui::line(format!("{:<16} {value}", it.name)),
        }
    }
    Ok(ExitCode::SUCCESS)
}
