//! Who comes when, with what, and how long they stay: every scenario is a list of visits.

use std::{sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};

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

/// `{n}` in a URL stands for a number: the publisher's, or the room's.
fn numbered(url: &str, number: u32) -> Arc<str> {
    url.replace("{n}", &number.to_string()).into()
}

/// Lengths of stays, and moments at which something happens, drawn so that two runs are alike.
struct Draw(StdRng);

impl Draw {
    fn between(&mut self, shortest: Duration, longest: Duration) -> Duration {
        shortest + longest.saturating_sub(shortest).mul_f64(self.0.random())
    }
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
    /// Where participants post; `{n}` stands for the room's number.
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
        let mut visits = Vec::new();
        let mut at = Duration::ZERO;
        for person in 0..self.people {
            for room in 0..self.rooms {
                visits.push(Visit {
                    number: visits.len() as u32,
                    role: Role::Participant,
                    url: numbered(self.url, room),
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

/// Those who come and go, while the publishers or the rooms stay as they are.
#[derive(Clone, Debug)]
pub(crate) struct Churn {
    /// Of the new clients, per second.
    pub(crate) joins_per_second: f64,
    /// How long each stays.
    pub(crate) shortest_stay: Duration,
    pub(crate) longest_stay: Duration,
    /// How long this goes on.
    pub(crate) lasting: Duration,
    pub(crate) seed: u64,
}

impl Churn {
    /// Adds comers and goers to a plan; each is like one of the last visits in it, where `alike` are alike.
    pub(crate) fn stir(&self, mut plan: Plan, alike: usize) -> Plan {
        let mut draw = Draw(StdRng::seed_from_u64(self.seed));
        let models: Vec<Visit> = plan.visits.iter().rev().take(alike).cloned().collect();
        if models.is_empty() || self.joins_per_second <= 0.0 {
            return plan;
        }
        let pace = Duration::from_secs_f64(1.0 / self.joins_per_second);
        let mut at = plan.joined_by;
        let end = plan.joined_by + self.lasting;
        while at < end {
            let stay = draw.between(self.shortest_stay, self.longest_stay);
            let model = &models[plan.visits.len() % models.len()];
            plan.visits.push(Visit {
                number: plan.visits.len() as u32,
                join_at: at,
                leave_at: Some(at + stay).filter(|leave| *leave < end),
                // Visitors listen: turns to speak stay with those who stay.
                turn: (u32::MAX, 1),
                ..model.clone()
            });
            at += draw.between(pace / 2, pace * 3 / 2);
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broadcast(publishers: u32, subscribers: u32) -> Plan {
        Broadcast {
            whip: Some("http://h/whip/{n}"),
            whep: Some("http://h/whep/{n}"),
            publishers,
            subscribers,
            sending: Sending {
                video: Some(Codec::Vp8),
                simulcast: false,
            },
            pace: Duration::from_millis(10),
        }
        .plan("broadcast")
    }

    #[test]
    fn subscribers_are_shared_out_over_publishers_who_are_there_already() {
        let plan = broadcast(2, 3);
        let urls: Vec<&str> = plan.visits.iter().map(|visit| &*visit.url).collect();
        assert_eq!(
            urls,
            [
                "http://h/whip/0",
                "http://h/whip/1",
                "http://h/whep/0",
                "http://h/whep/1",
                "http://h/whep/0"
            ]
        );
        assert!(plan.visits[2].join_at >= plan.visits[1].join_at + HEAD_START);
        assert!(plan.visits[0].media.iter().all(|wish| wish.sends));
        assert!(plan.visits[2].media.iter().all(|wish| !wish.sends));
    }

    #[test]
    fn churn_brings_people_at_its_rate_and_takes_them_away_again() {
        let churn = Churn {
            joins_per_second: 20.0,
            shortest_stay: Duration::from_secs(1),
            longest_stay: Duration::from_secs(3),
            lasting: Duration::from_secs(10),
            seed: 1,
        };
        let plan = churn.stir(broadcast(1, 2), 2);
        let comers = &plan.visits[3..];
        assert!((180..=220).contains(&comers.len()), "{} came", comers.len());
        assert!(comers.iter().all(|visit| &*visit.url == "http://h/whep/0"));
        let left = comers
            .iter()
            .filter_map(|visit| Some(visit.leave_at? - visit.join_at));
        let stays: Vec<Duration> = left.collect();
        assert!(stays.len() > 120, "{} left", stays.len());
        assert!(
            stays
                .iter()
                .all(|stay| (Duration::from_secs(1)..Duration::from_secs(3)).contains(stay))
        );
    }
}
