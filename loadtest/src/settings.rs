//! The command line.

use std::{io::IsTerminal, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    floor::Mix,
    limits::Limits,
    meter::Meter,
    outbound::MediaRate,
    payload::Codec,
    peer::Behaviour,
    run::Options,
    scenario::{Broadcast, Churn, Conference, Plan, Sending},
};

/// Loads any WHIP/WHEP server, and says what its viewers saw.
///
/// In URLs, {run} stands for a word that is new in every run, and {n} for the number of a publisher or a room.
/// The exit code is 0 when all limits were kept, 2 when one was broken, and 1 when the run could not be made.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Settings {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Publishers by WHIP, and many subscribers of them by WHEP
    Broadcast(BroadcastSettings),
    /// Rooms in which everyone sends, and sees the others in slots
    Conference(ConferenceSettings),
    /// Rooms with many people and no video: few speak, all hear
    AudioRoom(AudioRoomSettings),
    /// A broadcast, or a conference, to which people come and from which they go all the time
    Churn(ChurnSettings),
    /// A broadcast that everybody joins at once
    JoinStorm(JoinStormSettings),
    /// What copying, sealing and sending the packets costs on this machine: no server can be cheaper
    Limit(LimitSettings),
    /// Two servers in turn, several times: the ratio of their costs and delays, with its spread
    Compare(CompareSettings),
    /// Whether a server does what WHIP and WHEP ask for, row by row
    Conformance(ConformanceSettings),
    /// Checks of strangers, at a server of this machine: what does it cost it to ignore them?
    Flood(FloodSettings),
}

/// Where publishers and subscribers post.
#[derive(Debug, Args)]
pub(crate) struct Doors {
    /// The server: publishers post to URL/whip/load-{run}-{n}, subscribers to URL/whep/load-{run}-{n}
    #[arg(long, required_unless_present_any = ["whip", "whep"])]
    url: Option<String>,
    /// Where publishers post, when it is not the usual path
    #[arg(long, value_name = "URL")]
    whip: Option<String>,
    /// Where subscribers post, when it is not the usual path
    #[arg(long, value_name = "URL")]
    whep: Option<String>,
    #[arg(long, default_value_t = 1)]
    publishers: u32,
}

impl Doors {
    fn plan(&self, name: &'static str, subscribers: u32, sending: Sending, pace: Duration) -> Plan {
        let run = run_word();
        let door = |own: &Option<String>, path: &str| {
            let usual = || {
                Some(format!(
                    "{}/{path}/load-{{run}}-{{n}}",
                    self.url.as_deref()?.trim_end_matches('/')
                ))
            };
            own.clone()
                .or_else(usual)
                .map(|url| url.replace("{run}", &run))
        };
        let (whip, whep) = (door(&self.whip, "whip"), door(&self.whep, "whep"));
        let (whip, whep) = (whip.as_deref(), whep.as_deref());
        Broadcast {
            whip,
            whep,
            publishers: self.publishers,
            subscribers,
            sending,
            pace,
        }
        .plan(name)
    }
}

/// A word that no other run has, so that what a run before left behind does not disturb.
fn run_word() -> String {
    format!("{:08x}", rand::random::<u32>())
}

#[derive(Debug, Args)]
pub(crate) struct BroadcastSettings {
    #[command(flatten)]
    doors: Doors,
    #[arg(long, default_value_t = 10)]
    subscribers: u32,
    #[command(flatten)]
    pub(crate) common: CommonSettings,
}

impl BroadcastSettings {
    pub(crate) fn plan(&self) -> Plan {
        self.doors.plan(
            "broadcast",
            self.subscribers,
            self.common.sending(),
            self.common.pace(),
        )
    }
}

