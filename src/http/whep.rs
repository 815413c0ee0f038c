//! The extensions of WHEP: streams of events, and the choice of a layer (the `events` draft of
//! draft-ietf-wish-whep).
//!
//! A stream is made by `POST` with the types that it is to tell, and read by its URL, which is a
//! capability as that of `urn:plenum:events` is: it begins with the session's and ends with it.
//! Nothing is queued for a stream that nobody reads: whoever reads it next hears how things are.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{HeaderValue, LOCATION};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::App;
use super::body::{json_text, optional_json_text};
use super::events::{EVENT_STREAM, Open, PING, PING_INTERVAL};
use super::owned::Owned;
use super::players::{EventStream, EventType, Player};
use super::problem::{Problem, unexpected_reply};
use super::reader::{Reader, Told};
use super::wish::parse;
use crate::engine::command::{Binding, Command, LayerLimit, Reply};
use crate::engine::event::{Change, LayerInfo, SlotLayers};
use crate::engine::ids::SessionId;

/// How often viewers are counted: they come and go by the hundred where a broadcast begins.
const COUNT_INTERVAL: Duration = Duration::from_secs(2);

/// The links of a player's session.
pub(super) fn links(session: &str) -> [String; 2] {
    let events = EventType::NAMES;
    [
        format!(
            "<{session}/sse>; rel=\"urn:ietf:params:whep:ext:core:server-sent-events\"; \
             events=\"{events}\""
        ),
        format!("<{session}/layer>; rel=\"urn:ietf:params:whep:ext:core:layer\""),
    ]
}

/// `POST sse`: makes a stream of the types in the body, or of all without one.
pub(super) async fn make_stream(owned: Owned, body: Body) -> Result<Response, Problem> {
    let player = owned.player()?;
    let text = optional_json_text(&owned.headers, body, owned.app.body_limit()).await?;
    let wanted: BTreeSet<EventType> = match text {
        Some(text) => serde_json::from_str(&text).map_err(|_| {
            let names = EventType::NAMES;
            Problem::bad_request(format!("The body is a list of these: {names}."))
        })?,
        None => EventType::ALL.into(),
    };
    let most = owned.app.settings.streams_per_session as usize;
    let (number, oldest) = player.add_stream(wanted, most);
    let session = owned.session;
    if let Some(oldest) = oldest {
        owned.app.metrics.count_refusal("streams");
        owned.app.end_stream(session, &oldest);
    }
    let location = format!("/sessions/{session}/sse/{number}");
    let location = owned.app.url(&location);
    let location = HeaderValue::try_from(location).map_err(|_| unexpected_reply())?;
    Ok((StatusCode::CREATED, [(LOCATION, location)]).into_response())
}

