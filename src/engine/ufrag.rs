//! ICE user fragments that name their session.
//!
//! We choose the local user fragment (RFC 8445 §5.3), so it can carry the [`SessionKey`] that
//! the receiving thread needs to route a connectivity check. It is a hint, not a proof: the
//! session that it leads to still checks the message's integrity.

use rand::{Rng, RngExt};

use super::SessionKey;
use super::ids::base32;

/// 80 bits of key, 20 of randomness so that a restart always changes it.
const UFRAG_CHARS: usize = 20;

/// A new user fragment for a session.
pub fn ufrag_of_session(key: SessionKey, rng: &mut impl Rng) -> String {
    let named =
        u128::from(key.shard) << 64 | u128::from(key.index) << 32 | u128::from(key.generation);
    base32(
        named << 20 | u128::from(rng.random::<u32>() >> 12),
        UFRAG_CHARS as u32,
    )
}

/// The session that a user fragment of ours names; `None` if it is not one of ours.
pub fn session_of_ufrag(ufrag: &str) -> Option<SessionKey> {
    if ufrag.len() != UFRAG_CHARS {
        return None;
    }
    let mut value: u128 = 0;
    for c in ufrag.bytes() {
        let digit = match c {
            b'a'..=b'z' => c - b'a',
            b'2'..=b'7' => c - b'2' + 26,
            _ => return None,
        };
        value = value << 5 | u128::from(digit);
    }
    let named = value >> 20;
    Some(SessionKey {
        shard: (named >> 64) as u16,
        index: (named >> 32) as u32,
        generation: named as u32,
    })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn a_user_fragment_leads_back_to_its_session() {
        let mut rng = StdRng::seed_from_u64(7);
        for _ in 0..1000 {
            let key = SessionKey {
                shard: rng.random(),
                index: rng.random(),
                generation: rng.random(),
            };
            let ufrag = ufrag_of_session(key, &mut rng);
            assert_eq!(session_of_ufrag(&ufrag), Some(key));
            assert_ne!(
                ufrag,
                ufrag_of_session(key, &mut rng),
                "a restart must change it"
            );
        }
    }

    #[test]
    fn foreign_user_fragments_name_nobody() {
        for ufrag in [
            "",
            "abcd",
            "ABCDEFGHIJKLMNOPQRST",
            "abcdefghijklmnopqrs1",
            "é234567890123456789",
        ] {
            assert_eq!(session_of_ufrag(ufrag), None, "{ufrag}");
        }
    }
}
