//! Who comes to a door, and with what.

use std::time::Duration;

use plenum::engine::command::Door;
use plenum::engine::ids::SessionId;

use super::media::Device;

/// A data channel that somebody wants.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) label: String,
    pub(crate) is_lossy: bool,
}

impl Topic {
    pub(crate) fn reliable(label: &str) -> Self {
        let label = label.to_owned();
        Self {
            label,
            is_lossy: false,
        }
    }

    pub(crate) fn lossy(label: &str) -> Self {
        Self {
            is_lossy: true,
            ..Self::reliable(label)
        }
    }
}

/// What somebody wants who comes to a door.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) door: Door,
    pub(crate) name: Option<String>,
    pub(crate) is_host: bool,
    pub(crate) is_hidden: bool,
    pub(crate) resume: Option<SessionId>,
    pub(crate) devices: Vec<Device>,
    pub(crate) topics: Vec<Topic>,
    pub(crate) video_slots: usize,
    pub(crate) audio_slots: usize,
    pub(crate) one_way_delay: Duration,
    /// Shards that take nobody now.
    pub(crate) busy: Vec<u16>,
    /// A codec that it does not know, as SDP has it.
    pub(crate) lacks: Option<&'static str>,
    /// The certificate that is shown is not the one that the offer names.
    pub(crate) is_impostor: bool,
    /// Reads nothing of how large its messages may be.
    pub(crate) ignores_message_size: bool,
    /// Knows redundant audio (RFC 2198).
    pub(crate) takes_red: bool,
}

impl Guest {
    /// Comes to a room to show and to watch: camera and microphone, two slots of each kind.
    pub(crate) fn meeting() -> Self {
        Self {
            door: Door::Meet,
            name: None,
            is_host: false,
            is_hidden: false,
            resume: None,
            devices: vec![Device::microphone(), Device::camera()],
            topics: Vec::new(),
            video_slots: 2,
            audio_slots: 2,
            one_way_delay: Duration::from_millis(20),
            busy: Vec::new(),
            lacks: None,
            is_impostor: false,
            ignores_message_size: false,
            takes_red: false,
        }
    }

    /// Publishes by WHIP.
    pub(crate) fn publishing(name: &str) -> Self {
        let participant = Some(name.parse().expect("a name"));
        Self {
            video_slots: 0,
            audio_slots: 0,
            door: Door::Publish { participant },
            ..Self::meeting()
        }
    }

    /// Watches by WHEP whoever speaks.
    pub(crate) fn watching() -> Self {
        Self {
            door: Door::Watch { participant: None },
            devices: Vec::new(),
            video_slots: 1,
            audio_slots: 1,
            ..Self::meeting()
        }
    }

    /// Watches one participant by WHEP.
    pub(crate) fn watching_only(name: &str) -> Self {
        let participant = Some(name.parse().expect("a name"));
        Self {
            door: Door::Watch { participant },
            ..Self::watching()
        }
    }

    pub(crate) fn with(mut self, devices: impl IntoIterator<Item = Device>) -> Self {
        self.devices = devices.into_iter().collect();
        self
    }

    /// With data channels.
    pub(crate) fn opening(mut self, topics: impl IntoIterator<Item = Topic>) -> Self {
        self.topics = topics.into_iter().collect();
        self
    }

    pub(crate) fn slots(mut self, video: usize, audio: usize) -> Self {
        (self.video_slots, self.audio_slots) = (video, audio);
        self
    }

    pub(crate) fn at_distance(mut self, one_way_delay: Duration) -> Self {
        self.one_way_delay = one_way_delay;
        self
    }

    /// Sees the others and is not seen: without devices, by a token that says so.
    pub(crate) fn hidden() -> Self {
        Self {
            is_hidden: true,
            devices: Vec::new(),
            ..Self::meeting()
        }
    }

    /// With a token that lets them administer the room.
    pub(crate) fn hosting(mut self) -> Self {
        self.is_host = true;
        self
    }

    /// With a certificate that the offer does not name.
    pub(crate) fn impersonating(mut self) -> Self {
        self.is_impostor = true;
        self
    }

    /// Sends larger messages than it is told it may.
    pub(crate) fn ignoring_message_size(mut self) -> Self {
        self.ignores_message_size = true;
        self
    }

    pub(crate) fn resuming(mut self, session: SessionId) -> Self {
        self.resume = Some(session);
        self
    }
}
