//! One voice: its loudness over the last second, and what that says.

use std::time::{Duration, Instant};

/// The shortest length that is scored, and the usual length of a packet.
const MOMENT: Duration = Duration::from_millis(20);

/// Moments in a word, and words in a phrase (N2 and N3).
const MOMENTS_PER_WORD: usize = 5;
const WORDS_PER_PHRASE: usize = 10;
const MOMENTS: usize = MOMENTS_PER_WORD * WORDS_PER_PHRASE;

/// Steps of loudness that are told apart (N1), and how many decibels each has.
const STEPS: u8 = 13;
const DECIBELS_PER_STEP: u8 = 10;

/// A moment above this step is speech; a word of more than these moments is spoken; both as in
/// the implementations that are named in the module's documentation.
const SPEECH_STEP: u8 = 7;
const SPOKEN_MOMENTS: u8 = 4;

/// A pause between packets up to this long is a long packet (Opus has up to 120 ms) or a few
/// lost ones; beyond, the sender has stopped, as with discontinuous transmission.
const LONGEST_PACKET: Duration = Duration::from_millis(120);

/// How long a level says something about the present.
const ENERGY_EXPIRY: Duration = Duration::from_millis(150);

/// Moments over which the lowest level is looked for: 15 seconds.
const LOWEST_WINDOW: u16 = 750;

/// The least score, so that ratios and logarithms exist.
const MIN_SCORE: f64 = 1e-10;

/// The scores of somebody who says nothing.
pub(super) const SILENCE: [f64; 3] = [MIN_SCORE; 3];

/// Loudness is in decibels above -127 dBov, 0 to 127.
#[derive(Clone, Debug)]
pub(super) struct Voice {
    /// A ring of the last second's moments.
    moments: [u8; MOMENTS],
    newest: usize,
    /// Until when the ring is filled.
    filled_until: Instant,
    is_idle: bool,
    /// The level of the voice's background, found over [`LOWEST_WINDOW`]; 0 until known.
    lowest: u8,
    next_lowest: u8,
    next_lowest_moments: u16,
    /// Smoothed loudness, in 1/256 decibel.
    energy: u16,
    heard_at: Instant,
}

impl Voice {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            moments: [0; MOMENTS],
            newest: 0,
            filled_until: now,
            is_idle: true,
            lowest: 0,
            next_lowest: 0,
            next_lowest_moments: 0,
            energy: 0,
            heard_at: now,
        }
    }

    /// Takes in a packet's loudness.
    ///
    /// Moments go by the clock and not by packets, so that neither jitter nor long packets
    /// make a phrase shorter or longer.
    pub(super) fn hear(&mut self, loudness: u8, now: Instant) {
        self.age(now);
        let behind = now.saturating_duration_since(self.filled_until);
        let moments = ((behind + MOMENT / 2).as_millis() / MOMENT.as_millis()) as usize;
        if moments == 0 {
            let newest = &mut self.moments[self.newest];
            *newest = loudness.max(*newest);
        }
        for moment in 1..=moments {
            let is_before_speech = self.is_idle && moment < moments;
            self.push(if is_before_speech { 0 } else { loudness });
        }
        self.is_idle = false;
        self.note_lowest(loudness);
        let was_heard = now.saturating_duration_since(self.heard_at) <= ENERGY_EXPIRY;
        let before = if was_heard { self.energy } else { 0 };
        self.energy = (before + (u16::from(loudness) << 8)) / 2;
        self.heard_at = now;
    }

    /// Fills up with silence, if nothing was heard for longer than a packet takes.
    pub(super) fn age(&mut self, now: Instant) {
        let behind = now.saturating_duration_since(self.filled_until);
        if behind <= LONGEST_PACKET + MOMENT {
            return;
        }
        let silent = (behind - LONGEST_PACKET).as_millis() / MOMENT.as_millis();
        let silent = u32::try_from(silent).unwrap_or(u32::MAX);
        for _ in 0..(silent as usize).min(MOMENTS) {
            self.push(0);
        }
        // What is older than a phrase was pushed out anyway.
        self.filled_until = self.filled_until.max(now - LONGEST_PACKET);
        self.is_idle = true;
    }

    /// Smoothed loudness, if it was heard a moment ago and is more than silence.
    pub(super) fn energy(&self, now: Instant) -> Option<u16> {
        let is_fresh = now.saturating_duration_since(self.heard_at) <= ENERGY_EXPIRY;
        (is_fresh && self.energy > 0).then_some(self.energy)
    }

    /// Whether there was no speech in the last so many moments.
    pub(super) fn is_silent_for(&self, pause: Duration) -> bool {
        let moments = (pause.as_millis() / MOMENT.as_millis()) as usize;
        (0..moments.min(MOMENTS)).all(|age| self.step(age) <= SPEECH_STEP)
    }

    /// Words that were spoken in the last phrase.
    pub(super) fn words(&self) -> u8 {
        (0..WORDS_PER_PHRASE)
            .map(|word| u8::from(self.spoken_moments(word) > SPOKEN_MOMENTS))
            .sum()
    }

    /// How likely this is speech, over the moment, the word and the phrase.
    pub(super) fn scores(&self) -> [f64; 3] {
        [
            score(self.step(0), STEPS, 0.78),
            score(self.spoken_moments(0), MOMENTS_PER_WORD as u8, 24.0),
            score(self.words(), WORDS_PER_PHRASE as u8, 47.0),
        ]
    }

    /// The step of loudness so many moments ago; none within a step of the background.
    fn step(&self, age: usize) -> u8 {
        let loudness = self.moments[(self.newest + MOMENTS - age) % MOMENTS];
        let is_background = loudness < self.lowest.saturating_add(DECIBELS_PER_STEP);
        if is_background {
            0
        } else {
            loudness / DECIBELS_PER_STEP
        }
    }

    fn spoken_moments(&self, word: usize) -> u8 {
        let ages = word * MOMENTS_PER_WORD..(word + 1) * MOMENTS_PER_WORD;
        ages.map(|age| u8::from(self.step(age) > SPEECH_STEP)).sum()
    }

    fn push(&mut self, loudness: u8) {
        self.newest = (self.newest + 1) % MOMENTS;
        self.moments[self.newest] = loudness;
        self.filled_until += MOMENT;
    }

    /// Follows the background: down at once, up by half the way (in decibels, the geometric
    /// mean) after a window in which it was never as low.
    fn note_lowest(&mut self, loudness: u8) {
        if loudness == 0 {
            return;
        }
        if self.lowest == 0 || loudness < self.lowest {
            self.lowest = loudness;
            self.next_lowest_moments = 0;
            return;
        }
        let is_first = self.next_lowest_moments == 0;
        self.next_lowest = if is_first {
            loudness
        } else {
            self.next_lowest.min(loudness)
        };
        self.next_lowest_moments += 1;
        if self.next_lowest_moments == LOWEST_WINDOW {
            self.lowest = (u16::from(self.lowest) * u16::from(self.next_lowest)).isqrt() as u8;
            self.next_lowest_moments = 0;
        }
    }
}

/// The logarithm of how much likelier `active` out of `all` are in speech than in silence: a
/// binomial distribution with p = 1/2 against an exponential one.
fn score(active: u8, all: u8, lambda: f64) -> f64 {
    let binomial: f64 = (0..active)
        .map(|i| f64::from(all - i) / f64::from(i + 1))
        .product();
    let score = binomial.ln() - f64::from(all) * std::f64::consts::LN_2 - lambda.ln()
        + lambda * f64::from(active);
    score.max(MIN_SCORE)
}
