//! AV1's dependency descriptor ("RTP Payload Format For AV1", appendix A), in a header extension:
//! what of a stream hangs on what, told beside the payload, for any codec.
//!
//! A keyframe brings a *structure*: templates of frames, each with its layers and what it means to
//! every decode target. Each packet then names its template. What is of use to forwarding is put
//! into the packet's [`PayloadInfo`]. Receivers get the descriptor, too ([`Descriptor::write`]), or
//! they could not tell frames that are left out from frames that are lost. Frames keep the distances
//! between their numbers, as all references are such distances; they are moved as one where a slot
//! changes its source.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{CodecOffsets, FrameNumber, Numbers, PayloadInfo};

/// Most templates that a structure has: 6 bits name them.
const MAX_TEMPLATES: usize = 64;

/// Template ids count modulo this.
const TEMPLATE_IDS: u8 = 64;

/// AV1 has two bits for the spatial layer, and three for the temporal one (AV1 §5.3.3).
const MAX_SPATIAL: u8 = 3;
const MAX_TEMPORAL: u8 = 7;

/// The fields that every descriptor has: start, end, template, frame number.
const MANDATORY_BYTES: usize = 3;

/// What a header extension's length can say (RFC 8285 §4.3).
const MAX_BYTES: usize = 255;

/// Where bits stand in an extended descriptor: its five flags, then the structure's first id.
const HAS_ACTIVE_AT: usize = 25;
const EXTENDED_AT: usize = 29;

/// What a frame means to a decode target (A.8.2), as two bits say it.
const NOT_PRESENT: u8 = 0;
const DISCARDABLE: u8 = 1;
const SWITCH: u8 = 2;

/// What a keyframe told of the frames to come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Structure {
    template_id_offset: u8,
    templates: Vec<Template>,
    /// The highest spatial and temporal layer of each decode target, of which there are 32 at most.
    targets: SmallVec<[(u8, u8); 9]>,
    /// Width and height of each spatial layer, where they are told.
    sizes: SmallVec<[(u16, u16); 1]>,
}

#[derive(Debug, PartialEq, Eq)]
struct Template {
    spatial: u8,
    temporal: u8,
    indications: SmallVec<[u8; 9]>,
    /// How many frames it is predicted from.
    references: u8,
}

/// What a stream has told, for the descriptors to come.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    structure: Arc<Structure>,
    /// The decode targets that are sent, the lowest bit for the first.
    active: u32,
    /// The packet that brought the structure.
    seq: u64,
}

/// Why a dependency descriptor is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unreadable {
    /// It is not what it should be.
    Malformed,
    /// It refers to a structure that did not come.
    NoStructure,
}

impl Unreadable {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Malformed, Self::NoStructure];

    /// The label that metrics carry.
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NoStructure => "no_structure",
        }
    }
}

/// A packet's descriptor.
#[derive(Debug)]
pub(crate) struct Descriptor {
    bytes: Box<[u8]>,
    structure: Arc<Structure>,
    /// The packet brings the structure.
    brings_structure: bool,
    starts_frame: bool,
    active: u32,
    has_active: bool,
    /// The bit at which the active decode targets stand, or would.
    active_at: usize,
}

