//! RTCP as subscribers send it, read in place, and the reports that we send them (RFC 3550 §6).
//!
//! What a subscriber reports decides what is sent to it: losses (NACK), lost pictures (PLI, FIR)
//! and what the path carries (transport feedback, REMB). It comes often, so it is read where it
//! stands and nothing is allocated; it comes from outside, so each list in it has a limit.
//!
//! Compound and reduced-size packets (RFC 5506) are read alike. A packet that is not understood
//! is [`Packet::Unknown`]; one that contradicts itself ends the reading, as what follows it
//! cannot be found with certainty. What stood before it counts.

mod ccfb;
mod feedback;
mod report;
mod twcc;
mod write;
mod xr;

use std::slice;

use str0m::rtp::Ssrc;
use thiserror::Error;

pub use ccfb::{CongestionFeedback, PacketReport, PacketReports, StreamReport, StreamReports};
pub use feedback::{FirRequest, FirRequests, LostPackets, Remb};
pub use report::{ReportBlock, ReportBlocks, SenderInfo};
pub use twcc::{PacketStatus, PacketStatuses, TransportFeedback};
pub use write::{
    write_bye, write_receiver_report, write_reference_times, write_sdes, write_sender_report,
};
pub use xr::{ReferenceTime, ReferenceTimes, XrBlock, XrBlocks};

/// Packets that are read from one datagram.
///
/// Clients send a handful. A datagram could hold more than three hundred, each of which would
/// cost the work that one is allowed to cost.
const MAX_PACKETS: usize = 64;

/// Octets of the header that all RTCP packets begin with.
const HEADER_LEN: usize = 4;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const TRANSPORT_LAYER_FEEDBACK: u8 = 205;
const PAYLOAD_SPECIFIC_FEEDBACK: u8 = 206;
const EXTENDED_REPORT: u8 = 207;

/// The kinds of [`TRANSPORT_LAYER_FEEDBACK`].
const NACK: u8 = 1;
const CONGESTION_FEEDBACK: u8 = 11;
const TRANSPORT_WIDE_FEEDBACK: u8 = 15;

/// The kinds of [`PAYLOAD_SPECIFIC_FEEDBACK`].
const PICTURE_LOSS: u8 = 1;
const FULL_INTRA_REQUEST: u8 = 4;
const APPLICATION_LAYER: u8 = 15;

/// One RTCP packet, borrowed from the datagram it came in.
#[derive(Clone, Debug)]
pub enum Packet<'a> {
    /// SR (RFC 3550 §6.4.1): somebody who sends tells how much, and when.
    SenderReport {
        /// Who sends.
        sender: Ssrc,
        /// What it says of its own stream.
        info: SenderInfo,
        /// What it says of the streams that it receives.
        reports: ReportBlocks<'a>,
    },
    /// RR (RFC 3550 §6.4.2): how streams are received.
    ReceiverReport {
        /// Who receives.
        sender: Ssrc,
        /// One for each stream.
        reports: ReportBlocks<'a>,
    },
    /// SDES (RFC 3550 §6.5): names, which tell us nothing that signalling did not.
    SourceDescription,
    /// BYE (RFC 3550 §6.6): these sources will send no more.
    Goodbye(Ssrcs<'a>),
    /// A NACK (RFC 4585 §6.2.1).
    Nack {
        /// Who asks.
        sender: Ssrc,
        /// Whose packets were lost.
        media: Ssrc,
        /// Which ones.
        lost: LostPackets<'a>,
    },
    /// PLI (RFC 4585 §6.3.1): a keyframe is needed to go on.
    PictureLoss {
        /// Who asks.
        sender: Ssrc,
        /// Of whom.
        media: Ssrc,
    },
    /// FIR (RFC 5104 §4.3.1): a keyframe is needed to begin.
    FullIntraRequest {
        /// Who asks.
        sender: Ssrc,
        /// Of whom.
        requests: FirRequests<'a>,
    },
    /// When packets arrived that carry transport-wide sequence numbers.
    TransportFeedback(TransportFeedback<'a>),
    /// When packets of each stream arrived (RFC 8888).
    CongestionFeedback(CongestionFeedback<'a>),
    /// What a receiver thinks that its path carries.
    Remb(Remb<'a>),
    /// XR (RFC 3611).
    ExtendedReport {
        /// Who reports.
        sender: Ssrc,
        /// What.
        blocks: XrBlocks<'a>,
    },
    /// Something else, to be ignored (RFC 8834 §4.1).
    Unknown {
        /// Its packet type.
        packet_type: u8,
        /// Its feedback message type or item count.
        format: u8,
    },
}

/// Why the reading of a datagram stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// A packet says that it is longer than the datagram, or than itself.
    #[error("RTCP is cut short")]
    Truncated,
    /// Not version 2.
    #[error("RTCP of another version")]
    Version,
    /// Padding that is longer than the packet, or empty.
    #[error("RTCP padding is wrong")]
    Padding,
    /// A value that its standard does not allow.
    #[error("RTCP contradicts itself")]
    Contents,
    /// More than anybody has a use for.
    #[error("RTCP above our limits")]
    TooMuch,
}

/// Reads the packets of a compound or reduced-size RTCP datagram, in the clear.
#[must_use]
pub fn packets(datagram: &[u8]) -> Packets<'_> {
    Packets {
        rest: datagram,
        left: MAX_PACKETS,
    }
}

/// The packets in one datagram. After an error there are no more.
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let packet = self.read();
        if packet.is_err() {
            self.rest = &[];
        }
        Some(packet)
    }
}

