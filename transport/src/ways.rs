//! The coordinators of one network, any of which answers: calls go to one of them until it gives no answer.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::{Client, ClientBuilder, Method, Request, RequestBuilder, Response, StatusCode, Url};

use crate::{TransportError, client, origin};

/// Silence after which a coordinator that is one of several is asked whether it lives. One that is stopped takes
/// connections as one does whose answer takes its time.
const SILENCE: Duration = Duration::from_secs(3);
/// Longest wait for that answer.
const ALIVE: Duration = Duration::from_secs(2);
/// Most coordinators of one network.
const MOST: usize = 16;

/// A client of one coordinator, or of several that share a database.
#[derive(Debug)]
pub struct Ways {
    client: Client,
    origins: Vec<Url>,
    current: AtomicUsize,
}

impl Ways {
    /// A client for the coordinators at these addresses, with commas between; `set` sets up what it does beside TLS.
    ///
    /// # Errors
    /// When one is no address, some speak TLS and others do not, or as [`client`].
    pub fn new(
        urls: &str,
        ca: Option<&Path>,
        set: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Result<Self, TransportError> {
        let origins =
            urls.split(',').map(|url| origin(url.trim())).collect::<Result<Vec<_>, _>>()?;
        let bad = || TransportError::Url(urls.to_owned());
        let first = origins.first().ok_or_else(bad)?;
        if origins.len() > MOST || origins.iter().any(|url| url.scheme() != first.scheme()) {
            return Err(bad());
        }
        let client = set(client(first, ca)?).build().map_err(|_| bad())?;
        Ok(Self { client, origins, current: AtomicUsize::new(0) })
    }

    /// Scheme, host and port of the one that calls go to now.
    #[must_use]
    pub fn origin(&self) -> String {
        self.here().origin().ascii_serialization()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.origins.len()
    }

    fn here(&self) -> &Url {
        &self.origins[self.current.load(Ordering::Relaxed) % self.origins.len()]
    }

    /// A call of the one that calls go to now; `path` may have a query.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let here = self.here();
        // What is no path of an address becomes an error when it is sent.
        match here.join(path) {
            Ok(url) if url.origin() == here.origin() => self.client.request(method, url),
            _ => self.client.request(method, path),
        }
    }

    /// Makes a call. After one without an answer, or with 503, the next go to the next coordinator.
    ///
    /// # Errors
    /// When no answer comes: of the call, or, of one among several that is silent, to whether it lives.
    pub async fn send(&self, call: RequestBuilder) -> Result<Response, reqwest::Error> {
        let (client, request) = call.build_split();
        let request = request?;
        let called = self.position(&request);
        let answer = async {
            tokio::select! {
                answer = client.execute(request) => answer,
                error = self.silent(called) => Err(error),
            }
        };
        let answer = answer.await;
        let away = |answer: &Response| answer.status() == StatusCode::SERVICE_UNAVAILABLE;
        if answer.as_ref().map_or(true, away) {
            self.lost(called);
        }
        answer
    }

    fn position(&self, request: &Request) -> usize {
        let called = request.url().origin();
        self.origins.iter().position(|url| url.origin() == called).unwrap_or_default()
    }

    /// Comes to an end when this one of several does not live.
    async fn silent(&self, called: usize) -> reqwest::Error {
        if self.origins.len() < 2 {
            return std::future::pending().await;
        }
        let mut url = self.origins[called].clone();
        url.set_path("/livez");
        loop {
            tokio::time::sleep(SILENCE).await;
            let asked = self.client.get(url.clone()).timeout(ALIVE);
            if let Err(error) = asked.send().await {
                return error;
            }
        }
    }

    /// Later calls go to the one behind it, unless they do not go to it any more.
    fn lost(&self, called: usize) {
        let next = (called + 1) % self.origins.len();
        let moved =
            self.current.compare_exchange(called, next, Ordering::Relaxed, Ordering::Relaxed);
        if moved.is_ok() && next != called {
            tracing::info!(from = %self.origins[called], to = %self.origins[next], "the next coordinator is called");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn ways(urls: &str) -> Result<Ways, TransportError> {
        Ways::new(urls, None, |client| client)
    }

    /// A server that answers every request with its name.
    async fn server(name: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let read = stream.read(&mut [0; 1024]).await.unwrap();
                assert_ne!(read, 0);
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{name}",
                    name.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        url
    }

    async fn ask(ways: &Ways) -> Option<String> {
        let answer = ways.send(ways.request(Method::GET, "/a?b=c")).await.ok()?;
        answer.text().await.ok()
    }

    #[test]
    fn addresses_are_several_of_one_kind() {
        assert_eq!(ways("http://a, http://b:1").unwrap().count(), 2);
        for bad in ["", "http://a,", "http://a,https://b", &vec!["http://a"; MOST + 1].join(",")] {
            assert!(ways(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn calls_stay_with_one_until_it_gives_no_answer() {
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = format!("http://{}", nobody.local_addr().unwrap());
        drop(nobody);
        let ways =
            ways(&format!("{},{gone},{}", server("one").await, server("two").await)).unwrap();
        for _ in 0..2 {
            assert_eq!(ask(&ways).await.as_deref(), Some("one"));
        }
        ways.lost(0);
        assert_eq!(ways.origin(), gone);
        assert_eq!(ask(&ways).await, None);
        assert_eq!(ask(&ways).await.as_deref(), Some("two"));
        ways.lost(1);
        assert_eq!(ask(&ways).await.as_deref(), Some("two"), "news of one that is not called");
        ways.lost(2);
        assert_eq!(ask(&ways).await.as_deref(), Some("one"), "round again");
    }

    #[tokio::test]
    async fn one_that_cannot_serve_now_is_left_for_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let away = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert_ne!(stream.read(&mut [0; 1024]).await.unwrap(), 0);
            let answer = "HTTP/1.1 503 Away\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let ways = ways(&format!("{away},{}", server("two").await)).unwrap();
        assert_eq!(ask(&ways).await.as_deref(), Some(""));
        assert_eq!(ask(&ways).await.as_deref(), Some("two"));
    }

    #[tokio::test]
    async fn one_of_several_that_takes_connections_and_says_nothing_is_given_up() {
        // As the system does for a process that is stopped.
        let stopped = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = format!("http://{}", stopped.local_addr().unwrap());
        let ways = ways(&format!("{silent},{}", server("two").await)).unwrap();
        assert_eq!(ask(&ways).await, None);
        assert_eq!(ask(&ways).await.as_deref(), Some("two"));
    }
}
