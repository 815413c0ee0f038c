//! Whether a client is still there.
//!
//! str0m counts ICE checks alone, and gives up 15 s after the last. Some clients send none once they
//! are connected (libnice as GStreamer 1.22 has it: without consent checks, RFC 7675). What they send
//! under the session's SRTP keys proves as much: nobody else can make it, and it cannot be replayed.

use std::time::{Duration, Instant};

/// How long something authentic proves that its sender is there, where no checks come.
///
/// Reports come every five seconds or more often (RFC 3550 §6.2), so one may be lost. Longer, and
/// whoever vanishes would be noticed later than by their checks: browsers send those every 2.5 s, and
/// the last media is at most that much younger than the last check.
const PROOF: Duration = Duration::from_secs(12);

/// How long after its last sign a client may be sent media at the most (RFC 7675 §5.1).
const CONSENT: Duration = Duration::from_secs(30);

/// What is known of a client's being there.
#[derive(Debug, Default)]
pub(crate) struct Life {
    proven_at: Option<Instant>,
    restarted_at: Option<Instant>,
    /// ICE has given it up, or begun anew and not found it yet.
    without_checks: bool,
}

impl Life {
    /// Something came that only this client can have made.
    pub(crate) fn proven(&mut self, at: Instant) {
        self.proven_at = self.proven_at.max(Some(at));
    }

    /// Whether there ever was such a thing.
    pub(crate) fn has_proof(&self) -> bool {
        self.proven_at.is_some()
    }

    /// No check has come for too long.
    pub(crate) fn checks_ran_out(&mut self) {
        self.without_checks = true;
    }

    /// They have come again.
    pub(crate) fn checks_are_back(&mut self) {
        self.without_checks = false;
    }

    /// ICE begins anew, and str0m would wait for the first check without end.
    pub(crate) fn restarted(&mut self, now: Instant) {
        self.restarted_at = Some(now);
        self.without_checks = true;
    }

    /// When to look again; in the past where there is nothing to wait for.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let proven_at = self.proven_at.filter(|_| self.without_checks)?;
        // Whoever restarts is there as well, on another way than that of media.
        let restarted = self.restarted_at.map(|at| at + PROOF);
        let patience = restarted.map(|at| at.min(proven_at + CONSENT));
        patience.max(Some(proven_at + PROOF))
    }

    /// Whether the client is gone.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|at| now >= at)
    }
}
