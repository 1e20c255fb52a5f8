//! The sandbox as its users see it: guests in, outcomes out.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of a test fail the test; clippy only exempts functions marked as tests"
)]

mod cache;
mod children;
mod confinement;
mod determinism;
mod endings;
mod guest;
mod hostile;
mod liars;
mod steps;
mod wasi;