/// Where participants post, and how many they are.
#[derive(Debug, Args)]
pub(crate) struct Rooms {
    /// The server: participants post to URL/rooms/load-{run}-{n}/sessions, unless URL has a {n} of its own
    #[arg(long)]
    url: String,
    #[arg(long, default_value_t = 1)]
    rooms: u32,
    /// In each room
    #[arg(long, default_value_t = 4)]
    people: u32,
    /// Audio slots of each
    #[arg(long, default_value_t = 3)]
    audio_slots: u32,
}

impl Rooms {
    fn plan(&self, name: &'static str, video_slots: u32, sending: Sending, pace: Duration) -> Plan {
        let url = if self.url.contains("{n}") {
            self.url.clone()
        } else {
            format!(
                "{}/rooms/load-{{run}}-{{n}}/sessions",
                self.url.trim_end_matches('/')
            )
        };
        Conference {
            url: &url.replace("{run}", &run_word()),
            rooms: self.rooms,
            people: self.people,
            audio_slots: self.audio_slots,
            video_slots,
            sending,
            pace,
        }
        .plan(name)
    }
}

#[derive(Debug, Args)]
pub(crate) struct ConferenceSettings {
    #[command(flatten)]
    rooms: Rooms,
    /// Video slots of each
    #[arg(long, default_value_t = 4)]
    slots: u32,
    #[command(flatten)]
    pub(crate) common: CommonSettings,
}

impl ConferenceSettings {
    pub(crate) fn plan(&self) -> Plan {
        self.rooms.plan(
            "conference",
            self.slots,
            self.common.sending(),
            self.common.pace(),
        )
    }
}

#[derive(Debug, Args)]
pub(crate) struct AudioRoomSettings {
    #[command(flatten)]
    rooms: Rooms,
    #[command(flatten)]
    pub(crate) common: CommonSettings,
}

impl AudioRoomSettings {
    pub(crate) fn plan(&self) -> Plan {
        let sending = Sending {
            video: None,
            simulcast: false,
        };
        self.rooms
            .plan("audio-room", 0, sending, self.common.pace())
    }
}

#[derive(Debug, Args)]
pub(crate) struct ChurnSettings {
    #[command(flatten)]
    doors: Doors,
    /// Subscribers who stay; in a conference, people who stay
    #[arg(long, default_value_t = 10)]
    subscribers: u32,
    /// People come to a conference, instead of subscribers to a broadcast; needs --url
    #[arg(long)]
    conference: bool,
    /// Video slots of each in a conference
    #[arg(long, default_value_t = 4)]
    slots: u32,
    /// People who come, per second
    #[arg(long, default_value_t = 10.0)]
    churn_per_second: f64,
    /// Shortest stay
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    shortest_stay: f64,
    /// Longest stay
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    longest_stay: f64,
    /// From which the stays are drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    pub(crate) common: CommonSettings,
}

impl ChurnSettings {
    pub(crate) fn plan(&self) -> Plan {
        let (sending, pace) = (self.common.sending(), self.common.pace());
        let stay = if self.conference {
            let url = self.doors.url.clone().unwrap_or_default();
            let rooms = Rooms {
                url,
                rooms: self.doors.publishers,
                people: self.subscribers,
                audio_slots: 3,
            };
            rooms.plan("churn", self.slots, sending, pace)
        } else {
            self.doors.plan("churn", self.subscribers, sending, pace)
        };
        let seconds = |seconds: f64| Duration::from_secs_f64(seconds.max(0.0));
        let churn = Churn {
            joins_per_second: self.churn_per_second,
            shortest_stay: seconds(self.shortest_stay),
            longest_stay: seconds(self.longest_stay),
            // The settling time belongs to it.
            lasting: seconds(self.common.seconds + 1.0),
            seed: self.seed,
        };
        let alike = if self.conference {
            stay.visits.len()
        } else {
            self.subscribers.max(1) as usize
        };
        churn.stir(stay, alike)
    }
}

