//! WHIP (RFC 9725): HTTP around offers and sessions, W22 to W28 and W33 to W38.

use std::time::Duration;

use plenum::engine::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::offers::{CHROMIUM, CHROMIUM_MEETS, CHROMIUM_PLAYS, LIBDATACHANNEL};
use crate::server::{Answer, FRAGMENT, JSON, SDP, World};

#[tokio::test]
async fn w22_a_preflight_is_answered_with_all_that_a_page_may_do() {
    let world = World::start().await;
    let joined = world.join("/whip/demo", CHROMIUM).await;
    let preflight = [
        ("origin", "https://x.example"),
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "authorization,content-type",
        ),
    ];
    for (path, takes) in [
        ("/whip/demo", "accept-post"),
        ("/rooms/demo/sessions", "accept-post"),
        (joined.session(), "accept-patch"),
    ] {
        let answer = world.send("OPTIONS", path, &preflight, "").await;
        assert_eq!(answer.status, 200);
        assert!(answer.header(takes).contains("application/sdp"));
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        let methods = answer.header("access-control-allow-methods");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            assert!(methods.contains(method), "{method}");
        }
        let headers = answer.header("access-control-allow-headers");
        for header in ["Authorization", "Content-Type", "If-Match"] {
            assert!(headers.contains(header), "{header}");
        }
        assert!(answer.has("access-control-max-age"));
    }
    let answer = world.ask("OPTIONS", "/whip/demo").await;
    assert_eq!(answer.header("accept-post"), "application/sdp");
}

#[tokio::test]
async fn w23_pages_may_read_the_headers_of_every_answer() {
    let world = World::start().await;
    let joined = world.join("/whip/demo", CHROMIUM).await;
    let answers = [
        world.post("/whip/demo", "x").await,
        world.ask("PUT", "/whip/demo").await,
        world.ask("GET", "/sessions/none").await,
        joined,
    ];
    world.drain();
    let drained = world.post("/whip/demo", CHROMIUM).await;
    assert_eq!(drained.status, 503);
    for answer in answers.iter().chain([&drained]) {
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        let exposed = answer.header("access-control-expose-headers");
        for header in ["Location", "ETag", "Link", "Accept-Patch", "Retry-After"] {
            assert!(exposed.contains(header), "{header} in {answer:?}");
        }
    }
}

#[tokio::test]
async fn w24_a_preflight_carries_no_links() {
    let world = World::start().await;
    let origin = [("origin", "https://x.example")];
    let answer = world.send("OPTIONS", "/whip/demo", &origin, "").await;
    assert!(!answer.has("link"));
    let links = world.join("/whip/demo", CHROMIUM).await;
    let relations = links.headers.get_all("link").iter();
    let mut relations = relations.map(|link| link.to_str().expect("ASCII"));
    assert!(relations.all(|link| !link.contains("ice-server")));
}

#[tokio::test]
async fn w26_nobody_is_redirected() {
    let world = World::start().await;
    let joined = world.join("/whip/demo?name=Ada", CHROMIUM).await;
    assert_eq!(world.ask("GET", joined.session()).await.status, 204);
    for path in ["/whip/demo/", "//whip/demo", "/WHIP/demo"] {
        let answer = world.post(path, CHROMIUM).await;
        answer.is(404, "not-found");
    }
}

#[track_caller]
fn seconds(answer: &Answer) -> u64 {
    let seconds = answer.header("retry-after").parse().expect("seconds");
    assert!(seconds >= 1);
    seconds
}

#[tokio::test]
async fn w27_a_full_server_says_when_to_come_back_to_each_at_another_time() {
    let limits = Limits {
        sessions: 1,
        ..Limits::default()
    };
    let world = World::with_limits(|_| {}, limits).await;
    let joined = world.join("/whip/demo", CHROMIUM).await;
    let mut waits = Vec::new();
    for _ in 0..20 {
        let answer = world.post("/whip/demo", CHROMIUM).await;
        waits.push(seconds(answer.is(503, "overloaded")));
    }
    assert!(waits.iter().any(|wait| *wait != waits[0]), "{waits:?}");
    world.ask("DELETE", joined.session()).await;
    world.join("/whip/demo", CHROMIUM).await;
}