/// `DELETE` of a stream: who reads it hears no more.
pub(super) async fn end_stream(
    owned: Owned,
    Path((_, number)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let player = owned.player()?;
    let number = number.parse().ok();
    let ended = number.and_then(|number| player.remove_stream(number));
    let ended = ended.ok_or_else(no_such_stream)?;
    owned.app.end_stream(owned.session, &ended);
    Ok(StatusCode::OK)
}

/// `GET` of a stream.
pub(super) async fn read_stream(
    State(app): State<Arc<App>>,
    Path((id, number)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (session, _) = app.find(&id)?;
    let player = app.player(session)?;
    let number = number.parse().ok();
    let kept = number.and_then(|number| player.stream(number));
    let kept = kept.ok_or_else(no_such_stream)?;
    let reader = Reader::attach(Arc::clone(&app), &id, None)?;
    // Who comes back takes over from the connection that broke.
    if let Some(former) = kept.read_by(Some(reader.number())) {
        app.hub.dismiss(session, former);
    }
    let open = Open::count(app.metrics.event_streams());
    let teller = Teller::new(reader, player, kept);
    let frames = stream::unfold((teller, open), |(mut teller, open)| async move {
        let frame = teller.next().await?;
        Some((Ok::<_, Infallible>(frame), (teller, open)))
    });
    Ok((EVENT_STREAM, Body::from_stream(frames)).into_response())
}

fn no_such_stream() -> Problem {
    Problem::not_found("There is no such stream.")
}

impl Owned {
    fn player(&self) -> Result<Arc<Player>, Problem> {
        self.app.player(self.session)
    }
}

impl App {
    /// What is kept of a session, if it is a player's.
    fn player(&self, session: SessionId) -> Result<Arc<Player>, Problem> {
        let player = self.hub.player(session);
        player.ok_or_else(|| Problem::not_found("Only players have this."))
    }

    fn end_stream(&self, session: SessionId, stream: &EventStream) {
        if let Some(reader) = stream.read_by(None) {
            self.hub.dismiss(session, reader);
        }
    }
}

/// Turns what a room tells a session into what WHEP has words for.
struct Teller {
    reader: Reader,
    player: Arc<Player>,
    stream: Arc<EventStream>,
    /// What the slots show, by MID.
    shown: BTreeMap<String, bool>,
    layers: BTreeMap<String, SlotLayers>,
    /// The last number of viewers that was told.
    audience: Option<u32>,
    count: Interval,
    ping: Interval,
}

impl Teller {
    fn new(reader: Reader, player: Arc<Player>, stream: Arc<EventStream>) -> Self {
        let mut count = interval(COUNT_INTERVAL);
        count.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick of an interval is now.
        let mut ping = interval(PING_INTERVAL);
        ping.reset();
        Self {
            reader,
            player,
            stream,
            shown: BTreeMap::new(),
            layers: BTreeMap::new(),
            audience: None,
            count,
            ping,
        }
    }

    /// The next frame; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let counts = self.stream.wants(EventType::ViewerCount);
            let mut frame = String::new();
            tokio::select! {
                told = self.reader.next() => self.tell(told?, &mut frame).await,
                _ = self.count.tick(), if counts => self.tell_audience(&mut frame),
                _ = self.ping.tick() => return Some(Bytes::from_static(PING)),
            }
            if !frame.is_empty() {
                self.ping.reset();
                return Some(frame.into());
            }
        }
    }

    async fn tell(&mut self, told: Told, frame: &mut String) {
        let mut shows_another = false;
        match told {
            Told::Snapshot(snapshot) => {
                self.shown.clear();
                snapshot
                    .bindings
                    .iter()
                    .for_each(|binding| self.show(binding));
                shows_another = true;
                self.tell_activity(frame);
            }
            Told::Changes(entries) => {
                for entry in entries {
                    match &*entry.change {
                        Change::Binding(binding) => {
                            self.show(binding);
                            shows_another = true;
                            self.tell_activity(frame);
                        }
                        Change::Layers(layers) => {
                            self.layers.insert(layers.mid.clone(), layers.clone());
                            self.tell_layers(frame);
                        }
                        Change::Reconnect { url } => {
                            self.push(EventType::Reconnect, &Reconnect { url }, frame);
                        }
                        _ => {}
                    }
                }
            }
        }
        if shows_another && self.stream.wants(EventType::Layers) {
            self.ask_layers(frame).await;
        }
    }

    fn show(&mut self, binding: &Binding) {
        let shows = binding.track.is_some();
        self.shown.insert(binding.mid.clone(), shows);
        self.layers.remove(&binding.mid);
    }

    /// Never begins with `inactive`: a stream is told of the end of what it was told of only.
    fn tell_activity(&self, frame: &mut String) {
        let active = self.shown.values().any(|shows| *shows);
        if self.stream.is_news(active) {
            let event = if active {
                EventType::Active
            } else {
                EventType::Inactive
            };
            self.push(event, &serde_json::json!({}), frame);
        }
    }

    /// Asks what a slot's new track has: the engine tells only what changes from now on.
    async fn ask_layers(&mut self, frame: &mut String) {
        let session = self.reader.session;
        let app = Arc::clone(&self.reader.app);
        let Some(shard) = app.hub.shard_of(session) else {
            return;
        };
        // Who is too busy to say tells it with the next change.
        if let Ok(Reply::Layers(shown)) = app.command(shard, Command::Layers { session }).await {
            let layers = shown.into_iter().map(|it| (it.mid.clone(), it));
            self.layers = layers.collect();
            self.tell_layers(frame);
        }
    }

    fn tell_layers(&self, frame: &mut String) {
        let layers: BTreeMap<usize, Vec<Layer<'_>>> = self
            .layers
            .values()
            .filter(|it| !it.layers.is_empty())
            .filter_map(|it| {
                let index = self.player.index_of(&it.mid)?;
                Some((index, it.layers.iter().map(Layer::from).collect()))
            })
            .collect();
        if !layers.is_empty() {
            self.push(EventType::Layers, &layers, frame);
        }
    }

    fn tell_audience(&mut self, frame: &mut String) {
        let audience = self.player.audience();
        if self.audience.replace(audience) != Some(audience) {
            let data = serde_json::json!({ "viewercount": audience });
            self.push(EventType::ViewerCount, &data, frame);
        }
    }

    /// One event, if it is among those that were asked for.
    fn push(&self, event: EventType, data: &impl Serialize, frame: &mut String) {
        if self.stream.wants(event) {
            let data = serde_json::to_string(data).expect("events have no keys but strings");
            frame.push_str(&format!("event: {}\ndata: {data}\n\n", event.name()));
        }
    }
}

