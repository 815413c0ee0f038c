//! One WebRTC connection: a `str0m::Rtc` for all that comes in, an [`Egress`] for media that
//! goes out.
//!
//! A session carries and has never heard of rooms. It is handed datagrams, and gives out what
//! they meant as [`SessionOutput`]s.

use std::mem;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use str0m::ice::StunMessage;
use str0m::media::{Mid, Rid, SenderFeedback};
use str0m::net::{Protocol, Receive, Transmit};
use str0m::rtp::RtpPacket;
use str0m::{Event, IceConnectionState, IceCreds, Input, Output, Rtc};
use tracing::{debug, trace};

use super::advertised::Advertised;
use super::cache;
use super::channels::{ChannelMessage, Channels};
use super::command::Door;
use super::counters::{Counters, DropReason};
use super::diary::Diary;
use super::dtls::KeyTap;
use super::egress::Egress;
use super::event::{CloseReason, Kind};
use super::feedback::{self, Wanted};
use super::former::{self, Former};
use super::ids::SessionId;
use super::life::Life;
use super::offering::Offering;
use super::outbox::Outbox;
use super::path::{Path, Paths};
use super::srtp::RtcpOpener;
use super::{Datagram, SessionKey, Transport};

/// Largest RTP datagram that is taken in: what still fits an Ethernet frame when it goes out
/// again with a longer header. str0m, too, would not hold much more.
const MAX_RTP_BYTES: usize = 1_472;

/// Most RTP packets that a session may send in a second.
///
/// Three simulcast layers and a screen come to some 1500; ten times that is no conference.
const MAX_INGRESS_PPS: u32 = 15_000;

/// A publisher that sent nothing for this long may be replaced by one of the same name: an
/// encoder that crashed and came back. Audio alone comes fifty times a second.
const ABANDONED_AFTER: Duration = Duration::from_secs(2);

/// How long a sender report that is due waits for media to leave with: five audio packets.
const REPORT_PATIENCE: Duration = Duration::from_millis(100);

/// After this many errors at one time the transport is not going to recover.
const MAX_ERRORS: usize = 16;

/// What a session gives out.
#[derive(Debug)]
pub(crate) enum SessionOutput {
    /// ICE found a way.
    IceConnected,
    /// ICE and DTLS are up: media can flow.
    Connected,
    /// The client sent a media packet.
    Media(Box<RtpPacket>),
    /// The client sent something on a data channel.
    Data(Box<ChannelMessage>),
    /// The client's sender report arrived.
    SenderReport(SenderFeedback),
    /// The session is over.
    Closed(CloseReason),
}

/// One WebRTC connection.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) key: SessionKey,
    pub(crate) door: Door,
    /// Its room, by its place in the engine's table.
    pub(crate) room: usize,
    pub(crate) rtc: Box<Rtc>,
    pub(crate) egress: Egress,
    pub(crate) channels: Channels,
    pub(crate) credentials: IceCreds,
    /// The m-lines on which it sends to us.
    pub(crate) lines: Vec<LocalLine>,
    /// Which SSRC carries which layer: place in the engine's table of layers.
    pub(crate) layers: Vec<(u32, usize)>,
    /// The newest offer (or the answer to ours), which a restart by fragment takes up again.
    pub(crate) offer: Box<str>,
    pub(crate) tags: Tags,
    /// The number of its newest event.
    pub(crate) version: u64,
    pub(crate) joined_at: Instant,
    /// When its place is given back, unless it is connected.
    pub(crate) connect_by: Instant,
    /// Whether the server offered.
    pub(crate) offering: Offering,
    pub(crate) media_seen: bool,
    /// The smallest difference seen between its clock and ours, with its sign.
    pub(crate) clock_offset: Option<ClockOffset>,
    /// The engine's timer for this session.
    pub(crate) armed: Option<Instant>,
    /// Whether it waits for a flush.
    pub(crate) is_dirty: bool,
    pub(crate) connected: bool,
    /// It asked for the layers of what it sees.
    pub(crate) hears_layers: bool,
    /// How long ICE and DTLS took, once they were up.
    pub(crate) connected_after: Option<Duration>,
    /// What was decided about it lately.
    pub(crate) diary: Diary,
    keys: KeyTap,
    opener: Option<RtcpOpener>,
    paths: Paths,
    /// The credentials of before a restart.
    former: Option<Former>,
    life: Life,
    /// Its client is gone, which is still to be given out.
    is_over: bool,
    advertised: Advertised,
    timeout: Option<Instant>,
    /// Whether str0m was touched, and may have something to give out.
    is_stirred: bool,
    ingress_second: Option<Instant>,
    ingress_packets: u32,
    /// ICE has found a way to it.
    was_reached: bool,
    /// str0m was given RTP, and has not said yet what it is.
    is_opening_rtp: bool,
    closing: Option<CloseReason>,
}

