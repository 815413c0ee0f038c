//! Who is at which address.
//!
//! Written by the shards, when an authenticated ICE check shows that a session can be reached
//! at an address; read by the receiving thread for every datagram that is not such a check.

use std::hash::{Hash, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry as MapEntry;
use smallvec::SmallVec;

/// How long an address stays its owner's without a sign of life.
///
/// A shorter time lets a session that spoofs its neighbour's address take over what the
/// neighbour sends; a longer one keeps a client waiting that got a dead one's address from
/// the same NAT. Browsers check every 2.5 s and send media or reports more often.
pub const TAKE_OVER_AFTER: Duration = Duration::from_secs(5);

/// Most addresses of one session.
///
/// A client has a handful of interfaces and NATs; replayed checks from a thousand addresses
/// must not fill the table.
pub const MAX_ADDRESSES_PER_SESSION: usize = 8;

/// What became of an address that a session was heard from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// Nobody had it.
    New,
    /// The session had it already; that it lives is noted.
    Same,
    /// Another session had it and was silent for too long.
    Moved,
    /// Another session has it and is alive: it keeps it.
    Refused,
}

/// Which session each address belongs to, at most [`MAX_ADDRESSES_PER_SESSION`] for each.
///
/// Strangers choose the addresses, so that the hash is keyed. Its size is bounded by the number
/// of sessions. All changes for one session are expected from one thread.
pub struct AddressTable<K> {
    epoch: Instant,
    entries: DashMap<SocketAddr, Entry<K>, RandomState>,
    of_session: DashMap<K, SmallVec<[SocketAddr; 2]>, RandomState>,
}

/// Times are milliseconds since the table's epoch; zero is never.
#[derive(Debug)]
struct Entry<K> {
    key: K,
    checked_ms: AtomicU64,
    media_ms: AtomicU64,
}

impl<K> Entry<K> {
    fn heard_ms(&self) -> u64 {
        self.checked_ms
            .load(Ordering::Relaxed)
            .max(self.media_ms.load(Ordering::Relaxed))
    }
}