impl Descriptor {
    /// Reads the descriptor of packet `seq`, given what its stream told before; and what it tells of the packet
    /// is put in the place of what its payload did.
    pub(crate) fn parse(
        bytes: &[u8],
        seq: u64,
        known: &mut Option<Known>,
        payload: &PayloadInfo,
    ) -> Result<(Self, PayloadInfo), Unreadable> {
        let mut bits = Bits { bytes, at: 0 };
        let head = Head::read(&mut bits).ok_or(Unreadable::Malformed)?;
        let brought = match head.brings_structure {
            true => Some(Structure::read(&mut bits).ok_or(Unreadable::Malformed)?),
            false => None,
        };
        let brings_structure = brought.is_some();
        let current = match brought {
            Some(structure) => Known {
                active: structure.all(),
                structure: Arc::new(structure),
                seq,
            },
            None => known.clone().ok_or(Unreadable::NoStructure)?,
        };
        let (mut active, active_at) = (current.active, bits.at);
        let structure = current.structure;
        if head.has_active {
            let count = structure.targets.len() as u32;
            active = bits.take(count).ok_or(Unreadable::Malformed)?;
        }
        let place = (head.template_id + TEMPLATE_IDS - structure.template_id_offset) % TEMPLATE_IDS;
        let template = structure.templates.get(usize::from(place));
        // An id beyond the structure is one of another, which was lost.
        let template = template.ok_or(Unreadable::NoStructure)?;
        let frame = Frame::read(&mut bits, &head, template).ok_or(Unreadable::Malformed)?;
        let info = PayloadInfo {
            parameter_sets: payload.parameter_sets,
            numbers: Numbers {
                frame: Some(FrameNumber {
                    value: head.frame_number,
                    first_id: structure.template_id_offset,
                    ids: structure.templates.len() as u8,
                }),
                ..payload.numbers
            },
            ..structure.info(template, &frame, &head)
        };
        // What comes late is not what holds.
        if known.as_ref().is_none_or(|known| known.seq <= seq) {
            *known = Some(Known {
                structure: structure.clone(),
                active,
                seq: if brings_structure { seq } else { current.seq },
            });
        }
        let descriptor = Self {
            bytes: bytes.into(),
            structure,
            brings_structure,
            starts_frame: head.starts,
            active,
            has_active: head.has_active,
            active_at,
        };
        Ok((descriptor, info))
    }

    /// The sizes of the spatial layers that it tells, the lowest first.
    pub(crate) fn sizes(&self) -> &[(u16, u16)] {
        if self.brings_structure {
            &self.structure.sizes
        } else {
            &[]
        }
    }

    /// Appends it as a slot sends it.
    pub(crate) fn write(&self, offsets: CodecOffsets, out: &mut SmallVec<[u8; 64]>) {
        let first = out.len();
        let targets = self.targets_within(offsets);
        match targets {
            // Who is told of a frame's targets by its first packet knows of all.
            Some(targets) if self.has_active || self.starts_frame => {
                self.write_active(targets, out);
            }
            _ => out.extend_from_slice(&self.bytes),
        }
        let bytes = &mut out[first..];
        let number = u16::from_be_bytes([bytes[1], bytes[2]]).wrapping_add(offsets.frame_number);
        bytes[1..MANDATORY_BYTES].copy_from_slice(&number.to_be_bytes());
        if offsets.template_id != 0 {
            move_id(bytes, 2, offsets.template_id);
            if self.brings_structure {
                move_id(bytes, EXTENDED_AT, offsets.template_id);
            }
        }
    }

    /// The decode targets that pass, if that is to be told.
    fn targets_within(&self, offsets: CodecOffsets) -> Option<u32> {
        if offsets.temporal_layers == 0 {
            return None;
        }
        let passes = |&(spatial, temporal): &(u8, u8)| {
            (offsets.spatial_layers == 0 || spatial < offsets.spatial_layers)
                && temporal < offsets.temporal_layers
        };
        let targets = (0..).zip(&self.structure.targets);
        let passing = targets.filter(|(_, target)| passes(target));
        Some(passing.fold(0, |mask, (place, _)| mask | 1 << place) & self.active)
    }

    /// Appends it with these decode targets.
    fn write_active(&self, targets: u32, out: &mut SmallVec<[u8; 64]>) {
        let count = self.structure.targets.len();
        let (before, after) = match self.has_active {
            true => (self.active_at, self.active_at + count),
            false => (self.active_at, self.active_at),
        };
        let total = before + count + (self.bytes.len() * 8).saturating_sub(after);
        if total.div_ceil(8) > MAX_BYTES {
            out.extend_from_slice(&self.bytes);
            return;
        }
        let first = out.len();
        out.resize(first + total.div_ceil(8), 0);
        let bytes = &mut out[first..];
        let mut at = 0;
        for bit in 0..before {
            put(bytes, &mut at, get(&self.bytes, bit));
        }
        for bit in (0..count).rev() {
            put(bytes, &mut at, targets >> bit & 1 == 1);
        }
        for bit in after..self.bytes.len() * 8 {
            put(bytes, &mut at, get(&self.bytes, bit));
        }
        put(bytes, &mut { HAS_ACTIVE_AT }, true);
    }
}

