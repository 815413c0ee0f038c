//! What happens on the way to one client, packet by packet, while an operator has it recorded.
//!
//! A recording has the headers of all that is sent to and received from a session, its RTCP, and
//! every choice of layers with all that it was made of; no payload, no address and no key. It is
//! made of what a [`Downlink`](super::downlink::Downlink) is told, so that the same can be told to
//! another one later ([`super::replay`]). Nothing of it exists unless somebody asks.

use std::mem::size_of;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use str0m::rtp::RtpPacket;

use super::allocation::{Allocation, Choice, SlotDemand};
use super::bitrate::Bitrate;
use super::estimate::Purpose;
use super::event::Kind;

/// Longest recording: whoever waits for trouble to come back has five minutes.
pub const MAX_SECONDS: u64 = 300;

/// Most memory of one recording, in bytes: two minutes of a session with a thousand packets a
/// second. One that is full ends; its beginning is what a replay needs.
const MAX_BYTES: usize = 8 << 20;

/// Most recordings of one engine at a time, finished ones included: a trouble has two ends, and
/// there may be two operators.
pub(crate) const MAX_RECORDINGS: usize = 4;

/// A recording, as it is dumped and replayed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recording {
    /// How old the session was when it began, in microseconds; zero if all of it was recorded.
    pub began_at_us: u64,
    /// Why it ended; nothing while it goes on.
    pub ended: Option<Ended>,
    /// What happened, oldest first.
    pub entries: Vec<Entry>,
}

/// Why a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Its time was over.
    Time,
    /// It had taken up its memory.
    Full,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When, in microseconds since the recording began.
    pub at_us: u64,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A media packet came from the client.
    Received(Header),
    /// A packet was sent to it.
    Sent {
        /// Its header.
        #[serde(flatten)]
        header: Header,
        /// Its transport-wide sequence number, where it has one.
        twcc: Option<u16>,
        /// What it was sent for.
        purpose: Purpose,
    },
    /// It reported: a compound packet, opened, as hexadecimal digits.
    Rtcp {
        /// The packet.
        #[serde(with = "hex")]
        packet: Box<[u8]>,
    },
    /// Time had passed for its path.
    Timeout,
    /// It is reached another way.
    PathChanged,
    /// It continues another session, whose path had a limit.
    Expected {
        /// That limit.
        limit_bps: u64,
    },
    /// Its path may be tried up to this rate.
    ProbeWanted {
        /// What would be of use.
        demand_bps: u64,
    },
    /// Layers were chosen.
    Shared(Box<Shared>),
}

/// What a header says (RFC 3550 §5.1), and how large the whole packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The stream.
    pub ssrc: u32,
    /// The payload type.
    pub pt: u8,
    /// The sequence number.
    pub seq: u16,
    /// The timestamp.
    pub timestamp: u32,
    /// Whether a frame ends.
    pub marker: bool,
    /// The size: of a received packet its payload's, of a sent one the whole, in bytes.
    pub bytes: u32,
}

/// How an estimate was shared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shared {
    /// What the path was believed to carry; nothing while no limit was known.
    pub estimate_bps: Option<u64>,
    /// Percent of the video that might be shown, where the machine did not keep up.
    #[serde(default)]
    pub video_percent: Option<u64>,
    /// What each slot could show.
    pub demands: Vec<Demand>,
    /// What each was given.
    pub choices: Vec<Choice>,
    /// What all of it costs.
    pub total_bps: u64,
    /// What the estimate would have to be for the next better step.
    pub next_step_bps: Option<u64>,
}

/// What one slot could show; see [`SlotDemand`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of SlotDemand")]
pub struct Demand {
    pub slot: u16,
    pub kind: Kind,
    pub priority: u8,
    pub height: Option<u16>,
    pub is_speaker: bool,
    pub current: Option<usize>,
    pub may_rise: bool,
    pub is_kept: bool,
    pub layers_bps: Vec<u64>,
}

impl From<&SlotDemand<'_>> for Demand {
    fn from(demand: &SlotDemand<'_>) -> Self {
        Self {
            slot: demand.slot,
            kind: demand.kind,
            priority: demand.priority,
            height: demand.height,
            is_speaker: demand.is_speaker,
            current: demand.current,
            may_rise: demand.may_rise,
            is_kept: demand.is_kept,
            layers_bps: demand.layers.iter().map(|layer| layer.as_bps()).collect(),
        }
    }
}

/// A packet that came from the client.
pub(crate) fn received(packet: &RtpPacket) -> Event {
    let header = &packet.header;
    Event::Received(Header {
        ssrc: *header.ssrc,
        pt: *header.payload_type,
        seq: header.sequence_number,
        timestamp: header.timestamp,
        marker: header.marker,
        bytes: packet.payload.len() as u32,
    })
}

/// A recording that is being made.
#[derive(Debug)]
pub(crate) struct Tape {
    recording: Recording,
    began: Instant,
    ends: Instant,
    bytes: usize,
}

