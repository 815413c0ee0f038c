//! The whole server on ports of its own, and a client that says what it hears.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use plenum::engine::{Certificate, Limits};
use plenum::http::{Hub, Server, Settings};
use plenum::metrics::{LostLines, Metrics, Reading};
use plenum::net::{MediaSocket, StreamLimits, Streams};
use plenum::shard::{EventSink, Shards, ShardsConfig, Sockets};
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};

/// The type of offers and answers.
pub(crate) const SDP: (&str, &str) = ("content-type", "application/sdp");
/// The type of trickle fragments.
pub(crate) const FRAGMENT: (&str, &str) = ("content-type", "application/trickle-ice-sdpfrag");
/// The type of wishes.
pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");

/// How long the end of all sessions may take on loopback.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

/// A running server.
pub(crate) struct World {
    shards: Shards,
    server: Option<Server>,
    client: reqwest::Client,
    base: String,
    operator: String,
    tcp: Option<SocketAddr>,
}

/// An answer with its whole body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A server with other settings than usual.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::with_limits(change, Limits::default()).await
    }

    pub(crate) async fn with_limits(change: impl FnOnce(&mut Settings), limits: Limits) -> Self {
        Self::build(change, limits, None).await
    }

    /// A server that takes connections with media, too, of this many.
    pub(crate) async fn with_tcp(limits: StreamLimits) -> Self {
        Self::build(|_| {}, Limits::default(), Some(limits)).await
    }

    async fn build(
        change: impl FnOnce(&mut Settings),
        limits: Limits,
        tcp: Option<StreamLimits>,
    ) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut settings = Settings {
            http_listen: any,
            operator_listen: any,
            ..Settings::default()
        };
        change(&mut settings);
        let socket = MediaSocket::bind(any).expect("loopback has free ports");
        let streams = tcp.map(|limits| Streams::bind(Some(any), limits).expect("free ports"));
        let tcp = streams.as_ref().and_then(Streams::local_addr);
        let config = ShardsConfig {
            shards: NonZeroU16::MIN,
            advertised: vec![socket.local_addr()],
            advertised_tcp: tcp.into_iter().collect(),
            limits,
        };
        let hub = Arc::<Hub>::default();
        let events: Arc<dyn EventSink> = hub.clone();
        let sockets = Sockets {
            streams,
            ..Sockets::from(socket)
        };
        let shards = Shards::start(&config, sockets, &Certificate::generate(), &events)
            .expect("threads can be started");
        let metrics = Arc::new(Metrics::new());
        let read = shards.clone();
        metrics.set_source(Box::new(move || {
            let lost = LostLines::default();
            Reading::of(&read, lost, &Arc::default(), &Arc::default())
        }));
        let engines = Arc::new(shards.clone());
        let server = Server::start(settings, engines, hub, metrics, None)
            .await
            .expect("loopback has free ports");
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client");
        Self {
            shards,
            client,
            base: format!("http://{}", server.local_addr()),
            operator: format!("http://{}", server.operator_addr()),
            server: Some(server),
            tcp,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.as_ref().expect("it runs").local_addr()
    }

    /// Where it takes connections with media.
    pub(crate) fn tcp_address(&self) -> SocketAddr {
        self.tcp.expect("it takes some")
    }

    /// The server takes no more sessions.
    pub(crate) fn drain(&self) {
        self.server
            .as_ref()
            .expect("it runs")
            .drain(Duration::from_secs(60));
    }

    /// Every session is told that the server goes, as `main` does it.
    pub(crate) fn shut_engines_down(&self) {
        self.shards.shutdown(SHUTDOWN_PATIENCE);
    }

    /// One request; a path below the server's root, or an absolute URL.
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> reqwest::RequestBuilder {
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}{path}", self.base)
        };
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.client.request(method, url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let response = self.request(method, path, headers, body).send().await;
        let response = response.expect("the server answers");
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.text().await.expect("answers are text"),
        }
    }

    pub(crate) async fn ask(&self, method: &str, path: &str) -> Answer {
        self.send(method, path, &[], "").await
    }

    /// Posts an offer.
    pub(crate) async fn post(&self, door: &str, offer: impl Into<String>) -> Answer {
        self.send("POST", door, &[SDP], offer.into()).await
    }

    /// Posts an offer that is taken.
    pub(crate) async fn join(&self, door: &str, offer: impl Into<String>) -> Answer {
        let answer = self.post(door, offer).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer
    }

    /// Waits until a session is gone: whose client hears of it may ask before HTTP has heard.
    pub(crate) async fn forgets(&self, session: &str) {
        let mut answer = self.ask("GET", session).await;
        for _ in 0..500 {
            if answer.status == 404 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            answer = self.ask("GET", session).await;
        }
        answer.is(404, "no-such-session");
    }

    /// How many sessions the server has, as an operator sees it.
    pub(crate) async fn sessions(&self) -> u64 {
        self.metric("plenum_sessions").await
    }

    /// How many requests were over a limit, as an operator sees it.
    pub(crate) async fn refusals(&self, limit: &str) -> u64 {
        let name = format!("plenum_http_refusals_total{{limit=\"{limit}\"}}");
        self.metric(&name).await
    }

    /// Waits until so many requests were over a limit: a head is counted once it is answered.
    pub(crate) async fn refused(&self, limit: &str, count: u64) {
        let counted = async {
            while self.refusals(limit).await < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let patience = Duration::from_secs(5);
        let seen = tokio::time::timeout(patience, counted).await;
        seen.unwrap_or_else(|_| panic!("fewer than {count} over {limit}"));
    }

    /// How many things were thrown away, as an operator sees it.
    pub(crate) async fn drops(&self, reason: &str) -> u64 {
        let name = format!("plenum_drops_total{{reason=\"{reason}\"}}");
        self.metric(&name).await
    }

    /// Waits until there are so many connections with media.
    pub(crate) async fn tcp_connections(&self, count: u64) {
        let counted = async {
            while self.metric("plenum_tcp_connections").await != count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let seen = tokio::time::timeout(SHUTDOWN_PATIENCE, counted).await;
        seen.unwrap_or_else(|_| panic!("there are not {count} connections"));
    }

    /// A number that is exported.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let url = format!("{}/metrics", self.operator);
        let text = self.send("GET", &url, &[], "").await.body;
        let value = text.lines().find_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.strip_prefix(' ')
        });
        let value = value.unwrap_or_else(|| panic!("{name} is not exported"));
        value.parse().expect("a number")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shards.shutdown(SHUTDOWN_PATIENCE);
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .unwrap_or_else(|| panic!("no {name} in {self:?}"))
            .to_str()
            .expect("ASCII")
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers.contains_key(name)
    }

    /// The session's path.
    pub(crate) fn session(&self) -> &str {
        self.header("location")
    }

    /// The last part of the problem's type; the document must be whole.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let document: serde_json::Value =
            serde_json::from_str(&self.body).expect("a JSON document");
        assert_eq!(document["status"], self.status, "{document}");
        let status = StatusCode::from_u16(self.status).expect("a status");
        assert!(document["title"].is_string(), "{status}: {document}");
        assert!(document["detail"].is_string(), "{status}: {document}");
        let kind = document["type"].as_str().expect("a type");
        kind.strip_prefix("urn:plenum:problem:")
            .expect("our namespace")
            .to_owned()
    }

    /// Asserts that this is a refusal with this status and problem.
    #[track_caller]
    pub(crate) fn is(&self, status: u16, problem: &str) -> &Self {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.problem(), problem, "{self:?}");
        self
    }

    /// The answer's lines that begin so.
    pub(crate) fn lines(&self, start: &str) -> Vec<&str> {
        let lines = self.body.lines();
        lines.filter(|line| line.starts_with(start)).collect()
    }
}

