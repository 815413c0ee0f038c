//! Real pictures: made by FFmpeg's encoders, and looked at with its decoders.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

use super::media::Format;
use super::payload::nal_units;

/// Frames between two keyframes; a multiple of the temporal layers' period.
const GROUP: usize = 24;

/// Frames of a recording: two seconds, of which each picture differs from all others.
const FRAMES: usize = 2 * GROUP;

/// A frame of a recording.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) contents: Vec<u8>,
    pub(crate) keyframe: bool,
    /// The temporal layer, and whether the frame hangs on the lowest one alone.
    pub(crate) temporal: (u8, bool),
}

/// What one encoding of a camera shows, over and over.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) frames: Vec<Frame>,
    /// What a decoder makes of each frame.
    pub(crate) pictures: Vec<String>,
    /// What is sent before the first frame, and never again.
    pub(crate) preface: Vec<u8>,
}

impl Recording {
    /// The same from an encoder that tells its parameter sets once (H.264).
    pub(crate) fn told_once(&self) -> Arc<Self> {
        let is_set = |unit: &&[u8]| matches!(unit[0] & 0x1f, 7 | 8);
        let annex_b = |units: Vec<&[u8]>| {
            let units = units.into_iter().map(|unit| [&[0, 0, 0, 1], unit].concat());
            units.collect::<Vec<_>>().concat()
        };
        let without = |frame: &Frame| Frame {
            contents: annex_b(
                nal_units(&frame.contents)
                    .into_iter()
                    .filter(|unit| !is_set(unit))
                    .collect(),
            ),
            ..*frame
        };
        let sets = nal_units(&self.frames[0].contents);
        Arc::new(Self {
            frames: self.frames.iter().map(without).collect(),
            pictures: self.pictures.clone(),
            preface: annex_b(sets.into_iter().filter(is_set).collect()),
        })
    }
}

/// FFmpeg, and a place for its files.
pub(crate) struct Studio {
    ffmpeg: String,
    place: TempDir,
}

impl Studio {
    /// Where there is an FFmpeg: `tests/run` says which.
    pub(crate) fn open() -> Option<Self> {
        Some(Self {
            ffmpeg: std::env::var("FFMPEG").ok()?,
            place: TempDir::new().expect("a directory for temporary files"),
        })
    }

    /// Records a moving picture.
    pub(crate) fn record(
        &self,
        format: Format,
        (width, height): (u32, u32),
        kbps: u32,
        is_temporal: bool,
    ) -> Arc<Recording> {
        let file = self.file(format);
        let encoder = match format {
            // Above zero it would look at the time that it takes, and give other packets on a busy machine.
            Format::Vp8 => "libvpx -deadline realtime -cpu-used -8 -threads 1 -lag-in-frames 0",
            Format::Vp9 => "libvpx-vp9 -deadline realtime -cpu-used 8 -lag-in-frames 0",
            Format::H264 => "libx264 -preset ultrafast -tune zerolatency -bf 0 -sc_threshold 0",
            Format::Av1 => "libaom-av1 -usage realtime -cpu-used 8 -lag-in-frames 0",
            Format::Opus => unreachable!("a voice has no pictures"),
        };
        let layers = if is_temporal {
            let (low, middle) = (kbps * 2 / 5, kbps * 3 / 5);
            format!(
                "-error-resilient 1 -ts-parameters ts_number_layers=3:ts_target_bitrate={low},{middle},{kbps}\
                 :ts_rate_decimator=4,2,1:ts_periodicity=4:ts_layer_id=0,2,1,2:ts_layering_mode=3"
            )
        } else {
            String::new()
        };
        let source = format!("testsrc2=size={width}x{height}:rate=25");
        let options = format!(
            "-y -f lavfi -i {source} -frames:v {FRAMES} -pix_fmt yuv420p -c:v {encoder} \
             -b:v {kbps}k -g {GROUP} -keyint_min {GROUP} {layers}"
        );
        self.ffmpeg(options.split_whitespace().chain([path(&file)]));
        let stream = fs::read(&file).expect("what was just written");
        let contents = match format {
            Format::H264 => access_units(&stream),
            _ => ivf_frames(&stream),
        };
        let pictures = self.pictures(&file);
        assert_eq!((contents.len(), pictures.len()), (FRAMES, FRAMES));
        let frames = contents
            .into_iter()
            .enumerate()
            .map(|(index, contents)| Frame {
                contents,
                keyframe: index % GROUP == 0,
                temporal: match index % 4 {
                    _ if !is_temporal => (0, false),
                    0 => (0, false),
                    1 => (2, true),
                    2 => (1, true),
                    _ => (2, false),
                },
            });
        Arc::new(Recording {
            frames: frames.collect(),
            pictures,
            preface: Vec::new(),
        })
    }

