//! A slot's numbers against a model that remembers everything.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::super::codec::Codec;
use super::*;

/// Some moment; which one makes no difference.
#[allow(
    clippy::disallowed_methods,
    reason = "an Instant cannot be had otherwise"
)]
pub(super) fn some_time() -> Instant {
    Instant::now()
}

/// A packet of a VP8 frame with 15 bit picture numbers.
fn vp8(frame: u64, temporal: u8) -> PayloadInfo {
    let [high, low] = ((frame & 0x7fff) as u16).to_be_bytes();
    let payload = [0x90, 0xa0, 0x80 | high, low, temporal << 6, 0x01];
    PayloadInfo::parse(Codec::Vp8, &payload).expect("a valid packet")
}

fn audio() -> PayloadInfo {
    PayloadInfo::STANDALONE
}

#[test]
fn numbers_of_packets_that_did_not_leave_are_those_of_what_comes_next() {
    let at = some_time();
    let mut timeline = SlotTimeline::new(90_000, 0);
    timeline.switch('a', 100, 0, &vp8(1, 0), at);
    for n in 0..10 {
        let placed = timeline.pass(100 + n, 0, &vp8(1, 0));
        assert_eq!(placed.map(|placed| placed.seq), Ok(1 + n));
    }
    timeline.take_back(6);
    assert_eq!((timeline.newest_seq(), timeline.origin_of(7)), (6, None));

    timeline.switch('b', 7_000, 0, &vp8(1, 0), at);
    let placed = timeline.pass(7_000, 0, &vp8(1, 0)).expect("it is new");
    assert_eq!(placed.seq, 7);
    let sources = [6, 7].map(|seq| {
        timeline
            .origin_of(seq)
            .map(|origin| (origin.source, origin.seq))
    });
    assert_eq!(sources, [Some(('a', 105)), Some(('b', 7_000))]);
    assert_eq!(
        timeline.pass(106, 0, &vp8(1, 0)),
        Err(Refused::BeforeSwitch)
    );
}

/// What happens to one packet of a source, and when it arrives relative to its place.
#[derive(Clone, Copy, Debug)]
struct Fate {
    lost: bool,
    left_out: bool,
    delay: u64,
    copies: usize,
}

fn fate() -> impl Strategy<Value = Fate> {
    let delay = prop_oneof![8 => Just(0u64), 2 => 1..12u64];
    let copies = prop_oneof![9 => Just(1usize), 1 => Just(2usize)];
    (
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
        delay,
        copies,
    )
        .prop_map(|(lost, left_out, delay, copies)| Fate {
            lost,
            left_out,
            delay,
            copies,
        })
}

/// One source's turn in the slot: where its numbers begin, and its packets' fates.
fn turn() -> impl Strategy<Value = (u64, Vec<Fate>)> {
    (0..1u64 << 20, prop::collection::vec(fate(), 1..60))
}

proptest! {
    #[test]
    fn a_receiver_sees_a_gap_where_packets_were_lost_and_nowhere_else(
        turns in prop::collection::vec(turn(), 1..8),
        random: u64,
    ) {
        let start = some_time();
        let mut slot = SlotTimeline::new(90_000, random);
        prop_assert!((1..1 << 15).contains(&(slot.newest_seq() + 1)));
        // Every number that left, and what left under it.
        let mut left = BTreeMap::new();
        for (source, (first, fates)) in turns.iter().enumerate() {
            let mut arrivals: Vec<_> = (*first..).zip(fates).enumerate().filter(|(_, (_, fate))| !fate.lost).collect();
            arrivals.sort_by_key(|(place, (_, fate))| *place as u64 + fate.delay);
            // The source is switched to at the first packet that can be passed.
            let Some(begin) = arrivals.iter().position(|(_, (_, fate))| !fate.left_out) else { continue };
            let first_in = arrivals[begin].1.0;
            let before = slot.newest_seq();
            let at = start + Duration::from_millis(100 * source as u64);
            slot.switch(source, first_in, first_in as u32, &vp8(first_in, 0), at);
            let mut newest = None;
            let mut closed = Vec::new();
            for (_, (seq, fate)) in &arrivals[begin..] {
                if fate.left_out {
                    slot.skip(*seq, &vp8(*seq, 1));
                    if newest.is_none_or(|newest| *seq > newest) {
                        closed.push(*seq);
                    }
                    newest = newest.max(Some(*seq));
                    continue;
                }
                for copy in 0..fate.copies {
                    let placed = slot.pass(*seq, *seq as u32, &vp8(*seq, 0));
                    if *seq < first_in {
                        prop_assert_eq!(placed, Err(Refused::BeforeSwitch));
                    } else if copy > 0 {
                        prop_assert_eq!(placed, Err(Refused::Duplicate));
                    } else {
                        let placed = placed.expect("in time");
                        prop_assert!(placed.seq > before, "a number of the source before");
                        prop_assert_eq!(left.insert(placed.seq, (source, *seq, placed)), None);
                        newest = newest.max(Some(*seq));
                    }
                }
            }
            // As many numbers as packets, less those that were left out in time: what is
            // missing in between was lost, or was left out when it was too late to close up.
            let of_turn: Vec<_> = left.range(before + 1..).map(|(out, (_, seq, _))| (*out, *seq)).collect();
            prop_assert_eq!(of_turn[0], (before + 1, first_in));
            prop_assert!(of_turn.windows(2).all(|pair| pair[0].1 < pair[1].1), "reordered");
            let (last_out, last_in) = of_turn[of_turn.len() - 1];
            let closed = closed.iter().filter(|&&seq| seq < last_in).count() as u64;
            prop_assert_eq!(last_out - (before + 1), last_in - first_in - closed);
        }
        for (out, (source, seq, placed)) in &left {
            let origin = slot.origin_of(*out).expect("remembered");
            prop_assert_eq!((origin.source, origin.seq), (*source, *seq));
            prop_assert_eq!((*seq as u32).wrapping_add(origin.timestamp_offset), placed.timestamp);
            prop_assert_eq!(origin.codec, placed.codec);
            prop_assert_eq!(slot.extend(*out as u16), *out);
        }
        prop_assert_eq!(slot.origin_of(slot.newest_seq() + 1), None);
    }
}

