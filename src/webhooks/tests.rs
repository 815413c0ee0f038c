use std::sync::Mutex;

use aws_lc_rs::hmac;
use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::LOCATION;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use tokio::net::TcpListener;

use super::*;
use crate::engine::event::ParticipantInfo;
use crate::engine::notice::News;

/// Far longer than loopback takes.
const LOST_AFTER: Duration = Duration::from_secs(10);

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What a receiver was sent.
#[derive(Clone)]
struct Received {
    path: String,
    headers: HeaderMap,
    body: String,
}

type Inbox = Arc<Mutex<Vec<Received>>>;

/// Somebody who receives webhooks, and answers with what is in `answers`, then with 204.
async fn receiver(answers: &[u16]) -> (u16, Inbox) {
    let answers: Vec<StatusCode> = answers
        .iter()
        .map(|status| StatusCode::from_u16(*status).unwrap())
        .collect();
    let inbox = Inbox::default();
    let seen = Arc::clone(&inbox);
    let answer = move |request: Request| async move {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let mut seen = seen.lock().unwrap();
        let status = answers.get(seen.len()).copied();
        seen.push(Received {
            path: head.uri.path().to_owned(),
            headers: head.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        });
        let status = status.unwrap_or(StatusCode::NO_CONTENT);
        (status, [(LOCATION, "/elsewhere")]).into_response()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    (port, inbox)
}

struct NobodyElse;

impl EventSink for NobodyElse {
    fn publish(&self, _: SessionEvent) {}
}

fn webhooks(host: &str, port: u16, private: bool) -> (Webhooks, Arc<dyn EventSink>) {
    let settings = Settings {
        urls: vec![format!("http://{host}:{port}/hook").parse().unwrap()],
        webhook_secret: Some(SECRET.parse().unwrap()),
        webhook_private: private,
    };
    // One after the other as fast as they come: what is tested is what happens, not when.
    let patience = Patience {
        attempts: 3,
        first_pause: Duration::from_millis(1),
    };
    Webhooks::with_patience(&settings, Arc::new(NobodyElse), patience).unwrap()
}

fn notice(news: News) -> Notice {
    Notice {
        news,
        room: "demo".parse().unwrap(),
        at_ms: 1_790_000_000_000,
    }
}

/// Waits until nothing waits any more.
async fn all_done(counters: &Counters) {
    let done = async {
        while counters.waiting.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LOST_AFTER, done).await.unwrap();
}

fn counted(counters: &Counters) -> [u64; 4] {
    let Counters {
        delivered,
        failed,
        dropped,
        retries,
        ..
    } = counters;
    [delivered, failed, dropped, retries].map(|count| count.load(Ordering::Relaxed))
}

#[tokio::test]
async fn what_happens_in_a_room_is_posted_in_order_and_signed() {
    let (port, inbox) = receiver(&[]).await;
    let (webhooks, sink) = webhooks("127.0.0.1", port, true);
    let counters = Arc::clone(webhooks.counters());
    sink.announce(notice(News::RoomStarted));
    let participant = ParticipantInfo::new("ada".parse().unwrap());
    sink.announce(notice(News::ParticipantJoined { participant }));
    let _running = webhooks.start();
    all_done(&counters).await;

    let inbox = inbox.lock().unwrap();
    assert_eq!(counted(&counters), [2, 0, 0, 0]);
    let bodies: Vec<serde_json::Value> = inbox
        .iter()
        .map(|received| serde_json::from_str(&received.body).unwrap())
        .collect();
    assert_eq!(bodies[0]["event"], "room-started");
    assert_eq!(bodies[1]["event"], "participant-joined");
    assert_eq!(bodies[1]["room"], "demo");
    assert_eq!(bodies[1]["at"], 1_790_000_000_000_u64);
    assert_eq!(bodies[1]["participant"]["id"], "ada");
    for (received, body) in inbox.iter().zip(&bodies) {
        let header = |name: &str| received.headers[name].to_str().unwrap();
        assert_eq!(body["id"], header("webhook-id"));
        let signed = [
            header("webhook-id"),
            header("webhook-timestamp"),
            &received.body,
        ]
        .join(".");
        let tag = header("webhook-signature").strip_prefix("v1,").unwrap();
        let secret = STANDARD.decode(&SECRET["whsec_".len()..]).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        hmac::verify(&key, signed.as_bytes(), &STANDARD.decode(tag).unwrap()).unwrap();
    }
}

#[tokio::test]
async fn an_event_is_posted_again_under_the_same_id_until_it_is_taken() {
    let (port, inbox) = receiver(&[500, 429]).await;
    let (webhooks, sink) = webhooks("127.0.0.1", port, true);
    let counters = Arc::clone(webhooks.counters());
    sink.announce(notice(News::RoomStarted));
    let _running = webhooks.start();
    all_done(&counters).await;

    assert_eq!(counted(&counters), [1, 0, 0, 2]);
    let inbox = inbox.lock().unwrap();
    assert_eq!(inbox.len(), 3);
    assert!(inbox.iter().all(|other| other.body == inbox[0].body));
}

#[tokio::test]
async fn a_redirect_leads_nowhere_and_the_next_event_follows() {
    let (port, inbox) = receiver(&[302, 307, 308]).await;
    let (webhooks, sink) = webhooks("127.0.0.1", port, true);
    let counters = Arc::clone(webhooks.counters());
    sink.announce(notice(News::RoomStarted));
    sink.announce(notice(News::RoomEnded));
    let _running = webhooks.start();
    all_done(&counters).await;

    assert_eq!(counted(&counters), [1, 1, 0, 2]);
    let inbox = inbox.lock().unwrap();
    assert!(inbox.iter().all(|received| received.path == "/hook"));
    assert!(inbox[3].body.contains("room-ended"));
}

#[tokio::test]
async fn a_name_that_leads_into_our_own_network_is_not_followed() {
    let (port, inbox) = receiver(&[]).await;
    for (private, expected) in [(false, [0, 1, 0, 2]), (true, [1, 0, 0, 0])] {
        let (webhooks, sink) = webhooks("localhost", port, private);
        let counters = Arc::clone(webhooks.counters());
        sink.announce(notice(News::RoomStarted));
        let _running = webhooks.start();
        all_done(&counters).await;
        assert_eq!(counted(&counters), expected);
    }
    assert_eq!(inbox.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn what_does_not_fit_the_queue_is_counted_and_nobody_waits() {
    let (webhooks, sink) = webhooks("127.0.0.1", 9, true);
    for _ in 0..QUEUE_EVENTS + 2 {
        sink.announce(notice(News::RoomStarted));
    }
    assert_eq!(counted(webhooks.counters()), [0, 0, 2, 0]);
    let waiting = webhooks.counters().waiting.load(Ordering::Relaxed);
    assert_eq!(waiting, QUEUE_EVENTS as u64);
}

/// With the clock stopped: it goes on as soon as nothing else can.
#[tokio::test(start_paused = true)]
async fn a_receiver_that_never_answers_is_given_up_after_its_time() {
    // It takes connections, as every listening socket does, and that is all.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (webhooks, sink) = webhooks("127.0.0.1", port, true);
    sink.announce(notice(News::RoomStarted));
    let counters = Arc::clone(webhooks.counters());
    let began = virtual_now();
    let running = webhooks.start();
    while counters.waiting.load(Ordering::Relaxed) > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Three attempts of five seconds each.
    assert_eq!(counted(&counters), [0, 1, 0, 2]);
    let took = virtual_now() - began;
    assert!((15..16).contains(&took.as_secs()), "{took:?}");
    running.finish().await;
}

#[expect(clippy::disallowed_methods, reason = "it is not the real one")]
fn virtual_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

#[tokio::test]
async fn what_waits_is_posted_before_the_server_goes() {
    let (port, inbox) = receiver(&[]).await;
    let (webhooks, sink) = webhooks("127.0.0.1", port, true);
    for _ in 0..20 {
        sink.announce(notice(News::RoomEnded));
    }
    webhooks.start().finish().await;
    assert_eq!(inbox.lock().unwrap().len(), 20);
}

#[test]
fn urls_and_secrets_are_checked_and_kept_out_of_logs() {
    for url in [
        "ftp://example.com/",
        "https://user@example.com/",
        "https://example.com/#part",
        "example.com",
        "https:///",
    ] {
        assert_eq!(url.parse::<Target>(), Err(TargetError), "{url}");
    }
    let target: Target = "https://example.com/hooks/a-secret".parse().unwrap();
    assert_eq!(format!("{target:?}"), "https://example.com/..");
    for secret in ["whsec_", "whsec_c2hvcnQ=", "c2hvcnQ=", "whsec_***"] {
        assert_eq!(secret.parse::<Secret>(), Err(SecretError), "{secret}");
    }
    let secret: Secret = SECRET.parse().unwrap();
    assert_eq!(format!("{secret:?}"), "Secret(..)");
}
