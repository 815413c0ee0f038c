//! Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).

use super::{Malformed, be_u16, split};

/// Packets that one feedback may speak of.
///
/// Receivers report every 50 to 250 ms; this is seconds of silence at full rate. A run of lost
/// packets takes two octets however long it is, so without a limit a datagram could make us look
/// at millions.
const MAX_STATUSES: u16 = 8_192;

/// Octets of one chunk of packet statuses.
const CHUNK_LEN: usize = 2;

/// The unit of the reference time.
const REFERENCE_TIME_UNIT_US: i64 = 64_000;

/// The unit of the receive deltas.
const DELTA_UNIT_US: i64 = 250;

/// When packets arrived, by their transport-wide sequence numbers.
#[derive(Clone, Copy, Debug)]
pub struct TransportFeedback<'a> {
    /// The sequence number of the first packet.
    pub base_sequence: u16,
    /// How many packets this speaks of.
    pub status_count: u16,
    /// On a clock of the receiver's; 24 bits of 64 ms, so it turns over every 298 hours.
    pub reference_time_us: i64,
    /// Counts the feedback packets, so that a lost one is noticed.
    pub feedback_count: u8,
    chunks: &'a [[u8; CHUNK_LEN]],
    deltas: &'a [u8],
}

/// What is said of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketStatus {
    /// The packet.
    pub sequence: u16,
    /// When it arrived, on the clock of [`TransportFeedback::reference_time_us`]; `None` if it
    /// has not.
    pub arrival_us: Option<i64>,
}

impl<'a> TransportFeedback<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let (&[base_high, base_low, count_high, count_low], body) = split(body)?;
        let (&[high, middle, low, feedback_count], body) = split(body)?;
        let status_count = be_u16(count_high, count_low);
        if status_count > MAX_STATUSES {
            return Err(Malformed::TooMuch);
        }
        let (chunks, delta_len) = measure(body, usize::from(status_count))?;
        let deltas = body[chunks.len() * CHUNK_LEN..].get(..delta_len);
        // The upper 24 bits, with their sign.
        let reference_time = u32::from_be_bytes([high, middle, low, 0]).cast_signed() >> 8;
        Ok(Self {
            base_sequence: be_u16(base_high, base_low),
            status_count,
            reference_time_us: i64::from(reference_time) * REFERENCE_TIME_UNIT_US,
            feedback_count,
            chunks,
            deltas: deltas.ok_or(Malformed::Truncated)?,
        })
    }

    /// What is said of each packet, in order.
    #[must_use]
    pub fn statuses(&self) -> PacketStatuses<'a> {
        PacketStatuses {
            sequence: self.base_sequence,
            left: self.status_count,
            arrival_us: self.reference_time_us,
            chunks: self.chunks,
            chunk: Chunk::default(),
            deltas: self.deltas,
        }
    }
}

/// The chunks that hold `statuses` symbols, and how many octets their deltas take.
fn measure(body: &[u8], statuses: usize) -> Result<(&[[u8; CHUNK_LEN]], usize), Malformed> {
    let (words, _) = body.as_chunks();
    let mut missing = statuses;
    let mut delta_len = 0;
    let mut used = 0;
    while missing > 0 {
        let mut chunk = Chunk::parse(*words.get(used).ok_or(Malformed::Truncated)?);
        used += 1;
        chunk.left = chunk.left.min(missing as u16);
        missing -= usize::from(chunk.left);
        delta_len += chunk.delta_len().ok_or(Malformed::Contents)?;
    }
    Ok((&words[..used], delta_len))
}

/// Symbols of one chunk that were not taken yet.
#[derive(Clone, Copy, Debug, Default)]
struct Chunk {
    left: u16,
    symbols: Symbols,
}

#[derive(Clone, Copy, Debug)]
enum Symbols {
    /// The same symbol over and over.
    Run(u16),
    /// The next symbol in the highest bits.
    Vector { bits: u16, width: u32 },
}

impl Default for Symbols {
    fn default() -> Self {
        Self::Run(NOT_RECEIVED)
    }
}

const NOT_RECEIVED: u16 = 0;
const SMALL_DELTA: u16 = 1;
const LARGE_DELTA: u16 = 2;

impl Chunk {
    fn parse([high, low]: [u8; CHUNK_LEN]) -> Self {
        let word = be_u16(high, low);
        match word >> 14 {
            0b10 => Self {
                left: 14,
                symbols: Symbols::Vector {
                    bits: word << 2,
                    width: 1,
                },
            },
            0b11 => Self {
                left: 7,
                symbols: Symbols::Vector {
                    bits: word << 2,
                    width: 2,
                },
            },
            _ => Self {
                left: word & 0x1fff,
                symbols: Symbols::Run(word >> 13),
            },
        }
    }

