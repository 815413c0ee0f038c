//! One sender, one link, one receiver, and a clock that is ours.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use plenum::engine::bitrate::Bitrate;
use plenum::engine::estimate::{Estimator, ProbeCluster, Purpose};
use plenum::engine::rtcp::{self, Packet as Rtcp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::link::{Link, LinkPlan, Packet};
use crate::receiver::Receiver;

/// Size of an audio packet, and the time between two.
const AUDIO_BYTES: u32 = 120;
const AUDIO_INTERVAL_MS: u64 = 20;

/// Largest packet.
const PACKET_BYTES: u32 = 1_200;

/// Size of a packet of padding.
const PADDING_BYTES: u32 = 250;

const FRAME_INTERVAL_US: u64 = 33_333;

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// As much as may be, up to this.
    Elastic(u64),
    /// The highest of these bitrates that fits into the estimate, chosen twice a second.
    Layered(Vec<u64>),
}

/// A whole experiment.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) link: LinkPlan,
    pub(crate) source: Source,
    pub(crate) feedback_ms: u64,
    /// Share of the feedback that is lost.
    pub(crate) feedback_loss: f64,
    /// Nothing is sent back in these milliseconds.
    pub(crate) feedback_gap: Option<(u64, u64)>,
    /// No video is sent in these milliseconds.
    pub(crate) mute: Option<(u64, u64)>,
    pub(crate) length_ms: u64,
}

impl Plan {
    pub(crate) fn new(name: &'static str, link: LinkPlan, length_secs: u64) -> Self {
        Self {
            name,
            link,
            source: Source::Elastic(12_000_000),
            feedback_ms: 50,
            feedback_loss: 0.0,
            feedback_gap: None,
            mute: None,
            length_ms: length_secs * 1_000,
        }
    }
}

/// One sample every 50 ms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) ms: u64,
    pub(crate) capacity: u64,
    pub(crate) estimate: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) arrived_bytes: u64,
    pub(crate) layer: usize,
}

/// What was seen.
pub(crate) struct Run {
    pub(crate) samples: Vec<Sample>,
    pub(crate) waits_us: Vec<(u64, u64)>,
    pub(crate) sent_ms: Vec<u64>,
    pub(crate) overflowed_ms: Vec<u64>,
    pub(crate) padding_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) memory_bytes: usize,
}

struct World {
    plan: Plan,
    start: Instant,
    rng: StdRng,
    link: Link,
    receiver: Receiver,
    estimator: Estimator,
    seq: u16,
    arrivals: BTreeMap<(u64, u64), Packet>,
    feedbacks: VecDeque<(u64, Vec<u8>)>,
    /// Packets that wait for the pacer.
    queue: VecDeque<u32>,
    tokens: f64,
    cluster: Option<(ProbeCluster, u32, u32, f64)>,
    next_frame_us: u64,
    layer: usize,
    next_choice_ms: u64,
    raised_ms: u64,
    run: Run,
    sent_bytes: u64,
    arrived_bytes: u64,
}

/// Runs a plan.
pub(crate) fn run(plan: &Plan, seed: u64, start: Instant) -> Run {
    let mut world = World {
        plan: plan.clone(),
        start,
        rng: StdRng::seed_from_u64(seed),
        link: Link::new(plan.link.clone()),
        receiver: Receiver::default(),
        estimator: Estimator::new(start),
        seq: seed as u16,
        arrivals: BTreeMap::new(),
        feedbacks: VecDeque::new(),
        queue: VecDeque::new(),
        tokens: 0.0,
        cluster: None,
        next_frame_us: 0,
        layer: 0,
        next_choice_ms: 0,
        raised_ms: 0,
        run: Run {
            samples: Vec::new(),
            waits_us: Vec::new(),
            sent_ms: Vec::new(),
            overflowed_ms: Vec::new(),
            padding_bytes: 0,
            sent_bytes: 0,
            memory_bytes: 0,
        },
        sent_bytes: 0,
        arrived_bytes: 0,
    };
    for ms in 0..plan.length_ms {
        world.step(ms);
    }
    world.run.waits_us = std::mem::take(&mut world.link.waits_us);
    world.run.overflowed_ms = std::mem::take(&mut world.link.overflowed_ms);
    world.run.memory_bytes = world.estimator.memory_bytes();
    world.run
}

impl World {
    fn step(&mut self, ms: u64) {
        let now = self.start + Duration::from_millis(ms);
        self.hear(ms, now);
        if self.estimator.poll_timeout().is_some_and(|at| at <= now) {
            self.estimator.handle_timeout(now);
        }
        self.choose(ms);
        self.make_frames(ms);
        if ms.is_multiple_of(AUDIO_INTERVAL_MS) {
            self.send(AUDIO_BYTES, Purpose::Audio, ms);
        }
        self.probe(ms, now);
        self.pace(ms);
        self.arrive(ms);
        if ms.is_multiple_of(50) {
            self.sample(ms);
        }
    }

    fn hear(&mut self, ms: u64, now: Instant) {
        while self.feedbacks.front().is_some_and(|(at, _)| *at <= ms) {
            let Some((_, datagram)) = self.feedbacks.pop_front() else {
                break;
            };
            for packet in rtcp::packets(&datagram) {
                let Ok(Rtcp::TransportFeedback(feedback)) = packet else {
                    panic!("our own feedback is read: {packet:?}")
                };
                self.estimator.feedback(&feedback, now);
            }
        }
    }

