//! Gives datagrams out: many to one receiver as one (GSO), many receivers in one system call.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use super::counters::SendError;
use super::socket::{Shared, mapped};
use super::sys::{self, Headers, MAX_MESSAGES, Message};
use super::tcp::{ConnectionId, Connections};

/// Most segments of one message (`UDP_MAX_SEGMENTS` of Linux before 6.9).
const MAX_SEGMENTS: usize = 64;

/// Largest message of several segments, in bytes: IPv6 and UDP headers count towards 64 KiB.
const MAX_SEGMENTED_BYTES: usize = 65_535 - 40 - 8;

/// How long a full send buffer is waited for before what does not fit is thrown away.
///
/// A buffer of 208 KiB (Linux without tuning) drains in 17 ms at 100 Mbit/s. Waiting longer
/// would keep everybody on this thread waiting for a link that is too slow.
const PATIENCE: Duration = Duration::from_millis(20);

/// The sending end of a [`MediaSocket`](super::MediaSocket), for one thread; and of TCP
/// [`Connections`], where there are any.
pub struct Sender {
    socket: UdpSocket,
    shared: Arc<Shared>,
    is_ipv6: bool,
    /// Whether the socket has several addresses to send from.
    is_unbound: bool,
    /// Whether the last wait for room was in vain: no further one until something was sent.
    congested: bool,
    patience: Duration,
    connections: Option<Connections>,
    headers: Headers,
}

/// One datagram, or several to one destination.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Where to.
    pub destination: SocketAddr,
    /// The TCP connection to send in; UDP where there is none.
    pub connection: Option<ConnectionId>,
    /// The local address to send from, where it matters.
    pub source: Option<IpAddr>,
    /// One datagram, or several of [`Self::segment_size`] bytes each (the last may be shorter).
    pub contents: &'a [u8],
    /// The size of each datagram where there is more than one.
    pub segment_size: Option<usize>,
}

impl Message<'_> {
    fn datagrams(&self) -> u64 {
        self.segment_bytes
            .map_or(1, |size| self.contents.len().div_ceil(size.into()) as u64)
    }
}

impl Sender {
    pub(super) fn new(socket: UdpSocket, shared: Arc<Shared>, local: IpAddr) -> Self {
        Self {
            socket,
            shared,
            is_ipv6: local.is_ipv6(),
            is_unbound: local.is_unspecified(),
            congested: false,
            patience: PATIENCE,
            connections: None,
            headers: Headers::default(),
        }
    }

    /// Sends in these connections, too.
    pub fn with_connections(mut self, connections: Connections) -> Self {
        self.connections = Some(connections);
        self
    }

    /// Never waits for room, where what is sent is not worth it.
    pub fn without_patience(mut self) -> Self {
        self.patience = Duration::ZERO;
        self
    }

