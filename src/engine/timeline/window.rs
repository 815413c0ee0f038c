//! Which of the newest sequence numbers have been used.

use super::Refused;

/// Numbers behind the newest that are remembered: a second of a large video stream, longer than
/// a packet that was lost on its way to us takes to be asked for again and to come.
const WINDOW: u64 = 1024;

/// A sliding window over sequence numbers.
#[derive(Clone, Debug)]
pub(super) struct SentWindow {
    newest: Option<u64>,
    /// Below this one, what was used has been forgotten.
    oldest: u64,
    bits: [u64; (WINDOW / 64) as usize],
}

impl Default for SentWindow {
    fn default() -> Self {
        Self {
            newest: None,
            oldest: 0,
            bits: [0; (WINDOW / 64) as usize],
        }
    }
}

impl SentWindow {
    /// Marks a number as used, if it can be said that it was not.
    pub(super) fn mark(&mut self, seq: u64) -> Result<(), Refused> {
        match self.newest {
            Some(newest) if seq <= newest => {
                if newest - seq >= WINDOW || seq < self.oldest {
                    return Err(Refused::TooOld);
                }
                if *self.word(seq) & bit(seq) != 0 {
                    return Err(Refused::Duplicate);
                }
            }
            Some(newest) if seq - newest >= WINDOW => {
                self.bits.fill(0);
                self.newest = Some(seq);
            }
            Some(newest) => {
                for passed_over in newest + 1..=seq {
                    *self.word(passed_over) &= !bit(passed_over);
                }
                self.newest = Some(seq);
            }
            None => self.newest = Some(seq),
        }
        *self.word(seq) |= bit(seq);
        Ok(())
    }

    /// Numbers above this one were given out, and not used after all.
    pub(super) fn take_back(&mut self, newest: u64) {
        let Some(given) = self.newest.filter(|given| *given > newest) else {
            return;
        };
        for unused in (newest + 1..=given).rev().take(WINDOW as usize) {
            *self.word(unused) &= !bit(unused);
        }
        // Their bits were those of numbers that were used long before.
        self.oldest = self.oldest.max((given + 1).saturating_sub(WINDOW));
        self.newest = Some(newest);
    }

    fn word(&mut self, seq: u64) -> &mut u64 {
        &mut self.bits[(seq % WINDOW / 64) as usize]
    }
}

fn bit(seq: u64) -> u64 {
    1 << (seq % 64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_number_is_used_once(
            steps in prop::collection::vec((0u64..40, 0u64..1100, 0u64..400), 1..500),
        ) {
            let mut window = SentWindow::default();
            let mut used = std::collections::BTreeSet::new();
            let (mut newest, mut oldest) = (0, 0);
            let mut base = 0u64;
            for (ahead, behind, back) in steps {
                // Now and then the newest numbers turn out not to have been used.
                if back < 20 && used.last().is_some() {
                    oldest = oldest.max((newest + 1u64).saturating_sub(WINDOW));
                    newest = newest.saturating_sub(back * 3);
                    used.retain(|seq| *seq <= newest);
                    window.take_back(newest);
                    base = newest;
                }
                base += ahead;
                let seq = base.saturating_sub(behind / 20 * behind / 20);
                let verdict = window.mark(seq);
                let is_old = seq < oldest || newest >= seq + WINDOW;
                let expected = if seq <= newest && is_old && !used.is_empty() {
                    Err(Refused::TooOld)
                } else if used.contains(&seq) {
                    Err(Refused::Duplicate)
                } else {
                    Ok(())
                };
                prop_assert_eq!(verdict, expected, "{} after {}", seq, newest);
                if verdict.is_ok() {
                    used.insert(seq);
                    newest = newest.max(seq);
                }
            }
        }
    }
}
