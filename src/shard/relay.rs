//! The ways between shards: what one engine tells another.

use std::collections::VecDeque;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use crossbeam_utils::sync::Unparker;

use crate::engine::RelayMessage;

/// Hand-overs that wait for one shard: a tenth of a second of wake-ups at ten thousand a second.
const QUEUED_PARCELS: usize = 1024;

/// Messages other than media that wait for a shard whose queue is full.
///
/// A room tells a mirror of some hundred things when it opens, and of single ones after that.
/// A shard that is behind by more than this does not live any more.
const MAX_HELD: usize = 1 << 16;

/// What one shard tells another at the end of one wake-up.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) from: u16,
    /// When the first of the datagrams arrived that it comes from.
    pub(super) since: Option<Instant>,
    pub(super) messages: VecDeque<RelayMessage>,
}

/// One shard's ends of the ways to all others.
#[derive(Debug)]
pub(super) struct Relays {
    shard: u16,
    pub(super) incoming: Receiver<Parcel>,
    /// By the number of the shard.
    outgoing: Vec<Outgoing>,
}

#[derive(Debug)]
struct Outgoing {
    queue: Sender<Parcel>,
    waker: Unparker,
    waiting: VecDeque<RelayMessage>,
}

impl Relays {
    /// The ways between shards, in the order of their numbers, each of which has its waker here.
    pub(super) fn between(wakers: &[Unparker]) -> Vec<Self> {
        let (queues, incoming): (Vec<_>, Vec<_>) = wakers
            .iter()
            .map(|_| crossbeam_channel::bounded(QUEUED_PARCELS))
            .unzip();
        let ends = |(shard, incoming): (usize, Receiver<Parcel>)| Self {
            shard: shard as u16,
            incoming,
            outgoing: queues
                .iter()
                .zip(wakers)
                .map(|(queue, waker)| Outgoing {
                    queue: queue.clone(),
                    waker: waker.clone(),
                    waiting: VecDeque::new(),
                })
                .collect(),
        };
        incoming.into_iter().enumerate().map(ends).collect()
    }

    /// Puts a message on its way; it leaves with [`Self::hand_over`].
    pub(super) fn push(&mut self, to: u16, message: RelayMessage) {
        if let Some(outgoing) = self.outgoing.get_mut(usize::from(to)) {
            outgoing.waiting.push_back(message);
        }
    }

    /// Hands over what was pushed. Returns how many messages were lost: media for a shard that
    /// cannot keep up. All else waits for the next time.
    pub(super) fn hand_over(&mut self, since: Option<Instant>) -> usize {
        let mut lost = 0;
        for outgoing in &mut self.outgoing {
            if outgoing.waiting.is_empty() {
                continue;
            }
            let parcel = Parcel {
                from: self.shard,
                since,
                messages: std::mem::take(&mut outgoing.waiting),
            };
            if let Err(TrySendError::Full(mut parcel)) = outgoing.queue.try_send(parcel) {
                let all = parcel.messages.len();
                parcel.messages.retain(|message| !message.is_media());
                parcel.messages.truncate(MAX_HELD);
                lost += all - parcel.messages.len();
                outgoing.waiting = parcel.messages;
            }
            outgoing.waker.unpark();
        }
        lost
    }

    /// Whether something could not be handed over yet, so that it has to be tried again.
    pub(super) fn is_held_up(&self) -> bool {
        self.outgoing
            .iter()
            .any(|outgoing| !outgoing.waiting.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_utils::sync::Parker;

    use super::*;

    fn pair() -> (Relays, Relays) {
        let wakers = [Parker::new(), Parker::new()].map(|parker| parker.unparker().clone());
        let mut both = Relays::between(&wakers);
        let second = both.remove(1);
        (both.remove(0), second)
    }

    #[test]
    fn what_is_pushed_in_one_wake_up_is_handed_over_at_once() {
        let (mut home, mirror) = pair();
        let (media, control) = RelayMessage::samples();
        for message in [media.clone(), control, media] {
            home.push(1, message);
        }
        assert_eq!(home.hand_over(None), 0);
        let parcel = mirror.incoming.try_recv().expect("a parcel");
        assert_eq!((parcel.from, parcel.messages.len()), (0, 3));
        assert!(mirror.incoming.is_empty() && home.incoming.is_empty());
    }

    #[test]
    fn a_shard_that_cannot_keep_up_misses_media_but_no_news() {
        let (mut home, mirror) = pair();
        let (media, control) = RelayMessage::samples();
        for _ in 0..QUEUED_PARCELS {
            home.push(1, media.clone());
            assert_eq!(home.hand_over(None), 0);
        }
        home.push(1, media.clone());
        home.push(1, control);
        assert_eq!(home.hand_over(None), 1, "the packet is lost");
        assert!(home.is_held_up());

        mirror.incoming.try_recv().expect("a parcel");
        home.push(1, media);
        assert_eq!(home.hand_over(None), 0);
        assert!(!home.is_held_up());
        let last = mirror.incoming.try_iter().last().expect("a parcel");
        let kinds: Vec<bool> = last.messages.iter().map(RelayMessage::is_media).collect();
        assert_eq!(kinds, [false, true], "and the news come first");
    }
}
