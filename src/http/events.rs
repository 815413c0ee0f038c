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
use super::hub::Entry;
use super::problem::Problem;
use super::reader::{Reader, Told};
use crate::engine::event::Snapshot;

/// A comment goes out after this long without an event: proxies close connections that
/// are silent for a minute, and a reader that is gone is noticed by writing to it.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(15);
pub(super) const PING: &[u8] = b": ping\n\n";

/// Longest that a poll may wait, in seconds; below what proxies allow.
const MAX_POLL_SECONDS: u64 = 25;

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
            Ok(told) => Bytes::from(list(&reader, told?, Event::frame).concat()),
            Err(_) => Bytes::from_static(PING),
        };
        Some((Ok::<_, Infallible>(frame), (reader, open)))
    });
    Ok((EVENT_STREAM, Body::from_stream(frames)).into_response())
}

/// The headers of a stream: nothing between us and its reader is to keep it, or hold it back.
pub(super) const EVENT_STREAM: [(HeaderName, HeaderValue); 3] = [
    (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    ),
];

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
    let told = reader.next_within(wait).await;
    let list = told.map_or_else(Vec::new, |told| list(&reader, told, Event::json));
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, format!("{{\"events\":[{}]}}", list.join(","))).into_response())
}

/// What a reader was told, as it goes out.
fn list(reader: &Reader, told: Told, form: fn(&Event) -> String) -> Vec<String> {
    match told {
        Told::Snapshot(snapshot) => {
            let view = View {
                snapshot: &snapshot,
                grants: reader.app.permissions(reader.session),
            };
            vec![form(&Event::new(snapshot.version, "snapshot", &view))]
        }
        Told::Changes(entries) => {
            let event =
                |entry: &Entry| Event::new(entry.version, entry.change.name(), &*entry.change);
            entries.iter().map(|entry| form(&event(entry))).collect()
        }
    }
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

/// One more open stream, for as long as this lives.
pub(super) struct Open(IntGauge);

impl Open {
    pub(super) fn count(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
