//! What was decided about a session lately, for whoever asks why its call is bad.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use str0m::media::Rid;

use super::bitrate::Bitrate;
use super::estimate::PathState;
use super::ids::TrackId;

/// Notes that a session keeps. A call in trouble has a few a second, so this is the last quarter of
/// a minute of it; a quiet one keeps its whole story. 64 of 40 bytes cost less than one packet of
/// its history.
const NOTES: usize = 64;

/// One thing that was decided, or happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// The transport came up.
    Connected,
    /// The room bound a slot to a track, or to nothing.
    Bound { slot: u16, track: Option<TrackId> },
    /// Another layer is wanted in a slot; its name, where it has one.
    LayerWanted { slot: u16, layer: Option<Rid> },
    /// A slot shows something, after a wait.
    Started { slot: u16, waited: Duration },
    /// The receiver asked for a keyframe.
    KeyframeAsked { slot: u16 },
    /// The client stopped a slot, or lets it go on.
    Paused { slot: u16, paused: bool },
    /// The path has no room for a slot, or has it again.
    Starved { slot: u16, starves: bool },
    /// A slot's picture was cut off, as too much of it waited.
    Cut { slot: u16 },
    /// The machine has no processor for more than this much of its video; or, with 100, for all again.
    Shed { percent: u64 },
    /// Something else is going on on the path.
    Path { state: PathState, estimate: Bitrate },
}

/// The newest notes of one session.
#[derive(Debug, Default)]
pub(crate) struct Diary {
    notes: VecDeque<(Instant, Note)>,
}

impl Diary {
    /// Keeps a note; the oldest goes where there are too many.
    pub(crate) fn note(&mut self, now: Instant, note: Note) {
        if self.notes.len() == NOTES {
            self.notes.pop_front();
        }
        self.notes.push_back((now, note));
    }

    /// The notes, oldest first.
    pub(crate) fn notes(&self) -> impl Iterator<Item = (Instant, Note)> {
        self.notes.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::some_moment;

    #[test]
    fn a_long_call_keeps_the_newest_notes() {
        let start = some_moment();
        let mut diary = Diary::default();
        for slot in 0..1000 {
            let at = start + Duration::from_secs(slot.into());
            diary.note(at, Note::KeyframeAsked { slot });
        }
        let kept: Vec<_> = diary.notes().collect();
        assert_eq!(kept.len(), NOTES);
        assert_eq!(kept[NOTES - 1].1, Note::KeyframeAsked { slot: 999 });
        assert_eq!(kept[0].1, Note::KeyframeAsked { slot: 936 });
    }
}
