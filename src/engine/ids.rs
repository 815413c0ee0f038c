//! Names: of rooms, participants, sessions and tracks.
//!
//! What a client may choose (rooms, participants) is checked here, once, and is a type
//! of its own from then on. What the server chooses (sessions, tracks) is random.

use std::fmt;
use std::str::FromStr;

use rand::{Rng, RngExt};
use serde::{Serialize, Serializer};
use thiserror::Error;

/// Longest name of a room or participant, in bytes: it travels in URLs and in every event.
pub const MAX_NAME_BYTES: usize = 64;

/// Why a name that a client chose was refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NameError {
    /// Nothing was given.
    #[error("a name must not be empty")]
    Empty,
    /// More than [`MAX_NAME_BYTES`].
    #[error("a name has at most {MAX_NAME_BYTES} bytes")]
    TooLong,
    /// Something other than letters, digits, `-`, `_`, `.` and `~`, or only dots.
    #[error("a name consists of letters, digits, '-', '_', '.' and '~', and not of dots alone")]
    Character,
}

fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong);
    }
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
    if !name.chars().all(allowed) || name.chars().all(|c| c == '.') {
        return Err(NameError::Character);
    }
    Ok(())
}

macro_rules! chosen_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as it stands in URLs (before percent-encoding) and events.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                check_name(name)?;
                Ok(Self(name.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

chosen_name! {
    /// The name of a room, as it stands in its URL.
    RoomId
}

chosen_name! {
    /// Who somebody is within a room: chosen by the client (WHIP path) or made by the server.
    ParticipantId
}

impl ParticipantId {
    /// A name for somebody who did not choose one.
    pub fn random(rng: &mut impl Rng) -> Self {
        Self(base32(rng.random::<u64>().into(), 12).into())
    }
}

/// The capability of a session: whoever knows it may change and end it (RFC 9725 §4.2).
///
/// 128 random bits, written as 26 characters of lower-case base32.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u128);

impl SessionId {
    /// A new capability; `rng` must be a cryptographic generator.
    pub fn random(rng: &mut impl Rng) -> Self {
        Self(rng.random())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32(self.0, 26))
    }
}

/// Not the capability itself: logs and panics must not hand it on.
impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..", &base32(self.0, 26)[..4])
    }
}

impl FromStr for SessionId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() != 26 {
            return Err(NameError::TooLong);
        }
        let mut value: u128 = 0;
        for c in text.bytes() {
            let digit = BASE32
                .iter()
                .position(|&b| b == c)
                .ok_or(NameError::Character)?;
            // 26 * 5 = 130 bits: the first character carries three only.
            value = value.checked_mul(32).ok_or(NameError::Character)? + digit as u128;
        }
        Ok(Self(value))
    }
}

/// A published track, as events and wishes name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(u64);

impl TrackId {
    /// A new name for a track.
    pub fn random(rng: &mut impl Rng) -> Self {
        // 60 bits fill twelve characters exactly.
        Self(rng.random::<u64>() >> 4)
    }
}

impl fmt::Display for TrackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32(self.0.into(), 12))
    }
}

impl FromStr for TrackId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() != 12 {
            return Err(NameError::TooLong);
        }
        let mut value: u64 = 0;
        for c in text.bytes() {
            let digit = BASE32
                .iter()
                .position(|&b| b == c)
                .ok_or(NameError::Character)?;
            value = value << 5 | digit as u64;
        }
        Ok(Self(value))
    }
}

impl Serialize for TrackId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// RFC 4648 §6 in lower case: no two characters look alike in a URL.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The low `5 * length` bits of a value, most significant first.
pub(crate) fn base32(value: u128, length: u32) -> String {
    (0..length)
        .rev()
        .map(|i| {
            let shift = 5 * i;
            let digit = if shift < 128 { value >> shift & 31 } else { 0 };
            BASE32[digit as usize] as char
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn of_a_hundred_thousand_sessions_no_two_have_the_same_capability() {
        let mut rng = StdRng::seed_from_u64(7);
        let all: BTreeSet<String> = (0..100_000)
            .map(|_| SessionId::random(&mut rng).to_string())
            .collect();
        assert_eq!(all.len(), 100_000);
        assert!(all.iter().all(|id| id.len() == 26));
    }

    #[test]
    fn names_that_a_url_could_twist_are_refused() {
        for bad in [
            "",
            "..",
            ".",
            "a/b",
            "a b",
            "a?b",
            "a%2f",
            "a\0",
            &"x".repeat(65),
        ] {
            assert!(bad.parse::<RoomId>().is_err(), "{bad:?}");
        }
        for good in ["lobby", "Büro-3", "a.b_c~d", "会議"] {
            assert!(good.parse::<RoomId>().is_ok(), "{good:?}");
        }
    }

    #[test]
    fn ids_are_read_back_as_they_were_written() {
        let mut rng = StdRng::seed_from_u64(1);
        for _ in 0..100 {
            let session = SessionId::random(&mut rng);
            assert_eq!(session.to_string().parse(), Ok(session));
            let track = TrackId::random(&mut rng);
            assert_eq!(track.to_string().parse(), Ok(track));
        }
        assert!(
            "7".repeat(26).parse::<SessionId>().is_err(),
            "more than 128 bits"
        );
    }
}
