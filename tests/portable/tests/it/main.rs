//! The same result on every engine.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail the test; clippy only exempts functions marked as tests"
)]

mod bench;
mod corpus;
mod differential;
mod examples;
mod javascript;
