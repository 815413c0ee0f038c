//! The ICE credentials of before a restart: they go on working until the new ones do.
//!
//! A client keeps its old pair and goes on checking it until a new one works (RFC 8445 §9), which
//! it may never do. str0m forgets the old credentials with the restart, so their checks are verified
//! and answered here.

use std::time::{Duration, Instant};

use str0m::IceCreds;
use str0m::ice::{StunMessage, TransId};

use super::outbox::Outbox;
use super::path::Path;
use super::session::hmac_sha1;

/// How long they hold once a check with the new ones has nominated: as long as ICE lasts without a
/// check. The client may not have heard our answer to that check, and come back.
const AFTERWARDS: Duration = Duration::from_secs(15);

/// Most answers that wait for the end of a wake-up. A client checks a pair some times a second.
const MAX_ANSWERS: usize = 32;

/// An answer's header, address (IPv6), integrity and fingerprint.
const MAX_ANSWER_BYTES: usize = 20 + 24 + 24 + 8;

/// Credentials that were in force before, and what was asked with them.
#[derive(Debug)]
pub(crate) struct Former {
    credentials: IceCreds,
    ends_at: Option<Instant>,
    answers: Vec<(Path, TransId)>,
}

impl Former {
    /// A restart has put others in the place of these.
    pub(crate) fn new(credentials: IceCreds) -> Self {
        Self {
            credentials,
            ends_at: None,
            answers: Vec::new(),
        }
    }

    /// The new ones were seen to work.
    pub(crate) fn is_succeeded(&mut self, now: Instant) {
        self.ends_at.get_or_insert(now + AFTERWARDS);
    }

    /// Whether they have a successor that works.
    pub(crate) fn has_successor(&self) -> bool {
        self.ends_at.is_some()
    }

    /// Whether a request was made with these, and in time.
    pub(crate) fn verifies(&self, message: &StunMessage<'_>, now: Instant) -> bool {
        self.ends_at.is_none_or(|at| now < at) && is_by(message, &self.credentials)
    }

    /// Notes that a request is to be answered where it came from.
    pub(crate) fn owe_answer(&mut self, path: Path, request: &StunMessage<'_>) {
        if self.answers.len() < MAX_ANSWERS {
            self.answers.push((path, request.trans_id()));
        }
    }

    /// Sends the answers.
    pub(crate) fn flush(&mut self, out: &mut Outbox) {
        for (path, transaction) in self.answers.drain(..) {
            let reply = StunMessage::binding_reply(transaction, path.remote);
            let mut bytes = [0; MAX_ANSWER_BYTES];
            let password = Some(self.credentials.pass.as_bytes());
            if let Ok(length) = reply.to_bytes(password, &mut bytes, hmac_sha1) {
                out.push(path, &bytes[..length]);
            }
        }
    }
}

/// Whether a message names the user fragment of these credentials, and proves their password.
pub(crate) fn is_by(message: &StunMessage<'_>, credentials: &IceCreds) -> bool {
    message
        .split_username()
        .is_some_and(|(local, _)| local == credentials.ufrag)
        && message.verify(credentials.pass.as_bytes(), hmac_sha1)
}
