//! A submitted job: progress, results, cancellation, the reasons it waits.

use reqwest::Method;
use tallymill_protocol::{Digest, HostId, JobId};

use crate::http::Body;
use crate::model::JobView;
use crate::{Client, Error, Results};

/// A job at a coordinator.
#[derive(Debug, Clone)]
pub struct JobHandle {
    pub(crate) client: Client,
    id: JobId,
    warnings: Vec<String>,
}

impl JobHandle {
    pub(crate) const fn new(client: Client, id: JobId) -> Self {
        Self { client, id, warnings: Vec::new() }
    }

    pub(crate) fn warned(self, warnings: Vec<String>) -> Self {
        Self { warnings, ..self }
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> JobId {
        self.id
    }

    /// What the coordinator said at its submission: that too few owners were online to run it, for example. Empty for a job
    /// that was not submitted by this handle's client.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Its totals now.
    ///
    /// # Errors
    /// When the coordinator cannot be asked or does not know the job.
    pub async fn progress(&self) -> Result<JobView, Error> {
        self.client.http.get(&format!("/api/v1/jobs/{}", self.id)).await
    }

    /// Its results as they are decided.
    #[must_use]
    pub fn results(&self) -> Results {
        Results::new(self.clone())
    }

    /// Why its tasks wait, most important reason first; empty when none does.
    ///
    /// # Errors
    /// When the coordinator cannot be asked.
    pub async fn why(&self) -> Result<serde_json::Value, Error> {
        self.client.http.get(&format!("/api/v1/jobs/{}/why", self.id)).await
    }

    /// Stops it: what ran is paid, the rest of the credit returns.
    ///
    /// # Errors
    /// When it is not this account's job, or is over already.
    pub async fn cancel(&self, reason: &str) -> Result<(), Error> {
        let body = Body::Json(serde_json::json!({ "reason": reason }));
        self.client
            .http
            .call(Method::POST, &format!("/api/v1/jobs/{}/cancel", self.id), body)
            .await
            .map(drop)
    }

    /// Keeps its results until they are released, however long the coordinator keeps those of others.
    ///
    /// # Errors
    /// When it is not this account's job, or its results are gone already.
    pub async fn keep(&self, reason: &str) -> Result<(), Error> {
        let body = Body::Json(serde_json::json!({ "reason": reason }));
        let path = format!("/api/v1/jobs/{}/keep", self.id);
        self.client.http.call(Method::POST, &path, body).await.map(drop)
    }

    /// Keeps its results no longer than those of others.
    ///
    /// # Errors
    /// When it is not this account's job.
    pub async fn release(&self) -> Result<(), Error> {
        let path = format!("/api/v1/jobs/{}/release", self.id);
        self.client.http.call(Method::POST, &path, Body::Nothing).await.map(drop)
    }

    /// The evidence of a task's result: everything a stranger needs to check and re-execute it.
    ///
    /// # Errors
    /// When the task is not decided, or is private to somebody else.
    pub async fn evidence(&self, task: u32) -> Result<serde_json::Value, Error> {
        self.client.http.get(&format!("/api/v1/jobs/{}/receipts/{task}", self.id)).await
    }

    /// The evidence of one segment of a long task, on which hosts agreed; the task itself may go on.
    ///
    /// # Errors
    /// When hosts have not agreed on it, or the job is private to somebody else.
    pub async fn segment_evidence(
        &self,
        task: u32,
        segment: u32,
    ) -> Result<serde_json::Value, Error> {
        let path = format!("/api/v1/jobs/{}/receipts/{task}?segment={segment}", self.id);
        self.client.http.get(&path).await
    }

    /// What one host's run of a decided task wrote to standard error; `digest` is the `log` of that run in [`Self::task`].
    ///
    /// # Errors
    /// When the task is not decided, that host did not run it, this account does not pay for the job, or the bytes do not
    /// match.
    pub async fn log(&self, task: u32, host: HostId, digest: Digest) -> Result<Vec<u8>, Error> {
        let path = format!("/api/v1/jobs/{}/tasks/{task}/log?host={host}", self.id);
        self.client.download(&path, digest).await
    }

    /// One task with its attempts.
    ///
    /// # Errors
    /// When there is no such task.
    pub async fn task(&self, task: u32) -> Result<serde_json::Value, Error> {
        self.client.http.get(&format!("/api/v1/jobs/{}/tasks/{task}", self.id)).await
    }
}
