//! Picture numbers without a seam, over switches of the source and left out frames.

use super::vp8::KEY_IDX;
use super::{FrameNumber, PICTURE_ID_MASK, PayloadInfo, PictureId};

/// Template ids of dependency descriptors have six bits.
const TEMPLATE_ID: u8 = 0x3f;

/// What to add to the picture numbers of a payload; nothing, unless a [`CodecRewriter`] says so.
///
/// Small enough to be remembered with every span of packets, so that a retransmission leaves
/// with the numbers of the original.
#[derive(Clone, Copy, Debug, Default, Eq)]
pub struct CodecOffsets {
    /// Added to PictureID, modulo 2^15 or 2^7 as wide as the payload has it.
    pub picture_id: u16,
    /// Added to the frame numbers of dependency descriptors, modulo 2^16.
    pub frame_number: u16,
    /// Added to TL0PICIDX, modulo 2^8.
    pub tl0: u8,
    /// Added to KEYIDX, modulo 2^5.
    pub key_idx: u8,
    /// How many spatial layers pass, if not all do; 0 where all do.
    pub spatial_layers: u8,
    /// How many temporal layers pass, where dependency descriptors have to tell what passes; 0 where
    /// they need not.
    pub temporal_layers: u8,
    /// Added to the template ids of dependency descriptors, modulo 2^6.
    pub template_id: u8,
}

impl PartialEq for CodecOffsets {
    /// Asked of every packet of every receiver: two numbers are compared sooner than seven.
    fn eq(&self, other: &Self) -> bool {
        self.as_numbers() == other.as_numbers()
    }
}

impl CodecOffsets {
    fn as_numbers(&self) -> (u64, u8) {
        let [picture_low, picture_high] = self.picture_id.to_le_bytes();
        let [frame_low, frame_high] = self.frame_number.to_le_bytes();
        let most = u64::from_le_bytes([
            picture_low,
            picture_high,
            frame_low,
            frame_high,
            self.tl0,
            self.key_idx,
            self.spatial_layers,
            self.temporal_layers,
        ]);
        (most, self.template_id)
    }

    /// Whether a packet ends its picture although others of it followed: they are left out.
    pub fn ends_picture(&self, info: &PayloadInfo) -> bool {
        info.frame_end && info.spatial + 1 == self.spatial_layers
    }
}

/// Adds `offsets` to the numbers in `payload`, a copy of what `info` was parsed from.
///
/// The length stays. Numbers that the descriptor does not have are not made up.
pub fn patch(payload: &mut [u8], info: &PayloadInfo, offsets: CodecOffsets) {
    if offsets == CodecOffsets::default() {
        return;
    }
    let numbers = &info.numbers;
    if let Some(picture) = numbers.picture {
        let at = usize::from(picture.at.get());
        let value = picture.value.wrapping_add(offsets.picture_id);
        if !picture.wide {
            put(payload, at, 0x7f, value as u8);
        } else if payload.len() > at + 1 {
            put(payload, at, 0x7f, (value >> 8) as u8);
            put(payload, at + 1, 0xff, value as u8);
        }
    }
    if let Some(tl0) = numbers.tl0 {
        put(
            payload,
            tl0.at.get().into(),
            0xff,
            tl0.value.wrapping_add(offsets.tl0),
        );
    }
    if let Some(key_idx) = numbers.key_idx {
        let value = key_idx.value.wrapping_add(offsets.key_idx);
        put(payload, key_idx.at.get().into(), KEY_IDX, value);
    }
}

/// Replaces those bits of a byte that `mask` has.
fn put(payload: &mut [u8], at: usize, mask: u8, value: u8) {
    if let Some(byte) = payload.get_mut(at) {
        *byte = *byte & !mask | value & mask;
    }
}

/// Keeps the picture numbers of one slot continuous.
///
/// It is told of every packet that is ahead of all before it: [`Self::pass`] if it is sent on,
/// [`Self::skip`] if not. Packets that come late take the offsets of their neighbours, which
/// the slot's history has.
#[derive(Clone, Debug, Default)]
pub struct CodecRewriter {
    offsets: CodecOffsets,
    /// The source's newest picture.
    picture_in: Option<PictureId>,
    /// The number that the newest picture has, or would have, on its way out: 15 bits, also
    /// while narrow numbers pass through.
    picture_out: Option<u16>,
    /// The newest picture was left out, and its number is taken by the one before.
    skipped: bool,
    tl0_out: Option<u8>,
    key_idx_out: Option<u8>,
    /// The newest frame of dependency descriptors, with its template ids, as it left.
    frame_out: Option<FrameNumber>,
}

