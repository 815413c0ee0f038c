//! The receiving threads: from the socket, and from TCP connections, to the shards.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use crossbeam_utils::sync::Unparker;

use super::batch::Batch;
use super::clock::Moment;
use crate::engine::SessionKey;
use crate::net::{
    self, BindingRequest, Demux, DropReason, NetCounters, Received, Route, Streams, StunResponder,
};

/// Sorts what arrives by shard. Each receiving thread has its own.
pub(super) struct Inbound {
    demux: Arc<Demux<SessionKey>>,
    outlets: Vec<Outlet>,
    counters: Arc<NetCounters>,
}

/// The way to one shard.
pub(super) struct Outlet {
    queue: Sender<Batch>,
    /// Wakes the shard.
    waker: Unparker,
    recycled: Receiver<Batch>,
    /// What is being filled.
    open: Batch,
}

impl Outlet {
    pub(super) fn new(queue: Sender<Batch>, waker: Unparker, recycled: Receiver<Batch>) -> Self {
        Self {
            queue,
            waker,
            recycled,
            open: Batch::default(),
        }
    }

    /// Hands over what was filled; a shard that cannot keep up loses it.
    fn deliver(&mut self, counters: &NetCounters) {
        if self.open.is_empty() {
            return;
        }
        let next = self.recycled.try_recv().unwrap_or_default();
        let filled = std::mem::replace(&mut self.open, next);
        if let Err(TrySendError::Full(lost) | TrySendError::Disconnected(lost)) =
            self.queue.try_send(filled)
        {
            counters.add_drops(DropReason::ShardQueueFull, lost.len() as u64);
        }
        self.waker.unpark();
    }
}

impl Inbound {
    pub(super) fn new(
        demux: Arc<Demux<SessionKey>>,
        outlets: Vec<Outlet>,
        counters: Arc<NetCounters>,
    ) -> Self {
        Self {
            demux,
            outlets,
            counters,
        }
    }

