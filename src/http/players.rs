//! What is kept of each player's session, for the extensions of WHEP: which m-lines it has, which
//! streams of events it made, and how many others watch the same.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use serde::Deserialize;

use crate::engine::command::Door;
use crate::engine::ids::{ParticipantId, RoomId};
use crate::engine::sdp::{LineKind, OfferSummary};

/// What a door for players shows: a room's active speaker, or one participant.
type Stage = (RoomId, Option<ParticipantId>);

/// How many players there are before each door.
#[derive(Default)]
pub(super) struct Audiences(Arc<DashMap<Stage, u32>>);

impl Audiences {
    /// One more player, unless it is another kind of door.
    pub(super) fn enter(&self, room: &RoomId, door: &Door, offer: &str) -> Option<Arc<Player>> {
        let Door::Watch { participant } = door else {
            return None;
        };
        let stage = (room.clone(), participant.clone());
        *self.0.entry(stage.clone()).or_insert(0) += 1;
        let player = Player {
            stage,
            audiences: Arc::clone(&self.0),
            state: Mutex::default(),
        };
        player.describe(offer);
        Some(Arc::new(player))
    }
}

/// A player's session, for as long as it is open.
#[derive(Debug)]
pub(super) struct Player {
    stage: Stage,
    audiences: Arc<DashMap<Stage, u32>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<Line>,
    /// Oldest first, as many as [`Player::add_stream`] was told at most.
    streams: VecDeque<Arc<EventStream>>,
    next_stream: u64,
}

/// One m-line of a player's offer.
#[derive(Debug)]
struct Line {
    mid: String,
    is_video: bool,
}

impl Player {
    /// Notes the m-lines of an offer that was taken.
    pub(super) fn describe(&self, offer: &str) {
        let Ok(summary) = OfferSummary::parse(offer) else {
            return;
        };
        let lines = summary.lines.into_iter().map(|line| Line {
            is_video: line.kind == LineKind::Video,
            mid: line.mid,
        });
        self.lock().lines = lines.collect();
    }

    /// Where an m-line stands, by its MID.
    pub(super) fn index_of(&self, mid: &str) -> Option<usize> {
        self.lock().lines.iter().position(|line| line.mid == mid)
    }

    /// The MID of an m-line; without a place, of the first one for video.
    pub(super) fn mid_at(&self, index: Option<usize>) -> Option<String> {
        let state = self.lock();
        let line = match index {
            Some(index) => state.lines.get(index),
            None => state.lines.iter().find(|line| line.is_video),
        };
        line.map(|line| line.mid.clone())
    }

    /// How many watch the same, this player included.
    pub(super) fn audience(&self) -> u32 {
        self.audiences.get(&self.stage).map_or(0, |count| *count)
    }

    /// Makes a stream of these events. One more than `most` takes the place of the oldest, which is given
    /// back with the new one's number.
    pub(super) fn add_stream(
        &self,
        wanted: BTreeSet<EventType>,
        most: usize,
    ) -> (u64, Option<Arc<EventStream>>) {
        let mut state = self.lock();
        let number = state.next_stream;
        state.next_stream += 1;
        state.streams.push_back(Arc::new(EventStream {
            number,
            wanted,
            progress: Mutex::default(),
        }));
        let crowded = state.streams.len() > most;
        let oldest = if crowded {
            state.streams.pop_front()
        } else {
            None
        };
        (number, oldest)
    }

    pub(super) fn stream(&self, number: u64) -> Option<Arc<EventStream>> {
        let state = self.lock();
        let mut streams = state.streams.iter();
        streams.find(|stream| stream.number == number).cloned()
    }

    /// Takes a stream away.
    pub(super) fn remove_stream(&self, number: u64) -> Option<Arc<EventStream>> {
        let mut state = self.lock();
        let place = state
            .streams
            .iter()
            .position(|stream| stream.number == number)?;
        state.streams.remove(place)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.audiences.remove_if_mut(&self.stage, |_, count| {
            *count -= 1;
            *count == 0
        });
    }
}

/// What a stream of WHEP events can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EventType {
    /// Something is published.
    Active,
    /// Nothing is any more.
    Inactive,
    /// The layers of what is shown.
    Layers,
    /// How many watch.
    ViewerCount,
    /// The server is going away.
    Reconnect,
}

impl EventType {
    /// Every type, as the `Link` in the answer to an offer names them.
    pub(super) const ALL: [Self; 5] = [
        Self::Active,
        Self::Inactive,
        Self::Layers,
        Self::ViewerCount,
        Self::Reconnect,
    ];
    /// Their names.
    pub(super) const NAMES: &str = "active,inactive,layers,viewercount,reconnect";

    /// The event's name on the wire.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Layers => "layers",
            Self::ViewerCount => "viewercount",
            Self::Reconnect => "reconnect",
        }
    }
}

/// A stream that a player made, whether anybody reads it now or not.
#[derive(Debug)]
pub(super) struct EventStream {
    number: u64,
    wanted: BTreeSet<EventType>,
    progress: Mutex<Progress>,
}

/// How far a stream is, over all who read it one after the other.
#[derive(Debug, Default)]
struct Progress {
    /// Who reads it now, by its number among the readers of the session.
    reader: Option<u64>,
    /// It was last told that something is published.
    active: bool,
}

impl EventStream {
    pub(super) fn wants(&self, event: EventType) -> bool {
        self.wanted.contains(&event)
    }

    /// Notes who reads it from now on; gives who did so far.
    pub(super) fn read_by(&self, reader: Option<u64>) -> Option<u64> {
        std::mem::replace(&mut lock(&self.progress).reader, reader)
    }

    /// Notes whether something is published; gives whether that is news.
    pub(super) fn is_news(&self, active: bool) -> bool {
        std::mem::replace(&mut lock(&self.progress).active, active) != active
    }
}

/// Locks; nobody leaves anything half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(audiences: &Audiences, participant: Option<&str>) -> Arc<Player> {
        let room = "demo".parse().expect("a name");
        let participant = participant.map(|name| name.parse().expect("a name"));
        let player = audiences.enter(&room, &Door::Watch { participant }, "");
        player.expect("it is a player")
    }

    #[test]
    fn who_watches_the_same_is_counted_until_they_go() {
        let audiences = Audiences::default();
        let (first, second) = (enter(&audiences, None), enter(&audiences, None));
        let other = enter(&audiences, Some("ada"));
        assert_eq!((first.audience(), other.audience()), (2, 1));
        drop(second);
        assert_eq!(first.audience(), 1);
        drop((first, other));
        assert!(audiences.0.is_empty());
    }

    #[test]
    fn every_type_of_event_is_named_in_the_link() {
        assert_eq!(
            EventType::NAMES,
            EventType::ALL.map(EventType::name).join(",")
        );
        for event in EventType::ALL {
            assert_eq!(
                serde_json::from_value::<EventType>(event.name().into()).unwrap(),
                event
            );
        }
    }
}