#[test]
fn a_slot_without_a_source_sends_nothing() {
    let mut slot: SlotTimeline<u8> = SlotTimeline::new(48_000, 5);
    slot.skip(1, &audio());
    assert_eq!(slot.pass(1, 0, &audio()), Err(Refused::NoSource));
    assert_eq!(slot.origin_of(1), None);
    assert_eq!(slot.timestamp_offset(), None);
}

#[test]
fn numbers_begin_where_they_cannot_be_mistaken() {
    for random in [0, (1 << 15) - 2, (1 << 15) - 1, u64::MAX] {
        let mut slot = SlotTimeline::new(48_000, random);
        slot.switch('a', 0, 0, &audio(), some_time());
        let first = slot.pass(0, 0, &audio()).expect("the first").seq;
        assert!((1..1 << 15).contains(&first), "{first}");
    }
}

#[test]
fn a_sender_that_begins_anew_leaves_a_gap_of_one() {
    let mut slot = SlotTimeline::new(48_000, 100);
    slot.switch('a', 10, 0, &audio(), some_time());
    assert_eq!(slot.pass(10, 0, &audio()).map(|placed| placed.seq), Ok(101));
    // As far as a gap may go, and one further.
    assert_eq!(
        slot.pass(10 + MAX_GAP, 0, &audio())
            .map(|placed| placed.seq),
        Ok(101 + MAX_GAP)
    );
    let anew = 11 + 2 * MAX_GAP;
    assert_eq!(
        slot.pass(anew, 0, &audio()).map(|placed| placed.seq),
        Ok(103 + MAX_GAP)
    );
    assert_eq!(slot.pass(anew - 1, 0, &audio()), Err(Refused::LeftOut));
    slot.skip(anew + MAX_GAP + 1, &audio());
    let next = slot.pass(anew + MAX_GAP + 2, 0, &audio());
    assert_eq!(next.map(|placed| placed.seq), Ok(105 + MAX_GAP));
}

#[test]
fn a_packet_that_was_left_out_cannot_come_back() {
    let mut slot = SlotTimeline::new(90_000, 0);
    slot.switch('a', 10, 0, &vp8(1, 0), some_time());
    slot.pass(10, 0, &vp8(1, 0)).expect("the first");
    slot.skip(11, &vp8(2, 1));
    slot.skip(12, &vp8(2, 1));
    assert_eq!(slot.pass(13, 0, &vp8(3, 0)).map(|placed| placed.seq), Ok(2));
    for seq in [11, 12] {
        assert_eq!(slot.pass(seq, 0, &vp8(2, 1)), Err(Refused::LeftOut));
    }
}

