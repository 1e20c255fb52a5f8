//! The deciding core: task life cycle, scheduling, quorum and settlement, without I/O.
//!
//! One [`Engine`] owns the hot state of a coordinator. The shell drains its queue into [`Engine::handle`], calls
//! [`Engine::dispatch`] once, and takes a [`Step`]: a [`rows::Batch`] to commit, and replies and events that may leave only
//! after that. The engine never waits, reads no clock, draws nothing and touches no storage; time is an argument. When a
//! commit fails the shell drops the engine and loads a new one, so what was decided but not committed never happened.

mod admin;
mod api;
mod chain;
mod choose;
mod engine;
mod keep;
mod lease;
mod load;
mod money;
mod out;
mod recent;
mod refusal;
mod report;
mod retention;
pub mod rows;
mod slots;
mod state;
mod submit;
mod view;
mod work;

pub use api::{
    Admission, Answer, Ask, CheckedReceipt, CheckedReport, Command, Config, Event, Granted,
    JobView, NetworkView, Once, Reply, Step, Token, Totals, WorkAnswer,
};
pub use engine::Engine;
pub use refusal::{LoadError, Refusal};
pub use retention::{Kept, Retention};
