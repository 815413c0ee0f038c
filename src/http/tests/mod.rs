//! The interface as its clients see it, in front of engines that say what a test wants.

mod api;
mod doors;
mod events;
mod messages;
mod resume;
mod sessions;
mod sockets;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use http_body_util::BodyExt;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;
use tower::ServiceExt;

use super::{App, CommandFuture, Engines, Hub, Refusal, Settings, router};
use crate::engine::administration::{RoomCommand, RoomDetail, RoomSettings, RoomSummary};
use crate::engine::command::{Command, CommandError, Joined, Reply};
use crate::engine::event::{RoomState, Snapshot};
use crate::engine::ids::{ParticipantId, RoomId, SessionId};
use crate::engine::message::Json;
use crate::metrics::Metrics;

/// The answer of the scripted engines.
const ANSWER: &str = "v=0\r\n";

/// Engines that answer as told, else as if all were well.
struct Scripted {
    replies: Mutex<VecDeque<Result<Reply, Refusal>>>,
    heard: Mutex<Vec<(usize, Command)>>,
    rng: Mutex<StdRng>,
    snapshot: Mutex<Snapshot>,
    awake: Mutex<Duration>,
}

impl Default for Scripted {
    fn default() -> Self {
        Self {
            replies: Mutex::default(),
            heard: Mutex::default(),
            rng: Mutex::new(StdRng::seed_from_u64(1)),
            snapshot: Mutex::new(Snapshot {
                version: 0,
                room: name("demo"),
                me: name("me"),
                participants: Vec::new(),
                tracks: Vec::new(),
                bindings: Vec::new(),
                paused: Vec::new(),
                speaker: None,
                state: RoomState {
                    locked: false,
                    metadata: Json::empty_object(),
                },
                messages: Vec::new(),
                layers_wanted: Vec::new(),
            }),
            awake: Mutex::default(),
        }
    }
}

impl Scripted {
    fn usual_reply(&self, command: &Command) -> Reply {
        match command {
            Command::Join(_) => Reply::Joined(Joined {
                session: SessionId::random(&mut *self.rng.lock().expect("no test panics here")),
                participant: name("Zoë"),
                answer: ANSWER.to_owned(),
                ice_tag: "i1".to_owned(),
                sdp_tag: "d1".to_owned(),
                subscriptions_tag: "s1".to_owned(),
            }),
            Command::Describe { .. } => Reply::Reoffered {
                answer: ANSWER.to_owned(),
                ice_tag: "i1".to_owned(),
                sdp_tag: "d2".to_owned(),
            },
            Command::Subscribe { .. } => Reply::Subscribed {
                bindings: Vec::new(),
                version: 12,
                subscriptions_tag: "s2".to_owned(),
            },
            Command::Snapshot { .. } => Reply::Snapshot(Box::new(
                self.snapshot.lock().expect("no test panics here").clone(),
            )),
            Command::Layers { .. } => Reply::Layers(Vec::new()),
            Command::Headroom(_) => Reply::VideoShare { percent: 100 },
            Command::Counters => Reply::Counters(Box::default()),
            Command::Overview => Reply::Overview(Vec::new()),
            Command::Inspect { .. } => Reply::Inspected(Vec::new()),
            Command::Recorded { .. } => Reply::Recorded(Vec::new()),
            Command::Say(_) => Reply::Said {
                id: "m1".to_owned(),
            },
            Command::Administer(RoomCommand::List) => Reply::Rooms(Vec::new()),
            Command::Administer(
                RoomCommand::Show { room } | RoomCommand::Configure { room, .. },
            ) => Reply::Room(Box::new(RoomDetail {
                name: room.clone(),
                participants: Vec::new(),
                state: RoomState {
                    locked: false,
                    metadata: Json::empty_object(),
                },
                created_ms: 1_790_000_000_000,
                max_participants: None,
                empty_timeout_s: 300,
            })),
            Command::Administer(_)
            | Command::Trickle { .. }
            | Command::SetAttributes { .. }
            | Command::LimitLayer { .. }
            | Command::Mute { .. }
            | Command::Leave { .. }
            | Command::Expel { .. }
            | Command::Record { .. }
            | Command::Drain
            | Command::Shutdown => Reply::Done,
        }
    }
}

impl Engines for Scripted {
    fn count(&self) -> usize {
        2
    }

    fn home(&self, room: &RoomId) -> usize {
        room.as_str().len() % 2
    }

