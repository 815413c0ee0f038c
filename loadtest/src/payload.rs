//! Payloads that look real: what a depacketizer reads is as an encoder would write it, the rest is filler.
//!
//! Every packet carries a [`Stamp`] behind its payload header, by which a receiver on the same machine knows
//! when the packet was sent and which frame of whose it belongs to, whatever the server rewrote on the way.

/// Marks a stamp, so that media of other origin is not taken for ours.
const MAGIC: [u8; 6] = *b"LT-st1";

/// Bytes of an encoded stamp.
pub(crate) const STAMP_LEN: usize = 34;

/// Longest payload; with header, extensions and tag it stays below the 1200 bytes of a browser's packets.
pub(crate) const MAX_PAYLOAD: usize = 1150;

/// What is sent; decides how payloads are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    Opus,
    Vp8,
    H264,
}

/// Says of one packet when it left and where in which frame it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Wall clock at sending, nanoseconds since 1970.
    pub(crate) sent_ns: u64,
    /// Which publisher of this run.
    pub(crate) publisher: u32,
    /// Which simulcast layer, from the lowest.
    pub(crate) layer: u8,
    /// Number of the frame (of the packet, for audio) in its layer.
    pub(crate) frame: u32,
    /// The frame that must be decoded before this one; itself for a keyframe.
    pub(crate) refers_to: u32,
    /// Place of the packet in its frame.
    pub(crate) packet: u16,
    /// Packets of the frame.
    pub(crate) packets: u16,
}

impl Stamp {
    pub(crate) fn is_keyframe(&self) -> bool {
        self.refers_to == self.frame
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.sent_ns.to_be_bytes());
        out.extend_from_slice(&self.publisher.to_be_bytes());
        out.extend_from_slice(&[self.layer, 0]);
        out.extend_from_slice(&self.frame.to_be_bytes());
        out.extend_from_slice(&self.refers_to.to_be_bytes());
        out.extend_from_slice(&self.packet.to_be_bytes());
        out.extend_from_slice(&self.packets.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; STAMP_LEN] = bytes.first_chunk()?;
        if bytes[..6] != MAGIC {
            return None;
        }
        let u32_at = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let u16_at = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        Some(Self {
            sent_ns: u64::from(u32_at(6)) << 32 | u64::from(u32_at(10)),
            publisher: u32_at(14),
            layer: bytes[18],
            frame: u32_at(20),
            refers_to: u32_at(24),
            packet: u16_at(28),
            packets: u16_at(30),
        })
    }
}

/// One packet's payload, from which it can be written again when it is asked for again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PayloadSpec {
    pub(crate) codec: Codec,
    pub(crate) stamp: Stamp,
    /// Bytes of the whole payload.
    pub(crate) len: u16,
    /// VP8's PictureID, 15 bits (RFC 7741 §4.2).
    pub(crate) picture_id: u16,
    /// Pixels; a keyframe says so.
    pub(crate) size: (u16, u16),
}

