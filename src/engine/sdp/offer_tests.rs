//! Offers of real clients, and what becomes of them when they are cut or bent.

use proptest::prelude::*;

use super::super::{check_meet, check_reoffer, check_whep, check_whip};
use super::*;

const CHROMIUM: &str = include_str!("../../../tests/fixtures/sdp/chromium-publish-simulcast.sdp");
const CHROMIUM_PLAY: &str = include_str!("../../../tests/fixtures/sdp/chromium-play.sdp");
const CHROMIUM_MEET: &str = include_str!("../../../tests/fixtures/sdp/chromium-meet.sdp");
const FIREFOX: &str = include_str!("../../../tests/fixtures/sdp/firefox-publish-simulcast.sdp");
const FFMPEG: &str = include_str!("../../../tests/fixtures/sdp/ffmpeg-publish.sdp");
const GSTREAMER: &str = include_str!("../../../tests/fixtures/sdp/gstreamer-publish.sdp");
const LIBDATACHANNEL: &str = include_str!("../../../tests/fixtures/sdp/libdatachannel-publish.sdp");
const AIORTC_PLAY: &str = include_str!("../../../tests/fixtures/sdp/aiortc-play.sdp");

const PUBLISHERS: [&str; 5] = [CHROMIUM, FIREFOX, FFMPEG, GSTREAMER, LIBDATACHANNEL];

fn parse(offer: &str) -> OfferSummary {
    OfferSummary::parse(offer).expect("a whole offer")
}

fn is_malformed(offer: &str) -> bool {
    matches!(OfferSummary::parse(offer), Err(SdpError::Malformed(_)))
}

/// The verdict of a door on an offer in which `from` became `to`, every time.
fn verdict(
    door: fn(&OfferSummary) -> Result<(), SdpError>,
    offer: &str,
    from: &str,
    to: &str,
) -> Result<(), SdpError> {
    assert!(offer.contains(from), "{from:?} is not in the offer");
    OfferSummary::parse(&offer.replace(from, to)).and_then(|offer| door(&offer))
}

fn is_unsupported(verdict: &Result<(), SdpError>) -> bool {
    matches!(verdict, Err(SdpError::Unsupported(_)))
}

#[test]
fn every_known_client_gets_through_its_door() {
    for offer in PUBLISHERS {
        assert_eq!(check_whip(&parse(offer)), Ok(()), "{}", &offer[..60]);
        assert_eq!(check_meet(&parse(offer)), Ok(()), "{}", &offer[..60]);
        assert!(
            is_unsupported(&check_whep(&parse(offer))),
            "{}",
            &offer[..60]
        );
    }
    for offer in [CHROMIUM_PLAY, AIORTC_PLAY] {
        assert_eq!(check_whep(&parse(offer)), Ok(()), "{}", &offer[..60]);
        assert!(
            is_unsupported(&check_whip(&parse(offer))),
            "{}",
            &offer[..60]
        );
    }
    assert_eq!(check_meet(&parse(CHROMIUM_MEET)), Ok(()));
    assert!(is_unsupported(&check_whip(&parse(CHROMIUM_MEET))));
}

#[test]
fn what_chromium_offers_is_understood() {
    let offer = parse(CHROMIUM);
    assert_eq!(offer.setup, Setup::ActPass);
    let video = offer
        .lines
        .iter()
        .find(|line| line.kind == LineKind::Video)
        .expect("a camera");
    assert_eq!(video.rids, ["q", "h", "f"]);
    assert_eq!(video.direction, Direction::SendOnly);
    assert!(video.codecs.iter().any(|codec| codec == "VP8"));
    assert!(video.bundled && video.rtcp_mux && video.rtcp_rsize && !video.rejected);
    assert_eq!(parse(CHROMIUM_MEET).lines[5].kind, LineKind::Application);
}

#[test]
fn what_firefox_and_gstreamer_bundle_on_port_zero_is_not_rejected() {
    for offer in [FIREFOX, GSTREAMER] {
        let offer = parse(offer);
        assert!(
            offer
                .lines
                .iter()
                .all(|line| !line.rejected && line.bundled)
        );
    }
    assert_eq!(parse(FIREFOX).lines[1].rids, ["q", "h", "f"]);
}

#[test]
fn ffmpeg_wants_us_to_begin_the_handshake() {
    let offer = parse(FFMPEG);
    assert_eq!(offer.setup, Setup::Passive);
    assert_eq!(offer.lines[1].codecs, ["H264", "rtx"]);
    assert_eq!(offer.ice.ufrag, "0d1a2b3c");
}

