//! The answer that a client gets: `str0m`'s, with our names and the lines the standards ask for.

use std::fmt::Write;

use str0m::media::Direction;

use super::attributes::{direction, direction_name, is_token};
use super::offer::bundle_line;
use super::{IceCredentials, LineKind, OfferLine, OfferSummary};

/// What to say about one m-line of an answer.
#[derive(Clone, Debug)]
pub struct AnswerLine<'a> {
    /// Which one, from 0.
    pub index: usize,
    /// The direction to give, where `str0m`'s will not do: a WHIP answer is `recvonly` (RFC
    /// 9725 §4.2) and a WHEP answer `sendonly`, whatever the client offered beyond that.
    pub direction: Option<Direction>,
    /// What we send on it; `None` leaves what `str0m` wrote.
    pub send: Option<SendSource<'a>>,
}

/// What we send on one m-line. All names are tokens of at most 64 characters (RFC 8830 §2).
#[derive(Clone, Copy, Debug)]
pub struct SendSource<'a> {
    /// Name of the stream: what is played in step shares one.
    pub stream: &'a str,
    /// Name of the track.
    pub track: &'a str,
    /// The canonical name that sender reports go by (RFC 7022).
    pub cname: &'a str,
    /// SSRC of the media.
    pub ssrc: u32,
    /// SSRC of its retransmissions (RFC 4588), if they were negotiated.
    pub rtx_ssrc: Option<u32>,
}

