//! Engines in processes of their own: one line of JSON for each task, one line back.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};
use data_encoding::BASE64;
use serde_json::{Value, json};
use tallymill_meter::{Extent, Metered};
use tallymill_protocol::Outcome;
use tallymill_protocol::work::VoidCause;
use tallymill_sandbox::{TaskResult, TaskSpec, Void};

use super::{Answer, Engine, Subject};
use crate::draw::Draw;

/// Which of V8's compilers run the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// As it likes: its baseline compiler first.
    Usual,
    /// The optimising one from the start.
    Optimised,
}

/// A process that runs tasks.
pub struct Process {
    name: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    looks: Option<Draw>,
    /// Whether it meters the module itself, to the same bytes.
    meters: bool,
    bytes_in: u64,
}

impl Process {
    /// V8 in node, with the host in `sdk/js`. With `looks`, its hook asks for the next one at a random distance within the
    /// slice.
    ///
    /// # Errors
    /// When there is no node, with what to do about it.
    pub fn node(tier: Tier, looks: Option<u64>) -> anyhow::Result<Self> {
        let runner = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk/js/node/runner.js");
        let mut command = Command::new("node");
        if tier == Tier::Optimised {
            command.arg("--no-liftoff");
        }
        command.arg(runner);
        let name = match (tier, looks) {
            (Tier::Usual, None) => "v8",
            (Tier::Optimised, None) => "v8, optimised",
            (_, Some(_)) => "v8, random looks",
        };
        let started = Self::start(name, &mut command, looks.map(Draw::new));
        started.context("node does not start; on Debian: apt-get install nodejs (18 or later)")
    }

    /// This program built for another processor, under an emulator: its meter and its wasmtime.
    ///
    /// # Errors
    /// When it does not start.
    pub fn emulated(command: &str) -> anyhow::Result<Self> {
        let mut words = command.split_whitespace();
        let mut command = Command::new(words.next().context("an empty command")?);
        command.args(words).arg("--serve");
        let started = Self::start("wasmtime, emulated", &mut command, None);
        started.map(|mut process| {
            process.meters = true;
            process
        })
    }

    fn start(
        name: &'static str,
        command: &mut Command,
        looks: Option<Draw>,
    ) -> anyhow::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().context("a process without output")?);
        Ok(Self { name, child, stdin, stdout, looks, meters: false, bytes_in: 0 })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // At the end of its input it leaves by itself; killing it is for one that hangs.
        self.stdin = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Engine for Process {
    fn name(&self) -> &'static str {
        self.name
    }

    fn begin(&mut self, subject: &Subject<'_>) -> anyhow::Result<()> {
        self.bytes_in = subject.task.input.len() as u64;
        let mut order = order(subject.metered, subject.task);
        if self.meters {
            order["guest"] = BASE64.encode(subject.guest).into();
        }
        if let Some(draw) = &mut self.looks {
            order["looks"] = (draw.bits() >> 20).into();
        }
        let stdin = self.stdin.as_mut().context("it has no input")?;
        stdin.write_all(format!("{order}\n").as_bytes()).context("it reads no more")
    }

    fn finish(&mut self) -> anyhow::Result<Answer> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        let said = serde_json::from_str(&line).context("it has ended")?;
        answer(&said, self.bytes_in).with_context(|| format!("it said {said}"))
    }
}

fn order(metered: &Metered, task: &TaskSpec) -> Value {
    let extent = |extent: Option<Extent>| extent.map(|extent| json!({ "min": extent.min }));
    let (job, limits) = (&task.job, &task.job.limits);
    let file = |file: &tallymill_sandbox::InputFile| json!({ "name": file.name, "bytes": BASE64.encode(&file.bytes) });
    json!({
        "module": BASE64.encode(&metered.bytes),
        "info": { "memory": extent(metered.info.memory), "table": extent(metered.info.table) },
        "task": {
            "limits": {
                "fuel": limits.fuel.to_string(),
                "memory": limits.memory.to_string(),
                "output": limits.output.to_string(),
                "log": limits.log.to_string(),
                "stack": limits.stack.to_string(),
                "table": limits.table.to_string(),
                "scratch": limits.scratch.to_string(),
            },
            "seed": BASE64.encode(&job.seed),
            "index": task.index.0,
            "input": BASE64.encode(&task.input),
            "argv": job.argv,
            "environment": job.environment,
            "files": job.files.iter().map(file).collect::<Vec<_>>(),
        },
    })
}

fn answer(said: &Value, bytes_in: u64) -> anyhow::Result<Answer> {
    if let Some(void) = said.get("void") {
        let cause = match void["cause"].as_str() {
            Some("native-overflow") => VoidCause::NativeOverflow,
            Some("growth-refused") => VoidCause::GrowthRefused,
            _ => VoidCause::Other,
        };
        return Ok(Err(Void::new(cause, void["detail"].as_str().unwrap_or_default())));
    }
    let text = |name: &str| said[name].as_str().with_context(|| format!("no {name}"));
    let number = |name: &str| -> anyhow::Result<u64> { Ok(text(name)?.parse()?) };
    let bytes =
        |name: &str| -> anyhow::Result<Vec<u8>> { Ok(BASE64.decode(text(name)?.as_bytes())?) };
    let part = |at: usize| said["outcome"][at].as_u64().and_then(|part| u8::try_from(part).ok());
    let (Some(kind), Some(code)) = (part(0), part(1)) else { bail!("no outcome") };
    let output = bytes("output")?;
    Ok(Ok(TaskResult {
        outcome: Outcome::from_parts(kind, code).context("no such outcome")?,
        bytes_out: output.len() as u64,
        output,
        log: bytes("log")?,
        fuel: number("fuel")?,
        peak_memory: number("peakMemory")?,
        memory_fuel: number("memoryFuel")?,
        bytes_in,
        cpu_time_us: 0,
    }))
}
