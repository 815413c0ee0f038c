//! Offers as a browser words them, and what is needed of the answers (RFC 8829).

use std::net::SocketAddr;

use crate::{payload::Codec, rtp::ExtensionIds};

/// The simulcast layers that are offered, from the lowest.
pub(crate) const RIDS: [&str; 3] = ["q", "h", "f"];

/// One m-line to be offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MediaSpec {
    pub(crate) codec: Codec,
    pub(crate) sends: bool,
    /// Three layers instead of one.
    pub(crate) simulcast: bool,
    /// First of the SSRCs that it sends with: layers first, then their retransmissions.
    pub(crate) ssrc: u32,
}

impl MediaSpec {
    /// How many layers it sends.
    pub(crate) fn layers(&self) -> u32 {
        if self.simulcast { RIDS.len() as u32 } else { 1 }
    }

    fn payload_types(&self) -> (u8, u8) {
        match self.codec {
            Codec::Opus => (111, 0),
            Codec::Vp8 => (96, 97),
            Codec::H264 => (102, 103),
        }
    }
}

/// Everything that an offer says of our side.
pub(crate) struct OfferSpec<'a> {
    pub(crate) ufrag: &'a str,
    pub(crate) password: &'a str,
    pub(crate) fingerprint: &'a str,
    pub(crate) cname: &'a str,
    pub(crate) address: SocketAddr,
    pub(crate) media: &'a [MediaSpec],
}

const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
const REPAIRED_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
const TRANSPORT_CC: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";

/// Writes an offer; MIDs are the m-lines' numbers.
pub(crate) fn offer(spec: &OfferSpec<'_>) -> String {
    let mut lines = vec![
        "v=0".to_owned(),
        "o=- 4611686018427387904 2 IN IP4 127.0.0.1".to_owned(),
        "s=-".to_owned(),
        "t=0 0".to_owned(),
    ];
    let mids: Vec<String> = (0..spec.media.len())
        .map(|index| index.to_string())
        .collect();
    lines.push(format!("a=group:BUNDLE {}", mids.join(" ")));
    lines.push("a=extmap-allow-mixed".to_owned());
    lines.push("a=msid-semantic: WMS loadtest".to_owned());
    for (mid, media) in spec.media.iter().enumerate() {
        write_media(&mut lines, spec, mid, media);
    }
    let mut text = lines.join("\r\n");
    text.push_str("\r\n");
    text
}

fn write_media(lines: &mut Vec<String>, spec: &OfferSpec<'_>, mid: usize, media: &MediaSpec) {
    let (main, rtx) = media.payload_types();
    let address = spec.address;
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    let kind = if media.codec == Codec::Opus {
        "audio"
    } else {
        "video"
    };
    let formats = if rtx == 0 {
        main.to_string()
    } else {
        format!("{main} {rtx}")
    };
    lines.push(format!(
        "m={kind} {} UDP/TLS/RTP/SAVPF {formats}",
        address.port()
    ));
    lines.push(format!("c=IN {family} {}", address.ip()));
    lines.push(format!("a=rtcp:9 IN {family} {}", address.ip()));
    lines.push(format!(
        "a=candidate:1 1 udp 2130706431 {} {} typ host",
        address.ip(),
        address.port()
    ));
    lines.push("a=end-of-candidates".to_owned());
    lines.push(format!("a=ice-ufrag:{}", spec.ufrag));
    lines.push(format!("a=ice-pwd:{}", spec.password));
    lines.push("a=ice-options:trickle".to_owned());
    lines.push(format!("a=fingerprint:sha-256 {}", spec.fingerprint));
    lines.push("a=setup:actpass".to_owned());
    lines.push(format!("a=mid:{mid}"));
    lines.push(format!("a=extmap:4 {MID}"));
    lines.push(format!("a=extmap:3 {TRANSPORT_CC}"));
    if media.codec == Codec::Opus {
        lines.push(format!("a=extmap:1 {AUDIO_LEVEL}"));
    } else {
        lines.push(format!("a=extmap:10 {RID}"));
        lines.push(format!("a=extmap:11 {REPAIRED_RID}"));
    }
    lines.push(
        if media.sends {
            "a=sendonly"
        } else {
            "a=recvonly"
        }
        .to_owned(),
    );
    if media.sends {
        lines.push(format!("a=msid:loadtest {kind}{mid}"));
    }
    lines.push("a=rtcp-mux".to_owned());
    lines.push("a=rtcp-rsize".to_owned());
    write_codec(lines, media.codec, main, rtx);
    if media.sends && media.simulcast {
        lines.extend(RIDS.iter().map(|rid| format!("a=rid:{rid} send")));
        lines.push(format!("a=simulcast:send {}", RIDS.join(";")));
    } else if media.sends {
        if rtx != 0 {
            lines.push(format!(
                "a=ssrc-group:FID {} {}",
                media.ssrc,
                media.ssrc + 1
            ));
            lines.push(format!("a=ssrc:{} cname:{}", media.ssrc + 1, spec.cname));
        }
        lines.push(format!("a=ssrc:{} cname:{}", media.ssrc, spec.cname));
    }
}

