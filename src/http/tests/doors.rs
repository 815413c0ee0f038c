//! Joining: RFC 9725 §4.2 and what browsers and encoders need of it.

use super::*;
use crate::engine::command::{Door, Join};

const DOORS: [&str; 5] = [
    "/whip/demo",
    "/whip/demo/ada",
    "/whep/demo",
    "/whep/demo/ada",
    "/rooms/demo/sessions",
];

fn join(world: &World) -> (usize, Join) {
    match world.heard() {
        (shard, Command::Join(join)) => (shard, *join),
        other => panic!("expected a join, not {other:?}"),
    }
}

#[tokio::test]
async fn an_offer_is_answered_with_a_session_and_all_that_it_can_do() {
    for door in DOORS {
        let world = World::new();
        let answer = world.send(post(door)).await;
        assert_eq!(answer.status, 201, "{door}");
        assert_eq!(answer.body, ANSWER);
        assert_eq!(answer.header("content-type"), "application/sdp");
        let location = answer.header("location");
        assert!(
            location.starts_with("/sessions/") && location.len() == 36,
            "{location}"
        );
        assert_eq!(answer.header("etag"), "\"i1\"");
        assert_eq!(answer.header("x-description-tag"), "\"d1\"");
        assert_eq!(answer.header("x-subscriptions-tag"), "\"s1\"");
        assert_eq!(answer.header("x-participant"), "Zo%C3%AB");
        assert!(
            answer
                .header("accept-patch")
                .contains("application/trickle-ice-sdpfrag")
        );
        let links: Vec<_> = answer.headers.get_all("link").iter().collect();
        assert_eq!(
            links[0],
            &format!("<{location}/events>; rel=\"urn:plenum:events\"")
        );
        assert_eq!(
            links[1],
            &format!("<{location}/subscriptions>; rel=\"urn:plenum:subscriptions\"")
        );
        let exposed = answer.header("access-control-expose-headers");
        for header in ["Location", "ETag", "Link", "Accept-Patch", "Retry-After"] {
            assert!(exposed.contains(header), "{header}");
        }
    }
}

#[tokio::test]
async fn w24_every_session_is_told_of_relays_and_no_preflight_is() {
    let mut settings = Settings::default();
    settings.turn.urls = vec!["turn:relay.example?transport=udp".parse().unwrap()];
    settings.turn.turn_secret = Some("0123456789abcdef0123456789abcdef".parse().unwrap());
    let world = World::with(settings);
    for door in DOORS {
        let answer = world.send(post(door)).await;
        let links: Vec<_> = answer.headers.get_all("link").iter().collect();
        let relay = links.last().expect("there are some").to_str().unwrap();
        assert!(
            relay
                .starts_with("<turn:relay.example?transport=udp>; rel=\"ice-server\"; username=\""),
            "{relay}"
        );
        assert!(relay.contains(":demo/Zo%C3%AB\"; credential=\""), "{relay}");
        let preflight = [
            ("origin", "https://a.example"),
            ("access-control-request-method", "POST"),
        ];
        for headers in [&preflight[..], &[]] {
            let answer = world
                .send(request(Method::OPTIONS, door, headers, ""))
                .await;
            assert!(answer.status.is_success(), "{door}");
            assert!(!answer.headers.contains_key("link"), "{door}");
        }
        assert!(
            !world
                .ask(Method::GET, door)
                .await
                .headers
                .contains_key("link"),
            "{door}"
        );
    }
}

#[tokio::test]
async fn each_door_says_who_comes() {
    let ada = || Some(participant("ada"));
    let doors = [
        Door::Publish { participant: None },
        Door::Publish { participant: ada() },
        Door::Watch { participant: None },
        Door::Watch { participant: ada() },
        Door::Meet,
    ];
    let world = World::new();
    for (path, door) in DOORS.into_iter().zip(doors) {
        world.send(post(path)).await;
        let (shard, join) = join(&world);
        assert_eq!(join.door, door, "{path}");
        assert_eq!(join.room, name("demo"));
        assert_eq!(
            shard,
            world.engines.home(&join.room),
            "the room's own shard"
        );
    }
}

#[tokio::test]
async fn names_are_decoded_and_what_is_no_name_is_refused() {
    let world = World::new();
    world.send(post("/whip/B%C3%BCro?name=Ada%20L.")).await;
    let (_, offer) = join(&world);
    assert_eq!(
        (offer.room, offer.name.as_deref()),
        (name("Büro"), Some("Ada L."))
    );

    let long = "x".repeat(65);
    for path in [
        "/whip/a%2Fb".to_owned(),
        "/whip/%FF".to_owned(),
        "/whip/..%2F..".to_owned(),
        format!("/whip/{long}"),
        format!("/whep/demo/{long}"),
        format!("/whip/demo?name={long}"),
        "/whip/demo?name=a%00b".to_owned(),
    ] {
        let answer = world.send(post(&path)).await;
        assert_eq!(answer.status, 400, "{path}");
        assert_eq!(answer.problem(), "malformed");
    }
    assert!(world.heard_nothing());
}

