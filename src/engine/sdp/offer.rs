//! What an offer asks for, m-line by m-line.

use str0m::media::Direction;

use crate::engine::extension::DEPENDENCY_DESCRIPTOR;

use super::attributes::{CredentialsReader, Line, direction, is_token, line_kind, lines};
use super::{
    IceCredentials, LineKind, MAX_MEDIA_LINES, MAX_SDP_BYTES, SdpError, Setup, malformed,
    unsupported,
};

/// Longest MID and RID: what the engine's types hold, and enough for every client known.
const MAX_MID_BYTES: usize = 16;
const MAX_RID_BYTES: usize = 8;

/// Most encodings of one track. No client sends more than three; each costs the server a layer.
const MAX_RIDS: usize = 4;

/// An offer, as far as rooms and doors care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferSummary {
    /// Its m-lines, in order; never empty.
    pub lines: Vec<OfferLine>,
    /// The ICE session (RFC 8839) of the one transport that we use.
    pub ice: IceCredentials,
    /// Who may begin the DTLS handshake.
    pub setup: Setup,
    /// The client is ICE-lite; so are we, and then nobody would begin.
    pub ice_lite: bool,
}

/// One m-line of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferLine {
    /// Its place, from 0.
    pub index: usize,
    /// Its name (RFC 5888), as the client wrote it.
    pub mid: String,
    /// What it is for.
    pub kind: LineKind,
    /// What the client wants to do with it; `sendrecv` unless told.
    pub direction: Direction,
    /// It shows slides (`a=content:slides`, RFC 4796): a shared screen.
    pub content_slides: bool,
    /// The encodings that the client wants to send (RFC 8853), in its order.
    pub rids: Vec<String>,
    /// The encoding names of the codecs that it offers, `rtx` and its like included.
    pub codecs: Vec<String>,
    /// Names of the streams that it belongs to (RFC 8830).
    pub streams: Vec<String>,
    /// It is refused or stopped: port 0 outside the bundle.
    pub rejected: bool,
    /// It shares the transport of the first (RFC 9143).
    pub bundled: bool,
    /// RTP and RTCP share a port (RFC 8858).
    pub rtcp_mux: bool,
    /// RTCP may come in reduced size (RFC 5506).
    pub rtcp_rsize: bool,
}

impl OfferSummary {
    /// Reads an offer.
    ///
    /// Tolerant of what clients get wrong without harm, and firm about what a whole offer
    /// must have, so that one that was cut short is told from one that is modest.
    pub fn parse(offer: &str) -> Result<Self, SdpError> {
        if offer.len() > MAX_SDP_BYTES {
            return malformed("the description is too long");
        }
        if offer.contains('\0') {
            return malformed("the description has a NUL byte in it");
        }
        let mut reader = Reader::default();
        for line in lines(offer) {
            reader.take(line?)?;
        }
        reader.finish()
    }

    /// The offer in the form that `str0m` reads.
    ///
    /// It insists on a BUNDLE group, even around a single m-line, takes the first group for
    /// it, and wants the m-lines' order in it; clients owe it nothing of the kind. And what we send
    /// leaves by our own egress: for `str0m` such m-lines are inactive, so that it keeps no
    /// buffers for them, some eight kilobytes each.
    pub fn normalize(&self, offer: &str) -> String {
        let mut normal = String::with_capacity(offer.len() + 32);
        let bundle = bundle_line(&self.lines);
        let mut bundle = Some(bundle);
        let mut lines = self.lines.iter();
        let red = red_payload_type(offer);
        let mut unwanted = None;
        let is_mixed = offer.contains("a=extmap-allow-mixed");
        let mut keeps_descriptor = false;
        for text in offer.lines() {
            if text.starts_with("a=group:") || text.is_empty() {
                continue;
            }
            if text.starts_with("m=") {
                let line = lines.next();
                unwanted = line.and_then(|line| unwanted_red(line, text, red?));
                keeps_descriptor = is_mixed && line.is_some_and(takes_descriptor);
            }
            if names_descriptor(text) && !keeps_descriptor {
                continue;
            }
            let text = match unwanted {
                Some(pt) if names(text, pt) => continue,
                Some(pt) if text.starts_with("m=") => &without(text, pt),
                _ => text,
            };
            if text.starts_with("a=") || text.starts_with("m=") {
                normal.push_str(&bundle.take().unwrap_or_default());
            }
            normal.push_str(if text == "a=recvonly" {
                "a=inactive"
            } else {
                text
            });
            normal.push_str("\r\n");
        }
        normal
    }
}