    /// Sends all of these. What cannot be sent is counted and thrown away.
    pub fn send<'a>(&mut self, outgoing: impl Iterator<Item = Outgoing<'a>>) {
        let mut messages = Vec::with_capacity(MAX_MESSAGES);
        let mut framed = Vec::new();
        for outgoing in outgoing {
            match outgoing.connection {
                None => self.split(&outgoing, &mut messages),
                Some(connection) => framed.push((connection, outgoing)),
            }
        }
        if !framed.is_empty() {
            self.send_framed(&framed);
        }
        let mut done = 0;
        while done < messages.len() {
            let waiting = &messages[done..];
            match self
                .headers
                .send(self.socket.as_fd(), waiting.iter().copied())
            {
                Ok(sent) => {
                    self.congested = false;
                    let datagrams = waiting[..sent].iter().map(Message::datagrams).sum();
                    let bytes = waiting[..sent]
                        .iter()
                        .map(|message| message.contents.len() as u64);
                    self.shared.counters.add_sent(datagrams, bytes.sum());
                    done += sent;
                }
                Err(error) => done = self.after_failure(&messages, done, &error),
            }
        }
    }

    /// Sends in connections: all that follows one another in one of them at once.
    fn send_framed(&self, framed: &[(ConnectionId, Outgoing<'_>)]) {
        let mut datagrams = Vec::new();
        for of_one in framed.chunk_by(|(one, _), (next, _)| one == next) {
            datagrams.clear();
            for (_, outgoing) in of_one {
                let size = outgoing.segment_size.unwrap_or(outgoing.contents.len());
                datagrams.extend(outgoing.contents.chunks(size.max(1)));
            }
            match &self.connections {
                Some(connections) => connections.send(of_one[0].0, &datagrams),
                None => self
                    .shared
                    .counters
                    .add_send_errors(SendError::Unreachable, datagrams.len() as u64),
            }
        }
    }

    /// As many messages of it as the kernel needs to take them.
    fn split<'a>(&self, outgoing: &Outgoing<'a>, messages: &mut Vec<Message<'a>>) {
        let destination = if self.is_ipv6 {
            mapped(outgoing.destination)
        } else {
            outgoing.destination
        };
        let message = |contents, segment_bytes| Message {
            destination,
            // With one address there is nothing to choose, and nothing to look up.
            source: outgoing.source.filter(|_| self.is_unbound),
            contents,
            segment_bytes,
        };
        let size = outgoing.segment_size.unwrap_or(outgoing.contents.len());
        if size == 0 || size >= outgoing.contents.len() {
            return messages.push(message(outgoing.contents, None));
        }
        let segments = if self.shared.gso() {
            (MAX_SEGMENTED_BYTES / size).clamp(1, MAX_SEGMENTS)
        } else {
            1
        };
        for group in outgoing.contents.chunks(size * segments) {
            let segment_bytes = u16::try_from(size).ok().filter(|_| group.len() > size);
            messages.push(message(group, segment_bytes));
        }
    }

    /// Deals with what became of the message at `failed`, and says which is next.
    fn after_failure(
        &mut self,
        messages: &[Message<'_>],
        failed: usize,
        error: &io::Error,
    ) -> usize {
        let kind = kind_of(error);
        if error.kind() == io::ErrorKind::Interrupted
            || kind == SendError::WouldBlock && self.await_room()
        {
            return failed;
        }
        if kind == SendError::WouldBlock {
            // The others would not fit either.
            let lost = messages[failed..].iter().map(Message::datagrams).sum();
            self.shared.counters.add_send_errors(kind, lost);
            return messages.len();
        }
        // Segmentation can be refused per route; Linux says so with these two, among others.
        let maybe_gso = matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL));
        match messages[failed].segment_bytes {
            Some(segment_bytes) if maybe_gso => {
                self.send_segments(&messages[failed], segment_bytes);
            }
            _ => {
                tracing::trace!(%error, destination = %messages[failed].destination, "not sent");
                self.shared
                    .counters
                    .add_send_errors(kind, messages[failed].datagrams());
            }
        }
        failed + 1
    }

    /// Sends the segments of a message one by one. If that works, segmentation was what failed,
    /// and is not tried again.
    fn send_segments(&mut self, whole: &Message<'_>, segment_bytes: u16) {
        let mut sent = 0;
        for contents in whole.contents.chunks(segment_bytes.into()) {
            let segment = Message {
                contents,
                segment_bytes: None,
                ..*whole
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
        if self.congested || self.patience.is_zero() {
            return false;
        }
        self.congested = true;
        sys::wait_writable(self.socket.as_fd(), self.patience).unwrap_or(false)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_kernel_says_to_a_send_has_a_name_that_says_whose_move_it_is() {
        for (code, kind) in [
            (libc::EAGAIN, SendError::WouldBlock),
            (libc::ENOBUFS, SendError::NoBuffers),
            (libc::ENOMEM, SendError::NoBuffers),
            (libc::EPERM, SendError::Forbidden),
            (libc::ENETUNREACH, SendError::Unreachable),
            (libc::ENETDOWN, SendError::Unreachable),
            (libc::EMSGSIZE, SendError::TooBig),
            (libc::EIO, SendError::Other),
        ] {
            assert_eq!(kind_of(&io::Error::from_raw_os_error(code)), kind, "{code}");
        }
    }
}
