//! The RTCP that a browser would exchange: reports, requests for packets and keyframes, arrival times.

use std::time::{Duration, Instant};

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;

/// What came from the other side, as far as it changes what we do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// A sender report of `ssrc`, with the middle of its NTP time.
    SenderReport { ssrc: u32, middle_ntp: u32 },
    /// Packets of `ssrc` are asked for again: one, and the 16 that follow it by bits.
    Nack {
        ssrc: u32,
        first: u16,
        following: u16,
    },
    /// A keyframe of `ssrc` is asked for, by PLI or FIR.
    KeyframeRequest { ssrc: u32 },
    /// Arrival times of what we sent (transport-wide congestion control).
    TransportFeedback,
    /// `ssrc` has ended.
    Bye { ssrc: u32 },
}

/// Walks a compound packet, and calls `each` with what is in it.
pub(crate) fn parse(mut compound: &[u8], mut each: impl FnMut(Incoming)) {
    while let Some(head) = compound.first_chunk::<4>() {
        let len = 4 * (usize::from(u16::from_be_bytes([head[2], head[3]])) + 1);
        let Some(packet) = compound.get(..len) else {
            return;
        };
        compound = &compound[len..];
        let format = head[0] & 0x1f;
        let word = |at: usize| {
            packet
                .get(at..at + 4)
                .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
        };
        match (head[1], format) {
            (SENDER_REPORT, _) => {
                if let (Some(ssrc), Some(high), Some(low)) = (word(4), word(8), word(12)) {
                    each(Incoming::SenderReport {
                        ssrc,
                        middle_ntp: high << 16 | low >> 16,
                    });
                }
            }
            (BYE, _) => (1..=usize::from(format))
                .filter_map(|index| word(4 * index))
                .for_each(|ssrc| each(Incoming::Bye { ssrc })),
            (TRANSPORT_FEEDBACK, 1) => {
                let Some(ssrc) = word(8) else { continue };
                for entry in packet[12..].chunks_exact(4) {
                    let first = u16::from_be_bytes([entry[0], entry[1]]);
                    each(Incoming::Nack {
                        ssrc,
                        first,
                        following: u16::from_be_bytes([entry[2], entry[3]]),
                    });
                }
            }
            (TRANSPORT_FEEDBACK, 15) => each(Incoming::TransportFeedback),
            (PAYLOAD_FEEDBACK, 1) => word(8)
                .into_iter()
                .for_each(|ssrc| each(Incoming::KeyframeRequest { ssrc })),
            (PAYLOAD_FEEDBACK, 4) => {
                for entry in packet.get(12..).unwrap_or_default().chunks_exact(8) {
                    let ssrc = u32::from_be_bytes([entry[0], entry[1], entry[2], entry[3]]);
                    each(Incoming::KeyframeRequest { ssrc });
                }
            }
            _ => {}
        }
    }
}

/// What a receiver report says of one stream (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReportBlock {
    pub(crate) ssrc: u32,
    /// Share of packets lost since the last report, in 256ths.
    pub(crate) fraction_lost: u8,
    /// Packets lost in all; may be negative with duplicates.
    pub(crate) cumulative_lost: i32,
    pub(crate) highest_sequence: u32,
    /// In units of the RTP clock.
    pub(crate) jitter: u32,
    pub(crate) last_sr: u32,
    /// Since that sender report, in 65536ths of a second.
    pub(crate) delay_since_last_sr: u32,
}

/// Appends a receiver report, or several when there are more blocks than one holds (31).
pub(crate) fn write_receiver_report(out: &mut Vec<u8>, sender: u32, blocks: &[ReportBlock]) {
    let mut rest = blocks;
    loop {
        let (now, later) = rest.split_at(rest.len().min(31));
        write_head(out, now.len() as u8, RECEIVER_REPORT, 1 + 6 * now.len());
        out.extend_from_slice(&sender.to_be_bytes());
        for block in now {
            out.extend_from_slice(&block.ssrc.to_be_bytes());
            let lost = block.cumulative_lost.clamp(-0x0080_0000, 0x007f_ffff) as u32 & 0x00ff_ffff;
            out.extend_from_slice(&(u32::from(block.fraction_lost) << 24 | lost).to_be_bytes());
            for word in [
                block.highest_sequence,
                block.jitter,
                block.last_sr,
                block.delay_since_last_sr,
            ] {
                out.extend_from_slice(&word.to_be_bytes());
            }
        }
        if later.is_empty() {
            return;
        }
        rest = later;
    }
}

/// Appends a sender report without report blocks.
pub(crate) fn write_sender_report(
    out: &mut Vec<u8>,
    ssrc: u32,
    wall_ns: u64,
    rtp: u32,
    packets: u32,
    octets: u32,
) {
    /// Seconds from 1900, NTP's beginning, to 1970.
    const NTP_OFFSET_S: u64 = 2_208_988_800;
    write_head(out, 0, SENDER_REPORT, 6);
    let seconds = (wall_ns / 1_000_000_000 + NTP_OFFSET_S) as u32;
    let fraction = (((wall_ns % 1_000_000_000) << 32) / 1_000_000_000) as u32;
    for word in [ssrc, seconds, fraction, rtp, packets, octets] {
        out.extend_from_slice(&word.to_be_bytes());
    }
}

