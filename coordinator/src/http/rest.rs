//! What a refused request still sends: a client that writes its whole body before it reads must get its answer, and not a
//! connection that was closed under it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, HttpBody as _};
use axum::extract::Request;
use axum::http::header;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tokio::runtime::Handle;

/// Most bytes that are read although nobody wants them.
const MAX_REST: usize = 1 << 20;
/// How long they may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// The request with a body whose rest is read and thrown away, within bounds, when its handler leaves some of it. A client
/// that asks before it sends has nothing under way.
pub fn kept(request: Request) -> Request {
    if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
        return request;
    }
    request.map(|body| Body::from_stream(Rest(Some(body.into_data_stream()))))
}

/// A body, until its end or an error.
struct Rest(Option<BodyDataStream>);

impl Stream for Rest {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let polled = body.poll_next_unpin(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        polled
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        let left = self.0.take().filter(|body| !body.is_end_stream());
        if let Some((body, runtime)) = left.zip(Handle::try_current().ok()) {
            // Beside the answer, which goes out at once: the connection stays as long as somebody reads.
            runtime.spawn(tokio::time::timeout(PATIENCE, drain(body)));
        }
    }
}

async fn drain(mut body: BodyDataStream) {
    let mut read = 0;
    while read < MAX_REST
        && let Some(Ok(part)) = body.next().await
    {
        read += part.len();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::stream;
    use tokio::task::yield_now;

    use super::*;

    /// A request that is dropped unread, and how often its body was asked for more.
    fn dropped(more: Option<&str>) -> Arc<AtomicUsize> {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let body = Body::from_stream(stream::poll_fn(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            Poll::Ready(None::<Result<Bytes, axum::Error>>)
        }));
        let mut request = Request::new(body);
        let more = more.map(|value| (header::EXPECT, value.parse().unwrap()));
        request.headers_mut().extend(more);
        drop(kept(request));
        asked
    }

    #[tokio::test]
    async fn a_client_that_asks_before_it_sends_is_not_told_to_go_on() {
        let told = dropped(Some("100-continue"));
        let read = dropped(None);
        while read.load(Ordering::Relaxed) == 0 {
            yield_now().await;
        }
        assert_eq!(told.load(Ordering::Relaxed), 0, "reading it is what tells the client to send");
    }
}
