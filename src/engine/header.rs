//! The RTP header that a slot writes in front of every payload.
//!
//! Its layout is fixed when the slot is negotiated: the extensions have their places, and one
//! that a packet lacks is padding there (RFC 8285 §4.1.1 lets zero bytes stand between
//! elements), so that writing a header is a copy and a few stores.

use str0m::rtp::{Extension, ExtensionMap};

use super::event::Kind;
use super::track::MediaPacket;

/// The fixed header of RFC 3550 §5.1.
const FIXED_BYTES: usize = 12;

/// Room for the fixed header, the extension header, and the extensions below with the longest
/// MID that they can hold.
const CAPACITY: usize = 48;

/// Longest value of a one-byte element (RFC 8285 §4.2).
const MAX_MID_BYTES: usize = 16;

/// Ids above this need the two-byte form (RFC 8285 §4.3), which nobody offers for these.
const MAX_ONE_BYTE_ID: u8 = 14;

/// What stands in front of every payload of a slot.
#[derive(Clone, Debug)]
pub(crate) struct HeaderTemplate {
    bytes: [u8; CAPACITY],
    length: usize,
    /// Where the transport-wide sequence number goes, if it was negotiated.
    twcc: Option<usize>,
    /// Where the audio level goes, with its first byte.
    level: Option<(usize, u8)>,
    /// Where the video orientation goes, with its first byte.
    orientation: Option<(usize, u8)>,
}

impl Default for HeaderTemplate {
    fn default() -> Self {
        let mut bytes = [0; CAPACITY];
        bytes[0] = 2 << 6;
        Self {
            bytes,
            length: FIXED_BYTES,
            twcc: None,
            level: None,
            orientation: None,
        }
    }
}

impl HeaderTemplate {
    /// The header for an m-line whose receiver agreed on these extensions.
    pub(crate) fn new(kind: Kind, mid: &str, extensions: &ExtensionMap) -> Self {
        let mut template = Self::default();
        let id = |extension| {
            extensions
                .id_of(extension)
                .filter(|id| (1..=MAX_ONE_BYTE_ID).contains(id))
        };
        let mut at = FIXED_BYTES + 4;

        if let Some(id) = id(Extension::TransportSequenceNumber) {
            template.bytes[at] = id << 4 | 1;
            template.twcc = Some(at + 1);
            at += 3;
        }
        let mid = mid.as_bytes();
        if let Some(id) = id(Extension::RtpMid)
            && (1..=MAX_MID_BYTES).contains(&mid.len())
        {
            template.bytes[at] = id << 4 | (mid.len() as u8 - 1);
            template.bytes[at + 1..=at + mid.len()].copy_from_slice(mid);
            at += 1 + mid.len();
        }
        match kind {
            Kind::Audio => {
                if let Some(id) = id(Extension::AudioLevel) {
                    template.level = Some((at, id << 4));
                    at += 2;
                }
            }
            Kind::Video => {
                if let Some(id) = id(Extension::VideoOrientation) {
                    template.orientation = Some((at, id << 4));
                    at += 2;
                }
            }
        }
        if at > FIXED_BYTES + 4 {
            let words = (at - FIXED_BYTES - 4).div_ceil(4);
            template.bytes[0] |= 1 << 4;
            template.bytes[FIXED_BYTES..FIXED_BYTES + 2].copy_from_slice(&[0xbe, 0xde]);
            template.bytes[FIXED_BYTES + 3] = words as u8;
            template.length = FIXED_BYTES + 4 + 4 * words;
        }
        template
    }

    /// Whether packets carry a transport-wide sequence number.
    pub(crate) fn has_twcc(&self) -> bool {
        self.twcc.is_some()
    }

    /// How many bytes [`Self::write`] appends.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Appends the header of one packet.
    pub(crate) fn write(&self, buffer: &mut Vec<u8>, fields: &Fields, packet: &MediaPacket) {
        let start = buffer.len();
        buffer.extend_from_slice(&self.bytes[..self.length]);
        let header = &mut buffer[start..];
        header[1] = u8::from(packet.marker) << 7 | fields.pt;
        header[2..4].copy_from_slice(&fields.seq.to_be_bytes());
        header[4..8].copy_from_slice(&fields.timestamp.to_be_bytes());
        header[8..12].copy_from_slice(&fields.ssrc.to_be_bytes());
        if let Some(at) = self.twcc {
            header[at..at + 2].copy_from_slice(&fields.twcc.to_be_bytes());
        }
        if let (Some((at, first)), Some((level, voice))) = (self.level, packet.audio_level) {
            header[at] = first;
            header[at + 1] = u8::from(voice) << 7 | level & 0x7f;
        }
        if let (Some((at, first)), Some(orientation)) = (self.orientation, packet.orientation) {
            header[at] = first;
            header[at + 1] = orientation;
        }
    }
}

/// What differs from packet to packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields {
    pub(crate) pt: u8,
    pub(crate) seq: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    pub(crate) twcc: u16,
}
