//! What we do to session descriptions, as text, before and after `str0m`.
//!
//! `str0m` negotiates: it picks codecs and extensions, and writes answers. It has no opinion
//! on what a door takes, and it names streams and tracks at random. So an offer is summarized
//! here first ([`OfferSummary`]), held against the rules of its door ([`check_whip`] and its
//! siblings), and handed on in the form that `str0m` reads ([`OfferSummary::normalize`]). Its
//! answer then gets our names and the lines that the standards ask for ([`rewrite_answer`]).
//!
//! Trickled candidates and ICE restarts come as [`Fragment`]s.

mod answer;
mod attributes;
mod doors;
mod fragment;
mod offer;

use thiserror::Error;

use super::command::CommandError;

pub use answer::{
    AnswerLine, ExtensionIds, SendSource, extmap_ids, rewrite_answer, with_max_message_size,
};
pub use doors::{check_answer, check_meet, check_reoffer, check_whep, check_whip};
pub use fragment::{Fragment, RestartAnswer};
pub use offer::{OfferLine, OfferSummary};

/// Longest description, in bytes: some sixty of Chromium's video m-lines, which take 4 KiB each.
/// Doors that take two m-lines may well refuse longer bodies than 64 KiB before they come here.
pub const MAX_SDP_BYTES: usize = 256 * 1024;

/// Most m-lines in an offer: a page of tiles, with audio and a screen share, several times over.
pub const MAX_MEDIA_LINES: usize = 128;

/// Longest line, in bytes. An identity assertion (RFC 8827 §5) takes some 3 KiB; all else that
/// clients send stays below 500.
const MAX_LINE_BYTES: usize = 8 * 1024;

/// Why a description was refused. The words never repeat what the client sent.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SdpError {
    /// It is not a description, or not a whole one.
    #[error("{0}")]
    Malformed(String),
    /// It is one, but asks for what this door does not give.
    #[error("{0}")]
    Unsupported(String),
}

impl From<SdpError> for CommandError {
    fn from(error: SdpError) -> Self {
        match error {
            SdpError::Malformed(why) => Self::Malformed(why),
            SdpError::Unsupported(why) => Self::Unsupported(why),
        }
    }
}

fn malformed<T>(why: impl Into<String>) -> Result<T, SdpError> {
    Err(SdpError::Malformed(why.into()))
}

fn unsupported<T>(why: impl Into<String>) -> Result<T, SdpError> {
    Err(SdpError::Unsupported(why.into()))
}

/// What an m-line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LineKind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
    /// Data channels (RFC 8841).
    Application,
    /// Anything else; no door takes it.
    Other,
}

/// Who begins the DTLS handshake (RFC 8842 §5.2), as the client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// We may choose.
    ActPass,
    /// The client does.
    Active,
    /// We have to; FFmpeg offers this.
    Passive,
    /// Nobody, for now.
    HoldConn,
}

/// What authenticates connectivity checks (RFC 8839 §5.4).
///
/// The password stays out of logs.
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// Names the ICE session.
    pub ufrag: String,
    /// Its secret.
    pub pwd: String,
}

impl std::fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IceCredentials({})", self.ufrag)
    }
}
