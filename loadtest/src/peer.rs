//! One client of the server under test: what it sends, what it receives, and the feedback a browser would give.

mod feedback;
mod media;

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use self::media::{PeerCounts, Route};
use crate::{
    inbound::Inbound,
    loss::Loss,
    outbound::{MediaRate, Outbound, Way},
    payload::Codec,
    rtcp::{self, Incoming, TransportArrivals},
    scenario::Visit,
    sdp::{Answer, MediaSpec},
    sys::SendBatch,
    transport::{Identity, Progress, Transport},
};

/// Receiver reports and sender reports are a second apart, as libwebrtc sends them for video.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// While packets or a first keyframe are missing, it is looked so often whether to ask for them.
const URGENT_TICK: Duration = Duration::from_millis(10);

/// How clients of a run behave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behaviour {
    pub(crate) rate: MediaRate,
    /// Between two reports of arrival times.
    pub(crate) feedback_interval: Duration,
    /// Opens every packet, rather than one in many.
    pub(crate) decrypt_all: bool,
    /// Share of RTP packets that get lost on the way to the server, and from it.
    pub(crate) lose_up: f64,
    pub(crate) lose_down: f64,
}

/// When a client came how far, counted from its POST.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stages {
    pub(crate) answered: Option<Duration>,
    pub(crate) ice: Option<Duration>,
    pub(crate) dtls: Option<Duration>,
    pub(crate) first_packet: Option<Duration>,
}

/// When the kernel took a datagram in, on both clocks; it may have waited for us since.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    /// Nanoseconds since 1970.
    pub(crate) wall_ns: u64,
}

impl Arrival {
    /// From the kernel's note, or from the time now where there is none.
    pub(crate) fn of(kernel_ns: u64, wall_ns: u64, now: Instant) -> Self {
        if kernel_ns == 0 {
            return Self { at: now, wall_ns };
        }
        let waited = Duration::from_nanos(wall_ns.saturating_sub(kernel_ns));
        let at = now.checked_sub(waited).unwrap_or(now);
        Self {
            at,
            wall_ns: kernel_ns,
        }
    }
}

/// What one datagram brought, for the counts of the worker.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Taken {
    pub(crate) rtp: bool,
    /// From the stamp to the kernel, when the packet was opened and ours.
    pub(crate) delay: Option<Duration>,
}

/// One client.
pub(crate) struct Peer {
    pub(crate) visit: Visit,
    behaviour: Behaviour,
    pub(crate) transport: Transport,
    pub(crate) source: Option<Ipv4Addr>,
    media: Vec<MediaSpec>,
    routes: Vec<Route>,
    answer: Answer,
    pub(crate) inbounds: Vec<Inbound>,
    pub(crate) outbounds: Vec<Outbound>,
    arrivals: TransportArrivals,
    transport_number: u16,
    loss_up: Loss,
    loss_down: Loss,
    started: Instant,
    connected: bool,
    pub(crate) failed: Option<String>,
    pub(crate) stages: Stages,
    pub(crate) counts: PeerCounts,
    next_report: Instant,
    next_feedback: Instant,
    next_urgent: Option<Instant>,
    /// Where the session lives, for leaving.
    pub(crate) session_url: Option<String>,
    /// When the worker will look at it again; later entries of its timer are stale.
    pub(crate) wake_at: Option<Instant>,
}

impl Peer {
    pub(crate) fn new(
        visit: Visit,
        behaviour: Behaviour,
        local: SocketAddr,
        source: Option<Ipv4Addr>,
        ssrc_base: u32,
        now: Instant,
    ) -> Self {
        let media = visit
            .media
            .iter()
            .enumerate()
            .map(|(index, wish)| MediaSpec {
                codec: wish.codec,
                sends: wish.sends,
                simulcast: wish.simulcast,
                ssrc: ssrc_base + 8 * index as u32,
            });
        let media: Vec<MediaSpec> = media.collect();
        let number = u64::from(visit.number);
        Self {
            visit,
            behaviour,
            transport: Transport::new(local),
            source,
            media,
            routes: Vec::new(),
            answer: Answer::default(),
            inbounds: Vec::new(),
            outbounds: Vec::new(),
            arrivals: TransportArrivals::new(now),
            transport_number: 1,
            loss_up: Loss::new(behaviour.lose_up, 2 * number),
            loss_down: Loss::new(behaviour.lose_down, 2 * number + 1),
            started: now,
            connected: false,
            failed: None,
            stages: Stages::default(),
            counts: PeerCounts::default(),
            next_report: now,
            next_feedback: now,
            next_urgent: None,
            session_url: None,
            wake_at: None,
        }
    }

