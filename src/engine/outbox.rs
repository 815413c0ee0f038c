//! What one wake-up produces for the socket.
//!
//! All datagrams stand one behind the other in one buffer, sealed in place; datagrams of one
//! size that go to one destination form a group, which the kernel sends as one (GSO).

use std::net::SocketAddr;
use std::ops::Range;

use super::Transmit;
use super::path::Path;

/// Most datagrams in a group: the kernel's `UDP_MAX_SEGMENTS` was 64 until Linux 6.9.
const MAX_SEGMENTS: usize = 64;

/// Most bytes in a group: an IPv4 datagram's limit, which the kernel applies before it segments.
const MAX_GROUP_BYTES: usize = 65_000;

/// A buffer that grew larger than this is given back once it is empty.
///
/// Two megabytes hold one frame of five packets for 300 receivers.
const KEEP_BYTES: usize = 2 << 20;

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
            self.clear();
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

    /// The next group to send.
    pub(crate) fn poll(&mut self) -> Option<Transmit<'_>> {
        let group = self.groups.get(self.next)?;
        self.next += 1;
        Some(Transmit {
            destination: group.path.remote,
            local_ip: group.path.local_ip,
            contents: &self.bytes[group.range.clone()],
            segment_size: (group.segments > 1).then_some(group.segment_size),
        })
    }

    /// Whether nothing is left to send.
    pub(crate) fn is_empty(&self) -> bool {
        self.next == self.groups.len()
    }

    fn clear(&mut self) {
        self.groups.clear();
        self.next = 0;
        if self.bytes.capacity() > KEEP_BYTES {
            self.bytes = Vec::new();
        } else {
            self.bytes.clear();
        }
    }
}

/// Where a session's datagrams go.
impl From<SocketAddr> for Path {
    fn from(remote: SocketAddr) -> Self {
        Path {
            remote,
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

        let group = outbox.poll().expect("the first three");
        assert_eq!((group.contents.len(), group.segment_size), (240, Some(100)));
        let group = outbox.poll().expect("nothing follows a shorter one");
        assert_eq!((group.contents.len(), group.segment_size), (100, None));
        let group = outbox.poll().expect("another destination");
        assert_eq!(group.destination.port(), 2);
        assert!(outbox.poll().is_none());
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_group_that_was_handed_out_does_not_grow() {
        let mut outbox = Outbox::default();
        outbox.push(path(1), &[1; 10]);
        assert!(outbox.poll().is_some());
        outbox.push(path(1), &[2; 10]);
        let group = outbox.poll().expect("a group of its own");
        assert_eq!(group.contents, [2; 10]);
    }
}
