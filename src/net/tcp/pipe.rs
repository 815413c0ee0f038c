//! What waits for a connection that takes less than it is sent.
//!
//! Media that is late is worth nothing, so that the oldest of it goes when there is too much,
//! always whole: the stream stays readable, and the receiver sees an ordinary loss.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

/// Most bytes that wait in one connection besides those in the kernel.
///
/// A large keyframe and a second of 1 Mbit/s fit; more would be later than a person can talk
/// with, and is held for every slow receiver.
pub(super) const MAX_QUEUED_BYTES: usize = 256 << 10;

/// Datagrams in one system call; the kernel takes twice as many pieces (`IOV_MAX` is 1024).
const FRAMES_PER_WRITE: usize = 64;

/// What became of datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// The connection took them, with their lengths.
    pub(super) frames: u64,
    /// Bytes of them, lengths included.
    pub(super) bytes: u64,
    /// System calls.
    pub(super) calls: u64,
    /// Thrown away, as too much waited.
    pub(super) dropped: u64,
}

/// The sending half of a connection, apart from its socket.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    /// What is left of a frame that the connection took in part: it has to follow.
    head: Vec<u8>,
    /// Whole datagrams, oldest first.
    queue: VecDeque<Box<[u8]>>,
    queued_bytes: usize,
}

impl Pipe {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.head.is_empty() && self.queue.is_empty()
    }

    /// Sends these behind what waits; what the connection does not take now waits, too.
    pub(super) fn send(&mut self, to: &mut impl Write, datagrams: &[&[u8]]) -> io::Result<Written> {
        let mut written = Written::default();
        self.write_queue(to, &mut written)?;
        let mut waiting = datagrams;
        while self.is_empty() && !waiting.is_empty() {
            let chunk = &waiting[..waiting.len().min(FRAMES_PER_WRITE)];
            let taken = write_frames(to, chunk, &mut written)?;
            if taken == 0 {
                break;
            }
            let (whole, rest) = split(chunk, taken);
            written.frames += whole as u64;
            waiting = &waiting[whole + usize::from(rest.is_some())..];
            self.head = rest.unwrap_or_default();
        }
        if waiting.is_empty() && self.is_empty() {
            return Ok(written);
        }
        for datagram in waiting {
            self.enqueue(datagram);
        }
        // Who is told when there is room again counts on there having been none.
        self.write_queue(to, &mut written)?;
        written.dropped += self.drop_oldest();
        Ok(written)
    }

    /// Sends what waits, as much of it as the connection takes.
    pub(super) fn flush(&mut self, to: &mut impl Write) -> io::Result<Written> {
        let mut written = Written::default();
        self.write_queue(to, &mut written)?;
        Ok(written)
    }

    /// Writes until nothing waits, or the connection takes no more.
    fn write_queue(&mut self, to: &mut impl Write, written: &mut Written) -> io::Result<()> {
        while !self.is_empty() {
            let taken = if self.head.is_empty() {
                self.write_frames(to, written)?
            } else {
                self.write_head(to, written)?
            };
            if taken == 0 {
                break;
            }
        }
        Ok(())
    }

    fn write_head(&mut self, to: &mut impl Write, written: &mut Written) -> io::Result<usize> {
        let taken = attempt(|| to.write(&self.head), written)?;
        self.head.drain(..taken);
        written.frames += u64::from(self.head.is_empty());
        Ok(taken)
    }

    fn write_frames(&mut self, to: &mut impl Write, written: &mut Written) -> io::Result<usize> {
        let waiting = self.queue.iter().take(FRAMES_PER_WRITE);
        let chunk: Vec<&[u8]> = waiting.map(|frame| &**frame).collect();
        let taken = write_frames(to, &chunk, written)?;
        let (whole, rest) = split(&chunk, taken);
        written.frames += whole as u64;
        for frame in self.queue.drain(..whole + usize::from(rest.is_some())) {
            self.queued_bytes -= frame.len();
        }
        self.head = rest.unwrap_or_default();
        Ok(taken)
    }

    fn enqueue(&mut self, datagram: &[u8]) {
        self.queued_bytes += datagram.len();
        self.queue.push_back(datagram.into());
    }

    /// Media goes before anything else: a lost check or handshake costs seconds.
    fn drop_oldest(&mut self) -> u64 {
        let mut dropped = 0;
        while self.queued_bytes > MAX_QUEUED_BYTES {
            let oldest = self.queue.iter().position(|frame| is_media(frame));
            let Some(frame) = self.queue.remove(oldest.unwrap_or(0)) else {
                break;
            };
            self.queued_bytes -= frame.len();
            dropped += 1;
        }
        dropped
    }
}

/// RTP or RTCP (RFC 7983 §7).
fn is_media(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(128..=191))
}

/// Writes datagrams, each behind its length, and returns how many bytes were taken.
fn write_frames(
    to: &mut impl Write,
    datagrams: &[&[u8]],
    written: &mut Written,
) -> io::Result<usize> {
    let mut lengths = [[0; 2]; FRAMES_PER_WRITE];
    for (length, datagram) in lengths.iter_mut().zip(datagrams) {
        *length = length_of(datagram);
    }
    let mut slices = [IoSlice::new(&[]); 2 * FRAMES_PER_WRITE];
    let frames = slices
        .as_chunks_mut::<2>()
        .0
        .iter_mut()
        .zip(lengths.iter().zip(datagrams));
    for (frame, (length, datagram)) in frames {
        *frame = [IoSlice::new(length), IoSlice::new(datagram)];
    }
    let slices = &slices[..2 * datagrams.len()];
    attempt(|| to.write_vectored(slices), written)
}

