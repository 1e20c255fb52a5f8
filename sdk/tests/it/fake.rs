//! A coordinator with one job, on a socket of its own.

use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use tallymill_protocol::Digest;
use tallymill_sdk::{Client, Error, JobHandle, KeyFile};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How an answer gets lost.
#[derive(Debug, Clone, Copy)]
pub enum Cut {
    /// The connection ends before it.
    Before,
    /// The connection ends in the middle of it.
    Within,
}

/// A decided task: its output, or why there is none.
pub type Decided = (u32, Result<Vec<u8>, &'static str>);

/// What the coordinator says.
pub struct Script {
    /// State of the job.
    pub state: &'static str,
    /// Its tasks.
    pub tasks: u32,
    /// Those that are decided, in the order of decisions.
    pub decided: Vec<Decided>,
    /// Whether outputs come with their results, or are downloaded.
    pub inline: bool,
    /// Most results of one page.
    pub page: usize,
    /// Which call about the job is lost, from 0, and how.
    pub cut: Option<(u32, Cut)>,
    /// How a path ends whose answers are all lost, and how.
    pub dead: Option<(&'static str, Cut)>,
    /// The task whose output is downloaded with other bytes.
    pub swapped: Option<u32>,
    /// The task whose output is refused, and the status.
    pub refused: Option<(u32, u16)>,
    /// Tasks whose outputs were asked for.
    pub downloads: Vec<u32>,
    /// Why the job was cancelled.
    pub reason: Option<String>,
}

impl Script {
    /// A job that runs, of which these tasks are decided, each with its number as output.
    pub fn running(tasks: u32, decided: &[u32]) -> Self {
        let decided = decided.iter().map(|task| (*task, Ok(output(*task)))).collect();
        let (state, inline, page) = ("running", true, 1_000);
        Self {
            state,
            tasks,
            decided,
            inline,
            page,
            cut: None,
            dead: None,
            swapped: None,
            refused: None,
            downloads: Vec::new(),
            reason: None,
        }
    }

    /// The same of a job that is over, its outputs downloaded one by one.
    pub fn finished(decided: &[u32]) -> Self {
        let tasks = u32::try_from(decided.len()).unwrap();
        let (state, inline, page) = ("finished", false, 2);
        Self { state, inline, page, ..Self::running(tasks, decided) }
    }
}

/// What a task writes.
pub fn output(task: u32) -> Vec<u8> {
    format!("output of task {task}").into_bytes()
}

/// The coordinator.
pub struct Fake {
    script: Mutex<Script>,
    calls: watch::Sender<u32>,
}

impl Fake {
    /// Starts it, and gives it with the job as a client sees it.
    pub async fn start(script: Script) -> (Arc<Self>, JobHandle) {
        let (fake, client) = Self::connect(script).await;
        (fake, client.unwrap().job("ab".repeat(32).parse().unwrap()))
    }

    /// Starts it, and gives it with what a client says that connects.
    pub async fn connect(script: Script) -> (Arc<Self>, Result<Client, Error>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let fake = Arc::new(Self { script: Mutex::new(script), calls: watch::channel(0).0 });
        tokio::spawn(serve(Arc::clone(&fake), listener));
        let folder = tempfile::tempdir().unwrap();
        let key = KeyFile::create(&folder.path().join("me.key")).unwrap();
        (fake, Client::connect(&url, key).await)
    }

    /// What it says from now on.
    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// Calls about the job so far.
    pub fn calls(&self) -> u32 {
        *self.calls.borrow()
    }

    /// Waits until it was asked so often more about the job.
    pub async fn asked(&self, more: u32) {
        let least = self.calls() + more;
        self.calls.subscribe().wait_for(|calls| *calls >= least).await.unwrap();
    }

    /// The answer to a request, and whether it gets lost.
    fn answer(&self, path: &str, body: &[u8]) -> (u16, Vec<u8>, Option<Cut>) {
        let text = |value: Value| value.to_string().into_bytes();
        let key = "11".repeat(32);
        let dead = self
            .script()
            .dead
            .filter(|(end, _)| path.split('?').next().is_some_and(|path| path.ends_with(end)));
        let dead = dead.map(|(_, how)| how);
        let said = match path {
            "/api/v1/network" => {
                let versions = json!({ "meter": 1, "costs": key, "profile": 1 });
                json!({ "network": "test", "coordinator": key, "versions": versions })
            }
            "/api/v1/login/challenge" => {
                json!({ "nonce": "00".repeat(16), "expiry": "1", "audience": key })
            }
            "/api/v1/login" => json!({ "token": "t" }),
            "/api/v1/accounts" => json!({}),
            _ => {
                let call = self.calls();
                let (status, body) = of_job(&mut self.script(), path, body);
                let cut = self.script().cut.filter(|(at, _)| *at == call).map(|(_, how)| how);
                self.calls.send_modify(|calls| *calls += 1);
                return (status, body, cut.or(dead));
            }
        };
        (200, text(said), dead)
    }
}

/// Answers what is asked about the job.
fn of_job(script: &mut Script, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let parts: Vec<&str> = path.split('/').skip(5).collect();
    let said = match parts.as_slice() {
        [] => view(script),
        ["results"] => {
            let after = query.split('&').find_map(|part| part.strip_prefix("after=")).unwrap();
            page(script, after.parse().unwrap())
        }
        ["tasks", task, "output"] => {
            let task: u32 = task.parse().unwrap();
            script.downloads.push(task);
            if let Some((_, status)) = script.refused.filter(|(refused, _)| *refused == task) {
                return (status, json!({ "title": "no such output" }).to_string().into_bytes());
            }
            let found = script.decided.iter().find(|(decided, _)| *decided == task).unwrap();
            let swapped = script.swapped == Some(task);
            return (200, if swapped { b"other".to_vec() } else { found.1.clone().unwrap() });
        }
        ["cancel"] => {
            let asked: Value = serde_json::from_slice(body).unwrap();
            script.reason = asked["reason"].as_str().map(str::to_owned);
            script.state = "cancelled";
            json!({})
        }
        _ => return (404, json!({ "title": "no such thing" }).to_string().into_bytes()),
    };
    (200, said.to_string().into_bytes())
}

fn view(script: &Script) -> Value {
    let good = script.decided.iter().filter(|(_, result)| result.is_ok()).count();
    json!({
        "id": "ab".repeat(32), "number": "1", "title": "a job", "state": script.state,
        "tasks": script.tasks, "final": good, "failed": script.decided.len() - good,
        "provisional": 0, "escrow": "10", "spent": "4", "fuel": "7",
    })
}

fn page(script: &Script, after: usize) -> Value {
    let result = |(at, (task, result)): (usize, &Decided)| {
        let (state, output) = match result {
            Ok(output) => ("final", Some(output)),
            Err(_) => ("failed", None),
        };
        let inline = output.filter(|_| script.inline);
        json!({
            "sequence": (at + 1).to_string(), "task": task, "state": state, "fuel": "7",
            "cause": result.as_ref().err(), "output": output.map(|it| Digest::of(it).to_string()),
            "inline": inline.map(|it| data_encoding::BASE64.encode(it)),
        })
    };
    let rest = script.decided.iter().enumerate().skip(after);
    let items: Vec<Value> = rest.take(script.page).map(result).collect();
    json!({ "items": items, "next": null, "state": script.state })
}

async fn serve(fake: Arc<Fake>, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(converse(Arc::clone(&fake), BufReader::new(stream)));
    }
}

/// Answers the requests of one connection until it ends.
async fn converse(fake: Arc<Fake>, mut stream: BufReader<TcpStream>) {
    while let Some((path, body)) = request(&mut stream).await {
        let (status, answer, cut) = fake.answer(&path, &body);
        let head = format!(
            "HTTP/1.1 {status} .\r\nretry-after: 0\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        let whole = [head.as_bytes(), &answer].concat();
        let sent = match cut {
            None => whole.len(),
            Some(Cut::Before) => 0,
            Some(Cut::Within) => whole.len() - answer.len() / 2,
        };
        // A client that is gone reads nothing more.
        let written = stream.get_mut().write_all(&whole[..sent]).await;
        if cut.is_some() || written.is_err() {
            return;
        }
    }
}

/// Reads a request: its path and its body.
async fn request(stream: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let (mut path, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        let line = line.trim();
        if line.is_empty() {
            break;
        }
        path = path.or_else(|| line.split(' ').nth(1).map(str::to_owned));
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((path?, body))
}
