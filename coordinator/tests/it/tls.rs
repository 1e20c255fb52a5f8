//! The same limits and the same API over TLS, and clients that bring no TLS.

use std::time::Duration;

use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{Authority, World, client};

/// Long enough for anything that should happen on a busy machine.
const EVER: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(200);
const LIVE: &str = "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";

async fn figure(world: &World, name: &str) -> u64 {
    let text = world.call(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    found.unwrap_or_else(|| panic!("{name} in {text}"))
}

/// What comes until the other side closes, however it does.
async fn told(mut stream: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    let _closed_without_a_word =
        tokio::time::timeout(EVER, stream.read_to_end(&mut bytes)).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn logins_sign_the_https_origin_and_links_give_secure_cookies() {
    let authority = Authority::new("ours");
    let world = World::secure(&authority, |_| {}).await;
    assert!(world.url.starts_with("https://127.0.0.1:"));
    let payer = world.person(2, 5).await;
    let host = world.host(3, &payer).await;
    let manifest = world.manifest(&payer, 1).await;
    world.submitted(&payer, &manifest).await;
    world.lease(&host).await;
    let link = world.as_person(&payer, Method::POST, "/api/v1/open", Vec::new()).await;
    let path = link.json::<serde_json::Value>().await.unwrap()["path"].clone();
    let mut stream = authority.dial(world.handle.addr).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let path = path.as_str().unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let told = told(stream).await;
    assert!(told.starts_with("HTTP/1.1 303") && told.contains("; Secure"), "{told}");
}

#[tokio::test]
async fn a_handshake_that_stands_still_is_cut() {
    let authority = Authority::new("ours");
    let world = World::secure(&authority, |options| options.bounds.head = SHORT).await;
    let silent = TcpStream::connect(world.handle.addr).await.unwrap();
    let mut half = TcpStream::connect(world.handle.addr).await.unwrap();
    // The head of a record of 512 bytes, and the first of them.
    half.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    for stream in [silent, half] {
        assert_eq!(told(stream).await, "");
    }
    assert_eq!(figure(&world, "tallymill_handshake_failures_total").await, 2);
}

#[tokio::test]
async fn a_handshake_that_trickles_is_cut_too() {
    let authority = Authority::new("ours");
    let world = World::secure(&authority, |options| options.bounds.head = SHORT).await;
    let mut stream = TcpStream::connect(world.handle.addr).await.unwrap();
    // The head of a record of 16 KiB.
    stream.write_all(&[22, 3, 1, 0x40, 0]).await.unwrap();
    let mut sent = 0;
    let given_up = async {
        while tokio::time::timeout(SHORT / 10, stream.readable()).await.is_err() {
            stream.write_all(&[1]).await.unwrap();
            sent += 1;
        }
    };
    tokio::time::timeout(EVER, given_up).await.unwrap();
    assert!(sent > 0);
}

#[tokio::test]
async fn plain_http_to_a_port_of_tls_is_told_so() {
    let authority = Authority::new("ours");
    let world = World::secure(&authority, |_| {}).await;
    let url = world.url.replace("https:", "http:");
    let told = client().get(format!("{url}/livez")).send().await.unwrap();
    let told = crate::world::problem(told, 400).await;
    assert_eq!(told["type"], "urn:tallymill:problem:plain-http");
    assert!(told["next"].as_str().unwrap().contains("https://"), "{told}");
    // Who is still sending gets it as well.
    let mut stream = TcpStream::connect(world.handle.addr).await.unwrap();
    stream
        .write_all(b"POST /api/v1/work HTTP/1.1\r\ncontent-length: 500000\r\n\r\n")
        .await
        .unwrap();
    let mut line = [0; 12];
    stream.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"HTTP/1.1 400");
    for _ in 0..500 {
        stream.write_all(&[7; 1_000]).await.unwrap();
    }
    stream.shutdown().await.unwrap();
    let rest = self::told(stream).await;
    assert!(rest.ends_with('}'), "{rest}");
    assert_eq!(figure(&world, "tallymill_handshake_failures_total").await, 2);
}

#[tokio::test]
async fn who_does_not_know_the_authority_says_so() {
    let authority = Authority::new("ours");
    let world = World::secure(&authority, |_| {}).await;
    let other = Authority::new("another");
    let error = other.client().get(format!("{}/livez", world.url)).send().await.unwrap_err();
    let told = tallymill_transport::explain(&error).unwrap();
    assert!(told.contains("an authority that this machine does not know"), "{told}");
    let plain = World::start().await;
    let url = plain.url.replace("http:", "https:");
    let error = other.client().get(format!("{url}/livez")).send().await.unwrap_err();
    let told = tallymill_transport::explain(&error).unwrap();
    assert!(told.contains("is it http://"), "{told}");
}

#[tokio::test]
async fn a_head_and_a_body_have_to_come_over_tls_too() {
    let authority = Authority::new("ours");
    let short = |options: &mut tallymill_coordinator::Options| {
        (options.bounds.head, options.bounds.stall) = (5 * SHORT, SHORT);
    };
    let world = World::secure(&authority, short).await;
    let mut half = authority.dial(world.handle.addr).await;
    half.write_all(&LIVE.as_bytes()[..30]).await.unwrap();
    assert!(!told(half).await.contains("200"));
    let payer = world.person(2, 0).await;
    let mut stream = authority.dial(world.handle.addr).await;
    let head = format!(
        "POST /api/v1/quote HTTP/1.1\r\nhost: x\r\ntallymill-protocol: 1\r\nauthorization: Bearer {}\r\ncontent-length: 100000\r\n\r\n",
        payer.token
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(told(stream).await.starts_with("HTTP/1.1 408"));
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up_over_tls_too() {
    let bytes = vec![7; 32 << 20];
    let authority = Authority::new("ours");
    let change = |options: &mut tallymill_coordinator::Options| {
        (options.bounds.stall, options.bounds.blob) = (SHORT, 32 << 20);
    };
    let world = World::secure(&authority, change).await;
    let payer = world.person(2, 0).await;
    let blob = world.upload(&payer, &bytes).await;
    let before = figure(&world, "tallymill_connections").await;
    let mut unread = authority.dial(world.handle.addr).await;
    let head = format!(
        "GET /api/v1/blobs/{blob} HTTP/1.1\r\nhost: x\r\ntallymill-protocol: 1\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
        payer.token
    );
    unread.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    unread.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let given_up = async { while figure(&world, "tallymill_connections").await > before {} };
    tokio::time::timeout(EVER, given_up).await.unwrap();
    let (mut got, mut part) = (0, vec![0; 1 << 20]);
    while let Ok(some @ 1..) = unread.read(&mut part).await {
        got += some;
    }
    assert!(got < bytes.len(), "{got}");
    let whole = world.get(&payer, &format!("/api/v1/blobs/{blob}")).await.bytes().await.unwrap();
    assert_eq!(whole.len(), bytes.len());
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart() {
    let (authority, next) = (Authority::new("ours"), Authority::new("next"));
    let files = authority.issue();
    let tls = files.clone();
    let world = World::start_with(|options| options.tls = Some(tls)).await;
    let url = format!("{}/livez", world.url);
    let open = authority.client();
    assert_eq!(open.get(&url).send().await.unwrap().status(), 200);
    next.renew(&files);
    let shown = async { while next.client().get(&url).send().await.is_err() {} };
    tokio::time::timeout(EVER, shown).await.unwrap();
    // Connections from before go on.
    assert_eq!(open.get(&url).send().await.unwrap().status(), 200);
    authority.client().get(&url).send().await.unwrap_err();
}

#[tokio::test]
async fn a_handshake_under_way_does_not_hold_the_end_up() {
    let authority = Authority::new("ours");
    let world = World::secure(&authority, |_| {}).await;
    let silent = TcpStream::connect(world.handle.addr).await.unwrap();
    let taken = async { while figure(&world, "tallymill_connections").await < 2 {} };
    tokio::time::timeout(EVER, taken).await.unwrap();
    let began = std::time::Instant::now();
    world.handle.shutdown().await.unwrap();
    assert!(began.elapsed() < tallymill_coordinator::service::DRAIN, "{:?}", began.elapsed());
    drop(silent);
}
