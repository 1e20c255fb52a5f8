//! What people do with the finished binary, one module per journey.
//!
//! Each test starts processes of its own in a folder of its own; the guests come from `cargo xtask guests --c`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that fails fails its test")]

mod backup;
mod crash;
mod credit;
mod descriptors;
mod disk;
mod examples;
mod first_job;
mod hostile;
mod json;
mod keys;
mod local;
mod operator;
mod packaging;
mod postgres;
mod refusals;
mod retention;
mod service;
mod settings;
mod steps;
mod tls;
mod volunteer;
mod world;
