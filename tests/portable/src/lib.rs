//! The same metered module on several engines: a corpus made from seeds, our host functions on wasmtime, wasmi and V8,
//! and a comparison of everything a receipt holds.
//!
//! `cargo xtask portable` is the command; docs/protocol/portability.md says what was compared.

mod campaign;
mod compare;
mod corpus;
mod draw;
mod engines;
mod serve;

pub use campaign::{Campaign, Report};
pub use compare::{Bench, Difference, Found, Tally, compare};
pub use corpus::{Case, case, families};
pub use draw::Draw;
pub use engines::{Answer, Engine, Process, Subject, Tier, Wasmi, Wasmtime};
pub use serve::serve;