fn write_codec(lines: &mut Vec<String>, codec: Codec, main: u8, rtx: u8) {
    let name = match codec {
        Codec::Opus => "opus/48000/2",
        Codec::Vp8 => "VP8/90000",
        Codec::H264 => "H264/90000",
    };
    lines.push(format!("a=rtpmap:{main} {name}"));
    lines.push(format!("a=rtcp-fb:{main} transport-cc"));
    if codec == Codec::Opus {
        lines.push(format!("a=fmtp:{main} minptime=10;useinbandfec=1"));
        return;
    }
    for feedback in ["ccm fir", "nack", "nack pli"] {
        lines.push(format!("a=rtcp-fb:{main} {feedback}"));
    }
    if codec == Codec::H264 {
        lines.push(format!(
            "a=fmtp:{main} level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"
        ));
    }
    lines.push(format!("a=rtpmap:{rtx} rtx/90000"));
    lines.push(format!("a=fmtp:{rtx} apt={main}"));
}

/// What the server answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) ufrag: String,
    pub(crate) password: String,
    /// SHA-256 of the server's certificate, as bytes.
    pub(crate) fingerprint: Vec<u8>,
    pub(crate) candidates: Vec<SocketAddr>,
    /// Those of TCP (RFC 6544).
    pub(crate) tcp_candidates: Vec<SocketAddr>,
    /// The server wants to begin DTLS itself.
    pub(crate) server_is_active: bool,
    pub(crate) media: Vec<AnswerMedia>,
}

/// One m-line of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AnswerMedia {
    pub(crate) mid: String,
    pub(crate) accepted: bool,
    pub(crate) payload_type: u8,
    pub(crate) rtx_payload_type: u8,
    pub(crate) extensions: ExtensionIds,
    /// The SSRC that the server announces to send with, and that of its retransmissions.
    pub(crate) ssrc: Option<u32>,
    pub(crate) rtx_ssrc: Option<u32>,
    /// The layers that the server takes.
    pub(crate) rids: Vec<String>,
}

/// Why an answer cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error("the answer has no ICE credentials")]
    NoCredentials,
    #[error("the answer has no SHA-256 fingerprint")]
    NoFingerprint,
    #[error("the answer accepts none of the m-lines")]
    NothingAccepted,
}

/// Reads an answer; what it does not say stays at its default.
pub(crate) fn parse_answer(text: &str, offered: &[MediaSpec]) -> Result<Answer, AnswerError> {
    let mut answer = Answer::default();
    for line in text.lines().map(str::trim_end) {
        if let Some(media) = line.strip_prefix("m=") {
            let port = media.split_ascii_whitespace().nth(1);
            // Port 0 is a refusal, unless the m-line lives in a bundle (RFC 9143 §6), where no answerer puts it.
            answer.media.push(AnswerMedia {
                accepted: port != Some("0"),
                ..AnswerMedia::default()
            });
            continue;
        }
        let Some((name, value)) = split_attribute(line) else {
            continue;
        };
        let index = answer.media.len();
        read_transport(&mut answer, name, value);
        if let (Some(media), Some(spec)) =
            (answer.media.last_mut(), offered.get(index.wrapping_sub(1)))
        {
            read_media(media, name, value, spec.codec);
        }
    }
    if answer.ufrag.is_empty() || answer.password.is_empty() {
        return Err(AnswerError::NoCredentials);
    }
    if answer.fingerprint.is_empty() {
        return Err(AnswerError::NoFingerprint);
    }
    if !answer.media.iter().any(|media| media.accepted) {
        return Err(AnswerError::NothingAccepted);
    }
    Ok(answer)
}

fn split_attribute(line: &str) -> Option<(&str, &str)> {
    let attribute = line.strip_prefix("a=")?;
    Some(attribute.split_once(':').unwrap_or((attribute, "")))
}

fn read_transport(answer: &mut Answer, name: &str, value: &str) {
    match name {
        "ice-ufrag" if answer.ufrag.is_empty() => value.clone_into(&mut answer.ufrag),
        "ice-pwd" if answer.password.is_empty() => value.clone_into(&mut answer.password),
        "fingerprint" if answer.fingerprint.is_empty() => {
            if let Some((hash, hex)) = value.split_once(' ')
                && hash.eq_ignore_ascii_case("sha-256")
            {
                answer.fingerprint = hex
                    .split(':')
                    .filter_map(|byte| u8::from_str_radix(byte, 16).ok())
                    .collect();
            }
        }
        "setup" => answer.server_is_active = value == "active",
        "candidate" => {
            let fields: Vec<&str> = value.split_ascii_whitespace().collect();
            if let [_, "1", protocol, _, ip, port, ..] = fields[..]
                && let (Ok(ip), Ok(port)) = (ip.parse(), port.parse())
            {
                let address = SocketAddr::new(ip, port);
                let candidates = match protocol.to_ascii_lowercase().as_str() {
                    "udp" => &mut answer.candidates,
                    "tcp" => &mut answer.tcp_candidates,
                    _ => return,
                };
                if !candidates.contains(&address) {
                    candidates.push(address);
                }
            }
        }
        _ => {}
    }
}

