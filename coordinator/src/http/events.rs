//! Server-sent events: resume by `Last-Event-ID`, `reset` when too old, a heartbeat every 15 s.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, stream};
use serde_json::Value;
use tallymill_protocol::AccountId;
use tokio::sync::watch;

use super::App;
use super::auth::Caller;
use super::problem::Problem;
use super::query::{Query, Topics};
use crate::events::{Entry, Since};

/// Most topics of one stream.
const MAX_TOPICS: usize = 64;

fn topics(asked: Topics, caller: &Caller) -> Result<Vec<String>, Problem> {
    let text = asked.topics.unwrap_or_else(|| "network".to_owned());
    let topics: Vec<String> = text.split(',').map(str::to_owned).collect();
    if topics.len() > MAX_TOPICS {
        return Err(Problem::field("topics", "topics: too many").limit(&MAX_TOPICS));
    }
    for topic in &topics {
        let account =
            topic.strip_prefix("account:").map(|account| super::id::<AccountId>("topics", account));
        if let Some(account) = account.transpose()?
            && !caller.is(account)
        {
            return Err(Problem::forbidden("only its owner follows an account"));
        }
    }
    Ok(topics)
}

/// What goes to a client for one entry; `None` when nothing in it is about its topics.
fn frame(entry: &Entry, topics: &[String]) -> Option<Event> {
    let wanted = entry.events.iter().filter(|(topic, _)| topics.contains(topic));
    let changes: Vec<Value> = wanted
        .map(|(topic, value)| {
            let mut value = value.clone();
            value["topic"] = topic.clone().into();
            value
        })
        .collect();
    let data = Value::from(changes).to_string();
    (data != "[]").then(|| Event::default().id(entry.id.to_string()).event("changes").data(data))
}

/// Waits for the bell; false when the stream must end.
async fn rings(app: &App, bell: &mut watch::Receiver<u64>) -> bool {
    tokio::select! {
        rung = bell.changed() => rung.is_ok(),
        () = app.stopped() => false,
    }
}

#[utoipa::path(
    get, path = "/api/v1/events",
    params(Topics, ("last-event-id" = Option<String>, Header, description = "Go on after this event")),
    responses((
        status = 200, body = String, content_type = "text/event-stream",
        description = "Events `changes` with a JSON array, each with its `topic`; `reset` when what follows the id is gone",
    )),
)]
pub async fn stream(
    State(app): State<Arc<App>>,
    Query(asked): Query<Topics>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let topics = topics(asked, &caller)?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let seen = last.unwrap_or_else(|| app.events.latest());
    let bell = app.events.bell();
    let frames = stream::unfold((app, bell, seen, Vec::<Event>::new()), move |state| {
        let topics = topics.clone();
        async move {
            let (app, mut bell, mut seen, mut ready) = state;
            loop {
                if let Some(event) = ready.pop() {
                    return Some((Ok(event), (app, bell, seen, ready)));
                }
                // Marked before reading, so that an entry added meanwhile rings again.
                bell.borrow_and_update();
                match app.events.since(seen) {
                    Since::Reset(id) => {
                        seen = id;
                        ready.push(Event::default().id(id.to_string()).event("reset").data("{}"));
                    }
                    Since::Entries(entries) => {
                        seen = entries.last().map_or(seen, |entry| entry.id);
                        ready
                            .extend(entries.iter().rev().filter_map(|entry| frame(entry, &topics)));
                        if entries.is_empty() && !rings(&app, &mut bell).await {
                            return None;
                        }
                    }
                }
            }
        }
    });
    let heartbeat = KeepAlive::new().interval(Duration::from_secs(15));
    Ok(Sse::new(frames).keep_alive(heartbeat))
}
