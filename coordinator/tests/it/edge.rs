//! Requests that are refused before their body is read: whoever is still sending gets the whole answer.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{Person, World};

/// A connection on which a request without a login announces so many bytes of body, after its answer began.
async fn refused(world: &World, length: usize, more: &str) -> TcpStream {
    let mut stream = TcpStream::connect(world.handle.addr).await.unwrap();
    let path = format!("/api/v1/blobs/{}", "00".repeat(32));
    let head = format!("PUT {path} HTTP/1.1\r\nhost: x\r\ntallymill-protocol: 1\r\n{more}");
    let head = format!("{head}content-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    begins(&mut stream, "401").await;
    stream
}

/// Reads the first line of an answer as far as its status.
async fn begins(stream: &mut TcpStream, status: &str) {
    let mut line = [0; 12];
    stream.read_exact(&mut line).await.unwrap();
    assert_eq!(std::str::from_utf8(&line).unwrap(), format!("HTTP/1.1 {status}"));
}

/// Everything that comes until the other side closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_client_that_sends_its_whole_body_first_gets_the_whole_refusal() {
    let world = World::start().await;
    let mut stream = refused(&world, 512_000, "").await;
    for _ in 0..512 {
        stream.write_all(&[7; 1_000]).await.unwrap();
    }
    // The connection is as good as before.
    let next = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(next.as_bytes()).await.unwrap();
    let rest = rest(&mut stream).await;
    let (refusal, alive) = rest.split_once("HTTP/1.1 ").unwrap();
    assert!(refusal.contains("problem:login") && refusal.ends_with('}'), "{refusal}");
    assert!(alive.starts_with("200"), "{alive}");
}

#[tokio::test]
async fn a_body_that_is_too_long_by_little_is_read_to_its_end() {
    let world = World::start().await;
    let Person { token, .. } = world.person(2, 0).await;
    let mut stream = TcpStream::connect(world.handle.addr).await.unwrap();
    let most = 65_700;
    let length = most + 1 + 500_000;
    let head = format!(
        "POST /api/v1/quote HTTP/1.1\r\nhost: x\r\ntallymill-protocol: 1\r\nauthorization: Bearer {token}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; most + 1]).await.unwrap();
    begins(&mut stream, "413").await;
    for _ in 0..500 {
        stream.write_all(&[b' '; 1_000]).await.unwrap();
    }
    let rest = rest(&mut stream).await;
    assert!(rest.contains("problem:too-long") && rest.ends_with('}'), "{rest}");
}

#[tokio::test]
async fn a_refused_body_without_end_is_cut() {
    let world = World::start().await;
    let mut stream = refused(&world, usize::MAX >> 1, "connection: close\r\n").await;
    let part = vec![7; 1 << 20];
    let mut sent = 0;
    while stream.write_all(&part).await.is_ok() {
        sent += 1;
        assert!(sent < 256, "{sent} MiB of a request that was refused");
    }
}

#[tokio::test]
async fn a_refused_client_that_never_sends_is_not_waited_for() {
    let world = World::start().await;
    let mut stream = refused(&world, 1_000, "connection: close\r\n").await;
    assert!(rest(&mut stream).await.ends_with('}'));
}
