//! Lines and attributes, as all our readers of SDP need them.

use str0m::media::Direction;

use super::{IceCredentials, LineKind, MAX_LINE_BYTES, SdpError, malformed};

/// One line: its type, and what stands behind the `=`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) kind: u8,
    pub(super) value: &'a str,
}

impl<'a> Line<'a> {
    /// Name and value of an attribute: `a=name:value` or `a=name`; `None` for other lines.
    pub(super) fn attribute(self) -> Option<(&'a str, &'a str)> {
        (self.kind == b'a').then(|| self.value.split_once(':').unwrap_or((self.value, "")))
    }
}

/// Cuts a body into lines. `\n` alone ends one too, as RFC 8866 §5 asks of parsers, and empty
/// lines, which some clients put at the end, are passed over.
pub(super) fn lines(body: &str) -> impl Iterator<Item = Result<Line<'_>, SdpError>> {
    let written = body
        .lines()
        .enumerate()
        .filter(|(_, text)| !text.is_empty());
    written.map(|(index, text)| {
        if text.len() > MAX_LINE_BYTES {
            return malformed(format!("line {} is too long", index + 1));
        }
        match text.as_bytes() {
            &[kind @ b'a'..=b'z', b'=', ..] => Ok(Line {
                kind,
                value: &text[2..],
            }),
            _ => malformed(format!("line {} is not of the form x=...", index + 1)),
        }
    })
}

/// The kind of m-line that `media` names, the first word of one.
pub(super) fn line_kind(media: &str) -> LineKind {
    match media {
        "audio" => LineKind::Audio,
        "video" => LineKind::Video,
        "application" => LineKind::Application,
        _ => LineKind::Other,
    }
}

/// The direction that an attribute of this name gives (RFC 8866 §6.7).
pub(super) fn direction(name: &str) -> Option<Direction> {
    match name {
        "sendrecv" => Some(Direction::SendRecv),
        "sendonly" => Some(Direction::SendOnly),
        "recvonly" => Some(Direction::RecvOnly),
        "inactive" => Some(Direction::Inactive),
        _ => None,
    }
}

/// How a direction is written.
pub(super) fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::SendRecv => "sendrecv",
        Direction::SendOnly => "sendonly",
        Direction::RecvOnly => "recvonly",
        Direction::Inactive => "inactive",
    }
}

/// Whether something is a `token` (RFC 8866 §9).
pub(super) fn is_token(text: &str) -> bool {
    let is_token_char = |byte: u8| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token_char)
}

/// Collects a user fragment and a password, which belong together.
#[derive(Clone, Debug, Default)]
pub(super) struct CredentialsReader {
    ufrag: Option<String>,
    pwd: Option<String>,
}

impl CredentialsReader {
    /// Takes note of an attribute, if it is one of the two.
    pub(super) fn note(&mut self, name: &str, value: &str) -> Result<(), SdpError> {
        // RFC 8839 §5.4: 4 to 256 characters, and 22 to 256, of letters, digits, '+' and '/'.
        // '-', '_' and '=' are seen in the wild.
        let is_ice = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte);
        let (place, shortest) = match name {
            "ice-ufrag" => (&mut self.ufrag, 4),
            "ice-pwd" => (&mut self.pwd, 22),
            _ => return Ok(()),
        };
        if !(shortest..=256).contains(&value.len()) || !value.bytes().all(is_ice) {
            return malformed(format!("{name} is not valid"));
        }
        if place.as_ref().is_some_and(|known| known != value) {
            return malformed(format!("there are two values for {name}"));
        }
        *place = Some(value.to_owned());
        Ok(())
    }

    /// Both, or none.
    pub(super) fn finish(self) -> Result<Option<IceCredentials>, SdpError> {
        match (self.ufrag, self.pwd) {
            (Some(ufrag), Some(pwd)) => Ok(Some(IceCredentials { ufrag, pwd })),
            (None, None) => Ok(None),
            (Some(_), None) => malformed("ice-pwd is missing"),
            (None, Some(_)) => malformed("ice-ufrag is missing"),
        }
    }
}