impl<K: Copy + Eq + Hash> AddressTable<K> {
    /// An empty table; `epoch` is not later than any time that it will be told.
    pub fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            entries: DashMap::default(),
            of_session: DashMap::default(),
        }
    }

    /// Who has this address.
    pub fn owner(&self, address: SocketAddr) -> Option<K> {
        self.entries.get(&address).map(|entry| entry.key)
    }

    /// Who has this address, from which RTP or RTCP just came: a sign of life.
    ///
    /// DTLS is none: a client that got a dead one's address sends hellos from it, and would
    /// keep the dead one's entry alive with them.
    pub fn media_from(&self, address: SocketAddr, now: Instant) -> Option<K> {
        let entry = self.entries.get(&address)?;
        let now_ms = self.since_epoch_ms(now);
        // Once per millisecond is enough, and spares the cache line.
        if entry.media_ms.load(Ordering::Relaxed) != now_ms {
            entry.media_ms.store(now_ms, Ordering::Relaxed);
        }
        Some(entry.key)
    }

    /// An authenticated check of session `key` came from this address.
    pub fn learn(&self, address: SocketAddr, key: K, now: Instant) -> Learned {
        let now_ms = self.since_epoch_ms(now);
        let learned = match self.entries.entry(address) {
            MapEntry::Vacant(vacant) => {
                vacant.insert(Self::entry(key, now_ms));
                Learned::New
            }
            MapEntry::Occupied(mut occupied) => {
                let present = occupied.get();
                let silent_ms = now_ms.saturating_sub(present.heard_ms());
                if present.key == key {
                    present.checked_ms.store(now_ms, Ordering::Relaxed);
                    Learned::Same
                } else if u128::from(silent_ms) > TAKE_OVER_AFTER.as_millis() {
                    occupied.insert(Self::entry(key, now_ms));
                    Learned::Moved
                } else {
                    Learned::Refused
                }
            }
        };
        if matches!(learned, Learned::New | Learned::Moved) {
            self.note(address, key);
        }
        learned
    }

    /// Session `key` is gone, and its addresses with it.
    pub fn forget(&self, key: K) {
        let addresses = self.of_session.remove(&key).map(|(_, addresses)| addresses);
        for address in addresses.into_iter().flatten() {
            self.entries
                .remove_if(&address, |_, entry| entry.key == key);
        }
    }

    /// How many addresses are known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds to a session's own list, in the place of another address if the list is full.
    fn note(&self, address: SocketAddr, key: K) {
        let mut addresses = self
            .of_session
            .get(&key)
            .map(|list| list.clone())
            .unwrap_or_default();
        // Addresses that went to other sessions meanwhile.
        addresses.retain(|known| *known != address && self.owner(*known) == Some(key));
        if addresses.len() >= MAX_ADDRESSES_PER_SESSION {
            let (place, _) = addresses
                .iter()
                .enumerate()
                .min_by_key(|(_, known)| self.usefulness(**known))
                .expect("a full list has a least useful address");
            let evicted = addresses.remove(place);
            self.entries
                .remove_if(&evicted, |_, entry| entry.key == key);
        }
        addresses.push(address);
        self.of_session.insert(key, addresses);
    }

    /// Addresses that never carried media go first, then those last heard longest ago: replayed
    /// checks from elsewhere do not push out the path in use.
    fn usefulness(&self, address: SocketAddr) -> (u64, u64) {
        self.entries.get(&address).map_or((0, 0), |entry| {
            (
                entry.media_ms.load(Ordering::Relaxed),
                entry.checked_ms.load(Ordering::Relaxed),
            )
        })
    }

    fn entry(key: K, now_ms: u64) -> Entry<K> {
        Entry {
            key,
            checked_ms: AtomicU64::new(now_ms),
            media_ms: AtomicU64::new(0),
        }
    }

    fn since_epoch_ms(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_millis() as u64 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::some_moment;

    fn address(n: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], n))
    }

    fn table() -> (AddressTable<&'static str>, Instant) {
        let epoch = some_moment();
        (AddressTable::new(epoch), epoch)
    }

    #[test]
    fn a_neighbour_cannot_take_the_address_of_a_session_that_is_alive() {
        let (table, start) = table();
        assert_eq!(table.learn(address(1), "ada", start), Learned::New);
        let later = start + Duration::from_secs(60);
        assert_eq!(table.media_from(address(1), later), Some("ada"));
        assert_eq!(
            table.learn(address(1), "eve", later + TAKE_OVER_AFTER),
            Learned::Refused
        );
        assert_eq!(table.owner(address(1)), Some("ada"));
        assert_eq!(
            table.learn(address(1), "ada", later + TAKE_OVER_AFTER),
            Learned::Same
        );
        let hours = later + 2 * TAKE_OVER_AFTER;
        assert_eq!(
            table.learn(address(1), "eve", hours),
            Learned::Refused,
            "checks are signs of life"
        );
    }

    #[test]
    fn a_client_gets_the_address_of_one_that_fell_silent_though_it_sends_hellos_from_it() {
        let (table, start) = table();
        table.learn(address(1), "ada", start);
        let soon = start + TAKE_OVER_AFTER;
        assert_eq!(table.learn(address(1), "bob", soon), Learned::Refused);
        assert_eq!(
            table.owner(address(1)),
            Some("ada"),
            "where a hello would go"
        );
        let later = soon + Duration::from_millis(1);
        assert_eq!(table.learn(address(1), "bob", later), Learned::Moved);
        assert_eq!(table.media_from(address(1), later), Some("bob"));

        table.forget("ada");
        assert_eq!(
            table.owner(address(1)),
            Some("bob"),
            "what moved is not forgotten with its former owner"
        );
        table.forget("bob");
        assert!(table.is_empty() && table.of_session.is_empty());
    }

    #[test]
    fn checks_replayed_from_everywhere_do_not_cut_off_the_path_in_use() {
        let (table, start) = table();
        table.learn(address(1), "ada", start);
        table.media_from(address(1), start + Duration::from_millis(20));
        for port in 1000..2000 {
            table.learn(
                address(port),
                "ada",
                start + Duration::from_millis(u64::from(port)),
            );
        }
        assert_eq!(table.len(), MAX_ADDRESSES_PER_SESSION);
        assert_eq!(table.owner(address(1)), Some("ada"));
        assert_eq!(
            table.owner(address(1999)),
            Some("ada"),
            "the latest, which may be a new path"
        );
        assert_eq!(table.owner(address(1000)), None);
        table.forget("ada");
        assert!(table.is_empty() && table.of_session.is_empty());
    }

    #[test]
    fn a_session_that_is_gone_leaves_its_address_free_at_once() {
        let (table, start) = table();
        table.learn(address(1), "ada", start);
        table.forget("ada");
        assert_eq!(table.learn(address(1), "bob", start), Learned::New);
    }

    #[test]
    fn sessions_on_many_threads_keep_their_own_addresses() {
        let table = AddressTable::new(some_moment());
        let now = some_moment();
        std::thread::scope(|scope| {
            for session in 0..4u16 {
                let table = &table;
                scope.spawn(move || {
                    for round in 0..500u16 {
                        let port = session * 1000 + round;
                        assert_eq!(table.learn(address(port), session, now), Learned::New);
                        assert_eq!(table.owner(address(port)), Some(session));
                    }
                    assert!(table.len() <= 4 * MAX_ADDRESSES_PER_SESSION + 4);
                    table.forget(session);
                });
            }
        });
        assert!(table.is_empty());
    }
}
