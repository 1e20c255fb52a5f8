//! What may stand behind the `?` of an address. Unknown parameters are refused by name.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::extract::rejection::QueryRejection;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tallymill_storage::{MAX_PAGE, Page};
use utoipa::IntoParams;

use super::model::names::{JobState, TaskState};
use super::model::{Id, next, next_suspension, number32};
use super::problem::Problem;

/// Longest wait for a result, milliseconds.
const MAX_WAIT: u64 = 30_000;

/// A query that is a `T`; anything else is a problem that names the parameter.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let read = axum::extract::Query::try_from_uri(&parts.uri);
        read.map(|query| Self(query.0)).map_err(|rejection| wrong(&rejection))
    }
}

fn wrong(rejection: &QueryRejection) -> Problem {
    let text = rejection.body_text();
    // "unknown field `x`, expected …" and "duplicate field `x`" are how serde names one.
    let named = text.split('`').nth(1).unwrap_or("query").to_owned();
    let detail = text.split_once(": ").map_or(text.as_str(), |(_, detail)| detail);
    Problem::field(named, format!("query: {detail}"))
}

/// A part of a list with keys of type `K`.
pub fn part<K>(after: Option<K>, limit: Option<&str>) -> Result<Page<K>, Problem> {
    let wrong = || Problem::field("limit", format!("limit: 1 to {MAX_PAGE}")).limit(&MAX_PAGE);
    let limit = limit.map_or(Ok(100), |limit| limit.parse().map_err(|_| wrong()))?;
    if (1..=MAX_PAGE).contains(&limit) { Ok(Page { after, limit }) } else { Err(wrong()) }
}

/// Reads a key that is a number.
pub fn number<N: std::str::FromStr>(after: Option<&str>) -> Result<Option<N>, Problem> {
    let wrong = |_| Problem::field("after", "after: a number");
    after.map(|text| text.parse().map_err(wrong)).transpose()
}

/// Which part of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Paging {
    /// The `next` of the part before.
    #[param(schema_with = next, required = false)]
    pub after: Option<String>,
    /// Most items.
    #[param(value_type = u32, minimum = 1, maximum = 1000, required = false)]
    pub limit: Option<String>,
}

impl Paging {
    /// The part whose key is a number.
    pub fn part<K: std::str::FromStr>(&self) -> Result<Page<K>, Problem> {
        part(number(self.after.as_deref())?, self.limit.as_deref())
    }
}

/// Which part of the suspensions.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct SuspensionsQuery {
    /// The `next` of the part before.
    #[param(schema_with = next_suspension, required = false)]
    pub after: Option<String>,
    /// Most items.
    #[param(value_type = u32, minimum = 1, maximum = 1000, required = false)]
    pub limit: Option<String>,
}

/// Which results, and how long to wait for one.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ResultsQuery {
    /// The `next` of the part before.
    #[param(schema_with = next, required = false)]
    pub after: Option<String>,
    /// Most items.
    #[param(value_type = u32, minimum = 1, maximum = 1000, required = false)]
    pub limit: Option<String>,
    /// Where nothing is decided yet and the job goes on, milliseconds to wait for the next result.
    #[param(value_type = u32, minimum = 0, maximum = 30_000, required = false)]
    pub wait: Option<String>,
}

impl ResultsQuery {
    /// The part.
    pub fn part(&self) -> Result<Page<u64>, Problem> {
        part(number(self.after.as_deref())?, self.limit.as_deref())
    }

    /// The longest wait.
    pub fn wait(&self) -> Result<Duration, Problem> {
        let wrong = || {
            Problem::field("wait", format!("wait: 0 to {MAX_WAIT} milliseconds")).limit(&MAX_WAIT)
        };
        let wait = self.wait.as_deref().map_or(Ok(0), |wait| wait.parse().map_err(|_| wrong()))?;
        if wait <= MAX_WAIT { Ok(Duration::from_millis(wait)) } else { Err(wrong()) }
    }
}

/// Which jobs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct JobsQuery {
    /// The `next` of the part before.
    #[param(schema_with = next, required = false)]
    pub after: Option<String>,
    /// Most items.
    #[param(value_type = u32, minimum = 1, maximum = 1000, required = false)]
    pub limit: Option<String>,
    /// Only jobs of this account.
    #[param(value_type = Id, required = false)]
    pub payer: Option<String>,
    /// Only jobs in this state.
    #[param(value_type = JobState, required = false)]
    pub state: Option<String>,
}

/// Which decided tasks.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct TasksQuery {
    /// The `next` of the part before.
    #[param(schema_with = next, required = false)]
    pub after: Option<String>,
    /// Most items.
    #[param(value_type = u32, minimum = 1, maximum = 1000, required = false)]
    pub limit: Option<String>,
    /// Only tasks decided like this.
    #[param(value_type = TaskState, required = false)]
    pub state: Option<String>,
}

/// Which hosts.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct HostsQuery {
    /// The `next` of the part before.
    #[param(value_type = Id, required = false)]
    pub after: Option<String>,
    /// Most items.
    #[param(value_type = u32, minimum = 1, maximum = 1000, required = false)]
    pub limit: Option<String>,
    /// Hosts of this account; without it, of the caller.
    #[param(value_type = Id, required = false)]
    pub owner: Option<String>,
}

/// Which part of a long task.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct SegmentQuery {
    /// A segment on which hosts agreed, from 0; without it, the one that decided the task.
    #[param(schema_with = number32, required = false)]
    pub segment: Option<String>,
}

impl SegmentQuery {
    /// Its number.
    pub fn number(&self) -> Result<Option<u32>, Problem> {
        let wrong = |_| Problem::field("segment", "segment: a number from 0");
        self.segment.as_deref().map(|text| text.parse().map_err(wrong)).transpose()
    }
}

/// Which transfers: those of a job or those of an account.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct TransfersQuery {
    /// The `next` of the part before.
    #[param(schema_with = next, required = false)]
    pub after: Option<String>,
    /// Most items.
    #[param(value_type = u32, minimum = 1, maximum = 1000, required = false)]
    pub limit: Option<String>,
    /// Those of this job.
    #[param(value_type = Id, required = false)]
    pub job: Option<String>,
    /// Those that touch this account.
    #[param(value_type = Id, required = false)]
    pub account: Option<String>,
}

/// Which run of a task.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RunQuery {
    /// The host that ran it; without it, the one whose result stands, else the first.
    #[param(value_type = Id, required = false)]
    pub host: Option<String>,
}

/// Which topics: `network`, `job:ID`, `account:ID`, joined by commas.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Topics {
    /// `network`, `job:ID` and `account:ID`, at most 64, joined by commas; `network` without it.
    pub topics: Option<String>,
}
