//! WHIP (RFC 9725): what an offer is answered with, W1 to W10.

use plenum::net::StreamLimits;

use crate::offers::{
    CHROMIUM, CHROMIUM_MEETS, CHROMIUM_PLAYS, FFMPEG, FIREFOX, GSTREAMER, LIBDATACHANNEL, replaced,
    sections, without,
};
use crate::server::{SDP, World};

#[tokio::test]
async fn w1_an_offer_makes_a_session_with_an_answer() {
    let world = World::start().await;
    let answer = world.join("/whip/demo", CHROMIUM).await;
    assert_eq!(answer.header("content-type"), "application/sdp");
    assert!(answer.session().starts_with("/sessions/"));
    assert!(answer.body.starts_with("v=0\r\n"));
    assert_eq!(answer.lines("m=").len(), 2);
    assert_eq!(world.sessions().await, 1);
}

#[tokio::test]
async fn w2_another_content_type_is_415_and_hears_which_would_do() {
    let world = World::start().await;
    for headers in [
        &[("content-type", "application/json")][..],
        &[("content-type", "application/sdpx")],
        &[],
    ] {
        let answer = world.send("POST", "/whip/demo", headers, CHROMIUM).await;
        answer.is(415, "content-type");
        assert_eq!(answer.header("accept-post"), "application/sdp");
    }
    let spelled = [("content-type", "Application/SDP; charset=utf-8")];
    let answer = world.send("POST", "/whip/demo", &spelled, CHROMIUM).await;
    assert_eq!(answer.status, 201);
}

#[tokio::test]
async fn w3_a_malformed_offer_is_400_and_leaves_no_session() {
    let world = World::start().await;
    let long_line = format!("{CHROMIUM}a=x:{}\r\n", "x".repeat(50 * 1024));
    let nul = format!("{CHROMIUM}\0");
    let version = replaced(CHROMIUM, "v=0", "v=1");
    for bad in ["", "v=1", "hello", &long_line, &nul, &version] {
        world.post("/whip/demo", bad).await.is(400, "malformed");
    }
    assert_eq!(world.sessions().await, 0);
}

#[tokio::test]
async fn w3_an_offer_cut_short_at_any_line_is_refused() {
    let world = World::start().await;
    let lines: Vec<&str> = GSTREAMER.lines().collect();
    let last = lines.iter().rposition(|line| line.starts_with("m="));
    // From its MID on the last m-line is whole enough.
    let whole = lines.iter().rposition(|line| line.starts_with("a=mid:"));
    for count in 0..whole.expect("it has one") {
        let cut = lines[..count].join("\r\n") + "\r\n";
        let answer = world.post("/whip/demo", cut).await;
        let refused = match count {
            count if Some(count) <= last => answer.status == 400,
            _ => matches!(answer.status, 400 | 422),
        };
        assert!(refused, "{count}: {answer:?}");
        answer.problem();
    }
    assert_eq!(world.sessions().await, 0);
}

#[tokio::test]
async fn w4_more_or_fewer_tracks_than_one_publisher_has_are_422() {
    let world = World::start().await;
    let parts = sections(LIBDATACHANNEL);
    let video = parts[1].replace("mid:video", "mid:video2");
    let two_videos = format!("{LIBDATACHANNEL}{video}").replacen(
        "BUNDLE video audio",
        "BUNDLE video audio video2",
        1,
    );
    let two_streams = LIBDATACHANNEL.replace("msid:stream1 audio", "msid:stream2 audio");
    let data_alone = without(&parts[0], "a=group:")
        + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n\
           a=setup:actpass\r\na=ice-ufrag:7Gk2\r\na=ice-pwd:wq0QvNc3c1kZ2yG6bqfJ8l\r\na=sctp-port:5000\r\n";
    for (what, offer) in [
        ("two videos", two_videos),
        ("two streams", two_streams),
        ("no media", data_alone),
    ] {
        let answer = world.post("/whip/demo", offer).await;
        assert_eq!(answer.status, 422, "{what}: {answer:?}");
        assert_eq!(answer.problem(), "unsupported");
    }
    assert_eq!(world.sessions().await, 0);
}