/// An m-line on which a client sends.
#[derive(Clone, Debug)]
pub(crate) struct LocalLine {
    /// Its MID as the client writes it.
    pub(crate) mid: String,
    /// Its MID as str0m writes it: letters and digits only.
    pub(crate) media: Mid,
    pub(crate) kind: Kind,
    /// Whether it shows a screen (RFC 4796).
    pub(crate) slides: bool,
    /// Whether the client means to send on it now.
    pub(crate) sends: bool,
    /// Whether the client says that it is muted.
    pub(crate) muted: bool,
    /// Whether a host has muted it, and the client has not unmuted it since.
    pub(crate) is_held: bool,
    /// The track, by its place in the engine's table, while it is published.
    pub(crate) track: Option<usize>,
}

/// The entity tags of a session's three states (RFC 9110 §8.8.3), as numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tags {
    pub(crate) ice: u32,
    pub(crate) sdp: u32,
    pub(crate) subscriptions: u32,
    /// Makes tags of different sessions differ.
    pub(crate) salt: u32,
}

impl Tags {
    /// Of the ICE session (RFC 9725 §4.3.1).
    pub(crate) fn ice_tag(&self) -> String {
        format!("i{}-{:08x}", self.ice, self.salt)
    }

    /// Of the description.
    pub(crate) fn sdp_tag(&self) -> String {
        format!("d{}-{:08x}", self.sdp, self.salt)
    }

    /// Of the subscriptions.
    pub(crate) fn subscriptions_tag(&self) -> String {
        format!("s{}-{:08x}", self.subscriptions, self.salt)
    }
}

/// A publisher's wall clock against ours; positive if ours is ahead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClockOffset {
    pub(crate) ours_minus_theirs_us: i64,
}

