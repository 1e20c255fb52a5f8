//! The super-node: HTTP API, engine thread, pages, metrics.

pub mod blobs;
mod clock;
pub mod events;
pub mod keys;
pub mod options;
pub mod pipeline;
pub mod tokens;
