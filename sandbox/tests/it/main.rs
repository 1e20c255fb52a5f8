//! The sandbox as its users see it: guests in, outcomes out.

mod cache;
mod children;
mod determinism;
mod endings;
mod guest;
mod wasi;
