//! Uploading and downloading content-addressed bytes.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tallymill_engine::rows::BlobRow;
use tallymill_engine::{Command, Reply};
use tallymill_protocol::{AccountId, Digest};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::auth::Caller;
use super::model::Bytes as Octets;
use super::problem::Problem;
use super::{App, id, unexpected};
use crate::blobs::{BlobError, Reader};
use crate::claims::Claimed;
use crate::clock;
use crate::pipeline::Need;
use crate::quota::Reservation;

async fn owner(app: &App, caller: &Caller) -> Result<AccountId, Problem> {
    if let Some(account) = caller.account {
        return Ok(account);
    }
    let host = caller.host.ok_or_else(unexpected)?;
    Ok(app.store.host(host).await?.ok_or_else(|| Problem::missing("host"))?.owner)
}

#[utoipa::path(
    put, path = "/api/v1/blobs/{digest}",
    request_body(content = Octets, content_type = "application/octet-stream", description = "The bytes"),
    responses((status = 201, description = "They are stored")),
)]
pub async fn upload(
    State(app): State<Arc<App>>,
    Path(digest): Path<String>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let digest: Digest = id("digest", &digest)?;
    let account = owner(&app, &caller).await?;
    let claimed = app.claims.claim(digest).await?;
    let room = room(&app, account, digest, announced(&app, &headers)?).await?;
    // What hosts upload are outputs: nobody's until their tasks are decided.
    let reader = caller.account.map(Reader::Account);
    // On a task of its own: a caller that hangs up in the end must not leave bytes that nobody is charged for.
    let stored = tokio::spawn(store(app, account, (digest, claimed), room, body));
    let (app, claimed) = stored.await.map_err(|error| Problem::internal(&error))??;
    if let Some(reader) = reader {
        app.blobs.share(digest, reader).await?;
    }
    drop(claimed);
    Ok(StatusCode::CREATED)
}

/// The length that an upload announces, if it is one that this coordinator takes. Clients do not announce that there is no body.
fn announced(app: &App, headers: &HeaderMap) -> Result<u64, Problem> {
    let value = match headers.get(header::CONTENT_LENGTH) {
        None if !headers.contains_key(header::TRANSFER_ENCODING) => Some("0"),
        value => value.and_then(|value| value.to_str().ok()),
    };
    let length = value.and_then(|text| text.parse().ok()).ok_or_else(|| {
        let (status, detail) = (StatusCode::LENGTH_REQUIRED, "content-length: announce the length");
        let problem = Problem::new(status, "length", detail).about("content-length");
        problem.next("send the header Content-Length instead of chunks")
    })?;
    let limit = app.options.bounds.blob;
    if length > limit { Err(BlobError::TooLong { limit }.into()) } else { Ok(length) }
}

/// Reserves room for an upload; bytes that are here already take none.
async fn room(
    app: &App,
    account: AccountId,
    digest: Digest,
    length: u64,
) -> Result<Option<Reservation>, Problem> {
    if app.store.blob(digest).await?.is_some() && app.blobs.length(digest).await?.is_some() {
        return Ok(None);
    }
    let limit = app.options.bounds.account_bytes;
    let room = app.quota.reserve(&*app.store, account, length, limit).await?;
    room.map(Some).ok_or_else(|| {
        let detail = format!("quota: with {length} more bytes this account would store too much");
        let problem = Problem::new(StatusCode::INSUFFICIENT_STORAGE, "quota", detail);
        problem.limit(&limit).next("ask the operator for more room")
    })
}

async fn store(
    app: Arc<App>,
    account: AccountId,
    (digest, claimed): (Digest, Claimed),
    room: Option<Reservation>,
    body: Body,
) -> Result<(Arc<App>, Claimed), Problem> {
    let length = app.blobs.put(digest, body.into_data_stream()).await?;
    let row = BlobRow { digest, length, account, at: clock::now() };
    match app.pipeline.ask(Command::AddBlob(row)).await? {
        Reply::Done { .. } => {}
        Reply::Refused(refusal) => return Err(refusal.into()),
        _ => return Err(unexpected()),
    }
    room.into_iter().for_each(Reservation::keep);
    Ok((app, claimed))
}

