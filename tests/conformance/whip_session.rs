//! WHIP (RFC 9725): the session's own URL, W11 to W21, W29, W30 and W39.

use std::collections::BTreeSet;

use crate::offers::{CHROMIUM, LIBDATACHANNEL};
use crate::peer::Peer;
use crate::server::{Answer, FRAGMENT, JSON, SDP, World};

/// One candidate that we could use.
const CANDIDATE: &str = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
    a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\n";
/// New ICE credentials.
const RESTART: &str = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n";

/// A session, with its answer.
async fn session(world: &World) -> (String, Answer) {
    let answer = world.join("/whip/demo", CHROMIUM).await;
    (answer.session().to_owned(), answer)
}

async fn patch(world: &World, session: &str, tag: Option<&str>, fragment: &str) -> Answer {
    let mut headers = vec![FRAGMENT];
    headers.extend(tag.map(|tag| ("if-match", tag)));
    let fragment = fragment.to_owned();
    world.send("PATCH", session, &headers, fragment).await
}

#[tokio::test]
async fn w11_candidates_are_taken_without_body_and_tag() {
    let world = World::start().await;
    let (session, joined) = session(&world).await;
    let answer = patch(&world, &session, Some(joined.header("etag")), CANDIDATE).await;
    assert_eq!(answer.status, 204);
    assert!(answer.body.is_empty() && !answer.has("etag"), "{answer:?}");
}

#[tokio::test]
async fn w12_a_tag_that_does_not_match_is_412_and_changes_nothing() {
    let world = World::start().await;
    let (session, joined) = session(&world).await;
    let tag = joined.header("etag");
    let weak = format!("W/{tag}");
    for stale in ["\"old\"", &weak] {
        let answer = patch(&world, &session, Some(stale), RESTART).await;
        answer.is(412, "stale");
    }
    let answer = patch(&world, &session, Some(tag), CANDIDATE).await;
    assert_eq!(answer.status, 204, "the tag is the same as before");
    let answer = patch(&world, &session, None, CANDIDATE).await;
    assert_eq!(answer.status, 204, "old clients send none");
}

#[tokio::test]
async fn w12_a_missing_if_match_is_428_when_strict() {
    let world = World::with(|settings| settings.strict_if_match = true).await;
    let (session, joined) = session(&world).await;
    let answer = patch(&world, &session, None, CANDIDATE).await;
    answer.is(428, "if-match");
    let answer = patch(&world, &session, Some(joined.header("etag")), CANDIDATE).await;
    assert_eq!(answer.status, 204);
}

#[tokio::test]
async fn w13_what_is_no_fragment_is_told_from_another_type() {
    let world = World::start().await;
    let (session, _) = session(&world).await;
    for headers in [&[JSON][..], &[]] {
        let answer = world.send("PATCH", &session, headers, CANDIDATE).await;
        answer.is(415, "content-type");
        let accepted = answer.header("accept-patch");
        assert!(accepted.contains("application/trickle-ice-sdpfrag"));
    }
    for bad in [
        "",
        "a=candidate:x\r\n",
        "a=mid:7\r\na=end-of-candidates\r\n",
    ] {
        let answer = patch(&world, &session, None, bad).await;
        answer.is(400, "malformed");
    }
}

#[tokio::test]
async fn w14_useless_candidates_are_left_out_and_the_others_taken() {
    let world = World::start().await;
    let (session, _) = session(&world).await;
    let mixed = format!(
        "{CANDIDATE}a=candidate:2 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active\r\n\
         a=candidate:3 1 udp 2122260223 0af2-55.local 61766 typ host\r\n\
         a=candidate:4 1 udp 2122260223 fe80::1%eth0 61767 typ host\r\n"
    );
    let answer = patch(&world, &session, None, &mixed).await;
    assert_eq!(answer.status, 204, "{answer:?}");
}

#[tokio::test]
async fn w15_an_ice_restart_has_new_credentials_and_a_new_tag() {
    let world = World::start().await;
    for any in ["*", "\"*\""] {
        let (session, joined) = session(&world).await;
        let answer = patch(&world, &session, Some(any), RESTART).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), FRAGMENT.1);
        assert_ne!(answer.header("etag"), joined.header("etag"));
        for name in ["a=ice-ufrag:", "a=ice-pwd:"] {
            let (now, before) = (answer.lines(name), joined.lines(name));
            assert_eq!(now.len(), 1, "{}", answer.body);
            assert!(!before.contains(&now[0]), "{name} is another");
        }
        assert_eq!(answer.lines("a=ice-lite").len(), 1);
        assert_eq!(answer.lines("a=ice-options:"), ["a=ice-options:trickle"]);
        assert_eq!(answer.lines("a=candidate:").len(), 1);
    }
}

