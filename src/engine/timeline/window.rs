//! Which of the newest sequence numbers have been used.

use super::Refused;

/// Numbers behind the newest that are remembered: a second of a large video stream, longer than
/// a packet that was lost on its way to us takes to be asked for again and to come.
const WINDOW: u64 = 1024;

/// A sliding window over sequence numbers.
#[derive(Clone, Debug)]
pub(super) struct SentWindow {
    newest: Option<u64>,
    bits: [u64; (WINDOW / 64) as usize],
}

impl Default for SentWindow {
    fn default() -> Self {
        Self {
            newest: None,
            bits: [0; (WINDOW / 64) as usize],
        }
    }
}

impl SentWindow {
    /// Reads what [`Self::mark`] will need.
    pub(super) fn warm(&self, seq: u64) -> u64 {
        self.bits[(seq % WINDOW / 64) as usize]
    }

    /// Marks a number as used, if it can be said that it was not.
    pub(super) fn mark(&mut self, seq: u64) -> Result<(), Refused> {
        match self.newest {
            Some(newest) if seq <= newest => {
                if newest - seq >= WINDOW {
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
        fn each_number_is_used_once(steps in prop::collection::vec((0u64..40, 0u64..1100), 1..500)) {
            let mut window = SentWindow::default();
            let mut used = std::collections::BTreeSet::new();
            let mut newest = 0;
            let mut base = 0u64;
            for (ahead, behind) in steps {
                base += ahead;
                let seq = base.saturating_sub(behind / 20 * behind / 20);
                let verdict = window.mark(seq);
                let expected = if used.contains(&seq) && newest - seq < WINDOW {
                    Err(Refused::Duplicate)
                } else if !used.is_empty() && newest >= seq + WINDOW {
                    Err(Refused::TooOld)
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