impl<'a> Packets<'a> {
    fn read(&mut self) -> Result<Packet<'a>, Malformed> {
        self.left = self.left.checked_sub(1).ok_or(Malformed::TooMuch)?;
        let (&[flags, packet_type, len_high, len_low], rest) = self
            .rest
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(Malformed::Truncated)?;
        if flags >> 6 != 2 {
            return Err(Malformed::Version);
        }
        let len = usize::from(u16::from_be_bytes([len_high, len_low])) * 4;
        let (mut body, rest) = rest.split_at_checked(len).ok_or(Malformed::Truncated)?;
        if flags & 0x20 != 0 {
            body = without_padding(body)?;
        }
        self.rest = rest;
        read_body(packet_type, flags & 0x1f, body)
    }
}

/// Takes off the padding, whose last octet counts it.
///
/// RFC 3550 §6.4.1 pads the last packet of a datagram only, in whole words. libwebrtc fills up
/// every transport feedback to a word that way, with one to three octets, wherever it stands.
fn without_padding(body: &[u8]) -> Result<&[u8], Malformed> {
    let padding = usize::from(*body.last().ok_or(Malformed::Padding)?);
    if padding == 0 || padding > body.len() {
        return Err(Malformed::Padding);
    }
    Ok(&body[..body.len() - padding])
}

fn read_body(packet_type: u8, format: u8, body: &[u8]) -> Result<Packet<'_>, Malformed> {
    match (packet_type, format) {
        (SENDER_REPORT, count) => {
            let (sender, body) = split_ssrc(body)?;
            let (info, body) = SenderInfo::split(body)?;
            let reports = ReportBlocks::parse(body, count)?;
            Ok(Packet::SenderReport {
                sender,
                info,
                reports,
            })
        }
        (RECEIVER_REPORT, count) => {
            let (sender, body) = split_ssrc(body)?;
            Ok(Packet::ReceiverReport {
                sender,
                reports: ReportBlocks::parse(body, count)?,
            })
        }
        (SOURCE_DESCRIPTION, _) => Ok(Packet::SourceDescription),
        (GOODBYE, count) => Ok(Packet::Goodbye(Ssrcs::parse(body, usize::from(count))?)),
        (TRANSPORT_LAYER_FEEDBACK, NACK) => {
            let (sender, media, body) = split_feedback(body)?;
            Ok(Packet::Nack {
                sender,
                media,
                lost: LostPackets::parse(body)?,
            })
        }
        (TRANSPORT_LAYER_FEEDBACK, TRANSPORT_WIDE_FEEDBACK) => {
            let (_, _, body) = split_feedback(body)?;
            Ok(Packet::TransportFeedback(TransportFeedback::parse(body)?))
        }
        (TRANSPORT_LAYER_FEEDBACK, CONGESTION_FEEDBACK) => {
            let (_, body) = split_ssrc(body)?;
            Ok(Packet::CongestionFeedback(CongestionFeedback::parse(body)?))
        }
        (PAYLOAD_SPECIFIC_FEEDBACK, PICTURE_LOSS) => {
            let (sender, media, _) = split_feedback(body)?;
            Ok(Packet::PictureLoss { sender, media })
        }
        (PAYLOAD_SPECIFIC_FEEDBACK, FULL_INTRA_REQUEST) => {
            let (sender, _, body) = split_feedback(body)?;
            Ok(Packet::FullIntraRequest {
                sender,
                requests: FirRequests::parse(body)?,
            })
        }
        (PAYLOAD_SPECIFIC_FEEDBACK, APPLICATION_LAYER) => {
            let (_, _, body) = split_feedback(body)?;
            let unknown = Packet::Unknown {
                packet_type,
                format,
            };
            Ok(Remb::parse(body)?.map_or(unknown, Packet::Remb))
        }
        (EXTENDED_REPORT, _) => {
            let (sender, body) = split_ssrc(body)?;
            Ok(Packet::ExtendedReport {
                sender,
                blocks: XrBlocks::parse(body)?,
            })
        }
        _ => Ok(Packet::Unknown {
            packet_type,
            format,
        }),
    }
}

