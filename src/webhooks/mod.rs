//! Webhooks: what happens in rooms, posted to URLs that the operator has set.
//!
//! Engines hand over what happened and never wait: each URL has a bounded queue and a task that
//! posts one event after the other, in their order, again where that failed, and gives up in
//! the end. Everything that is not delivered is counted. Signatures follow Standard Webhooks,
//! whose libraries verify them in most languages.

mod client;
mod delivery;
mod settings;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::engine::event::SessionEvent;
use crate::engine::notice::Notice;
use crate::shard::EventSink;
use client::Client;
use delivery::{Courier, Patience};
pub use settings::{Secret, SecretError, Settings, Target, TargetError};

/// Events that wait for one URL: a busy server's of a minute, some 500 KiB.
const QUEUE_EVENTS: usize = 1_024;

/// How long what waits may take to be delivered once the server stops.
const FINISH_TIMEOUT: Duration = Duration::from_secs(3);

/// Why webhooks cannot be posted.
#[derive(Debug, Error)]
pub enum StartError {
    /// The URL names an address that webhooks may not go to.
    #[error("--webhook: {0} is not a public address; --webhook-private allows it")]
    Private(String),
    /// The HTTP client cannot be made: most of the time there are no root certificates.
    #[error("--webhook: {0}")]
    Client(#[from] reqwest::Error),
}

/// What became of events, for all URLs together.
#[derive(Debug, Default)]
pub struct Counters {
    /// Answered with 2xx.
    pub delivered: AtomicU64,
    /// Given up after the last attempt.
    pub failed: AtomicU64,
    /// Thrown away, since too many waited already.
    pub dropped: AtomicU64,
    /// Attempts after the first.
    pub retries: AtomicU64,
    /// Accepted, and neither delivered nor given up (gauge).
    pub waiting: AtomicU64,
}

/// Webhooks that are to be posted.
pub struct Webhooks {
    couriers: Vec<Courier>,
    stop: watch::Sender<bool>,
    counters: Arc<Counters>,
}

impl Webhooks {
    /// Webhooks, and what engines hand events to: `sessions` gets what is for sessions.
    ///
    /// # Errors
    /// Where a URL is not allowed, or HTTPS impossible.
    pub fn new(
        settings: &Settings,
        sessions: Arc<dyn EventSink>,
    ) -> Result<(Self, Arc<dyn EventSink>), StartError> {
        Self::with_patience(settings, sessions, Patience::default())
    }

    fn with_patience(
        settings: &Settings,
        sessions: Arc<dyn EventSink>,
        patience: Patience,
    ) -> Result<(Self, Arc<dyn EventSink>), StartError> {
        let (stop, stopped) = watch::channel(false);
        let counters = Arc::<Counters>::default();
        let mut couriers = Vec::new();
        let mut queues = Vec::new();
        if let Some(secret) = &settings.webhook_secret {
            for target in &settings.urls {
                let (sender, queue) = mpsc::channel(QUEUE_EVENTS);
                queues.push(sender);
                couriers.push(Courier {
                    client: Client::new(target, secret, settings.webhook_private)?,
                    queue,
                    stopped: stopped.clone(),
                    patience,
                    counters: Arc::clone(&counters),
                });
            }
        }
        let sink = Announcer {
            sessions,
            queues,
            counters: Arc::clone(&counters),
        };
        let webhooks = Self {
            couriers,
            stop,
            counters,
        };
        Ok((webhooks, Arc::new(sink)))
    }

    /// What became of events.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Posts from now on. To be called within a tokio runtime.
    pub fn start(self) -> Running {
        let mut tasks = JoinSet::new();
        for courier in self.couriers {
            tasks.spawn(courier.run());
        }
        Running {
            tasks,
            stop: self.stop,
            counters: self.counters,
        }
    }
}

/// Webhooks that are being posted.
pub struct Running {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    counters: Arc<Counters>,
}

impl Running {
    /// Posts what waits, once each and for three seconds at the most. To be called when the
    /// engines are shut down.
    pub async fn finish(mut self) {
        // Nobody listens where there are no URLs.
        let _ = self.stop.send(true);
        let finish = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(FINISH_TIMEOUT, finish).await.is_err() {
            let lost = self.counters.waiting.load(Ordering::Relaxed);
            tracing::warn!(lost, "webhooks were not delivered before the end");
        }
    }
}

/// Takes what engines say.
struct Announcer {
    sessions: Arc<dyn EventSink>,
    queues: Vec<mpsc::Sender<Arc<Notice>>>,
    counters: Arc<Counters>,
}

impl EventSink for Announcer {
    fn publish(&self, event: SessionEvent) {
        self.sessions.publish(event);
    }

    fn announce(&self, notice: Notice) {
        let notice = Arc::new(notice);
        for queue in &self.queues {
            // Before it is there to be taken, or else the gauge could fall below zero.
            self.counters.waiting.fetch_add(1, Ordering::Relaxed);
            if queue.try_send(Arc::clone(&notice)).is_err() {
                self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
                self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
