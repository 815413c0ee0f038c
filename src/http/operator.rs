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
use serde::Deserialize;
use tower_http::catch_panic::CatchPanicLayer;

use super::doors::name;
use super::drain::{DrainQuery, Draining};
use super::insight::{ServerOverview, nobody};
use super::problem::Problem;
use super::{App, assets, problem};
use crate::engine::command::{Command, Reply};
use crate::engine::counters::Counters;
use crate::engine::ids::{ParticipantId, RoomId};
use crate::engine::inspect::{RoomOverview, SessionReport};
use crate::engine::tape::{MAX_SECONDS, Recording};
use crate::metrics::Format;

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
        .route("/server", get(server))
        .route("/rooms", get(rooms))
        .route("/rooms/{room}/participants/{participant}/stats", get(stats))
        .route("/rooms/{room}/record", post(record_next))
        .route(
            "/rooms/{room}/participants/{participant}/record",
            post(record).delete(recorded),
        )
        .merge(assets::admin())
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn(problem::document_errors))
        .with_state(operator)
}

/// 503 tells a load balancer to send nobody here any more.
async fn ready(State(operator): State<Arc<Operator>>) -> Result<&'static str, Problem> {
    let app = &operator.app;
    let refuse = |why, detail| Problem::new(StatusCode::SERVICE_UNAVAILABLE, why, detail);
    match app.refuses() {
        Some("draining") => Err(refuse("draining", "The server is going away.")),
        Some(shortage) => Err(refuse(shortage, "The server is full.")),
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

/// No more sessions; the process ends when those that there are have ended, or at the deadline.
/// Asking again moves the deadline.
async fn drain(
    State(operator): State<Arc<Operator>>,
    Query(query): Query<DrainQuery>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Draining>), Problem> {
    refuse_pages(&headers)?;
    operator.app.drain_as_asked(&query).await
}

/// What the server as a whole has to do, and whether it takes anybody.
async fn server(State(operator): State<Arc<Operator>>) -> Json<ServerOverview> {
    Json(operator.app.server_overview())
}

/// Every room, with who is in it. One that has several shards is there as often.
async fn rooms(State(operator): State<Arc<Operator>>) -> Json<Vec<RoomOverview>> {
    Json(operator.app.overview().await)
}

/// Why a participant's call is as it is: each of their sessions, in full.
async fn stats(
    State(operator): State<Arc<Operator>>,
    Path((room, participant)): Path<(String, String)>,
) -> Result<Json<Vec<SessionReport>>, Problem> {
    let (room, participant) = named(&room, &participant)?;
    Ok(Json(operator.app.reports(&room, &participant).await?))
}

/// The query of a recording.
#[derive(Deserialize)]
struct RecordQuery {
    /// How long it goes on, at the most.
    #[serde(default = "half_a_minute")]
    seconds: u64,
}

fn half_a_minute() -> u64 {
    30
}

impl RecordQuery {
    fn length(&self) -> Result<Duration, Problem> {
        if (1..=MAX_SECONDS).contains(&self.seconds) {
            return Ok(Duration::from_secs(self.seconds));
        }
        let detail = format!("A recording takes 1 to {MAX_SECONDS} seconds.");
        Err(Problem::bad_request(detail))
    }
}

/// From now on all that happens on the way to a participant is recorded.
async fn record(
    State(operator): State<Arc<Operator>>,
    Path((room, participant)): Path<(String, String)>,
    Query(query): Query<RecordQuery>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    refuse_pages(&headers)?;
    let (room, participant) = named(&room, &participant)?;
    let length = query.length()?;
    let command = || Command::Record {
        room: room.clone(),
        participant: Some(participant.clone()),
        length,
    };
    operator.app.record(command).await
}

/// Whoever comes to a room next is recorded from their first packet on.
async fn record_next(
    State(operator): State<Arc<Operator>>,
    Path(room): Path<String>,
    Query(query): Query<RecordQuery>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    refuse_pages(&headers)?;
    let room: RoomId = name("room", &room)?;
    let length = query.length()?;
    let command = || Command::Record {
        room: room.clone(),
        participant: None,
        length,
    };
    operator.app.record(command).await
}

/// The recordings of a participant's sessions, which end with that.
async fn recorded(
    State(operator): State<Arc<Operator>>,
    Path((room, participant)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Vec<Recording>>, Problem> {
    refuse_pages(&headers)?;
    let (room, participant) = named(&room, &participant)?;
    Ok(Json(operator.app.recorded(&room, &participant).await?))
}

/// A room and a participant, by the names in a path.
fn named(room: &str, participant: &str) -> Result<(RoomId, ParticipantId), Problem> {
    let room: RoomId = room.parse().map_err(|_| nobody())?;
    let participant: ParticipantId = participant.parse().map_err(|_| nobody())?;
    Ok((room, participant))
}

/// This listener has no tokens, and no page has any business here, but one that is open on the
/// operator's machine could reach it. Pages send `Origin` with all that is not a `GET`.
fn refuse_pages(headers: &HeaderMap) -> Result<(), Problem> {
    if !headers.contains_key(ORIGIN) {
        return Ok(());
    }
    let detail = "Pages may not do this.";
    Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail))
}

impl Operator {
    /// Every shard's counters, all asked at once, and how many did not answer.
    async fn gather(&self) -> (Vec<Counters>, usize) {
        let answers: Vec<_> = self
            .app
            .ask_each(|| Command::Counters)
            .await
            .into_iter()
            .map(|reply| match reply {
                Some(Reply::Counters(counters)) => Some(*counters),
                _ => None,
            })
            .collect();
        let unanswered = answers.iter().filter(|answer| answer.is_none()).count();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        for (last, answer) in last.iter_mut().zip(answers) {
            if let Some(counters) = answer {
                *last = counters;
            }
        }
        (last.clone(), unanswered)
    }
}