#[derive(Debug, Args)]
pub(crate) struct JoinStormSettings {
    #[command(flatten)]
    doors: Doors,
    #[arg(long, default_value_t = 500)]
    subscribers: u32,
    /// All join within so long
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    within: f64,
    #[command(flatten)]
    pub(crate) common: CommonSettings,
}

impl JoinStormSettings {
    pub(crate) fn plan(&self) -> Plan {
        let pace =
            Duration::from_secs_f64(self.within.max(0.0) / f64::from(self.subscribers.max(1)));
        self.doors
            .plan("join-storm", self.subscribers, self.common.sending(), pace)
    }
}

#[derive(Debug, Args)]
pub(crate) struct LimitSettings {
    #[arg(long, default_value_t = 200)]
    pub(crate) receivers: usize,
    /// Of each of the measurements, of which there are two in a round
    #[arg(long, default_value_t = 3.0)]
    pub(crate) seconds: f64,
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Video streams of each receiver
    #[arg(long, default_value_t = 1)]
    pub(crate) video_streams: usize,
    /// Audio streams of each receiver
    #[arg(long, default_value_t = 1)]
    pub(crate) audio_streams: usize,
    #[arg(long, default_value_t = 1200)]
    pub(crate) video_kbps: u32,
    #[arg(long, default_value_t = 25)]
    pub(crate) fps: u32,
    #[arg(long)]
    pub(crate) json: bool,
}