/// A stream of descriptors on its way through, for those who test it.
#[derive(Debug, Default)]
pub struct Descriptors {
    known: Option<Known>,
    seq: u64,
}

impl Descriptors {
    /// What the next one tells of its frame, and how it leaves; `None` if it is of no use.
    pub fn forward(
        &mut self,
        descriptor: &[u8],
        offsets: CodecOffsets,
    ) -> Option<(PayloadInfo, Vec<u8>)> {
        self.seq += 1;
        let opaque = PayloadInfo::OPAQUE;
        let read = Descriptor::parse(descriptor, self.seq, &mut self.known, &opaque);
        let (descriptor, info) = read.ok()?;
        let mut leaves = SmallVec::new();
        descriptor.write(offsets, &mut leaves);
        Some((info, leaves.to_vec()))
    }
}

/// What stands at the start of a descriptor.
#[derive(Debug)]
struct Head {
    starts: bool,
    ends: bool,
    template_id: u8,
    frame_number: u16,
    brings_structure: bool,
    has_active: bool,
    own_indications: bool,
    own_references: bool,
}

impl Head {
    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        let (starts, ends) = (bits.flag()?, bits.flag()?);
        let template_id = bits.take(6)? as u8;
        let frame_number = bits.take(16)? as u16;
        let is_extended = bits.bytes.len() > MANDATORY_BYTES;
        let mut flags = [false; 5];
        if is_extended {
            for flag in &mut flags {
                *flag = bits.flag()?;
            }
        } else {
            // Where they would be.
            bits.at = EXTENDED_AT;
        }
        let [
            brings_structure,
            has_active,
            own_indications,
            own_references,
            _,
        ] = flags;
        Some(Self {
            starts,
            ends,
            template_id,
            frame_number,
            brings_structure,
            has_active,
            own_indications,
            own_references,
        })
    }
}

/// A frame, by its template and what it says of its own. Chains are left to receivers.
#[derive(Debug)]
struct Frame {
    indications: SmallVec<[u8; 9]>,
    references: u8,
}

impl Frame {
    fn read(bits: &mut Bits<'_>, head: &Head, template: &Template) -> Option<Self> {
        let mut indications = template.indications.clone();
        if head.own_indications {
            for indication in &mut indications {
                *indication = bits.take(2)? as u8;
            }
        }
        let mut references = template.references;
        if head.own_references {
            references = 0;
            loop {
                let nibbles = bits.take(2)?;
                if nibbles == 0 {
                    break;
                }
                bits.take(4 * nibbles)?;
                references = references.saturating_add(1);
            }
        }
        Some(Self {
            indications,
            references,
        })
    }
}

impl Structure {
    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        let template_id_offset = bits.take(6)? as u8;
        let target_count = bits.take(5)? as usize + 1;
        let mut templates = read_layers(bits)?;
        for template in &mut templates {
            for _ in 0..target_count {
                template.indications.push(bits.take(2)? as u8);
            }
        }
        for template in &mut templates {
            while bits.flag()? {
                bits.take(4)?;
                template.references = template.references.saturating_add(1);
            }
        }
        pass_over_chains(bits, target_count as u32, templates.len() as u32)?;
        let targets = (0..target_count).map(|target| {
            let within = templates
                .iter()
                .filter(|template| template.indications[target] != NOT_PRESENT);
            within.fold((0, 0), |(spatial, temporal), template| {
                (
                    spatial.max(template.spatial),
                    temporal.max(template.temporal),
                )
            })
        });
        let targets = targets.collect();
        let sizes = read_sizes(bits, templates.last()?.spatial)?;
        Some(Self {
            template_id_offset,
            templates,
            targets,
            sizes,
        })
    }

    /// All decode targets, the lowest bit for the first.
    fn all(&self) -> u32 {
        u32::MAX >> (u32::BITS - self.targets.len() as u32)
    }

    fn info(&self, template: &Template, frame: &Frame, head: &Head) -> PayloadInfo {
        let (spatial, temporal) = (template.spatial, template.temporal);
        let meanings = || self.targets.iter().zip(&frame.indications);
        let switches = meanings()
            .filter(|((target, _), indication)| *target == spatial && **indication == SWITCH);
        let is_key = head.brings_structure && frame.references == 0;
        PayloadInfo {
            keyframe_start: head.starts && is_key,
            frame_start: head.starts,
            frame_end: head.ends,
            independent: frame.references == 0,
            takes_up: switches.map(|((_, target), _)| *target).max().unwrap_or(0),
            discardable: meanings().all(|(_, indication)| *indication <= DISCARDABLE),
            needed_above: meanings()
                .any(|((target, _), indication)| *target > spatial && *indication != NOT_PRESENT),
            spatial,
            temporal,
            ..PayloadInfo::OPAQUE
        }
    }
}

