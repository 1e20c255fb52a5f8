//! Connections: each is bounded in what its client can make this process wait for and keep.
//!
//! A client that says nothing, little at a time, or does not read what it asked for costs one place until its time is over;
//! who waits for work in a long poll is none of these, since it is this side that is silent then.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;

use crate::http::problem::Problem;
use crate::metrics::Metrics;
use crate::options::Bounds;
use crate::tls::{HANDSHAKE, Tls};

/// Longest head of a request, bytes; logins and tokens need less than two KiB.
const MAX_HEAD: usize = 32 << 10;
/// Fewest bytes a second, once the first [`Bounds::stall`] is over, of a body that comes and of an answer that is read.
pub const LEAST_RATE: u64 = 4_096;
/// Most bytes that are read of who speaks plain HTTP where TLS is spoken.
const MOST_PLAIN: u64 = 1 << 20;
/// Pause after a connection could not be taken for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// Waits for the other side no longer than it deserves.
#[derive(Debug)]
pub struct Pace {
    since: Instant,
    moved: u64,
    timer: Pin<Box<Sleep>>,
}

impl Pace {
    /// From now on.
    pub fn new() -> Self {
        let now = Instant::now();
        Self { since: now, moved: 0, timer: Box::pin(tokio::time::sleep_until(now)) }
    }

    /// Notes that so many bytes went over.
    pub const fn moved(&mut self, bytes: u64) {
        self.moved = self.moved.saturating_add(bytes);
    }

    /// Ready when the other side is given up.
    pub fn poll_over(&mut self, stall: Duration, context: &mut Context<'_>) -> Poll<()> {
        let earned = Duration::from_millis(self.moved.saturating_mul(1_000) / LEAST_RATE);
        let until = self.since + stall + earned;
        if self.timer.deadline() != until {
            self.timer.as_mut().reset(until);
        }
        self.timer.as_mut().poll(context)
    }
}

/// What stands behind every connection.
pub struct Front {
    /// What answers requests.
    pub router: Router,
    /// What a client may make this process wait for.
    pub bounds: Bounds,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What TLS is spoken with; `None` speaks plain HTTP.
    pub tls: Option<Tls>,
}

/// Answers connections until `stopped`; then ends each after its request. What keeps a connection from being taken is
/// logged, and tried again. Connections end with the future.
pub async fn serve(listener: TcpListener, front: Front, stopped: watch::Receiver<bool>) {
    let front = Arc::new(front);
    let places = Arc::new(Semaphore::new(front.bounds.connections));
    let mut open = JoinSet::new();
    let mut ends = pin!(told(stopped.clone()));
    loop {
        tokio::select! {
            () = &mut ends => break,
            (stream, from, place) = accept(&listener, &places) => {
                let (front, stopped) = (Arc::clone(&front), told(stopped.clone()));
                let counted = Counted::new(&front.metrics);
                open.spawn(async move {
                    let _until_its_end = (place, counted);
                    meet(stream, from, &front, stopped).await;
                });
            }
            Some(_) = open.join_next() => {}
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

/// A connection among those that operators see.
struct Counted(Arc<Metrics>);

impl Counted {
    fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.connected();
        Self(Arc::clone(metrics))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.disconnected();
    }
}

async fn told(mut stopped: watch::Receiver<bool>) {
    // A sender that is gone means the same.
    drop(stopped.wait_for(|stop| *stop).await);
}

/// The next connection, once there is a place for it: until then it waits with the system.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    loop {
        let Ok(place) = Arc::clone(places).acquire_owned().await else {
            return std::future::pending().await;
        };
        match listener.accept().await {
            Ok((stream, from)) => return (stream, from, place),
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                tracing::error!("a connection could not be taken: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn meet(
    stream: TcpStream,
    from: SocketAddr,
    front: &Front,
    stopped: impl Future<Output = ()>,
) {
    // Answers are written whole; waiting for more to send would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("a connection ended at once: {error}");
        return;
    }
    let stream = Steady { stream, stall: front.bounds.stall, behind: None };
    let Some(tls) = &front.tls else {
        return converse(stream, from, front, stopped).await;
    };
    let mut stopped = pin!(stopped);
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(front.bounds.head, shake(stream, tls)) => shaken,
        () = &mut stopped => return,
    };
    match shaken {
        Ok(Ok(stream)) => converse(stream, from, front, stopped).await,
        Ok(Err(error)) => {
            front.metrics.not_shaken();
            tracing::debug!("a connection came to no TLS: {error}");
        }
        Err(_) => front.metrics.not_shaken(),
    }
}

/// TLS over a stream; who speaks plain HTTP is told, and the connection ends.
async fn shake(mut stream: Steady, tls: &Tls) -> io::Result<TlsStream<Steady>> {
    let mut first = [HANDSHAKE];
    stream.stream.peek(&mut first).await?;
    if first == [HANDSHAKE] {
        return TlsAcceptor::from(tls.config()).accept(stream).await;
    }
    stream.write_all(Problem::plain_http().into_http().as_bytes()).await?;
    stream.shutdown().await?;
    // What was sent is read to its end, or the answer would be lost with it.
    tokio::io::copy(&mut stream.take(MOST_PLAIN), &mut tokio::io::sink()).await?;
    Err(io::Error::new(io::ErrorKind::InvalidData, "plain HTTP"))
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    from: SocketAddr,
    front: &Front,
    stopped: impl Future<Output = ()>,
) {
    let service = front.router.clone().map_request(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(from));
        request
    });
    let service = TowerToHyperService::new(service);
    let mut http = Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(front.bounds.head).max_header_size(MAX_HEAD);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let mut stopped = pin!(stopped);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = &mut stopped => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection was cut: {error}");
    }
}

/// A stream whose other end must read what it asked for.
struct Steady {
    stream: TcpStream,
    stall: Duration,
    /// While the other end does not keep up, and whether it let the last write wait.
    behind: Option<(Pace, bool)>,
}

impl Steady {
    fn watch(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = written {
            match (&written, &mut self.behind) {
                (Ok(bytes), Some((pace, waited @ true))) => {
                    pace.moved(u64::try_from(*bytes).unwrap_or(u64::MAX));
                    *waited = false;
                }
                // It took two in a row: it keeps up again.
                _ => self.behind = None,
            }
            return Poll::Ready(written);
        }
        let (pace, waited) = self.behind.get_or_insert_with(|| (Pace::new(), true));
        *waited = true;
        ready!(pace.poll_over(self.stall, context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl AsyncRead for Steady {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Steady {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
