//! What was sent, until the receiver has spoken of it.

use serde::{Deserialize, Serialize};

use crate::engine::cache;

/// What a packet was sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
    /// Something sent again (RFC 4588).
    Retransmission,
    /// Nothing but to learn what the path carries.
    Probe,
}

/// Fewest records that are kept, once there is one: 2 KiB.
const MIN_RECORDS: usize = 256;

/// Most records that are kept: 16 KiB.
///
/// At 10 Mbit/s that is two seconds: four times the longest round trip on which a conversation is
/// still possible, with the longest interval of feedback on top.
const MAX_RECORDS: usize = 2_048;

/// A record that is younger than this may still be reported, so the ring grows around it.
const REPORTABLE_US: u32 = 1_500_000;

/// The unit of [`Record::own_queue`], so that 16 bits reach 6.5 s.
const OWN_QUEUE_UNIT_US: u32 = 100;

const BYTES_MASK: u16 = 0x07ff;
const PURPOSE_SHIFT: u32 = 11;
const REPORTED_LOST: u16 = 1 << 13;
const ARRIVED: u16 = 1 << 14;

/// One packet, in eight bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Record {
    /// When it was sent: the lower half of the microseconds since the estimator began.
    at_us: u32,
    /// The queue that our own burst had built in front of it, were the path as fast as believed.
    own_queue: u16,
    /// Size, purpose and fate.
    bits: u16,
}

/// What the receiver said of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing yet, or the feedback was lost.
    Unknown,
    /// It has not arrived so far.
    Lost,
    /// It arrived.
    Arrived,
}

impl Record {
    /// Its size on the path, in bytes.
    pub(super) fn bytes(self) -> u32 {
        u32::from(self.bits & BYTES_MASK)
    }

    /// What it was sent for.
    #[cfg(test)]
    pub(super) fn purpose(self) -> Purpose {
        match self.bits >> PURPOSE_SHIFT & 0b11 {
            0 => Purpose::Audio,
            1 => Purpose::Video,
            2 => Purpose::Retransmission,
            _ => Purpose::Probe,
        }
    }

    /// What the receiver said of it.
    pub(super) fn fate(self) -> Fate {
        if self.bits & ARRIVED != 0 {
            Fate::Arrived
        } else if self.bits & REPORTED_LOST != 0 {
            Fate::Lost
        } else {
            Fate::Unknown
        }
    }

    /// How long it had to wait behind our own packets, in microseconds.
    pub(super) fn own_queue_us(self) -> i64 {
        i64::from(self.own_queue) * i64::from(OWN_QUEUE_UNIT_US)
    }

    /// When it was sent, given a later moment on the same clock.
    pub(super) fn at_us(self, now_us: i64) -> i64 {
        now_us - i64::from((now_us as u32).wrapping_sub(self.at_us))
    }
}

/// The newest packets that were sent, found by transport-wide sequence number.
#[derive(Debug, Default)]
pub struct SendRecords {
    /// Empty until the first packet; a power of two from then on.
    ring: Vec<Record>,
    /// The extended sequence number of the next packet.
    next: u64,
    /// The extended sequence number of the oldest packet that is held.
    first: u64,
}

impl SendRecords {
    /// Fetches where [`Self::push`] will write.
    pub(super) fn warm(&self) {
        let mask = self.ring.len().wrapping_sub(1);
        if let Some(next) = self.ring.get(self.next as usize & mask) {
            cache::fetch(next);
        }
    }

    /// Takes note of a packet, and says which extended sequence number it has.
    pub(super) fn push(
        &mut self,
        seq: u16,
        bytes: usize,
        purpose: Purpose,
        own_queue_us: u32,
        now_us: i64,
    ) -> u64 {
        if self.next as u16 != seq || self.ring.is_empty() {
            // The first packet, or a numbering that began anew: what was before says nothing.
            self.next = (self.next + (1 << 16)) & !0xffff | u64::from(seq);
            self.first = self.next;
        }
        let held = (self.next - self.first) as usize;
        if held == self.ring.len() {
            self.make_room(now_us as u32);
        }
        let place = self.next as usize & (self.ring.len() - 1);
        let own_queue = (own_queue_us / OWN_QUEUE_UNIT_US).min(u32::from(u16::MAX)) as u16;
        self.ring[place] = Record {
            at_us: now_us as u32,
            own_queue,
            bits: (bytes as u16).min(BYTES_MASK) | (purpose as u16) << PURPOSE_SHIFT,
        };
        self.next += 1;
        self.next - 1
    }

