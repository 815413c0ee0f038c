//! Sender and receiver reports (RFC 3550 §6.4).

use std::slice;
use std::time::Duration;

use str0m::rtp::Ssrc;

use super::{Malformed, split};

/// Octets of one report block.
pub(super) const REPORT_BLOCK_LEN: usize = 24;

/// What a sender says of its own stream (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    /// When the report was sent: seconds since 1900 in the upper, fractions in the lower half.
    pub ntp_time: u64,
    /// The same moment on the clock of the stream's RTP timestamps.
    pub rtp_timestamp: u32,
    /// Packets since the stream began.
    pub sent_packets: u32,
    /// Octets of payload since the stream began, without headers and padding.
    pub sent_payload_bytes: u32,
}

impl SenderInfo {
    pub(super) fn split(body: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let (ntp_time, body) = split(body)?;
        let (rtp_timestamp, body) = split(body)?;
        let (sent_packets, body) = split(body)?;
        let (sent_payload_bytes, body) = split(body)?;
        let info = Self {
            ntp_time: u64::from_be_bytes(*ntp_time),
            rtp_timestamp: u32::from_be_bytes(*rtp_timestamp),
            sent_packets: u32::from_be_bytes(*sent_packets),
            sent_payload_bytes: u32::from_be_bytes(*sent_payload_bytes),
        };
        Ok((info, body))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.ntp_time.to_be_bytes());
        for field in [
            self.rtp_timestamp,
            self.sent_packets,
            self.sent_payload_bytes,
        ] {
            out.extend_from_slice(&field.to_be_bytes());
        }
    }
}

/// How one stream is received (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBlock {
    /// The stream.
    pub ssrc: Ssrc,
    /// Packets lost since the report before, in 256ths of those expected.
    pub fraction_lost: u8,
    /// Packets lost since the stream began, 24 bits; duplicates make it negative.
    pub cumulative_lost: i32,
    /// The highest sequence number received, extended by the number of its cycles.
    pub highest_sequence: u32,
    /// Deviation of the arrivals, in units of the stream's RTP timestamps.
    pub jitter: u32,
    /// The middle half of [`SenderInfo::ntp_time`] of the last sender report, or zero.
    pub last_sender_report: u32,
    /// The time since that report came, in 65536ths of a second.
    pub delay_since_last_sender_report: u32,
}

impl ReportBlock {
    /// The round-trip time, if this block arrived at `ntp_time` on the clock of our sender
    /// reports (RFC 3550 §6.4.1, figure 2).
    ///
    /// `None` before the receiver has seen a report of ours, and where its numbers make no sense.
    #[must_use]
    pub fn round_trip_time(&self, ntp_time: u64) -> Option<Duration> {
        if self.last_sender_report == 0 {
            return None;
        }
        let arrived = (ntp_time >> 16) as u32;
        let elapsed = arrived.wrapping_sub(self.last_sender_report);
        let in_flight = elapsed.wrapping_sub(self.delay_since_last_sender_report);
        // Half of the range, nine hours, is taken for a receiver that says it held the report
        // for longer than it was gone.
        (in_flight < 1 << 31).then(|| Duration::from_secs_f64(f64::from(in_flight) / 65_536.0))
    }

    fn parse(block: &[u8; REPORT_BLOCK_LEN]) -> Self {
        let field = |at: usize| {
            u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
        };
        let losses = field(4);
        Self {
            ssrc: field(0).into(),
            fraction_lost: block[4],
            // The lower 24 bits, with their sign.
            cumulative_lost: (losses << 8).cast_signed() >> 8,
            highest_sequence: field(8),
            jitter: field(12),
            last_sender_report: field(16),
            delay_since_last_sender_report: field(20),
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let lost = self.cumulative_lost.clamp(-(1 << 23), (1 << 23) - 1);
        let losses = u32::from(self.fraction_lost) << 24 | (lost.cast_unsigned() & 0x00ff_ffff);
        for field in [
            *self.ssrc,
            losses,
            self.highest_sequence,
            self.jitter,
            self.last_sender_report,
            self.delay_since_last_sender_report,
        ] {
            out.extend_from_slice(&field.to_be_bytes());
        }
    }
}

/// The report blocks of one packet, 31 at most.
#[derive(Clone, Debug)]
pub struct ReportBlocks<'a>(slice::Iter<'a, [u8; REPORT_BLOCK_LEN]>);

impl<'a> ReportBlocks<'a> {
    /// Extensions of a profile may follow the blocks (RFC 3550 §6.4.3); nobody sends any.
    pub(super) fn parse(body: &'a [u8], count: u8) -> Result<Self, Malformed> {
        let blocks = body
            .as_chunks()
            .0
            .get(..usize::from(count))
            .ok_or(Malformed::Truncated)?;
        Ok(Self(blocks.iter()))
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        self.0.next().map(ReportBlock::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::rtcp::tests::{error_of, only, packet};
    use crate::engine::rtcp::{Malformed, Packet};

    const BLOCK: [u8; REPORT_BLOCK_LEN] = [
        0, 0, 0, 9, // SSRC
        64, 0xff, 0xff, 0xfe, // a quarter lost lately, two duplicates in all
        0, 1, 0, 5, // second cycle, sequence number 5
        0, 0, 0, 7, // jitter
        0x00, 0x10, 0x00, 0x00, // last sender report at 16 s
        0x00, 0x00, 0x80, 0x00, // half a second ago
    ];

    #[test]
    fn a_receiver_report_says_how_its_streams_arrive() {
        let datagram = packet(201, 2, &[&[0, 0, 0, 1], &BLOCK[..], &BLOCK].concat());
        let Packet::ReceiverReport { sender, reports } = only(&datagram) else {
            panic!("a receiver report")
        };
        assert_eq!(*sender, 1);
        let reports: Vec<_> = reports.collect();
        assert_eq!(reports.len(), 2);
        let expected = ReportBlock {
            ssrc: 9.into(),
            fraction_lost: 64,
            cumulative_lost: -2,
            highest_sequence: 0x1_0005,
            jitter: 7,
            last_sender_report: 16 << 16,
            delay_since_last_sender_report: 1 << 15,
        };
        assert_eq!(reports[0], expected);
        assert_eq!(
            error_of(&packet(
                201,
                3,
                &[&[0, 0, 0, 1], &BLOCK[..], &BLOCK].concat()
            )),
            Malformed::Truncated
        );
    }

    #[test]
    fn the_round_trip_is_what_was_not_waited() {
        let block = ReportBlock::parse(&BLOCK);
        let at = |seconds: f64| (seconds * 2_f64.powi(32)) as u64;
        assert_eq!(
            block.round_trip_time(at(16.75)),
            Some(Duration::from_millis(250))
        );
        assert_eq!(block.round_trip_time(at(16.5)), Some(Duration::ZERO));
        assert_eq!(
            block.round_trip_time(at(16.25)),
            None,
            "held longer than it was gone"
        );
        let never = ReportBlock {
            last_sender_report: 0,
            ..block
        };
        assert_eq!(never.round_trip_time(at(16.75)), None);
        let late = ReportBlock {
            last_sender_report: u32::MAX - (1 << 15),
            ..block
        };
        assert_eq!(
            late.round_trip_time(at(65_536.25))
                .map(|time| time.as_millis()),
            Some(250)
        );
    }
}
