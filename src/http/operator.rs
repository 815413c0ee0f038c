//! The operator's listener: metrics and probes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn;
use axum::response::IntoResponse;
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;

use super::{App, problem};
use crate::engine::command::{Command, Reply};
use crate::engine::counters::Counters;
use crate::metrics;

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
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn(problem::document_errors))
        .with_state(operator)
}

/// 503 tells a load balancer to send nobody here any more.
async fn ready(State(operator): State<Arc<Operator>>) -> StatusCode {
    if operator.app.is_draining() {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    }
}

async fn scrape(State(operator): State<Arc<Operator>>) -> impl IntoResponse {
    let (counters, unanswered) = operator.gather().await;
    (
        [(CONTENT_TYPE, metrics::CONTENT_TYPE)],
        operator.app.metrics.encode(&counters, unanswered),
    )
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
