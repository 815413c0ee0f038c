//! WHEP (draft-ietf-wish-whep-03), E1 to E20.

use crate::offers::{AIORTC_PLAYS, CHROMIUM_PLAYS};
use crate::server::{SDP, World};

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

#[tokio::test]
async fn e3_an_offer_that_cannot_be_taken_is_422_without_a_counter_offer() {
    let world = World::start().await;
    let offer = CHROMIUM_PLAYS
        .replace("VP8/90000", "H265/90000")
        .replace("VP9/90000", "H265/90000")
        .replace("AV1/90000", "H265/90000")
        .replace("H264/90000", "H265/90000");
    world.post("/whep/demo", offer).await.is(422, "unsupported");
    assert_eq!(world.sessions().await, 0);
}

#[tokio::test]
async fn e4_e5_a_description_that_is_patched_is_an_offer_never_an_answer() {
    let world = World::start().await;
    let joined = world.join("/whep/demo", CHROMIUM_PLAYS).await;
    let answer = world.send("PATCH", joined.session(), &[SDP], "garbage");
    answer.await.is(400, "malformed");
    let again = world.send("PATCH", joined.session(), &[SDP], CHROMIUM_PLAYS);
    let again = again.await;
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!(again.lines("a=sendonly").len(), 2);
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
async fn e10_a_post_without_an_offer_is_refused() {
    let world = World::start().await;
    let accept = [("accept", "application/sdp")];
    let answer = world.send("POST", "/whep/demo", &accept, "").await;
    answer.is(415, "content-type");
    world.post("/whep/demo", "").await.is(400, "malformed");
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
