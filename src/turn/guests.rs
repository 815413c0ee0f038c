//! Who may ask the relay: those who were given credentials with a session, as long as it lasts.

use std::hash::RandomState;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use dashmap::DashMap;

/// What proves that a user name is ours (draft-uberti-behave-turn-rest-00 §2.2). SHA-1 is what
/// TURN servers expect here; as a keyed hash it still holds.
pub fn password(secret: &[u8], username: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    BASE64_STANDARD.encode(hmac::sign(&key, username.as_bytes()))
}

/// The user names of open sessions. Clones are the same ones.
///
/// A name that is not among them is worth nothing, even with a password that fits: the end of a
/// session is the end of what its client may relay.
#[derive(Clone)]
pub struct Guests {
    shared: Arc<Shared>,
}

struct Shared {
    secret: Vec<u8>,
    /// How many sessions each name was given to: those of one participant in one second share it.
    open: DashMap<Arc<str>, u32, RandomState>,
}

/// A session's place among the [`Guests`]; dropped with the session.
pub struct Guest {
    username: Arc<str>,
    shared: Arc<Shared>,
}

impl Guests {
    /// Nobody yet; `secret` makes their passwords.
    pub fn new(secret: Vec<u8>) -> Self {
        let open = DashMap::default();
        let shared = Arc::new(Shared { secret, open });
        Self { shared }
    }

    /// Lets a session's client in under this name, which has the form `end:whose`, as long as the
    /// guest is kept.
    pub fn invite(&self, username: &str) -> Guest {
        let username: Arc<str> = username.into();
        *self.shared.open.entry(Arc::clone(&username)).or_default() += 1;
        let shared = Arc::clone(&self.shared);
        Guest { username, shared }
    }

    /// The password that goes with a name.
    pub fn password(&self, username: &str) -> String {
        password(&self.shared.secret, username)
    }

    /// Whether the session is there that the name was given to.
    pub(super) fn is_open(&self, username: &str) -> bool {
        self.shared.open.contains_key(username)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let open = &self.shared.open;
        if let Some(mut sessions) = open.get_mut(&self.username) {
            *sessions -= 1;
        }
        open.remove_if(&self.username, |_, sessions| *sessions == 0);
    }
}

/// Whose a user name is, if it has not ended.
pub(super) fn whose(username: &str, now: SystemTime) -> Option<&str> {
    let (end, whose) = username.split_once(':')?;
    let end: u64 = end.parse().ok()?;
    let since = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    (since.as_secs() < end).then_some(whose)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_password_is_the_one_that_coturn_computes() {
        // printf %s 1790003600:demo/ada | openssl dgst -sha1 -hmac SECRET -binary | base64
        assert_eq!(
            password(b"0123456789abcdef0123456789abcdef", "1790003600:demo/ada"),
            "OgpNUGkMUoSaXSqXTVoId2Y4514="
        );
    }

    #[test]
    fn a_guest_is_one_as_long_as_any_of_its_sessions() {
        let guests = Guests::new(vec![7; 32]);
        assert!(!guests.is_open("9:demo/ada"));
        let first = guests.invite("9:demo/ada");
        let second = guests.invite("9:demo/ada");
        drop(first);
        assert!(guests.is_open("9:demo/ada"));
        drop(second);
        assert!(!guests.is_open("9:demo/ada"));
        assert!(guests.shared.open.is_empty());
    }

    #[test]
    fn a_name_holds_until_the_second_that_it_says() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(whose("100:demo/ada", at(99)), Some("demo/ada"));
        assert_eq!(whose("100:demo/ada", at(100)), None);
        for odd in ["demo/ada", ":demo/ada", "-1:demo/ada", "1e9:demo/ada"] {
            assert_eq!(whose(odd, at(0)), None, "{odd}");
        }
    }
}