/// Words of an m-line before its payload types: media, port, protocol (RFC 8866 §5.14).
const BEFORE_FORMATS: usize = 3;

/// The payload type of redundant audio where an m-line sends audio and does not prefer that: where
/// it is in an answer, browsers send it, which doubles the rate of a voice. Whoever wants it names
/// it first.
fn unwanted_red<'a>(line: &OfferLine, text: &str, red: &'a str) -> Option<&'a str> {
    let mut formats = text.split_ascii_whitespace().skip(BEFORE_FORMATS);
    let prefers = formats.next() == Some(red);
    let is_there = formats.any(|format| format == red);
    (line.direction.is_sending() && !prefers && is_there).then_some(red)
}

/// Whether an m-line may have dependency descriptors: whoever receives, and senders of AV1 and VP9,
/// which of several layers tells no other way what hangs on what.
///
/// With them libwebrtc leaves the picture numbers out of VP8, which receivers without them need.
fn takes_descriptor(line: &OfferLine) -> bool {
    let is_first = |codec: &str| {
        let first = line.codecs.first();
        first.is_some_and(|first| first.eq_ignore_ascii_case(codec))
    };
    !line.direction.is_sending() || is_first("AV1") || is_first("VP9")
}

fn names_descriptor(text: &str) -> bool {
    text.starts_with("a=extmap:") && text.contains(DEPENDENCY_DESCRIPTOR)
}

/// Whether a line of an m-line is about a payload type.
fn names(text: &str, pt: &str) -> bool {
    let about = |attribute: &str| {
        let value = text.strip_prefix(attribute);
        value.is_some_and(|value| value.split(' ').next() == Some(pt))
    };
    ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"]
        .into_iter()
        .any(about)
}

/// An m-line without one of its payload types.
fn without(text: &str, pt: &str) -> String {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let kept = words.iter().enumerate();
    let kept = kept.filter(|(place, word)| *place < BEFORE_FORMATS || **word != pt);
    kept.map(|(_, word)| *word).collect::<Vec<_>>().join(" ")
}

/// The payload type of redundant audio (RFC 2198) in an offer; in a bundle it is the same everywhere.
fn red_payload_type(offer: &str) -> Option<&str> {
    let mut maps = offer
        .lines()
        .filter_map(|line| line.strip_prefix("a=rtpmap:"));
    maps.find_map(|map| {
        let (pt, name) = map.split_once(' ')?;
        name.eq_ignore_ascii_case("red/48000/2").then_some(pt)
    })
}

/// The group of all m-lines that stand, with its line end.
pub(super) fn bundle_line(lines: &[OfferLine]) -> String {
    let mut group = "a=group:BUNDLE".to_owned();
    for line in lines.iter().filter(|line| !line.rejected) {
        group.push(' ');
        group.push_str(&line.mid);
    }
    group + "\r\n"
}

/// An m-line while it is being read.
#[derive(Debug)]
struct RawLine {
    line: OfferLine,
    port: u32,
    bundle_only: bool,
    direction: Option<Direction>,
    formats: Vec<u8>,
    named_formats: Vec<u8>,
    rids_sent: Vec<String>,
    transport: RawTransport,
}

/// What describes the transport, at session level or in an m-line.
#[derive(Clone, Debug, Default)]
struct RawTransport {
    credentials: CredentialsReader,
    fingerprint: bool,
    setup: Option<Setup>,
}

