//! Senders, a link that they share, receivers, and a clock that is ours.

use std::collections::BTreeMap;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::flow::Flow;
use crate::link::{Link, LinkPlan, Load, Packet};
use crate::tcp::{ACK_BYTES, SEGMENT_BYTES, Tcp, TcpPlan};

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

/// One receiver's media.
#[derive(Clone, Debug)]
pub(crate) struct FlowPlan {
    pub(crate) source: Source,
    pub(crate) start_ms: u64,
    pub(crate) feedback_ms: u64,
    /// Share of the feedback that is lost.
    pub(crate) feedback_loss: f64,
    /// Nothing is sent back in these milliseconds.
    pub(crate) feedback_gap: Option<(u64, u64)>,
    /// No video is sent in these milliseconds.
    pub(crate) mute: Option<(u64, u64)>,
    /// Beyond the link it is so much farther to this receiver, each way.
    pub(crate) farther_us: u64,
    /// It goes the other way: over the link back.
    pub(crate) is_backward: bool,
}

/// A whole experiment.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) link: LinkPlan,
    /// The link back, where feedback and media that go that way share one with a limit.
    pub(crate) back: Option<LinkPlan>,
    pub(crate) flows: Vec<FlowPlan>,
    pub(crate) tcp: Vec<TcpPlan>,
    /// The receivers' machine stands still now and then.
    pub(crate) receiver_stalls: Option<Stalls>,
    /// The sender's machine stands still now and then, between taking the time and sending.
    pub(crate) sender_stalls: Option<Stalls>,
    pub(crate) length_ms: u64,
}

impl Plan {
    pub(crate) fn new(name: &'static str, link: LinkPlan, length_secs: u64) -> Self {
        Self {
            name,
            link,
            back: None,
            flows: vec![FlowPlan {
                source: Source::Elastic(12_000_000),
                start_ms: 0,
                feedback_ms: 50,
                feedback_loss: 0.0,
                feedback_gap: None,
                mute: None,
                farther_us: 0,
                is_backward: false,
            }],
            tcp: Vec::new(),
            receiver_stalls: None,
            sender_stalls: None,
            length_ms: length_secs * 1_000,
        }
    }

    /// The only flow, or the first.
    pub(crate) fn flow(&mut self) -> &mut FlowPlan {
        &mut self.flows[0]
    }

    /// As many flows as there are changes to the first.
    pub(crate) fn with_flows(
        mut self,
        change: impl Fn(usize, &mut FlowPlan),
        count: usize,
    ) -> Self {
        let first = self.flows[0].clone();
        self.flows = (0..count)
            .map(|n| {
                let mut flow = first.clone();
                change(n, &mut flow);
                flow
            })
            .collect();
        self
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
    /// Of the first flow.
    pub(crate) samples: Vec<Sample>,
    /// Of every flow.
    pub(crate) flows: Vec<Flow>,
    pub(crate) waits_us: Vec<(u64, u64)>,
    pub(crate) sent_ms: Vec<u64>,
    pub(crate) overflowed_ms: Vec<u64>,
    /// What arrived of downloads, by the ends of seconds.
    pub(crate) tcp_bytes: Vec<u64>,
}

struct World {
    plan: Plan,
    rng: StdRng,
    link: Link,
    back: Option<Link>,
    flows: Vec<Flow>,
    tcp: Vec<Tcp>,
    /// What arrives when: by time, and then in the order of arrival.
    arrivals: BTreeMap<(u64, u64), Packet>,
    arrived: u64,
    receiver_host: Host,
    sender_host: Host,
    /// Sent by a machine that stands still.
    held: Vec<Packet>,
    /// Kept for its capacity.
    out: Vec<Packet>,
    tcp_bytes: Vec<u64>,
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

/// Runs a plan.
pub(crate) fn run(plan: &Plan, seed: u64, start: Instant) -> Run {
    let flow = |(number, flow)| Flow::new(number, flow, start, seed);
    let mut world = World {
        plan: plan.clone(),
        rng: StdRng::seed_from_u64(seed),
        link: Link::new(plan.link.clone()),
        back: plan.back.clone().map(Link::new),
        flows: plan.flows.iter().enumerate().map(flow).collect(),
        tcp: plan.tcp.iter().map(|plan| Tcp::new(*plan)).collect(),
        arrivals: BTreeMap::new(),
        arrived: 0,
        receiver_host: Host::default(),
        sender_host: Host::default(),
        held: Vec::new(),
        out: Vec::new(),
        tcp_bytes: Vec::new(),
    };
    for ms in 0..plan.length_ms {
        world.step(ms);
    }
    Run {
        samples: world.flows[0].samples.clone(),
        sent_ms: world
            .flows
            .iter()
            .flat_map(|flow| flow.sent_ms.clone())
            .collect(),
        flows: world.flows,
        waits_us: world.link.waits_us,
        overflowed_ms: world.link.overflowed_ms,
        tcp_bytes: world.tcp_bytes,
    }
}

impl World {
    fn step(&mut self, ms: u64) {
        self.receiver_host
            .step(self.plan.receiver_stalls, ms, &mut self.rng);
        self.sender_host
            .step(self.plan.sender_stalls, ms, &mut self.rng);
        self.release(ms);
        let mut out = std::mem::take(&mut self.out);
        for flow in &mut self.flows {
            flow.step(ms, &mut self.rng, &mut out);
        }
        for packet in out.drain(..) {
            if self.sender_host.is_stalled {
                self.held.push(packet);
            } else {
                self.send(packet);
            }
        }
        self.out = out;
        self.download(ms);
        self.pass(ms);
        self.arrive(ms);
        self.report(ms);
        if ms.is_multiple_of(50) {
            let capacity = self.link.plan().capacity_at(ms);
            for flow in &mut self.flows {
                flow.sample(ms, capacity);
            }
        }
        if ms % 1_000 == 999 {
            self.tcp_bytes
                .push(self.tcp.iter().map(|tcp| tcp.arrived_bytes).sum());
        }
    }