impl CodecRewriter {
    /// Begins with another source, or after a pause, at this packet, which is then passed.
    ///
    /// All numbers go on by one: a decoder sees the next picture, and as it is a keyframe,
    /// the next base layer frame and the next keyframe.
    pub fn switch(&mut self, first: &PayloadInfo) {
        self.picture_in = None;
        self.skipped = false;
        if let (Some(tl0), Some(last)) = (first.numbers.tl0, self.tl0_out) {
            self.offsets.tl0 = last.wrapping_add(1).wrapping_sub(tl0.value);
        }
        if let (Some(key_idx), Some(last)) = (first.numbers.key_idx, self.key_idx_out) {
            self.offsets.key_idx = last.wrapping_add(1).wrapping_sub(key_idx.value) & KEY_IDX;
        }
        // The keyframe brings a structure, in which all is active. Its templates get ids that the one
        // before did not have: should it be lost, what comes after it is not taken for what it is not.
        self.offsets.temporal_layers = 0;
        if let (Some(frame), Some(last)) = (first.numbers.frame, self.frame_out) {
            self.offsets.frame_number = last.value.wrapping_add(1).wrapping_sub(frame.value);
            let free = last.first_id.wrapping_add(last.ids);
            self.offsets.template_id = free.wrapping_sub(frame.first_id) & TEMPLATE_ID;
        }
    }

    /// From now on only spatial layers up to this one are sent on.
    pub fn keep_spatial(&mut self, highest: u8) {
        self.offsets.spatial_layers = highest.wrapping_add(1);
    }

    /// From now on only temporal layers up to this one are sent on; dependency descriptors are to
    /// tell, unless nothing was left out since the last switch.
    pub fn keep_temporal(&mut self, highest: u8) {
        let is_all = highest == u8::MAX && self.offsets.spatial_layers == 0;
        if !is_all || self.offsets.temporal_layers != 0 {
            self.offsets.temporal_layers = highest.saturating_add(1);
        }
    }

    /// The offsets for a packet that is sent on.
    #[inline]
    pub fn pass(&mut self, info: &PayloadInfo) -> CodecOffsets {
        if let Some(picture) = info.numbers.picture {
            self.pass_picture(picture, info.keyframe_start);
        }
        if let Some(tl0) = info.numbers.tl0 {
            let out = tl0.value.wrapping_add(self.offsets.tl0);
            let is_newer = self
                .tl0_out
                .is_none_or(|last| out.wrapping_sub(last) as i8 > 0);
            self.tl0_out = if is_newer { Some(out) } else { self.tl0_out };
        }
        if let Some(key_idx) = info.numbers.key_idx {
            self.key_idx_out = Some(key_idx.value.wrapping_add(self.offsets.key_idx) & KEY_IDX);
        }
        if let Some(frame) = info.numbers.frame {
            self.pass_frame(frame);
        }
        self.offsets
    }

    /// Takes note of a packet that is not sent on.
    ///
    /// VP8 frames that others can do without leave no gap. All other gaps stay (a base layer
    /// frame is missed, and VP9 counts distances by these numbers).
    pub fn skip(&mut self, info: &PayloadInfo) {
        let (Some(picture), Some(last_in), Some(last_out)) =
            (info.numbers.picture, self.picture_in, self.picture_out)
        else {
            return;
        };
        let distance = picture.since(last_in);
        if info.numbers.closes_gap && distance > 0 {
            // Pictures in between may still come, and have their numbers reserved.
            self.picture_out = Some(advance(last_out, distance - 1));
            self.picture_in = Some(picture);
            self.skipped = true;
        }
    }

    /// Most streams have no descriptors, and pay for this with a look.
    #[inline(never)]
    fn pass_frame(&mut self, frame: FrameNumber) {
        let out = FrameNumber {
            value: frame.value.wrapping_add(self.offsets.frame_number),
            first_id: frame.first_id.wrapping_add(self.offsets.template_id) & TEMPLATE_ID,
            ..frame
        };
        let is_newer = |last: FrameNumber| out.value.wrapping_sub(last.value) as i16 > 0;
        if self.frame_out.is_none_or(is_newer) {
            self.frame_out = Some(out);
        }
    }

