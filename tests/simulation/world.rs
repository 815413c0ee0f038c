//! One sender, one link, one receiver, and a clock that is ours.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use plenum::engine::allocation::{Choice, SlotDemand, allocate};
use plenum::engine::bitrate::Bitrate;
use plenum::engine::estimate::{Estimator, Moved, ProbeCluster, Purpose};
use plenum::engine::event::Kind;
use plenum::engine::rtcp::{self, Packet as Rtcp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::link::{Link, LinkPlan, Packet};
use crate::receiver::Receiver;

/// Size of an audio packet, and the time between two.
const AUDIO_BYTES: u32 = 120;
const AUDIO_INTERVAL_MS: u64 = 20;
const AUDIO_BPS: u64 = AUDIO_BYTES as u64 * 8 * 1_000 / AUDIO_INTERVAL_MS;

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
    /// So many cameras, each with layers of these bitrates, which are chosen as the engine does it.
    Cameras(usize, Vec<u64>),
}

/// A machine whose processor is wanted by others too: it runs for a while, and stands still for a
/// while, and then does everything at once that it has missed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stalls {
    /// How long it runs at the most, in milliseconds.
    pub(crate) runs_ms: u64,
    /// How long it stands still, in milliseconds.
    pub(crate) stalls_ms: (u64, u64),
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
    /// The receiver's machine stands still now and then.
    pub(crate) receiver_stalls: Option<Stalls>,
    /// The sender's machine stands still now and then, between taking the time and sending.
    pub(crate) sender_stalls: Option<Stalls>,
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
            receiver_stalls: None,
            sender_stalls: None,
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
    /// Layers of all cameras together; each counts from one, and is zero while it pauses.
    pub(crate) layer: usize,
    /// Cameras without room.
    pub(crate) paused: usize,
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
    /// Packets that wait: this sender paces, which the server does not.
    queue: VecDeque<u32>,
    tokens: f64,
    cluster: Option<(ProbeCluster, u32, u32, f64)>,
    cameras: Vec<Camera>,
    next_choice_ms: u64,
    /// What the next better layer would take.
    demand: Bitrate,
    receiver_host: Host,
    sender_host: Host,
    /// Sent by a machine that stands still.
    held: Vec<Packet>,
    feedback_at_ms: u64,
    run: Run,
    sent_bytes: u64,
    arrived_bytes: u64,
}

/// One picture that is sent.
#[derive(Clone, Copy, Debug)]
struct Camera {
    next_frame_us: u64,
    /// Counts from one; zero while it pauses.
    layer: usize,
    lowered_ms: Option<u64>,
}

/// Whether a machine stands still.
#[derive(Clone, Copy, Debug, Default)]
struct Host {
    is_stalled: bool,
    until_ms: u64,
}

impl Host {
    fn step(&mut self, stalls: Option<Stalls>, ms: u64, rng: &mut StdRng) {
        let Some(stalls) = stalls else { return };
        if ms < self.until_ms {
            return;
        }
        self.is_stalled = !self.is_stalled;
        let (least, most) = stalls.stalls_ms;
        self.until_ms = ms
            + if self.is_stalled {
                rng.random_range(least..=most)
            } else {
                rng.random_range(1..=stalls.runs_ms)
            };
    }
}

