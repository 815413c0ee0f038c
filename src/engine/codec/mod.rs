//! What an RTP payload tells a forwarder, and the few numbers in it that he may have to change.
//!
//! A packet that comes in is read once ([`PayloadInfo::parse`]); every subscriber's copy is
//! then decided on by what was found. Nothing is decoded, nothing is allocated, and nothing
//! that a sender writes can do more than make a payload count as unreadable.
//!
//! VP8 and VP9 number their pictures inside the payload. Where a slot moves from one source
//! to another, or leaves frames out, these numbers would jump, and decoders would wait for
//! pictures that never come. [`CodecRewriter`] finds the [`CodecOffsets`] that keep them
//! continuous, and [`patch`] applies them to a copy of the payload, in place.

mod av1;
mod descriptor;
mod h264;
mod h265;
pub(crate) mod red;
mod rewrite;
mod vp8;
mod vp9;

use std::num::NonZeroU8;

use smallvec::SmallVec;

pub(crate) use descriptor::{Descriptor, Known};
pub use descriptor::{Descriptors, Unreadable};
pub(crate) use h264::ParameterSets;
pub use rewrite::{CodecOffsets, CodecRewriter, patch};

/// What a track's payload is, as far as forwarding cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Opus (RFC 7587): every packet stands alone.
    Opus,
    /// Redundant audio around Opus (RFC 2198): every packet stands alone.
    Red,
    /// VP8 (RFC 7741).
    Vp8,
    /// VP9 (RFC 9628).
    Vp9,
    /// H.264 (RFC 6184).
    H264,
    /// AV1 (AOMedia's "RTP Payload Format For AV1").
    Av1,
    /// H.265 (RFC 7798).
    H265,
    /// Anything else; passed on unread.
    Other,
}

impl Codec {
    /// The codec that an `a=rtpmap` line names, in whatever case (RFC 8866 §6.6).
    pub fn from_encoding_name(name: &str) -> Self {
        const NAMES: [(&str, Codec); 7] = [
            ("opus", Codec::Opus),
            ("red", Codec::Red),
            ("VP8", Codec::Vp8),
            ("VP9", Codec::Vp9),
            ("H264", Codec::H264),
            ("AV1", Codec::Av1),
            ("H265", Codec::H265),
        ];
        let known = NAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        known.map_or(Self::Other, |&(_, codec)| codec)
    }
}

/// How large the pictures of a keyframe are, by spatial layer, the lowest first; nothing where its
/// first packet does not say.
pub(crate) fn picture_sizes(codec: Codec, payload: &[u8]) -> SmallVec<[(u16, u16); 1]> {
    match codec {
        Codec::Vp8 => vp8::picture_size(payload).into_iter().collect(),
        Codec::Vp9 => vp9::picture_sizes(payload).unwrap_or_default(),
        _ => SmallVec::new(),
    }
}

/// What one packet's payload says about its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadInfo {
    /// A decoder that has seen nothing so far can begin with this packet.
    pub keyframe_start: bool,
    /// The packet begins a frame (with spatial layers: a layer's frame).
    ///
    /// AV1 packets tell only that they begin an OBU; there the change of the RTP timestamp
    /// has to be looked at, too.
    pub frame_start: bool,
    /// The packet ends a frame (with spatial layers: a layer's frame). Only VP9 tells; for
    /// all others the RTP marker does.
    pub frame_end: bool,
    /// The frame is not predicted from earlier pictures, though perhaps from a lower spatial
    /// layer of the same picture: its spatial layer may be taken up here.
    pub independent: bool,
    /// Whoever has the temporal layers below this frame's can decode it, and may take up its
    /// layer here (VP8's Y bit, VP9's U bit).
    pub switching_up: bool,
    /// The highest temporal layer that may be taken up with this frame by whoever has those below
    /// the frame's. Only dependency descriptors tell; 0 where there is none.
    pub takes_up: u8,
    /// No other frame is predicted from this one.
    pub discardable: bool,
    /// Higher spatial layers of this picture may be predicted from this frame.
    pub needed_above: bool,
    /// The packet carries parameter sets (H.264, H.265).
    pub parameter_sets: bool,
    /// Spatial layer, 0 where there is one only or the payload does not say.
    pub spatial: u8,
    /// Temporal layer, 0 where there is one only or the payload does not say.
    pub temporal: u8,
    /// The numbers that [`patch`] may change.
    numbers: Numbers,
}