impl PayloadSpec {
    /// Appends the payload.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let end = out.len() + usize::from(self.len);
        match self.codec {
            // Configuration 31: CELT, full band, 20 ms, one frame (RFC 6716 §3.1).
            Codec::Opus => out.push(0xf8),
            Codec::Vp8 => self.write_vp8(out),
            Codec::H264 => self.write_h264(out),
        }
        self.stamp.write(out);
        // Not zeros, and no start code: it stands for coded pictures.
        let from = out.len();
        out.extend((from..end).map(|at| (at as u8).wrapping_mul(197) | 1));
    }

    /// Payload descriptor (RFC 7741 §4.2) and, in a frame's first packet, the frame header (RFC 6386 §9.1).
    fn write_vp8(&self, out: &mut Vec<u8>) {
        let stamp = &self.stamp;
        let start = stamp.packet == 0;
        // X; S in the first packet of the first and only partition. I and L: PictureID and TL0PICIDX follow.
        out.extend_from_slice(&[0x80 | if start { 0x10 } else { 0 }, 0xc0]);
        out.extend_from_slice(&(0x8000 | self.picture_id).to_be_bytes());
        out.push(stamp.frame as u8);
        if !start {
            return;
        }
        let partition_len = 1024_u32;
        let inter = u32::from(!stamp.is_keyframe());
        let tag = partition_len << 5 | 1 << 4 | inter;
        out.extend_from_slice(&tag.to_le_bytes()[..3]);
        if stamp.is_keyframe() {
            out.extend_from_slice(&[0x9d, 0x01, 0x2a]);
            out.extend_from_slice(&self.size.0.to_le_bytes());
            out.extend_from_slice(&self.size.1.to_le_bytes());
        }
    }

    /// A keyframe's first packet aggregates SPS, PPS and an SEI message (STAP-A); slices travel as FU-A (RFC 6184).
    fn write_h264(&self, out: &mut Vec<u8>) {
        const SPS: [u8; 14] = [
            0x67, 0x42, 0xe0, 0x1f, 0x8c, 0x8d, 0x40, 0x50, 0x1e, 0xd0, 0x0f, 0x08, 0x84, 0x6a,
        ];
        const PPS: [u8; 4] = [0x68, 0xce, 0x3c, 0x80];
        let stamp = &self.stamp;
        let key = stamp.is_keyframe();
        if key && stamp.packet == 0 {
            out.push(0x78);
            for unit in [&SPS[..], &PPS[..]] {
                out.extend_from_slice(&(unit.len() as u16).to_be_bytes());
                out.extend_from_slice(unit);
            }
            let rest = usize::from(self.len) - (1 + 2 + SPS.len() + 2 + PPS.len()) - 2;
            out.extend_from_slice(&(rest as u16).to_be_bytes());
            // SEI, user data unregistered.
            out.extend_from_slice(&[0x06, 0x05]);
            return;
        }
        let kind = if key { 5 } else { 1 };
        let first_slice_packet = u16::from(key);
        let start = stamp.packet == first_slice_packet;
        let end = stamp.packet + 1 == stamp.packets;
        if start && end {
            out.push(0x60 | kind);
        } else {
            out.extend_from_slice(&[
                0x7c,
                kind | if start { 0x80 } else { 0 } | if end { 0x40 } else { 0 },
            ]);
        }
        if start {
            // first_mb_in_slice 0, slice_type I or P: enough for a parser to see a new picture.
            out.extend_from_slice(&[0x88, 0x84]);
        }
    }
}

/// What a depacketizer sees of one payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// A frame starts here; `None` where the codec does not say.
    pub(crate) starts_frame: Option<bool>,
    /// It is the start of a keyframe.
    pub(crate) keyframe: bool,
    /// VP8's PictureID.
    pub(crate) picture_id: Option<u16>,
    /// Our stamp, when it is ours.
    pub(crate) stamp: Option<Stamp>,
}

/// Reads a payload as a depacketizer would; `None` when it would refuse it.
pub(crate) fn inspect(codec: Codec, payload: &[u8]) -> Option<Seen> {
    match codec {
        Codec::Opus => {
            let (_, rest) = payload.split_first()?;
            Some(Seen {
                starts_frame: Some(true),
                stamp: Stamp::read(rest),
                ..Seen::default()
            })
        }
        Codec::Vp8 => inspect_vp8(payload),
        Codec::H264 => inspect_h264(payload),
    }
}