#[derive(Debug, Default)]
struct Reader {
    started: bool,
    origin: bool,
    name: bool,
    time: bool,
    direction: Option<Direction>,
    ice_lite: bool,
    bundle: Vec<String>,
    transport: RawTransport,
    lines: Vec<RawLine>,
}

impl Reader {
    fn take(&mut self, line: Line<'_>) -> Result<(), SdpError> {
        if !self.started {
            self.started = true;
            return match (line.kind, line.value) {
                (b'v', "0") => Ok(()),
                _ => malformed("the description does not begin with v=0"),
            };
        }
        if line.kind == b'm' {
            if self.lines.len() == MAX_MEDIA_LINES {
                return unsupported(format!("there are more than {MAX_MEDIA_LINES} m-lines"));
            }
            let raw = RawLine::parse(self.lines.len(), line.value)?;
            self.lines.push(raw);
            return Ok(());
        }
        match (self.lines.last_mut(), line.attribute()) {
            (Some(raw), Some((name, value))) => raw.note(name, value),
            (None, Some((name, value))) => self.note(name, value),
            (None, None) => self.note_plain(line.kind),
            (Some(_), None) => Ok(()),
        }
    }

    /// A line of the session that is not an attribute.
    fn note_plain(&mut self, kind: u8) -> Result<(), SdpError> {
        match kind {
            b'o' => self.origin = true,
            b's' => self.name = true,
            b't' => self.time = true,
            b'v' => return malformed("there is a second v= line"),
            _ => {}
        }
        Ok(())
    }

    /// An attribute of the session.
    fn note(&mut self, name: &str, value: &str) -> Result<(), SdpError> {
        match name {
            "group" => {
                let mut words = value.split_ascii_whitespace();
                if words.next() == Some("BUNDLE") {
                    self.bundle
                        .extend(words.take(MAX_MEDIA_LINES + 1).map(str::to_owned));
                }
                Ok(())
            }
            "ice-lite" => {
                self.ice_lite = true;
                Ok(())
            }
            _ => {
                self.direction = direction(name).or(self.direction);
                self.transport.note(name, value)
            }
        }
    }

    fn finish(self) -> Result<OfferSummary, SdpError> {
        for (seen, line) in [(self.origin, "o="), (self.name, "s="), (self.time, "t=")] {
            if !seen {
                return malformed(format!("there is no {line} line"));
            }
        }
        if self.lines.is_empty() {
            return malformed("there is no m-line");
        }
        let known = |mid: &String| self.lines.iter().any(|raw| raw.line.mid == *mid);
        if !self.bundle.iter().all(known) {
            return malformed("the BUNDLE group names an m-line that is not there");
        }
        let transport = self.find_transport()?;
        let lines = self
            .lines
            .iter()
            .map(|raw| raw.finish(&self.bundle, self.direction))
            .collect::<Result<Vec<_>, _>>()?;
        for line in &lines {
            if lines[..line.index]
                .iter()
                .any(|other| other.mid == line.mid)
            {
                return malformed(format!("m-line {} has the mid of another", line.index));
            }
        }
        let (ice, setup) = transport;
        Ok(OfferSummary {
            lines,
            ice,
            setup,
            ice_lite: self.ice_lite,
        })
    }

    /// The transport: each part from the session, or from the first m-line that has it.
    ///
    /// In a bundle the first m-line's counts (RFC 9143 §7.3), and without one there is only one.
    fn find_transport(&self) -> Result<(IceCredentials, Setup), SdpError> {
        let of_lines = self.lines.iter().map(|raw| &raw.transport);
        let mut ice = None;
        for transport in std::iter::once(&self.transport).chain(of_lines.clone()) {
            let found = transport.credentials.clone().finish()?;
            ice = ice.or(found);
        }
        let mut all = std::iter::once(&self.transport).chain(of_lines);
        let Some(ice) = ice else {
            return malformed("there are no ice-ufrag and ice-pwd");
        };
        let Some(setup) = all.clone().find_map(|transport| transport.setup) else {
            return malformed("there is no a=setup");
        };
        if !all.any(|transport| transport.fingerprint) {
            return malformed("there is no a=fingerprint");
        }
        Ok((ice, setup))
    }
}

