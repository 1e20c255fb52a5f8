//! `tallymill worker doctor`: what protects this machine from the jobs it runs, found out by trying to get out.

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Value, json};
use tallymill_sandbox::{Ending, Launcher, Protection};

use crate::args::Common;
use crate::ui;

/// What is tested against attacks; elsewhere the sandbox works as far as the system gives its layers.
const SUPPORTED: &str = "linux x86_64";

pub fn run(common: &Common) -> anyhow::Result<ExitCode> {
    let launcher = Launcher::current_exe().context("failed to find this program's own file")?;
    let protection = Protection::examine(&launcher).context("failed to start a child")?;
    let gap = protection.gap();
    if common.json {
        ui::json(&document(&protection, gap.as_deref()))?;
    } else {
        table(&protection);
        ui::line(verdict(gap.as_deref()));
    }
    Ok(ExitCode::from(u8::from(gap.is_some())))
}

fn platform() -> String {
    format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)
}

fn document(protection: &Protection, gap: Option<&str>) -> Value {
    let layers = protection.layers.iter().map(|layer| {
        json!({ "name": layer.name, "strength": layer.strength.word(), "detail": layer.detail })
    });
    let attempts = protection.attempts.iter().map(|attempt| {
        let stopped = attempt.ending != Ending::Succeeded;
        json!({ "child": attempt.child, "name": attempt.name, "stopped": stopped, "ending": attempt.ending.to_string() })
    });
    json!({
        "platform": platform(), "security_supported": platform() == SUPPORTED,
        "layers": layers.collect::<Value>(), "attempts": attempts.collect::<Value>(),
        "confines": gap.is_none(), "gap": gap,
    })
}

fn table(protection: &Protection) {
    let support = if platform() == SUPPORTED { "full" } else { "partial" };
    row(
        "layer",
        support,
        "platform",
        &format!("{}; security is tested on {SUPPORTED}", platform()),
    );
    for layer in &protection.layers {
        row("layer", layer.strength.word(), &layer.name, &layer.detail);
    }
    for attempt in &protection.attempts {
        let word = if attempt.ending == Ending::Succeeded { "OPEN" } else { "stopped" };
        row(attempt.child, word, attempt.name, &attempt.ending.to_string());
    }
}

fn row(kind: &str, state: &str, name: &str, detail: &str) {
    ui::line(format!("{kind:<8} {state:<8} {name:<26} {}", ui::plain(detail)));
}

fn verdict(gap: Option<&str>) -> String {
    match gap {
        None => "This machine confines what jobs run.".to_owned(),
        Some(gap) => format!(
            "This machine cannot confine what strangers' jobs run: {}. Only your own jobs are taken, unless you start the \
             worker with --allow-unconfined.",
            ui::plain(gap)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tallymill_sandbox::{Attempt, Layer, Strength};

    fn protection(strength: Strength, ending: Ending) -> Protection {
        let (name, detail) = ("Landlock".to_owned(), "ABI 7".to_owned());
        let attempt = Attempt { name: "read a file", child: "run", ending };
        Protection { layers: vec![Layer { name, strength, detail }], attempts: vec![attempt] }
    }

    #[test]
    fn document_says_what_holds_and_what_does_not() {
        let good = protection(Strength::Full, Ending::Denied("no".into()));
        let said = document(&good, good.gap().as_deref());
        assert_eq!((&said["confines"], &said["gap"]), (&json!(true), &Value::Null));
        assert_eq!(said["layers"][0]["strength"], "full");
        assert_eq!(said["attempts"][0]["stopped"], true);
        let open = protection(Strength::Full, Ending::Succeeded);
        let said = document(&open, open.gap().as_deref());
        assert_eq!(
            (&said["confines"], &said["attempts"][0]["stopped"]),
            (&json!(false), &json!(false))
        );
    }

    #[test]
    fn verdict_names_the_gap_and_the_way_out() {
        let gap = protection(Strength::Missing, Ending::Denied("no".into())).gap();
        let text = verdict(gap.as_deref());
        assert!(
            text.contains("no Landlock (ABI 7)") && text.contains("--allow-unconfined"),
            "{text}"
        );
    }
}