    /// What the source sends now, in bits per second; sound is apart.
    fn video_bps(&self, ms: u64) -> u64 {
        if self
            .plan
            .mute
            .is_some_and(|(from, to)| (from..to).contains(&ms))
        {
            return 0;
        }
        let audio = u64::from(AUDIO_BYTES) * 8 * 1_000 / AUDIO_INTERVAL_MS;
        match &self.plan.source {
            Source::Elastic(most) => {
                (self.estimator.target().as_bps().min(*most)).saturating_sub(audio)
            }
            Source::Layered(layers) => self.layer.checked_sub(1).map_or(0, |layer| layers[layer]),
        }
    }

    fn choose(&mut self, ms: u64) {
        let Source::Layered(layers) = &self.plan.source else {
            return;
        };
        let estimate = self.estimator.estimate().as_bps().saturating_sub(48_000);
        let fits = layers.iter().filter(|bps| **bps <= estimate).count();
        let rises = layers
            .iter()
            .filter(|bps| **bps * 115 / 100 <= estimate)
            .count();
        if fits < self.layer {
            self.layer = fits;
            self.raised_ms = ms;
        }
        if ms >= self.next_choice_ms {
            self.next_choice_ms = ms + 500;
            if rises > self.layer {
                self.layer = rises;
            }
        }
    }

    fn make_frames(&mut self, ms: u64) {
        while self.next_frame_us < (ms + 1) * 1_000 {
            self.next_frame_us += FRAME_INTERVAL_US;
            let mean = self.video_bps(ms) as f64 * FRAME_INTERVAL_US as f64 / 8e6;
            let mut bytes = (mean * self.rng.random_range(0.7..1.3)) as u32;
            while bytes > 0 {
                let packet = bytes.min(PACKET_BYTES);
                self.queue.push_back(packet.max(60));
                bytes -= packet;
            }
        }
    }

    fn probe(&mut self, ms: u64, now: Instant) {
        if self.cluster.is_some() {
            return;
        }
        let demand = match &self.plan.source {
            Source::Elastic(most) => *most,
            Source::Layered(layers) => layers
                .get(self.layer)
                .map_or(0, |bps| bps * 115 / 100 + 48_000),
        };
        if self
            .plan
            .mute
            .is_some_and(|(from, to)| (from..to).contains(&ms))
        {
            return;
        }
        if let Some(cluster) = self.estimator.probe_wanted(Bitrate::bps(demand), now) {
            self.cluster = Some((cluster, 0, 0, 0.0));
        }
    }

    fn pace(&mut self, ms: u64) {
        if let Some((cluster, mut bytes, mut packets, mut tokens)) = self.cluster {
            tokens += cluster.rate.as_bps() as f64 / 8_000.0;
            while tokens > 0.0 && (bytes < cluster.bytes || packets < cluster.packets) {
                let size = match self.queue.pop_front() {
                    Some(size) => {
                        self.send(size, Purpose::Video, ms);
                        size
                    }
                    None => {
                        self.run.padding_bytes += u64::from(PADDING_BYTES);
                        self.send(PADDING_BYTES, Purpose::Probe, ms);
                        PADDING_BYTES
                    }
                };
                tokens -= f64::from(size);
                bytes += size;
                packets += 1;
            }
            let is_done = bytes >= cluster.bytes && packets >= cluster.packets;
            self.cluster = (!is_done).then_some((cluster, bytes, packets, tokens));
            return;
        }
        let rate = self.estimator.target().as_bps() as f64 * 2.5;
        self.tokens = (self.tokens + rate / 8_000.0).min(rate / 8_000.0 * 5.0);
        while self.tokens > 0.0 {
            let Some(bytes) = self.queue.pop_front() else {
                break;
            };
            self.tokens -= f64::from(bytes);
            self.send(bytes, Purpose::Video, ms);
        }
    }

    fn send(&mut self, bytes: u32, purpose: Purpose, ms: u64) {
        let now = self.start + Duration::from_millis(ms);
        self.estimator.sent(self.seq, bytes as usize, purpose, now);
        self.link.send(Packet {
            seq: self.seq,
            bytes,
            sent_us: ms * 1_000,
        });
        self.seq = self.seq.wrapping_add(1);
        self.sent_bytes += u64::from(bytes);
        self.run.sent_bytes += u64::from(bytes);
        self.run.sent_ms.push(ms);
    }

    fn arrive(&mut self, ms: u64) {
        let arrivals = &mut self.arrivals;
        let mut count = arrivals.len() as u64;
        self.link.step(ms, &mut self.rng, |packet, at_us| {
            count += 1;
            arrivals.insert((at_us, u64::from(packet.seq) << 16 | count), packet);
        });
        while let Some(entry) = self.arrivals.first_entry() {
            if entry.key().0 >= (ms + 1) * 1_000 {
                break;
            }
            let at_us = entry.key().0;
            let packet = entry.remove();
            // The receiver's clock began at another time.
            self.receiver.receive(packet.seq, at_us + 987_654_321);
            self.arrived_bytes += u64::from(packet.bytes);
        }
        if ms % self.plan.feedback_ms == self.plan.feedback_ms / 2 {
            let in_gap = self
                .plan
                .feedback_gap
                .is_some_and(|(from, to)| (from..to).contains(&ms));
            let is_lost = self.rng.random_bool(self.plan.feedback_loss);
            if let Some(feedback) = self.receiver.feedback()
                && !in_gap
                && !is_lost
            {
                let back = ms + self.link.plan().one_way_us / 1_000;
                self.feedbacks.push_back((back, feedback));
            }
        }
    }

    fn sample(&mut self, ms: u64) {
        self.run.samples.push(Sample {
            ms,
            capacity: self.link.plan().capacity_at(ms),
            estimate: self.estimator.estimate().as_bps(),
            sent_bytes: std::mem::take(&mut self.sent_bytes),
            arrived_bytes: std::mem::take(&mut self.arrived_bytes),
            layer: self.layer,
        });
    }
}
