//! WHEP (draft-ietf-wish-whep-03), E1 to E20.

use crate::offers::{AIORTC_PLAYS, CHROMIUM_PLAYS};
use crate::peer::Peer;
use crate::server::{Answer, FRAGMENT, SDP, World};

#[tokio::test]
async fn e1_a_door_shows_the_type_that_it_takes_and_no_body() {
    let world = World::start().await;
    for door in ["/whep/demo", "/whep/demo/ada"] {
        let get = world.ask("GET", door).await;
        let head = world.ask("HEAD", door).await;
        for answer in [&get, &head] {
            assert_eq!((answer.status, answer.body.as_str()), (200, ""));
            assert_eq!(answer.header("content-type"), "application/sdp");
        }
        let mut headers = [get.headers, head.headers];
        for headers in &mut headers {
            headers.remove("date");
        }
        assert_eq!(headers[0], headers[1]);
    }
}

#[tokio::test]
async fn e2_the_answer_sends_and_an_offer_that_does_not_receive_is_422() {
    let world = World::start().await;
    for direction in ["recvonly", "sendrecv"] {
        let offer = CHROMIUM_PLAYS.replace("a=recvonly", &format!("a={direction}"));
        let answer = world.join("/whep/demo", offer).await;
        assert!(answer.has("etag"));
        assert_eq!(answer.lines("a=sendonly").len(), 2, "{}", answer.body);
        assert!(answer.lines("a=recv").is_empty());
    }
    for direction in ["sendonly", "inactive"] {
        let offer = CHROMIUM_PLAYS.replace("a=recvonly", &format!("a={direction}"));
        world.post("/whep/demo", offer).await.is(422, "unsupported");
    }
}

/// Chromium's offer with nothing but a codec that is unknown here.
fn of_unknown_codecs() -> String {
    ["VP8", "VP9", "AV1", "H264"]
        .iter()
        .fold(CHROMIUM_PLAYS.to_owned(), |offer, codec| {
            offer.replace(&format!("{codec}/90000"), "H265/90000")
        })
}

/// Asserts that this is an offer of the server's that can be answered.
fn is_counter_offer(answer: &Answer) {
    assert_eq!(answer.status, 406, "{answer:?}");
    let essence = answer.header("content-type");
    let until = essence.strip_prefix("application/sdp; valid-until=\"");
    let until = until.and_then(|it| it.strip_suffix(" GMT\""));
    let until = httpdate::parse_http_date(&format!("{} GMT", until.expect("it says until when")));
    let date = httpdate::parse_http_date(answer.header("date")).expect("a date");
    let left = until.expect("a date").duration_since(date);
    // Both are whole seconds.
    assert!(
        (29..=31).contains(&left.expect("later").as_secs()),
        "{essence}"
    );
    assert!(answer.has("location") && answer.has("etag"));
    assert_eq!(answer.lines("a=sendonly").len(), 2, "{}", answer.body);
    assert!(answer.lines("a=recv").is_empty() && answer.lines("a=inactive").is_empty());
    assert!(
        answer
            .lines("a=setup:")
            .iter()
            .all(|it| *it == "a=setup:actpass")
    );
    assert_eq!(answer.lines("a=ice-lite").len(), 1);
    assert!(!answer.lines("a=candidate:").is_empty());
}

#[tokio::test]
async fn e3_who_offers_nothing_that_is_known_here_gets_an_offer() {
    let world = World::start().await;
    let refused = world.post("/whep/demo", of_unknown_codecs()).await;
    is_counter_offer(&refused);
    // Its session is there, waiting to be answered, until it is left.
    assert_eq!(world.sessions().await, 1);
    assert_eq!(world.ask("DELETE", refused.session()).await.status, 200);

    is_counter_offer(&world.post("/whep/demo?mode=offer", CHROMIUM_PLAYS).await);
    // Publishers and rooms are never offered to.
    for door in ["/whip/demo?mode=offer", "/rooms/demo/sessions?mode=offer"] {
        let offer = of_unknown_codecs().replace("a=recvonly", "a=sendonly");
        assert_ne!(world.post(door, offer).await.status, 406);
    }
}

