//! Going away in order: nobody new is taken, those who are here are told, and the end comes when
//! the last of them has gone, or at the deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::http::StatusCode;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::problem::Problem;
use super::settings::MAX_DRAIN_SECONDS;
use super::{App, clock};
use crate::engine::command::{Command, Reply};

/// How often the server looks whether everybody has gone.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// How often an engine is told that is too busy to hear. Once no more sessions are taken its
/// queue empties within a second or two.
const TELL_ATTEMPTS: u32 = 20;

/// Whether the server is going away, and until when at the latest.
pub(super) struct Drain {
    deadline: watch::Sender<Option<Instant>>,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Sessions that are still there: none, unless the deadline came first.
    pub sessions: u64,
}

/// The query of a request to drain.
#[derive(Deserialize)]
pub(super) struct DrainQuery {
    /// How long sessions may go on, in seconds; as the settings say if it is not given.
    deadline: Option<u32>,
}

/// What is drained.
#[derive(Serialize)]
pub(super) struct Draining {
    deadline_seconds: u32,
    sessions: u64,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            deadline: watch::Sender::new(None),
        }
    }
}

impl Drain {
    pub(super) fn has_begun(&self) -> bool {
        self.deadline.borrow().is_some()
    }

    #[cfg(test)]
    pub(super) fn undo(&self) {
        self.deadline.send_replace(None);
    }
}

impl App {
    /// Drains as whoever may do so asks. Asking again moves the deadline.
    pub(super) async fn drain_as_asked(
        self: &Arc<Self>,
        query: &DrainQuery,
    ) -> Result<(StatusCode, Json<Draining>), Problem> {
        let deadline_seconds = query.deadline.unwrap_or(self.settings.drain_deadline);
        if deadline_seconds > MAX_DRAIN_SECONDS {
            let detail = format!("A deadline is at most {MAX_DRAIN_SECONDS} seconds away.");
            return Err(Problem::bad_request(detail));
        }
        // Engines are asked before anything ends: where nobody is there, that is at once.
        let (sessions, ()) = tokio::join!(self.open_sessions(), async {
            self.begin_drain(Duration::from_secs(deadline_seconds.into()));
        });
        let draining = Draining {
            deadline_seconds,
            sessions,
        };
        Ok((StatusCode::ACCEPTED, Json(draining)))
    }

    /// Takes no more sessions from now on, and tells those that there are. A drain that has begun
    /// gets a new deadline. To be called within a tokio runtime.
    pub(super) fn begin_drain(self: &Arc<Self>, within: Duration) {
        let former = self
            .drain
            .deadline
            .send_replace(Some(clock::now() + within));
        self.metrics.draining().set(1);
        if former.is_none() {
            tracing::info!(?within, "draining: no more sessions are taken");
            let app = Arc::clone(self);
            tokio::spawn(async move { app.tell_engines().await });
        }
    }

    /// Waits until a drain has begun, and then for its end.
    pub(super) async fn drained(&self) -> Drained {
        let mut deadline = self.drain.deadline.subscribe();
        loop {
            let until = *deadline.borrow_and_update();
            let Some(until) = until else {
                // Lives as long as we do.
                let _ = deadline.changed().await;
                continue;
            };
            let sessions = self.open_sessions().await;
            let now = clock::now();
            if sessions == 0 || now >= until {
                return Drained { sessions };
            }
            let look = LOOK_INTERVAL.min(until - now);
            let _ = tokio::time::timeout(look, deadline.changed()).await;
        }
    }

    /// Sessions of all engines. One that does not answer may have some.
    pub(super) async fn open_sessions(&self) -> u64 {
        let asked = (0..self.engines.count()).map(|shard| self.command(shard, Command::Counters));
        let answers = join_all(asked).await.into_iter();
        answers
            .map(|answer| match answer {
                Ok(Reply::Counters(counters)) => counters.sessions,
                _ => 1,
            })
            .sum()
    }

    async fn tell_engines(&self) {
        for shard in 0..self.engines.count() {
            let mut attempts = 0;
            while self.command(shard, Command::Drain).await.is_err() {
                attempts += 1;
                if attempts == TELL_ATTEMPTS {
                    tracing::warn!(shard, "an engine is too busy to hear that it drains");
                    break;
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        }
    }
}