#[tokio::test]
async fn only_a_room_client_can_continue_a_session() {
    let world = World::new();
    let location = world.joined().await;
    let old = location.trim_start_matches("/sessions/");
    world
        .send(post_with("/rooms/demo/sessions", &[("x-resume", old)]))
        .await;
    assert_eq!(
        join(&world)
            .1
            .resume
            .map(|session| session.to_string())
            .as_deref(),
        Some(old)
    );
    world
        .send(post_with("/whip/demo", &[("x-resume", old)]))
        .await;
    assert_eq!(join(&world).1.resume, None);

    let answer = world
        .send(post_with(
            "/rooms/demo/sessions",
            &[("x-resume", "nonsense")],
        ))
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (400, "malformed")
    );
}

#[tokio::test]
async fn the_type_of_an_offer_is_checked_as_leniently_as_the_standard_allows() {
    let world = World::new();
    for good in [
        "application/sdp",
        "Application/SDP; charset=utf-8",
        "application/sdp ;x=y",
    ] {
        let answer = world
            .send(request(
                Method::POST,
                "/whip/demo",
                &[("content-type", good)],
                "v=0",
            ))
            .await;
        assert_eq!(answer.status, 201, "{good}");
    }
    for bad in [
        &[][..],
        &[("content-type", "application/json")],
        &[("content-type", "application/sdpx")],
    ] {
        let answer = world
            .send(request(Method::POST, "/whip/demo", bad, "v=0"))
            .await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (415, "content-type"),
            "{bad:?}"
        );
        assert_eq!(answer.header("accept-post"), "application/sdp");
    }
    let compressed = world
        .send(post_with("/whip/demo", &[("content-encoding", "gzip")]))
        .await;
    assert_eq!(
        (compressed.status.as_u16(), compressed.problem().as_str()),
        (415, "content-encoding")
    );
    let accepts_html = world
        .send(post_with("/whip/demo", &[("accept", "text/html")]))
        .await;
    assert_eq!(accepts_html.status, 201, "never 406");
}

#[tokio::test]
async fn a_rooms_answer_is_compressed_for_those_who_take_it_so() {
    let world = World::new();
    let gzip = ("accept-encoding", "gzip");
    let answer = world.open(post_with("/rooms/demo/sessions", &[gzip])).await;
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    assert_eq!(
        answer.headers()["etag"],
        "\"i1\"",
        "it names the ICE session"
    );
    for (path, headers) in [("/rooms/demo/sessions", &[][..]), ("/whip/demo", &[gzip])] {
        let plain = world.send(post_with(path, headers)).await;
        assert_eq!(plain.body, ANSWER, "{path}");
        assert!(!plain.headers.contains_key("content-encoding"), "{path}");
    }
}

#[tokio::test]
async fn a_body_is_not_empty_not_binary_and_not_large() {
    let world = World::new();
    let sdp = [("content-type", "application/sdp")];
    for bad in ["", "v=0\0"] {
        let answer = world
            .send(request(Method::POST, "/whip/demo", &sdp, bad))
            .await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (400, "malformed")
        );
    }
    let largest = "x".repeat(64 * 1024);
    let answer = world
        .send(request(Method::POST, "/whip/demo", &sdp, &largest))
        .await;
    assert_eq!(answer.status, 201);
    let answer = world
        .send(request(
            Method::POST,
            "/whip/demo",
            &sdp,
            &format!("{largest}x"),
        ))
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (413, "too-large")
    );

    // Without a length in its head, the body itself tells.
    let chunks = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>("x".repeat(1024)));
    let mut endless = post("/whip/demo");
    *endless.body_mut() = Body::from_stream(chunks);
    assert_eq!(world.send(endless).await.status, 413);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let world = World::new();
    let mut stalled = post("/whip/demo");
    *stalled.body_mut() = Body::from_stream(futures_util::stream::pending::<
        Result<String, std::io::Error>,
    >());
    let answer = world.send(stalled).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (408, "timeout")
    );
}

#[tokio::test]
async fn every_refusal_of_an_engine_has_its_status() {
    let full = CommandError::RoomFull {
        room: name("demo"),
        limit: 3,
    };
    for (error, status, kind, retries) in [
        (
            CommandError::Malformed("line 2".to_owned()),
            400,
            "malformed",
            false,
        ),
        (
            CommandError::Unsupported("m-line 1".to_owned()),
            422,
            "unsupported",
            false,
        ),
        (CommandError::NoSuchSession, 404, "no-such-session", false),
        (CommandError::Stale, 412, "stale", false),
        (
            CommandError::ParticipantExists(participant("ada")),
            409,
            "participant-exists",
            false,
        ),
        (full, 503, "room-full", true),
        (CommandError::Overloaded, 503, "overloaded", true),
    ] {
        let world = World::new();
        world.script(Err(error));
        let answer = world.send(post("/whip/demo")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (status, kind)
        );
        assert_eq!(
            answer.headers.contains_key("retry-after"),
            retries,
            "{kind}"
        );
        assert_eq!(world.hub.len(), 0, "no session is left behind");
    }
}

