//! What the API says, as types: the answers and the schemas of the API's document come from the same fields.
//!
//! Ids are hexadecimal. Numbers that may pass 2⁵³ and amounts of credit are decimal strings, because many JSON readers
//! would round them.

pub mod accounts;
pub mod jobs;
pub mod names;
pub mod operators;
pub mod service;
pub mod values;

use serde::Serialize;
use utoipa::ToSchema;

pub use values::{Bytes, Cbor, Decimal, Id, next, next_suspension, number32};

/// A part of a list. A list is over when a part is empty.
#[derive(Debug, Serialize, ToSchema)]
pub struct Part<T> {
    /// The rows.
    pub items: Vec<T>,
    /// What to pass as `after` for the next part; null when this one is empty.
    pub next: Option<String>,
}

impl<T> Part<T> {
    /// The part made of these rows, going on after the key of the last one.
    pub fn of<R>(rows: &[R], key: impl Fn(&R) -> String) -> Self
    where
        for<'r> T: From<&'r R>,
    {
        Self { items: rows.iter().map(T::from).collect(), next: rows.last().map(key) }
    }
}

/// What was done, by the thing it was done to.
#[derive(Debug, Serialize, ToSchema)]
pub struct Done {
    /// Id of an account, host or job, or the number of a transfer in 8 bytes; hexadecimal.
    pub subject: String,
}

/// A problem document (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemDocument {
    /// `urn:tallymill:problem:` and the stable name of the kind of problem.
    pub r#type: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// This case in words.
    pub detail: String,
    /// The field, parameter or header to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub field: Option<String>,
    /// The limit that was passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub limit: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next: Option<String>,
}