fn read_media(media: &mut AnswerMedia, name: &str, value: &str, codec: Codec) {
    match name {
        "mid" => value.clone_into(&mut media.mid),
        "inactive" => media.accepted = false,
        "rtpmap" => {
            let wanted = match codec {
                Codec::Opus => "opus/",
                Codec::Vp8 => "vp8/",
                Codec::H264 => "h264/",
            };
            if let Some((number, format)) = value.split_once(' ')
                && let Ok(number) = number.parse()
            {
                let format = format.to_ascii_lowercase();
                if format.starts_with(wanted) && media.payload_type == 0 {
                    media.payload_type = number;
                } else if format.starts_with("rtx/") && media.rtx_payload_type == 0 {
                    media.rtx_payload_type = number;
                }
            }
        }
        "extmap" => {
            if let Some((id, uri)) = value.split_once(' ')
                && let Ok(id) = id.split('/').next().unwrap_or_default().parse()
            {
                let ids = &mut media.extensions;
                match uri.split_ascii_whitespace().next().unwrap_or_default() {
                    MID => ids.mid = id,
                    RID => ids.rid = id,
                    REPAIRED_RID => ids.repaired_rid = id,
                    TRANSPORT_CC => ids.transport_cc = id,
                    AUDIO_LEVEL => ids.audio_level = id,
                    _ => {}
                }
            }
        }
        "ssrc-group" => {
            let mut fields = value.split_ascii_whitespace();
            if fields.next() == Some("FID") {
                media.ssrc = fields.next().and_then(|ssrc| ssrc.parse().ok());
                media.rtx_ssrc = fields.next().and_then(|ssrc| ssrc.parse().ok());
            }
        }
        "ssrc" if media.ssrc.is_none() => {
            media.ssrc = value
                .split_ascii_whitespace()
                .next()
                .and_then(|ssrc| ssrc.parse().ok());
        }
        "simulcast" => {
            let list = value.strip_prefix("recv ").unwrap_or_default();
            media.rids = list
                .split([';', ','])
                .map(|rid| rid.trim_start_matches('~').trim().to_owned())
                .collect();
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_where_and_how_to_send() {
        let spec = |codec, sends| MediaSpec {
            codec,
            sends,
            simulcast: false,
            ssrc: 1,
        };
        let text = "v=0\r\na=ice-lite\r\na=fingerprint:SHA-256 00:FF\r\na=setup:passive\r\n\
            m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:uf\r\na=ice-pwd:pw\r\na=mid:0\r\n\
            a=candidate:1 1 udp 1 127.0.0.1 4000 typ host\r\na=candidate:2 1 tcp 1 127.0.0.1 9 typ host tcptype passive\r\n\
            a=rtpmap:111 opus/48000/2\r\na=extmap:2 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=recvonly\r\n\
            m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:1\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\n\
            a=ssrc-group:FID 77 78\r\na=ssrc:77 cname:x\r\na=simulcast:recv q;h\r\na=sendonly\r\n\
            m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:2\r\n";
        let offered = [
            spec(Codec::Opus, true),
            spec(Codec::Vp8, false),
            spec(Codec::Vp8, false),
        ];
        let answer = parse_answer(text, &offered).expect("it is complete");
        assert_eq!(
            (answer.ufrag.as_str(), answer.password.as_str()),
            ("uf", "pw")
        );
        assert_eq!(answer.fingerprint, [0, 255]);
        assert_eq!(
            answer.candidates,
            ["127.0.0.1:4000".parse().expect("an address")]
        );
        assert!(!answer.server_is_active);
        assert_eq!(
            (
                answer.media[0].payload_type,
                answer.media[0].extensions.audio_level
            ),
            (111, 2)
        );
        assert_eq!(
            (
                answer.media[1].payload_type,
                answer.media[1].rtx_payload_type
            ),
            (96, 97)
        );
        assert_eq!(
            (answer.media[1].ssrc, answer.media[1].rtx_ssrc),
            (Some(77), Some(78))
        );
        assert_eq!(answer.media[1].rids, ["q", "h"]);
        assert!(!answer.media[2].accepted, "port 0 refuses");
        assert_eq!(
            parse_answer("v=0\r\n", &offered),
            Err(AnswerError::NoCredentials)
        );
    }
}