    fn pass_picture(&mut self, picture: PictureId, is_keyframe_start: bool) {
        let out = match (self.picture_in, self.picture_out) {
            (_, None) => picture.value,
            (None, Some(last_out)) => advance(last_out, 1),
            (Some(last_in), Some(last_out)) => match picture.since(last_in) {
                0 if self.skipped => advance(last_out, 1),
                // An encoder that was restarted counts from anywhere.
                distance if distance < 0 && is_keyframe_start => advance(last_out, 1),
                // What is older otherwise belongs to numbers that were given out already.
                distance if distance < 0 => return,
                distance => advance(last_out, distance),
            },
        };
        self.skipped = false;
        self.picture_in = Some(picture);
        self.picture_out = Some(out);
        // For a narrow number only the low seven bits matter, and they are right.
        self.offsets.picture_id = out.wrapping_sub(picture.value) & PICTURE_ID_MASK;
    }
}

fn advance(picture_id: u16, by: i16) -> u16 {
    picture_id.wrapping_add_signed(by) & PICTURE_ID_MASK
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Codec;
    use super::*;

    /// A sender of VP8 or VP9 with three temporal layers, as browsers write it.
    #[derive(Clone, Debug)]
    struct Sender {
        codec: Codec,
        wide: bool,
        picture: u16,
        tl0: u8,
        key_idx: u8,
        frames: u32,
    }

    impl Sender {
        /// Descriptors of the next frame's packets; a keyframe if `key`.
        fn frame(&mut self, key: bool, packets: usize) -> Vec<Vec<u8>> {
            let temporal = if key {
                0
            } else {
                [0, 2, 1, 2][self.frames as usize % 4]
            };
            self.frames = if key { 1 } else { self.frames + 1 };
            self.picture = (self.picture + 1) & if self.wide { 0x7fff } else { 0x7f };
            self.tl0 = self.tl0.wrapping_add(u8::from(temporal == 0));
            self.key_idx = (self.key_idx + u8::from(key)) & KEY_IDX;
            (0..packets)
                .map(|index| self.packet(key, temporal, index == 0))
                .collect()
        }

        fn packet(&self, key: bool, temporal: u8, start: bool) -> Vec<u8> {
            let mut packet = match self.codec {
                Codec::Vp8 => vec![0x80 | u8::from(start) << 4, 0xf0],
                _ => vec![0xa0 | u8::from(!key) << 6 | u8::from(start) << 3],
            };
            let [high, low] = self.picture.to_be_bytes();
            if self.wide {
                packet.push(0x80 | high);
            }
            packet.push(low);
            match self.codec {
                Codec::Vp8 => {
                    packet.extend([self.tl0, temporal << 6 | self.key_idx, u8::from(!key)]);
                }
                _ => packet.extend([temporal << 5, self.tl0, 0xaa]),
            }
            packet
        }
    }

    fn sender(codec: Codec) -> impl Strategy<Value = Sender> {
        (any::<bool>(), any::<u16>(), any::<u8>(), 0..32u8).prop_map(
            move |(wide, picture, tl0, key_idx)| Sender {
                codec,
                wide,
                picture: picture & if wide { 0x7fff } else { 0x7f },
                tl0,
                key_idx,
                frames: 0,
            },
        )
    }

    /// What happens at one frame.
    #[derive(Clone, Debug)]
    struct Step {
        switch: bool,
        key: bool,
        packets: usize,
        highest_temporal: u8,
    }

    fn step() -> impl Strategy<Value = Step> {
        (
            prop::bool::weighted(0.1),
            prop::bool::weighted(0.05),
            1..4usize,
            0..3u8,
        )
            .prop_map(|(switch, key, packets, highest_temporal)| Step {
                switch,
                key,
                packets,
                highest_temporal,
            })
    }

    /// Sends frames through a rewriter; gives each forwarded frame as parsed behind it, one
    /// entry per packet.
    fn forward(senders: &mut [Sender; 2], steps: &[Step]) -> Vec<Vec<PayloadInfo>> {
        let codec = senders[0].codec;
        let mut rewriter = CodecRewriter::default();
        let mut current = 0;
        let mut seen = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            let switch = index == 0 || step.switch;
            current = if step.switch { 1 - current } else { current };
            let mut frame = Vec::new();
            for (place, packet) in senders[current]
                .frame(switch || step.key, step.packets)
                .iter_mut()
                .enumerate()
            {
                let info = PayloadInfo::parse(codec, packet).expect("a sender's packet");
                if switch && place == 0 {
                    rewriter.switch(&info);
                }
                if info.temporal > step.highest_temporal {
                    rewriter.skip(&info);
                    continue;
                }
                let offsets = rewriter.pass(&info);
                // The same again is what a retransmission does.
                let mut again = packet.clone();
                patch(packet, &info, offsets);
                patch(&mut again, &info, offsets);
                assert_eq!(*packet, again);
                frame.push(PayloadInfo::parse(codec, packet).expect("still a packet"));
            }
            if !frame.is_empty() {
                seen.push(frame);
            }
        }
        seen
    }

    /// The width of the numbers in a sender's packets, as a mask.
    fn mask(senders: &[Sender; 2]) -> u16 {
        if senders.iter().all(|sender| sender.wide) {
            0x7fff
        } else {
            0x7f
        }
    }

    proptest! {
        #[test]
        fn a_vp8_decoder_never_notices_switches_and_left_out_layers(
            mut senders in [sender(Codec::Vp8), sender(Codec::Vp8)],
            steps in prop::collection::vec(step(), 1..300),
        ) {
            let mask = mask(&senders);
            let frames = forward(&mut senders, &steps);
            for frame in &frames {
                prop_assert!(frame.iter().all(|packet| packet.picture_id() == frame[0].picture_id()));
                prop_assert!(frame.iter().all(|packet| packet.tl0_pic_idx() == frame[0].tl0_pic_idx()));
            }
            for pair in frames.windows(2) {
                let (before, after) = (&pair[0][0], &pair[1][0]);
                let picture = |info: &PayloadInfo| info.picture_id().expect("all have one");
                prop_assert_eq!((picture(after).wrapping_sub(picture(before))) & mask, 1);
                let base = u8::from(after.temporal == 0);
                let key = u8::from(after.keyframe_start);
                let tl0 = |info: &PayloadInfo| info.tl0_pic_idx().expect("all have one");
                prop_assert_eq!(tl0(after).wrapping_sub(tl0(before)), base);
                let key_idx = |info: &PayloadInfo| info.key_idx().expect("all have one");
                prop_assert_eq!(key_idx(after).wrapping_sub(key_idx(before)) & KEY_IDX, key);
            }
        }

        #[test]
        fn a_vp9_decoder_sees_a_gap_where_a_layer_was_left_out_and_nowhere_else(
            mut senders in [sender(Codec::Vp9), sender(Codec::Vp9)],
            steps in prop::collection::vec(step(), 1..300),
        ) {
            let mask = mask(&senders);
            let frames = forward(&mut senders, &steps);
            let mut all = steps.clone();
            all.iter_mut().for_each(|step| step.highest_temporal = 2);
            let complete = forward(&mut senders, &all);
            for pair in complete.windows(2) {
                let distance = pair[1][0].picture_id().zip(pair[0][0].picture_id());
                prop_assert_eq!(distance.map(|(after, before)| after.wrapping_sub(before) & mask), Some(1));
            }
            for pair in frames.windows(2) {
                let (before, after) = (&pair[0][0], &pair[1][0]);
                let distance = after.picture_id().zip(before.picture_id());
                let distance = distance.map(|(after, before)| after.wrapping_sub(before) & mask);
                // At most three frames between two of the base layer, and none at a switch.
                prop_assert!(distance.is_some_and(|distance| (1..=4).contains(&distance)));
                let tl0 = after.tl0_pic_idx().zip(before.tl0_pic_idx());
                let base = u8::from(after.temporal == 0);
                prop_assert_eq!(tl0.map(|(after, before)| after.wrapping_sub(before)), Some(base));
            }
        }
    }

    #[test]
    fn frames_of_descriptors_go_on_by_one_over_a_switch_and_keep_their_gaps() {
        let frame = |value, first_id| {
            let mut info = PayloadInfo::OPAQUE;
            let ids = 5;
            info.numbers.frame = Some(FrameNumber {
                value,
                first_id,
                ids,
            });
            info
        };
        let mut rewriter = CodecRewriter::default();
        for value in [65_534, 0] {
            let offsets = rewriter.pass(&frame(value, 60));
            assert_eq!((offsets.frame_number, offsets.template_id), (0, 0));
        }
        rewriter.keep_temporal(1);
        // One that comes late changes nothing.
        rewriter.pass(&frame(65_535, 60));
        let first = frame(700, 60);
        rewriter.switch(&first);
        let offsets = rewriter.pass(&first);
        assert_eq!(offsets.frame_number.wrapping_add(700), 1);
        // 60 to 64 were taken, which is 60 to 63 and 0.
        assert_eq!((offsets.template_id + 60) % 64, 1);
        assert_eq!(offsets.temporal_layers, 0, "nothing is left out of it");
        assert_eq!(rewriter.pass(&frame(704, 60)), offsets);
    }

    #[test]
    fn what_was_left_out_once_is_told_of_until_the_next_switch() {
        let mut rewriter = CodecRewriter::default();
        let told = |rewriter: &mut CodecRewriter, spatial, temporal| {
            rewriter.keep_spatial(spatial);
            rewriter.keep_temporal(temporal);
            rewriter.pass(&PayloadInfo::OPAQUE).temporal_layers
        };
        assert_eq!(told(&mut rewriter, u8::MAX, u8::MAX), 0);
        assert_eq!(told(&mut rewriter, u8::MAX, 1), 2);
        assert_eq!(told(&mut rewriter, u8::MAX, u8::MAX), u8::MAX);
        rewriter.switch(&PayloadInfo::OPAQUE);
        assert_eq!(told(&mut rewriter, u8::MAX, u8::MAX), 0);
        assert_eq!(told(&mut rewriter, 0, u8::MAX), u8::MAX);
    }

    fn vp8(picture: &[u8], temporal: u8) -> PayloadInfo {
        let mut packet = vec![0x90, 0xa0];
        packet.extend(picture);
        packet.extend([temporal << 6, 0x01]);
        PayloadInfo::parse(Codec::Vp8, &packet).expect("a valid packet")
    }

    #[test]
    fn a_lost_frame_stays_lost() {
        let mut rewriter = CodecRewriter::default();
        assert_eq!(rewriter.pass(&vp8(&[10], 0)).picture_id, 0);
        // 11 was lost on its way to us, 12 is left out: 13 follows 11.
        rewriter.skip(&vp8(&[12], 2));
        assert_eq!(rewriter.pass(&vp8(&[13], 0)).picture_id, PICTURE_ID_MASK);
        // A base layer frame that is left out is missed as if it were lost.
        rewriter.skip(&vp8(&[14], 0));
        assert_eq!(rewriter.pass(&vp8(&[15], 0)).picture_id, PICTURE_ID_MASK);
    }

    #[test]
    fn a_frame_that_was_begun_to_be_left_out_gets_a_number_of_its_own() {
        let mut rewriter = CodecRewriter::default();
        rewriter.pass(&vp8(&[0x80, 10], 0));
        rewriter.skip(&vp8(&[0x80, 11], 2));
        let offset = rewriter.pass(&vp8(&[0x80, 11], 2)).picture_id;
        assert_eq!((11 + offset) & PICTURE_ID_MASK, 11);
        let offset = rewriter.pass(&vp8(&[0x80, 12], 0)).picture_id;
        assert_eq!((12 + offset) & PICTURE_ID_MASK, 12);
    }

    #[test]
    fn numbers_that_grow_wider_go_on() {
        let mut rewriter = CodecRewriter::default();
        rewriter.pass(&vp8(&[0x80, 126], 0));
        rewriter.switch(&vp8(&[5], 0));
        assert_eq!(rewriter.pass(&vp8(&[5], 0)).picture_id, 122);
        // 6 in seven bits, which the sender calls 134 once it has fifteen.
        assert_eq!(rewriter.pass(&vp8(&[6], 0)).picture_id, 122);
        let offset = rewriter.pass(&vp8(&[0x80, 135], 0)).picture_id;
        assert_eq!((135 + offset) & PICTURE_ID_MASK, 129);
        let offset = rewriter.pass(&vp8(&[8], 0)).picture_id;
        assert_eq!((8 + offset) & 0x7f, 130 & 0x7f);
    }

    #[test]
    fn a_source_without_picture_numbers_is_left_as_it_is() {
        let mut rewriter = CodecRewriter::default();
        rewriter.pass(&vp8(&[0x80, 9], 0));
        let plain = PayloadInfo::parse(Codec::Vp8, &[0x10, 0x00]).expect("a valid packet");
        rewriter.switch(&plain);
        let mut payload = [0x10, 0x00];
        patch(&mut payload, &plain, rewriter.pass(&plain));
        assert_eq!(payload, [0x10, 0x00]);
        rewriter.switch(&vp8(&[0x80, 50], 0));
        let offset = rewriter.pass(&vp8(&[0x80, 50], 0)).picture_id;
        assert_eq!((50 + offset) & PICTURE_ID_MASK, 10);
    }

    #[test]
    fn a_restarted_encoder_goes_on_where_it_was() {
        let mut rewriter = CodecRewriter::default();
        rewriter.pass(&vp8(&[0x90, 0], 0));
        let key = PayloadInfo::parse(Codec::Vp8, &[0x90, 0x80, 0x85, 0x00, 0x00])
            .expect("a valid packet");
        let offset = rewriter.pass(&key).picture_id;
        assert_eq!((0x500 + offset) & PICTURE_ID_MASK, 0x1001);
    }
}