    pub(crate) fn media(&self) -> &[MediaSpec] {
        &self.media
    }

    /// Takes in the server's answer and begins to connect.
    pub(crate) fn handle_answer(
        &mut self,
        answer: Answer,
        session_url: String,
        identity: &Identity,
        now: Instant,
    ) {
        self.stages.answered = Some(now - self.started);
        self.session_url = Some(session_url);
        for (index, (spec, answered)) in self.media.iter().zip(&answer.media).enumerate() {
            if spec.sends || !answered.accepted {
                continue;
            }
            let inbound = self.inbounds.len();
            self.inbounds
                .push(Inbound::new(index, spec.codec, answered.ssrc.unwrap_or(0)));
            let route = |ssrc, retransmission| Route {
                ssrc,
                inbound,
                retransmission,
                highest: None,
            };
            self.routes
                .extend(answered.ssrc.map(|ssrc| route(ssrc, false)));
            self.routes
                .extend(answered.rtx_ssrc.map(|ssrc| route(ssrc, true)));
        }
        self.transport.start(&answer, identity, now);
        self.answer = answer;
    }

    /// Takes in one datagram.
    pub(crate) fn handle_datagram(
        &mut self,
        data: &mut [u8],
        from: SocketAddr,
        arrival: Arrival,
        now: Instant,
        batch: &mut SendBatch,
    ) -> Taken {
        let mut taken = Taken::default();
        match data.first() {
            Some(0..=3) => self.transport.handle_stun(data, from, now),
            Some(20..=63) => {
                let progress = self.transport.handle_dtls(data, now);
                self.note(progress.as_ref(), now);
            }
            Some(128..=191)
                if data
                    .get(1)
                    .is_some_and(|second| (192..=223).contains(second)) =>
            {
                self.handle_rtcp(data, now, batch);
            }
            Some(128..=191) => {
                taken.rtp = true;
                if self.loss_down.takes_next() {
                    return taken;
                }
                taken.delay = self.handle_rtp(data, arrival, now);
            }
            _ => {}
        }
        taken
    }

    fn handle_rtcp(&mut self, data: &mut [u8], now: Instant, batch: &mut SendBatch) {
        let (Some(srtp), Some(to)) = (&self.transport.srtp, self.transport.remote) else {
            return;
        };
        let Some(len) = srtp.open_rtcp(data) else {
            self.counts.unauthentic_rtcp += 1;
            return;
        };
        let mut way = Way {
            srtp,
            batch,
            to,
            source: self.source,
            transport_number: &mut self.transport_number,
            loss: &mut self.loss_up,
            wall_ns: crate::clock::wall_ns(),
        };
        rtcp::parse(&data[..len], |incoming| match incoming {
            Incoming::SenderReport { ssrc, middle_ntp } => {
                if let Some(inbound) = self
                    .inbounds
                    .iter_mut()
                    .find(|inbound| inbound.ssrc == ssrc)
                {
                    inbound.note_sender_report(middle_ntp, now);
                }
            }
            Incoming::Nack {
                ssrc,
                first,
                following,
            } => {
                let _ = self
                    .outbounds
                    .iter_mut()
                    .any(|out| out.handle_nack(ssrc, first, following, &mut way));
            }
            Incoming::KeyframeRequest { ssrc } => {
                let _ = self
                    .outbounds
                    .iter_mut()
                    .any(|out| out.handle_keyframe_request(ssrc, now));
            }
            Incoming::Bye { .. } => self.counts.byes += 1,
            Incoming::TransportFeedback => {}
        });
    }

