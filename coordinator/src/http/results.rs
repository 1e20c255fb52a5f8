//! A job's results in the order of their decisions, and waiting for the next one.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use tallymill_engine::rows::{JobRow, JobState};
use tallymill_storage::Decided;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::App;
use super::auth::Caller;
use super::jobs::open_row;
use super::keep::uncollected;
use super::model::jobs::{Results, Task};
use super::problem::Problem;
use super::query::{Query, ResultsQuery};
use crate::events::Since;

#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/results", params(ResultsQuery),
    responses((status = 200, body = Results, description = "Decided tasks with small outputs")),
)]
pub async fn results(
    State(app): State<Arc<App>>,
    Path(job): Path<String>,
    Query(asked): Query<ResultsQuery>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Results>, Problem> {
    let (part, until) = (asked.part()?, Instant::now() + asked.wait()?);
    let mut news = News::of(&app);
    loop {
        news.mark();
        // The job before its results: of one that is over, none is decided after them.
        let row = open_row(&app, &job, &caller).await?;
        let decided = async { Ok(app.store.decided(row.id, part).await?) };
        let decided = uncollected(&app, &row, decided).await?;
        let goes_on = matches!(row.state, JobState::Running | JobState::Stopping);
        if !decided.is_empty() || !goes_on || !news.come(&row, until).await {
            return Ok(Json(answer(&row, &decided)));
        }
    }
}

fn answer(row: &JobRow, decided: &[Decided]) -> Results {
    let next = decided.last().map(|decided| decided.task.sequence.to_string());
    let items = decided.iter().map(Task::from).collect();
    Results { items, next, state: row.state.into() }
}

/// What was committed since somebody looked.
struct News<'a> {
    app: &'a App,
    bell: watch::Receiver<u64>,
    seen: u64,
}

impl<'a> News<'a> {
    fn of(app: &'a App) -> Self {
        Self { app, bell: app.events.bell(), seen: 0 }
    }

    /// Everything up to now is seen. Before reading, so that what is committed meanwhile is news.
    fn mark(&mut self) {
        self.seen = *self.bell.borrow_and_update();
    }

    /// Waits for news of a job; false when none came in time, or the process stops.
    async fn come(&mut self, row: &JobRow, until: Instant) -> bool {
        let topic = format!("job:{}", row.id);
        loop {
            let rung = tokio::select! {
                rung = timeout_at(until, self.bell.changed()) => rung.is_ok_and(|rung| rung.is_ok()),
                () = self.app.stopped() => false,
            };
            if !rung {
                return false;
            }
            let latest = *self.bell.borrow_and_update();
            match self.app.events.since(self.seen) {
                Since::Reset(_) => return true,
                Since::Entries(entries) => {
                    let mut topics = entries.iter().flat_map(|entry| &entry.events);
                    if topics.any(|(about, _)| *about == topic) {
                        return true;
                    }
                }
            }
            self.seen = latest;
        }
    }
}