/// A list of sources.
#[derive(Clone, Debug)]
pub struct Ssrcs<'a>(slice::Iter<'a, [u8; 4]>);

impl<'a> Ssrcs<'a> {
    fn parse(body: &'a [u8], count: usize) -> Result<Self, Malformed> {
        let ssrcs = body
            .as_chunks()
            .0
            .get(..count)
            .ok_or(Malformed::Truncated)?;
        Ok(Self(ssrcs.iter()))
    }
}

impl Iterator for Ssrcs<'_> {
    type Item = Ssrc;

    fn next(&mut self) -> Option<Ssrc> {
        self.0
            .next()
            .map(|octets| u32::from_be_bytes(*octets).into())
    }
}

fn split_ssrc(body: &[u8]) -> Result<(Ssrc, &[u8]), Malformed> {
    let (ssrc, rest) = split_u32(body)?;
    Ok((ssrc.into(), rest))
}

/// What all feedback begins with: who sends it, and about which stream (RFC 4585 §6.1).
fn split_feedback(body: &[u8]) -> Result<(Ssrc, Ssrc, &[u8]), Malformed> {
    let (sender, body) = split_ssrc(body)?;
    let (media, body) = split_ssrc(body)?;
    Ok((sender, media, body))
}

fn split_u32(bytes: &[u8]) -> Result<(u32, &[u8]), Malformed> {
    let (octets, rest) = split(bytes)?;
    Ok((u32::from_be_bytes(*octets), rest))
}

fn split<const N: usize>(bytes: &[u8]) -> Result<(&[u8; N], &[u8]), Malformed> {
    bytes.split_first_chunk().ok_or(Malformed::Truncated)
}