/// A stream of server-sent events that is read as it comes.
pub(crate) struct Stream {
    response: reqwest::Response,
    text: String,
}

impl Stream {
    pub(crate) async fn open(world: &World, path: &str) -> Self {
        let response = world.request("GET", path, &[], "").send().await;
        let response = response.expect("it answers");
        assert_eq!(response.status().as_u16(), 200);
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-store"),
            ("x-accel-buffering", "no"),
        ] {
            assert_eq!(response.headers()[name], value);
        }
        let text = String::new();
        Self { response, text }
    }

    /// Waits until all that came so far satisfies somebody.
    pub(crate) async fn until(&mut self, done: impl Fn(&str) -> bool) -> &str {
        let patience = Duration::from_secs(20);
        while !done(&self.text) {
            let chunk = tokio::time::timeout(patience, self.response.chunk()).await;
            let chunk = chunk.unwrap_or_else(|_| panic!("only {:?}", self.text));
            let chunk = chunk.expect("it is open");
            let chunk = chunk.unwrap_or_else(|| panic!("ended after {:?}", self.text));
            self.text += std::str::from_utf8(&chunk).expect("text");
        }
        &self.text
    }

    /// All that came and comes until the server ends it.
    pub(crate) async fn remainder(mut self) -> String {
        while let Some(chunk) = self.response.chunk().await.expect("it is open") {
            self.text += std::str::from_utf8(&chunk).expect("text");
        }
        self.text
    }
}