impl RawTransport {
    fn note(&mut self, name: &str, value: &str) -> Result<(), SdpError> {
        match name {
            "fingerprint" => {
                let digits = value.split_ascii_whitespace().nth(1).unwrap_or("");
                let is_digit = |byte: u8| byte.is_ascii_hexdigit() || byte == b':';
                if digits.len() < 2 || !digits.bytes().all(is_digit) {
                    return malformed("a=fingerprint is not valid");
                }
                self.fingerprint = true;
            }
            "setup" => {
                self.setup = Some(match value {
                    "actpass" => Setup::ActPass,
                    "active" => Setup::Active,
                    "passive" => Setup::Passive,
                    "holdconn" => Setup::HoldConn,
                    _ => return malformed("a=setup is not valid"),
                });
            }
            _ => self.credentials.note(name, value)?,
        }
        Ok(())
    }
}

impl RawLine {
    /// Reads `<media> <port> <proto> <fmt> ...` (RFC 8866 §5.14).
    fn parse(index: usize, value: &str) -> Result<Self, SdpError> {
        let mut words = value.split_ascii_whitespace();
        let (media, port, protocol) = (words.next(), words.next(), words.next());
        let (Some(media), Some(port), Some(protocol)) = (media, port, protocol) else {
            return malformed(format!("m-line {index} is cut short"));
        };
        let kind = line_kind(media);
        let Ok(port) = port.split('/').next().unwrap_or(port).parse() else {
            return malformed(format!("m-line {index} has no valid port"));
        };
        if !protocol
            .split('/')
            .any(|part| part == "DTLS" || part == "TLS")
        {
            return unsupported(format!("m-line {index} is without DTLS"));
        }
        let mut formats = Vec::new();
        if matches!(kind, LineKind::Audio | LineKind::Video) {
            for word in words.by_ref() {
                match word.parse::<u8>() {
                    Ok(format @ 0..128) => formats.push(format),
                    _ => {
                        return malformed(format!(
                            "m-line {index} has a payload type that is none"
                        ));
                    }
                }
            }
            if formats.is_empty() {
                return malformed(format!("m-line {index} is cut short"));
            }
        } else if words.next().is_none() {
            return malformed(format!("m-line {index} is cut short"));
        }
        Ok(Self {
            line: OfferLine::new(index, kind),
            port,
            bundle_only: false,
            direction: None,
            formats,
            named_formats: Vec::new(),
            rids_sent: Vec::new(),
            transport: RawTransport::default(),
        })
    }

    fn note(&mut self, name: &str, value: &str) -> Result<(), SdpError> {
        let index = self.line.index;
        match name {
            "mid" => {
                if !is_token(value) || !self.line.mid.is_empty() {
                    return malformed(format!("m-line {index} has no valid mid"));
                }
                if value.len() > MAX_MID_BYTES {
                    return unsupported(format!(
                        "m-line {index} has a mid of more than {MAX_MID_BYTES} characters"
                    ));
                }
                self.line.mid = value.to_owned();
            }
            "bundle-only" => self.bundle_only = true,
            "rtcp-mux" => self.line.rtcp_mux = true,
            "rtcp-rsize" => self.line.rtcp_rsize = true,
            "content" => {
                self.line.content_slides |= value.split(',').any(|kind| kind.trim() == "slides");
            }
            "rtpmap" => self.note_rtpmap(value)?,
            "msid" => self.note_stream(value),
            "rid" => {
                let mut words = value.split_ascii_whitespace();
                if let (Some(rid), Some("send")) = (words.next(), words.next()) {
                    self.note_rid(rid)?;
                }
            }
            "simulcast" => self.line.rids = simulcast_rids(value),
            _ => {
                self.direction = direction(name).or(self.direction);
                self.transport.note(name, value)?;
            }
        }
        Ok(())
    }

