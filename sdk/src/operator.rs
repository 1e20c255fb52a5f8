//! What operators do: grants, suspensions, the audit of the ledger.

use reqwest::Method;
use serde_json::{Value, json};
use tallymill_protocol::AccountId;

use crate::http::Body;
use crate::{Client, Error};

impl Client {
    /// Grants credit, micro-credits, within the caps of the coordinator.
    ///
    /// # Errors
    /// When this account is no operator, or a cap would be passed.
    pub async fn grant(&self, to: AccountId, amount: u64) -> Result<Value, Error> {
        let body = json!({ "to": to.to_string(), "amount": amount.to_string() });
        self.http.json(Method::POST, "/api/v1/admin/grant", Body::Json(body)).await
    }

    /// Stops leases of an account, module, job or host (by its id in hex) at once; the reason is public.
    ///
    /// # Errors
    /// When this account is no operator or the subject does not exist.
    pub async fn suspend(&self, kind: &str, subject: &str, reason: &str) -> Result<Value, Error> {
        let body = json!({ "kind": kind, "subject": subject, "reason": reason });
        self.http.json(Method::POST, "/api/v1/admin/suspend", Body::Json(body)).await
    }

    /// Lets what was suspended get leases again; the reason is public.
    ///
    /// # Errors
    /// When this account is no operator or nothing is suspended under this id.
    pub async fn lift(&self, kind: &str, subject: &str, reason: &str) -> Result<Value, Error> {
        let body = json!({ "kind": kind, "subject": subject, "reason": reason });
        self.http.json(Method::POST, "/api/v1/admin/lift", Body::Json(body)).await
    }

    /// Lets in an account that waits for it.
    ///
    /// # Errors
    /// When this account is no operator or there is no such account.
    pub async fn approve(&self, account: AccountId) -> Result<Value, Error> {
        let body = json!({ "account": account.to_string() });
        self.http.json(Method::POST, "/api/v1/admin/approve", Body::Json(body)).await
    }

    /// Checks the invariants of the whole ledger.
    ///
    /// # Errors
    /// When this account is no operator.
    pub async fn audit(&self) -> Result<Value, Error> {
        self.http.get("/api/v1/admin/audit").await
    }

    /// A one-time link that signs a browser in.
    ///
    /// # Errors
    /// When the coordinator cannot be asked.
    pub async fn web_link(&self) -> Result<Value, Error> {
        self.http.json(Method::POST, "/api/v1/open", Body::Nothing).await
    }
}
