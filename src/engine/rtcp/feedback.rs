//! What receivers ask for: packets (NACK), keyframes (FIR), a rate (REMB).

use std::slice;

use str0m::rtp::Ssrc;

use super::{Malformed, Ssrcs, be_u16};

/// Entries of one NACK that are read, each of which names up to 17 packets.
///
/// libwebrtc asks for 1000 packets at most, and rather for a keyframe beyond that. Who has lost
/// more, here and there, asks for the rest once more.
const MAX_NACK_ENTRIES: usize = 64;

/// Requests of one FIR that are read. One would do: each names a stream, and we count them per stream.
const MAX_FIR_REQUESTS: usize = 32;

/// The packets that a NACK asks for, in the order of their sequence numbers (RFC 4585 §6.2.1).
#[derive(Clone, Debug)]
pub struct LostPackets<'a> {
    entries: slice::Iter<'a, [u8; 4]>,
    /// The next packet of the current entry, if its lowest bit is set.
    next: u16,
    /// Bit `n`: `next + n` is lost, too.
    pending: u32,
}

impl<'a> LostPackets<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let (entries, _) = body.as_chunks();
        if entries.is_empty() {
            return Err(Malformed::Truncated);
        }
        let entries = &entries[..entries.len().min(MAX_NACK_ENTRIES)];
        Ok(Self {
            entries: entries.iter(),
            next: 0,
            pending: 0,
        })
    }
}

impl Iterator for LostPackets<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.pending == 0 {
            let &[id_high, id_low, mask_high, mask_low] = self.entries.next()?;
            self.next = be_u16(id_high, id_low);
            self.pending = u32::from(be_u16(mask_high, mask_low)) << 1 | 1;
        }
        let skipped = self.pending.trailing_zeros();
        let lost = self.next.wrapping_add(skipped as u16);
        self.next = lost.wrapping_add(1);
        self.pending = self.pending >> skipped >> 1;
        Some(lost)
    }
}

/// One entry of a FIR (RFC 5104 §4.3.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirRequest {
    /// Whose keyframe is wanted.
    pub ssrc: Ssrc,
    /// Stays the same while one request is repeated.
    pub sequence: u8,
}

/// The entries of a FIR.
#[derive(Clone, Debug)]
pub struct FirRequests<'a>(slice::Iter<'a, [u8; 8]>);

impl<'a> FirRequests<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let (requests, _) = body.as_chunks();
        if requests.is_empty() {
            return Err(Malformed::Truncated);
        }
        let requests = &requests[..requests.len().min(MAX_FIR_REQUESTS)];
        Ok(Self(requests.iter()))
    }
}

impl Iterator for FirRequests<'_> {
    type Item = FirRequest;

    fn next(&mut self) -> Option<FirRequest> {
        let &[a, b, c, d, sequence, ..] = self.0.next()?;
        Some(FirRequest {
            ssrc: u32::from_be_bytes([a, b, c, d]).into(),
            sequence,
        })
    }
}

/// What a receiver thinks its path carries (draft-alvestrand-rmcat-remb-03 §2.2).
#[derive(Clone, Debug)]
pub struct Remb<'a> {
    /// For all of [`Self::ssrcs`] together, in bit/s; as much as a `u64` holds if it is more.
    pub bitrate_bps: u64,
    /// The streams that it is for, as far as they are named; browsers name some or all.
    pub ssrcs: Ssrcs<'a>,
}