/// Turns `str0m`'s answer into ours.
///
/// * `ice` replaces the credentials, where the session chose its own.
/// * MIDs read as the client wrote them (`str0m` keeps letters and digits only).
/// * `lines` get their direction and source; an m-line that does not send names none.
/// * Each accepted m-line with RTP gets `rtcp-mux-only` (RFC 9725 §4.4), and `rtcp-rsize` if
///   it was offered (RFC 5506 §5); the one with the candidates, `end-of-candidates`, since
///   we never send more of them.
///
/// Everything else stays as it is, byte for byte.
pub fn rewrite_answer(
    answer: &str,
    offer: &OfferSummary,
    ice: Option<&IceCredentials>,
    lines: &[AnswerLine<'_>],
) -> String {
    let mut sections = sections(answer);
    let mut out = String::with_capacity(answer.len() + 256 * lines.len() + 64);
    if let Some(session) = sections.next() {
        let refused = refused_lines(answer);
        write_session(&mut out, session, offer, &refused, lines, ice);
    }
    for (index, section) in sections.enumerate() {
        let wish = lines.iter().find(|line| line.index == index);
        let offered = offer.lines.get(index);
        MediaWriter::new(section, offered, wish, ice).write(&mut out);
    }
    out
}

/// Says how large a message on a data channel may be (RFC 8841 §6), where there may be any.
pub fn with_max_message_size(answer: &str, bytes: u32) -> String {
    const NAME: &str = "a=max-message-size:";
    let mut out = String::with_capacity(answer.len());
    for line in answer.lines() {
        match line.starts_with(NAME) {
            true => put(&mut out, &format!("{NAME}{bytes}")),
            false => put(&mut out, line),
        }
    }
    out
}

/// The session's part and then each m-line's, as slices of the text.
fn sections(sdp: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(sdp);
    std::iter::from_fn(move || {
        let text = rest?;
        // A section ends before the next line that begins with "m=".
        let end = text
            .get(1..)
            .and_then(|tail| tail.find("\nm="))
            .map(|at| at + 2);
        rest = end.map(|end| &text[end..]);
        Some(end.map_or(text, |end| &text[..end]))
    })
}

/// Which m-lines the answer refuses.
fn refused_lines(answer: &str) -> Vec<bool> {
    sections(answer).skip(1).map(is_refused).collect()
}

fn is_refused(section: &str) -> bool {
    section.split_ascii_whitespace().nth(1) == Some("0")
}

fn put(out: &mut String, line: &str) {
    out.push_str(line);
    out.push_str("\r\n");
}

fn write_session(
    out: &mut String,
    session: &str,
    offer: &OfferSummary,
    refused: &[bool],
    lines: &[AnswerLine<'_>],
    ice: Option<&IceCredentials>,
) {
    for text in session.lines() {
        if text.starts_with("a=group:BUNDLE") {
            let mut bundled = offer.lines.clone();
            for (line, refused) in bundled.iter_mut().zip(refused) {
                line.rejected = *refused;
            }
            bundled.truncate(refused.len());
            out.push_str(&bundle_line(&bundled));
        } else if text.starts_with("a=msid-semantic:")
            && lines.iter().any(|line| line.send.is_some())
        {
            // It lists streams by the names that were replaced; "*" stands for all of them.
            put(out, "a=msid-semantic: WMS *");
        } else {
            write_credential(out, text, ice);
        }
    }
}

/// Writes a line, with our credentials if it is about them.
fn write_credential(out: &mut String, text: &str, ice: Option<&IceCredentials>) {
    let Some(IceCredentials { ufrag, pwd }) = ice else {
        return put(out, text);
    };
    if text.starts_with("a=ice-ufrag:") {
        put(out, &format!("a=ice-ufrag:{ufrag}"));
    } else if text.starts_with("a=ice-pwd:") {
        put(out, &format!("a=ice-pwd:{pwd}"));
    } else if text.starts_with("a=candidate:") {
        // A candidate may say which ICE session it is of: Chromium's do, and str0m's, as
        // their last word.
        match text.rsplit_once(" ufrag ") {
            Some((candidate, _)) => put(out, &format!("{candidate} ufrag {ufrag}")),
            None => put(out, text),
        }
    } else {
        put(out, text);
    }
}

/// One m-line on its way out.
struct MediaWriter<'a> {
    section: &'a str,
    offered: Option<&'a OfferLine>,
    ice: Option<&'a IceCredentials>,
    direction: Option<Direction>,
    /// What we name as ours; `None` if that stays as it is, or if nothing is sent.
    source: Option<SendSource<'a>>,
    sends: bool,
}

impl<'a> MediaWriter<'a> {
    fn new(
        section: &'a str,
        offered: Option<&'a OfferLine>,
        wish: Option<&AnswerLine<'a>>,
        ice: Option<&'a IceCredentials>,
    ) -> Self {
        let mut written = section.lines().filter_map(|text| text.strip_prefix("a="));
        let written = written.find_map(direction);
        let direction = wish.and_then(|wish| wish.direction).or(written);
        let sends = !is_refused(section) && direction.is_some_and(|now| now.is_sending());
        Self {
            section,
            offered,
            ice,
            direction,
            source: wish.and_then(|wish| wish.send).filter(|_| sends),
            sends,
        }
    }

    fn write(&self, out: &mut String) {
        let mut lines = self.section.lines().peekable();
        while let Some(text) = lines.next() {
            self.write_line(out, text);
            let is_candidate = |text: &str| text.starts_with("a=candidate:");
            if is_candidate(text) && !lines.peek().is_some_and(|next| is_candidate(next)) {
                self.add(out, "a=end-of-candidates");
            }
            if text == "a=rtcp-mux" {
                self.add_rtcp(out);
            }
        }
        if let Some(source) = &self.source {
            write_source(out, source);
        }
    }

    fn write_line(&self, out: &mut String, text: &str) {
        let names_source = text.starts_with("a=ssrc") || text.starts_with("a=msid:");
        if names_source && (self.source.is_some() || !self.sends) {
            return;
        }
        let is_direction = text.strip_prefix("a=").and_then(direction).is_some();
        match (self.direction, self.offered) {
            (Some(now), _) if is_direction => {
                put(out, &format!("a={}", direction_name(now)));
                if let Some(source) = &self.source {
                    put(out, &format!("a=msid:{} {}", source.stream, source.track));
                }
            }
            // The client's own name for the m-line.
            (_, Some(line)) if text.starts_with("a=mid:") => {
                put(out, &format!("a=mid:{}", line.mid));
            }
            _ => write_credential(out, text, self.ice),
        }
    }

    fn add_rtcp(&self, out: &mut String) {
        let accepted = self.offered.filter(|_| !is_refused(self.section));
        let Some(line) = accepted.filter(|line| line.kind != LineKind::Application) else {
            return;
        };
        self.add(out, "a=rtcp-mux-only");
        if line.rtcp_rsize {
            self.add(out, "a=rtcp-rsize");
        }
    }

    /// Writes a line that the m-line does not have already.
    fn add(&self, out: &mut String, line: &str) {
        if self.section.lines().all(|text| text != line) {
            put(out, line);
        }
    }
}

/// Names the SSRCs (RFC 5576): clients that know no MID extension tell streams by them.
fn write_source(out: &mut String, source: &SendSource<'_>) {
    let SendSource {
        stream,
        track,
        cname,
        ssrc,
        rtx_ssrc,
    } = *source;
    debug_assert!(
        [stream, track, cname].into_iter().all(is_token),
        "names are tokens"
    );
    let mut write = |line: std::fmt::Arguments<'_>| {
        out.write_fmt(line).expect("a String takes everything");
    };
    if let Some(rtx) = rtx_ssrc {
        write(format_args!("a=ssrc-group:FID {ssrc} {rtx}\r\n"));
    }
    for ssrc in std::iter::once(ssrc).chain(rtx_ssrc) {
        write(format_args!("a=ssrc:{ssrc} cname:{cname}\r\n"));
        write(format_args!("a=ssrc:{ssrc} msid:{stream} {track}\r\n"));
    }
}

