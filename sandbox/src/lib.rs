//! Runs metered modules: deterministic WASI, limits, child processes, compiled-module cache.
//!
//! [`screen`] meters a module without compiling it. An [`Engine`] compiles and loads; [`run_task`] runs one task in this process.

mod engine;
mod profile;
mod run;
mod task;
pub mod wasi;
mod watch;

pub use engine::{CompiledModule, ENGINE_NAME, Engine, EngineError};
pub use profile::{ModuleError, profile, screen, versions};
pub use run::{run_task, with_stack};
pub use task::{FileMismatch, InputFile, JobSpec, TaskResult, TaskSpec, Void};
pub use watch::{Pulse, Watch};
