//! Runs tasks for another such program on this machine's wasmtime: the far end of an emulated engine.

use std::io::{BufRead as _, Write as _};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use data_encoding::BASE64;
use serde_json::{Value, json};
use tallymill_meter::Metered;
use tallymill_meter::Slices;
use tallymill_protocol::work::VoidCause;
use tallymill_protocol::{Limits, TaskIndex};
use tallymill_sandbox::{InputFile, JobSpec, TaskSpec, screen_for, with_stack};

use crate::engines::{Answer, Engine as _, Subject, Wasmtime};

/// Answers line by line until the input ends.
///
/// # Errors
/// At the first order that is not understood, or when the engine does not start.
pub fn serve() -> anyhow::Result<()> {
    with_stack(|| {
        let mut engine = Wasmtime::new()?;
        for line in std::io::stdin().lock().lines() {
            let said = obey(&mut engine, &serde_json::from_str(&line?)?)?;
            writeln!(std::io::stdout(), "{said}")?;
        }
        Ok(())
    })?
}

fn obey(engine: &mut Wasmtime, order: &Value) -> anyhow::Result<Value> {
    let guest = bytes(&order["guest"])?;
    let metered: Metered = screen_for(&guest, Slices::Hook)?;
    ensure!(metered.bytes == bytes(&order["module"])?, "the meter gave other bytes here");
    let task = task(&order["task"])?;
    engine.begin(&Subject { guest: &guest, metered: &metered, task: &task })?;
    Ok(said(engine.finish()?))
}

fn bytes(value: &Value) -> anyhow::Result<Vec<u8>> {
    Ok(BASE64.decode(text(value)?.as_bytes())?)
}

fn text(value: &Value) -> anyhow::Result<&str> {
    value.as_str().context("no text")
}

fn list<T>(value: &Value, item: impl Fn(&Value) -> anyhow::Result<T>) -> anyhow::Result<Vec<T>> {
    value.as_array().context("no list")?.iter().map(item).collect()
}

fn task(value: &Value) -> anyhow::Result<TaskSpec> {
    let owned = |value: &Value| text(value).map(str::to_owned);
    let mut job = JobSpec::new(limits(&value["limits"])?);
    job.seed = bytes(&value["seed"])?.try_into().ok().context("a seed of another length")?;
    job.argv = list(&value["argv"], owned)?;
    job.environment = list(&value["environment"], |pair| Ok((owned(&pair[0])?, owned(&pair[1])?)))?;
    job.files = list(&value["files"], |file| {
        Ok(InputFile { name: owned(&file["name"])?, bytes: bytes(&file["bytes"])?.into() })
    })?;
    let index = u32::try_from(value["index"].as_u64().context("no index")?)?;
    Ok(TaskSpec {
        job: Arc::new(job),
        index: TaskIndex(index),
        input: bytes(&value["input"])?.into(),
    })
}

fn limits(value: &Value) -> anyhow::Result<Limits> {
    let limit = |name: &str| -> anyhow::Result<u64> { Ok(text(&value[name])?.parse()?) };
    Ok(Limits {
        fuel: limit("fuel")?,
        memory: limit("memory")?,
        output: limit("output")?,
        log: limit("log")?,
        stack: limit("stack")?,
        table: limit("table")?,
        scratch: limit("scratch")?,
    })
}

fn said(answer: Answer) -> Value {
    let result = match answer {
        Ok(result) => result,
        Err(void) => {
            let cause = match void.cause {
                VoidCause::NativeOverflow => "native-overflow",
                VoidCause::GrowthRefused => "growth-refused",
                _ => "other",
            };
            return json!({ "void": { "cause": cause, "detail": void.detail } });
        }
    };
    let (kind, code) = result.outcome.parts();
    json!({
        "outcome": [kind, code],
        "output": BASE64.encode(&result.output),
        "log": BASE64.encode(&result.log),
        "fuel": result.fuel.to_string(),
        "peakMemory": result.peak_memory.to_string(),
        "memoryFuel": result.memory_fuel.to_string(),
    })
}
