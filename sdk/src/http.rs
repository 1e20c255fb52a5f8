//! The one place that speaks HTTP: headers, tokens, retries, problem documents.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tallymill_protocol::cbor::Text;
use tallymill_protocol::{Key, Login, Message as _, Micros, PROTOCOL_VERSION};
use tallymill_transport::Ways;
use tokio::sync::Mutex;

use crate::model::Problem;
use crate::{Error, KeyFile};

/// Tries of a call that the coordinator could not take.
const TRIES: u32 = 6;
/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Media type of signed messages.
const CBOR: &str = "application/cbor";

#[derive(Debug, Serialize)]
struct ChallengeRequest {
    key: String,
    purpose: &'static str,
}

#[derive(Debug, Deserialize)]
struct Challenge {
    nonce: String,
    #[serde(with = "crate::model::decimal")]
    expiry: u64,
    audience: String,
}

#[derive(Debug, Deserialize)]
struct Session {
    token: String,
}

/// What a call sends.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Nothing,
    Json(serde_json::Value),
    Cbor(Vec<u8>),
    Raw(Arc<Vec<u8>>),
}

/// A connection to one coordinator with one key.
#[derive(Debug)]
pub(crate) struct Http {
    ways: Ways,
    base: String,
    key: KeyFile,
    token: Mutex<Option<String>>,
}

impl Http {
    /// A client for the coordinator at `url`, or for any of those at several with commas between; over https it trusts the
    /// authorities in `ca` too.
    ///
    /// # Errors
    /// When the address makes no sense, or those authorities cannot be read.
    pub fn new(url: &str, key: KeyFile, ca: Option<&Path>) -> Result<Self, Error> {
        let ways = Ways::new(url, ca, |client| {
            // Coordinators end a connection after half a minute without a request; not one that is just taken for another.
            let client = client.pool_idle_timeout(Duration::from_secs(20));
            // A wait for results outlives a lost probe of its connection; other systems have no such limit.
            #[cfg(any(target_os = "linux", target_os = "android"))]
            let client = client.tcp_user_timeout(Duration::from_secs(60));
            client
        })?;
        let base = if ways.count() > 1 { url.to_owned() } else { ways.origin() };
        Ok(Self { ways, base, key, token: Mutex::new(None) })
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn key(&self) -> &KeyFile {
        &self.key
    }

    /// Reads a JSON answer.
    pub async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<T, Error> {
        let response = self.call(method, path, body).await?;
        self.read(path, response).await
    }

    /// An answer that ends too early is a lost connection, not a wrong answer.
    async fn read<T: DeserializeOwned>(&self, path: &str, response: Response) -> Result<T, Error> {
        let bytes = response.bytes().await.map_err(|e| self.unreachable(e))?;
        serde_json::from_slice(&bytes).map_err(|e| Error::Answer(format!("{path}: {e}")))
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.json(Method::GET, path, Body::Nothing).await
    }

    /// Makes a call, logging in when needed and waiting when the coordinator is busy.
    ///
    /// A refusal may leave open whether the call was carried out, so every try of a POST has the same idempotency key.
    pub async fn call(&self, method: Method, path: &str, body: Body) -> Result<Response, Error> {
        self.call_for(method, path, body, None).await
    }

    async fn call_for(
        &self,
        method: Method,
        path: &str,
        body: Body,
        range: Option<&str>,
    ) -> Result<Response, Error> {
        let once = if method == Method::POST { Some(once()?) } else { None };
        let mut fresh = false;
        let mut attempt = 0;
        let mut others = self.ways.count() - 1;
        loop {
            let token = match self.token(fresh).await {
                Err(Error::Unreachable { .. }) if others > 0 => {
                    others -= 1;
                    continue;
                }
                token => token?,
            };
            let mut request = self.request(method.clone(), path, body.clone()).bearer_auth(token);
            if let Some(once) = &once {
                request = request.header("idempotency-key", once);
            }
            if let Some(range) = range {
                request = request.header("range", range);
            }
            let response = match self.ways.send(request).await {
                Ok(response) => response,
                Err(error) => {
                    // An answer to a long body can be lost with the connection, also that the token has ended.
                    *self.token.lock().await = None;
                    if others == 0 {
                        return Err(self.unreachable(error));
                    }
                    others -= 1;
                    continue;
                }
            };
            attempt += 1;
            match response.status() {
                status if status.is_success() => return Ok(response),
                StatusCode::UNAUTHORIZED if !fresh => fresh = true,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
                    if attempt < TRIES =>
                {
                    if self.ways.count() > 1 {
                        // Passed on by one to another, a refusal of the token may have come as this.
                        *self.token.lock().await = None;
                    }
                    tokio::time::sleep(pause(&response, attempt)).await;
                }
                _ => return Err(problem(response).await),
            }
        }
    }

    /// Reads a part of something.
    pub async fn range(&self, path: &str, range: &str) -> Result<Vec<u8>, Error> {
        let response = self.call_for(Method::GET, path, Body::Nothing, Some(range)).await?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let bytes = response.bytes().await.map_err(|e| self.unreachable(e))?;
                Ok(bytes.to_vec())
            }
            _ => Err(problem(response).await),
        }
    }

    /// A call that needs no login. Whoever calls too often was refused before anything happened, and waits.
    pub async fn open<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<T, Error> {
        self.open_at(method, path, body, self.ways.count() - 1).await
    }

    /// The same, by as many others where one gives no answer.
    async fn open_at<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Body,
        mut others: usize,
    ) -> Result<T, Error> {
        let mut attempt = 0;
        loop {
            let request = self.request(method.clone(), path, body.clone());
            let response = match self.ways.send(request).await {
                Ok(response) => response,
                Err(_) if others > 0 => {
                    others -= 1;
                    continue;
                }
                Err(error) => return Err(self.unreachable(error)),
            };
            attempt += 1;
            match response.status() {
                status if status.is_success() => return self.read(path, response).await,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
                    if attempt < TRIES =>
                {
                    tokio::time::sleep(pause(&response, attempt)).await;
                }
                _ => return Err(problem(response).await),
            }
        }
    }

    fn request(&self, method: Method, path: &str, body: Body) -> RequestBuilder {
        let request =
            self.ways.request(method, path).header("tallymill-protocol", PROTOCOL_VERSION);
        match body {
            Body::Nothing => request,
            Body::Json(value) => request.json(&value),
            Body::Cbor(bytes) => request.header("content-type", CBOR).body(bytes),
            Body::Raw(bytes) => request
                .header("content-type", "application/octet-stream")
                .body(bytes::Bytes::from_owner(Shared(bytes))),
        }
    }

    /// A connection that could not be made, or was lost.
    pub fn unreachable(&self, source: reqwest::Error) -> Error {
        unreachable(&self.ways.origin(), source)
    }

    async fn token(&self, fresh: bool) -> Result<String, Error> {
        let mut held = self.token.lock().await;
        if let Some(token) = held.as_ref().filter(|_| !fresh) {
            return Ok(token.clone());
        }
        let token = self.log_in().await?;
        *held = Some(token.clone());
        Ok(token)
    }

    async fn log_in(&self) -> Result<String, Error> {
        let pair = self.key.pair();
        let ask = ChallengeRequest { key: pair.public().to_string(), purpose: "api" };
        let ask = serde_json::to_value(ask).map_err(|e| Error::Answer(e.to_string()))?;
        let origin = self.ways.origin();
        let challenge: Challenge =
            self.open_at(Method::POST, "/api/v1/login/challenge", Body::Json(ask), 0).await?;
        let wrong =
            |e: tallymill_protocol::ParseIdError| Error::Answer(format!("login challenge: {e}"));
        let audience: Key = challenge.audience.parse().map_err(wrong)?;
        let login = Login {
            format: 1,
            audience,
            origin: Text(origin),
            purpose: Text("api".to_owned()),
            nonce: challenge.nonce.parse().map_err(wrong)?,
            expiry: Micros(challenge.expiry),
            signer: pair.public(),
        };
        let body = Body::Cbor(pair.sign(&login).to_bytes());
        // It names the coordinator that was dialled, so another one is no way out: the whole login is made again there.
        let session: Session = self.open_at(Method::POST, "/api/v1/login", body, 0).await?;
        Ok(session.token)
    }
}