/// Datagrams come from UDP's side of the house, and are never longer than 64 KiB.
fn length_of(datagram: &[u8]) -> [u8; 2] {
    u16::try_from(datagram.len())
        .expect("a datagram's length has 16 bits")
        .to_be_bytes()
}

/// A write that takes nothing where there is no room.
fn attempt(
    mut write: impl FnMut() -> io::Result<usize>,
    written: &mut Written,
) -> io::Result<usize> {
    loop {
        written.calls += 1;
        match write() {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(taken) => {
                written.bytes += taken as u64;
                return Ok(taken);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error),
        }
    }
}

/// How many frames `taken` bytes are, and what is left of the one that was taken in part.
fn split(datagrams: &[&[u8]], mut taken: usize) -> (usize, Option<Vec<u8>>) {
    for (whole, datagram) in datagrams.iter().enumerate() {
        let frame_bytes = 2 + datagram.len();
        if taken < frame_bytes {
            let rest = (taken > 0).then(|| {
                let frame = [&length_of(datagram)[..], datagram].concat();
                frame[taken..].to_vec()
            });
            return (whole, rest);
        }
        taken -= frame_bytes;
    }
    (datagrams.len(), None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::framing::Reassembler;
    use super::*;

    /// Takes so many bytes, and then no more.
    #[derive(Default)]
    struct Narrow {
        taken: Vec<u8>,
        room: usize,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let taken = bytes.len().min(self.room);
            self.taken.extend(&bytes[..taken]);
            self.room -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Narrow {
        fn datagrams(&self) -> Vec<Vec<u8>> {
            let mut all = Vec::new();
            let read = Reassembler::default().feed(&self.taken, |d| all.push(d.to_vec()));
            assert!(read.is_ok(), "the stream is not readable any more");
            all
        }
    }

    fn rtp(number: usize) -> Vec<u8> {
        [&[0x80, 96][..], &number.to_be_bytes(), &[0; 1000]].concat()
    }

    #[test]
    fn a_receiver_that_stalls_gets_the_newest_media_and_what_is_no_media() {
        let mut pipe = Pipe::default();
        let mut socket = Narrow {
            room: 1500,
            ..Narrow::default()
        };
        let hello = [&[22][..], &[1; 500]].concat();
        let sent: Vec<_> = (0..1000).map(rtp).collect();
        let mut dropped = 0;
        for (n, datagram) in sent.iter().enumerate() {
            let both: &[&[u8]] = &[datagram, &hello];
            let now = if n == 5 { both } else { &both[..1] };
            dropped += pipe.send(&mut socket, now).unwrap().dropped;
            assert!(pipe.queued_bytes <= MAX_QUEUED_BYTES);
        }
        socket.room = usize::MAX;
        pipe.flush(&mut socket).unwrap();
        assert!(pipe.is_empty());
        assert_eq!(pipe.queued_bytes, 0);

        let arrived = socket.datagrams();
        assert_eq!(
            arrived[..2],
            sent[..2],
            "one was under way, and is finished"
        );
        assert_eq!(arrived[2], hello);
        let newest = arrived.len() - 3;
        assert!(newest > 200);
        assert_eq!(arrived[3..], sent[1000 - newest..]);
        assert_eq!(dropped as usize, 1000 + 1 - arrived.len());
    }

    #[test]
    fn where_nothing_but_handshakes_waits_the_oldest_goes() {
        let mut pipe = Pipe::default();
        let hello = [22; 1200];
        for _ in 0..1000 {
            pipe.send(&mut Narrow::default(), &[&hello]).unwrap();
        }
        assert!(pipe.queued_bytes <= MAX_QUEUED_BYTES);
    }

    #[test]
    fn many_datagrams_leave_in_one_system_call() {
        struct Wide(Vec<usize>);
        impl Write for Wide {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.write_vectored(&[IoSlice::new(bytes)])
            }
            fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
                self.0.push(slices.len());
                Ok(slices.iter().map(|slice| slice.len()).sum())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut wide = Wide(Vec::new());
        let datagram = [0x80; 1200];
        let written = Pipe::default()
            .send(&mut wide, &[&datagram[..]; 100])
            .unwrap();
        assert_eq!(wide.0, [128, 72]);
        let expected = Written {
            frames: 100,
            bytes: 100 * 1202,
            calls: 2,
            dropped: 0,
        };
        assert_eq!(written, expected);
    }

    proptest! {
        #[test]
        fn whatever_a_connection_takes_at_a_time_the_stream_stays_whole(
            rooms in prop::collection::vec(0usize..2500, 1..60),
            burst in 1usize..5,
        ) {
            let mut pipe = Pipe::default();
            let mut socket = Narrow::default();
            let mut sent = Vec::new();
            let mut frames = 0;
            for room in rooms {
                socket.room = room;
                let now: Vec<_> = (0..burst).map(|n| rtp(sent.len() + n)).collect();
                let slices: Vec<_> = now.iter().map(Vec::as_slice).collect();
                let written = pipe.send(&mut socket, &slices).unwrap();
                frames += written.frames;
                prop_assert_eq!(written.dropped, 0, "all of it fits");
                sent.extend(now);
            }
            socket.room = usize::MAX;
            frames += pipe.flush(&mut socket).unwrap().frames;
            prop_assert_eq!(frames as usize, sent.len());
            prop_assert_eq!(socket.datagrams(), sent);
        }
    }
}