impl PayloadInfo {
    /// A payload that nothing is known about: neither a place to begin nor a layer.
    pub const OPAQUE: Self = Self {
        keyframe_start: false,
        frame_start: false,
        frame_end: false,
        independent: false,
        switching_up: false,
        takes_up: 0,
        discardable: false,
        needed_above: true,
        parameter_sets: false,
        spatial: 0,
        temporal: 0,
        numbers: Numbers::NONE,
    };

    /// A payload that can be decoded without any other, as in audio.
    pub const STANDALONE: Self = Self {
        keyframe_start: true,
        frame_start: true,
        frame_end: true,
        independent: true,
        ..Self::OPAQUE
    };

    /// Reads what `codec` puts at the start of its RTP payloads.
    ///
    /// `None` means that the payload is not what its payload type promises. Such a packet may
    /// still be passed on as [`Self::OPAQUE`] in a stream that runs already (it may be
    /// encrypted end to end), but no slot can begin with it.
    pub fn parse(codec: Codec, payload: &[u8]) -> Option<Self> {
        match codec {
            Codec::Vp8 => vp8::parse(payload),
            Codec::Vp9 => vp9::parse(payload),
            Codec::H264 => h264::parse(payload),
            Codec::H265 => h265::parse(payload),
            Codec::Av1 => av1::parse(payload),
            Codec::Opus | Codec::Red | Codec::Other => Some(Self::STANDALONE),
        }
    }

    /// The picture number, 7 or 15 bits wide, for tests and traces.
    pub fn picture_id(&self) -> Option<u16> {
        self.numbers.picture.map(|picture| picture.value)
    }

    /// The number of the base layer frame that this one hangs on (VP8 and VP9 TL0PICIDX).
    pub fn tl0_pic_idx(&self) -> Option<u8> {
        self.numbers.tl0.map(|tl0| tl0.value)
    }

    /// The number of the keyframe that this frame hangs on (VP8 KEYIDX, 5 bits).
    pub fn key_idx(&self) -> Option<u8> {
        self.numbers.key_idx.map(|key_idx| key_idx.value)
    }
}

/// The picture numbers in a payload descriptor, and where they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Numbers {
    picture: Option<PictureId>,
    tl0: Option<Octet>,
    key_idx: Option<Octet>,
    /// In the dependency descriptor beside the payload.
    frame: Option<FrameNumber>,
    /// Later pictures close the gap in picture numbers if this frame is left out.
    closes_gap: bool,
}

impl Numbers {
    const NONE: Self = Self {
        picture: None,
        tl0: None,
        key_idx: None,
        frame: None,
        closes_gap: false,
    };
}

/// The number of a frame in a dependency descriptor, and the template ids that its structure takes
/// up, modulo 64: the first, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FrameNumber {
    value: u16,
    first_id: u8,
    ids: u8,
}

/// A PictureID of VP8 (RFC 7741 §4.2) or VP9 (RFC 9628 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PictureId {
    value: u16,
    /// 15 bits in two bytes, rather than 7 in one.
    wide: bool,
    /// Where its (first) byte stands in the payload; never first of all.
    at: NonZeroU8,
}

/// The largest 15 bit PictureID.
const PICTURE_ID_MASK: u16 = 0x7fff;