#[tokio::test]
async fn w15_a_connection_comes_back_after_a_restart() {
    let world = World::start().await;
    let mut peer = Peer::publisher().await;
    let joined = world.join("/whip/demo", peer.offer.clone()).await;
    peer.connect(&joined.body).await;
    let fragment = peer.restart();
    let answer = patch(&world, joined.session(), Some("*"), &fragment).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    peer.restarted(&joined.body, &answer.body).await;
}

#[tokio::test]
async fn w16_a_restart_that_is_refused_leaves_the_session_as_it_was() {
    let world = World::start().await;
    let mut peer = Peer::publisher().await;
    let joined = world.join("/whip/demo", peer.offer.clone()).await;
    let (session, tag) = (joined.session(), joined.header("etag"));
    let short = "a=ice-ufrag:EsAw\r\na=ice-pwd:short\r\n";
    let answer = patch(&world, session, Some("*"), short).await;
    answer.is(400, "malformed");
    peer.connect(&joined.body).await;
    let answer = patch(&world, session, Some(tag), "a=end-of-candidates\r\n").await;
    assert_eq!(answer.status, 204, "the old tag holds");
}

#[tokio::test]
async fn w16_media_goes_on_where_a_restart_is_refused() {
    let world = World::start().await;
    let mut camera = Peer::camera().await;
    let published = world.join("/whip/demo/ada", camera.offer.as_str()).await;
    camera.connect(&published.body).await;
    let offered = world
        .send("POST", "/whep/demo/ada?mode=offer", &[], "")
        .await;
    let (mut player, answer) = Peer::player(&offered.body).await;
    let taken = world.send("PATCH", offered.session(), &[SDP], answer).await;
    assert_eq!(taken.status, 204, "{taken:?}");
    let refused = async {
        let unknown = format!("{RESTART}m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:nowhere\r\n");
        for session in [published.session(), offered.session()] {
            let answer = patch(&world, session, Some("*"), &unknown).await;
            answer.is(400, "malformed");
            let answer = patch(&world, session, Some("\"old\""), RESTART).await;
            answer.is(412, "stale");
        }
    };
    tokio::select! {
        () = camera.film() => {}
        () = async {
            player.sees_video().await;
            refused.await;
            // More than what was on its way.
            for _ in 0..20 {
                player.sees_video().await;
            }
        } => {}
    }
    for (session, tag) in [
        (published.session(), published.header("etag")),
        (offered.session(), offered.header("etag")),
    ] {
        let answer = patch(&world, session, Some(tag), "a=end-of-candidates\r\n").await;
        assert_eq!(answer.status, 204, "the old tag holds: {answer:?}");
    }
}

#[tokio::test]
async fn w17_what_was_sent_before_a_restart_and_comes_after_it_is_refused() {
    let world = World::start().await;
    let (session, joined) = session(&world).await;
    patch(&world, &session, Some("*"), RESTART).await;
    let answer = patch(&world, &session, Some(joined.header("etag")), CANDIDATE).await;
    answer.is(412, "stale");
}

#[tokio::test]
async fn w18_half_of_new_credentials_is_400() {
    let world = World::start().await;
    let (session, _) = session(&world).await;
    for half in RESTART.split_inclusive("\r\n") {
        let answer = patch(&world, &session, Some("*"), half).await;
        answer.is(400, "malformed");
    }
}

#[tokio::test]
async fn w19_delete_ends_the_session_and_closes_its_connection() {
    let world = World::start().await;
    let mut peer = Peer::publisher().await;
    let joined = world.join("/whip/demo", peer.offer.clone()).await;
    peer.connect(&joined.body).await;
    let tag = [("if-match", "\"x\"")];
    let answer = world.send("DELETE", joined.session(), &tag, "").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    peer.closed_by_server().await;
    let again = world.ask("DELETE", joined.session()).await;
    again.is(404, "no-such-session");
    assert_eq!(world.sessions().await, 0);
}

#[tokio::test]
async fn w19_a_client_that_closed_its_connection_first_may_still_delete_once() {
    let world = World::start().await;
    let mut peer = Peer::publisher().await;
    let joined = world.join("/whip/demo", peer.offer.clone()).await;
    peer.connect(&joined.body).await;
    peer.close().await;
    let session = joined.session();
    assert_eq!(world.ask("DELETE", session).await.status, 200);
    world
        .ask("DELETE", session)
        .await
        .is(404, "no-such-session");
}