#[test]
fn a_direction_that_is_missing_is_the_sessions_or_both_ways() {
    // Safari is known to leave it out.
    assert_eq!(verdict(check_whip, FFMPEG, "a=sendonly\r\n", ""), Ok(()));
    let offer = parse(&FFMPEG.replace("a=sendonly\r\n", ""));
    assert_eq!(offer.lines[0].direction, Direction::SendRecv);
    let recvonly = FFMPEG
        .replace("a=sendonly\r\n", "")
        .replace("t=0 0\r\n", "t=0 0\r\na=recvonly\r\n");
    assert_eq!(parse(&recvonly).lines[0].direction, Direction::RecvOnly);
}

#[test]
fn a_whip_offer_that_does_not_send_one_stream_is_unsupported() {
    for direction in ["recvonly", "inactive"] {
        let direction = format!("a={direction}\r\n");
        assert!(is_unsupported(&verdict(
            check_whip,
            FFMPEG,
            "a=sendonly\r\n",
            &direction
        )));
    }
    assert!(is_unsupported(&verdict(
        check_whip,
        FFMPEG,
        "a=msid:FFmpeg audio",
        "a=msid:Other audio"
    )));
    assert!(is_unsupported(&verdict(
        check_whip,
        FFMPEG,
        "m=audio 9",
        "m=video 9"
    )));
    assert!(is_unsupported(&verdict(
        check_whip,
        FFMPEG,
        "a=setup:passive",
        "a=setup:holdconn"
    )));
    assert!(is_unsupported(&verdict(
        check_whip,
        FFMPEG,
        "a=rtcp-mux\r\n",
        ""
    )));
    assert!(is_unsupported(&verdict(
        check_whip,
        FFMPEG,
        "a=group:BUNDLE 0 1\r\n",
        ""
    )));
    assert!(is_unsupported(&verdict(
        check_whip,
        FFMPEG,
        "a=group:BUNDLE 0 1\r\n",
        "a=group:BUNDLE 1\r\n"
    )));
    assert!(is_unsupported(&verdict(
        check_whip,
        FFMPEG,
        "t=0 0\r\n",
        "t=0 0\r\na=ice-lite\r\n"
    )));
    let nothing = FFMPEG
        .replace("a=group:BUNDLE 0 1\r\n", "")
        .replace(" 9 UDP", " 0 UDP");
    assert!(is_unsupported(
        &OfferSummary::parse(&nothing).and_then(|offer| check_whip(&offer))
    ));
    assert!(is_unsupported(
        &OfferSummary::parse(&nothing).and_then(|offer| check_meet(&offer))
    ));
    for setup in ["actpass", "active"] {
        let setup = format!("a=setup:{setup}");
        assert_eq!(
            verdict(check_whip, FFMPEG, "a=setup:passive", &setup),
            Ok(())
        );
    }
}

#[test]
fn a_whep_offer_may_not_only_send() {
    assert_eq!(
        verdict(check_whep, AIORTC_PLAY, "a=recvonly", "a=sendrecv"),
        Ok(())
    );
    assert!(is_unsupported(&verdict(
        check_whep,
        AIORTC_PLAY,
        "a=recvonly",
        "a=sendonly"
    )));
    assert!(is_unsupported(&verdict(
        check_whep,
        AIORTC_PLAY,
        "a=recvonly",
        "a=inactive"
    )));
}

#[test]
fn an_offer_without_a_mandatory_part_is_malformed() {
    for part in [
        "v=0\r\n",
        "o=",
        "s=",
        "t=0 0",
        "a=mid:0\r\n",
        "a=ice-ufrag",
        "a=ice-pwd",
        "a=fingerprint",
        "a=setup",
    ] {
        let without: Vec<&str> = FFMPEG
            .split_inclusive('\n')
            .filter(|line| !line.starts_with(part))
            .collect();
        assert!(is_malformed(&without.concat()), "without {part}");
    }
}