/// The data of `reconnect`: the same door again where no other is named.
#[derive(Serialize)]
struct Reconnect<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    url: &'a Option<String>,
}

/// A layer in the event `layers`. The draft wants at least one of the first three.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Layer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    rid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spatial_layer_id: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temporal_layer_id: Option<u8>,
    bitrate: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u16>,
}

impl<'a> From<&'a LayerInfo> for Layer<'a> {
    fn from(layer: &'a LayerInfo) -> Self {
        let has_no_name = layer.rid.is_none() && layer.temporal.is_none();
        Self {
            rid: layer.rid.as_deref(),
            spatial_layer_id: layer.spatial.or(has_no_name.then_some(0)),
            temporal_layer_id: layer.temporal,
            bitrate: if layer.active { layer.bitrate } else { 0 },
            width: layer.width,
            height: layer.height,
        }
    }
}

/// The body of `POST layer`. What is not named is not limited.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayerBody {
    media_id: Option<MediaId>,
    /// Earlier drafts, and players after them, call it `encodingId`.
    #[serde(alias = "encodingId")]
    rid: Option<String>,
    spatial_layer_id: Option<u8>,
    temporal_layer_id: Option<u8>,
    max_spatial_layer_id: Option<u8>,
    max_temporal_layer_id: Option<u8>,
    max_width: Option<u32>,
    max_height: Option<u32>,
}

/// Where an m-line stands: a number, which the draft has in a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum MediaId {
    Number(usize),
    Text(String),
}

/// `POST layer`: what an m-line shows at most, until the next such request.
pub(super) async fn choose_layer(owned: Owned, body: Body) -> Result<StatusCode, Problem> {
    let player = owned.player()?;
    let text = json_text(&owned.headers, body, owned.app.body_limit()).await?;
    let body: LayerBody = parse(&text)?;
    let no_such_line = || Problem::not_found("There is no such m-line.");
    let index = match &body.media_id {
        Some(MediaId::Number(index)) => Some(*index),
        Some(MediaId::Text(text)) => Some(text.parse().map_err(|_| no_such_line())?),
        None => None,
    };
    let command = Command::LimitLayer {
        session: owned.session,
        mid: player.mid_at(index).ok_or_else(no_such_line)?,
        limit: body.into(),
    };
    owned.command(command).await?;
    Ok(StatusCode::OK)
}

impl From<LayerBody> for LayerLimit {
    fn from(body: LayerBody) -> Self {
        Self {
            rid: body.rid,
            spatial: body.spatial_layer_id,
            temporal: body.temporal_layer_id,
            max_spatial: body.max_spatial_layer_id,
            max_temporal: body.max_temporal_layer_id,
            max_width: body.max_width,
            max_height: body.max_height,
            max_bitrate_bps: None,
        }
    }
}