#[tokio::test]
async fn a_door_can_be_looked_at() {
    let world = World::new();
    for door in DOORS {
        for method in [Method::GET, Method::HEAD] {
            let answer = world.ask(method, door).await;
            assert!(
                answer.status.is_success() && answer.body.is_empty(),
                "{door}: {answer:?}"
            );
            if door.starts_with("/whep") {
                assert_eq!(
                    (answer.status.as_u16(), answer.header("content-type")),
                    (200, "application/sdp")
                );
            }
        }
    }
}

#[tokio::test]
async fn options_says_what_a_door_takes_with_or_without_an_origin() {
    let world = World::new();
    for door in DOORS {
        let preflight = [
            ("origin", "https://example.com"),
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "authorization,content-type",
            ),
        ];
        for headers in [&preflight[..], &[]] {
            let answer = world
                .send(request(Method::OPTIONS, door, headers, ""))
                .await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("accept-post"), "application/sdp");
            assert_eq!(answer.header("access-control-allow-origin"), "*");
            for method in ["POST", "PATCH", "DELETE", "OPTIONS", "GET", "PUT"] {
                assert!(
                    answer
                        .header("access-control-allow-methods")
                        .contains(method),
                    "{method}"
                );
            }
            for name in ["Authorization", "Content-Type", "If-Match"] {
                assert!(
                    answer.header("access-control-allow-headers").contains(name),
                    "{name}"
                );
            }
            assert!(answer.headers.contains_key("access-control-max-age"));
            assert!(!answer.headers.contains_key("link"));
        }
    }
}

#[tokio::test]
async fn other_methods_and_paths_are_problems_too() {
    let world = World::new();
    let answer = world.ask(Method::PUT, "/whip/demo").await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (405, "method")
    );
    assert_eq!(answer.header("allow"), "GET,HEAD,POST,OPTIONS");
    for (method, path) in [
        (Method::GET, "/nothing"),
        (Method::POST, "/whip"),
        (Method::POST, "/whip/a/b/c"),
    ] {
        let answer = world.ask(method, path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (404, "not-found"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn urls_are_ours_whatever_the_client_says_about_its_host() {
    let lies = [
        ("host", "evil.example"),
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "host=evil.example"),
    ];
    let relative = World::new().send(post_with("/whip/demo", &lies)).await;
    assert!(relative.header("location").starts_with("/sessions/"));

    let public_url = Some("https://sfu.example/".parse().expect("a URL"));
    let absolute = World::with(Settings {
        public_url,
        ..Settings::default()
    });
    let answer = absolute.send(post_with("/whip/demo", &lies)).await;
    assert!(
        answer
            .header("location")
            .starts_with("https://sfu.example/sessions/")
    );
    assert!(
        answer
            .header("link")
            .starts_with("<https://sfu.example/sessions/")
    );
}

#[tokio::test]
async fn who_is_too_fast_or_has_too_much_is_told_when_to_come_back() {
    let world = World::with(Settings {
        http_rate: 1,
        http_burst: 2,
        ..Settings::default()
    });
    for _ in 0..2 {
        assert_eq!(world.send(post("/whip/demo")).await.status, 201);
    }
    let answer = world.send(post("/whip/demo")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (429, "too-fast")
    );
    let seconds: u64 = answer.header("retry-after").parse().expect("seconds");
    assert!(seconds >= 1);
    assert_eq!(
        world.ask(Method::GET, "/whip/demo").await.status,
        204,
        "looking is free"
    );

    let world = World::with(Settings {
        sessions_per_address: 1,
        ..Settings::default()
    });
    assert_eq!(world.send(post("/whip/demo")).await.status, 201);
    let answer = world.send(post("/whip/demo")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (429, "too-many-sessions")
    );
    assert!(answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_server_that_drains_takes_nobody_in() {
    let world = World::new();
    let session = world.joined().await;
    world.app.begin_drain(Duration::from_secs(60));
    let answer = world.send(post("/whip/demo")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (503, "going-away")
    );
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(
        world.ask(Method::GET, &session).await.status,
        204,
        "sessions go on"
    );
    tokio::task::yield_now().await;
    let told = |heard: &(usize, Command)| matches!(heard.1, Command::Drain);
    let heard = world.engines.heard.lock().expect("no test panics here");
    assert_eq!(
        heard.iter().filter(|heard| told(heard)).count(),
        2,
        "every engine tells its own"
    );
}

#[tokio::test]
async fn a_room_whose_shard_is_busy_takes_nobody_in_and_says_why() {
    let world = World::new();
    let session = world.joined().await;
    let now = crate::http::clock::now();
    for second in 0..5 {
        *world.engines.awake.lock().expect("no test panics here") = Duration::from_secs(second);
        let at = now + Duration::from_secs(second);
        world.app.admission.sample(&*world.engines, at);
    }
    let answer = world.send(post("/whip/demo")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (503, "overloaded")
    );
    assert!(answer.body.contains("processor"), "{answer:?}");
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(
        world.ask(Method::GET, &session).await.status,
        204,
        "sessions go on"
    );
}
