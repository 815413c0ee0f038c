//! One unbroken RTP stream per slot, made of pieces of many.
//!
//! A slot has one SSRC for its life; what it shows changes. [`SlotTimeline`] gives each packet
//! that goes through it a sequence number and a timestamp (RFC 3550 §5.1) such that the
//! receiver cannot tell where one source ends and the next begins:
//!
//! * sequence numbers go on by one over a switch of the source and over packets that are left
//!   out, and have a gap exactly where packets were lost on their way to us;
//! * timestamps go on by the time that passed, and never back;
//! * picture numbers in the payload go on likewise ([`CodecRewriter`]).
//!
//! It also remembers which packet left under which number, so that a NACK (RFC 4585 §6.2.1)
//! finds its packet in the source's history and sends the same bytes again.

mod clock;
mod window;

use std::collections::VecDeque;
use std::time::Instant;

use super::cache;
use super::codec::{CodecOffsets, CodecRewriter, PayloadInfo};
use clock::SlotClock;
use window::SentWindow;

/// Most spans remembered, 6 KiB of them.
///
/// A span ends at a switch and at each left out frame: at 60 frames per second of which every
/// other is left out, this is four seconds, longer than any packet is worth sending again.
const MAX_SPANS: usize = 128;

/// The longest gap in a source's numbers that stays as long as it is.
///
/// SRTP tells numbers that are 2^15 ahead from numbers that are behind (RFC 3711 §3.3.1) by
/// guessing, and wrongly. Half of that is far beyond what could be asked for again; a longer
/// gap is a sender that began anew, and becomes a gap of one.
const MAX_GAP: u64 = 1 << 14;

/// Under which numbers a packet leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Sequence number, extended: the low 16 bits go on the wire.
    pub seq: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// What to add to the payload's picture numbers.
    pub codec: CodecOffsets,
}

/// Which packet left under a sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<Source> {
    /// Whose packet it was.
    pub source: Source,
    /// Its extended sequence number there.
    pub seq: u64,
    /// What to add to its timestamp, modulo 2^32.
    pub timestamp_offset: u32,
    /// What to add to its payload's picture numbers.
    pub codec: CodecOffsets,
}

/// Why a packet cannot leave. Each is worth a counter, none a word to anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// The slot shows nothing yet.
    NoSource,
    /// It is from before the place where the source was switched to.
    BeforeSwitch,
    /// Its number was closed over: it was left out, or is from before its sender began anew.
    LeftOut,
    /// It left already: no number is used twice, as no SRTP nonce may be.
    Duplicate,
    /// It comes so late that nobody remembers whether it left.
    TooOld,
}

/// A run of packets that left in one piece, each number as far from its original.
#[derive(Clone, Copy, Debug)]
struct Span<Source> {
    source: Source,
    /// Counts switches, since the numbers of different sources do not compare.
    epoch: u32,
    first_in: u64,
    first_out: u64,
    timestamp_offset: u32,
    codec: CodecOffsets,
}

/// The outgoing numbers of one slot. `Source` names what it shows: a layer of a track.
#[derive(Clone, Debug)]
pub struct SlotTimeline<Source> {
    clock: SlotClock,
    rewriter: CodecRewriter,
    sent: SentWindow,
    /// Oldest first, with `first_out` rising; the last one is open.
    spans: VecDeque<Span<Source>>,
    epoch: u32,
    /// Where the current source was switched to.
    epoch_first_in: u64,
    /// The current source's newest packet, passed or skipped; just before the first at a switch.
    newest_in: u64,
    /// The newest number given out; the first switch begins after it.
    newest_out: u64,
}

