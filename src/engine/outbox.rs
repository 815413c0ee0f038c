//! What one wake-up produces for the socket.
//!
//! All datagrams stand one behind the other in one buffer, sealed in place; datagrams of one
//! size that go to one destination form a group, which the kernel sends as one (GSO).

use std::net::SocketAddr;
use std::ops::Range;

use super::path::Path;
use super::{Transmit, Transport};

/// Most datagrams in a group: the kernel's `UDP_MAX_SEGMENTS` was 64 until Linux 6.9.
const MAX_SEGMENTS: usize = 64;

/// Most bytes in a group: an IPv4 datagram's limit, which the kernel applies before it segments.
const MAX_GROUP_BYTES: usize = 65_000;

/// Bytes after which a batch is full.
///
/// They should still be in the second-level cache when the kernel reads them, and be enough for
/// some dozens of groups to a system call.
const BATCH_BYTES: usize = 128 << 10;

/// Datagrams on their way to the socket.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    groups: Vec<Group>,
    next: usize,
    /// Datagrams ever put in.
    pub(crate) datagrams: u64,
}

#[derive(Debug)]
struct Group {
    path: Path,
    range: Range<usize>,
    segment_size: usize,
    segments: usize,
    /// The last datagram was shorter than the others: nothing may follow it.
    complete: bool,
}

impl Outbox {
    /// A whole datagram, made elsewhere.
    pub(crate) fn push(&mut self, path: Path, contents: &[u8]) {
        let start = self.begin();
        self.bytes.extend_from_slice(contents);
        self.end(path, start);
    }

    /// Where a datagram that is to be written in place starts.
    pub(crate) fn begin(&mut self) -> usize {
        if self.next == self.groups.len() && self.next > 0 {
            self.groups.clear();
            self.bytes.clear();
            self.next = 0;
        }
        self.bytes.len()
    }

    /// The buffer to append a datagram to, between [`Self::begin`] and [`Self::end`].
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The datagram that was begun at `start` is complete; it joins the last group if it can.
    pub(crate) fn end(&mut self, path: Path, start: usize) {
        let length = self.bytes.len() - start;
        self.datagrams += 1;
        if self.next < self.groups.len()
            && let Some(group) = self.groups.last_mut()
            && !group.complete
            && group.path == path
            && length <= group.segment_size
            && group.segments < MAX_SEGMENTS
            && group.range.len() + length <= MAX_GROUP_BYTES
        {
            group.range.end = self.bytes.len();
            group.segments += 1;
            group.complete = length < group.segment_size;
            return;
        }
        self.groups.push(Group {
            path,
            range: start..self.bytes.len(),
            segment_size: length,
            segments: 1,
            complete: false,
        });
    }

    /// Everything that waits, to be sent side by side.
    pub(crate) fn poll(&mut self) -> Option<Batch<'_>> {
        let groups = self
            .groups
            .get(self.next..)
            .filter(|groups| !groups.is_empty())?;
        self.next += groups.len();
        Some(Batch {
            bytes: &self.bytes,
            groups: groups.iter(),
        })
    }

    /// Whether nothing waits to be sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.next == self.groups.len()
    }

    /// Whether as much waits as should be sent at once.
    pub(crate) fn is_full(&self) -> bool {
        !self.is_empty() && self.bytes.len() >= BATCH_BYTES
    }
}

/// Datagrams that leave side by side.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    bytes: &'a [u8],
    groups: std::slice::Iter<'a, Group>,
}

impl<'a> Iterator for Batch<'a> {
    type Item = Transmit<'a>;

    fn next(&mut self) -> Option<Transmit<'a>> {
        let group = self.groups.next()?;
        Some(Transmit {
            destination: group.path.remote,
            transport: group.path.transport,
            local_ip: group.path.local_ip,
            contents: &self.bytes[group.range.clone()],
            segment_size: (group.segments > 1).then_some(group.segment_size),
        })
    }
}

/// Where a session's datagrams go.
impl From<SocketAddr> for Path {
    fn from(remote: SocketAddr) -> Self {
        Path {
            remote,
            transport: Transport::Udp,
            local_ip: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(port: u16) -> Path {
        SocketAddr::from(([127, 0, 0, 1], port)).into()
    }

    #[test]
    fn equal_datagrams_to_one_destination_leave_as_one_group() {
        let mut outbox = Outbox::default();
        for length in [100, 100, 40, 100] {
            outbox.push(path(1), &vec![7; length]);
        }
        outbox.push(path(2), &[7; 100]);

        let groups: Vec<_> = outbox
            .poll()
            .expect("something waits")
            .map(|group| {
                (
                    group.destination.port(),
                    group.contents.len(),
                    group.segment_size,
                )
            })
            .collect();
        assert_eq!(
            groups,
            [(1, 240, Some(100)), (1, 100, None), (2, 100, None)]
        );
        assert!(outbox.poll().is_none());
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_group_that_was_handed_out_does_not_grow() {
        let mut outbox = Outbox::default();
        outbox.push(path(1), &[1; 10]);
        assert_eq!(outbox.poll().map(Iterator::count), Some(1));
        outbox.push(path(1), &[2; 10]);
        let mut batch = outbox.poll().expect("a group of its own");
        assert_eq!(batch.next().map(|group| group.contents), Some(&[2; 10][..]));
    }

    #[test]
    fn a_batch_has_an_end_however_much_is_to_be_sent() {
        let mut outbox = Outbox::default();
        while !outbox.is_full() {
            outbox.push(path(1), &[1; 1200]);
        }
        assert!(outbox.bytes.len() < BATCH_BYTES + 1200);
        assert!(outbox.poll().is_some());
        assert!(!outbox.is_full());
    }
}
