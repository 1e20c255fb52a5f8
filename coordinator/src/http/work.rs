//! The worker's call: reports in, verdicts, signed leases and small inputs out.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Extension;
use axum::extract::{ConnectInfo, State};
use bytes::Bytes;
use tallymill_engine::{Answer, Ask, Command, Granted, Refusal, Reply, WorkAnswer};
use tallymill_protocol::cbor::{Blob, List, Text};
use tallymill_protocol::work::{Grant, MAX_INLINE, ReportAnswer, Verdict, WorkReply, WorkRequest};
use tallymill_protocol::{
    Digest, HostId, Inputs, Manifest, Message as _, Signed, TableEntry, merkle,
};

use super::auth::{Caller, joined};
use super::problem::Problem;
use super::{App, message, neighbourhood, unexpected};
use crate::check::{Checker, ReportError};
use crate::clock;
use crate::pipeline::Unavailable;

/// Longest poll, ms.
const MAX_WAIT: u32 = 50_000;
/// Most bytes of inputs beside one lease; more are read from the blob.
const INLINE_BUDGET: u64 = 4 << 20;
/// Input tables whose leaves are kept.
const TABLES: usize = 16;

/// Leaves of the input tables used last, newest first.
#[derive(Debug, Default)]
pub struct Tables(Mutex<VecDeque<(Digest, Arc<Vec<Digest>>)>>);

impl Tables {
    fn get(&self, blob: Digest) -> Option<Arc<Vec<Digest>>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(digest, _)| *digest == blob).map(|(_, leaves)| Arc::clone(leaves))
    }

    fn put(&self, blob: Digest, leaves: Arc<Vec<Digest>>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_front((blob, leaves));
        kept.truncate(TABLES);
    }
}

fn ask(request: &mut WorkRequest, draining: bool) -> Ask {
    Ask {
        slots: request.slots,
        buffer: if draining { 0 } else { request.buffer },
        wait: if draining { 0 } else { u64::from(request.wait.min(MAX_WAIT)) * 1_000 },
        modules: std::mem::take(&mut request.modules.0),
        min_tariff: request.min_tariff,
        features: request.features.0.drain(..).map(|feature| feature.0).collect(),
        round_trip: request.round_trip,
        accept: std::mem::take(&mut request.accept),
        progress: std::mem::take(&mut request.progress.0),
        voids: std::mem::take(&mut request.voids.0),
        // Beside a call that asks for work, another may be on its way with a grant.
        held: request.held.take().filter(|_| request.buffer > 0).map(|held| held.0),
    }
}

pub async fn work(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    body: Bytes,
) -> Result<Vec<u8>, Problem> {
    let host = caller.host.ok_or_else(unexpected)?;
    let mut request: WorkRequest = message(&body)?;
    // What strangers and withdrawn hosts report is not worth checking: the engine refuses the rest of their call.
    if !request.reports.0.is_empty() && !joined(&app, host).await? {
        request.reports = List::default();
    }
    let ask = Box::new(ask(&mut request, *app.stopping.borrow()));
    let (network, coordinator) = (&app.options.network, app.key.public().into());
    let checker = Checker { network, coordinator, host, blobs: &app.blobs, claims: &app.claims };
    let (mut reports, mut refused, mut claims) = (Vec::new(), Vec::new(), Vec::new());
    for (at, upload) in request.reports.0.into_iter().enumerate() {
        let root = upload.report.peek().map_or(Digest::ZERO, |report| report.root);
        let count = upload.receipts.0.len();
        let reason = match checker.check(upload).await {
            // The host's work is not to blame: it sends the same report again.
            Err(ReportError::Blobs(error)) => {
                tracing::error!(error = %error, "blobs.unreadable");
                return Err(Unavailable.into());
            }
            Err(ReportError::Removed(_)) => return Err(Unavailable.into()),
            Err(error) => error.to_string(),
            Ok((mut report, claimed)) => match app.store.verdicts(root).await? {
                Some((from, _)) if from != host => {
                    "root: another host reported these receipts".to_owned()
                }
                // The engine remembers only reports since its start; what is stored is a replay whatever it says.
                stored => {
                    report.known = stored.map(|(_, verdicts)| verdicts);
                    claims.extend(claimed);
                    reports.push(report);
                    continue;
                }
            },
        };
        let verdicts = vec![Verdict::Refused; count];
        refused.push((at, Answer { root, verdicts, reason, next: None }));
    }
    let neighbourhood = neighbourhood::of(from.ip());
    let command = Command::Work { host, neighbourhood, ask, reports };
    let reply = decide(&app, command, host).await?;
    drop(claims);
    told(&app, reply, refused).await
}

/// What the host hears of the engine's reply, with the reports that were refused before it.
async fn told(app: &App, said: Reply, refused: Vec<(usize, Answer)>) -> Result<Vec<u8>, Problem> {
    match said {
        Reply::Work(mut answer) => {
            // Positions ascend, so each refusal lands where its report stood.
            refused.into_iter().for_each(|(at, refusal)| {
                answer.answers.insert(at.min(answer.answers.len()), refusal);
            });
            app.metrics.worked(&answer);
            Ok(reply(app, answer).await?.to_bytes())
        }
        Reply::Refused(Refusal::UnknownHost(_)) => {
            Err(Problem::forbidden("only hosts that have joined get work").next("join first"))
        }
        Reply::Refused(refusal) => Err(refusal.into()),
        _ => Err(unexpected()),
    }
}

