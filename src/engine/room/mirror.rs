//! A room on more than one shard: what home knows of its mirrors, and a mirror of its home.

use std::collections::BTreeMap;
use std::time::Instant;

use super::super::event::{Change, ParticipantInfo};
use super::super::ids::{ParticipantId, TrackId};
use super::{Decision, Owner, PublishedTrack, Room};

/// What a room has to do with rooms of its name on other shards.
#[derive(Debug, Default)]
pub(super) struct Mirroring {
    /// The shard that decides, if that is not this one.
    home: Option<u16>,
    /// The shards that have viewers of it, and how many.
    mirrors: BTreeMap<u16, Viewers>,
}

#[derive(Debug, Default)]
struct Viewers {
    /// As many as the mirror says, and those that were sent there since.
    count: usize,
    /// Whether the mirror has come forward: until then nothing is told to it.
    is_open: bool,
}

impl Mirroring {
    pub(super) fn has_mirrors(&self) -> bool {
        self.mirrors.values().any(|viewers| viewers.is_open)
    }

    /// The mirrors that are to be told what changes.
    pub(super) fn mirrors(&self) -> impl Iterator<Item = u16> {
        let open = self.mirrors.iter().filter(|(_, viewers)| viewers.is_open);
        open.map(|(shard, _)| *shard)
    }
}

/// Somebody at the room's home, as a mirror knows them.
#[derive(Debug)]
pub(super) struct Afar {
    pub(super) info: ParticipantInfo,
    /// When they last became the active speaker, as a number of [`Room::turn`]; 0 is never.
    pub(super) spoke: u64,
}

impl Room {
    // At home.

    /// How many participants it has on all shards.
    pub(crate) fn population(&self) -> usize {
        let mirrors = self.mirroring.mirrors.values();
        let open = mirrors.filter(|viewers| viewers.is_open);
        self.len() + open.map(|viewers| viewers.count).sum::<usize>()
    }

    /// How many viewers another shard has.
    pub(crate) fn viewers_at(&self, shard: u16) -> usize {
        let viewers = self.mirroring.mirrors.get(&shard);
        viewers.map_or(0, |viewers| viewers.count)
    }

    /// A viewer was sent to another shard.
    pub(crate) fn expect_viewer(&mut self, shard: u16) {
        self.mirroring.mirrors.entry(shard).or_default().count += 1;
    }

    /// A mirror says how many viewers it has; whether it is new.
    pub(crate) fn set_viewers(&mut self, shard: u16, count: usize) -> bool {
        self.policy.expires_at = None;
        let viewers = self.mirroring.mirrors.entry(shard).or_default();
        viewers.count = count;
        !std::mem::replace(&mut viewers.is_open, true)
    }

    /// A mirror has no viewers any more.
    pub(crate) fn close_mirror(&mut self, shard: u16) {
        self.mirroring.mirrors.remove(&shard);
    }

    /// What a new mirror has to know: the changes that make the room as it stands.
    pub(crate) fn introduction(&self) -> Vec<Change> {
        let members = self.members.values();
        let people = members
            .filter(|member| member.visible)
            .map(|member| Change::Participant(member.info.clone()));
        let tracks = self.tracks.iter();
        let tracks = tracks.map(|track| Change::Track(track.info.clone()));
        let participant = self.speaker_id();
        people
            .chain(tracks)
            .chain([Change::Room(self.policy.state.clone())])
            .chain([Change::Speaker { participant }])
            .collect()
    }

    /// Has every mirror told of a change.
    pub(super) fn relay(&mut self, change: &Change) {
        let relay = |mirror| Decision::Relay {
            mirror,
            change: change.clone(),
        };
        self.decisions.extend(self.mirroring.mirrors().map(relay));
    }

    /// Every track that is published in it.
    pub(crate) fn track_ids(&self) -> Vec<TrackId> {
        self.tracks.iter().map(|track| track.info.id).collect()
    }

    // At a mirror.

    /// The shard that decides, if that is not this one.
    pub(crate) fn home(&self) -> Option<u16> {
        self.mirroring.home
    }

    /// This is a mirror of the room on that shard.
    pub(crate) fn set_home(&mut self, home: u16) {
        self.mirroring.home = Some(home);
    }

    /// Whether somebody is at home, as far as the others see them.
    pub(crate) fn is_afar(&self, participant: &ParticipantId) -> bool {
        self.afar.contains_key(participant)
    }

    /// Home says that something changed.
    pub(crate) fn mirror(&mut self, change: &Change, now: Instant) {
        match change {
            Change::Participant(info) => self.came_afar(info.clone()),
            Change::ParticipantLeft { id } => {
                self.afar.remove(id);
            }
            Change::Track(info) => {
                let known = self
                    .tracks
                    .iter_mut()
                    .find(|track| track.info.id == info.id);
                match known {
                    Some(track) => track.info = info.clone(),
                    None => self.tracks.push(PublishedTrack {
                        info: info.clone(),
                        owner: Owner::Afar(info.participant.clone()),
                    }),
                }
            }
            Change::TrackEnded { id } => self.tracks.retain(|track| track.info.id != *id),
            Change::Speaker { participant } => self.speaks_afar(participant.clone()),
            Change::Room(state) => self.policy.state = state.clone(),
            // These concern single sessions, or the whole server.
            _ => return,
        }
        self.tell_all(change);
        self.bind_all(now);
    }

    fn came_afar(&mut self, info: ParticipantInfo) {
        let spoke = self.afar.get(&info.id).map_or(0, |afar| afar.spoke);
        self.afar.insert(info.id.clone(), Afar { info, spoke });
    }

    fn speaks_afar(&mut self, speaker: Option<ParticipantId>) {
        if let Some(afar) = speaker.as_ref().and_then(|id| self.afar.get_mut(id)) {
            self.turn += 1;
            afar.spoke = self.turn;
        }
        self.speaker = speaker.map(Owner::Afar);
    }
}
