//! A bottleneck: a queue that is emptied at a rate, a way with a delay, and bad luck.

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::{Rng, RngExt};

/// A packet on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    pub(crate) load: Load,
    pub(crate) bytes: u32,
    pub(crate) sent_us: u64,
}

/// What a packet carries, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// Something of a media flow, by its transport-wide number; a picture's part, if it is one.
    Media {
        flow: usize,
        seq: u16,
        part: Option<Part>,
    },
    /// A feedback of a media flow, by its place among all of them.
    Feedback { flow: usize, place: usize },
    /// Of a TCP flow.
    Tcp { flow: usize, seq: u64 },
    /// Its acknowledgement.
    Ack { flow: usize, seq: u64 },
}

/// A packet of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) camera: usize,
    /// Numbers follow each other, as in RTP.
    pub(crate) number: u64,
    pub(crate) bytes: u32,
    pub(crate) begins: bool,
    pub(crate) ends: bool,
    pub(crate) is_key: bool,
    /// Sent once more, as it was lost.
    pub(crate) is_again: bool,
}

/// How a link treats packets.
#[derive(Clone, Debug)]
pub(crate) struct LinkPlan {
    /// From a moment on (in milliseconds), so many bits per second.
    pub(crate) capacity: Vec<(u64, u64)>,
    pub(crate) one_way_us: u64,
    /// A packet that would wait longer than this is dropped.
    pub(crate) queue_us: u64,
    /// The share of packets that is lost by no fault of the sender.
    pub(crate) loss: f64,
    /// Losses come in bursts of this mean length.
    pub(crate) loss_burst: f64,
    /// Added to the way of each packet, up to this; packets keep their order.
    pub(crate) jitter_us: u64,
    /// The share of packets that is delayed on its own, and by how much: they are overtaken.
    pub(crate) reordered: (f64, u64),
    /// The share of packets that arrive twice.
    pub(crate) duplicated: f64,
}

impl LinkPlan {
    pub(crate) fn steady(bps: u64) -> Self {
        Self::changing(&[(0, bps)])
    }

    pub(crate) fn changing(capacity: &[(u64, u64)]) -> Self {
        Self {
            capacity: capacity.to_vec(),
            one_way_us: 50_000,
            queue_us: 300_000,
            loss: 0.0,
            loss_burst: 1.0,
            jitter_us: 0,
            reordered: (0.0, 0),
            duplicated: 0.0,
        }
    }

    pub(crate) fn capacity_at(&self, ms: u64) -> u64 {
        let now = self.capacity.iter().rfind(|(from, _)| *from <= ms);
        now.map_or(0, |(_, bps)| *bps)
    }
}

/// A link at work, in steps of a millisecond.
pub(crate) struct Link {
    plan: LinkPlan,
    queue: VecDeque<Packet>,
    queued_bits: u64,
    /// Bits of the first packet that have passed already.
    passed_bits: u64,
    in_burst: bool,
    last_arrival_us: u64,
    pub(crate) overflowed_ms: Vec<u64>,
    /// The queue as each packet found it, with when it came, in microseconds.
    pub(crate) waits_us: Vec<(u64, u64)>,
}

impl Link {
    pub(crate) fn new(plan: LinkPlan) -> Self {
        Self {
            plan,
            queue: VecDeque::new(),
            queued_bits: 0,
            passed_bits: 0,
            in_burst: false,
            last_arrival_us: 0,
            overflowed_ms: Vec::new(),
            waits_us: Vec::new(),
        }
    }

    pub(crate) fn plan(&self) -> &LinkPlan {
        &self.plan
    }

    pub(crate) fn send(&mut self, packet: Packet) {
        let ms = packet.sent_us / 1_000;
        let bps = self.plan.capacity_at(ms);
        let wait_us = match bps {
            0 => self.queued_bits * 1_000_000 / 1_000_000,
            bps => (self.queued_bits - self.passed_bits) * 1_000_000 / bps,
        };
        if wait_us > self.plan.queue_us {
            self.overflowed_ms.push(ms);
            return;
        }
        self.waits_us.push((ms, wait_us));
        self.queued_bits += u64::from(packet.bytes) * 8;
        self.queue.push_back(packet);
    }

    /// Lets a millisecond pass; what arrives is handed out with its time of arrival.
    pub(crate) fn step(&mut self, ms: u64, rng: &mut StdRng, mut arrive: impl FnMut(Packet, u64)) {
        let bps = self.plan.capacity_at(ms);
        let mut budget_bits = bps / 1_000;
        let whole_bits = budget_bits;
        while let Some(first) = self.queue.front() {
            let missing = u64::from(first.bytes) * 8 - self.passed_bits;
            if missing > budget_bits {
                self.passed_bits += budget_bits;
                break;
            }
            budget_bits -= missing;
            let packet = *first;
            self.queue.pop_front();
            self.queued_bits -= u64::from(packet.bytes) * 8;
            self.passed_bits = 0;
            if self.is_lost(rng) {
                continue;
            }
            let spent = (whole_bits - budget_bits) * 1_000 / whole_bits.max(1);
            let leaves_us = (ms * 1_000 + spent).max(packet.sent_us);
            let at_us = self.arrival(leaves_us, rng);
            arrive(packet, at_us);
            if rng.random_bool(self.plan.duplicated) {
                arrive(packet, at_us + 500);
            }
        }
    }

    fn arrival(&mut self, leaves_us: u64, rng: &mut StdRng) -> u64 {
        let mut at_us = leaves_us + self.plan.one_way_us;
        if self.plan.jitter_us > 0 {
            at_us += rng.random_range(0..self.plan.jitter_us);
            at_us = at_us.max(self.last_arrival_us + 1);
            self.last_arrival_us = at_us;
        }
        let (share, by_us) = self.plan.reordered;
        if rng.random_bool(share) {
            at_us += rng.random_range(by_us / 2..=by_us);
        }
        at_us
    }

    /// Gilbert's model: a good state without losses, a bad one with nothing else.
    fn is_lost(&mut self, rng: &mut StdRng) -> bool {
        if self.plan.loss == 0.0 {
            return false;
        }
        let leave = 1.0 / self.plan.loss_burst;
        let enter = (leave * self.plan.loss / (1.0 - self.plan.loss)).min(1.0);
        let turns = if self.in_burst { leave } else { enter };
        if rng.next_u32() as f64 / f64::from(u32::MAX) < turns {
            self.in_burst = !self.in_burst;
        }
        self.in_burst
    }
}
