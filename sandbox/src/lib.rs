//! Runs metered modules: deterministic WASI, limits, child processes, compiled-module cache.
//!
//! The way of a module: [`screen`] meters it without compiling (what a coordinator does at submission); [`prepare`] compiles it in
//! a child process or takes it from the [`Cache`]; a [`Runner`] runs batches of tasks in another child. A binary that uses children
//! calls [`child_main`] first thing in its `main`. Everything blocks: use threads of your own.
//!
//! What a guest can observe comes from the [`JobSpec`] (which is made from the manifest) and its input alone. How a run ended is an
//! `Outcome` when it is the guest's doing, and a [`Void`] when it is the host's.
//!
//! [`Engine`] and [`run_task`] run a guest in this process: inside children, in tests, and for modules that are trusted.

mod cache;
mod child;
mod confine;
mod control;
mod cputime;
mod engine;
mod launch;
mod ordinary;
mod plain;
mod prepare;
mod profile;
mod protection;
mod run;
mod runner;
mod segment;
mod state;
mod task;
pub mod wasi;
mod watch;
mod wire;

pub use cache::{Cache, CacheError};
pub use child::child_main;
pub use confine::{Confinement, Layer, Strength};
pub use control::{Control, Patience, Progress};
pub use engine::{CompiledModule, ENGINE_NAME, Engine, EngineError};
pub use launch::{CompileLimits, Launcher};
pub use ordinary::ordinary_rate;
pub use plain::{Guard, PlainModule};
pub use prepare::{PrepareError, Prepared, prepare};
pub use profile::{ModuleError, profile, screen, screen_as, screen_for, versions};
pub use protection::{Attempt, Ending, Protection};
pub use run::{run_task, with_stack};
pub use runner::Runner;
pub use segment::{SegmentResult, SegmentSpec, run_segment};
pub use task::{FileMismatch, InputFile, JobSpec, MAX_BYTES, TaskResult, TaskSpec, Void};
pub use watch::Pulse;
#[doc(hidden)]
pub use wire::read_as_every_frame;
