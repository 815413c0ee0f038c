//! A session's data channels: which there are, and how much may pass through them.
//!
//! A channel's label is its topic. SCTP carries them (RFC 8831), and str0m holds what a client has
//! not acknowledged yet; when that is more than [`MAX_BUFFERED_BYTES`], the client is too slow for
//! what it asked for. A lossy channel then loses a message. A reliable one is closed: its reader
//! is to know that something is missing, and may open another.

use std::time::{Duration, Instant};

use str0m::Rtc;
use str0m::channel::{ChannelData, ChannelId, Reliability};

use super::ids::ParticipantId;
use super::limits::ChannelLimits;

/// Largest message that there may be, in bytes: what every browser can send.
pub const MAX_MESSAGE_BYTES: u32 = 64 * 1024;

/// What is held for a client until it acknowledges it, in bytes, over all of its channels: four of
/// the largest messages, or a second of what a busy room says.
pub(crate) const MAX_BUFFERED_BYTES: usize = 256 * 1024;

/// Longest label, in bytes: a topic of 64, and a participant after an `@`.
const MAX_LABEL_BYTES: usize = 129;

/// What came in on a channel.
#[derive(Debug)]
pub(crate) struct ChannelMessage {
    pub(crate) channel: ChannelId,
    pub(crate) label: String,
    /// Bytes, and not text.
    pub(crate) is_binary: bool,
    pub(crate) data: Vec<u8>,
}

/// Why a message did not go where it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is no channel of that label (any more).
    NoChannel,
    /// Its reader is too slow.
    Backlog,
}

/// The channels that a client has open.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    limits: ChannelLimits,
    open: Vec<Channel>,
    /// When the second began that is being counted.
    second: Option<Instant>,
    messages: u32,
    bytes: usize,
}

#[derive(Debug)]
struct Channel {
    id: ChannelId,
    label: String,
    is_reliable: bool,
}

impl Channels {
    pub(crate) fn new(limits: ChannelLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// The client opened a channel; `false` if it is one too many, and closed.
    pub(crate) fn opened(&mut self, rtc: &mut Rtc, id: ChannelId, label: String) -> bool {
        if self.open.len() >= self.limits.channels as usize || label.len() > MAX_LABEL_BYTES {
            rtc.direct_api().close_data_channel(id);
            return false;
        }
        let channel = rtc.channel(id);
        let config = channel.as_ref().and_then(|channel| channel.config());
        let is_reliable = config.is_none_or(|it| it.reliability == Reliability::Reliable);
        self.open.push(Channel {
            id,
            label,
            is_reliable,
        });
        true
    }

    /// A channel is closed, whoever did it.
    pub(crate) fn closed(&mut self, id: ChannelId) {
        self.open.retain(|channel| channel.id != id);
    }

    /// What arrived, if its channel is one that stays.
    pub(crate) fn received(&self, data: ChannelData) -> Option<ChannelMessage> {
        let channel = self.open.iter().find(|channel| channel.id == data.id)?;
        Some(ChannelMessage {
            channel: data.id,
            label: channel.label.clone(),
            is_binary: data.binary,
            data: data.data,
        })
    }

    /// Whether the client may send so much at this time.
    pub(crate) fn take(&mut self, bytes: usize, now: Instant) -> bool {
        let second = *self.second.get_or_insert(now);
        if now.saturating_duration_since(second) >= Duration::from_secs(1) {
            self.second = Some(now);
            (self.messages, self.bytes) = (0, 0);
        }
        self.messages += 1;
        self.bytes += bytes;
        let limits = self.limits;
        bytes <= limits.message_bytes as usize
            && self.messages <= limits.messages_per_second
            && self.bytes <= limits.bytes_per_second as usize
    }

    /// How large a message may be, in bytes.
    pub(crate) fn message_bytes(&self) -> u32 {
        self.limits.message_bytes
    }

    /// Whether there is a channel of this label.
    pub(crate) fn has(&self, label: &str) -> bool {
        self.open.iter().any(|channel| channel.label == label)
    }

    /// Sends a message on the channel of this label.
    pub(crate) fn write(
        &mut self,
        rtc: &mut Rtc,
        label: &str,
        is_binary: bool,
        data: &[u8],
    ) -> Result<(), Refused> {
        let known = self.open.iter().find(|channel| channel.label == label);
        let id = known.ok_or(Refused::NoChannel)?.id;
        let mut channel = rtc.channel(id).ok_or(Refused::NoChannel)?;
        match channel.write(is_binary, data) {
            Ok(true) => Ok(()),
            // Full, or more than this client takes at once.
            Ok(false) | Err(_) => {
                self.lost(rtc, id);
                Err(Refused::Backlog)
            }
        }
    }

    /// A message on this channel was lost: a reliable one is not any more.
    pub(crate) fn lost(&mut self, rtc: &mut Rtc, id: ChannelId) {
        let is_it = |channel: &Channel| channel.id == id && channel.is_reliable;
        if self.open.iter().any(is_it) {
            rtc.direct_api().close_data_channel(id);
            self.closed(id);
        }
    }
}

/// The topic that a label names, and whom alone it is for: `topic@participant`.
pub(crate) fn addressee(label: &str) -> (&str, Option<ParticipantId>) {
    match label.rsplit_once('@') {
        Some((topic, to)) => match to.parse() {
            Ok(to) => (topic, Some(to)),
            Err(_) => (label, None),
        },
        None => (label, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::some_moment;

    #[test]
    fn a_label_may_name_whom_it_is_for() {
        let to = |text: &str| Some(text.parse().expect("a name"));
        assert_eq!(addressee("cursor"), ("cursor", None));
        assert_eq!(addressee("cursor@p8"), ("cursor", to("p8")));
        assert_eq!(addressee("a@b@Zoë"), ("a@b", to("Zoë")));
        assert_eq!(addressee("a@"), ("a@", None));
        assert_eq!(addressee("a@b c"), ("a@b c", None));
        assert_eq!(addressee("@p8"), ("", to("p8")));
    }

    #[test]
    fn a_client_may_send_so_much_in_a_second_and_no_more() {
        let mut channels = Channels::default();
        let now = some_moment();
        let sent = (0..300).filter(|_| channels.take(1, now)).count();
        assert_eq!(sent, 200);
        let later = now + Duration::from_secs(1);
        let sent = (0..32).filter(|_| channels.take(64 * 1024, later)).count();
        assert_eq!(sent, 16);

        let mut channels = Channels::new(ChannelLimits {
            messages_per_second: 3,
            bytes_per_second: 10,
            ..ChannelLimits::default()
        });
        let sent = (0..9).filter(|_| channels.take(1, now)).count();
        assert_eq!(sent, 3);
        assert!(channels.take(10, later) && !channels.take(1, later));

        let mut channels = Channels::new(ChannelLimits {
            message_bytes: 10,
            ..ChannelLimits::default()
        });
        assert!(channels.take(10, now) && !channels.take(11, now));
    }
}
