//! Who comes when, with what, and how long they stay: every scenario is a list of visits.

use std::{sync::Arc, time::Duration};

use crate::payload::Codec;

/// What a client is, for the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Publisher,
    Subscriber,
    Participant,
}

/// An m-line that a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MediaWish {
    pub(crate) codec: Codec,
    pub(crate) sends: bool,
    pub(crate) simulcast: bool,
}

/// One client's stay.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    /// Its place in the scenario.
    pub(crate) number: u32,
    pub(crate) role: Role,
    /// Where its offer is posted.
    pub(crate) url: Arc<str>,
    pub(crate) media: Arc<[MediaWish]>,
    /// From the start of the run.
    pub(crate) join_at: Duration,
    /// Earlier than the end of the run, if at all.
    pub(crate) leave_at: Option<Duration>,
    /// Speaks in turns: its place among those it speaks with, and how many these are.
    pub(crate) turn: (u32, u32),
}

impl Visit {
    /// The canonical name of its sources (RFC 3550 §6.5.1).
    pub(crate) fn cname(&self) -> String {
        format!("loadtest-{}", self.number)
    }
}

/// A scenario, ready to be run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) visits: Vec<Visit>,
    /// When everyone who stays has been told to join: measuring starts after it.
    pub(crate) joined_by: Duration,
}

/// What publishers send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    /// `None`: audio alone.
    pub(crate) video: Option<Codec>,
    pub(crate) simulcast: bool,
}

impl Sending {
    fn wishes(self) -> Vec<MediaWish> {
        let audio = MediaWish {
            codec: Codec::Opus,
            sends: true,
            simulcast: false,
        };
        let video = self.video.map(|codec| MediaWish {
            codec,
            sends: true,
            simulcast: self.simulcast,
        });
        std::iter::once(audio).chain(video).collect()
    }
}

/// Slots that receive: audio first.
fn receiving(audio: u32, video: u32, codec: Option<Codec>) -> Vec<MediaWish> {
    let wish = |codec| MediaWish {
        codec,
        sends: false,
        simulcast: false,
    };
    let audio = (0..audio).map(|_| wish(Codec::Opus));
    let video = codec
        .into_iter()
        .flat_map(|codec| (0..video).map(move |_| wish(codec)));
    audio.chain(video).collect()
}

/// `{n}` in a URL stands for the publisher's number.
fn numbered(url: &str, number: u32) -> Arc<str> {
    url.replace("{n}", &number.to_string()).into()
}

/// Publishers by WHIP and subscribers by WHEP, who are shared out over the publishers.
#[derive(Clone, Debug)]
pub(crate) struct Broadcast<'a> {
    pub(crate) whip: Option<&'a str>,
    pub(crate) whep: Option<&'a str>,
    pub(crate) publishers: u32,
    pub(crate) subscribers: u32,
    pub(crate) sending: Sending,
    /// Between two who join; zero lets all join at once.
    pub(crate) pace: Duration,
}

/// Publishers have so long before the first subscriber comes.
const HEAD_START: Duration = Duration::from_millis(500);

impl Broadcast<'_> {
    pub(crate) fn plan(&self, name: &'static str) -> Plan {
        let mut visits = Vec::new();
        let mut at = Duration::ZERO;
        let sending: Arc<[MediaWish]> = self.sending.wishes().into();
        if let Some(url) = self.whip {
            for publisher in 0..self.publishers {
                visits.push(Visit {
                    number: visits.len() as u32,
                    role: Role::Publisher,
                    url: numbered(url, publisher),
                    media: Arc::clone(&sending),
                    join_at: at,
                    leave_at: None,
                    turn: (publisher, self.publishers),
                });
                at += self.pace;
            }
            at += HEAD_START;
        }
        let receiving: Arc<[MediaWish]> = receiving(1, 1, self.sending.video).into();
        if let Some(url) = self.whep {
            for subscriber in 0..self.subscribers {
                visits.push(Visit {
                    number: visits.len() as u32,
                    role: Role::Subscriber,
                    url: numbered(url, subscriber % self.publishers.max(1)),
                    media: Arc::clone(&receiving),
                    join_at: at,
                    leave_at: None,
                    turn: (0, 1),
                });
                at += self.pace;
            }
        }
        Plan {
            name,
            visits,
            joined_by: at,
        }
    }
}

/// Rooms in which everyone sends, and sees the others in slots.
#[derive(Clone, Debug)]
pub(crate) struct Conference<'a> {
    /// The server; rooms are posted to under `/rooms/{room}/sessions`.
    pub(crate) url: &'a str,
    pub(crate) rooms: u32,
    pub(crate) people: u32,
    pub(crate) audio_slots: u32,
    pub(crate) video_slots: u32,
    pub(crate) sending: Sending,
    pub(crate) pace: Duration,
}

impl Conference<'_> {
    pub(crate) fn plan(&self, name: &'static str) -> Plan {
        let mut media = self.sending.wishes();
        media.extend(receiving(
            self.audio_slots,
            self.video_slots,
            self.sending.video,
        ));
        let media: Arc<[MediaWish]> = media.into();
        let base = self.url.trim_end_matches('/');
        let mut visits = Vec::new();
        let mut at = Duration::ZERO;
        for person in 0..self.people {
            for room in 0..self.rooms {
                visits.push(Visit {
                    number: visits.len() as u32,
                    role: Role::Participant,
                    url: format!("{base}/rooms/load-{room}/sessions").into(),
                    media: Arc::clone(&media),
                    join_at: at,
                    leave_at: None,
                    turn: (person, self.people),
                });
                at += self.pace;
            }
        }
        Plan {
            name,
            visits,
            joined_by: at,
        }
    }
}
