//! What a receiver reports about the slots that are sent to it.
//!
//! Receivers report often (transport feedback alone twenty times a second), so these packets
//! are opened and read here, without a detour through str0m, which has no part in our egress.

use std::time::{Duration, Instant};

use super::counters::{Counters, DropReason};
use super::egress::Egress;
use super::rtcp::{self, Packet, ReportBlock};
use super::tape;

/// Most wishes that are taken from one compound packet.
///
/// A receiver that lost a whole frame of a hundred packets still gets it in one go; a packet
/// that names thousands is an attack.
const MAX_WANTED: usize = 256;

/// What a receiver wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A picture that it can begin with (PLI or FIR).
    Keyframe { slot: usize },
    /// A packet once more (RFC 4585 §6.2.1).
    Packet { slot: usize, seq: u16 },
}

/// Reads a compound packet that was authenticated, and collects what it wants.
///
/// Returns whether str0m should see it too: it carries a sender report, a source description
/// or a goodbye of what the client itself publishes.
pub(crate) fn read(
    compound: &[u8],
    egress: &mut Egress,
    (now, wall_clock): (Instant, Duration),
    wanted: &mut Vec<Wanted>,
    counters: &mut Counters,
) -> bool {
    if let Some(tape) = &mut egress.downlink.tape {
        let packet = compound.into();
        tape.note(now, tape::Event::Rtcp { packet });
    }
    let mut concerns_publishing = false;
    for packet in rtcp::packets(compound) {
        match packet {
            Ok(Packet::SenderReport { reports, .. }) => {
                concerns_publishing = true;
                reports.for_each(|report| reported(&report, egress, wall_clock));
            }
            Ok(Packet::ReceiverReport { reports, .. }) => {
                reports.for_each(|report| reported(&report, egress, wall_clock));
            }
            Ok(Packet::Nack { media, lost, .. }) => {
                let Some(slot) = egress.slot_of(*media) else {
                    continue;
                };
                let room = MAX_WANTED.saturating_sub(wanted.len());
                let before = wanted.len();
                wanted.extend(lost.take(room).map(|seq| Wanted::Packet { slot, seq }));
                let asked = (wanted.len() - before) as u64;
                egress.slots[slot].stats.nacked_packets += asked;
                counters.nacked_packets_in += asked;
            }
            Ok(Packet::PictureLoss { media, .. }) => keyframe(*media, egress, wanted, counters),
            Ok(Packet::FullIntraRequest { requests, .. }) => {
                requests.for_each(|request| keyframe(*request.ssrc, egress, wanted, counters));
            }
            Ok(Packet::SourceDescription | Packet::Goodbye(_) | Packet::ExtendedReport { .. }) => {
                concerns_publishing = true;
            }
            Ok(Packet::TransportFeedback(feedback)) => egress.downlink.feedback(&feedback, now),
            Ok(_) => {}
            Err(_) => counters.drop(DropReason::RtcpMalformed),
        }
    }
    concerns_publishing
}

fn keyframe(ssrc: u32, egress: &Egress, wanted: &mut Vec<Wanted>, counters: &mut Counters) {
    let Some(slot) = egress.slot_of(ssrc) else {
        return;
    };
    counters.keyframe_requests_in += 1;
    let wish = Wanted::Keyframe { slot };
    if wanted.len() < MAX_WANTED && !wanted.contains(&wish) {
        wanted.push(wish);
    }
}

fn reported(report: &ReportBlock, egress: &mut Egress, wall_clock: Duration) {
    let Some(slot) = egress.slot_of(*report.ssrc) else {
        return;
    };
    let slot = &mut egress.slots[slot];
    // Of retransmissions nobody counts the losses.
    if slot.ssrc == *report.ssrc {
        slot.stats.reported(report);
    }
    egress.reported(report, wall_clock);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::some_moment;

    #[test]
    fn a_receiver_that_talks_nonsense_is_counted_and_wants_nothing() {
        let (mut wanted, mut counters) = (Vec::new(), Counters::default());
        // A NACK that says it is longer than what comes.
        let garbled = [0x81, 205, 0, 9, 0, 0, 0, 1, 0, 0, 0, 2];
        let at = (some_moment(), Duration::ZERO);
        let mut egress = Egress::default();
        let concerns_publishing = read(&garbled, &mut egress, at, &mut wanted, &mut counters);
        assert!(!concerns_publishing && wanted.is_empty());
        assert_eq!(counters.drops[&DropReason::RtcpMalformed], 1);
    }
}
