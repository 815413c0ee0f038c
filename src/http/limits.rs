//! How much one client may ask for: requests per second, sessions, and messages.
//!
//! Clients are told apart by address (IPv6: by /64, which is what one customer has). Loopback is
//! exempt, because a reverse proxy without `X-Forwarded-For` makes everybody look local.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use dashmap::DashMap;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::App;
use super::problem::{Problem, jittered_seconds};
use super::settings::Settings;
use crate::engine::ids::{ParticipantId, RoomId, SessionId};

/// How many seconds' worth of messages may come at once: the candidates of a connection between
/// two browsers do.
const MESSAGE_BURST: u32 = 5;

/// The client's address, as far as it can be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Client(pub(super) IpAddr);

/// What clients have used up.
pub(super) struct Limits {
    /// One bucket per address; `None` where no rate is set.
    requests: Option<DefaultKeyedRateLimiter<IpAddr>>,
    /// One bucket per session; `None` where no rate is set.
    messages: Option<DefaultKeyedRateLimiter<SessionId>>,
    sessions: Arc<DashMap<Holder, u32>>,
    sessions_per_address: u32,
    sessions_per_identity: u32,
}

/// Whose sessions are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Holder {
    Address(IpAddr),
    Identity(RoomId, ParticipantId),
}

impl Limits {
    pub(super) fn new(settings: &Settings) -> Self {
        let requests = NonZeroU32::new(settings.http_rate).map(|rate| {
            let burst = NonZeroU32::new(settings.http_burst).unwrap_or(NonZeroU32::MIN);
            RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst))
        });
        let messages = NonZeroU32::new(settings.message_rate).map(|rate| {
            let burst = rate.saturating_mul(NonZeroU32::new(MESSAGE_BURST).expect("not zero"));
            RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst))
        });
        Self {
            requests,
            messages,
            sessions: Arc::default(),
            sessions_per_address: settings.sessions_per_address,
            sessions_per_identity: settings.sessions_per_identity,
        }
    }

    /// Counts one request; an error says how many seconds to wait.
    fn take_request(&self, client: Client) -> Result<(), u64> {
        let (Some(requests), Some(key)) = (&self.requests, key(client.0)) else {
            return Ok(());
        };
        requests.check_key(&key).map_err(|refused| {
            let wait = refused.wait_time_from(DefaultClock::default().now());
            wait.as_secs() + jittered_seconds(1, 2)
        })
    }

    /// Counts one message of a session.
    pub(super) fn take_message(&self, session: SessionId) -> Result<(), Problem> {
        let Some(messages) = &self.messages else {
            return Ok(());
        };
        messages.check_key(&session).map_err(|refused| {
            let wait = refused.wait_time_from(DefaultClock::default().now());
            let detail = "This session sends messages too fast.";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-fast", detail)
                .retry_after(wait.as_secs() + jittered_seconds(1, 2))
        })
    }

    /// A place for one more session of this client, if it may have one. `Ok(None)` is
    /// a client that is not counted.
    pub(super) fn take_session(&self, client: Client) -> Result<Option<SessionSlot>, Problem> {
        let holder = key(client.0).map(Holder::Address);
        self.take(holder, self.sessions_per_address, "An address")
    }

    /// A place for one more session of somebody in a room, by their token.
    pub(super) fn take_identity(
        &self,
        room: &RoomId,
        identity: &ParticipantId,
    ) -> Result<Option<SessionSlot>, Problem> {
        let holder = Holder::Identity(room.clone(), identity.clone());
        self.take(Some(holder), self.sessions_per_identity, "An identity")
    }

    fn take(
        &self,
        holder: Option<Holder>,
        limit: u32,
        who: &str,
    ) -> Result<Option<SessionSlot>, Problem> {
        let Some(holder) = holder.filter(|_| limit > 0) else {
            return Ok(None);
        };
        let mut count = self.sessions.entry(holder.clone()).or_insert(0);
        if *count >= limit {
            let detail = format!("{who} has at most {limit} sessions.");
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-sessions", detail);
            return Err(problem.retry_after(jittered_seconds(10, 30)));
        }
        *count += 1;
        Ok(Some(SessionSlot {
            holder,
            counts: Arc::clone(&self.sessions),
        }))
    }

    /// Forgets addresses and sessions whose bucket is full again.
    pub(super) fn forget_idle(&self) {
        if let Some(requests) = &self.requests {
            requests.retain_recent();
            requests.shrink_to_fit();
        }
        if let Some(messages) = &self.messages {
            messages.retain_recent();
            messages.shrink_to_fit();
        }
    }
}

/// One session's place among those of its address or identity; given back when dropped.
#[derive(Debug)]
pub(super) struct SessionSlot {
    holder: Holder,
    counts: Arc<DashMap<Holder, u32>>,
}

impl Drop for SessionSlot {
    fn drop(&mut self) {
        self.counts.remove_if_mut(&self.holder, |_, count| {
            *count -= 1;
            *count == 0
        });
    }
}

