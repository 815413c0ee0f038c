//! Datagrams on their way from the receiving thread to a shard.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::engine::{Datagram, SessionKey, Transport};
use crate::net::Received;

/// Bytes of a batch's datagrams. Full-sized ones fill it by twenty-odd, as many as one system
/// call brings for one shard under load.
const MAX_BYTES: usize = 32 << 10;

/// Datagrams of a batch.
const MAX_DATAGRAMS: usize = 64;

/// Datagrams for one shard, in one buffer, in the order of their arrival.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    session: SessionKey,
    source: SocketAddr,
    transport: Transport,
    local_ip: Option<IpAddr>,
    at: Instant,
    /// Where its contents end; they begin where those before it end.
    end: usize,
}

impl Batch {
    /// Whether this many bytes more fit. An empty batch has room for any datagram.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.entries.is_empty()
            || self.entries.len() < MAX_DATAGRAMS && self.bytes.len() + bytes <= MAX_BYTES
    }

    pub(super) fn push(&mut self, session: SessionKey, received: &Received<'_>, at: Instant) {
        self.bytes.extend_from_slice(received.contents);
        self.entries.push(Entry {
            session,
            source: received.source,
            transport: received
                .connection
                .map_or(Transport::Udp, |connection| Transport::Tcp(connection.0)),
            local_ip: received.local_ip,
            at,
            end: self.bytes.len(),
        });
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whose datagram stands in this place.
    pub(super) fn session(&self, place: usize) -> Option<SessionKey> {
        self.entries.get(place).map(|entry| entry.session)
    }

    /// The datagrams.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        let mut start = 0;
        self.entries.iter().map(move |entry| {
            let contents = &self.bytes[start..entry.end];
            start = entry.end;
            let Entry {
                session,
                source,
                transport,
                local_ip,
                at,
                ..
            } = *entry;
            Datagram {
                session,
                source,
                transport,
                local_ip,
                at,
                contents,
            }
        })
    }

    /// Empties it, to be filled again.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        // One datagram of 64 KiB must not keep its room for ever.
        self.bytes.shrink_to(MAX_BYTES);
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::clock;

    fn received(contents: &[u8]) -> Received<'_> {
        let source = "192.0.2.1:5000".parse().unwrap();
        Received {
            source,
            connection: None,
            local_ip: None,
            at: None,
            contents,
        }
    }

    const SESSION: SessionKey = SessionKey {
        shard: 0,
        index: 7,
        generation: 1,
    };

    #[test]
    fn datagrams_come_out_as_they_went_in() {
        let sent = [&b"first"[..], b"", b"third"];
        let mut batch = Batch::default();
        for _ in 0..2 {
            for contents in sent {
                batch.push(SESSION, &received(contents), clock::now());
            }
            let came_out: Vec<_> = batch.datagrams().map(|d| d.contents).collect();
            assert_eq!(came_out, sent);
            batch.clear();
            assert!(batch.is_empty());
        }
    }

    #[test]
    fn a_batch_takes_any_one_datagram_but_does_not_grow_for_ever() {
        let mut batch = Batch::default();
        assert!(batch.has_room(65_507));
        batch.push(SESSION, &received(&[0; 65_507]), clock::now());
        assert!(!batch.has_room(1));
        batch.clear();
        assert!(batch.bytes.capacity() <= MAX_BYTES);

        while batch.has_room(1200) {
            batch.push(SESSION, &received(&[0; 1200]), clock::now());
        }
        assert_eq!(batch.len(), MAX_BYTES / 1200);
        batch.clear();
        while batch.has_room(1) {
            batch.push(SESSION, &received(b"x"), clock::now());
        }
        assert_eq!(batch.len(), MAX_DATAGRAMS);
    }
}
