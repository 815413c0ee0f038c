//! Answers that got lost: whoever asks a door again with the same `Idempotency-Key` gets the
//! session that the first request made, and not a second one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use axum::body::Bytes;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::problem::Problem;
use crate::engine::ids::SessionId;

/// How long an answer is kept: whoever asks again does so within seconds.
const KEPT: Duration = Duration::from_secs(60);

/// Longest key, in bytes: a UUID has 36.
const MAX_KEY_BYTES: usize = 128;

type Hash = [u8; 32];

/// What was answered to whom.
pub(super) struct IdempotencyKeys {
    kept: Arc<DashMap<Hash, Kept>>,
    /// Most answers that are kept. Beyond that, keys are taken and forgotten.
    most: usize,
}

struct Kept {
    /// Of the offer: a key is for one.
    offer: Hash,
    until: Instant,
    /// Nothing while the first request is under way.
    answer: Option<Answer>,
}

#[derive(Clone)]
struct Answer {
    session: SessionId,
    headers: HeaderMap,
    body: Bytes,
}

/// What to do with a request that names a key.
pub(super) enum Turn {
    /// It is the first; what it is answered is to be kept.
    First(Claim),
    /// It is the first, and there is no room for what it is answered.
    Unkept(Claim),
    /// It was answered before.
    Again(Box<Response>),
}

/// The place of an answer that is still to come. Dropped without one, it is free again.
pub(super) struct Claim {
    place: Option<Hash>,
    kept: Arc<DashMap<Hash, Kept>>,
}

impl IdempotencyKeys {
    /// `most` answers are kept.
    pub(super) fn new(most: usize) -> Self {
        let kept = Arc::default();
        Self { kept, most }
    }

    /// Whether a request at a door is the first of its key, or the first since its session ended. A
    /// key is its sender's own: with another token it is another key, and with another offer it is
    /// refused.
    pub(super) fn take(
        &self,
        door: &str,
        headers: &HeaderMap,
        offer: &str,
        is_open: impl Fn(SessionId) -> bool,
        now: Instant,
    ) -> Result<Turn, Problem> {
        let claim = |place: Option<Hash>| Claim {
            place,
            kept: Arc::clone(&self.kept),
        };
        let Some(key) = headers.get("idempotency-key") else {
            return Ok(Turn::First(claim(None)));
        };
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            let detail = format!("Idempotency-Key has 1 to {MAX_KEY_BYTES} bytes.");
            return Err(Problem::bad_request(detail));
        }
        let token = headers
            .get(AUTHORIZATION)
            .map_or(&[][..], |it| it.as_bytes());
        let place = hash(&[door.as_bytes(), token, key.as_bytes()]);
        let offer = hash(&[offer.as_bytes()]);
        if self.kept.len() >= self.most {
            self.forget(now);
            // An answer that is there is given all the same.
            if self.kept.len() >= self.most && !self.kept.contains_key(&place) {
                return Ok(Turn::Unkept(claim(None)));
            }
        }
        match self.kept.entry(place) {
            Entry::Occupied(entry) if entry.get().holds(is_open, now) => {
                let kept = entry.get();
                if kept.offer != offer {
                    let detail = "This Idempotency-Key was used with another offer.";
                    return Err(Problem::unprocessable(detail));
                }
                match &kept.answer {
                    Some(answer) => Ok(Turn::Again(Box::new(answer.replay()))),
                    None => Err(Problem::new(
                        StatusCode::CONFLICT,
                        "under-way",
                        "The first request with this Idempotency-Key is not answered yet.",
                    )
                    .retry_after(1)),
                }
            }
            entry => {
                entry.insert(Kept {
                    offer,
                    until: now + KEPT,
                    answer: None,
                });
                Ok(Turn::First(claim(Some(place))))
            }
        }
    }

    /// Forgets answers that were kept for long enough.
    pub(super) fn forget(&self, now: Instant) {
        self.kept.retain(|_, kept| kept.until > now);
    }
}

impl Kept {
    fn holds(&self, is_open: impl Fn(SessionId) -> bool, now: Instant) -> bool {
        let answer = self.answer.as_ref();
        self.until > now && answer.is_none_or(|answer| is_open(answer.session))
    }
}

impl Claim {
    /// Keeps the answer, if the request named a key.
    pub(super) fn keep(mut self, session: SessionId, headers: &HeaderMap, body: &str) {
        let Some(place) = self.place.take() else {
            return;
        };
        if let Some(mut kept) = self.kept.get_mut(&place) {
            kept.answer = Some(Answer {
                session,
                headers: headers.clone(),
                body: Bytes::copy_from_slice(body.as_bytes()),
            });
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.kept.remove(&place);
        }
    }
}

impl Answer {
    fn replay(&self) -> Response {
        (StatusCode::CREATED, self.headers.clone(), self.body.clone()).into_response()
    }
}

/// The hash of some texts, none of which can run into the next.
fn hash(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let digest = context.finish();
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::super::clock;
    use super::*;

    fn headers(key: &str, token: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("idempotency-key", key.parse().unwrap());
        headers.insert(AUTHORIZATION, token.parse().unwrap());
        headers
    }

    fn session() -> SessionId {
        "a".repeat(26).parse().expect("26 characters of base32")
    }

    fn is_first(keys: &IdempotencyKeys, headers: &HeaderMap, now: Instant) -> bool {
        match keys.take("/whip/demo", headers, "v=0", |_| true, now) {
            Ok(Turn::First(claim)) => {
                claim.keep(session(), &HeaderMap::new(), "answer");
                true
            }
            Ok(Turn::Unkept(_)) => true,
            Ok(Turn::Again(..)) => false,
            Err(problem) => panic!("{problem:?}"),
        }
    }

    #[test]
    fn a_key_is_its_senders_own_and_holds_for_a_minute() {
        let (keys, now) = (IdempotencyKeys::new(1024), clock::now());
        let (ada, grace) = (headers("1", "Bearer ada"), headers("1", "Bearer grace"));
        assert!(is_first(&keys, &ada, now));
        assert!(!is_first(&keys, &ada, now));
        assert!(is_first(&keys, &grace, now));
        assert!(is_first(&keys, &ada, now + KEPT));
    }

    #[test]
    fn a_request_that_fails_leaves_its_key_free_and_one_under_way_does_not() {
        let (keys, now) = (IdempotencyKeys::new(1024), clock::now());
        let ada = headers("1", "Bearer ada");
        let claim = keys.take("/whip/demo", &ada, "v=0", |_| true, now);
        assert!(keys.take("/whip/demo", &ada, "v=0", |_| true, now).is_err());
        drop(claim);
        assert!(is_first(&keys, &ada, now));
        assert!(keys.take("/whip/demo", &ada, "v=1", |_| true, now).is_err());
    }

    #[test]
    fn a_flood_of_keys_is_kept_up_to_a_limit() {
        let (keys, now) = (IdempotencyKeys::new(1024), clock::now());
        for key in 0..1024 + 10 {
            is_first(&keys, &headers(&key.to_string(), "Bearer ada"), now);
        }
        assert_eq!(keys.kept.len(), 1024);
        let late = keys.take(
            "/whip/demo",
            &headers("y", "Bearer ada"),
            "v=0",
            |_| true,
            now,
        );
        assert!(matches!(late, Ok(Turn::Unkept(_))), "it is counted");
        assert!(
            !is_first(&keys, &headers("0", "Bearer ada"), now),
            "what is there is given"
        );
        assert!(is_first(&keys, &headers("x", "Bearer ada"), now + KEPT));
        assert_eq!(keys.kept.len(), 1);
    }
}