impl Session {
    #[expect(
        clippy::too_many_arguments,
        reason = "called in one place, which has all of these at hand"
    )]
    pub(crate) fn new(
        id: SessionId,
        key: SessionKey,
        door: Door,
        room: usize,
        (rtc, keys): (Rtc, KeyTap),
        credentials: IceCreds,
        advertised: Advertised,
        salt: u32,
        now: Instant,
        connect_by: Instant,
    ) -> Self {
        Self {
            id,
            key,
            door,
            room,
            rtc: Box::new(rtc),
            egress: Egress::new(format!("{salt:08x}")),
            channels: Channels::default(),
            credentials,
            lines: Vec::new(),
            layers: Vec::new(),
            offer: "".into(),
            tags: Tags {
                salt,
                ..Tags::default()
            },
            version: 0,
            joined_at: now,
            connect_by,
            offering: Offering::default(),
            media_seen: false,
            clock_offset: None,
            armed: None,
            is_dirty: false,
            connected: false,
            hears_layers: false,
            connected_after: None,
            diary: Diary::default(),
            keys,
            opener: None,
            paths: Paths::default(),
            former: None,
            life: Life::default(),
            is_over: false,
            advertised,
            timeout: Some(now),
            is_stirred: true,
            ingress_second: None,
            ingress_packets: 0,
            was_reached: false,
            is_opening_rtp: false,
            closing: None,
        }
    }

    /// Fetches what a turn of its egress needs, and what it is woken for next.
    pub(crate) fn warm(&self) {
        cache::fetch(&self.egress);
        cache::fetch(&self.paths);
        cache::fetch(&self.life);
        cache::fetch(&self.timeout);
        cache::fetch(&self.armed);
        cache::fetch(&self.connect_by);
        cache::fetch(&self.is_dirty);
    }

    /// Fetches what it takes to read a report of its receiver.
    pub(crate) fn warm_reports(&self) {
        self.warm();
        cache::fetch(&self.key);
        cache::fetch(&self.opener);
    }

    /// Where its datagrams go.
    pub(crate) fn path(&self) -> Option<Path> {
        self.paths.current()
    }

    /// Whether its client has been silent for so long that another may take its place.
    pub(crate) fn is_abandoned(&self, now: Instant) -> bool {
        self.paths.is_silent_for(ABANDONED_AFTER, now)
    }

    /// When something of it is due, give or take a few milliseconds; what its path needs is not
    /// among that ([`Downlink::deadline`](super::downlink::Downlink::deadline)).
    pub(crate) fn deadline(&self) -> Option<Instant> {
        // Reports leave beside media, if there is any; without, they wait a little in vain.
        let report_at = self.egress.report_at().map(|at| at + REPORT_PATIENCE);
        [self.timeout, report_at, self.life.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Something was put into `rtc` that leaves with its next turn: that is due now.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.timeout = Some(self.timeout.map_or(now, |at| at.min(now)));
    }

    /// Whether [`Self::poll`] may have something.
    pub(crate) fn is_stirred(&self) -> bool {
        self.is_stirred
    }

    /// The client restarted ICE: new credentials are in force, besides those of the path in use.
    pub(crate) fn restarted_ice(&mut self, credentials: IceCreds, now: Instant) {
        let replaced = mem::replace(&mut self.credentials, credentials);
        // Those of a restart that never came up are nobody's.
        if self.former.as_ref().is_none_or(Former::has_successor) {
            self.former = Some(Former::new(replaced));
        }
        self.tags.ice += 1;
        self.paths.restart();
        self.life.restarted(now);
    }

    /// Takes in a datagram. What the client wants of our egress is put into `wanted`; `true` tells
    /// that its source was proven to be the client's.
    pub(crate) fn handle_datagram(
        &mut self,
        datagram: &Datagram<'_>,
        now: Instant,
        wall_clock: Duration,
        wanted: &mut Vec<Wanted>,
        counters: &mut Counters,
    ) -> bool {
        let contents = datagram.contents;
        // RFC 7983 §7.
        match contents.first() {
            Some(0..=3) => return self.handle_stun(datagram, now, counters),
            Some(20..=63) if self.is_from_client(datagram) => self.receive(datagram, now, counters),
            Some(128..=191) if self.is_from_client(datagram) => {
                let is_rtcp = contents.get(1).is_some_and(|pt| (192..=223).contains(pt));
                if is_rtcp {
                    self.handle_rtcp(datagram, now, wall_clock, wanted, counters);
                } else {
                    self.handle_rtp(datagram, now, counters);
                }
            }
            Some(20..=63 | 128..=191) => counters.drop(DropReason::UnvalidatedSource),
            _ => counters.drop(DropReason::Unrecognized),
        }
        false
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.is_over |= self.life.is_over(now);
        let is_due = self.timeout.is_some_and(|at| at <= now);
        self.is_stirred |= self.is_over || is_due;
        if !is_due {
            return;
        }
        if let Err(error) = self.rtc.handle_input(Input::Timeout(now)) {
            debug!(session = ?self.id, %error, "timeout");
        }
    }

    /// The next thing that happened; everything to send goes to `out`. Call until it is `None`.
    pub(crate) fn poll(
        &mut self,
        out: &mut Outbox,
        counters: &mut Counters,
    ) -> Option<SessionOutput> {
        if mem::take(&mut self.is_over) {
            return Some(SessionOutput::Closed(CloseReason::Vanished));
        }
        if let Some(former) = &mut self.former {
            former.flush(out);
        }
        let mut errors = 0;
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.timeout = Some(at);
                    if mem::take(&mut self.is_opening_rtp) {
                        counters.drop(DropReason::RtpRefused);
                    }
                    self.is_stirred = false;
                    if !self.rtc.is_alive() {
                        let reason = self.closing.take().unwrap_or(CloseReason::ClosedByPeer);
                        return Some(SessionOutput::Closed(reason));
                    }
                    return None;
                }
                Ok(Output::Transmit(transmit)) => {
                    self.transmit(&transmit, out);
                }
                Ok(Output::Event(event)) => {
                    if let Some(output) = self.event(event, counters) {
                        return Some(output);
                    }
                }
                Err(error) => {
                    // Before it is connected, anybody on the path can make DTLS complain: the
                    // handshake's own timer decides.
                    debug!(session = ?self.id, %error, "transport");
                    counters.drop(DropReason::Dtls);
                    errors += 1;
                    if !self.rtc.is_alive() || errors == MAX_ERRORS {
                        return Some(SessionOutput::Closed(CloseReason::Failed));
                    }
                }
            }
        }
    }

    /// Says goodbye: RTCP BYE and DTLS `close_notify` come out of [`Self::poll`].
    pub(crate) fn close(&mut self, reason: CloseReason) {
        self.closing.get_or_insert(reason);
        if let Err(error) = self.rtc.close() {
            debug!(session = ?self.id, %error, "close");
            self.rtc.disconnect();
        }
    }

    fn event(&mut self, event: Event, counters: &mut Counters) -> Option<SessionOutput> {
        match event {
            Event::Connected => {
                let keys = self.keys.take()?;
                self.opener = Some(keys.rtcp_opener());
                self.egress.connected(&keys);
                self.connected = true;
                Some(SessionOutput::Connected)
            }
            Event::IceConnectionStateChange(state) => self.ice_changed(state),
            Event::RtpPacket(packet) => {
                self.is_opening_rtp = false;
                self.life.proven(packet.timestamp);
                Some(SessionOutput::Media(Box::new(packet)))
            }
            Event::ChannelOpen(id, label) if self.door == Door::Meet => {
                if !self.channels.opened(&mut self.rtc, id, label) {
                    counters.drop(DropReason::DataLimit);
                }
                None
            }
            // Encoders and players have nothing to tell each other.
            Event::ChannelOpen(id, _) => {
                self.rtc.direct_api().close_data_channel(id);
                None
            }
            Event::ChannelClose(id) => {
                self.channels.closed(id);
                None
            }
            Event::ChannelData(data) => {
                let message = self.channels.received(data);
                if message.is_none() {
                    counters.drop(DropReason::DataUnwanted);
                }
                Some(SessionOutput::Data(Box::new(message?)))
            }
            Event::SenderFeedback(report) => {
                self.life.proven(report.received_at);
                Some(SessionOutput::SenderReport(report))
            }
            // The rest of the goodbye still has to be polled out.
            Event::Closed => {
                self.closing.get_or_insert(CloseReason::ClosedByPeer);
                None
            }
            other => {
                trace!(session = ?self.id, ?other, "event");
                None
            }
        }
    }

    fn ice_changed(&mut self, state: IceConnectionState) -> Option<SessionOutput> {
        match state {
            IceConnectionState::Disconnected if self.life.has_proof() => {
                self.life.checks_ran_out();
                None
            }
            IceConnectionState::Disconnected => Some(SessionOutput::Closed(CloseReason::Vanished)),
            IceConnectionState::Connected | IceConnectionState::Completed => {
                self.life.checks_are_back();
                // str0m goes from one to the other: it is told once.
                let was_reached = std::mem::replace(&mut self.was_reached, true);
                (!was_reached).then_some(SessionOutput::IceConnected)
            }
            IceConnectionState::New | IceConnectionState::Checking => None,
        }
    }

    fn transmit(&mut self, transmit: &Transmit, out: &mut Outbox) {
        let contents = &transmit.contents;
        let is_stun = contents.first().is_some_and(|first| *first < 4);
        let is_tcp = transmit.proto != Protocol::Udp;
        // A check is answered where it came from, wherever media goes.
        let path = if is_stun {
            self.paths.to(transmit.destination, is_tcp)
        } else {
            self.paths.current()
        };
        let Some(path) = path else {
            trace!(session = ?self.id, "nowhere to send to");
            return;
        };
        if !is_stun && self.is_ours(contents) {
            debug_assert!(false, "two writers on one SSRC");
            return;
        }
        out.push(path, contents);
    }

    /// Whether an RTCP packet of str0m's claims an SSRC that our egress sends on.
    fn is_ours(&self, contents: &[u8]) -> bool {
        let is_rtp = contents
            .first()
            .is_some_and(|first| (128..=191).contains(first));
        let ssrc = contents
            .get(4..8)
            .and_then(|bytes| bytes.try_into().ok())
            .map(u32::from_be_bytes);
        is_rtp && ssrc.is_some_and(|ssrc| self.egress.owns(ssrc))
    }

    /// str0m checks a source only when asked: nothing but STUN may come from an address that no
    /// authenticated check came from.
    fn is_from_client(&self, datagram: &Datagram<'_>) -> bool {
        self.paths.is_validated(&Path::of(datagram))
    }

    fn handle_stun(
        &mut self,
        datagram: &Datagram<'_>,
        now: Instant,
        counters: &mut Counters,
    ) -> bool {
        let Ok(message) = StunMessage::parse(datagram.contents) else {
            counters.drop(DropReason::Unrecognized);
            return false;
        };
        let is_request = message.is_binding_request();
        if !is_request || !former::is_by(&message, &self.credentials) {
            let is_former = is_request && self.handle_former(&message, datagram, now);
            if !is_former {
                counters.drop(DropReason::StunIntegrity);
            }
            return is_former;
        }
        self.life.proven(now);
        let nominates = message.use_candidate();
        if nominates && let Some(former) = &mut self.former {
            former.is_succeeded(now);
        }
        if self.paths.checked(Path::of(datagram), nominates, now) {
            debug!(session = ?self.id, "media path");
            self.egress.downlink.path_changed(now);
        }
        self.receive(datagram, now, counters);
        true
    }

    /// A check with the credentials of before a restart: the client is there, and is answered.
    fn handle_former(
        &mut self,
        message: &StunMessage<'_>,
        datagram: &Datagram<'_>,
        now: Instant,
    ) -> bool {
        let former = self.former.as_mut();
        let Some(former) = former.filter(|former| former.verifies(message, now)) else {
            return false;
        };
        let path = Path::of(datagram);
        former.owe_answer(path, message);
        self.is_stirred = true;
        self.life.proven(now);
        if self
            .paths
            .checked_as_before(path, message.use_candidate(), now)
        {
            debug!(session = ?self.id, "media path of before the restart");
            self.egress.downlink.path_changed(now);
        }
        true
    }

    fn handle_rtp(&mut self, datagram: &Datagram<'_>, now: Instant, counters: &mut Counters) {
        if datagram.contents.len() > MAX_RTP_BYTES {
            counters.drop(DropReason::Oversized);
            return;
        }
        let second = *self.ingress_second.get_or_insert(now);
        if now.saturating_duration_since(second) >= Duration::from_secs(1) {
            self.ingress_second = Some(now);
            self.ingress_packets = 0;
        }
        self.ingress_packets += 1;
        if self.ingress_packets > MAX_INGRESS_PPS {
            counters.drop(DropReason::IngressLimit);
            return;
        }
        self.is_opening_rtp = true;
        self.receive(datagram, now, counters);
    }

    fn handle_rtcp(
        &mut self,
        datagram: &Datagram<'_>,
        now: Instant,
        wall_clock: Duration,
        wanted: &mut Vec<Wanted>,
        counters: &mut Counters,
    ) {
        if self.egress.slots.is_empty() {
            self.receive(datagram, now, counters);
            return;
        }
        let Some(opener) = self.opener.as_mut() else {
            counters.drop(DropReason::NotConnected);
            return;
        };
        let Ok(compound) = opener.open(datagram.contents) else {
            counters.drop(DropReason::RtcpAuthentication);
            return;
        };
        self.paths.heard(&Path::of(datagram), now);
        self.life.proven(now);
        if feedback::read(
            compound,
            &mut self.egress,
            (now, wall_clock),
            wanted,
            counters,
        ) {
            self.receive(datagram, now, counters);
        }
    }

    /// Hands a datagram to str0m.
    fn receive(&mut self, datagram: &Datagram<'_>, now: Instant, counters: &mut Counters) {
        let protocol = match datagram.transport {
            Transport::Udp => Protocol::Udp,
            Transport::Tcp(_) => Protocol::Tcp,
        };
        // What we advertise is what str0m knows as its own.
        let receive = self.advertised.destination(datagram).and_then(|local| {
            Receive::new(protocol, datagram.source, local, datagram.contents).ok()
        });
        let Some(receive) = receive else {
            counters.drop(DropReason::Unrecognized);
            return;
        };
        self.paths.heard(&Path::of(datagram), now);
        self.is_stirred = true;
        if let Err(error) = self.rtc.handle_input(Input::Receive(now, receive)) {
            trace!(session = ?self.id, %error, "receive");
            counters.drop(DropReason::Dtls);
        }
    }

    /// Which encoding an SSRC of the client's carries.
    pub(crate) fn encoding_of(&mut self, ssrc: u32) -> Option<(Mid, Option<Rid>)> {
        let mut direct = self.rtc.direct_api();
        let stream = direct.stream_rx(&ssrc.into())?;
        Some((stream.mid(), stream.rid()))
    }
}

/// What verifies and signs STUN messages (RFC 8489 §14.5).
pub(super) fn hmac_sha1(key: &[u8], payloads: &[&[u8]]) -> [u8; 20] {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let mut context = hmac::Context::with_key(&key);
    payloads.iter().for_each(|payload| context.update(payload));
    let mut tag = [0; 20];
    tag.copy_from_slice(context.sign().as_ref());
    tag
}
