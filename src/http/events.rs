//! The event stream of a session (server-sent events), and a poll for those who cannot stream.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use prometheus::IntGauge;
use serde::{Deserialize, Serialize};

use super::App;
use super::auth::Permissions;
use super::hub::{Entry, Log, Next};
use super::problem::Problem;
use crate::engine::command::{Command, Reply};
use crate::engine::event::Snapshot;
use crate::engine::ids::SessionId;

/// A comment goes out after this long without an event: proxies close connections that
/// are silent for a minute, and a reader that is gone is noticed by writing to it.
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING: &[u8] = b": ping\n\n";

/// Longest that a poll may wait, in seconds; below what proxies allow.
const MAX_POLL_SECONDS: u64 = 25;

/// How long the end of a session may take from the engine's "no such session" to the event
/// that says why: both leave the engine in one turn of its loop.
const CLOSING: Duration = Duration::from_secs(2);

/// `GET events`: a snapshot or what was missed since `Last-Event-ID`, then every change.
pub(super) async fn stream(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let last = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let reader = Reader::attach(app, &id, last)?;
    if reader.has_read_everything() {
        // Stops an EventSource from coming back (HTML, section 9.2.3).
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let open = Open::count(reader.app.metrics.event_streams());
    let frames = stream::unfold((reader, open), |(mut reader, open)| async move {
        let frame = match tokio::time::timeout(PING_INTERVAL, reader.next()).await {
            Ok(events) => Bytes::from(events?.iter().map(Event::frame).collect::<String>()),
            Err(_) => Bytes::from_static(PING),
        };
        Some((Ok::<_, Infallible>(frame), (reader, open)))
    });
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ];
    Ok((headers, Body::from_stream(frames)).into_response())
}

/// The query of a poll.
#[derive(Deserialize)]
struct PollQuery {
    /// The last version that the client knows.
    since: Option<u64>,
    /// How long to wait for something new, in seconds.
    #[serde(default)]
    wait: u64,
}

/// `GET state`: the same events as a JSON list, empty if nothing happened in time.
pub(super) async fn poll(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let Query(PollQuery { since, wait }) = Query::try_from_uri(&uri)
        .map_err(|_| Problem::bad_request("since and wait are whole numbers."))?;
    let mut reader = Reader::attach(app, &id, since)?;
    if reader.has_read_everything() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let wait = Duration::from_secs(wait.min(MAX_POLL_SECONDS));
    let events = reader.next_within(wait).await.unwrap_or_default();
    let list: Vec<String> = events.iter().map(Event::json).collect();
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, format!("{{\"events\":[{}]}}", list.join(","))).into_response())
}

/// One event, ready to be sent.
struct Event {
    version: u64,
    name: &'static str,
    /// JSON, which has no line breaks.
    data: String,
}

impl Event {
    fn new(version: u64, name: &'static str, data: &impl Serialize) -> Self {
        let data = serde_json::to_string(data).expect("events have no keys but strings");
        Self {
            version,
            name,
            data,
        }
    }

    fn frame(&self) -> String {
        format!(
            "id: {}\nevent: {}\ndata: {}\n\n",
            self.version, self.name, self.data
        )
    }

    fn json(&self) -> String {
        format!(
            "{{\"id\":{},\"event\":\"{}\",\"data\":{}}}",
            self.version, self.name, self.data
        )
    }
}

/// The room as a session sees it, and what that session may do there.
#[derive(Serialize)]
struct View<'a> {
    #[serde(flatten)]
    snapshot: &'a Snapshot,
    grants: Permissions,
}

/// Somebody who reads a session's events, and how far they have come.
struct Reader {
    app: Arc<App>,
    session: SessionId,
    log: Arc<Log>,
    number: u64,
    seen: Option<u64>,
}

impl Reader {
    fn attach(app: Arc<App>, id: &str, last: Option<u64>) -> Result<Self, Problem> {
        let session: SessionId = id.parse().map_err(|_| Problem::no_such_session())?;
        let log = app.hub.log(session).ok_or_else(Problem::no_such_session)?;
        let number = log.attach();
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

    /// Whether the session's last event is among what the reader has seen.
    fn has_read_everything(&self) -> bool {
        matches!(self.log.after(self.number, self.seen), Next::End)
    }

    /// The next events, at least one; `None` at the end. May be dropped at any await.
    async fn next(&mut self) -> Option<Vec<Event>> {
        let log = Arc::clone(&self.log);
        loop {
            // Listens first and looks then, so that nothing falls in between.
            let mut changed = std::pin::pin!(log.changed.notified());
            changed.as_mut().enable();
            match log.after(self.number, self.seen) {
                Next::End => return None,
                Next::Changes(entries) => {
                    self.seen = entries.last().map(|entry| entry.version);
                    let event = |entry: &Entry| {
                        Event::new(entry.version, entry.change.name(), &*entry.change)
                    };
                    return Some(entries.iter().map(event).collect());
                }
                Next::Snapshot => match self.snapshot().await {
                    Some(event) => return Some(vec![event]),
                    None => tokio::time::timeout(CLOSING, changed).await.ok()?,
                },
                Next::Wait if self.app.hub.is_ending() => return None,
                Next::Wait => changed.await,
            }
        }
    }

    /// The next events; `None` also where a wait for them is in vain.
    async fn next_within(&mut self, wait: Duration) -> Option<Vec<Event>> {
        if matches!(self.log.after(self.number, self.seen), Next::Wait) {
            return tokio::time::timeout(wait, self.next()).await.ok()?;
        }
        self.next().await
    }

    /// Where the reader starts, or starts over.
    async fn snapshot(&mut self) -> Option<Event> {
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
                let view = View {
                    snapshot: &snapshot,
                    grants: self.app.permissions(self.session),
                };
                Some(Event::new(snapshot.version, "snapshot", &view))
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

/// One more open stream, for as long as this lives.
struct Open(IntGauge);

impl Open {
    fn count(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