    fn next(&mut self) -> Option<u16> {
        self.left = self.left.checked_sub(1)?;
        match &mut self.symbols {
            Symbols::Run(symbol) => Some(*symbol),
            Symbols::Vector { bits, width } => {
                let symbol = *bits >> (16 - *width);
                *bits <<= *width;
                Some(symbol)
            }
        }
    }

    /// Octets of the deltas that belong to these symbols; `None` if one is reserved.
    fn delta_len(mut self) -> Option<usize> {
        if let Symbols::Run(symbol) = self.symbols {
            return Some(delta_len_of(symbol)? * usize::from(self.left));
        }
        let mut len = 0;
        while let Some(symbol) = self.next() {
            len += delta_len_of(symbol)?;
        }
        Some(len)
    }
}

fn delta_len_of(symbol: u16) -> Option<usize> {
    match symbol {
        NOT_RECEIVED => Some(0),
        SMALL_DELTA => Some(1),
        LARGE_DELTA => Some(2),
        _ => None,
    }
}

/// The statuses of one feedback.
#[derive(Clone, Debug)]
pub struct PacketStatuses<'a> {
    sequence: u16,
    left: u16,
    arrival_us: i64,
    chunks: &'a [[u8; CHUNK_LEN]],
    chunk: Chunk,
    deltas: &'a [u8],
}

impl PacketStatuses<'_> {
    fn next_symbol(&mut self) -> Option<u16> {
        loop {
            if let Some(symbol) = self.chunk.next() {
                return Some(symbol);
            }
            let (chunk, rest) = self.chunks.split_first()?;
            self.chunk = Chunk::parse(*chunk);
            self.chunks = rest;
        }
    }

    fn next_delta(&mut self, symbol: u16) -> Option<i64> {
        if symbol == LARGE_DELTA {
            let (octets, rest) = self.deltas.split_first_chunk()?;
            self.deltas = rest;
            return Some(i64::from(i16::from_be_bytes(*octets)));
        }
        let (octet, rest) = self.deltas.split_first()?;
        self.deltas = rest;
        Some(i64::from(*octet))
    }
}

