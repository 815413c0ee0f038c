//! What crosses the wire from the server, watched with the invariants that must never break.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::world::Person;

/// RFC 7675 §5.1: consent to send lasts this long.
const CONSENT: Duration = Duration::from_secs(30);

/// Nothing larger may be sent as RTP: what an Ethernet frame holds with IPv4 and UDP headers.
const MAX_DATAGRAM_BYTES: usize = 1_472;

/// Sequence numbers remembered per stream: as many as any client would still take.
const REMEMBERED: u64 = 2_048;

/// What a datagram is (RFC 7983 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Stun,
    Dtls,
    Rtp { ssrc: u32, seq: u16, timestamp: u32 },
    Rtcp,
}

impl Class {
    pub(crate) fn of(contents: &[u8]) -> Self {
        let word = |at: usize| {
            let bytes = contents
                .get(at..at + 4)
                .and_then(|bytes| bytes.try_into().ok());
            u32::from_be_bytes(bytes.expect("a whole RTP header"))
        };
        match contents[0] {
            0..=3 => Class::Stun,
            20..=63 => Class::Dtls,
            128..=191 if (192..=223).contains(&contents[1]) => Class::Rtcp,
            128..=191 => Class::Rtp {
                ssrc: word(8),
                seq: u16::from_be_bytes([contents[2], contents[3]]),
                timestamp: word(4),
            },
            first => panic!("the server sent something that begins with {first}"),
        }
    }
}

impl Class {
    /// Brings datagrams of one moment into an order that a seed repeats; a stream's own order
    /// stays as it is.
    pub(crate) fn sort<T>(datagrams: &mut [T], contents: impl Fn(&T) -> &[u8]) {
        datagrams.sort_by_key(|datagram| match Class::of(contents(datagram)) {
            Class::Stun => (0, 0),
            Class::Dtls => (1, 0),
            Class::Rtcp => (2, 0),
            Class::Rtp { ssrc, .. } => (3, ssrc),
        });
    }
}

/// One SSRC of one session.
#[derive(Debug, Default)]
struct Stream {
    /// Extended sequence numbers seen of late, with their timestamps.
    seen: BTreeMap<u64, u32>,
    highest: Option<u64>,
    /// Sequence numbers that were jumped over.
    gaps: u64,
    packets: u64,
}

/// A line of the story's log, for comparing two runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) at: Duration,
    pub(crate) person: Person,
    pub(crate) class: Class,
}

/// The watch on the wire.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    /// When an address last sent a check that holds.
    consents: HashMap<SocketAddr, Instant>,
    /// SSRCs of a person's slots: which are for retransmissions.
    declared: HashMap<(Person, u32), bool>,
    streams: HashMap<(Person, u32), Stream>,
    /// Bytes that went to an address.
    sent: HashMap<SocketAddr, u64>,
    pub(crate) log: Option<Vec<Line>>,
    pub(crate) datagrams: u64,
}

impl Wire {
    /// A check of an honest client reached the server.
    pub(crate) fn consented(&mut self, source: SocketAddr, now: Instant) {
        self.consents.insert(source, now);
    }

    /// When an address last sent a check that holds.
    pub(crate) fn consent_of(&self, address: SocketAddr) -> Option<Instant> {
        self.consents.get(&address).copied()
    }

    /// A datagram leaves for an address.
    pub(crate) fn count(&mut self, to: SocketAddr, bytes: usize) {
        *self.sent.entry(to).or_default() += bytes as u64;
    }

    /// How many bytes went to an address.
    pub(crate) fn bytes_to(&self, address: SocketAddr) -> u64 {
        self.sent.get(&address).copied().unwrap_or_default()
    }

    /// An answer names these SSRCs.
    pub(crate) fn declare(&mut self, person: Person, ssrc: u32, is_rtx: bool) {
        self.declared.insert((person, ssrc), is_rtx);
    }

    /// Nothing may go where nobody asked for it.
    pub(crate) fn check_destination(&mut self, destination: SocketAddr, now: Instant) {
        let consented = self.consents.get(&destination);
        let is_fresh = consented.is_some_and(|at| now - *at <= CONSENT);
        assert!(
            is_fresh,
            "sent to {destination}, which consented {consented:?}, now {now:?}"
        );
    }

    /// A datagram leaves for a person.
    pub(crate) fn watch(&mut self, person: Person, contents: &[u8], at: Duration) {
        self.datagrams += 1;
        let class = Class::of(contents);
        if let Some(log) = &mut self.log {
            log.push(Line { at, person, class });
        }
        let Class::Rtp {
            ssrc,
            seq,
            timestamp,
        } = class
        else {
            return;
        };
        assert!(
            contents.len() <= MAX_DATAGRAM_BYTES,
            "{} bytes of RTP",
            contents.len()
        );
        let is_rtx = self.declared.get(&(person, ssrc));
        let is_rtx = *is_rtx.unwrap_or_else(|| panic!("SSRC {ssrc} is in no answer to {person:?}"));
        self.streams
            .entry((person, ssrc))
            .or_default()
            .watch(ssrc, seq, timestamp, is_rtx);
    }

    /// Sequence numbers that a person's stream jumped over so far.
    pub(crate) fn gaps(&self, person: Person, ssrc: u32) -> u64 {
        self.streams
            .get(&(person, ssrc))
            .map_or(0, |stream| stream.gaps)
    }

    /// Packets that went out on a person's stream.
    pub(crate) fn packets(&self, person: Person, ssrc: u32) -> u64 {
        self.streams
            .get(&(person, ssrc))
            .map_or(0, |stream| stream.packets)
    }
}

impl Stream {
    fn watch(&mut self, ssrc: u32, seq: u16, timestamp: u32, is_rtx: bool) {
        self.packets += 1;
        let Some(highest) = self.highest else {
            // RFC 3711 §3.3.1: a first number in the upper half could be taken for one roll-over
            // too many.
            assert!(seq < 1 << 15, "SSRC {ssrc} begins with {seq}");
            self.highest = Some(u64::from(seq));
            self.seen.insert(u64::from(seq), timestamp);
            return;
        };
        let extended =
            highest.wrapping_add_signed(i64::from(seq.wrapping_sub(highest as u16) as i16));
        let before = self.seen.insert(extended, timestamp);
        assert!(
            before.is_none(),
            "SSRC {ssrc}: index {extended} was sealed twice"
        );
        if extended > highest {
            self.gaps += extended - highest - 1;
            self.highest = Some(extended);
        } else {
            self.gaps = self.gaps.saturating_sub(1);
        }
        if is_rtx {
            assert_eq!(
                extended,
                highest + 1,
                "SSRC {ssrc}: retransmissions are numbered in order"
            );
        } else {
            self.check_time(ssrc, extended, timestamp);
        }
        let oldest = extended.max(highest).saturating_sub(REMEMBERED);
        self.seen = self.seen.split_off(&oldest);
    }

    /// A later packet never has an earlier timestamp.
    fn check_time(&self, ssrc: u32, extended: u64, timestamp: u32) {
        let before = self.seen.range(..extended).next_back();
        let after = self.seen.range(extended + 1..).next();
        let back = before
            .map(|(_, was)| timestamp.wrapping_sub(*was) as i32)
            .unwrap_or(0);
        let ahead = after
            .map(|(_, will)| will.wrapping_sub(timestamp) as i32)
            .unwrap_or(0);
        assert!(
            back >= 0 && ahead >= 0,
            "SSRC {ssrc}: {extended} at {timestamp} between {before:?} and {after:?}"
        );
    }
}
