//! The operator's listener: metrics, probes, what is going on in calls, and the word to go.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::from_fn;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use tower_http::catch_panic::CatchPanicLayer;

use super::problem::Problem;
use super::settings::MAX_DRAIN_SECONDS;
use super::{App, assets, problem};
use crate::engine::command::{Command, Reply};
use crate::engine::counters::Counters;
use crate::engine::ids::{ParticipantId, RoomId};
use crate::engine::inspect::{RoomOverview, SessionReport};
use crate::metrics::Format;

/// Longest wait for a shard's counters: Prometheus itself gives up after ten seconds.
const SHARD_TIMEOUT: Duration = Duration::from_secs(1);

/// What the operator's handlers need.
struct Operator {
    app: Arc<App>,
    /// The last counters of each shard: one that does not answer must not look as if its
    /// counters had started over.
    last: Mutex<Vec<Counters>>,
}

/// What operators reach.
pub(super) fn router(app: Arc<App>) -> Router {
    let last = vec![Counters::default(); app.engines.count()];
    let operator = Arc::new(Operator {
        app,
        last: Mutex::new(last),
    });
    Router::new()
        .route("/metrics", get(scrape))
        .route("/livez", get(async || StatusCode::OK))
        .route("/readyz", get(ready))
        .route("/drain", post(drain))
        .route("/rooms", get(rooms))
        .route("/rooms/{room}/participants/{participant}/stats", get(stats))
        .merge(assets::admin())
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn(problem::document_errors))
        .with_state(operator)
}

/// 503 tells a load balancer to send nobody here any more.
async fn ready(State(operator): State<Arc<Operator>>) -> Result<&'static str, Problem> {
    let app = &operator.app;
    let refuse = |why, detail| Problem::new(StatusCode::SERVICE_UNAVAILABLE, why, detail);
    if app.is_draining() {
        return Err(refuse("draining", "The server is going away."));
    }
    match app.admission.general_shortage(app.engines.count()) {
        Some(shortage) => Err(refuse(shortage.label(), "The server is full.")),
        None => Ok("ready"),
    }
}

async fn scrape(State(operator): State<Arc<Operator>>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::accepted(accept.unwrap_or_default());
    let (counters, unanswered) = operator.gather().await;
    let App { metrics, hub, .. } = &*operator.app;
    metrics.event_logs().set(hub.len() as i64);
    (
        [(CONTENT_TYPE, format.content_type())],
        metrics.encode(&counters, unanswered, format),
    )
}

/// The query of a drain.
#[derive(Deserialize)]
struct DrainQuery {
    /// How long sessions may go on, in seconds; as the settings say if it is not given.
    deadline: Option<u32>,
}

/// What is drained.
#[derive(Serialize)]
struct Draining {
    deadline_seconds: u32,
    sessions: u64,
}

/// No more sessions; the process ends when those that there are have ended, or at the deadline.
/// Asking again moves the deadline.
async fn drain(
    State(operator): State<Arc<Operator>>,
    Query(query): Query<DrainQuery>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    // Pages send this with every POST. This listener has no tokens, and no page has any business
    // here, but one that is open on the operator's machine could reach it.
    if headers.contains_key(ORIGIN) {
        let detail = "Pages may not end this server.";
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail));
    }
    let app = &operator.app;
    let deadline_seconds = query.deadline.unwrap_or(app.settings.drain_deadline);
    if deadline_seconds > MAX_DRAIN_SECONDS {
        let detail = format!("A deadline is at most {MAX_DRAIN_SECONDS} seconds away.");
        return Err(Problem::bad_request(detail));
    }
    app.begin_drain(Duration::from_secs(deadline_seconds.into()));
    let draining = Draining {
        deadline_seconds,
        sessions: app.open_sessions().await,
    };
    Ok((StatusCode::ACCEPTED, Json(draining)))
}

/// Every room, with who is in it. One that has several shards is there as often.
async fn rooms(State(operator): State<Arc<Operator>>) -> Json<Vec<RoomOverview>> {
    let mut rooms = Vec::new();
    for shard in 0..operator.app.engines.count() {
        // A shard that is too busy to answer is better left out than waited for.
        if let Some(Reply::Overview(here)) = operator.ask(shard, Command::Overview).await {
            rooms.extend(here);
        }
    }
    rooms.sort_by(|a, b| a.room.cmp(&b.room).then(a.shard.cmp(&b.shard)));
    Json(rooms)
}

/// Why a participant's call is as it is: each of their sessions, in full.
async fn stats(
    State(operator): State<Arc<Operator>>,
    Path((room, participant)): Path<(String, String)>,
) -> Result<Json<Vec<SessionReport>>, Problem> {
    let nobody = || {
        let detail = "There is nobody of this name in this room.";
        Problem::new(StatusCode::NOT_FOUND, "not-found", detail)
    };
    let room: RoomId = room.parse().map_err(|_| nobody())?;
    let participant: ParticipantId = participant.parse().map_err(|_| nobody())?;
    let mut sessions = Vec::new();
    for shard in 0..operator.app.engines.count() {
        let (room, participant) = (room.clone(), participant.clone());
        let command = Command::Inspect { room, participant };
        if let Some(Reply::Inspected(here)) = operator.ask(shard, command).await {
            sessions.extend(here);
        }
    }
    if sessions.is_empty() {
        return Err(nobody());
    }
    Ok(Json(sessions))
}

impl Operator {
    /// Every shard's counters, all asked at once, and how many did not answer.
    async fn gather(&self) -> (Vec<Counters>, usize) {
        let shards = 0..self.app.engines.count();
        let answers =
            futures_util::future::join_all(shards.map(|shard| self.counters_of(shard))).await;
        let unanswered = answers.iter().filter(|answer| answer.is_none()).count();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        for (last, answer) in last.iter_mut().zip(answers) {
            if let Some(counters) = answer {
                *last = counters;
            }
        }
        (last.clone(), unanswered)
    }

    async fn counters_of(&self, shard: usize) -> Option<Counters> {
        match self.ask(shard, Command::Counters).await {
            Some(Reply::Counters(counters)) => Some(*counters),
            _ => None,
        }
    }

    /// What a shard answers, if it does in time.
    async fn ask(&self, shard: usize, command: Command) -> Option<Reply> {
        let asked = self.app.engines.command(shard, command);
        tokio::time::timeout(SHARD_TIMEOUT, asked).await.ok()?.ok()
    }
}