#[tokio::test]
async fn w20_looking_at_doors_and_sessions_is_allowed_and_shows_nothing() {
    let world = World::start().await;
    let (session, _) = session(&world).await;
    for path in ["/whip/demo", "/whip/demo/ada", &session] {
        for method in ["GET", "HEAD"] {
            let answer = world.ask(method, path).await;
            assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{path}");
        }
    }
}

#[tokio::test]
async fn w21_other_methods_are_405_and_hear_which_there_are() {
    let world = World::start().await;
    let (session, _) = session(&world).await;
    for (method, path, allowed) in [
        ("PUT", "/whip/demo", "GET,HEAD,POST,OPTIONS"),
        ("DELETE", "/whip/demo", "GET,HEAD,POST,OPTIONS"),
        ("PATCH", "/whep/demo/ada", "GET,HEAD,POST,OPTIONS"),
        ("POST", &session, "GET,HEAD,PATCH,DELETE,OPTIONS"),
        ("PUT", &session, "GET,HEAD,PATCH,DELETE,OPTIONS"),
    ] {
        let answer = world.ask(method, path).await;
        answer.is(405, "method");
        assert_eq!(answer.header("allow"), allowed, "{method} {path}");
    }
}

#[tokio::test]
async fn w29_a_sessions_url_cannot_be_guessed() {
    let world = World::start().await;
    let mut seen = BTreeSet::new();
    for _ in 0..100 {
        let joined = world.join("/whip/demo", LIBDATACHANNEL).await;
        let session = joined.session().to_owned();
        let id = session.trim_start_matches("/sessions/");
        // Base32: five bits a character; the first has three.
        assert!(id.len() * 5 >= 128, "{id}");
        world.ask("DELETE", &session).await;
        assert!(seen.insert(session), "given twice");
    }
    let ended = seen.first().expect("there are some").clone();
    let never = format!("/sessions/{}", "a".repeat(26));
    let (ended, never) = (
        world.ask("GET", &ended).await,
        world.ask("GET", &never).await,
    );
    assert_eq!((ended.status, ended.body), (404, never.body));
}

#[tokio::test]
async fn w30_a_peer_that_says_goodbye_is_gone_at_once() {
    let world = World::start().await;
    let mut peer = Peer::publisher().await;
    let joined = world.join("/whip/demo", peer.offer.clone()).await;
    peer.connect(&joined.body).await;
    peer.close().await;
    // The last event says why, without waiting for consent to run out (13 s).
    let path = format!("{}/state?since=0&wait=5", joined.session());
    let mut seen = String::new();
    for _ in 0..10 {
        let next = world.ask("GET", &path).await;
        if next.body.contains("\"closed\"") {
            seen = next.body;
            break;
        }
    }
    assert!(seen.contains("closed-by-peer"), "{seen}");
}

#[tokio::test]
async fn w39_an_offer_that_is_sent_twice_makes_two_sessions() {
    let world = World::start().await;
    let (first, _) = session(&world).await;
    let (second, _) = session(&world).await;
    assert_ne!(second, first);
}

#[tokio::test]
async fn w39_who_lost_the_answer_gets_it_again_with_its_idempotency_key() {
    let world = World::start().await;
    let key = [SDP, ("idempotency-key", "one")];
    let first = world.send("POST", "/whip/demo", &key, CHROMIUM).await;
    let again = world.send("POST", "/whip/demo", &key, CHROMIUM).await;
    assert_eq!(again.status, 201);
    for header in ["location", "etag", "content-type"] {
        assert_eq!(again.header(header), first.header(header));
    }
    assert_eq!(again.body, first.body);
    assert_eq!(world.sessions().await, 1);

    let other = world.send("POST", "/whip/demo", &key, LIBDATACHANNEL);
    other.await.is(422, "unsupported");
    let long = "x".repeat(129);
    let long = [SDP, ("idempotency-key", long.as_str())];
    let long = world.send("POST", "/whip/demo", &long, CHROMIUM).await;
    long.is(400, "malformed");
    let door = world.send("POST", "/whip/other", &key, CHROMIUM).await;
    assert_ne!(door.session(), first.session());
    world.ask("DELETE", first.session()).await;
    let new = world.send("POST", "/whip/demo", &key, CHROMIUM).await;
    assert_ne!(new.session(), first.session());
}