impl LimitSettings {
    pub(crate) fn mix(&self) -> Mix {
        Mix {
            receivers: self.receivers,
            video: self.video_streams,
            audio: self.audio_streams,
            rate: MediaRate {
                video_kbps: self.video_kbps,
                frames_per_second: self.fps,
            },
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ConformanceSettings {
    /// The door for publishers
    #[arg(long, value_name = "URL", required_unless_present = "whep")]
    pub(crate) whip: Option<String>,
    /// The door for players
    #[arg(long, value_name = "URL")]
    pub(crate) whep: Option<String>,
    /// Bearer token for every request, but those that are to be refused
    #[arg(long, env = "LOADTEST_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// The whole report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FloodSettings {
    /// The server's media port, in 127.0.0.0/8
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) to: SocketAddr,
    /// The user fragment that is asked for; another that nobody has each time, where it is not given
    #[arg(long)]
    pub(crate) ufrag: Option<String>,
    #[arg(long, default_value_t = 100_000)]
    pub(crate) per_second: u32,
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// From which user fragments and transaction ids are drawn
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Process of the server, for its CPU time
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// Datagrams that the server may answer
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(crate) max_answers: u64,
    /// CPU time of the server, in percent of one core
    #[arg(long, value_name = "PERCENT", requires = "pid")]
    pub(crate) max_cpu_percent: Option<f64>,
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CompareSettings {
    /// One server: its URL, or the two of its doors as WHIP,WHEP
    #[arg(long, value_name = "URL")]
    a: String,
    /// The other server
    #[arg(long, value_name = "URL")]
    b: String,
    /// Process of the one, for its costs
    #[arg(long)]
    pub(crate) a_pid: Option<u32>,
    /// Process of the other
    #[arg(long)]
    pub(crate) b_pid: Option<u32>,
    /// Each pair is one run of either
    #[arg(long, default_value_t = 5)]
    pub(crate) pairs: usize,
    #[arg(long, default_value_t = 1)]
    publishers: u32,
    #[arg(long, default_value_t = 100)]
    subscribers: u32,
    #[command(flatten)]
    pub(crate) common: CommonSettings,
}

impl CompareSettings {
    /// The plans of both, with new names in every run.
    pub(crate) fn plans(&self) -> [Plan; 2] {
        [&self.a, &self.b].map(|server| {
            let doors = match server.split_once(',') {
                Some((whip, whep)) => Doors {
                    url: None,
                    whip: Some(whip.to_owned()),
                    whep: Some(whep.to_owned()),
                    publishers: self.publishers,
                },
                None => Doors {
                    url: Some(server.clone()),
                    whip: None,
                    whep: None,
                    publishers: self.publishers,
                },
            };
            doors.plan(
                "compare",
                self.subscribers,
                self.common.sending(),
                self.common.pace(),
            )
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum VideoCodec {
    Vp8,
    H264,
    /// Audio alone
    None,
}

/// What all scenarios have in common.
#[derive(Debug, Args)]
pub(crate) struct CommonSettings {
    /// Length of the measured part, after all have joined
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Joins per second; 0 lets all join at once
    #[arg(long, default_value_t = 100.0)]
    joins_per_second: f64,
    #[arg(long, value_enum, default_value_t = VideoCodec::Vp8)]
    video: VideoCodec,
    /// Video in three layers (RIDs q, h, f)
    #[arg(long)]
    simulcast: bool,
    /// Of the highest video layer, on the wire
    #[arg(long, default_value_t = 1200)]
    video_kbps: u32,
    #[arg(long, default_value_t = 25)]
    fps: u32,
    /// Between two reports of arrival times (TWCC)
    #[arg(long, default_value_t = 100)]
    feedback_ms: u64,
    /// Threads that the clients are shared out over
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// One socket per thread, on which each client is an address of 127.0.0.0/8: less load, loopback only
    #[arg(long)]
    shared_sockets: bool,
    /// All media goes by ICE over TCP; the work of that is this program's
    #[arg(long, conflicts_with = "shared_sockets")]
    tcp: bool,
    /// Opens one packet in 32 only, which is cheaper: streams are then followed by their headers
    #[arg(long)]
    no_decrypt: bool,
    /// RTP packets that get lost on their way to the server
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    lose_up: f64,
    /// RTP packets that get lost on their way from the server
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    lose_down: f64,
    /// Bearer token for every request
    #[arg(long, env = "LOADTEST_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Process of the server, when it runs on this machine: its CPU time and memory are measured
    #[arg(long)]
    pid: Option<u32>,
    /// The server's metrics page: its CPU time, memory and own delays are read there
    #[arg(long, value_name = "URL")]
    metrics: Option<String>,
    /// The histogram of forwarding delays on that page
    #[arg(
        long,
        value_name = "NAME",
        default_value = "plenum_forward_delay_seconds"
    )]
    delay_metric: String,
    /// Measures the floor before and after, and gives the server's cost as a multiple of it
    #[arg(long)]
    floor: bool,
    /// The whole report as JSON, every client included
    #[arg(long)]
    pub(crate) json: bool,
    /// Writes the report as one page with plots
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) limits: Limits,
}

impl CommonSettings {
    fn sending(&self) -> Sending {
        let video = match self.video {
            VideoCodec::Vp8 => Some(Codec::Vp8),
            VideoCodec::H264 => Some(Codec::H264),
            VideoCodec::None => None,
        };
        Sending {
            video,
            simulcast: self.simulcast,
        }
    }

    fn pace(&self) -> Duration {
        if self.joins_per_second > 0.0 {
            Duration::from_secs_f64(1.0 / self.joins_per_second)
        } else {
            Duration::ZERO
        }
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            measured: Duration::from_secs_f64(self.seconds.max(0.1)),
            threads: self.threads,
            behaviour: Behaviour {
                rate: MediaRate {
                    video_kbps: self.video_kbps,
                    frames_per_second: self.fps,
                },
                feedback_interval: Duration::from_millis(self.feedback_ms.max(10)),
                decrypt_all: !self.no_decrypt,
                lose_up: self.lose_up / 100.0,
                lose_down: self.lose_down / 100.0,
            },
            token: self.token.as_deref().map(Arc::from),
            shared_sockets: self.shared_sockets,
            tcp: self.tcp,
            progress: std::io::stderr().is_terminal(),
            meter: Meter {
                pid: self.pid,
                metrics: self.metrics.clone(),
                delay_metric: self.delay_metric.clone(),
            },
            floor: self.floor,
        }
    }
}