impl PictureId {
    /// Both codecs write it alike: a bit M, then 7 or (M=1) 15 bits.
    fn read(payload: &[u8], at: u8) -> Option<Self> {
        let first = *payload.get(usize::from(at))?;
        let wide = first & 0x80 != 0;
        let mut value = u16::from(first & 0x7f);
        if wide {
            value = value << 8 | u16::from(*payload.get(usize::from(at) + 1)?);
        }
        let at = NonZeroU8::new(at)?;
        Some(Self { value, wide, at })
    }

    /// Bytes that it takes up.
    fn len(self) -> u8 {
        if self.wide { 2 } else { 1 }
    }

    /// How many pictures this one is after `earlier`, by the bits that both have.
    ///
    /// Senders may change the width from one frame to the next (RFC 7741 §4.2).
    fn since(self, earlier: Self) -> i16 {
        let distance = self.value.wrapping_sub(earlier.value);
        if self.wide && earlier.wide {
            (distance << 1) as i16 >> 1
        } else {
            i16::from(((distance as u8) << 1) as i8 >> 1)
        }
    }
}

/// A number in one byte of the payload, or in the low bits of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Octet {
    value: u8,
    /// Where it stands in the payload; never first of all.
    at: NonZeroU8,
}

impl Octet {
    fn read(payload: &[u8], at: u8) -> Option<Self> {
        let value = *payload.get(usize::from(at))?;
        Some(Self {
            value,
            at: NonZeroU8::new(at)?,
        })
    }
}

/// One is kept for every packet in a track's history.
const _: () = assert!(size_of::<PayloadInfo>() <= 32);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Codec; 8] = [
        Codec::Opus,
        Codec::Red,
        Codec::Vp8,
        Codec::Vp9,
        Codec::H264,
        Codec::Av1,
        Codec::H265,
        Codec::Other,
    ];

    #[test]
    fn audio_can_begin_with_any_packet() {
        for codec in [Codec::Opus, Codec::Red] {
            let info = PayloadInfo::parse(codec, &[0xfc, 1, 2]).expect("audio is not looked into");
            assert!(info.keyframe_start && info.frame_start && info.frame_end);
        }
    }

    #[test]
    fn codecs_are_known_by_name_in_any_case() {
        assert_eq!(Codec::from_encoding_name("OPUS"), Codec::Opus);
        assert_eq!(Codec::from_encoding_name("vp8"), Codec::Vp8);
        assert_eq!(Codec::from_encoding_name("rtx"), Codec::Other);
    }

    #[test]
    fn picture_numbers_of_different_width_are_compared_by_the_bits_they_share() {
        let at = NonZeroU8::MIN;
        let narrow = |value| PictureId {
            value,
            wide: false,
            at,
        };
        let wide = |value| PictureId {
            value,
            wide: true,
            at,
        };
        assert_eq!(narrow(0).since(narrow(127)), 1);
        assert_eq!(narrow(126).since(narrow(1)), -3);
        assert_eq!(wide(0).since(wide(0x7fff)), 1);
        assert_eq!(wide(0x7fff).since(wide(2)), -3);
        assert_eq!(wide(128).since(narrow(127)), 1);
        assert_eq!(narrow(5).since(wide(0x7f84)), 1);
    }

    proptest! {
        #[test]
        fn no_payload_can_do_harm(
            mut payload in prop::collection::vec(any::<u8>(), 0..64),
            cut in 0usize..64,
            picture_id: u16,
            tl0: u8,
            key_idx: u8,
        ) {
            for codec in ALL {
                if let Some(info) = PayloadInfo::parse(codec, &payload) {
                    let offsets = CodecOffsets { picture_id, tl0, key_idx, ..CodecOffsets::default() };
                    let length = payload.len();
                    patch(&mut payload, &info, offsets);
                    prop_assert_eq!(payload.len(), length);
                    // A record that was paired with the wrong payload does no harm either.
                    let end = cut.min(length);
                    patch(&mut payload[..end], &info, offsets);
                }
            }
        }
    }
}
