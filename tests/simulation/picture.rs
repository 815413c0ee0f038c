//! What a viewer sees: frames that are complete, in their order; what lacks is asked for again.

use std::collections::BTreeMap;

use crate::link::Part;

/// How long a gap is given to fill by itself before it is asked for.
const REORDERING_MS: u64 = 10;

/// Time between two wishes for the same packet, and how often it is wished for, as browsers do.
const ASK_EVERY_MS: u64 = 120;
const MOST_ASKED: u32 = 10;

/// Who lacks more than this asks for a keyframe instead.
const MOST_MISSING: usize = 500;

/// A picture that stands for so long is begun anew with a keyframe.
const STUCK_MS: u64 = 600;

/// A gap between two frames from which on it is seen as a freeze. Viewers buffer as much as one repair takes
/// where there are losses, so that is not seen; nothing is buffered here.
pub(crate) const FREEZE_MS: u64 = 300;

/// One camera as its viewer has it.
#[derive(Default)]
pub(crate) struct Picture {
    parts: BTreeMap<u64, Part>,
    /// The number that the next frame begins with.
    next: Option<u64>,
    newest: u64,
    /// What lacks, with when it is asked for next and how often it was.
    missing: BTreeMap<u64, (u64, u32)>,
    stuck_since_ms: Option<u64>,
    /// When each frame was shown.
    pub(crate) shown_ms: Vec<u64>,
    pub(crate) keyframes_wanted: u64,
}

/// What a viewer wants.
pub(crate) enum Wish {
    Again(u64),
    Keyframe,
}

impl Picture {
    pub(crate) fn receive(&mut self, part: Part, ms: u64) {
        if self.next.is_none() && part.is_key && part.begins {
            self.next = Some(part.number);
            self.missing = self.missing.split_off(&part.number);
        }
        self.missing.remove(&part.number);
        if self.next.is_some_and(|next| part.number >= next) {
            self.parts.insert(part.number, part);
            for number in self.newest + 1..part.number {
                self.missing.insert(number, (ms + REORDERING_MS, 0));
            }
        }
        self.newest = self.newest.max(part.number);
        if self.missing.len() > MOST_MISSING {
            self.missing.clear();
            self.parts.clear();
            self.next = None;
        }
        if part.ends && part.is_key {
            // A later keyframe makes what lacks before it superfluous.
            self.skip_to_keyframe(self.next.unwrap_or(0));
        }
        while self.show(ms) {}
    }

    /// Shows the next frame, if all of it is there.
    fn show(&mut self, ms: u64) -> bool {
        let Some(next) = self.next else { return false };
        let Some(end) = self.whole_frame(next) else {
            return false;
        };
        self.parts = self.parts.split_off(&(end + 1));
        self.next = Some(end + 1);
        self.stuck_since_ms = None;
        self.shown_ms.push(ms);
        true
    }

    /// The last number of the frame that begins here, if it is complete.
    fn whole_frame(&self, first: u64) -> Option<u64> {
        let mut number = first;
        loop {
            let part = self.parts.get(&number)?;
            if part.ends {
                return Some(number);
            }
            number += 1;
        }
    }

    /// What is missing, and worth asking for now.
    pub(crate) fn wishes(&mut self, ms: u64) -> Vec<Wish> {
        let mut wishes = Vec::new();
        for (number, (at, asked)) in &mut self.missing {
            if ms >= *at && *asked < MOST_ASKED {
                (*at, *asked) = (ms + ASK_EVERY_MS, *asked + 1);
                wishes.push(Wish::Again(*number));
            }
        }
        let next = self.next.unwrap_or(0);
        if self.newest >= next && self.newest > 0 {
            let since = *self.stuck_since_ms.get_or_insert(ms);
            if ms >= since + STUCK_MS {
                self.stuck_since_ms = Some(ms);
                self.skip_to_keyframe(next);
                self.keyframes_wanted += 1;
                wishes.push(Wish::Keyframe);
            }
        }
        wishes
    }

    fn skip_to_keyframe(&mut self, next: u64) {
        let later = self.parts.range(next + 1..);
        let is_start = |part: &Part| part.is_key && part.begins;
        let starts = later.rev().filter(|(_, part)| is_start(part));
        let whole = starts
            .map(|(number, _)| *number)
            .find(|number| self.whole_frame(*number).is_some());
        if let Some(number) = whole {
            self.parts = self.parts.split_off(&number);
            self.missing = self.missing.split_off(&number);
            self.next = Some(number);
        }
    }
}
