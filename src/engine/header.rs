//! The RTP header that a slot writes in front of every payload.
//!
//! Its layout is fixed when the slot is negotiated: the extensions have their places, and one
//! that a packet lacks is padding there (RFC 8285 §4.1.1 lets zero bytes stand between
//! elements), so that writing a header is a copy and a few stores. Only dependency descriptors have
//! no length that is known before; they come last.

use smallvec::SmallVec;
use str0m::rtp::{Extension, ExtensionMap};

use super::codec::{CodecOffsets, Descriptor};
use super::event::Kind;
use super::extension::dependency_descriptor;
use super::track::MediaPacket;

/// The fixed header of RFC 3550 §5.1.
const FIXED_BYTES: usize = 12;

/// Room for the fixed header, the extension header, and the extensions below with the longest
/// MID that they can hold.
const CAPACITY: usize = 48;

/// Longest value of a one-byte element (RFC 8285 §4.2).
const MAX_NARROW_BYTES: usize = 16;

/// What stands before elements of one byte of header each, and of two (RFC 8285 §4.2, §4.3).
const NARROW: [u8; 2] = [0xbe, 0xde];
const WIDE: [u8; 2] = [0x10, 0x00];

/// Says that an extension header follows (RFC 3550 §5.1).
const EXTENSION_BIT: u8 = 1 << 4;

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
    /// Under which id dependency descriptors go; 0 if they were not negotiated.
    descriptor: u8,
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
            descriptor: 0,
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
            && (1..=MAX_NARROW_BYTES).contains(&mid.len())
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
                let descriptor = extensions.id_of(dependency_descriptor());
                template.descriptor = descriptor.unwrap_or(0);
            }
        }
        if at > FIXED_BYTES + 4 {
            let words = (at - FIXED_BYTES - 4).div_ceil(4);
            template.bytes[0] |= EXTENSION_BIT;
            template.bytes[FIXED_BYTES..FIXED_BYTES + 2].copy_from_slice(&NARROW);
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

    /// Adds a packet's dependency descriptor to the header that was just written at `start`.
    pub(crate) fn write_descriptor(
        &self,
        buffer: &mut Vec<u8>,
        start: usize,
        packet: &MediaPacket,
        offsets: CodecOffsets,
    ) {
        if let (Some(descriptor), true) = (&packet.descriptor, self.descriptor > 0) {
            add_descriptor(buffer, start, self.descriptor, descriptor, offsets);
        }
    }
}

/// Most streams have no descriptors, and pay for this with a look.
#[inline(never)]
fn add_descriptor(
    buffer: &mut Vec<u8>,
    start: usize,
    id: u8,
    descriptor: &Descriptor,
    offsets: CodecOffsets,
) {
    let mut value = SmallVec::new();
    descriptor.write(offsets, &mut value);
    add_element(buffer, start, id, &value);
}

/// Adds an element to the header at `start`, which ends the buffer. What does not fit elements of one
/// byte makes all of them ones of two.
fn add_element(buffer: &mut Vec<u8>, start: usize, id: u8, value: &[u8]) {
    let elements = start + FIXED_BYTES + 4;
    if buffer.len() < elements {
        buffer[start] |= EXTENSION_BIT;
        buffer.extend_from_slice(&[NARROW[0], NARROW[1], 0, 0]);
    }
    let fits = id <= MAX_ONE_BYTE_ID && (1..=MAX_NARROW_BYTES).contains(&value.len());
    if fits {
        buffer.push(id << 4 | (value.len() as u8 - 1));
    } else {
        let narrow: SmallVec<[u8; CAPACITY]> = buffer[elements..].into();
        buffer.truncate(elements);
        buffer[start + FIXED_BYTES..][..2].copy_from_slice(&WIDE);
        widen(&narrow, buffer);
        buffer.extend_from_slice(&[id, value.len() as u8]);
    }
    buffer.extend_from_slice(value);
    let words = (buffer.len() - elements).div_ceil(4);
    buffer.resize(elements + 4 * words, 0);
    buffer[elements - 1] = words as u8;
}

/// Appends elements of one byte as ones of two.
fn widen(mut narrow: &[u8], out: &mut Vec<u8>) {
    while let Some((&head, rest)) = narrow.split_first() {
        if head == 0 {
            narrow = rest;
            continue;
        }
        let length = head & 0xf;
        let (value, rest) = rest.split_at((usize::from(length) + 1).min(rest.len()));
        out.extend_from_slice(&[head >> 4, value.len() as u8]);
        out.extend_from_slice(value);
        narrow = rest;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A fixed header with a number in one element of one byte, and one byte to spare.
    fn with_number() -> Vec<u8> {
        let mut header = vec![0; FIXED_BYTES];
        header[0] = 0x90;
        header.extend([0xbe, 0xde, 0, 1, 0x31, 7, 8, 0]);
        header
    }

    #[test]
    fn a_short_element_stands_beside_the_others() {
        let mut header = with_number();
        add_element(&mut header, 0, 12, &[1, 2, 3]);
        assert_eq!(
            header[12..],
            [0xbe, 0xde, 0, 2, 0x31, 7, 8, 0, 0xc2, 1, 2, 3]
        );
        let mut header = vec![0x80; FIXED_BYTES];
        add_element(&mut header, 0, 12, &[1, 2, 3, 4]);
        assert_eq!(header[0], 0x90);
        assert_eq!(header[12..], [0xbe, 0xde, 0, 2, 0xc3, 1, 2, 3, 4, 0, 0, 0]);
    }

    #[test]
    fn what_does_not_fit_makes_all_elements_ones_of_two_bytes() {
        let mut header = with_number();
        add_element(&mut header, 0, 15, &[1]);
        assert_eq!(header[12..], [0x10, 0, 0, 2, 3, 2, 7, 8, 15, 1, 1, 0]);
        let mut header = with_number();
        let value: Vec<u8> = (0..17).collect();
        add_element(&mut header, 0, 12, &value);
        assert_eq!(header[12..22], [0x10, 0, 0, 6, 3, 2, 7, 8, 12, 17]);
        assert_eq!(header[22..39], value);
        assert_eq!(header.len(), 16 + 24);
    }
}