impl Tape {
    /// Of a session of this age, for so long.
    pub(crate) fn new(age: Duration, length: Duration, now: Instant) -> Self {
        Self {
            recording: Recording {
                began_at_us: age.as_micros() as u64,
                ended: None,
                entries: Vec::new(),
            },
            began: now,
            ends: now + length.min(Duration::from_secs(MAX_SECONDS)),
            bytes: 0,
        }
    }

    /// What was recorded.
    pub(crate) fn into_recording(self) -> Recording {
        self.recording
    }

    /// Takes note of something.
    pub(crate) fn note(&mut self, now: Instant, event: Event) {
        if self.recording.ended.is_some() {
            return;
        }
        self.bytes += size_of::<Entry>() + heap_bytes(&event);
        if now >= self.ends {
            self.recording.ended = Some(Ended::Time);
        } else if self.bytes > MAX_BYTES {
            self.recording.ended = Some(Ended::Full);
        } else {
            let at_us = now.saturating_duration_since(self.began).as_micros() as u64;
            self.recording.entries.push(Entry { at_us, event });
        }
    }

    /// Layers were chosen, of what the path carries and the machine forwards.
    pub(crate) fn shared(
        &mut self,
        now: Instant,
        (estimate, video_percent): (Option<Bitrate>, Option<u64>),
        demands: &[SlotDemand<'_>],
        allocation: &Allocation,
    ) {
        let shared = Shared {
            estimate_bps: estimate.map(Bitrate::as_bps),
            video_percent,
            demands: demands.iter().map(Demand::from).collect(),
            choices: allocation.choices.clone(),
            total_bps: allocation.total.as_bps(),
            next_step_bps: allocation.next_step.map(Bitrate::as_bps),
        };
        self.note(now, Event::Shared(Box::new(shared)));
    }
}

/// What an event holds beside itself, in bytes.
fn heap_bytes(event: &Event) -> usize {
    match event {
        Event::Rtcp { packet } => packet.len(),
        Event::Shared(shared) => {
            let layers = shared.demands.iter().map(|demand| demand.layers_bps.len());
            size_of::<Shared>()
                + shared.demands.len() * (size_of::<Demand>() + size_of::<Choice>())
                + layers.sum::<usize>() * size_of::<u64>()
        }
        _ => 0,
    }
}

/// Bytes as hexadecimal digits, which other tools read.
mod hex {
    use std::fmt::Write as _;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        to.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Box<[u8]>, D::Error> {
        let text = String::deserialize(from)?;
        let (digits, rest) = text.as_bytes().as_chunks::<2>();
        let byte = |digits: &[u8; 2]| {
            let text = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(text, 16).ok()
        };
        let bytes: Option<Box<[u8]>> = digits.iter().map(byte).collect();
        bytes
            .filter(|_| rest.is_empty())
            .ok_or_else(|| Error::custom("not pairs of hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::some_moment;

    #[test]
    fn a_recording_ends_with_its_time_and_is_never_larger_than_it_may() {
        let began = some_moment();
        let second = Duration::from_secs(1);
        let mut tape = Tape::new(second, second, began);
        tape.note(began, Event::Timeout);
        tape.note(began + second, Event::Timeout);
        assert_eq!(tape.recording.entries.len(), 1);
        assert_eq!(tape.recording.ended, Some(Ended::Time));

        let mut tape = Tape::new(second, second, began);
        let report = || Event::Rtcp {
            packet: vec![0; 1_000].into(),
        };
        (0..20_000).for_each(|_| tape.note(began, report()));
        assert_eq!(tape.recording.ended, Some(Ended::Full));
        let kept = tape.recording.entries.len();
        assert!(kept * 1_000 <= MAX_BYTES && kept > 7_000, "{kept}");
    }

    #[test]
    fn what_is_dumped_is_read_again_as_it_was() {
        let mut tape = Tape::new(Duration::ZERO, Duration::from_secs(9), some_moment());
        let header = Header {
            ssrc: 7,
            pt: 96,
            seq: 65_535,
            timestamp: 1,
            marker: true,
            bytes: 1_200,
        };
        for event in [
            Event::Received(header),
            Event::Sent {
                header,
                twcc: Some(3),
                purpose: Purpose::Video,
            },
            Event::Rtcp {
                packet: vec![0x81, 0xc9, 0].into(),
            },
            Event::ProbeWanted { demand_bps: 1 },
        ] {
            tape.note(some_moment(), event);
        }
        let text = serde_json::to_string(&tape.recording).unwrap();
        assert!(text.contains(r#""packet":"81c900""#), "{text}");
        let read: Recording = serde_json::from_str(&text).unwrap();
        assert_eq!(read.entries, tape.recording.entries);
        for bad in [r#""81c90""#, r#""zz""#, r#""é1""#] {
            let entry = format!(r#"{{"at_us":0,"event":"rtcp","packet":{bad}}}"#);
            assert!(serde_json::from_str::<Entry>(&entry).is_err());
        }
    }
}