impl Iterator for PacketStatuses<'_> {
    type Item = PacketStatus;

    fn next(&mut self) -> Option<PacketStatus> {
        self.left = self.left.checked_sub(1)?;
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        let symbol = self.next_symbol()?;
        if symbol == NOT_RECEIVED {
            return Some(PacketStatus {
                sequence,
                arrival_us: None,
            });
        }
        self.arrival_us += self.next_delta(symbol)? * DELTA_UNIT_US;
        Some(PacketStatus {
            sequence,
            arrival_us: Some(self.arrival_us),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::rtcp::Packet;
    use crate::engine::rtcp::tests::{error_of, only, packet};

    /// A feedback from sequence number 65534 on, at three reference units.
    fn datagram(statuses: u16, chunks: &[u16], deltas: &[u8]) -> Vec<u8> {
        let mut body = vec![0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xfe];
        body.extend_from_slice(&statuses.to_be_bytes());
        body.extend_from_slice(&[0, 0, 3, 42]);
        body.extend(chunks.iter().flat_map(|chunk| chunk.to_be_bytes()));
        body.extend_from_slice(deltas);
        body.resize(body.len().next_multiple_of(4), 0);
        packet(205, 15, &body)
    }

    /// Arrivals in units of 250 µs after the reference time.
    fn arrivals(datagram: &[u8]) -> Vec<Option<i64>> {
        let Packet::TransportFeedback(feedback) = only(datagram) else {
            panic!("feedback")
        };
        assert_eq!(
            (feedback.base_sequence, feedback.feedback_count),
            (65_534, 42)
        );
        assert_eq!(feedback.reference_time_us, 192_000);
        let statuses: Vec<_> = feedback.statuses().collect();
        for (status, offset) in statuses.iter().zip(0..) {
            assert_eq!(status.sequence, 65_534_u16.wrapping_add(offset));
        }
        let ticks = |arrival_us| (arrival_us - 192_000) / 250;
        statuses
            .iter()
            .map(|status| status.arrival_us.map(ticks))
            .collect()
    }

    #[test]
    fn a_run_says_the_same_of_many_packets() {
        assert_eq!(arrivals(&datagram(3, &[0x0003], &[])), [None; 3]);
        assert_eq!(
            arrivals(&datagram(3, &[0x2003], &[4, 0, 255])),
            [Some(4), Some(4), Some(259)]
        );
        let large = [0xff, 0xf6, 0x7f, 0xff];
        assert_eq!(
            arrivals(&datagram(2, &[0x4002], &large)),
            [Some(-10), Some(32_757)]
        );
    }

    #[test]
    fn a_vector_says_of_each_packet_whether_it_came() {
        // 1, 0, 1, and eleven that never were.
        assert_eq!(
            arrivals(&datagram(3, &[0b1010_1000_0000_0000], &[8, 8])),
            [Some(8), None, Some(16)]
        );
        let all = datagram(14, &[0xbfff], &[1; 14]);
        assert_eq!(arrivals(&all), (1..=14).map(Some).collect::<Vec<_>>());
    }

    #[test]
    fn a_vector_of_pairs_of_bits_knows_late_packets() {
        // Small, large, lost, large, small, lost, lost.
        let chunk = 0b11_01_10_00_10_01_00_00;
        let deltas = [4, 1, 0, 0xff, 0xff, 9];
        assert_eq!(
            arrivals(&datagram(7, &[chunk], &deltas)),
            [Some(4), Some(260), None, Some(259), Some(268), None, None]
        );
    }

    #[test]
    fn chunks_of_all_kinds_follow_each_other() {
        let chunks = [
            0x2002,
            0b1000_0000_0000_0001,
            0b11_10_00_00_00_00_00_01,
            0x0001,
        ];
        let statuses = arrivals(&datagram(24, &chunks, &[1, 1, 1, 0, 1, 1]));
        let mut expected = vec![None; 24];
        for (at, ticks) in [(0, 1), (1, 2), (15, 3), (16, 4), (22, 5)] {
            expected[at] = Some(ticks);
        }
        assert_eq!(statuses, expected);
    }

    #[test]
    fn the_reference_time_may_be_negative() {
        let mut datagram = datagram(1, &[0x2001], &[0]);
        datagram[16..19].copy_from_slice(&[0xff, 0xff, 0xff]);
        let Packet::TransportFeedback(feedback) = only(&datagram) else {
            panic!("feedback")
        };
        assert_eq!(feedback.reference_time_us, -64_000);
        assert_eq!(
            feedback
                .statuses()
                .next()
                .and_then(|status| status.arrival_us),
            Some(-64_000)
        );
    }

    #[test]
    fn feedback_that_promises_more_than_it_has_is_refused() {
        assert_eq!(
            error_of(&datagram(8, &[0x2007], &[0; 7])),
            Malformed::Truncated
        );
        assert_eq!(
            error_of(&datagram(9, &[0x2009], &[0; 5])),
            Malformed::Truncated
        );
        assert_eq!(
            error_of(&datagram(2, &[0x6002], &[0; 4])),
            Malformed::Contents,
            "reserved"
        );
        assert_eq!(
            error_of(&datagram(1, &[0xf000], &[0; 4])),
            Malformed::Contents,
            "reserved"
        );
    }

    #[test]
    fn feedback_on_the_whole_number_space_is_refused() {
        assert_eq!(arrivals(&datagram(8_191, &[0x1fff], &[])).len(), 8_191);
        let bomb = datagram(u16::MAX, &[0x1fff; 9], &[]);
        assert_eq!(error_of(&bomb), Malformed::TooMuch);
        let empty = datagram(0, &[], &[]);
        assert!(arrivals(&empty).is_empty());
    }

    proptest! {
        /// Written in vectors of two bits, as any arrivals can be.
        #[test]
        fn any_arrivals_are_read_as_they_were_written(
            deltas in prop::collection::vec(prop::option::of(any::<i16>()), 1..200),
        ) {
            let symbol = |delta: Option<i16>| match delta {
                None => NOT_RECEIVED,
                Some(0..=255) => SMALL_DELTA,
                Some(_) => LARGE_DELTA,
            };
            let chunks: Vec<u16> = deltas
                .chunks(7)
                .map(|seven| {
                    let shifts = (0..7).map(|place| 12 - 2 * place);
                    let bits = seven.iter().zip(shifts).map(|(delta, shift)| symbol(*delta) << shift);
                    0b11 << 14 | bits.sum::<u16>()
                })
                .collect();
            let mut octets = Vec::new();
            let mut arrival = 0;
            let mut expected = Vec::new();
            for delta in &deltas {
                match delta {
                    Some(small @ 0..=255) => octets.push(*small as u8),
                    Some(large) => octets.extend_from_slice(&large.to_be_bytes()),
                    None => {}
                }
                arrival += i64::from(delta.unwrap_or(0));
                expected.push(delta.map(|_| arrival));
            }
            let datagram = datagram(deltas.len() as u16, &chunks, &octets);
            prop_assert_eq!(arrivals(&datagram), expected);
        }
    }
}
