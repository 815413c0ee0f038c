//! Answers that `str0m` really gives to the offers of real clients, rewritten.

use str0m::change::SdpOffer;
use str0m::net::Protocol;
use str0m::{Candidate, Rtc};

use super::super::Setup;
use super::*;

const CHROMIUM: &str = include_str!("../../../tests/fixtures/sdp/chromium-publish-simulcast.sdp");
const CHROMIUM_PLAY: &str = include_str!("../../../tests/fixtures/sdp/chromium-play.sdp");
const CHROMIUM_MEET: &str = include_str!("../../../tests/fixtures/sdp/chromium-meet.sdp");
const FIREFOX: &str = include_str!("../../../tests/fixtures/sdp/firefox-publish-simulcast.sdp");
const FFMPEG: &str = include_str!("../../../tests/fixtures/sdp/ffmpeg-publish.sdp");
const GSTREAMER: &str = include_str!("../../../tests/fixtures/sdp/gstreamer-publish.sdp");
const LIBDATACHANNEL: &str = include_str!("../../../tests/fixtures/sdp/libdatachannel-publish.sdp");
const AIORTC_PLAY: &str = include_str!("../../../tests/fixtures/sdp/aiortc-play.sdp");

const ALL: [&str; 8] = [
    CHROMIUM,
    CHROMIUM_PLAY,
    CHROMIUM_MEET,
    FIREFOX,
    FFMPEG,
    GSTREAMER,
    LIBDATACHANNEL,
    AIORTC_PLAY,
];

/// What `str0m` answers, as an ICE-lite server with one candidate.
fn answer_of_str0m(offer: &str) -> String {
    let summary = OfferSummary::parse(offer).expect("a whole offer");
    // No answer depends on the time.
    #[allow(
        clippy::disallowed_methods,
        reason = "str0m asks for some time to begin with"
    )]
    let start = std::time::Instant::now();
    let mut rtc = Rtc::builder()
        .set_rtp_mode(true)
        .set_ice_lite(true)
        .build(start);
    let address = "192.0.2.1:3478".parse().expect("an address");
    rtc.add_local_candidate(Candidate::host(address, Protocol::Udp).expect("a candidate"));
    let offer = SdpOffer::from_sdp_string(&summary.normalize(offer)).expect("str0m reads it");
    let answer = rtc.sdp_api().accept_offer(offer).expect("str0m takes it");
    answer.to_sdp_string()
}

fn source(ssrc: u32, rtx_ssrc: Option<u32>) -> SendSource<'static> {
    SendSource {
        stream: "alice",
        track: "camera",
        cname: "plenum",
        ssrc,
        rtx_ssrc,
    }
}

/// An answer in which every m-line that can be sent on gets a source.
fn rewritten(offer: &str) -> (String, String) {
    let summary = OfferSummary::parse(offer).expect("a whole offer");
    let answer = answer_of_str0m(offer);
    let lines: Vec<_> = summary
        .lines
        .iter()
        .map(|line| AnswerLine {
            index: line.index,
            // What we send on is inactive in str0m's own answer.
            direction: line.direction.is_receiving().then_some(Direction::SendOnly),
            send: line
                .direction
                .is_receiving()
                .then(|| source(1000 + line.index as u32, Some(2000))),
        })
        .collect();
    let ours = rewrite_answer(&answer, &summary, None, &lines);
    (answer, ours)
}

#[test]
fn every_answer_still_reads_as_one() {
    for offer in ALL {
        let (before, after) = rewritten(offer);
        let summary = OfferSummary::parse(&after).expect("an answer is of the same form");
        assert_eq!(
            summary.lines.len(),
            OfferSummary::parse(offer).expect("whole").lines.len()
        );
        assert!(
            after
                .split_inclusive('\n')
                .all(|line| line.ends_with("\r\n"))
        );
        // Nothing is lost but what we name ourselves, and that nothing is sent.
        let ours = |line: &&str| {
            ["a=ssrc", "a=msid", "a=inactive"]
                .iter()
                .any(|ours| line.starts_with(ours))
        };
        for line in before.lines().filter(|line| !ours(line)) {
            assert!(after.lines().any(|other| other == line), "{line:?} is gone");
        }
    }
}

