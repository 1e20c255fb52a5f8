//! The super-node: HTTP API, engine thread, pages, metrics.
//!
//! [`service::start`] runs a coordinator; the engine decides on a thread of its own behind [`pipeline`], and the handlers
//! under `http` parse, ask and render. Nothing leaves before the commit it depends on.

mod authz;
pub mod backup;
pub mod blobs;
pub mod check;
pub mod claims;
mod clock;
pub mod collector;
mod connections;
pub mod events;
mod group;
mod http;
pub mod keys;
pub mod metrics;
pub mod options;
pub mod pages;
pub mod pipeline;
pub mod pulse;
mod quota;
pub mod rates;
pub mod service;
mod snapshots;
mod tls;
pub mod tokens;
mod trace;
mod turn;

pub use options::{Bounds, Options, TlsFiles};
pub use service::{Handle, ServiceError, start, start_with};
pub use tallymill_engine::{Admission, Retention};