    /// Puts a packet on the link that leads its way.
    fn send(&mut self, packet: Packet) {
        let is_backward = match packet.load {
            Load::Media { flow, .. } => self.plan.flows[flow].is_backward,
            Load::Feedback { flow, .. } => !self.plan.flows[flow].is_backward,
            Load::Tcp { .. } => false,
            Load::Ack { .. } => true,
        };
        match (&mut self.back, is_backward) {
            (Some(back), true) => back.send(packet),
            (None, true) => self.fly(packet),
            (_, false) => self.link.send(packet),
        }
    }

    /// A way without a limit.
    fn fly(&mut self, packet: Packet) {
        let at_us = packet.sent_us + self.link.plan().one_way_us;
        self.land(packet, at_us);
    }

    /// It has left the link, and arrives a while later.
    fn land(&mut self, packet: Packet, at_us: u64) {
        let farther_us = match packet.load {
            Load::Media { flow, .. } | Load::Feedback { flow, .. } => {
                self.plan.flows[flow].farther_us
            }
            Load::Tcp { .. } | Load::Ack { .. } => 0,
        };
        self.arrived += 1;
        self.arrivals
            .insert((at_us + farther_us, self.arrived), packet);
    }

    /// What was to be sent while the machine stood still leaves now.
    fn release(&mut self, ms: u64) {
        if !self.sender_host.is_stalled {
            for packet in std::mem::take(&mut self.held) {
                let sent_us = ms * 1_000;
                self.send(Packet { sent_us, ..packet });
            }
        }
    }

    fn download(&mut self, ms: u64) {
        for flow in 0..self.tcp.len() {
            for seq in self.tcp[flow].send(ms, &mut self.rng) {
                self.link.send(Packet {
                    load: Load::Tcp { flow, seq },
                    bytes: SEGMENT_BYTES,
                    sent_us: ms * 1_000,
                });
            }
        }
    }

    /// Lets the links work for a millisecond.
    fn pass(&mut self, ms: u64) {
        let mut passed = Vec::new();
        self.link.step(ms, &mut self.rng, |packet, at_us| {
            passed.push((packet, at_us));
        });
        if let Some(back) = &mut self.back {
            back.step(ms, &mut self.rng, |packet, at_us| {
                passed.push((packet, at_us));
            });
        }
        for (packet, at_us) in passed {
            self.land(packet, at_us);
        }
    }

    fn arrive(&mut self, ms: u64) {
        let mut stays = Vec::new();
        while let Some(entry) = self.arrivals.first_entry() {
            if entry.key().0 >= (ms + 1) * 1_000 {
                break;
            }
            let key = *entry.key();
            let packet = entry.remove();
            // What came while the machine stood still is only seen now.
            let at_us = key.0.max(ms * 1_000);
            match packet.load {
                Load::Media { .. } if self.receiver_host.is_stalled => stays.push((key, packet)),
                Load::Media { flow, seq, part } => {
                    self.flows[flow].arrive(seq, part, packet.bytes, at_us);
                }
                Load::Feedback { flow, place } => self.flows[flow].hear(place, ms),
                Load::Tcp { flow, seq } => {
                    self.tcp[flow].arrived_bytes += u64::from(packet.bytes);
                    self.send(Packet {
                        load: Load::Ack { flow, seq },
                        bytes: ACK_BYTES,
                        sent_us: at_us,
                    });
                }
                Load::Ack { flow, seq } => self.tcp[flow].acknowledged(seq, ms),
            }
        }
        self.arrivals.extend(stays);
    }

    /// Receivers tell what arrived, and what they lack.
    fn report(&mut self, ms: u64) {
        if self.receiver_host.is_stalled {
            return;
        }
        let back_ms = self.link.plan().one_way_us / 1_000;
        for number in 0..self.flows.len() {
            let flow = &mut self.flows[number];
            let heard_ms = ms + back_ms + flow.plan().farther_us / 1_000;
            flow.wish(ms, heard_ms);
            if ms < flow.feedback_at_ms {
                continue;
            }
            flow.feedback_at_ms += flow.plan().feedback_ms;
            let in_gap = flow
                .plan()
                .feedback_gap
                .is_some_and(|(from, to)| (from..to).contains(&ms));
            let is_lost = self.rng.random_bool(flow.plan().feedback_loss);
            let Some(feedback) = flow.receiver.feedback().filter(|_| !in_gap && !is_lost) else {
                continue;
            };
            let bytes = feedback.len() as u32;
            flow.feedbacks.push(feedback);
            let place = flow.feedbacks.len() - 1;
            self.send(Packet {
                load: Load::Feedback {
                    flow: number,
                    place,
                },
                bytes,
                sent_us: ms * 1_000,
            });
        }
    }
}
