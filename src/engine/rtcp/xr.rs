//! Extended reports (RFC 3611), as far as they tell round-trip times to those who do not send.

use std::slice;

use str0m::rtp::Ssrc;

use super::{HEADER_LEN, Malformed};

/// Block types of RFC 3611 §4.4 and §4.5.
pub(super) const RECEIVER_REFERENCE_TIME: u8 = 4;
pub(super) const LAST_REFERENCE_TIMES: u8 = 5;

/// Octets of one entry of a DLRR block.
const REFERENCE_TIME_LEN: usize = 12;

/// One block of an extended report.
#[derive(Clone, Debug)]
pub enum XrBlock<'a> {
    /// RRTR (RFC 3611 §4.4): the receiver's clock, to be answered with a DLRR block.
    ReceiverReferenceTime {
        /// In the form of `SenderInfo::ntp_time`.
        ntp_time: u64,
    },
    /// DLRR (RFC 3611 §4.5): the answer.
    LastReferenceTimes(ReferenceTimes<'a>),
    /// Something else.
    Unknown(u8),
}

/// What a DLRR block says to one receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReferenceTime {
    /// Who told its time.
    pub ssrc: Ssrc,
    /// The middle half of the time it told, or zero.
    pub last_reference_time: u32,
    /// How long ago that came, in 65536ths of a second.
    pub delay: u32,
}

impl ReferenceTime {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for field in [*self.ssrc, self.last_reference_time, self.delay] {
            out.extend_from_slice(&field.to_be_bytes());
        }
    }
}

/// The entries of a DLRR block; a datagram has room for some hundred.
#[derive(Clone, Debug)]
pub struct ReferenceTimes<'a>(slice::Iter<'a, [u8; REFERENCE_TIME_LEN]>);

impl Iterator for ReferenceTimes<'_> {
    type Item = ReferenceTime;

    fn next(&mut self) -> Option<ReferenceTime> {
        let entry = self.0.next()?;
        let field = |at: usize| {
            u32::from_be_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]])
        };
        Some(ReferenceTime {
            ssrc: field(0).into(),
            last_reference_time: field(4),
            delay: field(8),
        })
    }
}

/// The blocks of an extended report.
#[derive(Clone, Debug)]
pub struct XrBlocks<'a>(&'a [u8]);

impl<'a> XrBlocks<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = body;
        while !rest.is_empty() {
            (_, rest) = split_block(rest).ok_or(Malformed::Truncated)?;
        }
        Ok(Self(body))
    }
}

impl<'a> Iterator for XrBlocks<'a> {
    type Item = XrBlock<'a>;

    fn next(&mut self) -> Option<XrBlock<'a>> {
        let (block, rest) = split_block(self.0)?;
        self.0 = rest;
        Some(block)
    }
}

fn split_block(bytes: &[u8]) -> Option<(XrBlock<'_>, &[u8])> {
    let (&[kind, _, len_high, len_low], rest) = bytes.split_first_chunk::<HEADER_LEN>()?;
    let len = usize::from(u16::from_be_bytes([len_high, len_low])) * 4;
    let (body, rest) = rest.split_at_checked(len)?;
    let block = match kind {
        RECEIVER_REFERENCE_TIME => XrBlock::ReceiverReferenceTime {
            ntp_time: u64::from_be_bytes(*body.first_chunk()?),
        },
        LAST_REFERENCE_TIMES => {
            XrBlock::LastReferenceTimes(ReferenceTimes(body.as_chunks().0.iter()))
        }
        _ => XrBlock::Unknown(kind),
    };
    Some((block, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::rtcp::Packet;
    use crate::engine::rtcp::tests::{error_of, only, packet};

    #[test]
    fn a_viewer_tells_its_time_among_other_things() {
        let datagram = packet(
            207,
            0,
            &[
                0, 0, 0, 1, // from SSRC 1
                4, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, // its time
                42, 0, 0, 1, 9, 9, 9, 9, // something else
                5, 0, 0, 3, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0, 9, // what we told
            ],
        );
        let Packet::ExtendedReport { sender, blocks } = only(&datagram) else {
            panic!("an XR")
        };
        assert_eq!(*sender, 1);
        let blocks: Vec<_> = blocks.collect();
        let [
            XrBlock::ReceiverReferenceTime { ntp_time },
            XrBlock::Unknown(42),
            XrBlock::LastReferenceTimes(times),
        ] = &blocks[..]
        else {
            panic!("{blocks:?}")
        };
        assert_eq!(*ntp_time, 0x0102_0304_0506_0708);
        let expected = ReferenceTime {
            ssrc: 7.into(),
            last_reference_time: 8,
            delay: 9,
        };
        assert_eq!(times.clone().collect::<Vec<_>>(), [expected]);
    }

    #[test]
    fn a_block_longer_than_its_report_is_refused() {
        let cut = packet(207, 0, &[0, 0, 0, 1, 42, 0, 0, 2, 9, 9, 9, 9]);
        assert_eq!(error_of(&cut), Malformed::Truncated);
        let short_time = packet(207, 0, &[0, 0, 0, 1, 4, 0, 0, 1, 9, 9, 9, 9]);
        assert_eq!(error_of(&short_time), Malformed::Truncated);
    }
}