    /// Grows, or gives up the oldest record.
    fn make_room(&mut self, now_us: u32) {
        let len = self.ring.len();
        let is_reportable = self
            .get(self.first)
            .is_none_or(|oldest| now_us.wrapping_sub(oldest.at_us) < REPORTABLE_US);
        if len == MAX_RECORDS || !is_reportable {
            self.first += 1;
            return;
        }
        let grown = (len * 2).max(MIN_RECORDS);
        let mut ring = vec![Record::default(); grown];
        for seq in self.first..self.next {
            ring[seq as usize & (grown - 1)] = self.ring[seq as usize & (len - 1)];
        }
        self.ring = ring;
    }

    /// The extended form of a sequence number in feedback, if that packet was ever sent.
    pub(super) fn extend(&self, seq: u16) -> Option<u64> {
        let back = (self.next as u16).wrapping_sub(seq);
        let back = if back == 0 { 1 << 16 } else { u64::from(back) };
        self.next.checked_sub(back)
    }

    /// The record of a packet, while it is held.
    pub(super) fn get(&self, seq: u64) -> Option<Record> {
        (self.first..self.next)
            .contains(&seq)
            .then(|| self.ring[seq as usize & (self.ring.len() - 1)])
    }

    /// Takes note of a packet's fate; the record, if that is news.
    pub(super) fn report(&mut self, seq: u64, has_arrived: bool) -> Option<Record> {
        if !(self.first..self.next).contains(&seq) {
            return None;
        }
        let mask = self.ring.len() - 1;
        let record = &mut self.ring[seq as usize & mask];
        let bit = if has_arrived { ARRIVED } else { REPORTED_LOST };
        let is_news = record.bits & (bit | ARRIVED) == 0;
        record.bits |= bit;
        is_news.then_some(*record)
    }

    /// The extended sequence number that the next packet will have.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The extended sequence number of the oldest packet that is held.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Bytes of memory that the records take.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.ring.capacity() * size_of::<Record>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(records: &mut SendRecords, seq: u16, at_us: i64) -> u64 {
        records.push(seq, 1_200, Purpose::Video, 2_500, at_us)
    }

    #[test]
    fn a_record_is_eight_bytes_and_none_cost_nothing() {
        assert_eq!(size_of::<Record>(), 8);
        assert_eq!(SendRecords::default().memory_bytes(), 0);
    }

    #[test]
    fn a_packet_is_found_by_its_number_across_the_turn_of_the_numbers() {
        let mut records = SendRecords::default();
        for n in 0..300_u16 {
            push(
                &mut records,
                65_400_u16.wrapping_add(n),
                i64::from(n) * 1_000,
            );
        }
        let seq = records.extend(10).expect("sent");
        let record = records.get(seq).expect("held");
        assert_eq!(record.at_us(300_000), 146_000);
        assert_eq!((record.bytes(), record.own_queue_us()), (1_200, 2_500));
        assert_eq!(record.purpose(), Purpose::Video);
        assert_eq!(record.fate(), Fate::Unknown);
    }

    #[test]
    fn an_arrival_is_news_once_and_outweighs_a_loss() {
        let mut records = SendRecords::default();
        let seq = push(&mut records, 7, 0);
        assert!(records.report(seq, false).is_some());
        assert!(records.report(seq, false).is_none());
        assert!(records.report(seq, true).is_some(), "it was only late");
        assert!(records.report(seq, true).is_none());
        assert!(records.report(seq, false).is_none());
        assert_eq!(records.get(seq).map(Record::fate), Some(Fate::Arrived));
    }

    #[test]
    fn the_ring_grows_while_reports_may_come_and_no_further() {
        let mut slow = SendRecords::default();
        for n in 0..10_000_u16 {
            push(&mut slow, n, i64::from(n) * 20_000);
        }
        assert_eq!(slow.memory_bytes(), 256 * 8, "50 packets a second");

        let mut fast = SendRecords::default();
        for n in 0..60_000_u16 {
            push(&mut fast, n, i64::from(n) * 100);
        }
        assert_eq!(fast.memory_bytes(), 2_048 * 8);
        assert!(fast.get(fast.next() - 2_048).is_some());
        assert!(fast.get(fast.next() - 2_049).is_none());
    }

    #[test]
    fn a_number_that_was_never_sent_is_not_found() {
        let mut records = SendRecords::default();
        push(&mut records, 5, 0);
        let unsent = records.extend(6);
        assert!(unsent.is_none_or(|seq| records.get(seq).is_none()));
    }
}
