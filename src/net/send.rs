//! Gives datagrams out: many to one receiver as one (GSO), many receivers in one system call.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use super::counters::SendError;
use super::socket::{Shared, mapped};
use super::sys::{self, Headers, MAX_MESSAGES, Message};

/// Most segments of one message (`UDP_MAX_SEGMENTS` of Linux before 6.9).
const MAX_SEGMENTS: usize = 64;

/// Largest message of several segments, in bytes: IPv6 and UDP headers count towards 64 KiB.
const MAX_SEGMENTED_BYTES: usize = 65_535 - 40 - 8;

/// Bytes that are gathered before a system call.
///
/// Larger, and the first bytes have left the processor's second-level cache by the time that
/// the kernel reads them; smaller, and the messages of one call are few.
const ARENA_BYTES: usize = 256 << 10;

/// How long a full send buffer is waited for before what does not fit is thrown away.
///
/// A buffer of 208 KiB (Linux without tuning) drains in 17 ms at 100 Mbit/s. Waiting longer
/// would keep everybody on this thread waiting for a link that is too slow.
const PATIENCE: Duration = Duration::from_millis(20);

/// The sending end of a [`MediaSocket`](super::MediaSocket), for one thread.
pub struct Sender {
    socket: UdpSocket,
    shared: Arc<Shared>,
    is_ipv6: bool,
    /// Whether the last wait for room was in vain: no further one until something was sent.
    congested: bool,
    queue: Vec<Queued>,
    /// The contents of everything in the queue, one after the other.
    arena: Vec<u8>,
    headers: Headers,
}

#[derive(Debug)]
struct Queued {
    destination: SocketAddr,
    source: Option<IpAddr>,
    contents: Range<usize>,
    segment_bytes: Option<u16>,
}

impl Queued {
    fn message<'a>(&self, arena: &'a [u8]) -> Message<'a> {
        Message {
            destination: self.destination,
            source: self.source,
            contents: &arena[self.contents.clone()],
            segment_bytes: self.segment_bytes,
        }
    }

    fn datagrams(&self) -> u64 {
        self.segment_bytes
            .map_or(1, |size| self.contents.len().div_ceil(size.into()) as u64)
    }
}

impl Sender {
    pub(super) fn new(socket: UdpSocket, shared: Arc<Shared>, is_ipv6: bool) -> Self {
        Self {
            socket,
            shared,
            is_ipv6,
            congested: false,
            queue: Vec::with_capacity(MAX_MESSAGES),
            arena: Vec::with_capacity(ARENA_BYTES),
            headers: Headers::default(),
        }
    }

    /// Queues one datagram, or several of `segment_size` bytes each (the last may be shorter),
    /// and sends what is queued if there is no more room.
    pub fn queue(
        &mut self,
        destination: SocketAddr,
        source: Option<IpAddr>,
        contents: &[u8],
        segment_size: Option<usize>,
    ) {
        let size = segment_size.unwrap_or(contents.len());
        if size == 0 || size >= contents.len() {
            return self.push(destination, source, contents, None);
        }
        let segments = if self.shared.gso() {
            (MAX_SEGMENTED_BYTES / size).clamp(1, MAX_SEGMENTS)
        } else {
            1
        };
        for group in contents.chunks(size * segments) {
            let segment_bytes = u16::try_from(size).ok().filter(|_| group.len() > size);
            self.push(destination, source, group, segment_bytes);
        }
    }

    fn push(
        &mut self,
        destination: SocketAddr,
        source: Option<IpAddr>,
        contents: &[u8],
        segment_bytes: Option<u16>,
    ) {
        if self.queue.len() == MAX_MESSAGES || self.arena.len() + contents.len() > ARENA_BYTES {
            self.flush();
        }
        let start = self.arena.len();
        self.arena.extend_from_slice(contents);
        self.queue.push(Queued {
            destination: if self.is_ipv6 {
                mapped(destination)
            } else {
                destination
            },
            source,
            contents: start..self.arena.len(),
            segment_bytes,
        });
    }

    /// Sends everything that is queued. What cannot be sent is counted and thrown away.
    pub fn flush(&mut self) {
        let mut done = 0;
        while done < self.queue.len() {
            let waiting = &self.queue[done..];
            let messages = waiting.iter().map(|queued| queued.message(&self.arena));
            match self.headers.send(self.socket.as_fd(), messages) {
                Ok(sent) => {
                    self.congested = false;
                    let datagrams = waiting[..sent].iter().map(Queued::datagrams).sum();
                    let bytes = waiting[..sent]
                        .iter()
                        .map(|queued| queued.contents.len() as u64)
                        .sum();
                    self.shared.counters.add_sent(datagrams, bytes);
                    done += sent;
                }
                Err(error) => done = self.after_failure(done, &error),
            }
        }
        self.queue.clear();
        self.arena.clear();
    }

    /// Deals with what became of the message at `failed`, and says which is next.
    fn after_failure(&mut self, failed: usize, error: &io::Error) -> usize {
        let kind = kind_of(error);
        if error.kind() == io::ErrorKind::Interrupted
            || kind == SendError::WouldBlock && self.await_room()
        {
            return failed;
        }
        if kind == SendError::WouldBlock {
            // The others would not fit either.
            let lost = self.queue[failed..].iter().map(Queued::datagrams).sum();
            self.shared.counters.add_send_errors(kind, lost);
            return self.queue.len();
        }
        // Segmentation can be refused per route; Linux says so with these two, among others.
        let maybe_gso = matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL));
        match self.queue[failed].segment_bytes {
            Some(segment_bytes) if maybe_gso => self.send_segments(failed, segment_bytes),
            _ => {
                tracing::trace!(%error, destination = %self.queue[failed].destination, "not sent");
                self.shared
                    .counters
                    .add_send_errors(kind, self.queue[failed].datagrams());
            }
        }
        failed + 1
    }

    /// Sends the segments of a message one by one. If that works, segmentation was what failed,
    /// and is not tried again.
    fn send_segments(&mut self, place: usize, segment_bytes: u16) {
        let whole = self.queue[place].message(&self.arena);
        let mut sent = 0;
        for contents in whole.contents.chunks(segment_bytes.into()) {
            let segment = Message {
                contents,
                segment_bytes: None,
                ..whole
            };
            match self
                .headers
                .send(self.socket.as_fd(), std::iter::once(segment))
            {
                Ok(_) => {
                    sent += 1;
                    self.shared.counters.add_sent(1, contents.len() as u64);
                }
                Err(error) => self.shared.counters.add_send_errors(kind_of(&error), 1),
            }
        }
        if sent > 0 && self.shared.gso() {
            tracing::warn!(
                "this network does not take segmented datagrams (GSO): sending costs more from now on"
            );
            self.shared.disable_gso();
        }
    }

    /// Waits for room in the send buffer; says whether to try again.
    fn await_room(&mut self) -> bool {
        if self.congested {
            return false;
        }
        self.congested = true;
        sys::wait_writable(self.socket.as_fd(), PATIENCE).unwrap_or(false)
    }
}

fn kind_of(error: &io::Error) -> SendError {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => SendError::WouldBlock,
        Some(libc::ENOBUFS | libc::ENOMEM) => SendError::NoBuffers,
        Some(libc::EPERM | libc::EACCES) => SendError::Forbidden,
        Some(
            libc::ECONNREFUSED
            | libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::ENETDOWN
            | libc::EHOSTDOWN
            | libc::EADDRNOTAVAIL,
        ) => SendError::Unreachable,
        Some(libc::EMSGSIZE) => SendError::TooBig,
        _ => SendError::Other,
    }
}
