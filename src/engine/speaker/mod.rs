//! Who is speaking, from audio levels alone (RFC 6464).
//!
//! After I. Volfin and I. Cohen, "Dominant speaker identification for multipoint
//! videoconferencing" (Computer Speech & Language 27, 2013), with the constants that Jitsi and
//! mediasoup use. Each voice is scored over three lengths of time: the moment (20 ms), a word
//! (100 ms) and a phrase (1 s). Somebody takes over by being well ahead of the present speaker
//! in the first two, and ahead in the third: in a pause, having spoken more of late. Noise is
//! told from speech by its length, and a slow murmur by its own lowest level.

mod voice;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use voice::Voice;

/// How often it is decided who the dominant speaker is.
///
/// A word's length: seldom enough to cost nothing, often enough to find a pause of the present
/// speaker that falls into a word of the next.
const DECISION_INTERVAL: Duration = Duration::from_millis(100);

/// How far ahead of the present speaker, as the logarithm of the ratio of scores, somebody has
/// to be: over the moment (C1), over a word (C2), over a phrase (C3).
const LEADS: [f64; 3] = [3.0, 2.0, 0.0];

/// Words out of the last ten that somebody has to have spoken to take over.
///
/// The scores alone would hand a silent room to whoever coughs: 200 ms are two or, spread over
/// the borders of words, a part of three. Four mean that speech is noticed after 400 ms.
const MIN_WORDS: u8 = 4;

/// How long a speaker stays, at least, while he still speaks: pictures that change more often
/// are worse to look at than the second best of two who talk at once.
const MIN_STAY: Duration = Duration::from_secs(2);

/// How long somebody has to be silent to have finished.
const PAUSE: Duration = Duration::from_millis(500);

/// Another speaker is the dominant one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<K> {
    /// Who was it before; `None` at first, and if that one has left.
    pub from: Option<K>,
    /// Who is it now.
    pub to: K,
}

/// Follows the voices of one room; `K` names them.
#[derive(Clone, Debug)]
pub struct SpeakerDetector<K> {
    // Ordered, so that the same room decides in the same way every time.
    voices: BTreeMap<K, Voice>,
    dominant: Option<K>,
    changed_at: Option<Instant>,
    decide_at: Option<Instant>,
}

impl<K> Default for SpeakerDetector<K> {
    fn default() -> Self {
        Self {
            voices: BTreeMap::new(),
            dominant: None,
            changed_at: None,
            decide_at: None,
        }
    }
}

impl<K: Copy + Ord> SpeakerDetector<K> {
    /// Takes in the level of one packet as RFC 6464 has it: 0 is the loudest, 127 silence, in
    /// -dBov. Larger numbers count as silence.
    pub fn level(&mut self, voice: K, level: u8, now: Instant) {
        let loudness = 127u8.saturating_sub(level);
        let voice = self.voices.entry(voice).or_insert_with(|| Voice::new(now));
        voice.hear(loudness, now);
        self.decide_at.get_or_insert(now + DECISION_INTERVAL);
    }

    /// Forgets a voice that has left or was muted. If it was the dominant one, the place is
    /// vacant until somebody speaks.
    pub fn remove(&mut self, voice: K) {
        self.voices.remove(&voice);
        if self.dominant == Some(voice) {
            self.dominant = None;
        }
        if self.voices.is_empty() {
            self.decide_at = None;
        }
    }

    /// Who spoke last with some weight, though perhaps silent by now.
    pub fn dominant(&self) -> Option<K> {
        self.dominant
    }

    /// When to [`Self::poll`] next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.decide_at
    }

    /// Decides, when it is time to, and tells if another one is the dominant speaker now.
    pub fn poll(&mut self, now: Instant) -> Option<Change<K>> {
        let due = self.decide_at.filter(|&due| due <= now)?;
        // Decisions keep their pace, unless nobody has asked for a while.
        self.decide_at = Some((due + DECISION_INTERVAL).max(now));
        for voice in self.voices.values_mut() {
            voice.age(now);
        }
        let next = self.challenger(now)?;
        let change = Change {
            from: self.dominant.replace(next),
            to: next,
        };
        self.changed_at = Some(now);
        Some(change)
    }

    /// The `count` loudest voices of this moment, loudest first. Voices that were not heard for
    /// 150 ms, or are silent, are not among them.
    pub fn loudest(&self, count: usize, now: Instant) -> SmallVec<[K; 8]> {
        let mut heard: SmallVec<[(u16, K); 32]> = self
            .voices
            .iter()
            .filter_map(|(&key, voice)| Some((voice.energy(now)?, key)))
            .collect();
        // Stable: of two that are equally loud, the same one is first every time.
        heard.sort_by_key(|&(energy, _)| std::cmp::Reverse(energy));
        heard.into_iter().take(count).map(|(_, key)| key).collect()
    }

    /// Who takes over, if anybody does.
    fn challenger(&self, now: Instant) -> Option<K> {
        let present = self.dominant.and_then(|key| self.voices.get(&key));
        let is_new = self
            .changed_at
            .is_some_and(|at| now.saturating_duration_since(at) < MIN_STAY);
        if is_new && present.is_some_and(|voice| !voice.is_silent_for(PAUSE)) {
            return None;
        }
        let to_beat = present.map_or(voice::SILENCE, Voice::scores);
        let mut best: Option<(f64, K)> = None;
        for (&key, voice) in &self.voices {
            if self.dominant == Some(key) || voice.words() < MIN_WORDS {
                continue;
            }
            let scores = voice.scores();
            let lead = |length: usize| (scores[length] / to_beat[length]).ln();
            let is_ahead = (0..LEADS.len()).all(|length| lead(length) > LEADS[length]);
            if is_ahead && best.is_none_or(|(highest, _)| lead(1) > highest) {
                best = Some((lead(1), key));
            }
        }
        best.map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests;
