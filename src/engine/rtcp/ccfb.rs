//! Congestion control feedback (RFC 8888 §3.1).

use std::slice;

use str0m::rtp::Ssrc;

use super::{Malformed, be_u16, split, split_ssrc};

/// Packets of one stream that a report may speak of (RFC 8888 §3.1). Each takes two octets, so
/// a datagram sets a tighter limit.
const MAX_REPORTS: u16 = 16_384;

/// Octets of the report timestamp, which stands at the end.
const TIMESTAMP_LEN: usize = 4;

/// The arrival time offset that says "too long ago to tell".
const TOO_LONG_AGO: u16 = 0x1fff;

/// When packets of several streams arrived.
#[derive(Clone, Copy, Debug)]
pub struct CongestionFeedback<'a> {
    /// When it was sent, on the receiver's clock: the middle half of an NTP time.
    pub report_timestamp: u32,
    streams: &'a [u8],
}

impl<'a> CongestionFeedback<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let (mut rest, timestamp) = body
            .split_last_chunk::<TIMESTAMP_LEN>()
            .ok_or(Malformed::Truncated)?;
        let streams = rest;
        while !rest.is_empty() {
            (_, rest) = StreamReport::split(rest)?;
        }
        Ok(Self {
            report_timestamp: u32::from_be_bytes(*timestamp),
            streams,
        })
    }

    /// What is said of each stream.
    #[must_use]
    pub fn streams(&self) -> StreamReports<'a> {
        StreamReports(self.streams)
    }
}

/// The streams of one feedback.
#[derive(Clone, Debug)]
pub struct StreamReports<'a>(&'a [u8]);

impl<'a> Iterator for StreamReports<'a> {
    type Item = StreamReport<'a>;

    fn next(&mut self) -> Option<StreamReport<'a>> {
        let (stream, rest) = StreamReport::split(self.0).ok()?;
        self.0 = rest;
        Some(stream)
    }
}

/// What is said of one stream.
#[derive(Clone, Debug)]
pub struct StreamReport<'a> {
    /// The stream.
    pub ssrc: Ssrc,
    /// Its packets.
    pub packets: PacketReports<'a>,
}

impl<'a> StreamReport<'a> {
    fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Malformed> {
        let (ssrc, bytes) = split_ssrc(bytes)?;
        let (&[begin_high, begin_low, count_high, count_low], bytes) = split(bytes)?;
        let count = be_u16(count_high, count_low);
        if count > MAX_REPORTS {
            return Err(Malformed::TooMuch);
        }
        // An odd number of reports is followed by two octets of padding.
        let len = (usize::from(count) * 2).next_multiple_of(4);
        let (reports, rest) = bytes.split_at_checked(len).ok_or(Malformed::Truncated)?;
        let reports = reports.as_chunks().0[..usize::from(count)].iter();
        let packets = PacketReports {
            sequence: be_u16(begin_high, begin_low),
            reports,
        };
        Ok((Self { ssrc, packets }, rest))
    }
}

/// What is said of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketReport {
    /// The packet.
    pub sequence: u16,
    /// Whether it has arrived.
    pub is_received: bool,
    /// The ECN mark that it arrived with.
    pub ecn: u8,
    /// How long before [`CongestionFeedback::report_timestamp`], in 1024ths of a second; `None`
    /// if that is not known.
    pub arrival_offset: Option<u16>,
}

/// The packets of one stream, in order.
#[derive(Clone, Debug)]
pub struct PacketReports<'a> {
    sequence: u16,
    reports: slice::Iter<'a, [u8; 2]>,
}

impl Iterator for PacketReports<'_> {
    type Item = PacketReport;

    fn next(&mut self) -> Option<PacketReport> {
        let &[high, low] = self.reports.next()?;
        let report = be_u16(high, low);
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        let is_received = report & 0x8000 != 0;
        let offset = report & 0x1fff;
        Some(PacketReport {
            sequence,
            is_received,
            ecn: (report >> 13 & 3) as u8,
            arrival_offset: (is_received && offset != TOO_LONG_AGO).then_some(offset),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::rtcp::Packet;
    use crate::engine::rtcp::tests::{error_of, only, packet};

    const FEEDBACK: [u8; 36] = [
        0, 0, 0, 1, // from SSRC 1
        0, 0, 0, 7, 0xff, 0xff, 0, 3, // SSRC 7: three packets from 65535 on
        0x80, 0x10, 0x00, 0x00, 0xff, 0xff, 0, 0, // received, lost, received marked long ago
        0, 0, 0, 8, 0, 1, 0, 1, // SSRC 8: one packet
        0xa0, 0x00, 0, 0, // received just now
        0x12, 0x34, 0x56, 0x78, // the report's time
    ];

    #[test]
    fn each_stream_is_reported_on_its_own() {
        let datagram = packet(205, 11, &FEEDBACK);
        let Packet::CongestionFeedback(feedback) = only(&datagram) else {
            panic!("feedback")
        };
        assert_eq!(feedback.report_timestamp, 0x1234_5678);
        let streams: Vec<_> = feedback
            .streams()
            .map(|stream| (*stream.ssrc, stream.packets.collect::<Vec<_>>()))
            .collect();
        let report = |sequence, is_received, ecn, arrival_offset| PacketReport {
            sequence,
            is_received,
            ecn,
            arrival_offset,
        };
        let first = vec![
            report(65_535, true, 0, Some(16)),
            report(0, false, 0, None),
            report(1, true, 3, None),
        ];
        assert_eq!(
            streams,
            [(7, first), (8, vec![report(1, true, 1, Some(0))])]
        );
    }

    #[test]
    fn feedback_that_promises_more_than_it_has_is_refused() {
        let mut cut = FEEDBACK;
        cut[27] = 3;
        assert_eq!(error_of(&packet(205, 11, &cut)), Malformed::Truncated);
        let mut bomb = FEEDBACK;
        bomb[10] = 0xff;
        assert_eq!(error_of(&packet(205, 11, &bomb)), Malformed::TooMuch);
        assert_eq!(
            error_of(&packet(205, 11, &FEEDBACK[..4])),
            Malformed::Truncated
        );
    }
}