    fn awake(&self, _: usize) -> Duration {
        *self.awake.lock().expect("no test panics here")
    }

    fn command(&self, shard: usize, command: Command) -> CommandFuture<'_> {
        let scripted = match command {
            // Scrapes come by themselves.
            Command::Counters => None,
            _ => self
                .replies
                .lock()
                .expect("no test panics here")
                .pop_front(),
        };
        let reply = scripted.unwrap_or_else(|| Ok(self.usual_reply(&command)));
        self.heard
            .lock()
            .expect("no test panics here")
            .push((shard, command));
        Box::pin(async { reply })
    }
}

/// A server without listeners, and its scripted engines.
struct World {
    app: Arc<App>,
    engines: Arc<Scripted>,
    hub: Arc<Hub>,
    client: SocketAddr,
}

/// An answer with its whole body.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl World {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let engines = Arc::new(Scripted::default());
        let hub = Arc::new(Hub::default());
        let metrics = Arc::new(Metrics::new());
        let app = App::new(
            settings,
            Arc::clone(&engines) as Arc<dyn Engines>,
            Arc::clone(&hub),
            metrics,
            None,
        )
        .expect("the settings' files can be used");
        let client = SocketAddr::from(([192, 0, 2, 1], 40_000));
        Self {
            app: Arc::new(app),
            engines,
            hub,
            client,
        }
    }

    /// The next command is answered so.
    fn script(&self, reply: Result<Reply, CommandError>) {
        let reply = reply.map_err(Refusal::Command);
        self.engines
            .replies
            .lock()
            .expect("no test panics here")
            .push_back(reply);
    }

    /// Sends a request; its body is left to be read.
    async fn open(&self, mut request: Request) -> Response {
        request.extensions_mut().insert(ConnectInfo(self.client));
        router::router(Arc::clone(&self.app))
            .oneshot(request)
            .await
            .expect("routers do not fail")
    }

    /// Sends a request and reads the whole answer.
    async fn send(&self, request: Request) -> Answer {
        let (parts, body) = self.open(request).await.into_parts();
        let body = body.collect().await.expect("bodies do not fail").to_bytes();
        let body = String::from_utf8(body.to_vec()).expect("answers are text");
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    async fn ask(&self, method: Method, path: &str) -> Answer {
        self.send(request(method, path, &[], "")).await
    }

    /// A session, by its path.
    async fn joined(&self) -> String {
        let answer = self.send(post("/rooms/demo/sessions")).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.header("location").to_owned()
    }

    /// The last command that an engine heard, and which.
    fn heard(&self) -> (usize, Command) {
        self.engines
            .heard
            .lock()
            .expect("no test panics here")
            .pop()
            .expect("a command was sent")
    }

    fn heard_nothing(&self) -> bool {
        self.engines
            .heard
            .lock()
            .expect("no test panics here")
            .is_empty()
    }
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let value = self
            .headers
            .get(name)
            .unwrap_or_else(|| panic!("no {name} in {self:?}"));
        value.to_str().expect("ASCII")
    }

    /// The last part of the problem's type; every error must have one.
    fn problem(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        assert_eq!(self.header("access-control-allow-origin"), "*");
        let document: Value = serde_json::from_str(&self.body).expect("a JSON document");
        assert_eq!(document["status"], self.status.as_u16());
        assert!(
            document["title"].is_string() && document["detail"].is_string(),
            "{document}"
        );
        let kind = document["type"].as_str().expect("a type");
        kind.strip_prefix("urn:plenum:problem:")
            .expect("our namespace")
            .to_owned()
    }
}

fn request(method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Request {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
        .body(Body::from(body.to_owned()))
        .expect("a request")
}

/// An offer at a door.
fn post(path: &str) -> Request {
    post_with(path, &[])
}

fn post_with(path: &str, headers: &[(&str, &str)]) -> Request {
    let mut all = vec![("content-type", "application/sdp")];
    all.extend(headers);
    request(Method::POST, path, &all, "v=0\r\n")
}

fn name<T: std::str::FromStr<Err = crate::engine::ids::NameError>>(text: &str) -> T {
    text.parse().expect("a name")
}

/// The clock of a test that stops and starts it.
#[expect(clippy::disallowed_methods, reason = "it is not the real one")]
fn virtual_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

fn participant(text: &str) -> ParticipantId {
    name(text)
}
