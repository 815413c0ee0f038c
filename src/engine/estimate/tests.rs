//! Stories that need no link: silence, probes, another path.

use super::*;
use crate::engine::rtcp::{Packet, packets};
use crate::engine::tests::some_moment;

/// Feedback that says that `count` packets from `first` on arrived `spacing` ticks (250 µs) apart.
fn feedback(first: u16, count: u16, reference: u32, spacing: u8) -> Vec<u8> {
    let mut out = vec![0x8f, 205, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2];
    out.extend_from_slice(&first.to_be_bytes());
    out.extend_from_slice(&count.to_be_bytes());
    out.extend_from_slice(&reference.to_be_bytes()[1..]);
    out.push(0);
    out.extend_from_slice(&(0x2000 | count).to_be_bytes());
    out.extend(std::iter::repeat_n(spacing, usize::from(count)));
    out.resize(out.len().next_multiple_of(4), 0);
    let words = (out.len() / 4 - 1) as u16;
    out[2..4].copy_from_slice(&words.to_be_bytes());
    out
}

fn tell(estimator: &mut Estimator, datagram: &[u8], now: Instant) {
    match packets(datagram).next() {
        Some(Ok(Packet::TransportFeedback(feedback))) => estimator.feedback(&feedback, now),
        other => panic!("feedback: {other:?}"),
    }
}

/// Sends 16 packets in 64 ms, `rounds` times, and reports each round.
fn talk(estimator: &mut Estimator, from: Instant, first: u16, rounds: u16) -> Instant {
    let mut now = from;
    for round in 0..rounds {
        let seq = first + round * 16;
        for n in 0..16 {
            estimator.sent(seq + n, 150, Purpose::Video, now);
            now += Duration::from_millis(4);
        }
        let datagram = feedback(seq, 16, 100 + u32::from(first / 16 + round), 16);
        tell(estimator, &datagram, now);
    }
    now
}

fn full_speed() -> (Estimator, Instant) {
    let t0 = some_moment();
    let mut estimator = Estimator::new(t0);
    let now = talk(&mut estimator, t0, 0, 20);
    (estimator, now)
}

#[test]
fn an_estimator_of_a_silent_receiver_costs_next_to_nothing() {
    let estimator = Estimator::new(some_moment());
    assert!(
        estimator.memory_bytes() < 2_048,
        "{}",
        estimator.memory_bytes()
    );
    assert_eq!(estimator.poll_timeout(), None);
}

#[test]
fn a_hidden_tab_fades_slowly_and_comes_back_as_it_was() {
    let (mut estimator, t0) = full_speed();
    let before = estimator.estimate();
    estimator.sent(320, 1_200, Purpose::Video, t0);
    let mut now = t0;
    for _ in 0..100 {
        let Some(at) = estimator.poll_timeout() else {
            break;
        };
        assert!(at > now);
        now = at;
        estimator.handle_timeout(now);
    }
    let lowest = estimator.estimate().as_f64();
    let share = lowest / before.as_f64();
    assert!((0.2..0.3).contains(&share), "{share} of {before}");
    assert!(now - t0 > Duration::from_secs(6), "slowly");

    tell(&mut estimator, &feedback(320, 1, 120, 0), now);
    let back = estimator.estimate().as_f64() / before.as_f64();
    assert!((0.45..0.55).contains(&back), "half at once: {back}");
    let cluster = estimator.probe_wanted(Bitrate::kbps(5_000), now);
    assert_eq!(
        cluster.map(|cluster| cluster.rate),
        Some(before),
        "and the rest by a probe"
    );
}

#[test]
fn nothing_fades_while_nothing_is_sent() {
    let (estimator, _) = full_speed();
    assert_eq!(estimator.poll_timeout(), None);
}

#[test]
fn a_probe_is_asked_for_only_if_it_can_buy_something() {
    let t0 = some_moment();
    let mut estimator = Estimator::new(t0);
    assert_eq!(estimator.probe_wanted(Bitrate::kbps(200), t0), None);
    let cluster = estimator
        .probe_wanted(Bitrate::kbps(2_000), t0)
        .expect("wanted");
    assert_eq!(cluster.rate, Bitrate::kbps(900));
    assert_eq!(
        estimator.probe_wanted(Bitrate::kbps(2_000), t0),
        None,
        "one at a time"
    );
}

#[test]
fn feedback_on_packets_that_were_never_sent_changes_nothing() {
    let (mut estimator, now) = full_speed();
    let before = estimator.estimate();
    tell(&mut estimator, &feedback(40_000, 200, 900, 1), now);
    assert_eq!(estimator.estimate(), before);
}

#[test]
fn a_new_path_is_learned_anew_from_half_of_the_old_estimate() {
    let (mut estimator, _) = full_speed();
    estimator.control.set_estimate(3_000_000.0);
    estimator.path_changed();
    assert_eq!(estimator.estimate(), Bitrate::kbps(1_500));
}