fn unreachable(url: &str, source: reqwest::Error) -> Error {
    let url = url.to_owned();
    match tallymill_transport::explain(&source) {
        Some(reason) => Error::Tls { url, reason },
        None => Error::Unreachable { url, source: Box::new(source) },
    }
}

/// A name that no other call has.
fn once() -> Result<String, Error> {
    let mut name = [0; 32];
    getrandom::fill(&mut name).map_err(|e| Error::Answer(format!("no randomness: {e}")))?;
    Ok(Key(name).to_string())
}

struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// What Retry-After asks for, or a doubling pause.
fn pause(response: &Response, attempt: u32) -> Duration {
    let named =
        response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    named.map_or_else(|| backoff(attempt), Duration::from_secs).min(LONGEST_PAUSE)
}

/// The pause after this try, which doubles.
pub(crate) fn backoff(attempt: u32) -> Duration {
    Duration::from_millis(100 << attempt.min(6))
}

async fn problem(response: Response) -> Error {
    let status = response.status().as_u16();
    let bytes = response.bytes().await.unwrap_or_default();
    let mut problem: Problem = serde_json::from_slice(&bytes).unwrap_or_default();
    problem.status = status;
    if problem.title.is_empty() {
        problem.title = format!("status {status}");
    }
    Error::from_problem(problem)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Reads a request: its path, and what it says in this header.
    async fn request(
        stream: &mut BufReader<TcpStream>,
        name: &str,
    ) -> Option<(String, Option<String>)> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
            if line.trim().is_empty() {
                break;
            }
            lines.push(line.trim().to_owned());
        }
        let header = |name: &str| {
            let found = lines.iter().find_map(|line| line.strip_prefix(name));
            found.map(|value| value.trim().to_owned())
        };
        let length = header("content-length:").map_or(0, |length| length.parse().unwrap());
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        let path = lines[0].split(' ').nth(1).unwrap().to_owned();
        Some((path, header(name)))
    }

    /// A coordinator that books what it is told, once for each key, and whose first answer to it is that it does not know;
    /// the keys it saw, and how often it booked.
    async fn forgetful(listener: TcpListener, calls: usize) -> (Vec<Option<String>>, usize) {
        let (mut seen, mut booked) = (Vec::new(), HashMap::new());
        let mut anonymous = 0;
        while seen.len() < calls {
            let mut stream = BufReader::new(listener.accept().await.unwrap().0);
            while let Some((path, key)) = request(&mut stream, "idempotency-key:").await {
                let (status, body) = match path.as_str() {
                    "/api/v1/login/challenge" => {
                        let (nonce, audience) = ("00".repeat(16), "11".repeat(32));
                        let body = serde_json::json!({ "nonce": nonce, "expiry": "1", "audience": audience });
                        ("200 OK", body.to_string())
                    }
                    "/api/v1/login" => ("200 OK", r#"{"token":"t"}"#.to_owned()),
                    _ => {
                        match &key {
                            Some(key) => drop(booked.insert(key.clone(), ())),
                            None => anonymous += 1,
                        }
                        seen.push(key);
                        let first = seen.len() % 2 == 1;
                        (if first { "503 Unknown" } else { "200 OK" }, "{}".to_owned())
                    }
                };
                let answer = format!(
                    "HTTP/1.1 {status}\r\nretry-after: 0\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
                if seen.len() == calls {
                    break;
                }
            }
        }
        (seen, booked.len() + anonymous)
    }

    #[tokio::test]
    async fn a_call_that_was_carried_out_and_answered_503_is_not_carried_out_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let key = KeyFile::create(&folder.path().join("me.key")).unwrap();
        let server = tokio::spawn(forgetful(listener, 4));
        let http = Http::new(&url, key, None).unwrap();
        for _ in 0..2 {
            let body = Body::Json(serde_json::json!({ "amount": "1" }));
            http.call(Method::POST, "/api/v1/admin/grant", body).await.unwrap();
        }
        let (seen, booked) = server.await.unwrap();
        assert_eq!(booked, 2, "two grants were asked for, with these keys: {seen:?}");
        assert!(seen[0].is_some() && seen[0] == seen[1] && seen[2] == seen[3], "{seen:?}");
        assert_ne!(seen[1], seen[2], "another grant is another call");
    }

    /// Is busy whenever it is asked for the first time for something.
    async fn busy(listener: TcpListener) {
        let mut asked = std::collections::HashSet::new();
        loop {
            let mut stream = BufReader::new(listener.accept().await.unwrap().0);
            while let Some((path, _)) = request(&mut stream, "authorization:").await {
                let status = if asked.insert(path.clone()) { "429 Busy" } else { "200 OK" };
                let body = match path.as_str() {
                    "/api/v1/login/challenge" => {
                        let (nonce, audience) = ("00".repeat(16), "11".repeat(32));
                        serde_json::json!({ "nonce": nonce, "expiry": "1", "audience": audience })
                    }
                    _ => serde_json::json!({ "token": "t" }),
                }
                .to_string();
                let answer = format!(
                    "HTTP/1.1 {status}\r\nretry-after: 0\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn a_login_that_comes_too_often_is_tried_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let key = KeyFile::create(&folder.path().join("me.key")).unwrap();
        tokio::spawn(busy(listener));
        let http = Http::new(&url, key, None).unwrap();
        http.call(Method::GET, "/api/v1/jobs", Body::Nothing).await.unwrap();
    }

    /// Gives tokens with the number of the login, and ends the connection of whoever calls with the first.
    async fn restarted(listener: TcpListener) {
        let mut logins = 0;
        loop {
            let mut stream = BufReader::new(listener.accept().await.unwrap().0);
            while let Some((path, token)) = request(&mut stream, "authorization:").await {
                let body = match path.as_str() {
                    "/api/v1/login/challenge" => {
                        let (nonce, audience) = ("00".repeat(16), "11".repeat(32));
                        serde_json::json!({ "nonce": nonce, "expiry": "1", "audience": audience })
                    }
                    "/api/v1/login" => {
                        logins += 1;
                        serde_json::json!({ "token": logins.to_string() })
                    }
                    _ if token.as_deref() == Some("Bearer 1") => break,
                    _ => serde_json::json!({}),
                }
                .to_string();
                let answer =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn a_lost_connection_may_have_been_the_end_of_the_login() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let key = KeyFile::create(&folder.path().join("me.key")).unwrap();
        let server = tokio::spawn(restarted(listener));
        let http = Http::new(&url, key, None).unwrap();
        let call = || http.call(Method::GET, "/api/v1/jobs", Body::Nothing);
        assert!(matches!(call().await, Err(Error::Unreachable { .. })));
        assert!(call().await.is_ok());
        server.abort();
    }
}