#[test]
fn an_offer_that_was_bent_is_malformed() {
    for (from, to) in [
        ("v=0\r\n", "v=1\r\n"),
        ("a=mid:1", "a=mid:0"),
        ("a=mid:1", "a=mid:a b"),
        ("a=mid:1", "a=mid:"),
        ("m=video 9 ", "m=video x "),
        (" 106 105", " 106 205"),
        (" 106 105", ""),
        ("a=rtpmap:105 rtx/90000\r\n", ""),
        ("a=ice-ufrag:0d1a2b3c", "a=ice-ufrag:0 1"),
        (
            "a=ice-pwd:5f0a9c3b7e1d4f6288a0c1d2e3f40516",
            "a=ice-pwd:short",
        ),
        ("a=setup:passive", "a=setup:maybe"),
        ("s=FFmpegPublishSession", "s=FFmpeg\0Session"),
        ("t=0 0\r\n", "t=0 0\r\nhello\r\n"),
    ] {
        assert!(FFMPEG.contains(from), "{from:?}");
        assert!(
            is_malformed(&FFMPEG.replace(from, to)),
            "{from:?} became {to:?}"
        );
    }
    assert!(is_malformed(""));
    assert!(is_malformed(
        &FFMPEG[..FFMPEG.find("m=").expect("an m-line")]
    ));
    assert!(is_malformed(&format!(
        "{FFMPEG}a=x:{}\r\n",
        "y".repeat(MAX_SDP_BYTES)
    )));
    assert!(is_malformed(&format!(
        "{FFMPEG}a=x:{}\r\n",
        "y".repeat(9000)
    )));
}

#[test]
fn an_offer_cut_short_before_its_last_m_line_is_whole_is_malformed() {
    for offer in [FFMPEG, LIBDATACHANNEL, FIREFOX] {
        let last = offer.rfind("m=").expect("an m-line");
        let named = offer[last..].find("a=mid:").expect("a mid") + last;
        for (cut, _) in offer
            .match_indices('\n')
            .take_while(|&(cut, _)| cut < named)
        {
            assert!(is_malformed(&offer[..=cut]), "after {cut} bytes");
        }
    }
}

#[test]
fn what_the_engine_cannot_name_is_unsupported() {
    assert!(is_unsupported(&verdict(
        check_whip,
        CHROMIUM,
        "a=rid:q send",
        "a=rid:a_low send"
    )));
    let long = "x".repeat(17);
    let renamed = FFMPEG
        .replace("a=mid:1", &format!("a=mid:{long}"))
        .replace("BUNDLE 0 1", &format!("BUNDLE 0 {long}"));
    assert!(matches!(
        OfferSummary::parse(&renamed),
        Err(SdpError::Unsupported(_))
    ));
    let many = "a=rid:a send\r\na=rid:b send\r\na=rid:c send\r\na=rid:d send\r\na=rid:e send\r\n";
    assert!(matches!(
        OfferSummary::parse(&format!("{FFMPEG}{many}")),
        Err(SdpError::Unsupported(_))
    ));
    assert!(is_unsupported(&verdict(
        check_meet,
        FFMPEG,
        "UDP/TLS/RTP/SAVPF",
        "RTP/AVP"
    )));
}

#[test]
fn too_many_m_lines_are_unsupported() {
    let line = "m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n";
    let mut offer = FFMPEG.to_owned();
    for index in 2..=MAX_MEDIA_LINES {
        offer.push_str(line);
        offer.push_str(&format!("a=mid:{index}\r\n"));
    }
    assert!(matches!(
        OfferSummary::parse(&offer),
        Err(SdpError::Unsupported(_))
    ));
}

#[test]
fn a_new_offer_may_append_and_stop_but_not_reorder() {
    let former = parse(FFMPEG);
    let screen = "m=video 9 UDP/TLS/RTP/SAVPF 106\r\na=mid:2\r\na=rtcp-mux\r\na=rtpmap:106 H264/90000\r\na=content:slides\r\n";
    let grown = FFMPEG.replace("BUNDLE 0 1", "BUNDLE 0 1 2") + screen;
    let grown = parse(&grown);
    assert!(grown.lines[2].content_slides);
    assert_eq!(check_reoffer(&former, &grown), Ok(()));
    assert!(is_unsupported(&check_reoffer(&grown, &former)));

    let stopped = FFMPEG
        .replace("BUNDLE 0 1", "BUNDLE 0")
        .replace("m=video 9", "m=video 0");
    let stopped = parse(&stopped);
    assert!(stopped.lines[1].rejected);
    assert_eq!(check_reoffer(&former, &stopped), Ok(()));
    assert!(
        is_unsupported(&check_reoffer(&stopped, &former)),
        "a stopped m-line stays stopped"
    );

    let renamed = FFMPEG
        .replace("BUNDLE 0 1", "BUNDLE 0 7")
        .replace("a=mid:1", "a=mid:7");
    assert!(is_unsupported(&check_reoffer(&former, &parse(&renamed))));
    let other_kind = FFMPEG.replace("m=audio", "m=video");
    assert!(is_unsupported(&check_reoffer(&former, &parse(&other_kind))));
}

