//! What the engine counts: plain numbers, which `metrics` names and exports.
//!
//! Counters only grow; gauges are read off the engine's own tables when asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use super::codec::Unreadable;
use super::estimate::PathState;
use super::event::{CloseReason, Kind};

/// Everything one shard's engine has counted, and its gauges at this moment.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Open sessions (gauge).
    pub sessions: u64,
    /// Sessions whose ICE and DTLS are up (gauge).
    pub connected_sessions: u64,
    /// Rooms, those included that were made and are empty (gauge).
    pub rooms: u64,
    /// Published tracks (gauge).
    pub tracks: PerKind,
    /// Bound slots (gauge).
    pub subscriptions: PerKind,
    /// Paths to receivers that report what arrives, by what is going on on them (gauge).
    pub paths: BTreeMap<PathState, u64>,
    /// What these paths are believed to carry, in bits per second, all together (gauge).
    pub estimate_bps: u64,
    /// What may be sent on them now (gauge).
    pub target_bps: u64,
    /// What the layers cost that were chosen for them (gauge).
    pub allocated_bps: u64,

    /// RTP packets that publishers sent and that were accepted, by kind.
    pub packets_in: PerKind,
    /// Their payload, in bytes.
    pub bytes_in: PerKind,
    /// RTP packets sent to subscribers, retransmissions not included, by kind.
    pub packets_out: PerKind,
    /// Their payload, in bytes.
    pub bytes_out: PerKind,
    /// Datagrams handed to the socket, of all kinds.
    pub datagrams_out: u64,
    /// Messages that clients sent on data channels.
    pub data_messages_in: u64,
    /// Messages sent to clients on data channels.
    pub data_messages_out: u64,
    /// What was thrown away, and why.
    pub drops: BTreeMap<DropReason, u64>,

    /// Audio packets that were lost on their way here, and came beside later ones (RFC 2198).
    pub red_recovered: u64,
    /// Dependency descriptors of publishers that were of no use, and why.
    pub unread_descriptors: BTreeMap<Unreadable, u64>,
    /// Keyframe requests that subscribers sent (PLI and FIR).
    pub keyframe_requests_in: u64,
    /// Of these, what one slot asked for beyond its limit.
    pub keyframe_requests_ignored: u64,
    /// Keyframe requests sent to publishers, after aggregation.
    pub keyframe_requests_out: u64,
    /// Sequence numbers that subscribers asked for again (RFC 4585 §6.2.1).
    pub nacked_packets_in: u64,
    /// Retransmissions sent to subscribers (RFC 4588).
    pub rtx_packets_out: u64,
    /// Packets sent to subscribers only to learn what their paths carry.
    pub probe_packets_out: u64,
    /// Slots that were paused because their receiver's path has no room for them.
    pub starved_slots: u64,
    /// Pictures that were cut off until their next keyframe, as too much of them waited.
    pub cut_slots: u64,
    /// Paths that were seen to be overloaded.
    pub overloads: u64,

    /// Sessions that were opened.
    pub sessions_opened: u64,
    /// Sessions that ended, and why.
    pub sessions_closed: BTreeMap<CloseReason, u64>,
    /// Sessions that ended because the engine panicked in them.
    pub panics: u64,

    /// From the offer to ICE connected.
    pub join_ice: Histogram,
    /// From the offer to DTLS done.
    pub join_dtls: Histogram,
    /// From the offer to the first media packet sent to, or received from, the session.
    pub join_media: Histogram,
    /// From the kernel's receive time of a packet to the hand-over of its copies to the socket.
    pub forward_delay: Histogram,
    /// How long a slot waited for a keyframe after it was bound.
    pub keyframe_wait: Histogram,
    /// The queue that stood on a receiver's path whenever its layers were chosen.
    pub path_queue: Histogram,
}

/// One number each for audio and video.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerKind {
    /// Of audio.
    pub audio: u64,
    /// Of video.
    pub video: u64,
}

impl PerKind {
    /// Adds to one of the two.
    pub fn add(&mut self, kind: Kind, n: u64) {
        match kind {
            Kind::Audio => self.audio += n,
            Kind::Video => self.video += n,
        }
    }

    /// Their sum.
    pub fn total(&self) -> u64 {
        self.audio + self.video
    }
}

/// Why something that arrived was thrown away. Every drop has one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DropReason {
    /// Addressed to a session that is not (any longer) here.
    UnknownSession,
    /// Not STUN, and from an address that no ICE check of the session has validated.
    UnvalidatedSource,
    /// A STUN message whose user fragment or integrity is wrong.
    StunIntegrity,
    /// The datagram is none of STUN, DTLS, RTP or RTCP (RFC 7983).
    Unrecognized,
    /// DTLS that its state machine refused.
    Dtls,
    /// RTCP whose authentication failed or that was replayed.
    RtcpAuthentication,
    /// RTCP that could not be parsed.
    RtcpMalformed,
    /// RTP that did not authenticate, came twice, or was of no stream; also what browsers send
    /// only to probe their path, or to repair what was not lost.
    RtpRefused,
    /// RTP larger than can be forwarded within the MTU.
    Oversized,
    /// RTP of a session that sends faster than it may.
    IngressLimit,
    /// Video before the first keyframe of a binding.
    AwaitingKeyframe,
    /// A packet older than the point at which its slot switched source.
    BeforeSwitch,
    /// A codec that the subscriber did not negotiate.
    CodecMismatch,
    /// Media for a subscriber whose transport is not up yet.
    NotConnected,
    /// A retransmission over the limit, or of a packet that history no longer holds.
    RtxLimit,
    /// A packet that its slot has sent already.
    Duplicate,
    /// A message on a data channel, of a client that sends more than it may.
    DataLimit,
    /// A message on a data channel, for a client that does not keep up.
    DataBacklog,
    /// A message on a data channel that nobody else has open.
    DataUnwanted,
    /// A candidate of a fragment that has more than are read.
    CandidateLimit,
    /// A packet of a track that a host has muted.
    MutedByHost,
    /// A packet for a session that has more queued than one wake-up can bring.
    EgressQueueFull,
    /// A packet of a picture that was cut off or given up while it waited for a narrow path.
    GivenUp,
    /// Media that waited while this thread stood still.
    Stale,
    /// A packet for viewers on a shard that cannot keep up.
    RelayQueueFull,
}