fn be_u16(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Puts a header before a body of whole words.
    pub(in crate::engine::rtcp) fn packet(packet_type: u8, format: u8, body: &[u8]) -> Vec<u8> {
        assert!(body.len().is_multiple_of(4));
        let words = (body.len() / 4) as u16;
        let header = [0x80 | format, packet_type, (words >> 8) as u8, words as u8];
        [&header, body].concat()
    }

    /// Reads a datagram that holds one good packet.
    pub(in crate::engine::rtcp) fn only(datagram: &[u8]) -> Packet<'_> {
        let mut packets = packets(datagram);
        let packet = packets.next().expect("a packet").expect("well-formed");
        assert!(packets.next().is_none());
        packet
    }

    pub(in crate::engine::rtcp) fn error_of(datagram: &[u8]) -> Malformed {
        let error = packets(datagram).find_map(Result::err);
        error.expect("malformed")
    }

    /// Looks at everything in a packet.
    fn exhaust(packet: Packet<'_>) -> usize {
        match packet {
            Packet::SenderReport { reports, .. } | Packet::ReceiverReport { reports, .. } => {
                reports.count()
            }
            Packet::Goodbye(ssrcs) => ssrcs.count(),
            Packet::Nack { lost, .. } => lost.count(),
            Packet::FullIntraRequest { requests, .. } => requests.count(),
            Packet::TransportFeedback(feedback) => feedback.statuses().count(),
            Packet::CongestionFeedback(feedback) => feedback
                .streams()
                .map(|stream| stream.packets.count())
                .sum(),
            Packet::Remb(remb) => remb.ssrcs.count(),
            Packet::ExtendedReport { blocks, .. } => blocks
                .map(|block| match block {
                    XrBlock::LastReferenceTimes(times) => times.count(),
                    _ => 1,
                })
                .sum(),
            Packet::SourceDescription | Packet::PictureLoss { .. } | Packet::Unknown { .. } => 1,
        }
    }

    #[test]
    fn a_compound_of_many_kinds_is_read_in_order() {
        let compound = [
            packet(201, 0, &[0, 0, 0, 1]),
            packet(202, 0, &[]),
            packet(206, 1, &[0, 0, 0, 1, 0, 0, 0, 2]),
            packet(204, 7, b"name"),
            packet(203, 2, &[0, 0, 0, 8, 0, 0, 0, 9]),
        ]
        .concat();
        let read: Vec<_> = packets(&compound)
            .map(|packet| packet.expect("good"))
            .collect();
        assert!(matches!(
            &read[..],
            [
                Packet::ReceiverReport { sender, .. },
                Packet::SourceDescription,
                Packet::PictureLoss { media, .. },
                Packet::Unknown { packet_type: 204, format: 7 },
                Packet::Goodbye(_),
            ] if **sender == 1 && **media == 2
        ));
        let Packet::Goodbye(ssrcs) = read[4].clone() else {
            unreachable!()
        };
        assert_eq!(ssrcs.map(|ssrc| *ssrc).collect::<Vec<_>>(), [8, 9]);
    }

    #[test]
    fn what_stood_before_a_broken_packet_counts() {
        let good = packet(206, 1, &[0, 0, 0, 1, 0, 0, 0, 2]);
        let broken = [&good[..], &[0x80, 201, 0, 9, 1, 2, 3, 4], &good].concat();
        let read: Vec<_> = packets(&broken).collect();
        assert!(matches!(
            &read[..],
            [Ok(Packet::PictureLoss { .. }), Err(Malformed::Truncated)]
        ));
    }

    #[test]
    fn headers_must_be_right() {
        assert!(packets(&[]).next().is_none());
        assert_eq!(error_of(&[0x80, 201, 0]), Malformed::Truncated);
        assert_eq!(error_of(&[0x40, 201, 0, 1, 0, 0, 0, 1]), Malformed::Version);
        assert_eq!(error_of(&packet(203, 1, &[])), Malformed::Truncated);
    }

    #[test]
    fn padding_is_taken_off() {
        let padded = [0xa0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4];
        assert!(matches!(only(&padded), Packet::ReceiverReport { .. }));
        let followed = [&padded[..], &packet(202, 0, &[])].concat();
        assert!(packets(&followed).all(|packet| packet.is_ok()));
        for padding in [0, 12] {
            let mut wrong = padded;
            wrong[11] = padding;
            assert_eq!(error_of(&wrong), Malformed::Padding);
        }
        assert_eq!(error_of(&[0xa0, 201, 0, 0]), Malformed::Padding);
    }

    #[test]
    fn transport_feedback_as_libwebrtc_pads_it_is_read() {
        // One packet arrived: a chunk, its delta, and one octet to fill up the word.
        let feedback = [
            0xaf, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0x20, 1, 0, 1,
        ];
        let twice = [feedback, feedback].concat();
        assert_eq!(packets(&twice).filter(Result::is_ok).count(), 2);
    }

    #[test]
    fn a_datagram_of_tiny_packets_is_read_to_a_limit() {
        let bomb = packet(202, 0, &[]).repeat(300);
        let read: Vec<_> = packets(&bomb).collect();
        assert_eq!(read.len(), MAX_PACKETS + 1);
        assert!(matches!(read.last(), Some(Err(Malformed::TooMuch))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn any_bytes_at_all_are_survived(datagram in prop::collection::vec(any::<u8>(), 0..300)) {
            packets(&datagram).flatten().map(exhaust).sum::<usize>();
        }

        #[test]
        fn any_body_under_a_good_header_is_survived_at_bounded_cost(
            kind in prop::sample::select(vec![
                (200, 1), (200, 31), (201, 2), (203, 3), (205, 1), (205, 11), (205, 15),
                (206, 1), (206, 4), (206, 15), (207, 0),
            ]),
            mut body in prop::collection::vec(any::<u8>(), 0..1400),
            begins_well: bool,
        ) {
            body.truncate(body.len() / 4 * 4);
            if begins_well && kind == (206, 15) && body.len() >= 12 {
                body[8..12].copy_from_slice(b"REMB");
            }
            let datagram = packet(kind.0, kind.1, &body);
            let seen: usize = packets(&datagram).flatten().map(exhaust).sum();
            prop_assert!(seen <= 10_000);
        }
    }
}