    /// Decodes frames, and gives what each picture looks like. Nothing may be amiss.
    pub(crate) fn decode(&self, format: Format, frames: &[Vec<u8>]) -> Vec<String> {
        let file = self.file(format);
        let stream = match format {
            Format::H264 => frames.concat(),
            _ => ivf(format, frames),
        };
        fs::write(&file, stream).expect("a file to decode");
        self.pictures(&file)
    }

    fn file(&self, format: Format) -> PathBuf {
        let extension = if format == Format::H264 {
            "h264"
        } else {
            "ivf"
        };
        self.place
            .path()
            .join(format!("{}.{extension}", fastrand::u64(..)))
    }

    fn pictures(&self, file: &std::path::Path) -> Vec<String> {
        let input = ["-xerror", "-err_detect", "explode", "-i", path(file)];
        let output = "-noautoscale -fps_mode passthrough -f framemd5 -";
        let text = self.ffmpeg(input.into_iter().chain(output.split(' ')));
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| Some(line.rsplit(',').next()?.trim().to_owned()))
            .collect()
    }

    /// Runs FFmpeg, which may have nothing to complain about.
    fn ffmpeg<'a>(&self, arguments: impl Iterator<Item = &'a str>) -> String {
        let arguments: Vec<&str> = ["-v", "error"].into_iter().chain(arguments).collect();
        let output = Command::new(&self.ffmpeg).args(&arguments).output();
        let output = output.unwrap_or_else(|error| panic!("{}: {error}", self.ffmpeg));
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && complaints.is_empty(),
            "{arguments:?}: {complaints}"
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn path(file: &std::path::Path) -> &str {
    file.to_str().expect("a path that can be written down")
}

/// The frames of an IVF file: a header of 32 bytes, then 12 bytes before each frame.
fn ivf_frames(file: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &file[32..];
    let mut frames = Vec::new();
    while let Some(size) = rest.first_chunk::<4>() {
        let size = u32::from_le_bytes(*size) as usize;
        frames.push(rest[12..12 + size].to_vec());
        rest = &rest[12 + size..];
    }
    frames
}

fn ivf(format: Format, frames: &[Vec<u8>]) -> Vec<u8> {
    let codec = match format {
        Format::Vp8 => b"VP80",
        Format::Vp9 => b"VP90",
        _ => b"AV01",
    };
    let mut file = Vec::new();
    file.extend(b"DKIF");
    file.extend([0, 0, 32, 0]);
    file.extend(codec);
    // Width and height, which the frames tell anew; 25 pictures a second.
    file.extend([320_u16, 192].map(u16::to_le_bytes).concat());
    file.extend(
        [25, 1, frames.len() as u32, 0]
            .map(u32::to_le_bytes)
            .concat(),
    );
    for (index, frame) in frames.iter().enumerate() {
        file.extend((frame.len() as u32).to_le_bytes());
        file.extend((index as u64).to_le_bytes());
        file.extend_from_slice(frame);
    }
    file
}

/// The pictures of an Annex B stream, of one slice or several.
fn access_units(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut units: Vec<Vec<u8>> = Vec::new();
    let mut has_slice = true;
    for nal in nal_units(stream) {
        let is_slice = matches!(nal[0] & 0x1f, 1 | 5);
        // A picture's first slice begins with macroblock 0, which is one set bit.
        let begins = has_slice && (!is_slice || nal[1] & 0x80 != 0);
        if begins {
            units.push(Vec::new());
            has_slice = false;
        }
        has_slice |= is_slice;
        if let Some(unit) = units.last_mut() {
            unit.extend([0, 0, 0, 1]);
            unit.extend_from_slice(nal);
        }
    }
    units
}
