//! How many allocations there may be, of one participant and in all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why there is no further allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The participant has as many as he may have.
    Participant,
    /// The relay has.
    Relay,
}

/// Counts allocations. Clones count the same ones.
#[derive(Clone, Debug)]
pub(super) struct Quota {
    per_participant: u32,
    in_all: u32,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    in_all: u32,
    of: HashMap<Arc<str>, u32>,
}

/// One allocation's place; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    participant: Arc<str>,
    taken: Arc<Mutex<Taken>>,
}

impl Quota {
    pub(super) fn new(per_participant: u32, in_all: u32) -> Self {
        let taken = Arc::default();
        Self {
            per_participant,
            in_all,
            taken,
        }
    }

    /// Whether there would be a place.
    pub(super) fn look(&self, participant: &str) -> Result<(), Full> {
        let taken = lock(&self.taken);
        if taken.of.get(participant).copied().unwrap_or(0) >= self.per_participant {
            return Err(Full::Participant);
        }
        if taken.in_all >= self.in_all {
            return Err(Full::Relay);
        }
        Ok(())
    }

    /// Takes a place.
    pub(super) fn take(&self, participant: &str) -> Result<Place, Full> {
        self.look(participant)?;
        let participant: Arc<str> = participant.into();
        let mut taken = lock(&self.taken);
        taken.in_all += 1;
        *taken.of.entry(Arc::clone(&participant)).or_default() += 1;
        Ok(Place {
            participant,
            taken: Arc::clone(&self.taken),
        })
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> u32 {
        lock(&self.taken).in_all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.in_all -= 1;
        if let Some(of) = taken.of.get_mut(&self.participant) {
            *of -= 1;
            if *of == 0 {
                taken.of.remove(&self.participant);
            }
        }
    }
}

/// A panic elsewhere leaves the numbers as they were.
fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_participant_does_not_take_the_others_places() {
        let quota = Quota::new(2, 3);
        let first = quota.take("demo/eve").unwrap();
        let _second = quota.take("demo/eve").unwrap();
        assert_eq!(quota.take("demo/eve").unwrap_err(), Full::Participant);
        let _ada = quota.take("demo/ada").unwrap();
        assert_eq!(quota.take("demo/bob").unwrap_err(), Full::Relay);
        drop(first);
        assert_eq!(quota.taken(), 2);
        let bob = quota.take("demo/bob").unwrap();
        drop(bob);
        assert_eq!(lock(&quota.taken).of.len(), 2, "who has none is forgotten");
    }
}
