//! A bad network: packets that never leave, or are thrown away on arrival.

/// Decides which packets get lost; the same ones in every run of the same client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    /// Of 2^32 packets, so many.
    threshold: u64,
    state: u64,
}

impl Loss {
    /// Loses a share of all packets, from 0 to 1, each independently of the others.
    pub(crate) fn new(share: f64, seed: u64) -> Self {
        Self {
            threshold: (share.clamp(0.0, 1.0) * 4_294_967_296.0) as u64,
            // Neighbouring seeds must not begin alike.
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        }
    }

    /// Whether the next packet is lost.
    pub(crate) fn takes_next(&mut self) -> bool {
        if self.threshold == 0 {
            return false;
        }
        // Knuth's MMIX generator; its upper half is good enough to lose packets by.
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.state >> 32 < self.threshold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_that_is_asked_for_gets_lost() {
        for share in [0.0, 0.05, 0.5, 1.0] {
            for seed in 0..3 {
                let mut loss = Loss::new(share, seed);
                let lost = (0..10_000).filter(|_| loss.takes_next()).count() as f64 / 10_000.0;
                assert!((lost - share).abs() < 0.02, "{lost} of {share}");
            }
        }
    }
}