    /// Does what is due; gives how late the latest frame was, when one was.
    pub(crate) fn poll(
        &mut self,
        now: Instant,
        may_publish: bool,
        batch: &mut SendBatch,
    ) -> Option<Duration> {
        let source = self.source;
        let progress = self.transport.poll(now, |to, data| {
            batch.push(to, source, |out| out.extend_from_slice(data));
        });
        self.note(progress.as_ref(), now);
        if !self.connected || self.failed.is_some() {
            return None;
        }
        let late = if may_publish {
            self.publish(now, batch)
        } else {
            None
        };
        if now >= self.next_report {
            self.next_report = now + REPORT_INTERVAL;
            self.send_reports(now, batch);
        }
        if self.next_urgent.is_some_and(|at| at <= now) {
            self.send_urgent(now, batch);
        }
        if now >= self.next_feedback {
            self.next_feedback = now + self.behaviour.feedback_interval;
            self.send_feedback(now, batch);
        }
        late
    }

    fn publish(&mut self, now: Instant, batch: &mut SendBatch) -> Option<Duration> {
        let (srtp, to) = (self.transport.srtp.as_ref()?, self.transport.remote?);
        let mut way = Way {
            srtp,
            batch,
            to,
            source: self.source,
            transport_number: &mut self.transport_number,
            loss: &mut self.loss_up,
            wall_ns: crate::clock::wall_ns(),
        };
        let mut latest = None;
        for outbound in &mut self.outbounds {
            while outbound.next_at <= now {
                latest = latest.max(Some(outbound.send_due(&mut way, now)));
            }
        }
        latest
    }

    fn note(&mut self, progress: Option<&Progress>, now: Instant) {
        match progress {
            None => {}
            Some(Progress::IceConnected) => self.stages.ice = Some(now - self.started),
            Some(Progress::Connected) if !self.connected => {
                self.connected = true;
                // Both may come in one wake-up.
                self.stages.ice.get_or_insert(now - self.started);
                self.stages.dtls = Some(now - self.started);
                self.start_media(now);
            }
            Some(Progress::Connected) => {}
            Some(Progress::Failed(why)) => self.failed = Some((*why).to_owned()),
        }
    }

    fn start_media(&mut self, now: Instant) {
        for (spec, answered) in self.media.iter().zip(&self.answer.media) {
            if spec.sends && answered.accepted {
                let visit = &self.visit;
                let rate = self.behaviour.rate;
                self.outbounds.push(Outbound::new(
                    *spec,
                    answered,
                    visit.number,
                    rate,
                    visit.turn,
                    now,
                ));
            }
        }
        // Thousands of receivers must not report at one moment.
        let phase =
            f64::from(self.visit.number.wrapping_mul(2_654_435_761) >> 8 & 0xffff) / 65_536.0;
        self.next_report = now + REPORT_INTERVAL.mul_f64(phase);
        self.next_feedback = now + self.behaviour.feedback_interval.mul_f64(phase);
    }

    /// When [`poll`](Self::poll) is to be called, if nothing arrives.
    pub(crate) fn poll_timeout(&mut self, may_publish: bool) -> Option<Instant> {
        let transport = self.transport.poll_timeout();
        if !self.connected {
            return transport;
        }
        let publish = self
            .outbounds
            .iter()
            .map(|out| out.next_at)
            .min()
            .filter(|_| may_publish);
        let receives = !self.inbounds.is_empty();
        [
            transport,
            publish,
            Some(self.next_report),
            self.next_urgent,
            receives.then_some(self.next_feedback),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// When it will ask for what is missing, if anything is.
    pub(crate) fn urgent_at(&self) -> Option<Instant> {
        self.next_urgent
    }

    /// Whether it has reached the server, and is there still.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected && self.failed.is_none()
    }

    /// Since its POST.
    pub(crate) fn age(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.started)
    }

    /// Whether it is to receive video, and so waits for a keyframe.
    pub(crate) fn wants_video(&self) -> bool {
        self.inbounds
            .iter()
            .any(|inbound| inbound.codec != Codec::Opus)
    }
}