impl<Source: Copy> SlotTimeline<Source> {
    /// A slot that has shown nothing yet.
    ///
    /// `random` chooses where it begins. The first sequence number is in [1, 2^15), so that a
    /// receiver that misses the first packets does not misjudge the SRTP rollover counter.
    pub fn new(clock_rate_hz: u32, random: u64) -> Self {
        Self {
            clock: SlotClock::new(clock_rate_hz, (random >> 32) as u32),
            rewriter: CodecRewriter::default(),
            sent: SentWindow::default(),
            spans: VecDeque::new(),
            epoch: 0,
            epoch_first_in: 0,
            newest_in: 0,
            newest_out: random % ((1 << 15) - 1),
        }
    }

    /// Goes on with `source` from this packet, which is the next to be passed.
    ///
    /// `at` is when its frame was captured, on our clock, where sender reports tell; else when
    /// it arrived. Whoever mixes the two lets timestamps drift apart by the network's delay.
    pub fn switch(
        &mut self,
        source: Source,
        seq: u64,
        timestamp: u32,
        info: &PayloadInfo,
        at: Instant,
    ) {
        // Spans in which nothing has left have numbers that are given out again.
        while self
            .spans
            .back()
            .is_some_and(|span| span.first_out > self.newest_out)
        {
            self.spans.pop_back();
        }
        self.rewriter.switch(info);
        self.epoch = self.epoch.wrapping_add(1);
        self.epoch_first_in = seq;
        self.newest_in = seq.wrapping_sub(1);
        let timestamp_offset = self.clock.switch(timestamp, at);
        self.push(Span {
            source,
            epoch: self.epoch,
            first_in: seq,
            first_out: self.newest_out + 1,
            timestamp_offset,
            codec: CodecOffsets::default(),
        });
    }

    /// Fetches what [`Self::pass`] will need that stands elsewhere.
    pub(crate) fn warm(&self) {
        if let Some(span) = self.spans.back() {
            cache::fetch(span);
        }
    }

    /// The numbers for a packet of the current source that is sent on.
    pub fn pass(
        &mut self,
        seq: u64,
        timestamp: u32,
        info: &PayloadInfo,
    ) -> Result<Placed, Refused> {
        if self.is_ahead(seq) {
            let codec = self.rewriter.pass(info);
            self.open_span(seq, Some(codec));
            self.newest_in = seq;
        }
        let (out, span) = self.find(seq)?;
        self.sent.mark(out)?;
        self.newest_out = self.newest_out.max(out);
        let timestamp = timestamp.wrapping_add(span.timestamp_offset);
        self.clock.note(timestamp);
        Ok(Placed {
            seq: out,
            timestamp,
            codec: span.codec,
        })
    }

    /// From now on only spatial layers up to this one are passed.
    pub fn keep_spatial(&mut self, highest: u8) {
        self.rewriter.keep_spatial(highest);
    }

    /// From now on only temporal layers up to this one are passed, of what has dependency descriptors.
    pub fn keep_temporal(&mut self, highest: u8) {
        self.rewriter.keep_temporal(highest);
    }

    /// Takes note of a packet of the current source that is not sent on: of a layer that is
    /// not wanted, or with padding only.
    ///
    /// If it comes late, behind packets that have left, its number stays a gap.
    pub fn skip(&mut self, seq: u64, info: &PayloadInfo) {
        if self.spans.is_empty() || !self.is_ahead(seq) {
            return;
        }
        self.rewriter.skip(info);
        let open = self.open_span(seq, None);
        let was_untouched = open.first_in == seq;
        let next = Span {
            first_in: seq + 1,
            first_out: open.first_out + (seq - open.first_in),
            ..*open
        };
        if was_untouched {
            *open = next;
        } else {
            self.push(next);
        }
        self.newest_in = seq;
    }

    /// Numbers above this one were given out, and what they were given to will not leave: the next
    /// source begins with them. Nothing of the current one may be passed any more.
    pub fn take_back(&mut self, newest: u64) {
        if newest < self.newest_out {
            self.newest_out = newest;
            self.sent.take_back(newest);
        }
    }