#[test]
fn a_retransmission_has_the_picture_numbers_of_the_original() {
    let mut slot = SlotTimeline::new(90_000, 0);
    slot.switch('a', 0, 0, &vp8(0, 0), some_time());
    let mut placed = Vec::new();
    for frame in 0..200 {
        if frame % 2 == 1 {
            slot.skip(frame, &vp8(frame, 1));
        } else {
            placed.push((
                frame,
                slot.pass(frame, frame as u32, &vp8(frame, 0))
                    .expect("in time"),
            ));
        }
    }
    // The newest of them are remembered, and no more than there is room for.
    for (index, (frame, placed)) in placed.iter().enumerate() {
        assert_eq!(placed.seq, 1 + index as u64);
        assert_eq!(
            placed.codec.picture_id,
            (index as u16).wrapping_sub(*frame as u16) & 0x7fff
        );
        let origin = slot.origin_of(placed.seq).expect("a hundred spans");
        assert_eq!((origin.seq, origin.codec), (*frame, placed.codec));
    }
    for frame in 200..2000 {
        if frame % 2 == 1 {
            slot.skip(frame, &vp8(frame, 1));
        } else {
            slot.pass(frame, frame as u32, &vp8(frame, 0))
                .expect("in time");
        }
    }
    assert!(slot.spans.len() <= MAX_SPANS);
    assert_eq!(slot.origin_of(1), None, "too long ago");
    assert_eq!(slot.origin_of(1000).map(|origin| origin.seq), Some(1998));
    assert_eq!(slot.pass(3, 3, &vp8(3, 0)), Err(Refused::TooOld));
}

#[test]
fn what_left_under_another_source_is_found_there() {
    let start = some_time();
    let mut slot = SlotTimeline::new(90_000, 40);
    slot.switch('a', 500, 9_000, &vp8(0, 0), start);
    let first = slot.pass(500, 9_000, &vp8(0, 0)).expect("the first");
    slot.skip(502, &vp8(1, 1));
    slot.switch(
        'b',
        7,
        1_000_000,
        &vp8(9, 0),
        start + Duration::from_secs(1),
    );
    let second = slot
        .pass(7, 1_000_000, &vp8(9, 0))
        .expect("the first of the next");
    assert_eq!((first.seq, second.seq), (41, 42));
    assert_eq!(second.timestamp.wrapping_sub(first.timestamp), 90_000);
    let origin = slot.origin_of(41).map(|origin| (origin.source, origin.seq));
    assert_eq!(origin, Some(('a', 500)));
    let origin = slot.origin_of(42).map(|origin| (origin.source, origin.seq));
    assert_eq!(origin, Some(('b', 7)));
}

#[test]
fn a_restarted_encoder_does_not_change_what_was_sent_before() {
    let key = |picture: u8| {
        let payload = [0x90, 0x80, 0x80, picture, 0x00];
        PayloadInfo::parse(Codec::Vp8, &payload).expect("a valid packet")
    };
    let mut slot = SlotTimeline::new(90_000, 0);
    slot.switch('a', 10, 0, &key(200), some_time());
    let before = slot.pass(10, 0, &key(200)).expect("the first");
    let after = slot.pass(11, 3_000, &key(7)).expect("the next");
    assert_eq!((before.seq, after.seq), (1, 2));
    assert_eq!((7 + after.codec.picture_id) & 0x7fff, 201);
    for (seq, placed) in [(10, before), (11, after)] {
        let origin = slot.origin_of(placed.seq).expect("remembered");
        assert_eq!((origin.seq, origin.codec), (seq, placed.codec));
    }
}

#[test]
fn a_month_of_sound_wraps_every_number_and_repeats_none() {
    // 50 packets a second; every thousandth is looked at, as if the others had been lost.
    const STEP: u64 = 1_000;
    const MONTH: u64 = 30 * 86_400 * 50;
    let mut slot = SlotTimeline::new(48_000, 1 << 14);
    let mut last: Option<Placed> = None;
    let mut start = 0;
    for seq in (0..MONTH).step_by(STEP as usize) {
        let timestamp = (seq * 960) as u32;
        if last.is_none() {
            slot.switch('a', seq, timestamp, &audio(), some_time());
            start = slot.newest_seq() + 1;
        }
        let placed = slot.pass(seq, timestamp, &audio()).expect("it is new");
        assert_eq!(slot.pass(seq, timestamp, &audio()), Err(Refused::Duplicate));
        assert_eq!(placed.seq, start + seq);
        if let Some(last) = last {
            let went_on = placed.timestamp.wrapping_sub(last.timestamp);
            assert_eq!(u64::from(went_on), STEP * 960);
        }
        assert_eq!(slot.extend(placed.seq as u16), placed.seq);
        assert_eq!(
            slot.origin_of(placed.seq).map(|origin| origin.seq),
            Some(seq)
        );
        last = Some(placed);
    }
    let last = last.expect("a month of packets");
    assert!(
        last.seq >> 16 > 1_900,
        "the sequence number wrapped as often"
    );
}