/// First and last byte of a `Range` header with one range; `None` without one.
fn range(headers: &HeaderMap, length: u64) -> Result<Option<(u64, u64)>, Problem> {
    let Some(value) = headers.get(header::RANGE) else { return Ok(None) };
    let parts = value.to_str().ok().and_then(|text| text.strip_prefix("bytes=")?.split_once('-'));
    let read = match parts {
        Some(("", last)) => last
            .parse()
            .ok()
            .filter(|n| *n > 0)
            .map(|n: u64| (length.saturating_sub(n), length.saturating_sub(1))),
        Some((from, "")) => from.parse().ok().map(|from| (from, length.saturating_sub(1))),
        Some((from, last)) => from
            .parse()
            .ok()
            .zip(last.parse().ok())
            .map(|(f, l): (u64, u64)| (f, l.min(length.saturating_sub(1)))),
        None => None,
    };
    let fits = read.filter(|(from, last)| from <= last && *from < length);
    fits.map(Some).ok_or_else(|| {
        let status = StatusCode::RANGE_NOT_SATISFIABLE;
        Problem::new(status, "range", "range: one range of bytes inside the blob").limit(&length)
    })
}

/// Sends a blob, or the range of it that is asked for.
pub async fn send(app: &App, digest: Digest, headers: &HeaderMap) -> Result<Response, Problem> {
    let missing = || Problem::missing("blob");
    let length = app.blobs.length(digest).await?.ok_or_else(missing)?;
    let range = range(headers, length)?;
    let (from, last) = range.unwrap_or((0, length.saturating_sub(1)));
    let file = app.blobs.file(digest, from).await?.ok_or_else(missing)?;
    let count = if length == 0 { 0 } else { last - from + 1 };
    let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let body = Body::from_stream(ReaderStream::new(file.take(count)));
    let mut response = (status, body).into_response();
    let head = [
        (header::CONTENT_LENGTH, count.to_string()),
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::CACHE_CONTROL, "private, immutable".to_owned()),
    ];
    let covered = range.map(|_| (header::CONTENT_RANGE, format!("bytes {from}-{last}/{length}")));
    for (name, value) in head.into_iter().chain(covered) {
        let value = value.parse().map_err(|_| unexpected())?;
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

#[utoipa::path(
    get, path = "/api/v1/blobs/{digest}",
    params(("range" = Option<String>, Header, description = "One range of bytes")),
    responses(
        (status = 200, body = Octets, content_type = "application/octet-stream", description = "The bytes"),
        (status = 206, body = Octets, content_type = "application/octet-stream", description = "The range"),
    ),
)]
pub async fn download(
    State(app): State<Arc<App>>,
    Path(digest): Path<String>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let digest: Digest = id("digest", &digest)?;
    if readable(&app, &caller, digest).await? {
        return send(&app, digest, &headers).await;
    }
    // What exists is not told either.
    Err(Problem::missing("blob that you may read")
        .next("read outputs at /api/v1/jobs/{id}/tasks/{task}/output"))
}

/// Whether the caller may read a blob by its digest alone: operators, who uploaded it, a host whose lease needs it, and
/// everybody where a public job names it. Outputs are read through their decided tasks.
pub async fn readable(app: &App, caller: &Caller, digest: Digest) -> Result<bool, Problem> {
    if caller.operator {
        return Ok(true);
    }
    if let Some(host) = caller.host
        && app.pipeline.needs(host, Need::Blob(digest)).await?
    {
        return Ok(true);
    }
    if let Some(account) = caller.account
        && app.blobs.shared(digest, Reader::Account(account)).await?
    {
        return Ok(true);
    }
    Ok(app.blobs.shared(digest, Reader::Everybody).await?)
}