/// Cameras, whose frames are spread over time.
fn cameras(source: &Source) -> Vec<Camera> {
    let count = match source {
        Source::Elastic(_) => 1,
        Source::Cameras(count, _) => *count,
    };
    let place = |n: usize| Camera {
        next_frame_us: n as u64 * FRAME_INTERVAL_US / count as u64,
        layer: 0,
        lowered_ms: None,
    };
    (0..count).map(place).collect()
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
        cameras: cameras(&plan.source),
        next_choice_ms: 0,
        demand: Bitrate::ZERO,
        receiver_host: Host::default(),
        sender_host: Host::default(),
        held: Vec::new(),
        feedback_at_ms: plan.feedback_ms / 2,
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
        self.receiver_host
            .step(self.plan.receiver_stalls, ms, &mut self.rng);
        self.sender_host
            .step(self.plan.sender_stalls, ms, &mut self.rng);
        self.release(ms);
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
                if self.estimator.feedback(&feedback, now) == Moved::Down {
                    self.next_choice_ms = ms;
                }
            }
        }
    }

    /// What a camera sends now, in bits per second; sound is apart.
    fn video_bps(&self, camera: &Camera, ms: u64) -> u64 {
        if self.is_muted(ms) {
            return 0;
        }
        match &self.plan.source {
            Source::Elastic(most) => {
                (self.estimator.target().as_bps().min(*most)).saturating_sub(AUDIO_BPS)
            }
            Source::Cameras(_, layers) => camera.layer.checked_sub(1).map_or(0, |n| layers[n]),
        }
    }

    fn is_muted(&self, ms: u64) -> bool {
        let mute = self.plan.mute;
        mute.is_some_and(|(from, to)| (from..to).contains(&ms))
    }

    /// Chooses layers twice a second, and at once when the estimate has fallen.
    fn choose(&mut self, ms: u64) {
        let Source::Cameras(_, layers) = &self.plan.source else {
            return;
        };
        if ms < self.next_choice_ms {
            return;
        }
        self.next_choice_ms = ms + 500;
        let cost = |bps: &u64| Bitrate::bps(bps * 106 / 100);
        let costs: Vec<Bitrate> = layers.iter().map(cost).collect();
        let voice = [cost(&AUDIO_BPS)];
        let may_pause = self.estimator.may_pause();
        let starves = |camera: &Camera| camera.layer == 0 && ms > 0;
        let is_kept = !may_pause && !self.cameras.iter().any(starves);
        let mut demands: Vec<SlotDemand<'_>> = self
            .cameras
            .iter()
            .enumerate()
            .map(|(slot, camera)| SlotDemand {
                slot: slot as u16,
                kind: Kind::Video,
                priority: 0,
                height: None,
                is_speaker: false,
                current: camera.layer.checked_sub(1),
                may_rise: camera.lowered_ms.is_none_or(|at| ms - at >= 4_000),
                is_kept: is_kept || !may_pause && camera.layer > 0,
                layers: &costs,
            })
            .collect();
        demands.push(SlotDemand {
            slot: u16::MAX,
            kind: Kind::Audio,
            current: Some(0),
            is_kept: true,
            layers: &voice,
            ..demands[0]
        });
        let allocation = allocate(self.estimator.budget(), &demands);
        let headroom = Bitrate::bps(allocation.total.as_bps() * 3 / 2);
        self.demand = allocation.next_step.unwrap_or(headroom);
        for (camera, choice) in self.cameras.iter_mut().zip(&allocation.choices) {
            let layer = match choice {
                Choice::Layer(layer) => layer + 1,
                Choice::Paused | Choice::Nothing => 0,
            };
            if layer < camera.layer {
                camera.lowered_ms = Some(ms);
            }
            camera.layer = layer;
        }
    }

    fn make_frames(&mut self, ms: u64) {
        for place in 0..self.cameras.len() {
            let mut camera = self.cameras[place];
            while camera.next_frame_us < (ms + 1) * 1_000 {
                camera.next_frame_us += FRAME_INTERVAL_US;
                let mean = self.video_bps(&camera, ms) as f64 * FRAME_INTERVAL_US as f64 / 8e6;
                let mut bytes = (mean * self.rng.random_range(0.7..1.3)) as u32;
                while bytes > 0 {
                    let packet = bytes.min(PACKET_BYTES);
                    self.queue.push_back(packet.max(60));
                    bytes -= packet;
                }
            }
            self.cameras[place] = camera;
        }
    }

    fn probe(&mut self, ms: u64, now: Instant) {
        if self.cluster.is_some() {
            return;
        }
        let demand = match &self.plan.source {
            Source::Elastic(most) => *most,
            Source::Cameras(..) => self.demand.as_bps(),
        };
        if self.is_muted(ms) {
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
        let packet = Packet {
            seq: self.seq,
            bytes,
            sent_us: ms * 1_000,
        };
        if self.sender_host.is_stalled {
            self.held.push(packet);
        } else {
            self.link.send(packet);
        }
        self.seq = self.seq.wrapping_add(1);
        self.sent_bytes += u64::from(bytes);
        self.run.sent_bytes += u64::from(bytes);
        self.run.sent_ms.push(ms);
    }

    /// What was to be sent while the machine stood still leaves now.
    fn release(&mut self, ms: u64) {
        if !self.sender_host.is_stalled {
            for packet in self.held.drain(..) {
                let sent_us = ms * 1_000;
                self.link.send(Packet { sent_us, ..packet });
            }
        }
    }

    fn arrive(&mut self, ms: u64) {
        let arrivals = &mut self.arrivals;
        let mut count = arrivals.len() as u64;
        self.link.step(ms, &mut self.rng, |packet, at_us| {
            count += 1;
            arrivals.insert((at_us, u64::from(packet.seq) << 16 | count), packet);
        });
        while let Some(entry) = self.arrivals.first_entry() {
            if entry.key().0 >= (ms + 1) * 1_000 || self.receiver_host.is_stalled {
                break;
            }
            // What came while the machine stood still is only seen now.
            let at_us = entry.key().0.max(ms * 1_000);
            let packet = entry.remove();
            // The receiver's clock began at another time.
            self.receiver.receive(packet.seq, at_us + 987_654_321);
            self.arrived_bytes += u64::from(packet.bytes);
        }
        if ms >= self.feedback_at_ms && !self.receiver_host.is_stalled {
            self.feedback_at_ms += self.plan.feedback_ms;
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
            layer: self.cameras.iter().map(|camera| camera.layer).sum(),
            paused: self
                .cameras
                .iter()
                .filter(|camera| camera.layer == 0)
                .count(),
        });
    }
}
