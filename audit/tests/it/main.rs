//! Receipts of a small world of a submitter, a coordinator and a host, judged by a stranger.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of a test fail the test; clippy only exempts functions marked as tests"
)]

mod disputes;
mod evidence;
mod execution;
mod local;
mod replay;
mod segments;
mod world;