impl<'a> Remb<'a> {
    /// `None` if it is another message of an application.
    pub(super) fn parse(body: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let Some(body) = body.strip_prefix(b"REMB") else {
            return Ok(None);
        };
        let (&[count, high, middle, low], body) =
            body.split_first_chunk().ok_or(Malformed::Truncated)?;
        let exponent = u32::from(high >> 2);
        let mantissa = u64::from(u32::from_be_bytes([0, high & 3, middle, low]));
        let bitrate_bps = u64::try_from(u128::from(mantissa) << exponent).unwrap_or(u64::MAX);
        Ok(Some(Self {
            bitrate_bps,
            ssrcs: Ssrcs::parse(body, usize::from(count))?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::rtcp::Packet;
    use crate::engine::rtcp::tests::{error_of, only, packet};

    const SENDER_AND_MEDIA: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 2];

    fn feedback(packet_type: u8, format: u8, body: &[u8]) -> Vec<u8> {
        packet(packet_type, format, &[&SENDER_AND_MEDIA, body].concat())
    }

    fn lost(body: &[u8]) -> Vec<u16> {
        let datagram = feedback(205, 1, body);
        let Packet::Nack {
            sender,
            media,
            lost,
        } = only(&datagram)
        else {
            panic!("a NACK")
        };
        assert_eq!((*sender, *media), (1, 2));
        lost.collect()
    }

    #[test]
    fn a_nack_names_a_packet_and_sixteen_after_it() {
        assert_eq!(lost(&[0, 100, 0, 0]), [100]);
        assert_eq!(lost(&[0, 100, 0x80, 0x05]), [100, 101, 103, 116]);
        assert_eq!(lost(&[0xff, 0xff, 0, 1, 0, 9, 0, 0]), [0xffff, 0, 9]);
        assert_eq!(lost(&[0, 1, 0xff, 0xff]), (1..=17).collect::<Vec<_>>());
    }

    #[test]
    fn of_a_nack_bomb_the_first_thousand_packets_are_read() {
        let entries = [0, 0, 0xff, 0xff].repeat(MAX_NACK_ENTRIES);
        assert_eq!(lost(&entries).len(), 1088);
        let bomb = [0, 0, 0xff, 0xff].repeat(350);
        assert_eq!(lost(&bomb).len(), 1088);
        assert_eq!(error_of(&feedback(205, 1, &[])), Malformed::Truncated);
    }

    #[test]
    fn keyframe_requests_name_their_streams() {
        let datagram = feedback(206, 4, &[0, 0, 0, 7, 3, 0, 0, 0, 0, 0, 0, 8, 255, 0, 0, 0]);
        let Packet::FullIntraRequest { sender, requests } = only(&datagram) else {
            panic!("a FIR")
        };
        assert_eq!(*sender, 1);
        let requests: Vec<_> = requests.collect();
        let expected = [(7, 3), (8, 255)].map(|(ssrc, sequence): (u32, _)| FirRequest {
            ssrc: ssrc.into(),
            sequence,
        });
        assert_eq!(requests, expected);
        let bomb = feedback(206, 4, &[0; 8].repeat(180));
        let Packet::FullIntraRequest { requests, .. } = only(&bomb) else {
            panic!("a FIR")
        };
        assert_eq!(requests.count(), MAX_FIR_REQUESTS);
        assert_eq!(
            error_of(&packet(206, 1, &[0, 0, 0, 1])),
            Malformed::Truncated
        );
    }

    #[test]
    fn an_estimate_is_a_mantissa_and_an_exponent() {
        let remb = |count, rate: [u8; 3], ssrcs: &[u8]| {
            feedback(206, 15, &[b"REMB", &[count][..], &rate, ssrcs].concat())
        };
        let read = |datagram: &[u8]| {
            let Packet::Remb(remb) = only(datagram) else {
                panic!("a REMB")
            };
            (
                remb.bitrate_bps,
                remb.ssrcs.map(|ssrc| *ssrc).collect::<Vec<_>>(),
            )
        };
        // 3 << 16 | 0xd090 times 2 to the 3rd.
        let datagram = remb(2, [3 << 2 | 3, 0xd0, 0x90], &[0, 0, 0, 5, 0, 0, 0, 6]);
        assert_eq!(read(&datagram), (2_000_000, vec![5, 6]));
        assert_eq!(read(&remb(0, [0xff; 3], &[])), (u64::MAX, vec![]));
        assert_eq!(read(&remb(0, [0; 3], &[])), (0, vec![]));
        assert_eq!(
            error_of(&remb(2, [0; 3], &[0, 0, 0, 5])),
            Malformed::Truncated
        );
        let other = feedback(206, 15, b"ABCD");
        assert!(matches!(
            only(&other),
            Packet::Unknown {
                packet_type: 206,
                format: 15
            }
        ));
    }
}