/// Appends a source description with the canonical name, which every compound packet carries.
pub(crate) fn write_description(out: &mut Vec<u8>, ssrc: u32, cname: &str) {
    // Item type, length, text, and one to four zeros up to a whole word.
    let item = 2 + cname.len();
    let words = item / 4 + 1;
    write_head(out, 1, SOURCE_DESCRIPTION, 1 + words);
    out.extend_from_slice(&ssrc.to_be_bytes());
    out.extend_from_slice(&[1, cname.len() as u8]);
    out.extend_from_slice(cname.as_bytes());
    out.extend(std::iter::repeat_n(0, 4 * words - item));
}

/// Appends a generic NACK (RFC 4585 §6.2.1) for `missing`, which is sorted.
pub(crate) fn write_nack(out: &mut Vec<u8>, sender: u32, media: u32, missing: &[u16]) {
    let start = out.len();
    write_head(out, 1, TRANSPORT_FEEDBACK, 0);
    out.extend_from_slice(&sender.to_be_bytes());
    out.extend_from_slice(&media.to_be_bytes());
    let mut rest = missing;
    while let Some((&first, tail)) = rest.split_first() {
        let mut following = 0_u16;
        let mut taken = 0;
        for &sequence in tail {
            let ahead = sequence.wrapping_sub(first);
            if !(1..=16).contains(&ahead) {
                break;
            }
            following |= 1 << (ahead - 1);
            taken += 1;
        }
        out.extend_from_slice(&first.to_be_bytes());
        out.extend_from_slice(&following.to_be_bytes());
        rest = &tail[taken..];
    }
    finish_len(out, start);
}

/// Appends a picture loss indication (RFC 4585 §6.3.1).
pub(crate) fn write_pli(out: &mut Vec<u8>, sender: u32, media: u32) {
    write_head(out, 1, PAYLOAD_FEEDBACK, 2);
    out.extend_from_slice(&sender.to_be_bytes());
    out.extend_from_slice(&media.to_be_bytes());
}

/// Collects the arrival of every packet with a transport-wide number, until the next report.
#[derive(Debug)]
pub(crate) struct TransportArrivals {
    origin: Instant,
    arrivals: Vec<(u64, Instant)>,
    highest: Option<u64>,
    reports: u8,
}

/// One report says of at most so many packets; at 100 ms it stands for 5000 packets per second and more.
const MAX_ARRIVALS: usize = 512;

impl TransportArrivals {
    pub(crate) fn new(origin: Instant) -> Self {
        Self {
            origin,
            arrivals: Vec::new(),
            highest: None,
            reports: 0,
        }
    }

    pub(crate) fn record(&mut self, number: u16, at: Instant) {
        if self.arrivals.len() >= MAX_ARRIVALS {
            return;
        }
        let number = match self.highest {
            Some(highest) => crate::rtp::extend(number, highest),
            // Numbers begin at 65536, so that one from before the first is not below zero.
            None => u64::from(number) + (1 << 16),
        };
        self.highest = self.highest.max(Some(number));
        self.arrivals.push((number, at));
    }

    /// Appends a report of all that was recorded (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1);
    /// gives false when there is nothing to say.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, sender: u32, media: u32) -> bool {
        self.arrivals.sort_unstable_by_key(|arrival| arrival.0);
        self.arrivals.dedup_by_key(|arrival| arrival.0);
        let (Some(&(first, first_at)), Some(&(last, _))) =
            (self.arrivals.first(), self.arrivals.last())
        else {
            return false;
        };
        let span = last - first + 1;
        if span > 8 * MAX_ARRIVALS as u64 {
            // The sender began anew somewhere else: a report across the jump would be nonsense.
            self.arrivals.clear();
            return false;
        }
        // The reference time counts 64 ms, each delta 250 us.
        let since = first_at.saturating_duration_since(self.origin);
        let reference = since.as_millis() as u64 / 64;
        let mut clock = self.origin + Duration::from_millis(reference * 64);
        let mut symbols = Vec::with_capacity(span as usize);
        let mut deltas = Vec::with_capacity(2 * self.arrivals.len());
        let mut next = first;
        for &(number, at) in &self.arrivals {
            symbols.extend((next..number).map(|_| 0_u8));
            next = number + 1;
            let ahead = at.saturating_duration_since(clock).as_micros() as i64 / 250;
            let behind = clock.saturating_duration_since(at).as_micros() as i64 / 250;
            let ticks = (ahead - behind).clamp(i64::from(i16::MIN), i64::from(i16::MAX));
            if let Ok(small) = u8::try_from(ticks) {
                symbols.push(1);
                deltas.push(small);
            } else {
                symbols.push(2);
                deltas.extend_from_slice(&(ticks as i16).to_be_bytes());
            }
            clock = if ticks < 0 {
                clock - Duration::from_micros(250 * ticks.unsigned_abs())
            } else {
                clock + Duration::from_micros(250 * ticks.unsigned_abs())
            };
        }
        self.arrivals.clear();
        let start = out.len();
        write_head(out, 15, TRANSPORT_FEEDBACK, 0);
        out.extend_from_slice(&sender.to_be_bytes());
        out.extend_from_slice(&media.to_be_bytes());
        out.extend_from_slice(&(first as u16).to_be_bytes());
        out.extend_from_slice(&(span as u16).to_be_bytes());
        out.extend_from_slice(&((reference as u32) << 8 | u32::from(self.reports)).to_be_bytes());
        self.reports = self.reports.wrapping_add(1);
        write_chunks(out, &symbols);
        out.extend_from_slice(&deltas);
        while !(out.len() - start).is_multiple_of(4) {
            out.push(0);
        }
        finish_len(out, start);
        true
    }
}