    /// Receives until the receiver is told to stop.
    pub(super) fn run(mut self, mut receiver: net::Receiver, mut stun: StunResponder) {
        // When either socket was seen to be empty.
        let [mut emptied_at, mut looked_aside_at] = [None; 2];
        while receiver.wait() {
            let moment = Moment::read();
            let mut sort = |received: Received<'_>, emptied_at| {
                let at = moment.received(received.at, emptied_at);
                if let Some(question) = self.sort(&received, at) {
                    stun.ask(&question, &received, at);
                }
            };
            if receiver.receive(|received| sort(received, emptied_at)) {
                emptied_at = Some(moment.now());
            }
            if receiver.receive_aside(moment.now(), |received| sort(received, looked_aside_at)) {
                looked_aside_at = Some(moment.now());
            }
            self.deliver();
            stun.send();
        }
    }

    /// Serves TCP connections until told to stop.
    pub(super) fn run_streams(mut self, mut streams: Streams<SessionKey>) {
        while streams.wait() {
            let moment = Moment::read();
            let now = moment.now();
            streams.serve(now, |owner, received| {
                match self.demux.route_framed(owner, received.contents) {
                    Ok(session) => self.pass_on(session, &received, now),
                    Err(reason) => self.counters.add_drops(reason, 1),
                }
            });
            self.deliver();
        }
    }

    /// One hand-over, and at most one wake-up, for each shard.
    fn deliver(&mut self) {
        for outlet in &mut self.outlets {
            outlet.deliver(&self.counters);
        }
    }

    /// Gives back what is a question for the STUN server.
    fn sort(&mut self, received: &Received<'_>, at: Instant) -> Option<BindingRequest> {
        match self.demux.route(received.source, received.contents, at) {
            Ok(Route::Session(session)) => self.pass_on(session, received, at),
            Ok(Route::StunServer(request)) => return Some(request),
            Err(reason) => self.counters.add_drops(reason, 1),
        }
        None
    }

    fn pass_on(&mut self, session: SessionKey, received: &Received<'_>, at: Instant) {
        // A user fragment can be made up, and name a shard that does not exist.
        let Some(outlet) = self.outlets.get_mut(usize::from(session.shard)) else {
            return self.counters.add_drops(DropReason::UnknownUfrag, 1);
        };
        if !outlet.open.has_room(received.contents.len()) {
            outlet.deliver(&self.counters);
        }
        outlet.open.push(session, received, at);
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_utils::sync::Parker;

    use super::*;
    use crate::engine::ufrag::session_of_ufrag;
    use crate::net::AddressTable;
    use crate::shard::clock;

    const ADA: SessionKey = SessionKey {
        shard: 0,
        index: 1,
        generation: 1,
    };
    const BOB: SessionKey = SessionKey {
        shard: 1,
        index: 1,
        generation: 1,
    };

    /// Two shards with room for one batch each, and who is at which port.
    fn inbound() -> (Inbound, Vec<Receiver<Batch>>, Vec<Sender<Batch>>) {
        let addresses = AddressTable::new(clock::now());
        addresses.learn(([192, 0, 2, 1], 1).into(), ADA, clock::now());
        addresses.learn(([192, 0, 2, 1], 2).into(), BOB, clock::now());
        let nobody = SessionKey { shard: 7, ..ADA };
        addresses.learn(([192, 0, 2, 1], 3).into(), nobody, clock::now());
        let demux = Demux::new(Arc::new(addresses), session_of_ufrag);
        let (mut outlets, mut queues, mut recyclers) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..2 {
            let (queue, batches) = crossbeam_channel::bounded(1);
            let (recycle, recycled) = crossbeam_channel::bounded(1);
            let waker = Parker::new().unparker().clone();
            outlets.push(Outlet::new(queue, waker, recycled));
            queues.push(batches);
            recyclers.push(recycle);
        }
        (
            Inbound::new(Arc::new(demux), outlets, Arc::default()),
            queues,
            recyclers,
        )
    }

    fn rtp(port: u16, sequence_number: u8) -> (std::net::SocketAddr, [u8; 4]) {
        (
            ([192, 0, 2, 1], port).into(),
            [0x80, 96, 0, sequence_number],
        )
    }

    fn sort(inbound: &mut Inbound, (source, contents): (std::net::SocketAddr, [u8; 4])) {
        let received = Received {
            source,
            connection: None,
            local_ip: None,
            at: None,
            contents: &contents,
        };
        assert_eq!(inbound.sort(&received, clock::now()), None);
    }

    #[test]
    fn what_arrives_together_is_handed_to_each_shard_at_once_and_in_order() {
        let (mut inbound, queues, _recyclers) = inbound();
        for n in 0..10 {
            sort(&mut inbound, rtp(1 + u16::from(n % 2), n));
        }
        sort(&mut inbound, rtp(3, 0));
        sort(&mut inbound, rtp(4, 0));
        inbound.deliver();
        for (queue, session, first) in [(&queues[0], ADA, 0), (&queues[1], BOB, 1)] {
            let batch = queue.try_recv().unwrap();
            let numbers: Vec<_> = batch
                .datagrams()
                .map(|datagram| datagram.contents[3])
                .collect();
            assert_eq!(numbers, (0..5).map(|n| first + 2 * n).collect::<Vec<_>>());
            assert!(
                batch
                    .datagrams()
                    .all(|datagram| datagram.session == session)
            );
            assert!(queue.is_empty());
        }
        assert_eq!(
            inbound.counters.drops(DropReason::UnknownUfrag),
            1,
            "no such shard"
        );
        assert_eq!(inbound.counters.drops(DropReason::UnknownAddress), 1);
    }

    #[test]
    fn a_shard_that_cannot_keep_up_takes_nothing_from_the_others() {
        let (mut inbound, queues, _recyclers) = inbound();
        for round in 0..3 {
            sort(&mut inbound, rtp(1, round));
            sort(&mut inbound, rtp(2, round));
            inbound.deliver();
            assert_eq!(
                queues[1].try_recv().unwrap().len(),
                1,
                "the other one reads"
            );
        }
        assert_eq!(inbound.counters.drops(DropReason::ShardQueueFull), 2);
        let kept = queues[0].try_recv().unwrap();
        assert_eq!(kept.datagrams().next().unwrap().contents[3], 0);
    }
}
