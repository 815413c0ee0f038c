//! A receiver that does nothing but report when packets arrived, as browsers do.

use std::collections::BTreeMap;

/// Collects arrivals, and writes transport feedback
/// (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).
#[derive(Default)]
pub(crate) struct Receiver {
    /// Times of arrival by extended sequence number, for what was not reported yet.
    arrived: BTreeMap<u64, u64>,
    newest: Option<u64>,
    next: u64,
    feedbacks: u8,
}

impl Receiver {
    pub(crate) fn receive(&mut self, seq: u16, at_us: u64) {
        let newest = self.newest.unwrap_or(u64::from(seq) + 65_536);
        let distance = seq.wrapping_sub(newest as u16).cast_signed();
        let seq = newest.wrapping_add_signed(i64::from(distance));
        if self.newest.is_none() {
            self.next = seq;
        }
        self.newest = Some(newest.max(seq));
        self.arrived.entry(seq).or_insert(at_us);
    }

    /// Writes a feedback on everything that arrived since the last one.
    pub(crate) fn feedback(&mut self) -> Option<Vec<u8>> {
        let first = *self.arrived.keys().next()?;
        // One that comes late is reported all the same.
        let base = self.next.min(first).max(first.saturating_sub(4_000));
        let last = *self.arrived.keys().next_back()?;
        let reference = self.arrived[&first] / 64_000;
        let mut at_ticks = reference as i64 * 256;
        let mut symbols = Vec::new();
        let mut deltas = Vec::new();
        for seq in base..=last {
            let Some(at_us) = self.arrived.get(&seq) else {
                symbols.push(0_u16);
                continue;
            };
            let ticks = (*at_us / 250) as i64;
            let delta = (ticks - at_ticks).clamp(-32_768, 32_767);
            at_ticks += delta;
            if (0..=255).contains(&delta) {
                symbols.push(1);
                deltas.push(delta as u8);
            } else {
                symbols.push(2);
                deltas.extend_from_slice(&(delta as i16).to_be_bytes());
            }
        }
        self.arrived.clear();
        self.next = last + 1;
        self.feedbacks = self.feedbacks.wrapping_add(1);
        Some(self.write(base as u16, reference as u32, &symbols, &deltas))
    }

    fn write(&self, base: u16, reference: u32, symbols: &[u16], deltas: &[u8]) -> Vec<u8> {
        let mut out = vec![0x8f, 205, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2];
        out.extend_from_slice(&base.to_be_bytes());
        out.extend_from_slice(&(symbols.len() as u16).to_be_bytes());
        out.extend_from_slice(&reference.to_be_bytes()[1..]);
        out.push(self.feedbacks);
        for seven in symbols.chunks(7) {
            let shifts = (0..7).map(|place| 12 - 2 * place);
            let bits: u16 = seven.iter().zip(shifts).map(|(s, shift)| s << shift).sum();
            out.extend_from_slice(&(0b11 << 14 | bits).to_be_bytes());
        }
        out.extend_from_slice(deltas);
        out.resize(out.len().next_multiple_of(4), 0);
        let words = (out.len() / 4 - 1) as u16;
        out[2..4].copy_from_slice(&words.to_be_bytes());
        out
    }
}
