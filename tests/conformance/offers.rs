//! Offers of real clients, and what is done to them.

/// Chromium publishes audio and a camera in three encodings.
pub(crate) const CHROMIUM: &str = include_str!("../fixtures/sdp/chromium-publish-simulcast.sdp");
/// GStreamer's `whipclientsink` publishes VP8 and Opus.
pub(crate) const GSTREAMER: &str = include_str!("../fixtures/sdp/gstreamer-publish.sdp");
/// FFmpeg's WHIP muxer publishes H.264 and Opus.
pub(crate) const FFMPEG: &str = include_str!("../fixtures/sdp/ffmpeg-publish.sdp");
/// libdatachannel (OBS Studio) publishes.
pub(crate) const LIBDATACHANNEL: &str = include_str!("../fixtures/sdp/libdatachannel-publish.sdp");
/// Firefox publishes simulcast.
pub(crate) const FIREFOX: &str = include_str!("../fixtures/sdp/firefox-publish-simulcast.sdp");
/// Chromium plays video and audio.
pub(crate) const CHROMIUM_PLAYS: &str = include_str!("../fixtures/sdp/chromium-play.sdp");
/// aiortc plays audio and video.
pub(crate) const AIORTC_PLAYS: &str = include_str!("../fixtures/sdp/aiortc-play.sdp");
/// A page in a room: its own tracks, and slots.
pub(crate) const CHROMIUM_MEETS: &str = include_str!("../fixtures/sdp/chromium-meet.sdp");

/// With every line that begins so removed.
pub(crate) fn without(offer: &str, start: &str) -> String {
    let kept = offer.lines().filter(|line| !line.starts_with(start));
    kept.map(|line| format!("{line}\r\n")).collect()
}

/// With a whole line for another.
pub(crate) fn replaced(offer: &str, line: &str, other: &str) -> String {
    assert!(offer.lines().any(|text| text == line), "no {line}");
    let lines = offer
        .lines()
        .map(|text| if text == line { other } else { text });
    lines.map(|line| format!("{line}\r\n")).collect()
}

/// The session's part and each m-line's.
pub(crate) fn sections(sdp: &str) -> Vec<String> {
    let mut sections = vec![String::new()];
    for line in sdp.lines() {
        if line.starts_with("m=") {
            sections.push(String::new());
        }
        let last = sections.last_mut().expect("there is one");
        *last += line;
        *last += "\r\n";
    }
    sections
}
