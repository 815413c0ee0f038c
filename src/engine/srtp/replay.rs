//! Which SRTCP packets were seen before (RFC 3711 §3.3.2).

use super::OpenError;

/// Senders in one session that can be told apart.
///
/// A peer reports from the SSRC of each of its streams, and of each retransmission stream if it
/// likes; a long call with many screen shares gathers some dozens. Sixteen octets each, made as
/// they come and only after authentication, so that nobody but the peer can use them up.
const MAX_SOURCES: usize = 256;

/// One window per sender: SRTCP counts for each SSRC on its own (RFC 3711 §3.2.3), so a common
/// window would take the slower of two streams for a replay.
#[derive(Debug, Default)]
pub(super) struct ReplayGuard {
    windows: Vec<Window>,
}

#[derive(Debug)]
struct Window {
    ssrc: u32,
    /// The highest index that was accepted.
    highest: u32,
    /// Bit `n`: the index `highest - n` was accepted. RFC 3711 asks for 64 at least.
    seen: u64,
}

impl ReplayGuard {
    /// Whether a packet may be new. Changes nothing, as the packet may be forged.
    pub(super) fn check(&self, ssrc: u32, index: u32) -> Result<(), OpenError> {
        let Some(window) = self.windows.iter().find(|window| window.ssrc == ssrc) else {
            return Ok(());
        };
        if index > window.highest {
            return Ok(());
        }
        match 1_u64.checked_shl(window.highest - index) {
            Some(bit) if window.seen & bit == 0 => Ok(()),
            _ => Err(OpenError::Replayed),
        }
    }

    /// Remembers a packet that passed [`check`](Self::check) and is authentic.
    pub(super) fn accept(&mut self, ssrc: u32, index: u32) -> Result<(), OpenError> {
        if let Some(window) = self.windows.iter_mut().find(|window| window.ssrc == ssrc) {
            window.accept(index);
            return Ok(());
        }
        if self.windows.len() >= MAX_SOURCES {
            return Err(OpenError::TooManySources);
        }
        self.windows.push(Window {
            ssrc,
            highest: index,
            seen: 1,
        });
        Ok(())
    }
}

impl Window {
    fn accept(&mut self, index: u32) {
        if index > self.highest {
            let ahead = index - self.highest;
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = index;
        } else {
            self.seen |= 1_u64.checked_shl(self.highest - index).unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(guard: &mut ReplayGuard, ssrc: u32, index: u32) -> Result<(), OpenError> {
        guard.check(ssrc, index)?;
        guard.accept(ssrc, index)
    }

    #[test]
    fn reordered_reports_are_taken_once_and_only_while_recent() {
        let mut guard = ReplayGuard::default();
        for index in [100, 98, 99, 130, 67] {
            assert_eq!(take(&mut guard, 1, index), Ok(()), "{index}");
            assert_eq!(
                take(&mut guard, 1, index),
                Err(OpenError::Replayed),
                "{index}"
            );
        }
        assert_eq!(
            take(&mut guard, 1, 66),
            Err(OpenError::Replayed),
            "too old to tell"
        );
        assert_eq!(take(&mut guard, 1, 100_000), Ok(()));
        assert_eq!(take(&mut guard, 1, 99_999), Ok(()));
        assert_eq!(take(&mut guard, 1, 130), Err(OpenError::Replayed));
    }

    #[test]
    fn two_streams_of_a_publisher_count_apart() {
        let mut guard = ReplayGuard::default();
        assert_eq!(take(&mut guard, 1, 5_000), Ok(()));
        assert_eq!(take(&mut guard, 2, 0), Ok(()));
        assert_eq!(take(&mut guard, 2, 0), Err(OpenError::Replayed));
    }

    #[test]
    fn a_peer_with_endless_sources_is_held_to_a_limit() {
        let mut guard = ReplayGuard::default();
        for ssrc in 0..MAX_SOURCES as u32 {
            assert_eq!(take(&mut guard, ssrc, 1), Ok(()));
        }
        assert_eq!(
            take(&mut guard, u32::MAX, 1),
            Err(OpenError::TooManySources)
        );
        assert_eq!(take(&mut guard, 7, 2), Ok(()), "known sources go on");
    }
}
