//! Spans of a coordinator as a collector receives them: a real export over HTTP to a listener of this test.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::process::{Pid, Signal, kill_process};

/// The client's trace and span.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: [u8; 8] = [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31];

/// A collector that takes everything: its address, and the first line and body of each request.
fn collector() -> (String, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, received) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            take(stream.unwrap(), &sender);
        }
    });
    (address, received)
}

fn take(stream: TcpStream, sender: &Sender<(String, Vec<u8>)>) {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim_end().to_ascii_lowercase()
    };
    let (first, mut length) = (line(), 0);
    loop {
        let header = line();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    reader.get_mut().write_all(answer).unwrap();
    // The test may have seen enough.
    let _over = sender.send((first, body));
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tallymill"));
    command.current_dir(folder).env("HOME", folder);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TALLYMILL_")
            || name.to_string_lossy().starts_with("OTEL_")
        {
            command.env_remove(name);
        }
    }
    command
}

/// A coordinator that keeps its spans until it ends, and where it listens.
fn start(folder: &Path, collector: &str, disabled: &str) -> (Child, String) {
    let mut start = command(folder);
    start.args(["--json", "coordinator", "--data", "data", "--listen", "127.0.0.1:0"]);
    start.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector).env("OTEL_BSP_SCHEDULE_DELAY", "3600000");
    start.env("OTEL_SDK_DISABLED", disabled);
    let mut child = start.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    (child, said["listening"].as_str().unwrap().to_owned())
}

fn stop(mut child: Child) {
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}

/// Asks whether it is ready, as part of the client's trace.
fn get_ready(url: &str) {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    let span = SPAN.map(|byte| format!("{byte:02x}")).concat();
    let parent = format!("traceparent: 00-{TRACE}-{span}-01");
    write!(stream, "GET /readyz HTTP/1.0\r\nhost: x\r\n{parent}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
}

fn holds(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

#[test]
fn a_collector_receives_requests_batches_and_commits_and_a_client_is_linked() {
    let folder = tempfile::tempdir().unwrap();
    let (collector, received) = collector();
    let (child, url) = start(folder.path(), &collector, "false");
    get_ready(&url);
    // A new key opens an account, which is committed.
    let mut balance = command(folder.path());
    balance.args(["--json", "--url", &url, "--key", "new.key", "credit", "balance"]);
    assert!(balance.stdout(Stdio::null()).status().unwrap().success());
    stop(child);
    // It has ended, so everything it sent is here.
    let all: Vec<_> = received.try_iter().collect();
    assert!(all.iter().all(|(first, _)| first == "post /v1/traces http/1.1"), "{all:?}");
    let body: Vec<u8> = all.into_iter().flat_map(|(_, body)| body).collect();
    for name in
        ["GET /readyz", "POST /api/v1/accounts", "batch", "commit", "service.name", "tallymill"]
    {
        assert!(holds(&body, name.as_bytes()), "no {name} in {}", String::from_utf8_lossy(&body));
    }
    // As protobuf has it: field 2 of a link or a span is its id, field 4 of a span is its parent's.
    assert!(holds(&body, &[&[0x12, 8], SPAN.as_slice()].concat()), "the client is not linked");
    assert!(!holds(&body, &[&[0x22, 8], SPAN.as_slice()].concat()), "the client is a parent");
}

#[test]
fn nothing_is_sent_where_the_environment_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (collector, received) = collector();
    let (child, url) = start(folder.path(), &collector, "true");
    get_ready(&url);
    stop(child);
    assert_eq!(received.try_iter().count(), 0);
}