impl DropReason {
    /// The label that metrics carry.
    pub fn label(self) -> &'static str {
        match self {
            DropReason::UnknownSession => "unknown_session",
            DropReason::UnvalidatedSource => "unvalidated_source",
            DropReason::StunIntegrity => "stun_integrity",
            DropReason::Unrecognized => "unrecognized",
            DropReason::Dtls => "dtls",
            DropReason::RtcpAuthentication => "rtcp_authentication",
            DropReason::RtcpMalformed => "rtcp_malformed",
            DropReason::RtpRefused => "rtp_refused",
            DropReason::Oversized => "oversized",
            DropReason::IngressLimit => "ingress_limit",
            DropReason::AwaitingKeyframe => "awaiting_keyframe",
            DropReason::BeforeSwitch => "before_switch",
            DropReason::CodecMismatch => "codec_mismatch",
            DropReason::NotConnected => "not_connected",
            DropReason::RtxLimit => "rtx_limit",
            DropReason::Duplicate => "duplicate",
            DropReason::DataLimit => "data_limit",
            DropReason::DataBacklog => "data_backlog",
            DropReason::DataUnwanted => "data_unwanted",
            DropReason::CandidateLimit => "candidate_limit",
            DropReason::MutedByHost => "muted_by_host",
            DropReason::EgressQueueFull => "egress_queue_full",
            DropReason::GivenUp => "given_up",
            DropReason::Stale => "stale",
            DropReason::RelayQueueFull => "relay_queue_full",
        }
    }

    /// Every reason there is, so that each is exported from the start.
    pub const ALL: [DropReason; 25] = [
        DropReason::UnknownSession,
        DropReason::UnvalidatedSource,
        DropReason::StunIntegrity,
        DropReason::Unrecognized,
        DropReason::Dtls,
        DropReason::RtcpAuthentication,
        DropReason::RtcpMalformed,
        DropReason::RtpRefused,
        DropReason::Oversized,
        DropReason::IngressLimit,
        DropReason::AwaitingKeyframe,
        DropReason::BeforeSwitch,
        DropReason::CodecMismatch,
        DropReason::NotConnected,
        DropReason::RtxLimit,
        DropReason::Duplicate,
        DropReason::DataLimit,
        DropReason::DataBacklog,
        DropReason::DataUnwanted,
        DropReason::CandidateLimit,
        DropReason::MutedByHost,
        DropReason::EgressQueueFull,
        DropReason::GivenUp,
        DropReason::Stale,
        DropReason::RelayQueueFull,
    ];
}

/// Upper bounds of the buckets of every [`Histogram`], in microseconds; the last is open.
///
/// Three a decade from 100 µs (a good forward delay) to 10 s (a join that gave up).
pub const BUCKETS_US: [u64; 16] = [
    100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000, 2_000_000, 5_000_000, 10_000_000,
];

/// How long something took, counted in fixed buckets.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// Observations per bucket of [`BUCKETS_US`], not cumulative; the last holds the rest.
    pub buckets: [u64; BUCKETS_US.len() + 1],
    /// Sum of all observations, in microseconds.
    pub sum_us: u64,
}

impl Histogram {
    /// Counts `n` observations of the same duration.
    pub fn observe(&mut self, took: Duration, n: u64) {
        let us = took.as_micros() as u64;
        let bucket = match BUCKETS_US.first() {
            // What a packet takes on its way through, nearly always.
            Some(&least) if us <= least => 0,
            _ => BUCKETS_US.partition_point(|&bound| bound < us),
        };
        self.buckets[bucket] += n;
        self.sum_us += us * n;
    }

    /// How many observations there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// How many there were of more than this, which is a bucket's bound.
    pub fn count_over(&self, bound: Duration) -> u64 {
        let within = BUCKETS_US.partition_point(|&us| us <= bound.as_micros() as u64);
        self.buckets[within..].iter().sum()
    }

    /// Adds another shard's observations.
    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.sum_us += other.sum_us;
    }
}

impl Counters {
    /// Counts one thing thrown away.
    pub fn drop(&mut self, reason: DropReason) {
        self.drop_all(reason, 1);
    }

    /// Counts some that were thrown away together.
    pub fn drop_all(&mut self, reason: DropReason, n: u64) {
        *self.drops.entry(reason).or_default() += n;
    }
}