/// Packet status chunks: runs of one symbol, or vectors of seven two-bit symbols (§3.1.3, §3.1.4).
fn write_chunks(out: &mut Vec<u8>, symbols: &[u8]) {
    let mut rest = symbols;
    while let Some(&first) = rest.first() {
        let run = rest
            .iter()
            .take(0x1fff)
            .take_while(|&&symbol| symbol == first)
            .count();
        if run >= 7 || run == rest.len() {
            out.extend_from_slice(&(u16::from(first) << 13 | run as u16).to_be_bytes());
            rest = &rest[run..];
        } else {
            let taken = rest.len().min(7);
            let mut chunk = 0xc000_u16;
            for (place, &symbol) in rest[..taken].iter().enumerate() {
                chunk |= u16::from(symbol) << (12 - 2 * place);
            }
            out.extend_from_slice(&chunk.to_be_bytes());
            rest = &rest[taken..];
        }
    }
}

fn write_head(out: &mut Vec<u8>, count: u8, packet_type: u8, words: usize) {
    out.extend_from_slice(&[0x80 | count, packet_type]);
    out.extend_from_slice(&(words as u16).to_be_bytes());
}

fn finish_len(out: &mut [u8], start: usize) {
    let words = ((out.len() - start) / 4 - 1) as u16;
    out[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(compound: &[u8]) -> Vec<Incoming> {
        let mut found = Vec::new();
        parse(compound, |incoming| found.push(incoming));
        found
    }

    #[test]
    fn a_compound_packet_is_read_back_whole() {
        let mut out = Vec::new();
        write_sender_report(&mut out, 5, 1_000_000_000, 90_000, 1, 2);
        write_description(&mut out, 5, "loadtest");
        write_receiver_report(&mut out, 1, &[ReportBlock::default(); 40]);
        write_nack(&mut out, 1, 2, &[65_535, 0, 14, 20]);
        write_pli(&mut out, 1, 9);
        assert_eq!(
            all(&out),
            [
                Incoming::SenderReport {
                    ssrc: 5,
                    middle_ntp: ((2_208_988_801_u64 as u32) << 16)
                },
                Incoming::Nack {
                    ssrc: 2,
                    first: 65_535,
                    following: 1 | 1 << 14
                },
                Incoming::Nack {
                    ssrc: 2,
                    first: 20,
                    following: 0
                },
                Incoming::KeyframeRequest { ssrc: 9 },
            ]
        );
    }

    #[test]
    fn a_long_call_is_reported_to_its_end() {
        let origin = Instant::now();
        let mut arrivals = TransportArrivals::new(origin);
        // Numbers begin anew every 65536 packets, reports every 256.
        for packet in 0..300_000_u64 {
            let at = origin + Duration::from_millis(packet);
            arrivals.record(packet as u16, at);
            if packet % 100 == 99 {
                assert!(
                    arrivals.write(&mut Vec::new(), 1, 2),
                    "silent after {packet} packets"
                );
            }
        }
    }

    #[test]
    fn arrivals_are_told_with_their_gaps() {
        let origin = Instant::now();
        let mut arrivals = TransportArrivals::new(origin);
        for (number, ms) in [(65_534, 70), (65_535, 71), (1, 90), (0, 500)] {
            arrivals.record(number, origin + Duration::from_millis(ms));
        }
        let mut out = Vec::new();
        assert!(arrivals.write(&mut out, 1, 2));
        // Base 65534, four packets, reference 64 ms, report 0; then symbols 1 1 2 2 and their deltas.
        assert_eq!(out[12..20], [0xff, 0xfe, 0, 4, 0, 0, 1, 0]);
        assert_eq!(
            out[20..22],
            (0xc000_u16 | 1 << 12 | 1 << 10 | 2 << 8 | 2 << 6).to_be_bytes()
        );
        assert_eq!(out[22..24], [24, 4], "6 ms after the reference, then 1 ms");
        assert_eq!(out[24..26], 1716_i16.to_be_bytes(), "429 ms later");
        assert_eq!(
            out[26..28],
            (-1640_i16).to_be_bytes(),
            "the next number came 410 ms before"
        );
        assert_eq!(out.len() % 4, 0);
        assert_eq!(all(&out), [Incoming::TransportFeedback]);
        assert!(!arrivals.write(&mut out, 1, 2), "told once");
    }
}