    fn note_rtpmap(&mut self, value: &str) -> Result<(), SdpError> {
        let mut words = value.split_ascii_whitespace();
        let format = words.next().and_then(|word| word.parse().ok());
        let name = words.next().and_then(|mapping| mapping.split_once('/'));
        let (Some(format), Some((name, _))) = (format, name) else {
            return malformed(format!(
                "m-line {} has an a=rtpmap that is none",
                self.line.index
            ));
        };
        self.named_formats.push(format);
        if !self
            .line
            .codecs
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name))
        {
            self.line.codecs.push(name.to_owned());
        }
        Ok(())
    }

    fn note_stream(&mut self, value: &str) {
        let stream = value.split_ascii_whitespace().next().unwrap_or("-");
        // "-" belongs to no stream (RFC 8830 §2).
        if stream != "-" && !self.line.streams.iter().any(|known| known == stream) {
            self.line.streams.push(stream.to_owned());
        }
    }

    fn note_rid(&mut self, rid: &str) -> Result<(), SdpError> {
        let index = self.line.index;
        if rid.len() > MAX_RID_BYTES || !rid.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return unsupported(format!(
                "m-line {index} has a rid that is not of at most {MAX_RID_BYTES} letters and digits"
            ));
        }
        if self.rids_sent.len() == MAX_RIDS {
            return unsupported(format!("m-line {index} has more than {MAX_RIDS} encodings"));
        }
        self.rids_sent.push(rid.to_owned());
        Ok(())
    }

    fn finish(
        &self,
        bundle: &[String],
        session_direction: Option<Direction>,
    ) -> Result<OfferLine, SdpError> {
        let mut line = self.line.clone();
        let index = line.index;
        if line.mid.is_empty() {
            return malformed(format!("m-line {index} has no mid"));
        }
        line.bundled = bundle.contains(&line.mid);
        line.rejected = self.port == 0 && !self.bundle_only && !line.bundled;
        line.direction = self
            .direction
            .or(session_direction)
            .unwrap_or(Direction::SendRecv);
        if line.rejected {
            line.direction = Direction::Inactive;
            return Ok(line);
        }
        // Static payload types may go without a name (RFC 3551 §6), the others may not.
        let is_named =
            |format: &u8| (0..=34).contains(format) || self.named_formats.contains(format);
        if !self.formats.iter().all(is_named) {
            return malformed(format!(
                "m-line {index} has a payload type without a=rtpmap"
            ));
        }
        // Encodings count if both lines name them (RFC 8853 §5.1).
        line.rids.retain(|rid| self.rids_sent.contains(rid));
        Ok(line)
    }
}

impl OfferLine {
    fn new(index: usize, kind: LineKind) -> Self {
        Self {
            index,
            mid: String::new(),
            kind,
            direction: Direction::SendRecv,
            content_slides: false,
            rids: Vec::new(),
            codecs: Vec::new(),
            streams: Vec::new(),
            rejected: false,
            bundled: false,
            rtcp_mux: false,
            rtcp_rsize: false,
        }
    }
}

/// The first choice of each encoding in the `send` part of `a=simulcast` (RFC 8853 §5.1).
fn simulcast_rids(value: &str) -> Vec<String> {
    let mut words = value.split_ascii_whitespace();
    while let Some(word) = words.next() {
        let list = words.next().unwrap_or("");
        if word == "send" {
            let first_choice =
                |alternatives: &str| alternatives.split(',').next().unwrap_or("").to_owned();
            // A leading "~" begins paused.
            let encodings = list
                .split(';')
                .map(|encoding| first_choice(encoding).replace('~', ""));
            return encodings.take(MAX_RIDS).collect();
        }
    }
    Vec::new()
}

#[cfg(test)]
#[path = "offer_tests.rs"]
mod tests;