#[tokio::test]
async fn e4_a_player_that_answers_sees_what_is_published() {
    let world = World::start().await;
    let mut camera = Peer::camera().await;
    let published = world.join("/whip/demo/ada", camera.offer.as_str()).await;
    camera.connect(&published.body).await;
    let offered = world
        .send("POST", "/whep/demo/ada?mode=offer", &[], "")
        .await;
    is_counter_offer(&offered);
    let (mut player, answer) = Peer::player(&offered.body).await;
    let etag = offered.header("etag");
    let headers = [SDP, ("if-match", etag)];
    let taken = world
        .send("PATCH", offered.session(), &headers, answer)
        .await;
    assert_eq!((taken.status, taken.body.as_str()), (204, ""));
    assert_eq!(taken.header("etag"), etag);
    tokio::select! {
        () = player.sees_video() => {}
        () = camera.film() => {}
    }
}

#[tokio::test]
async fn e4_what_is_no_answer_is_refused_and_may_be_mended() {
    let world = World::start().await;
    let offered = world.send("POST", "/whep/demo?mode=offer", &[], "").await;
    let (_, answer) = Peer::player(&offered.body).await;
    let patch = |body: String| world.send("PATCH", offered.session(), &[SDP], body);
    patch("garbage".into()).await.is(400, "malformed");
    let lines = answer.lines();
    let cut: Vec<&str> = lines.take_while(|line| !line.starts_with("m=")).collect();
    patch(cut.join("\r\n")).await.is(400, "malformed");
    for direction in ["sendrecv", "sendonly", "inactive"] {
        let other = answer.replace("a=recvonly", &format!("a={direction}"));
        patch(other).await.is(422, "unsupported");
    }
    let undecided = answer.replace("a=setup:passive", "a=setup:actpass");
    patch(undecided).await.is(422, "unsupported");
    // An offer of its own is no answer either.
    patch(CHROMIUM_PLAYS.into()).await.is(422, "unsupported");
    assert_eq!(patch(answer).await.status, 204);
}

#[tokio::test]
async fn e5_an_offer_is_answered_once_and_candidates_may_come_before() {
    let world = World::start().await;
    let offered = world.send("POST", "/whep/demo?mode=offer", &[], "").await;
    let (_, answer) = Peer::player(&offered.body).await;
    let credentials: Vec<&str> = answer
        .lines()
        .filter(|line| line.starts_with("a=ice-ufrag") || line.starts_with("a=ice-pwd"))
        .take(2)
        .collect();
    let mids = offered.lines("a=mid:");
    let candidate = "a=candidate:1 1 udp 2130706431 192.0.2.44 43127 typ host";
    let fragment = format!(
        "{}\r\nm=audio 9 RTP/AVP 0\r\n{}\r\n{candidate}\r\n",
        credentials.join("\r\n"),
        mids[0]
    );
    let patch =
        async |kind, body: String| world.send("PATCH", offered.session(), &[kind], body).await;
    let early = patch(FRAGMENT, fragment).await;
    assert_eq!((early.status, early.has("etag")), (204, false), "{early:?}");
    let stale = [SDP, ("if-match", "\"other\"")];
    let stale = world.send("PATCH", offered.session(), &stale, answer.clone());
    stale.await.is(412, "stale");
    assert_eq!(patch(SDP, answer.clone()).await.status, 204);
    patch(SDP, answer.clone()).await.is(409, "answered");
    // From here on, ICE restarts as anywhere.
    let restart = credentials.join("\r\n").replace(':', ":another") + "\r\n";
    let any = [FRAGMENT, ("if-match", "*")];
    let restarted = world.send("PATCH", offered.session(), &any, restart).await;
    assert_eq!(restarted.status, 200, "{restarted:?}");
    assert_ne!(restarted.header("etag"), offered.header("etag"));
}