#[tokio::test]
async fn w5_an_offer_is_taken_whole_or_not_at_all() {
    let world = World::start().await;
    let h265 = LIBDATACHANNEL.replace("H264/90000", "H265/90000");
    let answer = world.post("/whip/demo", h265).await;
    answer.is(422, "no-common-codec");
    assert!(answer.body.contains("m-line 0"), "{}", answer.body);
    assert_eq!(world.sessions().await, 0);
}

#[tokio::test]
async fn w6_the_answer_receives_and_an_offer_that_does_not_send_is_422() {
    let world = World::start().await;
    for direction in ["sendonly", "sendrecv"] {
        let offer = LIBDATACHANNEL.replace("a=sendonly", &format!("a={direction}"));
        let answer = world.join("/whip/demo", offer).await;
        assert_eq!(answer.lines("a=recvonly").len(), 2, "{}", answer.body);
        assert!(answer.lines("a=send").is_empty());
    }
    for direction in ["recvonly", "inactive"] {
        let offer = LIBDATACHANNEL.replace("a=sendonly", &format!("a={direction}"));
        let answer = world.post("/whip/demo", offer).await;
        answer.is(422, "unsupported");
    }
}

#[tokio::test]
async fn w7_the_server_waits_for_the_handshake_unless_the_client_does() {
    let world = World::start().await;
    // FFmpeg offers passive, which RFC 9725 does not allow it to: it is answered all the same.
    for (offered, answered) in [
        ("actpass", "passive"),
        ("active", "passive"),
        ("passive", "active"),
    ] {
        let setup = format!("a=setup:{offered}");
        let offer = LIBDATACHANNEL.replace("a=setup:actpass", &setup);
        let answer = world.join("/whip/demo", offer).await;
        let setup = format!("a=setup:{answered}");
        assert!(answer.lines("a=setup:").iter().all(|line| *line == setup));
        assert!(!answer.lines("a=setup:").is_empty());
    }
    let offer = LIBDATACHANNEL.replace("a=setup:actpass", "a=setup:holdconn");
    world.post("/whip/demo", offer).await.is(422, "unsupported");
}

#[tokio::test]
async fn w7_who_wants_to_wait_for_the_handshake_is_refused_when_strict() {
    let world = World::with(|settings| settings.strict_setup = true).await;
    let offer = |setup: &str| LIBDATACHANNEL.replace("a=setup:actpass", setup);
    let refused = world.post("/whip/demo", offer("a=setup:passive")).await;
    refused.is(422, "unsupported");
    for taken in ["a=setup:actpass", "a=setup:active"] {
        world.join("/whip/demo", offer(taken)).await;
    }
    // What no standard forbids is taken.
    let meets = CHROMIUM_MEETS.replace("a=setup:actpass", "a=setup:passive");
    world.join("/rooms/demo/sessions", meets).await;
}

#[tokio::test]
async fn w8_all_media_share_one_transport() {
    let world = World::start().await;
    let answer = world.join("/whip/demo", CHROMIUM).await;
    assert_eq!(answer.lines("a=group:BUNDLE"), ["a=group:BUNDLE 0 1"]);
    for section in &sections(&answer.body)[1..] {
        for line in ["a=rtcp-mux\r\n", "a=rtcp-mux-only\r\n"] {
            assert!(section.contains(line), "{line} in {section}");
        }
    }
    let unbundled = without(CHROMIUM, "a=group:");
    let answer = world.post("/whip/demo", unbundled).await;
    answer.is(422, "unsupported");
}