#[test]
fn every_accepted_m_line_has_what_the_standards_ask_for() {
    for offer in ALL {
        let (_, after) = rewritten(offer);
        let offered = OfferSummary::parse(offer).expect("whole");
        assert_eq!(after.matches("a=end-of-candidates\r\n").count(), 1);
        let mut lines = sections(&after).nth(1).expect("an m-line").lines();
        lines
            .find(|line| line.starts_with("a=candidate:"))
            .expect("our address");
        assert_eq!(lines.next(), Some("a=end-of-candidates"));
        for (section, line) in sections(&after).skip(1).zip(&offered.lines) {
            let is_rtp = line.kind != LineKind::Application;
            assert_eq!(
                section.matches("a=rtcp-mux-only\r\n").count(),
                usize::from(is_rtp),
                "{section}"
            );
            let rsize = usize::from(line.rtcp_rsize);
            assert_eq!(
                section.matches("a=rtcp-rsize\r\n").count(),
                rsize,
                "{section}"
            );
        }
    }
}

#[test]
fn a_player_gets_both_tracks_in_one_stream() {
    let (_, after) = rewritten(CHROMIUM_PLAY);
    for (index, section) in sections(&after).skip(1).enumerate() {
        let ssrc = 1000 + index;
        assert_eq!(section.matches("a=msid:").count(), 1);
        assert!(
            section.contains("a=sendonly\r\na=msid:alice camera\r\n"),
            "{section}"
        );
        let named = format!(
            "a=ssrc-group:FID {ssrc} 2000\r\na=ssrc:{ssrc} cname:plenum\r\na=ssrc:{ssrc} msid:alice camera\r\n\
             a=ssrc:2000 cname:plenum\r\na=ssrc:2000 msid:alice camera\r\n"
        );
        assert!(section.ends_with(&named), "{section}");
    }
    assert!(after.contains("a=msid-semantic: WMS *\r\n"));
}

#[test]
fn a_publisher_is_told_no_sources_of_ours() {
    for offer in [CHROMIUM, FIREFOX, FFMPEG] {
        let both_ways = offer.replace("a=sendonly", "a=sendrecv");
        let summary = OfferSummary::parse(&both_ways).expect("whole");
        let answer = answer_of_str0m(&both_ways);
        assert!(answer.contains("a=sendrecv\r\n") && answer.contains("a=ssrc:"));
        let lines: Vec<_> = (0..2)
            .map(|index| AnswerLine {
                index,
                direction: Some(Direction::RecvOnly),
                send: None,
            })
            .collect();
        let ours = rewrite_answer(&answer, &summary, None, &lines);
        assert_eq!(ours.matches("a=recvonly\r\n").count(), 2);
        assert!(
            !ours.contains("a=sendrecv") && !ours.contains("a=ssrc") && !ours.contains("a=msid:")
        );
    }
    let (_, simulcast) = rewritten(CHROMIUM);
    assert!(simulcast.contains("a=simulcast:recv q;h;f\r\n"));
}

#[test]
fn a_player_who_offered_both_ways_is_sent_to_only() {
    let both_ways = AIORTC_PLAY.replace("a=recvonly", "a=sendrecv");
    let summary = OfferSummary::parse(&both_ways).expect("whole");
    let line = |index| AnswerLine {
        index,
        direction: Some(Direction::SendOnly),
        send: Some(source(7, None)),
    };
    let ours = rewrite_answer(
        &answer_of_str0m(&both_ways),
        &summary,
        None,
        &[line(0), line(1)],
    );
    assert_eq!(
        ours.matches("a=sendonly\r\na=msid:alice camera\r\n")
            .count(),
        2
    );
    assert!(!ours.contains("a=ssrc-group"));
}

