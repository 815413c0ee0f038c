//! Somebody's download on the same path: a sender in the manner of CUBIC (RFC 9438), without what only
//! matters to its own speed.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::StdRng;

pub(crate) const SEGMENT_BYTES: u32 = 1_500;
pub(crate) const ACK_BYTES: u32 = 60;

/// RFC 9438 §4.6 and §5.
const BETA: f64 = 0.7;
const C: f64 = 0.4;

/// A packet is lost when so many later ones have arrived (RFC 5681 §3.2).
const DUPLICATES: u64 = 3;

const TIMEOUT_MS: u64 = 1_000;

/// What a download is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TcpPlan {
    pub(crate) start_ms: u64,
    /// Bytes of each transfer, and the mean pause between two of them; without, it never ends.
    pub(crate) short: Option<((u64, u64), u64)>,
}

pub(crate) struct Tcp {
    plan: TcpPlan,
    cwnd: f64,
    threshold: f64,
    before_loss: f64,
    reduced_ms: u64,
    next: u64,
    outstanding: BTreeMap<u64, u64>,
    left: u64,
    resumes_ms: u64,
    acked_ms: u64,
    pub(crate) arrived_bytes: u64,
}

impl Tcp {
    pub(crate) fn new(plan: TcpPlan) -> Self {
        Self {
            plan,
            cwnd: 10.0,
            threshold: f64::MAX,
            before_loss: 0.0,
            reduced_ms: 0,
            next: 0,
            outstanding: BTreeMap::new(),
            left: if plan.short.is_some() { 0 } else { u64::MAX },
            resumes_ms: plan.start_ms,
            acked_ms: 0,
            arrived_bytes: 0,
        }
    }

    /// Segments that may be sent now.
    pub(crate) fn send(&mut self, ms: u64, rng: &mut StdRng) -> Vec<u64> {
        if ms < self.resumes_ms {
            return Vec::new();
        }
        if self.left == 0 && self.outstanding.is_empty() {
            let Some(((least, most), pause_ms)) = self.plan.short else {
                return Vec::new();
            };
            self.left = rng
                .random_range(least..=most)
                .div_ceil(SEGMENT_BYTES.into());
            self.cwnd = 10.0;
            self.threshold = f64::MAX;
            let pause = -rng.random_range(0.0_f64..1.0).max(1e-9).ln() * pause_ms as f64;
            self.resumes_ms = ms + pause as u64;
            return Vec::new();
        }
        if !self.outstanding.is_empty() && ms > self.acked_ms + TIMEOUT_MS {
            self.left = self.left.saturating_add(self.outstanding.len() as u64);
            self.outstanding.clear();
            self.threshold = (self.cwnd / 2.0).max(2.0);
            self.cwnd = 1.0;
        }
        let mut segments = Vec::new();
        while self.left > 0 && (self.outstanding.len() as f64) < self.cwnd {
            if self.outstanding.is_empty() {
                self.acked_ms = ms;
            }
            self.outstanding.insert(self.next, ms);
            segments.push(self.next);
            self.next += 1;
            self.left = self.left.saturating_sub(1);
        }
        segments
    }

    /// A segment was acknowledged.
    pub(crate) fn acknowledged(&mut self, seq: u64, ms: u64) {
        if self.outstanding.remove(&seq).is_none() {
            return;
        }
        self.acked_ms = ms;
        let lost: Vec<(u64, u64)> = self
            .outstanding
            .range(..seq.saturating_sub(DUPLICATES))
            .map(|(seq, sent)| (*seq, *sent))
            .collect();
        for (seq, sent_ms) in lost {
            self.outstanding.remove(&seq);
            self.left = self.left.saturating_add(1);
            if sent_ms >= self.reduced_ms {
                self.before_loss = self.cwnd;
                self.cwnd = (self.cwnd * BETA).max(2.0);
                self.threshold = self.cwnd;
                self.reduced_ms = ms;
            }
        }
        if self.cwnd < self.threshold {
            self.cwnd += 1.0;
            return;
        }
        let k = (self.before_loss * (1.0 - BETA) / C).cbrt();
        let t = (ms - self.reduced_ms) as f64 / 1e3;
        let wanted = C * (t - k).powi(3) + self.before_loss;
        self.cwnd += ((wanted - self.cwnd) / self.cwnd).clamp(0.01 / self.cwnd, 0.5);
    }
}