#[test]
fn descriptors_are_taken_from_senders_of_av1_and_vp9_and_sent_to_all_who_read_them() {
    let keeps = |offer: &str| {
        parse(offer)
            .normalize(offer)
            .contains("dependency-descriptor")
    };
    assert!(!keeps(CHROMIUM), "VP8 comes first");
    for first in ["AV1", "VP9"] {
        let prefers = CHROMIUM.replace("rtpmap:96 VP8/", &format!("rtpmap:96 {first}/"));
        assert!(keeps(&prefers), "{first} comes first");
        let narrow = prefers.replace("a=extmap-allow-mixed", "a=x-none");
        assert!(!keeps(&narrow), "elements of two bytes are not understood");
    }
    let reads = CHROMIUM_PLAY.replace(
        "a=extmap:8 http://www.webrtc.org/experiments/rtp-hdrext/color-space",
        &format!("a=extmap:8 {DEPENDENCY_DESCRIPTOR}"),
    );
    assert!(keeps(&reads), "a receiver");
}

#[test]
fn redundant_audio_is_taken_from_those_who_prefer_it() {
    let normal = parse(CHROMIUM).normalize(CHROMIUM);
    assert!(!normal.contains("red/48000") && !normal.contains("fmtp:63"));
    assert!(normal.contains("SAVPF 111 9 0"));
    let prefers = CHROMIUM.replace("SAVPF 111 63 9", "SAVPF 63 111 9");
    assert!(parse(&prefers).normalize(&prefers).contains("red/48000"));
    let receives = CHROMIUM.replace("a=sendonly", "a=recvonly");
    assert!(parse(&receives).normalize(&receives).contains("red/48000"));
}

#[test]
fn normal_form_has_one_bundle_in_the_order_of_the_m_lines() {
    let offer = parse(LIBDATACHANNEL);
    let reordered = LIBDATACHANNEL.replace("BUNDLE video audio", "BUNDLE audio video");
    for text in [LIBDATACHANNEL, &reordered] {
        let normal = offer.normalize(text);
        assert_eq!(normal.matches("a=group:").count(), 1);
        assert!(normal.contains("\r\na=group:BUNDLE video audio\r\n"));
        assert_eq!(OfferSummary::parse(&normal).as_ref(), Ok(&offer));
    }
    // An empty line at the end is no harm.
    let spaced = format!("{LIBDATACHANNEL}\r\n");
    assert_eq!(
        parse(&spaced).normalize(&spaced),
        offer.normalize(LIBDATACHANNEL)
    );
    // One m-line needs no group on the wire.
    let alone =
        &FFMPEG[..FFMPEG.find("m=video").expect("an m-line")].replace("a=group:BUNDLE 0 1\r\n", "");
    assert_eq!(check_whip(&parse(alone)), Ok(()));
    assert!(
        parse(alone)
            .normalize(alone)
            .contains("t=0 0\r\na=group:BUNDLE 0\r\n")
    );
}

#[test]
fn an_error_never_repeats_what_the_client_sent() {
    let secret = "s3cr3t";
    for line in [
        "a=mid:s3cr3t x",
        "a=ice-pwd:s3cr3t",
        "s3cr3t",
        "m=s3cr3t",
        "a=setup:s3cr3t",
        "a=rtpmap:s3cr3t",
    ] {
        let error = OfferSummary::parse(&format!("{FFMPEG}{line}\r\n")).expect_err(line);
        assert!(!error.to_string().contains(secret), "{error}");
    }
}

proptest! {
    #[test]
    fn no_text_can_do_harm(text in "(?s).{0,200}") {
        prop_assert!(OfferSummary::parse(&text).is_err());
    }

    #[test]
    fn no_change_to_an_offer_can_do_harm(
        which in 0..PUBLISHERS.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), "[ -~\r\n]{0,3}"), 1..8),
    ) {
        let mut offer = PUBLISHERS[which].to_owned();
        for (place, text) in edits {
            let at = place.index(offer.len());
            offer.replace_range(at..=at, &text);
            if offer.is_empty() {
                break;
            }
        }
        if let Ok(summary) = OfferSummary::parse(&offer) {
            prop_assert!(!summary.lines.is_empty());
            let _ = (check_whip(&summary), check_whep(&summary), check_meet(&summary));
            summary.normalize(&offer);
        }
    }
}
