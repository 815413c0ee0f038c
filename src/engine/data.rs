//! Data channels, room-wide: what one session sends on a topic goes to those who have it open.

use std::time::Instant;

use super::Engine;
use super::channels::{ChannelMessage, Refused, addressee};
use super::counters::DropReason;
use super::message::Message;
use super::session::Session;

/// The topic on which clients get what is said by `POST messages`, too. Nobody sends on it.
const MESSAGES: &str = "messages";

/// One message on its way to a session.
struct Delivery {
    session: usize,
    label: String,
}

impl Engine {
    /// A client sent something on a data channel: it goes to all others who have a channel of its
    /// label, or to the one whom the label names.
    pub(super) fn data(&mut self, sender: usize, message: &ChannelMessage, now: Instant) {
        let session = &mut self.sessions[sender];
        if !session.channels.take(message.data.len(), now) {
            self.counters.drop(DropReason::DataLimit);
            session.channels.lost(&mut session.rtc, message.channel);
            return;
        }
        self.counters.data_messages_in += 1;
        let deliveries = self.deliveries(sender, &message.label);
        if deliveries.is_empty() {
            self.counters.drop(DropReason::DataUnwanted);
        }
        for delivery in deliveries {
            self.guarded(delivery.session, now, |engine| {
                engine.deliver(&delivery, message.is_binary, &message.data, now);
            });
        }
    }

    /// Hands a message that was posted to a session that has a channel for such.
    pub(super) fn deliver_message(&mut self, session: usize, message: &Message, now: Instant) {
        let has_channel = |session: &Session| session.channels.has(MESSAGES);
        if !self.sessions.get(session).is_some_and(|it| has_channel(it)) {
            return;
        }
        let text = serde_json::to_string(message).expect("messages have no keys but strings");
        let delivery = Delivery {
            session,
            label: MESSAGES.to_owned(),
        };
        self.guarded(session, now, |engine| {
            engine.deliver(&delivery, false, text.as_bytes(), now);
        });
    }

    /// Who is to have what is sent on a label, and on which of their channels.
    ///
    /// What is for one participant alone arrives on their channel `topic@sender` if they have one,
    /// so that who it is from can be told, and else on `topic`.
    fn deliveries(&self, sender: usize, label: &str) -> Vec<Delivery> {
        let room = &self.rooms[self.sessions[sender].room];
        let has = |session: &usize, label: &str| self.sessions[*session].channels.has(label);
        let (topic, to) = addressee(label);
        if topic == MESSAGES {
            return Vec::new();
        }
        let Some(to) = to else {
            let others = room.sessions().into_iter();
            return others
                .filter(|session| *session != sender && has(session, label))
                .map(|session| Delivery {
                    session,
                    label: label.to_owned(),
                })
                .collect();
        };
        let back = room
            .info_of(sender)
            .map(|info| format!("{topic}@{}", info.id));
        let theirs = |session: usize| {
            let private = back.clone().filter(|back| has(&session, back));
            let label = private.or_else(|| has(&session, topic).then(|| topic.to_owned()))?;
            Some(Delivery { session, label })
        };
        room.sessions_of(&to).filter_map(theirs).collect()
    }

    /// Puts a message into a session's channel; it leaves with the session's next turn, at once.
    fn deliver(&mut self, delivery: &Delivery, is_binary: bool, data: &[u8], now: Instant) {
        let session = &mut self.sessions[delivery.session];
        let written = session
            .channels
            .write(&mut session.rtc, &delivery.label, is_binary, data);
        match written {
            Ok(()) => self.counters.data_messages_out += 1,
            Err(Refused::NoChannel) => self.counters.drop(DropReason::DataUnwanted),
            Err(Refused::Backlog) => self.counters.drop(DropReason::DataBacklog),
        }
        self.hurry(delivery.session, now);
    }
}
