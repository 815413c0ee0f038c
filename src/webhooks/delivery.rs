//! One URL's events, one after the other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{mpsc, watch};

use super::Counters;
use super::client::Client;
use crate::engine::notice::Notice;

/// How often an event is tried, and how far apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Attempts per event.
    pub(super) attempts: u32,
    /// The pause after the first; each further one is twice as long.
    pub(super) first_pause: Duration,
}

impl Default for Patience {
    /// Over half a minute: a receiver that is being restarted misses nothing.
    fn default() -> Self {
        Self {
            attempts: 6,
            first_pause: Duration::from_secs(1),
        }
    }
}

impl Patience {
    /// How long to wait after a failed attempt (from 0), with up to half of it added at random:
    /// servers that failed together do not come back together.
    fn pause(self, attempt: u32) -> Duration {
        let pause = self.first_pause * (1 << attempt.min(16));
        let random = getrandom::u32().unwrap_or(0);
        pause + pause.mul_f64(0.5 * f64::from(random) / f64::from(u32::MAX))
    }
}

/// Delivers one URL's events.
pub(super) struct Courier {
    pub(super) client: Client,
    pub(super) queue: mpsc::Receiver<Arc<Notice>>,
    pub(super) stopped: watch::Receiver<bool>,
    pub(super) patience: Patience,
    pub(super) counters: Arc<Counters>,
}

/// An event as it is posted.
#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    #[serde(flatten)]
    notice: &'a Notice,
}

impl Courier {
    /// Delivers until told to stop, and then what is left.
    pub(super) async fn run(mut self) {
        loop {
            let notice = tokio::select! {
                _ = self.stopped.wait_for(|stopped| *stopped) => None,
                notice = self.queue.recv() => notice,
            };
            match notice {
                Some(notice) => self.deliver(&notice).await,
                None => break,
            }
        }
        while let Ok(notice) = self.queue.try_recv() {
            self.deliver(&notice).await;
        }
    }

    async fn deliver(&mut self, notice: &Notice) {
        let id = new_id();
        let body = Body { id: &id, notice };
        // Plain data, which always has a JSON form.
        let body = serde_json::to_string(&body).unwrap_or_default();
        let became = if self.post(&id, &body).await {
            &self.counters.delivered
        } else {
            &self.counters.failed
        };
        became.fetch_add(1, Ordering::Relaxed);
        self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether the event arrived, at last.
    async fn post(&mut self, id: &str, body: &str) -> bool {
        for attempt in 0..self.patience.attempts {
            if attempt > 0 {
                self.counters.retries.fetch_add(1, Ordering::Relaxed);
            }
            let Err(error) = self.client.post(id, body).await else {
                return true;
            };
            let target = self.client.target();
            let is_last = attempt + 1 == self.patience.attempts;
            if is_last || *self.stopped.borrow() {
                tracing::warn!(?target, %error, "a webhook was given up");
                break;
            }
            tracing::debug!(?target, %error, attempt, "a webhook failed");
            let pause = tokio::time::sleep(self.patience.pause(attempt));
            tokio::select! {
                () = pause => {}
                _ = self.stopped.wait_for(|stopped| *stopped) => {}
            }
        }
        false
    }
}

/// An id that no other event has, the same in all attempts: 128 random bits.
fn new_id() -> String {
    let mut bytes = [0; 16];
    // Where the system has no randomness, neither DTLS nor sessions got this far.
    let _ = getrandom::fill(&mut bytes);
    format!("{:032x}", u128::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_differ() {
        let patience = Patience::default();
        for attempt in 0..patience.attempts {
            let base = Duration::from_secs(1 << attempt);
            let pause = patience.pause(attempt);
            assert!((base..=base.mul_f64(1.5)).contains(&pause), "{pause:?}");
        }
        assert_ne!(patience.pause(5), patience.pause(5));
    }
}