fn inspect_vp8(payload: &[u8]) -> Option<Seen> {
    let first = *payload.first()?;
    let mut at = 1;
    let mut picture_id = None;
    if first & 0x80 != 0 {
        let flags = *payload.get(at)?;
        at += 1;
        if flags & 0x80 != 0 {
            let high = *payload.get(at)?;
            at += 1;
            picture_id = Some(if high & 0x80 != 0 {
                let low = *payload.get(at)?;
                at += 1;
                u16::from_be_bytes([high & 0x7f, low])
            } else {
                u16::from(high)
            });
        }
        at += usize::from(flags & 0x40 != 0) + usize::from(flags & 0x30 != 0);
    }
    let data = payload.get(at..).filter(|data| !data.is_empty())?;
    let starts = first & 0x10 != 0 && first & 0x07 == 0;
    let keyframe = starts && data[0] & 1 == 0;
    if keyframe && data.get(3..6)? != [0x9d, 0x01, 0x2a] {
        return None;
    }
    let header = match (starts, keyframe) {
        (true, true) => 10,
        (true, false) => 3,
        _ => 0,
    };
    let stamp = data.get(header..).and_then(Stamp::read);
    Some(Seen {
        starts_frame: Some(starts),
        keyframe,
        picture_id,
        stamp,
    })
}

fn inspect_h264(payload: &[u8]) -> Option<Seen> {
    let kind = payload.first()? & 0x1f;
    let mut seen = Seen::default();
    let stamped = match kind {
        24 => {
            let mut rest = &payload[1..];
            let mut last: &[u8] = &[];
            while !rest.is_empty() {
                let len = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
                last = rest.get(2..2 + len)?;
                seen.keyframe |= matches!(last.first()? & 0x1f, 5 | 7);
                rest = &rest[2 + len..];
            }
            last.get(2..)
        }
        28 => {
            let header = *payload.get(1)?;
            let starts = header & 0x80 != 0;
            seen.keyframe = starts && header & 0x1f == 5;
            payload.get(if starts { 4 } else { 2 }..)
        }
        1..=23 => {
            seen.keyframe = matches!(kind, 5 | 7);
            payload.get(3..)
        }
        _ => return None,
    };
    seen.stamp = stamped.and_then(Stamp::read);
    Some(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(frame: u32, refers_to: u32, packet: u16, packets: u16) -> Stamp {
        Stamp {
            sent_ns: 1_700_000_000_123_456_789,
            publisher: 7,
            layer: 2,
            frame,
            refers_to,
            packet,
            packets,
        }
    }

    #[test]
    fn every_payload_is_read_back_with_its_stamp() {
        for codec in [Codec::Opus, Codec::Vp8, Codec::H264] {
            for refers_to in [8, 9] {
                for packet in 0..3 {
                    let spec = PayloadSpec {
                        codec,
                        stamp: stamp(9, refers_to, packet, 3),
                        len: 500,
                        picture_id: 32_767,
                        size: (640, 360),
                    };
                    let mut payload = Vec::new();
                    spec.write(&mut payload);
                    assert_eq!(payload.len(), 500);
                    let seen = inspect(codec, &payload).expect("a depacketizer accepts it");
                    assert_eq!(seen.stamp, Some(spec.stamp), "{codec:?} packet {packet}");
                    let key_start = codec != Codec::Opus && refers_to == 9 && packet == 0;
                    if key_start {
                        assert!(seen.keyframe);
                    }
                    if codec == Codec::Vp8 {
                        assert_eq!(
                            (seen.starts_frame, seen.picture_id),
                            (Some(packet == 0), Some(32_767))
                        );
                        assert_eq!(seen.keyframe, key_start);
                    }
                }
            }
        }
    }

    #[test]
    fn media_of_others_has_no_stamp() {
        let seen = inspect(Codec::Vp8, &[0x10, 1, 2, 3]).expect("a plain VP8 payload");
        assert_eq!(
            (seen.stamp, seen.starts_frame, seen.keyframe),
            (None, Some(true), false)
        );
        assert!(inspect(Codec::Vp8, &[0x90]).is_none(), "cut short");
        assert!(
            inspect(Codec::Vp8, &[0x10, 0, 2, 3, 1, 2, 3]).is_none(),
            "a keyframe without its start code"
        );
    }
}
