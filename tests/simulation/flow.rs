//! One receiver's media, and who sends it: the server's own way to a receiver, without the socket.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use plenum::engine::allocation::{Choice, SlotDemand, allocate};
use plenum::engine::bitrate::Bitrate;
use plenum::engine::downlink::Downlink;
use plenum::engine::estimate::Purpose;
use plenum::engine::event::Kind;
use plenum::engine::pacer::{Pacer, Urgency};
use plenum::engine::rtcp::{self, Packet as Rtcp};
use plenum::engine::rtx::RtxLimit;
use rand::RngExt;
use rand::rngs::StdRng;

use crate::link::{Load, Packet, Part};
use crate::picture::{Picture, Wish};
use crate::receiver::Receiver;
use crate::world::{FlowPlan, Sample, Source};

/// Size of an audio packet, and the time between two.
const AUDIO_BYTES: u32 = 120;
const AUDIO_INTERVAL_MS: u64 = 20;
const AUDIO_BPS: u64 = AUDIO_BYTES as u64 * 8 * 1_000 / AUDIO_INTERVAL_MS;

/// Largest packet.
const PACKET_BYTES: u32 = 1_200;

/// Size of a packet of padding, where no picture flows that could be sent again.
const PADDING_BYTES: u32 = 250;

pub(crate) const FRAME_INTERVAL_US: u64 = 33_333;

/// A keyframe is so many times as large as others, and comes so long after it was asked for.
const KEYFRAME_SIZE: f64 = 4.0;
const KEYFRAME_MS: u64 = 80;

/// What costs a layer: as the engine reckons it.
const OVERHEAD_PERCENT: u64 = 106;

/// How long a picture that was lowered stays low, in the engine.
const LOWERED_FOR_MS: u64 = 4_000;

/// What a path carries of which nothing is known yet.
const UNLIMITED: Bitrate = Bitrate::kbps(1_000_000);

/// One picture that is sent.
#[derive(Debug, Default)]
struct Camera {
    next_frame_us: u64,
    /// Counts from one; zero while it pauses.
    layer: usize,
    wanted: usize,
    /// When a keyframe comes that was asked for.
    keyframe_ms: Option<u64>,
    /// Too much of it waits: nothing before that has left, and a keyframe has come.
    is_cut: bool,
    waits_for_keyframe: bool,
    lowered_ms: Option<u64>,
    number: u64,
    /// The newest of its packets that has left.
    left: u64,
    /// The first packet of the layer that flows.
    switched: u64,
    history: BTreeMap<u64, Part>,
    limit: RtxLimit,
}

/// A media flow.
pub(crate) struct Flow {
    number: usize,
    plan: FlowPlan,
    start: Instant,
    pub(crate) downlink: Downlink,
    pacer: Pacer<Part>,
    cameras: Vec<Camera>,
    pub(crate) receiver: Receiver,
    pub(crate) pictures: Vec<Picture>,
    seq: u16,
    /// Wishes of the viewer on their way, by when they arrive: cameras and packets, or keyframes.
    wishes: VecDeque<(u64, usize, Option<u64>)>,
    pub(crate) feedbacks: Vec<Vec<u8>>,
    pub(crate) feedback_at_ms: u64,
    /// Since the last sample.
    sent_bytes: u64,
    pub(crate) arrived_bytes: u64,
    pub(crate) padding_bytes: u64,
    pub(crate) total_bytes: u64,
    pub(crate) sent_ms: Vec<u64>,
    pub(crate) audio_sent: u64,
    pub(crate) audio_arrived: u64,
    pub(crate) samples: Vec<Sample>,
}

impl Flow {
    pub(crate) fn new(number: usize, plan: &FlowPlan, start: Instant, seed: u64) -> Self {
        let count = match &plan.source {
            Source::Elastic(_) => 1,
            Source::Cameras(count, _) => *count,
        };
        let camera = |n: usize| Camera {
            // Cameras' frames are spread over time.
            next_frame_us: plan.start_ms * 1_000 + n as u64 * FRAME_INTERVAL_US / count as u64,
            keyframe_ms: Some(plan.start_ms),
            ..Camera::default()
        };
        Self {
            number,
            plan: plan.clone(),
            start,
            downlink: Downlink::default(),
            pacer: Pacer::default(),
            cameras: (0..count).map(camera).collect(),
            receiver: Receiver::default(),
            pictures: (0..count).map(|_| Picture::default()).collect(),
            seq: seed as u16,
            wishes: VecDeque::new(),
            feedbacks: Vec::new(),
            feedback_at_ms: plan.start_ms + plan.feedback_ms / 2,
            sent_bytes: 0,
            arrived_bytes: 0,
            padding_bytes: 0,
            total_bytes: 0,
            sent_ms: Vec::new(),
            audio_sent: 0,
            audio_arrived: 0,
            samples: Vec::new(),
        }
    }

