//! The meter as a host sees it: guests in the text format, metered and run.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of a test fail the test; clippy only exempts functions marked as tests"
)]

mod bulk;
mod differential;
mod fuel;
mod growth;
mod hints;
mod host;
mod hosts;
mod limits;
mod loops;
mod nan;
mod polls;
mod refusals;
mod smith;
mod spec;
mod steps;