    /// Which packet left, or would have, under a number; `None` if that is too long ago, or
    /// yet to come.
    ///
    /// A number that was lost on its way to us has an origin, too: the packet may have come
    /// since, and may be sent then.
    pub fn origin_of(&self, seq: u64) -> Option<Origin<Source>> {
        if seq > self.newest_out {
            return None;
        }
        let after = self.spans.partition_point(|span| span.first_out <= seq);
        let span = self.spans.get(after.checked_sub(1)?)?;
        Some(Origin {
            source: span.source,
            seq: span.first_in + (seq - span.first_out),
            timestamp_offset: span.timestamp_offset,
            codec: span.codec,
        })
    }

    /// The extended number behind the 16 bits in a NACK or report: the newest that fits.
    pub fn extend(&self, wire_seq: u16) -> u64 {
        let behind = (self.newest_out as u16).wrapping_sub(wire_seq);
        self.newest_out.wrapping_sub(behind.into())
    }

    /// What is added to the current source's timestamps, modulo 2^32: a sender report of its
    /// own reads right after the same addition. `None` before the first switch.
    pub fn timestamp_offset(&self) -> Option<u32> {
        self.spans.back().map(|span| span.timestamp_offset)
    }

    /// The newest sequence number given out, extended; before the first, the one before it.
    pub fn newest_seq(&self) -> u64 {
        self.newest_out
    }

    fn is_ahead(&self, seq: u64) -> bool {
        // Right after a switch to number 0, `newest_in` is the largest of all.
        !self.spans.is_empty() && seq.wrapping_sub(self.newest_in) as i64 > 0
    }

    /// The open span, as it has to be for a packet that is ahead of all others.
    fn open_span(&mut self, seq: u64, codec: Option<CodecOffsets>) -> &mut Span<Source> {
        let gap = seq.wrapping_sub(self.newest_in);
        let newest_in = self.newest_in;
        let skipped_gap = self.newest_out + 2;
        let last = self.spans.len().checked_sub(1);
        let last = last.expect("asked only after a switch");
        let open = &self.spans[last];
        if gap <= MAX_GAP && codec.is_none_or(|codec| codec == open.codec) {
            return &mut self.spans[last];
        }
        let open = &mut self.spans[last];
        let mut wanted = *open;
        if gap > MAX_GAP {
            wanted.first_in = seq;
            wanted.first_out = skipped_gap;
        }
        if let Some(codec) = codec.filter(|&codec| codec != wanted.codec) {
            wanted.codec = codec;
            // Offsets that were found only now hold for the span if nothing in it has left.
            let is_untouched = newest_in.wrapping_add(1) <= wanted.first_in;
            if !is_untouched {
                wanted.first_out += seq - wanted.first_in;
                wanted.first_in = seq;
            }
        }
        if wanted.first_in == open.first_in {
            *open = wanted;
        } else {
            self.push(wanted);
        }
        self.spans
            .back_mut()
            .expect("one was there, and none was taken")
    }

    /// The outgoing number of a packet of the current source, and the span that it is in.
    fn find(&self, seq: u64) -> Result<(u64, Span<Source>), Refused> {
        if self.spans.is_empty() {
            return Err(Refused::NoSource);
        }
        if seq < self.epoch_first_in {
            return Err(Refused::BeforeSwitch);
        }
        let mut end = u64::MAX;
        for span in self
            .spans
            .iter()
            .rev()
            .take_while(|span| span.epoch == self.epoch)
        {
            if span.first_in <= seq {
                let out = span.first_out + (seq - span.first_in);
                return if out < end {
                    Ok((out, *span))
                } else {
                    Err(Refused::LeftOut)
                };
            }
            end = span.first_out;
        }
        Err(Refused::TooOld)
    }

    fn push(&mut self, span: Span<Source>) {
        if self.spans.len() == MAX_SPANS {
            self.spans.pop_front();
        }
        self.spans.push_back(span);
    }
}

#[cfg(test)]
mod tests;