/// What an address is counted as; `None` where it is not.
fn key(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V4(address) => Some(IpAddr::V4(address)),
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            Some(IpAddr::V6(Ipv6Addr::from_bits(network)))
        }
    }
}

/// Middleware: finds out who asks, and refuses what comes too fast, or with too large a head. Reading
/// and leaving are always allowed.
pub(super) async fn limit_requests(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let client = client_of(&request, &app.settings.trusted_proxies);
    request.extensions_mut().insert(client);
    let most = app.settings.head_bytes;
    if head_bytes(&request) > most as usize {
        let detail = format!("A request's head has at most {most} bytes.");
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Problem::new(status, "head-too-large", detail).into_response();
    }
    if matches!(
        *request.method(),
        Method::POST | Method::PUT | Method::PATCH
    ) && let Err(seconds) = app.limits.take_request(client)
    {
        app.metrics.count_refusal("rate");
        let detail = "This address sends requests too fast.";
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-fast", detail);
        return problem.retry_after(seconds).into_response();
    }
    next.run(request).await
}

/// The size of a head, as HTTP/2 counts it (RFC 9113 §6.5.2), whatever brought it here.
fn head_bytes(request: &Request) -> usize {
    let target = request.uri().path_and_query();
    let target = target.map_or(0, |target| target.as_str().len());
    let fields = request.headers().iter();
    target
        + fields
            .map(|(name, value)| name.as_str().len() + value.len() + 32)
            .sum::<usize>()
}

/// The peer's address, or what a trusted proxy says that it is.
fn client_of(request: &Request, trusted: &[IpAddr]) -> Client {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let mut address = peer
        .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.0.ip())
        .to_canonical();
    if trusted.contains(&address) {
        // The last one that is not a proxy of ours: what stands before it anybody can write.
        for forwarded in forwarded_for(request.headers()).rev() {
            address = forwarded;
            if !trusted.contains(&address) {
                break;
            }
        }
    }
    Client(address)
}

/// The addresses of `X-Forwarded-For`, in order.
fn forwarded_for(headers: &HeaderMap) -> impl DoubleEndedIterator<Item = IpAddr> {
    headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|address| address.trim().parse::<IpAddr>().ok())
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn client(address: &str) -> Client {
        Client(address.parse().expect("an address"))
    }

    #[test]
    fn an_address_that_is_too_fast_hears_when_to_come_back_and_others_do_not() {
        let limits = Limits::new(&Settings {
            http_rate: 1,
            http_burst: 3,
            ..Settings::default()
        });
        for _ in 0..3 {
            assert_eq!(limits.take_request(client("192.0.2.1")), Ok(()));
        }
        let seconds = limits
            .take_request(client("192.0.2.1"))
            .expect_err("the fourth is too much");
        assert!((1..=4).contains(&seconds), "{seconds}");
        assert_eq!(limits.take_request(client("192.0.2.2")), Ok(()));
    }

    #[test]
    fn one_customer_has_one_bucket_in_ipv6_and_loopback_has_none() {
        assert_eq!(
            key(client("2001:db8::1").0),
            key(client("2001:db8::ffff:1").0)
        );
        assert_ne!(
            key(client("2001:db8::1").0),
            key(client("2001:db8:0:1::1").0)
        );
        assert_eq!(
            key(client("::ffff:192.0.2.1").0),
            key(client("192.0.2.1").0)
        );
        assert_eq!(key(client("127.0.0.1").0), None);
        assert_eq!(key(client("::1").0), None);
    }

    #[test]
    fn a_session_that_ends_makes_room_for_another() {
        let limits = Limits::new(&Settings {
            sessions_per_address: 1,
            ..Settings::default()
        });
        let slot = limits.take_session(client("192.0.2.1")).expect("the first");
        assert!(limits.take_session(client("192.0.2.1")).is_err());
        drop(slot);
        assert!(limits.take_session(client("192.0.2.1")).is_ok());
        assert!(
            limits.sessions.is_empty(),
            "addresses without sessions are forgotten"
        );
    }

    #[test]
    fn only_a_trusted_proxy_may_say_who_the_client_is() {
        let ask = |peer: &str, trusted: &[IpAddr]| {
            let peer: SocketAddr = peer.parse().expect("an address");
            let mut request = Request::new(Body::empty());
            request.headers_mut().insert(
                "x-forwarded-for",
                "203.0.113.9, 198.51.100.7, 10.0.0.2"
                    .parse()
                    .expect("a header"),
            );
            request.extensions_mut().insert(ConnectInfo(peer));
            client_of(&request, trusted)
        };
        let proxies = [client("10.0.0.1").0, client("10.0.0.2").0];
        assert_eq!(ask("10.0.0.1:1", &[]), client("10.0.0.1"));
        assert_eq!(ask("192.0.2.1:1", &proxies), client("192.0.2.1"));
        assert_eq!(ask("10.0.0.1:1", &proxies), client("198.51.100.7"));
    }
}