    pub(crate) fn plan(&self) -> &FlowPlan {
        &self.plan
    }

    fn now(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    /// A feedback has come back.
    pub(crate) fn hear(&mut self, place: usize, ms: u64) {
        let datagram = std::mem::take(&mut self.feedbacks[place]);
        for packet in rtcp::packets(&datagram) {
            let Ok(Rtcp::TransportFeedback(feedback)) = packet else {
                panic!("our own feedback is read: {packet:?}")
            };
            self.downlink.feedback(&feedback, self.now(ms));
        }
    }

    /// The viewer asks for what lacks; it is heard a while later.
    pub(crate) fn wish(&mut self, ms: u64, heard_ms: u64) {
        for (camera, picture) in self.pictures.iter_mut().enumerate() {
            for wish in picture.wishes(ms) {
                let number = match wish {
                    Wish::Again(number) => Some(number),
                    Wish::Keyframe => None,
                };
                self.wishes.push_back((heard_ms, camera, number));
            }
        }
    }

    /// Does what a shard does for one session in this millisecond.
    pub(crate) fn step(&mut self, ms: u64, rng: &mut StdRng, out: &mut Vec<Packet>) {
        if ms < self.plan.start_ms {
            return;
        }
        let now = self.now(ms);
        if ms == self.plan.start_ms {
            self.choose(ms);
        }
        if self.downlink.deadline().is_some_and(|at| at <= now) {
            if self.downlink.handle_timeout(now) {
                self.choose(ms);
                self.downlink.poll_probe(now);
            }
            self.probe(ms, out);
        }
        self.pacer.set_way(self.downlink.way());
        if self.pacer.is_due(now) {
            while let Some(part) = self.pacer.release(now) {
                self.send_part(part, ms, out);
            }
        }
        self.mend(ms);
        self.grant_wishes(ms, out);
        self.make_frames(ms, rng, out);
        if ms.is_multiple_of(AUDIO_INTERVAL_MS) {
            self.audio_sent += 1;
            self.send(AUDIO_BYTES, Purpose::Audio, None, ms, out);
        }
    }

    /// What a camera sends now, in bits per second; sound is apart.
    fn video_bps(&self, layer: usize, ms: u64) -> u64 {
        if self.is_muted(ms) {
            return 0;
        }
        match &self.plan.source {
            Source::Elastic(most) => {
                let target = self.downlink.target(self.now(ms));
                let target = target.map_or(300_000, Bitrate::as_bps);
                target.min(*most).saturating_sub(AUDIO_BPS)
            }
            Source::Cameras(_, layers) => layer.checked_sub(1).map_or(0, |n| layers[n]),
        }
    }

    fn is_muted(&self, ms: u64) -> bool {
        let mute = self.plan.mute;
        mute.is_some_and(|(from, to)| (from..to).contains(&ms))
    }

    /// Chooses layers, as the engine does it.
    fn choose(&mut self, ms: u64) {
        let layers = match &self.plan.source {
            Source::Cameras(_, layers) => layers.clone(),
            Source::Elastic(most) => {
                // It takes whatever there is.
                let wants = if self.is_muted(ms) { 0 } else { *most };
                self.downlink
                    .shared(Bitrate::ZERO, Some(Bitrate::bps(wants)));
                return;
            }
        };
        let cost = |bps: &u64| Bitrate::bps(bps * OVERHEAD_PERCENT / 100);
        let costs: Vec<Bitrate> = layers.iter().map(cost).collect();
        let voice = [cost(&AUDIO_BPS)];
        let may_pause = self.downlink.may_pause();
        let starves = |camera: &Camera| camera.wanted == 0 && ms > self.plan.start_ms;
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
                may_rise: camera.lowered_ms.is_none_or(|at| ms - at >= LOWERED_FOR_MS),
                is_kept: is_kept || !may_pause && camera.wanted > 0,
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
        let estimate = self.downlink.estimate(self.now(ms));
        let allocation = allocate(estimate.unwrap_or(UNLIMITED), &demands);
        self.downlink.shared(allocation.total, allocation.next_step);
        let is_broken_down = self.downlink.is_broken_down();
        for (place, choice) in allocation
            .choices
            .iter()
            .take(self.cameras.len())
            .enumerate()
        {
            let camera = &mut self.cameras[place];
            let layer = match choice {
                Choice::Layer(layer) => layer + 1,
                Choice::Paused | Choice::Nothing => 0,
            };
            camera.want(layer, ms);
            // What flows ends here where the path has broken down under it.
            if is_broken_down && layer > 0 && layer < camera.layer {
                camera.waits_for_keyframe = true;
                self.withdraw(place);
            }
        }
    }

    fn make_frames(&mut self, ms: u64, rng: &mut StdRng, out: &mut Vec<Packet>) {
        for place in 0..self.cameras.len() {
            while self.cameras[place].next_frame_us < (ms + 1) * 1_000 {
                self.cameras[place].next_frame_us += FRAME_INTERVAL_US;
                let is_elastic = matches!(self.plan.source, Source::Elastic(_));
                let is_key = self.cameras[place].begin_frame(ms, is_elastic);
                let layer = self.cameras[place].layer;
                let bps = self.video_bps(layer, ms) as f64;
                let mut mean = bps * FRAME_INTERVAL_US as f64 / 8e6;
                if is_key && !is_elastic {
                    mean *= KEYFRAME_SIZE;
                }
                let bytes = (mean * rng.random_range(0.7..1.3)) as u32;
                let waits = &mut self.cameras[place].waits_for_keyframe;
                *waits &= !is_key;
                if bytes > 0 && !*waits && !self.cameras[place].is_cut {
                    self.send_frame(place, bytes, is_key, ms, out);
                }
            }
        }
    }

    fn send_frame(
        &mut self,
        place: usize,
        bytes: u32,
        is_key: bool,
        ms: u64,
        out: &mut Vec<Packet>,
    ) {
        let now = self.now(ms);
        let mut left = bytes;
        while left > 0 {
            let packet = left.min(PACKET_BYTES);
            let camera = &mut self.cameras[place];
            camera.number += 1;
            let part = Part {
                camera: place,
                number: camera.number,
                bytes: packet.max(60),
                begins: left == bytes,
                ends: left == packet,
                is_key,
                is_again: false,
            };
            camera.remember(part);
            left -= packet;
            if part.is_key && part.ends {
                self.pacer.note_start(now);
            }
            let bytes = part.bytes as usize;
            match self.pacer.admit(part, bytes, Urgency::Picture, now) {
                Some(part) => self.send_part(part, ms, out),
                None if part.ends && self.pacer.is_overfull(now) => {
                    self.cameras[place].is_cut = true;
                    if !self.pacer.holds(|part| part.camera == place && part.is_key) {
                        self.withdraw(place);
                    }
                    self.mend(ms);
                }
                None => {}
            }
        }
    }

    /// Pictures that were cut off go on with keyframes once nothing waits.
    fn mend(&mut self, ms: u64) {
        let is_cut = self.cameras.iter().any(|camera| camera.is_cut);
        if !is_cut || self.pacer.waiting_bytes() > 0 {
            return;
        }
        self.choose(ms);
        for camera in &mut self.cameras {
            if std::mem::take(&mut camera.is_cut) {
                camera.keyframe_ms = Some(ms + KEYFRAME_MS);
                camera.waits_for_keyframe = true;
            }
        }
    }

    /// What waits of a picture is not sent, and what comes next takes its numbers.
    fn withdraw(&mut self, place: usize) {
        self.pacer.withdraw(|part| part.camera == place);
        let camera = &mut self.cameras[place];
        camera.number = camera.left;
    }

    fn grant_wishes(&mut self, ms: u64, out: &mut Vec<Packet>) {
        let now = self.now(ms);
        while self.wishes.front().is_some_and(|(at, ..)| *at <= ms) {
            let Some((_, place, number)) = self.wishes.pop_front() else {
                return;
            };
            let camera = &mut self.cameras[place];
            let Some(number) = number else {
                camera.ask_for_keyframe(ms);
                continue;
            };
            let Some(part) = camera.history.get(&number).copied() else {
                continue;
            };
            let bytes = part.bytes as usize;
            let is_lowered = camera.lowered_ms.is_some_and(|at| ms - at < LOWERED_FOR_MS);
            let has_given_way = is_lowered && camera.layer == camera.wanted;
            if number < camera.switched
                || !camera.limit.allow(number, bytes, None, now)
                || !self.downlink.may_repeat(bytes, has_given_way, now)
            {
                continue;
            }
            let part = Part {
                is_again: true,
                ..part
            };
            if let Some(part) = self.pacer.admit(part, bytes, Urgency::Again, now) {
                self.send_part(part, ms, out);
            }
        }
    }

    /// Sends what a probe lacks: packets of the newest picture once more, or padding.
    fn probe(&mut self, ms: u64, out: &mut Vec<Packet>) {
        let waiting = self.pacer.waiting_bytes();
        let mut missing = self.downlink.probe_bytes(waiting, self.now(ms));
        let is_muted = self.is_muted(ms);
        while missing > 0 {
            let flows = self
                .cameras
                .iter()
                .find(|camera| !camera.history.is_empty());
            let bytes = match flows {
                Some(_) if !is_muted => PACKET_BYTES,
                _ => PADDING_BYTES,
            };
            missing = missing.saturating_sub(bytes.into());
            self.padding_bytes += u64::from(bytes);
            self.send(bytes, Purpose::Probe, None, ms, out);
        }
    }

    fn send_part(&mut self, part: Part, ms: u64, out: &mut Vec<Packet>) {
        let purpose = if part.is_again {
            Purpose::Retransmission
        } else {
            let camera = &mut self.cameras[part.camera];
            camera.limit.sent(part.bytes as usize);
            camera.left = camera.left.max(part.number);
            Purpose::Video
        };
        self.send(part.bytes, purpose, Some(part), ms, out);
    }

    fn send(
        &mut self,
        bytes: u32,
        purpose: Purpose,
        part: Option<Part>,
        ms: u64,
        out: &mut Vec<Packet>,
    ) {
        let now = self.now(ms);
        self.pacer.spend(bytes as usize);
        self.downlink.sent(self.seq, bytes as usize, purpose, now);
        out.push(Packet {
            load: Load::Media {
                flow: self.number,
                seq: self.seq,
                part,
            },
            bytes,
            sent_us: ms * 1_000,
        });
        self.seq = self.seq.wrapping_add(1);
        self.sent_bytes += u64::from(bytes);
        self.total_bytes += u64::from(bytes);
        self.sent_ms.push(ms);
    }

    /// A packet arrives at the viewer, whose clock began at another time.
    pub(crate) fn arrive(&mut self, seq: u16, part: Option<Part>, bytes: u32, at_us: u64) {
        self.receiver.receive(seq, at_us + 987_654_321);
        self.arrived_bytes += u64::from(bytes);
        self.audio_arrived += u64::from(part.is_none() && bytes == AUDIO_BYTES);
        if let Some(part) = part {
            self.pictures[part.camera].receive(part, at_us / 1_000);
        }
    }

    pub(crate) fn sample(&mut self, ms: u64, capacity: u64) {
        let report = self.downlink.report();
        let layers = self.cameras.iter().map(|camera| camera.layer);
        self.samples.push(Sample {
            ms,
            capacity,
            estimate: report.map_or(0, |report| report.estimate.as_bps()),
            sent_bytes: std::mem::take(&mut self.sent_bytes),
            arrived_bytes: std::mem::take(&mut self.arrived_bytes),
            layer: layers.clone().sum(),
            paused: layers.filter(|layer| *layer == 0).count(),
        });
    }
}

impl Camera {
    fn want(&mut self, layer: usize, ms: u64) {
        if layer == self.wanted {
            return;
        }
        if layer < self.layer {
            self.lowered_ms = Some(ms);
        }
        self.wanted = layer;
        if layer == 0 {
            self.layer = 0;
        } else if layer != self.layer {
            self.ask_for_keyframe(ms);
        }
    }

    fn ask_for_keyframe(&mut self, ms: u64) {
        self.keyframe_ms.get_or_insert(ms + KEYFRAME_MS);
    }

    /// Whether the frame that begins now is a keyframe; with one, the layer changes.
    fn begin_frame(&mut self, ms: u64, is_elastic: bool) -> bool {
        let is_key = self.keyframe_ms.is_some_and(|at| at <= ms);
        if is_key {
            self.keyframe_ms = None;
            if self.layer != self.wanted {
                self.switched = self.number + 1;
            }
            self.layer = self.wanted;
        }
        if is_elastic {
            self.layer = 1;
        }
        is_key
    }

    fn remember(&mut self, part: Part) {
        self.history.insert(part.number, part);
        if self.history.len() > 1_000 {
            self.history.pop_first();
        }
    }
}
