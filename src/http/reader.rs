//! Somebody who reads what a session's room tells it, and how far they have come.

use std::sync::Arc;
use std::time::Duration;

use super::App;
use super::hub::{Entry, Log, Next};
use super::problem::Problem;
use crate::engine::command::{Command, Reply};
use crate::engine::event::Snapshot;
use crate::engine::ids::SessionId;

/// How long the end of a session may take from the engine's "no such session" to the event
/// that says why: both leave the engine in one turn of its loop.
const CLOSING: Duration = Duration::from_secs(2);

/// What comes next.
pub(super) enum Told {
    /// The room as it is: a reader starts, or starts over.
    Snapshot(Box<Snapshot>),
    /// What has changed, oldest first.
    Changes(Vec<Entry>),
}

/// Somebody who reads a session's events, and how far they have come.
pub(super) struct Reader {
    pub(super) app: Arc<App>,
    pub(super) session: SessionId,
    log: Arc<Log>,
    number: u64,
    seen: Option<u64>,
}

impl Reader {
    pub(super) fn attach(app: Arc<App>, id: &str, last: Option<u64>) -> Result<Self, Problem> {
        let session: SessionId = id.parse().map_err(|_| Problem::no_such_session())?;
        let log = app.hub.log(session).ok_or_else(Problem::no_such_session)?;
        let (number, is_one_too_many) = log.attach(app.settings.streams_per_session as usize);
        if is_one_too_many {
            app.metrics.count_refusal("streams");
        }
        // A version that nobody was told of is of another server, or made up.
        let seen = last.filter(|&version| log.may_have_told(version));
        Ok(Self {
            app,
            session,
            log,
            number,
            seen,
        })
    }

    /// Its number among the readers of its session.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether the session's last event is among what the reader has seen.
    pub(super) fn has_read_everything(&self) -> bool {
        matches!(self.log.after(self.number, self.seen), Next::End)
    }

    /// The next events, at least one; `None` at the end. May be dropped at any await.
    pub(super) async fn next(&mut self) -> Option<Told> {
        let log = Arc::clone(&self.log);
        loop {
            // Listens first and looks then, so that nothing falls in between.
            let mut changed = std::pin::pin!(log.changed.notified());
            changed.as_mut().enable();
            match log.after(self.number, self.seen) {
                Next::End => return None,
                Next::Changes(entries) => {
                    self.seen = entries.last().map(|entry| entry.version);
                    return Some(Told::Changes(entries));
                }
                Next::Snapshot => match self.snapshot().await {
                    Some(snapshot) => return Some(Told::Snapshot(snapshot)),
                    None => tokio::time::timeout(CLOSING, changed).await.ok()?,
                },
                Next::Wait if self.app.hub.is_ending() => return None,
                Next::Wait => changed.await,
            }
        }
    }

    /// The next events; `None` also where a wait for them is in vain.
    pub(super) async fn next_within(&mut self, wait: Duration) -> Option<Told> {
        if matches!(self.log.after(self.number, self.seen), Next::Wait) {
            return tokio::time::timeout(wait, self.next()).await.ok()?;
        }
        self.next().await
    }

    /// Where the reader starts, or starts over.
    async fn snapshot(&mut self) -> Option<Box<Snapshot>> {
        let shard = self.app.hub.shard_of(self.session)?;
        match self
            .app
            .command(
                shard,
                Command::Snapshot {
                    session: self.session,
                },
            )
            .await
        {
            Ok(Reply::Snapshot(snapshot)) => {
                self.log.snapshot_taken(snapshot.version);
                self.seen = Some(snapshot.version);
                Some(snapshot)
            }
            _ => None,
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.log.detach(self.number);
    }
}