/// Asks the engine. When the process stops, a call that waits is made to end: a second call of its host ends it.
async fn decide(app: &App, command: Command, host: HostId) -> Result<Reply, Unavailable> {
    let mut answer = std::pin::pin!(app.pipeline.ask(command));
    tokio::select! {
        biased;
        reply = &mut answer => return reply,
        () = app.stopped() => {}
    }
    let ask = Box::new(Ask::default());
    let hush = Command::Work { host, neighbourhood: None, ask, reports: Vec::new() };
    drop(app.pipeline.ask(hush).await?);
    answer.await
}

async fn reply(app: &App, answer: WorkAnswer) -> Result<WorkReply, Problem> {
    let mut grants = Vec::with_capacity(answer.grants.len());
    for granted in answer.grants {
        let attempt = granted.lease.attempt;
        match grant(app, granted).await {
            Ok(grant) => grants.push(grant),
            Err(problem) => {
                // The rest of the reply is somebody's verdicts and leases: it goes out all the same.
                tracing::error!(lease.attempt = %attempt, "grant.failed: {problem:?}");
                app.pipeline.ask(Command::ReturnLease { attempt }).await?;
            }
        }
    }
    let answers = answer.answers.into_iter().map(|answer| ReportAnswer {
        root: answer.root,
        verdicts: List(answer.verdicts.into_iter().map(|verdict| verdict as u8).collect()),
        reason: Text(cut(answer.reason, 500)),
        next: answer.next,
    });
    let reasons = answer.reasons.into_iter().take(16).map(|reason| Text(cut(reason, 200)));
    Ok(WorkReply {
        answers: List(answers.collect()),
        grants: List(grants),
        stop: List(answer.stop.into_iter().take(1_024).collect()),
        reasons: List(reasons.collect()),
        now: clock::now(),
    })
}

fn cut(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    text
}

async fn grant(app: &App, granted: Granted) -> Result<Grant, Problem> {
    let Granted { lease, states } = granted;
    let row = app.store.job(lease.job).await?.ok_or_else(unexpected)?;
    let manifest: Manifest = Signed::new(row.envelope).peek().map_err(|_| unexpected())?;
    let (token, states) = (app.key.sign(&lease), List(states));
    let Inputs::Table { count, blob, .. } = manifest.inputs else {
        let (entries, inputs, proof) = (Blob(Vec::new()), List(Vec::new()), List(Vec::new()));
        return Ok(Grant { lease: token, entries, inputs, proof, states });
    };
    let leaves = leaves(app, blob, count).await?;
    let from = usize::try_from(lease.first.0).unwrap_or(usize::MAX);
    let to = from + usize::try_from(lease.count).unwrap_or(usize::MAX);
    let size = TableEntry::SIZE as u64;
    let entries =
        app.blobs.read(blob, u64::from(lease.first.0) * size, u64::from(lease.count) * size);
    let entries = entries.await?.ok_or_else(|| Problem::missing("input table"))?;
    let inputs = inputs(app, blob, &entries).await?;
    let proof = merkle::range_proof(&leaves, from, to);
    let (entries, inputs, proof) = (Blob(entries), List(inputs), List(proof));
    Ok(Grant { lease: token, entries, inputs, proof, states })
}

async fn inputs(app: &App, blob: Digest, entries: &[u8]) -> Result<Vec<Blob<MAX_INLINE>>, Problem> {
    let entries: Vec<_> = entries.as_chunks().0.iter().map(TableEntry::from_bytes).collect();
    let small = entries.iter().all(|entry| entry.length <= MAX_INLINE as u64);
    let total = entries.iter().fold(0u64, |sum, entry| sum.saturating_add(entry.length));
    let mut inputs = Vec::new();
    if !small || total > INLINE_BUDGET {
        return Ok(inputs);
    }
    for entry in entries {
        let bytes = app.blobs.read(blob, entry.offset, entry.length).await?;
        inputs.push(Blob(bytes.ok_or_else(|| Problem::missing("input"))?));
    }
    Ok(inputs)
}

/// The leaves of an input table, read once and then kept.
pub async fn leaves(app: &App, blob: Digest, count: u32) -> Result<Arc<Vec<Digest>>, Problem> {
    if let Some(leaves) =
        app.tables.get(blob).filter(|leaves| leaves.len() as u64 == u64::from(count))
    {
        return Ok(leaves);
    }
    let bytes = app.blobs.read(blob, 0, u64::from(count) * TableEntry::SIZE as u64).await?;
    let bytes = bytes.ok_or_else(|| {
        Problem::field("inputs.blob", "inputs.blob: upload it first, entries before inputs")
    })?;
    let leaves = Arc::new(bytes.chunks_exact(TableEntry::SIZE).map(merkle::leaf).collect());
    app.tables.put(blob, Arc::clone(&leaves));
    Ok(leaves)
}