#[tokio::test]
async fn w9_the_answer_has_all_of_the_servers_candidates_and_needs_none_of_the_client() {
    let world = World::start().await;
    let offer = without(CHROMIUM, "a=candidate:");
    let answer = world.join("/whip/demo", offer).await;
    let candidates = answer.lines("a=candidate:");
    assert_eq!(candidates.len(), 1, "one address is advertised");
    assert!(candidates[0].to_lowercase().contains(" udp "));
    assert_eq!(answer.lines("a=ice-lite").len(), 1);
    assert_eq!(answer.lines("a=end-of-candidates").len(), 1);
}

#[tokio::test]
async fn w9_where_tcp_is_taken_the_answer_has_its_candidates_after_those_of_udp() {
    let world = World::with_tcp(StreamLimits::default()).await;
    for (door, offer) in [("/whip/demo", CHROMIUM), ("/whep/demo", CHROMIUM_PLAYS)] {
        let answer = world.join(door, without(offer, "a=candidate:")).await;
        let candidates = answer.lines("a=candidate:");
        let port = format!(" {} typ host", world.tcp_address().port());
        let [udp, tcp] = candidates[..] else {
            panic!("one of each: {candidates:?}");
        };
        assert!(udp.to_lowercase().contains(" udp "), "{udp}");
        assert!(
            tcp.to_lowercase().contains(" tcp ") && tcp.contains(&port),
            "{tcp}"
        );
        assert!(tcp.contains(" tcptype passive"), "{tcp}");
        let priority = |line: &str| line.split(' ').nth(3).and_then(|it| it.parse::<u32>().ok());
        assert!(priority(udp) > priority(tcp), "{candidates:?}");
    }
}

#[tokio::test]
async fn w10_the_ice_session_has_a_strong_tag_of_its_own() {
    let world = World::start().await;
    let mut tags = Vec::new();
    for _ in 0..3 {
        let answer = world.join("/whip/demo", CHROMIUM).await;
        let tag = answer.header("etag").to_owned();
        let inner = tag
            .strip_prefix('"')
            .and_then(|tag| tag.strip_suffix('"'))
            .expect("in quotes, and not weak");
        assert!(!inner.is_empty() && inner.bytes().all(|b| b.is_ascii_graphic()));
        assert!(!tags.contains(&tag), "{tag} was given before");
        tags.push(tag);
    }
}

#[tokio::test]
async fn w31_encoders_publish_without_any_extension() {
    let world = World::start().await;
    for offer in [GSTREAMER, FFMPEG, LIBDATACHANNEL] {
        world.join("/whip/demo", offer).await;
    }
    let unknown = [SDP, ("link", "<x>; rel=\"urn:example:unknown\"")];
    let answer = world.send("POST", "/whip/demo", &unknown, FFMPEG).await;
    assert_eq!(answer.status, 201);
}

#[tokio::test]
async fn w32_simulcast_is_answered_in_the_order_offered() {
    let world = World::start().await;
    for offer in [CHROMIUM, FIREFOX] {
        let answer = world.join("/whip/demo", offer).await;
        let offered = offer
            .lines()
            .find_map(|line| line.strip_prefix("a=simulcast:send "))
            .expect("it offers simulcast");
        let answered = answer.lines("a=simulcast:");
        assert_eq!(answered, [format!("a=simulcast:recv {offered}")]);
        for rid in offered.split(';') {
            let line = format!("a=rid:{rid} recv");
            assert!(answer.body.contains(&line), "{line}: {}", answer.body);
        }
    }
    let restricted = CHROMIUM.replace("a=rid:q send", "a=rid:q send max-width=320;x-unknown=1");
    let answer = world.join("/whip/demo", restricted).await;
    let offered = CHROMIUM
        .lines()
        .find(|line| line.starts_with("a=simulcast:"));
    let mirrored = offered
        .expect("it offers simulcast")
        .replace("send", "recv");
    assert_eq!(answer.lines("a=simulcast:"), [mirrored]);
    assert!(!answer.body.contains("x-unknown"), "{}", answer.body);
}
