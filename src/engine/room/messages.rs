//! What is said in a room, and what is noted of those in it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Decision, Member, Room};
use crate::engine::event::{Change, ParticipantInfo};
use crate::engine::ids::ParticipantId;
use crate::engine::message::{Json, Message};

/// Messages that a room remembers for newcomers: some screens full of chat.
const KEPT_MESSAGES: usize = 200;

/// How much they may take together, in bytes. A snapshot carries them, and must stay a matter of
/// milliseconds: 200 lines of chat have 60 KiB.
const KEPT_BYTES: usize = 256 * 1024;

/// The newest messages that newcomers are to see.
#[derive(Debug, Default)]
pub(super) struct KeptMessages {
    newest: VecDeque<Arc<Message>>,
    bytes: usize,
}

impl KeptMessages {
    fn push(&mut self, message: Arc<Message>) {
        self.bytes += message.weight();
        self.newest.push_back(message);
        while self.newest.len() > KEPT_MESSAGES || self.bytes > KEPT_BYTES {
            let Some(oldest) = self.newest.pop_front() else {
                return;
            };
            self.bytes -= oldest.weight();
        }
    }

    /// Oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.newest.iter()
    }
}

impl Room {
    /// Tells everybody but its sender, or the one whom it is for, and the room's mirrors.
    pub(crate) fn say(&mut self, message: Arc<Message>, keep: bool) {
        let is_for = |info: &ParticipantInfo| match &message.to {
            Some(to) => info.id == *to,
            None => Some(&info.id) != message.from.as_ref(),
        };
        let receivers = self.members.iter();
        let receivers = receivers.filter(|(_, member)| is_for(&member.info));
        let tell = |(session, _): (&usize, &Member)| Decision::Tell {
            session: *session,
            change: Change::Message(message.clone()),
        };
        self.decisions.extend(receivers.map(tell));
        if message.to.is_none() {
            let relay = |mirror| Decision::Say {
                mirror,
                message: message.clone(),
                keep,
            };
            self.decisions.extend(self.mirroring.mirrors().map(relay));
            if keep {
                self.messages.push(message);
            }
        }
    }

    /// Whether somebody is on this shard.
    pub(crate) fn is_here(&self, participant: &ParticipantId) -> bool {
        self.sessions_of(participant).next().is_some()
    }

    /// What newcomers are to see, oldest first.
    pub(crate) fn kept_messages(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.messages.iter()
    }

    /// Notes an application's attributes of a participant, and tells the others.
    pub(crate) fn set_attributes(&mut self, session: usize, attributes: Option<Json>) {
        let Some(member) = self.members.get_mut(&session) else {
            return;
        };
        if member.info.attributes == attributes {
            return;
        }
        member.info.attributes = attributes;
        let change = Change::Participant(member.info.clone());
        if member.visible {
            self.tell_all(&change);
        } else {
            // For the others it is not there; its own snapshot has it.
            self.decisions.push_back(Decision::Tell { session, change });
        }
    }

    /// The sessions of a participant: one, while it is not being replaced.
    pub(crate) fn sessions_of<'a>(
        &'a self,
        participant: &'a ParticipantId,
    ) -> impl Iterator<Item = usize> + 'a {
        let is_theirs = move |(_, member): &(&usize, &Member)| member.info.id == *participant;
        self.members
            .iter()
            .filter(is_theirs)
            .map(|(session, _)| *session)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(text: &str) -> Arc<Message> {
        Arc::new(Message {
            id: text.chars().take(4).collect(),
            from: None,
            to: None,
            event: "chat".parse().expect("a name"),
            data: Json::from(&json!(text)),
            at_ms: 0,
        })
    }

    fn ids(kept: &KeptMessages) -> Vec<&str> {
        kept.iter().map(|message| message.id.as_str()).collect()
    }

    #[test]
    fn a_room_remembers_the_newest_messages_within_its_bounds() {
        let mut kept = KeptMessages::default();
        for n in 0..KEPT_MESSAGES + 3 {
            kept.push(message(&n.to_string()));
        }
        assert_eq!(kept.newest.len(), KEPT_MESSAGES);
        assert_eq!(ids(&kept)[..2], ["3", "4"]);

        for n in 0..100 {
            kept.push(message(&format!("{n:04}{}", "x".repeat(16_000))));
            assert!(kept.bytes <= KEPT_BYTES);
            let weights: usize = kept.iter().map(|message| message.weight()).sum();
            assert_eq!(kept.bytes, weights);
        }
        assert_eq!(ids(&kept).last(), Some(&"0099"));
        assert!(kept.newest.len() < KEPT_MESSAGES);
    }
}
