//! `tallymill run`: a program in the sandbox of this machine, in a child process of its own.

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tallymill_protocol::{Digest, Limits, Outcome, Steps, TaskIndex};
use tallymill_sandbox::{
    Confinement, Control, InputFile, JobSpec, Launcher, Prepared, Runner, SegmentSpec, TaskResult,
    TaskSpec,
};

use super::submit::steps_of;
use super::{limits, named_files, pair, read};
use crate::args::{Common, RunArgs};
use crate::fault::Usage;
use crate::ui;

/// Exit code of a guest that did not exit by itself: trapped, out of fuel, …
const NOT_EXITED: u8 = 1;

/// The job that the options of a command line describe.
pub fn job_spec(
    inputs: &[String],
    env: &[String],
    argv: &[String],
    limits: Limits,
) -> anyhow::Result<JobSpec> {
    let mut spec = JobSpec::new(limits);
    spec.argv = argv.to_vec();
    for variable in env {
        let (name, value) = pair(variable, "K=V")?;
        spec.environment.push((name.to_owned(), value.to_owned()));
    }
    spec.environment.sort();
    let files = named_files(inputs)?.into_iter();
    spec.files = files.map(|(name, bytes)| InputFile { name, bytes: bytes.into() }).collect();
    spec.files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(spec)
}

/// Meters and compiles a module in a child.
pub fn prepare(module: &[u8]) -> anyhow::Result<(Launcher, Prepared)> {
    let launcher = Launcher::current_exe().context("failed to find this program's own file")?;
    // The module is its user's own choice, like any other program that is started here.
    let launcher = launcher.with_confinement(Confinement::Available);
    let prepared = tallymill_sandbox::prepare(None, &launcher, module)
        .context("failed to prepare the module")?;
    Ok((launcher, prepared))
}

/// Runs a module here on these inputs.
pub fn local(
    module: &[u8],
    spec: &Arc<JobSpec>,
    inputs: &[Vec<u8>],
) -> anyhow::Result<Vec<TaskResult>> {
    let (launcher, prepared) = prepare(module)?;
    let mut runner = Runner::new(launcher, prepared, Duration::from_secs(600));
    let task = |(index, input): (u32, &Vec<u8>)| {
        let task = TaskSpec {
            job: Arc::clone(spec),
            index: TaskIndex(index),
            input: input.as_slice().into(),
        };
        Ok(runner.run_one(&task, &Control::new()?)?)
    };
    (0..).zip(inputs).map(task).collect()
}

/// Standard input: a file, this command's own when it is not a terminal, or nothing.
fn stdin(args: &RunArgs) -> anyhow::Result<Vec<u8>> {
    match &args.stdin {
        Some(path) if path != Path::new("-") => read(path),
        None if std::io::stdin().is_terminal() => Ok(Vec::new()),
        _ => {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).context("failed to read standard input")?;
            Ok(bytes)
        }
    }
}

pub fn run(common: &Common, args: &RunArgs) -> anyhow::Result<ExitCode> {
    let module = read(&args.module)?;
    let mut spec = job_spec(&args.inputs, &args.env, &args.args, limits(&args.limits))?;
    if let Some(seed) = &args.seed {
        let seed: Digest = seed.parse().map_err(|e| Usage(format!("--seed: {e}")))?;
        spec.seed = *seed.as_bytes();
    }
    let (launcher, prepared) = prepare(&module)?;
    let task = TaskSpec { job: Arc::new(spec), index: TaskIndex(0), input: stdin(args)?.into() };
    let mut runner = Runner::new(launcher, prepared.clone(), Duration::from_secs(args.wall));
    if let Some(steps) = &args.steps {
        let (budget, segment) = steps_of(steps)?;
        let (result, parts) = in_steps(&mut runner, &task, Steps { budget, segment })?;
        ui::note(format!("{parts} segments"));
        return print(common, &result);
    }
    let result = runner.run_one(&task, &Control::new()?).context("the run is void")?;
    if let Some(path) = &args.receipt {
        let receipt = tallymill_audit::LocalReceipt::new(&prepared, &task, &result);
        std::fs::write(path, receipt.to_json()?)
            .with_context(|| format!("failed to write {}", path.display()))?;
    }
    print(common, &result)
}

/// Runs a long task segment by segment, each from the snapshot of the one before. Gives what the whole has come to, and how
/// many there were.
fn in_steps(
    runner: &mut Runner,
    task: &TaskSpec,
    steps: Steps,
) -> anyhow::Result<(TaskResult, usize)> {
    let mut spec = SegmentSpec { task: task.clone(), steps, from: None, pause_after: None };
    let (mut fuel, mut memory_fuel, mut cpu) = (0u64, 0u64, 0u64);
    for parts in 1.. {
        let ended = runner.run_segment(&spec, &Control::new()?).context("the run is void")?;
        let result = ended.result;
        fuel = fuel.saturating_add(result.fuel);
        memory_fuel = memory_fuel.saturating_add(result.memory_fuel);
        cpu = cpu.saturating_add(result.cpu_time_us);
        if result.outcome != Outcome::Paused {
            let bytes_in = task.input.len() as u64;
            return Ok((
                TaskResult { fuel, memory_fuel, bytes_in, cpu_time_us: cpu, ..result },
                parts,
            ));
        }
        spec.from = Some(result.output.into());
    }
    anyhow::bail!("the task has no end")
}

fn print(common: &Common, result: &TaskResult) -> anyhow::Result<ExitCode> {
    if common.json {
        ui::json(&serde_json::json!({
            "outcome": result.outcome.to_string(), "fuel": result.fuel.to_string(),
            "output": String::from_utf8_lossy(&result.output),
            "output_base64": ui::base64_of_binary(&result.output), "log": String::from_utf8_lossy(&result.log),
            "output_digest": Digest::of(&result.output).to_string(), "peak_memory": result.peak_memory.to_string(),
            "cpu_time_us": result.cpu_time_us.to_string(),
        }))?;
    } else {
        ui::raw(&result.output);
        ui::raw_note(&result.log);
    }
    Ok(match result.outcome {
        Outcome::Exited(code) => ExitCode::from(code),
        other => {
            ui::note(format!("the program {other} after {} fuel", result.fuel));
            ExitCode::from(NOT_EXITED)
        }
    })
}