#[test]
fn names_of_m_lines_come_back_as_they_were_sent() {
    let odd = CHROMIUM
        .replace("a=mid:1", "a=mid:video-1.a")
        .replace("BUNDLE 0 1", "BUNDLE 0 video-1.a");
    let (before, after) = rewritten(&odd);
    assert!(
        before.contains("a=mid:video_1_a"),
        "str0m keeps letters and digits"
    );
    assert!(
        after.contains("a=mid:video-1.a\r\n") && after.contains("a=group:BUNDLE 0 video-1.a\r\n")
    );
}

#[test]
fn a_refused_m_line_leaves_the_bundle_and_gets_nothing() {
    let refused = FFMPEG
        .replace("H264", "H263")
        .replace("m=video 9", "m=video 0")
        .replace("BUNDLE 0 1", "BUNDLE 0");
    let (_, after) = rewritten(&refused);
    let video = sections(&after).nth(2).expect("an m-line");
    assert!(video.starts_with("m=video 0 "));
    assert!(!video.contains("rtcp-mux-only") && !video.contains("a=ssrc"));
    assert!(after.contains("a=group:BUNDLE 0\r\n"));
}

#[test]
fn the_sessions_own_credentials_are_told() {
    let summary = OfferSummary::parse(CHROMIUM_MEET).expect("whole");
    let ice = IceCredentials {
        ufrag: "ourufrag".into(),
        pwd: "0123456789012345678901".into(),
    };
    let answer = answer_of_str0m(CHROMIUM_MEET);
    let ours = rewrite_answer(&answer, &summary, Some(&ice), &[]);
    let read = OfferSummary::parse(&ours).expect("an answer is of the same form");
    assert_eq!(read.ice, ice);
    assert_eq!(ours.matches(" typ host ufrag ourufrag\r\n").count(), 1);
    assert_eq!(
        ours.matches("a=ice-ufrag:ourufrag\r\n").count(),
        answer.matches("a=ice-ufrag:").count()
    );
    assert_eq!(
        ours.matches("a=ice-pwd:").count(),
        ours.matches("a=ice-pwd:0123456789012345678901\r\n").count()
    );
}

#[test]
fn setup_is_answered_by_its_opposite() {
    let (_, chromium) = rewritten(CHROMIUM);
    assert_eq!(
        OfferSummary::parse(&chromium).expect("whole").setup,
        Setup::Passive
    );
    let (_, ffmpeg) = rewritten(FFMPEG);
    assert_eq!(
        OfferSummary::parse(&ffmpeg).expect("whole").setup,
        Setup::Active
    );
}

#[test]
fn extension_ids_are_those_of_the_m_line() {
    let (_, after) = rewritten(CHROMIUM_MEET);
    let audio = extmap_ids(&after, 0);
    assert_eq!(
        (
            audio.audio_level,
            audio.abs_send_time,
            audio.twcc,
            audio.mid
        ),
        (Some(1), Some(2), Some(3), Some(4))
    );
    assert_eq!(audio.video_orientation, None);
    let video = extmap_ids(&after, 1);
    assert_eq!(
        (video.video_orientation, video.twcc, video.mid),
        (Some(13), Some(3), Some(4))
    );
    assert_eq!(video.audio_level, None);
    let (_, ffmpeg) = rewritten(FFMPEG);
    assert_eq!(extmap_ids(&ffmpeg, 0), ExtensionIds::default());
    assert_eq!(extmap_ids(&ffmpeg, 9), ExtensionIds::default());
    let odd = "v=0\r\nm=audio 9\r\na=extmap:9/sendonly urn:3gpp:video-orientation\r\na=extmap:x urn:ietf:params:rtp-hdrext:sdes:mid\r\n";
    assert_eq!(extmap_ids(odd, 0).video_orientation, Some(9));
    assert_eq!(extmap_ids(odd, 0).mid, None);
}
