//! A GET request without a client library: enough for probes that measure how soon one is answered.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Context;

/// Longest answer read, bytes.
const MOST: u64 = 1 << 20;
/// Longest wait for a part of the answer.
const WAIT: Duration = Duration::from_secs(5);

/// Status and body of `http://AUTHORITY PATH`.
pub(crate) fn get(authority: &str, path: &str) -> anyhow::Result<(u16, String)> {
    let mut stream = TcpStream::connect(authority)
        .with_context(|| format!("failed to connect to {authority}"))?;
    stream.set_read_timeout(Some(WAIT))?;
    // HTTP/1.0 keeps the answer in one piece and ends it by closing.
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {authority}\r\ntallymill-protocol: 1\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer)?;
    parse(&String::from_utf8_lossy(&answer)).context("the answer is not HTTP")
}

fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_body_are_found() {
        let answer = "HTTP/1.0 503 Service Unavailable\r\na: b\r\n\r\nnot yet";
        assert_eq!(parse(answer), Some((503, "not yet".to_owned())));
        assert_eq!(parse("rubbish\r\n\r\n"), None);
    }

    #[test]
    fn a_request_is_answered() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut asked, mut byte) = (Vec::new(), [0]);
            while !asked.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).unwrap();
                asked.push(byte[0]);
            }
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nready").unwrap();
            String::from_utf8_lossy(&asked).into_owned()
        });
        assert_eq!(get(&authority, "/readyz").unwrap(), (200, "ready".to_owned()));
        assert!(server.join().unwrap().starts_with("GET /readyz HTTP/1.0\r\n"));
    }
}
