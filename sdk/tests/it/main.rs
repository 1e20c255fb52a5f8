//! The client against a coordinator that says exactly what a test wants, and loses connections when it should.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod fake;
mod results;