/// The ids under which an m-line's header extensions travel (RFC 8285 §5); `None` for those
/// that were not negotiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionIds {
    /// MID (RFC 9143 §15.2).
    pub mid: Option<u8>,
    /// RID (RFC 8852).
    pub rid: Option<u8>,
    /// RID of a retransmission (RFC 8852).
    pub repaired_rid: Option<u8>,
    /// Transport-wide sequence number (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    pub twcc: Option<u8>,
    /// When the packet was sent.
    pub abs_send_time: Option<u8>,
    /// When the frame was captured.
    pub abs_capture_time: Option<u8>,
    /// Loudness (RFC 6464).
    pub audio_level: Option<u8>,
    /// Rotation (3GPP TS 26.114 §7.4.5).
    pub video_orientation: Option<u8>,
    /// How long the receiver should or may buffer.
    pub playout_delay: Option<u8>,
    /// Camera or screen.
    pub video_content_type: Option<u8>,
    /// Where the sender spent its time.
    pub video_timing: Option<u8>,
    /// Which layers of simulcast are being sent.
    pub video_layers_allocation: Option<u8>,
    /// AV1's dependency descriptor.
    pub dependency_descriptor: Option<u8>,
}

impl ExtensionIds {
    fn place(&mut self, uri: &str) -> Option<&mut Option<u8>> {
        Some(match uri {
            "urn:ietf:params:rtp-hdrext:sdes:mid" => &mut self.mid,
            "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id" => &mut self.rid,
            "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id" => &mut self.repaired_rid,
            "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01" => {
                &mut self.twcc
            }
            "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time" => &mut self.abs_send_time,
            "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time" => {
                &mut self.abs_capture_time
            }
            "urn:ietf:params:rtp-hdrext:ssrc-audio-level" => &mut self.audio_level,
            "urn:3gpp:video-orientation" => &mut self.video_orientation,
            "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay" => &mut self.playout_delay,
            "http://www.webrtc.org/experiments/rtp-hdrext/video-content-type" => {
                &mut self.video_content_type
            }
            "http://www.webrtc.org/experiments/rtp-hdrext/video-timing" => &mut self.video_timing,
            "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00" => {
                &mut self.video_layers_allocation
            }
            "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension" => {
                &mut self.dependency_descriptor
            }
            _ => return None,
        })
    }
}

/// The extension ids that an answer of ours gives to one of its m-lines.
pub fn extmap_ids(answer: &str, index: usize) -> ExtensionIds {
    let mut ids = ExtensionIds::default();
    let section = sections(answer).nth(index + 1).unwrap_or("");
    for value in section
        .lines()
        .filter_map(|text| text.strip_prefix("a=extmap:"))
    {
        let mut words = value.split_ascii_whitespace();
        // An id may have a direction: "3/sendonly".
        let id = words
            .next()
            .and_then(|word| word.split('/').next()?.parse().ok());
        if let Some(place) = words.next().and_then(|uri| ids.place(uri)) {
            *place = id.filter(|&id| id > 0);
        }
    }
    ids
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