/// The layers of each template: each is as the one before, or begins the next.
fn read_layers(bits: &mut Bits<'_>) -> Option<Vec<Template>> {
    const NEXT_TEMPORAL: u32 = 1;
    const NEXT_SPATIAL: u32 = 2;
    const NO_MORE: u32 = 3;
    let (mut spatial, mut temporal) = (0, 0);
    let mut templates = Vec::new();
    loop {
        if templates.len() == MAX_TEMPLATES || spatial > MAX_SPATIAL || temporal > MAX_TEMPORAL {
            return None;
        }
        templates.push(Template {
            spatial,
            temporal,
            indications: SmallVec::new(),
            references: 0,
        });
        match bits.take(2)? {
            NO_MORE => return Some(templates),
            NEXT_TEMPORAL => temporal += 1,
            NEXT_SPATIAL => (spatial, temporal) = (spatial + 1, 0),
            _ => {}
        }
    }
}

fn pass_over_chains(bits: &mut Bits<'_>, targets: u32, templates: u32) -> Option<()> {
    let chains = bits.non_symmetric(targets + 1)?;
    if chains > 0 {
        for _ in 0..targets {
            bits.non_symmetric(chains)?;
        }
        for _ in 0..templates * chains {
            bits.take(4)?;
        }
    }
    Some(())
}

/// Width and height of every spatial layer, less one, where a flag says that they come.
fn read_sizes(bits: &mut Bits<'_>, top: u8) -> Option<SmallVec<[(u16, u16); 1]>> {
    let mut sizes = SmallVec::new();
    if bits.flag()? {
        for _ in 0..=top {
            let mut length = || Some(u16::try_from(bits.take(16)? + 1).unwrap_or(u16::MAX));
            sizes.push((length()?, length()?));
        }
    }
    Some(sizes)
}

/// Moves the template id of six bits that begins at a bit.
fn move_id(bytes: &mut [u8], at: usize, by: u8) {
    let bits = at..at + 6;
    let id = bits
        .clone()
        .fold(0, |id, bit| id << 1 | u8::from(get(bytes, bit)));
    let id = id.wrapping_add(by) % TEMPLATE_IDS;
    for (mut bit, place) in bits.zip((0..6).rev()) {
        put(bytes, &mut bit, id >> place & 1 == 1);
    }
}

/// A bit; 0 behind the end.
fn get(bytes: &[u8], at: usize) -> bool {
    bytes
        .get(at / 8)
        .is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1)
}

/// Writes a bit, and goes on to the next.
fn put(bytes: &mut [u8], at: &mut usize, bit: bool) {
    if let Some(byte) = bytes.get_mut(*at / 8) {
        let mask = 0x80 >> (*at % 8);
        *byte = if bit { *byte | mask } else { *byte & !mask };
    }
    *at += 1;
}

/// Bits of a descriptor, the highest first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn flag(&mut self) -> Option<bool> {
        Some(self.take(1)? == 1)
    }

    /// The next bits, at most 32, as a number.
    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = *self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    /// A number below `limit`, in as few bits as that takes (AV1 §4.10.7).
    fn non_symmetric(&mut self, limit: u32) -> Option<u32> {
        let width = u32::BITS - limit.leading_zeros();
        let short = (1 << width) - limit;
        let value = self.take(width.checked_sub(1)?)?;
        if value < short {
            return Some(value);
        }
        Some((value << 1) - short + self.take(1)?)
    }
}

#[cfg(test)]
#[path = "descriptor_tests.rs"]
mod tests;
