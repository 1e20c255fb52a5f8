//! Clients that say nothing, little at a time, too much, or do not read: each costs one place for a while, and no more.

use std::time::Duration;

use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::World;

/// Long enough for anything that should happen on a busy machine, and shorter than what the library under this would allow.
const EVER: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(200);
const LIVE: &str = "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";

async fn sent(world: &World, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(world.handle.addr).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// What comes until the other side closes.
async fn told(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    tokio::time::timeout(EVER, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Whether the answer to this says that the process lives.
async fn lives(world: &World) {
    assert_eq!(world.call(Method::GET, "/livez").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_connection_that_brings_no_whole_head_is_cut() {
    let world = World::start_with(|options| options.bounds.head = SHORT).await;
    let silent = sent(&world, "").await;
    let half = sent(&world, &LIVE[..30]).await;
    let idle = sent(&world, LIVE).await;
    let mut heard = Vec::new();
    for mut stream in [silent, half, idle] {
        heard.push(told(&mut stream).await);
    }
    assert_eq!(heard[0], "");
    assert!(!heard[1].contains("200"), "{}", heard[1]);
    assert!(heard[2].starts_with("HTTP/1.1 200"), "{}", heard[2]);
    lives(&world).await;
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let world = World::start().await;
    let long = format!("GET /livez HTTP/1.1\r\nhost: x\r\nx: {}", "x".repeat(40 << 10));
    let mut stream = sent(&world, &long).await;
    assert!(told(&mut stream).await.starts_with("HTTP/1.1 431"));
    lives(&world).await;
}

/// The head of a host's call that announces a body.
async fn announced(world: &World) -> TcpStream {
    let payer = world.person(2, 0).await;
    let host = world.host(3, &payer).await;
    let head = format!(
        "POST /api/v1/work HTTP/1.1\r\nhost: x\r\ntallymill-protocol: 1\r\nauthorization: Bearer {}\r\ncontent-length: 100000\r\n\r\n",
        host.person.token
    );
    sent(world, &head).await
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let world = World::start_with(|options| options.bounds.stall = SHORT).await;
    let mut stream = announced(&world).await;
    let told = told(&mut stream).await;
    assert!(told.starts_with("HTTP/1.1 408") && told.contains("problem:too-slow"), "{told}");
    assert!(told.contains("4096 bytes a second"), "{told}");
    lives(&world).await;
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up_too() {
    let world = World::start_with(|options| options.bounds.stall = SHORT).await;
    let mut stream = announced(&world).await;
    let mut line = [0; 12];
    // Each byte comes long before the last one was too long ago.
    let given_up = async {
        while tokio::time::timeout(SHORT / 10, stream.readable()).await.is_err() {
            stream.write_all(b"x").await.unwrap();
        }
    };
    tokio::time::timeout(EVER, given_up).await.unwrap();
    stream.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"HTTP/1.1 408");
}

#[tokio::test]
async fn a_body_that_comes_steadily_may_take_longer_than_a_pause() {
    let world = World::start_with(|options| options.bounds.stall = SHORT).await;
    let mut stream = announced(&world).await;
    let began = std::time::Instant::now();
    let mut left = 100_000;
    while left > 0 {
        // Each part earns two seconds and a pause is a tenth of one.
        let part = left.min(10_000);
        stream.write_all(&vec![0; part]).await.unwrap();
        left -= part;
        assert!(tokio::time::timeout(SHORT / 2, stream.readable()).await.is_err() || left == 0);
    }
    assert!(began.elapsed() > 2 * SHORT);
    let mut line = [0; 12];
    stream.read_exact(&mut line).await.unwrap();
    // It is no message, but it came.
    assert_eq!(&line, b"HTTP/1.1 400");
}

async fn connections(world: &World) -> u32 {
    let text = world.call(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("tallymill_connections "));
    line.unwrap().parse().unwrap()
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up() {
    // More than the system keeps for a reader.
    let bytes = vec![7; 32 << 20];
    let change = |options: &mut tallymill_coordinator::Options| {
        (options.bounds.stall, options.bounds.blob) = (SHORT, 32 << 20);
    };
    let world = World::start_with(change).await;
    let payer = world.person(2, 0).await;
    let blob = world.upload(&payer, &bytes).await;
    let head = format!(
        "GET /api/v1/blobs/{blob} HTTP/1.1\r\nhost: x\r\ntallymill-protocol: 1\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
        payer.token
    );
    let before = connections(&world).await;
    let mut unread = sent(&world, &head).await;
    unread.readable().await.unwrap();
    assert_eq!(connections(&world).await, before + 1);
    let given_up = async { while connections(&world).await > before {} };
    tokio::time::timeout(EVER, given_up).await.unwrap();
    // What the system kept still comes, and then no more.
    let (mut got, mut part) = (0, vec![0; 1 << 20]);
    while let Ok(some @ 1..) = unread.read(&mut part).await {
        got += some;
    }
    assert!(got < bytes.len(), "{got}");
    // Who reads gets all of it.
    let whole = world.get(&payer, &format!("/api/v1/blobs/{blob}")).await.bytes().await.unwrap();
    assert_eq!(whole.len(), bytes.len());
}

#[tokio::test]
async fn connections_beyond_the_places_wait_for_one() {
    let world = World::start_with(|options| options.bounds.connections = 2).await;
    let [mut first, second] = [sent(&world, LIVE).await, sent(&world, LIVE).await];
    let mut line = [0; 12];
    first.read_exact(&mut line).await.unwrap();
    second.readable().await.unwrap();
    let mut third = sent(&world, LIVE).await;
    assert!(tokio::time::timeout(SHORT, third.readable()).await.is_err());
    drop(first);
    tokio::time::timeout(EVER, third.read_exact(&mut line)).await.unwrap().unwrap();
    assert_eq!(&line, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_text_that_is_nested_without_end_or_packed_is_refused() {
    let world = World::start().await;
    let deep = vec![b'['; 16 << 10];
    assert_eq!(world.post("/api/v1/login/challenge", deep).await.status(), 400);
    let payer = world.person(2, 0).await;
    let deep = vec![0x81; 65_700];
    let told = world.as_person(&payer, Method::POST, "/api/v1/quote", deep).await;
    assert_eq!(told.status(), 400);
    // Nothing is unpacked here, so nothing can grow: packed bytes are just no message.
    let call =
        world.call(Method::POST, "/api/v1/login/challenge").header("content-encoding", "gzip");
    let told = call.body(vec![0x1f, 0x8b, 8, 0]).send().await.unwrap();
    assert!(told.status().is_client_error(), "{}", told.status());
    lives(&world).await;
}
