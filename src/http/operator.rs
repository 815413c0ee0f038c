//! The operator's listener: metrics, probes, and the word to go.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::from_fn;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use tower_http::catch_panic::CatchPanicLayer;

use super::problem::Problem;
use super::settings::MAX_DRAIN_SECONDS;
use super::{App, problem};
use crate::engine::command::{Command, Reply};
use crate::engine::counters::Counters;
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
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn(problem::document_errors))
        .with_state(operator)
}

/// 503 tells a load balancer to send nobody here any more.
async fn ready(State(operator): State<Arc<Operator>>) -> (StatusCode, &'static str) {
    let app = &operator.app;
    if app.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining");
    }
    match app.admission.general_shortage(app.engines.count()) {
        Some(shortage) => (StatusCode::SERVICE_UNAVAILABLE, shortage.label()),
        None => (StatusCode::OK, "ready"),
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
        let asked = self.app.engines.command(shard, Command::Counters);
        match tokio::time::timeout(SHARD_TIMEOUT, asked).await {
            Ok(Ok(Reply::Counters(counters))) => Some(*counters),
            _ => None,
        }
    }
}