#[tokio::test]
async fn e6_players_offers_are_taken_as_they_are() {
    let world = World::start().await;
    for offer in [CHROMIUM_PLAYS, AIORTC_PLAYS] {
        world.join("/whep/demo", offer).await;
        world.join("/whep/demo/ada", offer).await;
    }
}

#[tokio::test]
async fn e7_a_player_may_come_before_its_publisher_unless_the_server_wants_one() {
    let world = World::start().await;
    world.join("/whep/demo/nobody-yet", CHROMIUM_PLAYS).await;

    let world = World::with(|settings| settings.require_publisher = true).await;
    for door in ["/whep/demo", "/whep/demo/ada"] {
        let answer = world.post(door, CHROMIUM_PLAYS).await;
        answer.is(409, "nobody-publishes");
        let seconds: u64 = answer.header("retry-after").parse().expect("seconds");
        assert!(seconds >= 1);
    }
    let mut peer = crate::peer::Peer::publisher().await;
    let joined = world.join("/whip/demo/ada", peer.offer.clone()).await;
    peer.connect(&joined.body).await;
    world.join("/whep/demo", CHROMIUM_PLAYS).await;
    world.join("/whep/demo/ada", CHROMIUM_PLAYS).await;
    let other = world.post("/whep/demo/grace", CHROMIUM_PLAYS).await;
    other.is(409, "nobody-publishes");
}

#[tokio::test]
async fn e8_all_that_is_played_belongs_to_one_stream() {
    let world = World::start().await;
    let answer = world.join("/whep/demo", CHROMIUM_PLAYS).await;
    let streams: Vec<&str> = answer
        .lines("a=msid:")
        .iter()
        .filter_map(|line| line.split_ascii_whitespace().next())
        .collect();
    assert_eq!(streams.len(), 2, "{}", answer.body);
    assert_eq!(streams[0], streams[1]);
    assert_eq!(answer.lines("m=video").len(), 1);
    assert_eq!(answer.lines("m=audio").len(), 1);
}

#[tokio::test]
async fn e9_every_codec_that_both_know_is_in_the_answer() {
    let world = World::start().await;
    let answer = world.join("/whep/demo", CHROMIUM_PLAYS).await;
    for codec in ["VP8", "VP9", "H264", "AV1", "opus"] {
        let offered = CHROMIUM_PLAYS.contains(&format!(" {codec}/"));
        let answered = answer.body.contains(&format!(" {codec}/"));
        assert!(offered && answered, "{codec}: {}", answer.body);
    }
}

#[tokio::test]
async fn e10_a_post_without_an_offer_is_refused_unless_it_asks_for_one() {
    let world = World::start().await;
    let accepts = ("accept", "application/sdp");
    let nothing = world.send("POST", "/whep/demo", &[accepts], "").await;
    nothing.is(415, "content-type");
    let nothing = world.send("POST", "/whep/demo", &[SDP, accepts], "").await;
    nothing.is(400, "malformed");
    let door = "/whep/demo?mode=offer";
    is_counter_offer(&world.send("POST", door, &[accepts], "").await);
}

#[tokio::test]
async fn e17_players_are_told_to_come_again_when_the_server_goes() {
    let world = World::start().await;
    let joined = world.join("/whep/demo", CHROMIUM_PLAYS).await;
    let state = format!("{}/state", joined.session());
    let seen = world.ask("GET", &state).await;
    let seen: serde_json::Value = serde_json::from_str(&seen.body).expect("JSON");
    let version = &seen["events"][0]["id"];
    world.shut_engines_down();
    let newer = format!("{state}?since={version}");
    let last = world.ask("GET", &newer).await.body;
    assert!(last.contains("\"reconnect\""), "{last}");
    assert!(last.contains("\"shutdown\""), "{last}");
}