#[tokio::test]
async fn w27_a_server_that_drains_takes_nobody_in_and_keeps_who_is_there() {
    let world = World::start().await;
    let joined = world.join("/whip/demo", CHROMIUM).await;
    world.drain();
    let answer = world.post("/whip/demo", CHROMIUM).await;
    seconds(answer.is(503, "going-away"));
    assert_eq!(world.ask("GET", joined.session()).await.status, 204);
}

#[tokio::test]
async fn w28_an_address_that_is_too_fast_is_429() {
    let loopback = "127.0.0.1".parse().expect("an address");
    let world = World::with(|settings| {
        settings.http_rate = 1;
        settings.http_burst = 2;
        settings.trusted_proxies = vec![loopback];
    })
    .await;
    // Loopback itself is exempt; these come through a proxy.
    let first = [SDP, ("x-forwarded-for", "192.0.2.1")];
    let second = [SDP, ("x-forwarded-for", "192.0.2.2")];
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let answer = world.send("POST", "/whip/demo", &first, CHROMIUM).await;
        assert_eq!(answer.status, 201);
        sessions.push(answer.session().to_owned());
    }
    let answer = world.send("POST", "/whip/demo", &first, CHROMIUM).await;
    seconds(answer.is(429, "too-fast"));
    let trickle = [FRAGMENT, first[1]];
    let answer = world.send("PATCH", &sessions[0], &trickle, "").await;
    seconds(answer.is(429, "too-fast"));
    assert_eq!(world.refusals("rate").await, 2);
    // Leaving works however fast one was.
    for session in &sessions {
        let answer = world.send("DELETE", session, &first[1..], "").await;
        assert_eq!(answer.status, 200);
    }
    let answer = world.send("POST", "/whip/demo", &second, CHROMIUM).await;
    assert_eq!(answer.status, 201);
}

#[tokio::test]
async fn w34_an_error_says_what_is_wrong_and_repeats_nothing() {
    let world = World::start().await;
    let secret = "x-secret-x";
    let offer = LIBDATACHANNEL.replace("a=mid:video", &format!("a=mid:{secret}"));
    let answer = world.post("/whip/demo", offer).await;
    answer.is(400, "malformed");
    assert!(!answer.body.contains(secret), "{}", answer.body);
    let path = format!("/sessions/{secret}");
    let answer = world.ask("GET", &path).await;
    answer.is(404, "no-such-session");
    assert!(!answer.body.contains(secret), "{}", answer.body);
}

#[tokio::test]
async fn w35_a_name_publishes_once() {
    let world = World::start().await;
    let mut peer = crate::peer::Peer::publisher().await;
    let joined = world.join("/whip/demo/ada", peer.offer.clone()).await;
    peer.connect(&joined.body).await;
    let answer = world.post("/whip/demo/ada", CHROMIUM).await;
    answer.is(409, "participant-exists");
    world.join("/whip/demo/grace", CHROMIUM).await;
    world.ask("DELETE", joined.session()).await;
    world.join("/whip/demo/ada", CHROMIUM).await;
}

#[tokio::test]
async fn w35_a_publisher_that_asks_for_it_takes_over() {
    let world = World::start().await;
    let mut peer = crate::peer::Peer::publisher().await;
    let joined = world.join("/whip/demo/ada", peer.offer.clone()).await;
    peer.connect(&joined.body).await;
    let answer = world.post("/whip/demo/ada?takeover=0", CHROMIUM).await;
    answer.is(409, "participant-exists");
    world.join("/whip/demo/ada?takeover=1", CHROMIUM).await;
    peer.closed_by_server().await;
    world.forgets(joined.session()).await;
    assert_eq!(world.sessions().await, 1);
}

