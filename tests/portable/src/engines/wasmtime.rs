//! Wasmtime, as workers run it: slices are polled there, and called elsewhere.

use anyhow::Context as _;
use tallymill_sandbox::{Engine as Sandbox, Pulse, run_task, screen};

use super::{Answer, Engine, Subject};

/// The engine of the sandbox, on this thread: its stack must be large.
pub struct Wasmtime {
    engine: Sandbox,
    answer: Option<Answer>,
}

impl Wasmtime {
    /// The engine.
    ///
    /// # Errors
    /// When this machine lacks what it needs.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { engine: Sandbox::new(1)?, answer: None })
    }
}

impl Engine for Wasmtime {
    fn name(&self) -> &'static str {
        "wasmtime"
    }

    fn begin(&mut self, subject: &Subject<'_>) -> anyhow::Result<()> {
        let Subject { guest, task, .. } = *subject;
        let metered = screen(guest)?;
        let module = self.engine.compile_here(&metered.bytes, metered.info)?;
        let mut answer = run_task(&module, task, &Pulse::default());
        if let Ok(result) = &mut answer {
            result.cpu_time_us = 0;
        }
        self.answer = Some(answer);
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<Answer> {
        self.answer.take().context("nothing was begun")
    }
}