#[tokio::test]
async fn w36_bodies_are_small_and_not_compressed() {
    let world = World::start().await;
    let padding = |bytes: usize| format!("a=x:{}\r\n", "x".repeat(1000)).repeat(bytes / 1006);
    let large = format!("{LIBDATACHANNEL}{}", padding(80 * 1024));
    for door in ["/whip/demo", "/whep/demo"] {
        world.post(door, large.clone()).await.is(413, "too-large");
    }
    // A page with many tiles has a long offer.
    let meets = format!("{CHROMIUM_MEETS}{}", padding(80 * 1024));
    let joined = world.join("/rooms/demo/sessions", meets).await;
    let huge = format!("{CHROMIUM_MEETS}{}", padding(300 * 1024));
    let answer = world.post("/rooms/demo/sessions", huge.clone()).await;
    answer.is(413, "too-large");
    let answer = world.send("PATCH", joined.session(), &[SDP], huge).await;
    answer.is(413, "too-large");
    let fragment = padding(80 * 1024);
    let answer = world.send("PATCH", joined.session(), &[FRAGMENT], fragment);
    answer.await.is(413, "too-large");
    assert_eq!(world.refusals("body").await, 5);
    for encoding in ["gzip", "br", "deflate", "identity"] {
        let compressed = [SDP, ("content-encoding", encoding)];
        let answer = world.send("POST", "/whip/demo", &compressed, "x").await;
        answer.is(415, "content-encoding");
    }
}

#[tokio::test]
async fn w36_a_head_is_small() {
    let world = World::start().await;
    let mut stream = TcpStream::connect(world.address()).await.expect("it runs");
    let head = format!(
        "GET /whip/demo HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n",
        "x".repeat(17 * 1024)
    );
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 431");
    world.refused("head", 1).await;
}

#[tokio::test]
async fn w36_a_body_that_does_not_come_is_408() {
    let world = World::start().await;
    let mut stream = TcpStream::connect(world.address()).await.expect("it runs");
    let head = "POST /whip/demo HTTP/1.1\r\nhost: x\r\ncontent-type: application/sdp\r\n\
        content-length: 100\r\n\r\nv=0\r\n";
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut answer = [0; 12];
    let read = tokio::time::timeout(Duration::from_secs(15), stream.read_exact(&mut answer));
    read.await.expect("within its 10 s").expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 408");
    assert_eq!(world.refusals("time").await, 1);
}

#[tokio::test]
async fn w37_what_a_client_accepts_does_not_matter() {
    let world = World::start().await;
    let html = [SDP, ("accept", "text/html")];
    for (door, offer) in [("/whip/demo", CHROMIUM), ("/whep/demo", CHROMIUM_PLAYS)] {
        let answer = world.send("POST", door, &html, offer).await;
        assert_eq!(answer.status, 201);
        assert_eq!(answer.header("content-type"), "application/sdp");
    }
}

#[tokio::test]
async fn w38_the_answer_says_what_patch_takes() {
    let world = World::start().await;
    let answer = world.join("/whip/demo", CHROMIUM).await;
    let accepted = answer.header("accept-patch");
    assert!(accepted.contains("application/trickle-ice-sdpfrag"));
}

#[tokio::test]
async fn pages_of_others_do_not_administer_a_server_without_keys() {
    let world = World::start().await;
    let joined = world.join("/rooms/demo/sessions", CHROMIUM_MEETS).await;
    let own = format!("http://{}", world.address());
    let message = r#"{"event":"notice","data":1}"#;
    let requests = [
        ("GET", "/api/rooms", ""),
        ("GET", "/api/rooms/demo", ""),
        ("PUT", "/api/rooms/demo", "{}"),
        ("POST", "/rooms/demo/messages", message),
        ("DELETE", "/api/rooms/demo", ""),
    ];
    for (method, path, body) in requests {
        for (name, value) in [
            ("origin", "https://x.example"),
            ("origin", "null"),
            ("host", "x.example"),
        ] {
            let headers = [JSON, (name, value)];
            let answer = world.send(method, path, &headers, body).await;
            answer.is(403, "forbidden");
        }
    }
    // What a session may do is its own, on whatever page it is.
    let id = joined.session().trim_start_matches("/sessions/");
    let own_message = format!(r#"{{"session":"{id}","event":"chat","data":1}}"#);
    let headers = [JSON, ("origin", "https://x.example")];
    let answer = world.send("POST", "/rooms/demo/messages", &headers, own_message);
    assert_eq!(answer.await.status, 202);
    for (method, path, body) in requests {
        let headers = [JSON, ("origin", own.as_str())];
        let answer = world.send(method, path, &headers, body).await;
        assert!(answer.status < 300, "{method} {path}: {answer:?}");
    }
}
