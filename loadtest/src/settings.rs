//! The command line.

use std::{io::IsTerminal, sync::Arc, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    outbound::MediaRate,
    payload::Codec,
    peer::Behaviour,
    report::RunReport,
    run::Options,
    scenario::{Broadcast, Conference, Plan, Sending},
};

/// Loads any WHIP/WHEP server, and says what its viewers saw.
///
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
    /// Rooms in which everyone sends and sees the others in slots
    Conference(ConferenceSettings),
}

#[derive(Debug, Args)]
pub(crate) struct BroadcastSettings {
    /// Where publishers post; `{n}` stands for the publisher's number, from 0
    #[arg(long)]
    whip: Option<String>,
    /// Where subscribers post; `{n}` stands for the number of the publisher that they watch
    #[arg(long)]
    whep: Option<String>,
    #[arg(long, default_value_t = 1)]
    publishers: u32,
    #[arg(long, default_value_t = 10)]
    subscribers: u32,
    #[command(flatten)]
    pub(crate) common: CommonSettings,
}

impl BroadcastSettings {
    pub(crate) fn plan(&self) -> Plan {
        Broadcast {
            whip: self.whip.as_deref(),
            whep: self.whep.as_deref(),
            publishers: self.publishers,
            subscribers: self.subscribers,
            sending: self.common.sending(),
            pace: self.common.pace(),
        }
        .plan("broadcast")
    }
}

#[derive(Debug, Args)]
pub(crate) struct ConferenceSettings {
    /// The server; rooms are under `/rooms/{room}/sessions`
    #[arg(long)]
    url: String,
    #[arg(long, default_value_t = 1)]
    rooms: u32,
    /// In each room
    #[arg(long, default_value_t = 4)]
    people: u32,
    /// Video slots of each
    #[arg(long, default_value_t = 4)]
    slots: u32,
    /// Audio slots of each
    #[arg(long, default_value_t = 3)]
    audio_slots: u32,
    #[command(flatten)]
    pub(crate) common: CommonSettings,
}

impl ConferenceSettings {
    pub(crate) fn plan(&self) -> Plan {
        Conference {
            url: &self.url,
            rooms: self.rooms,
            people: self.people,
            audio_slots: self.audio_slots,
            video_slots: self.slots,
            sending: self.common.sending(),
            pace: self.common.pace(),
        }
        .plan("conference")
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
    seconds: f64,
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
    /// Opens one packet in 32 only, which is cheaper: streams are then followed by their headers
    #[arg(long)]
    no_decrypt: bool,
    /// Bearer token for every request
    #[arg(long, env = "LOADTEST_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The whole report as JSON, every client included
    #[arg(long)]
    pub(crate) json: bool,
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
            },
            token: self.token.as_deref().map(Arc::from),
            shared_sockets: self.shared_sockets,
            progress: std::io::stderr().is_terminal(),
        }
    }
}

/// What must hold for the exit code to be 0.
#[derive(Clone, Debug, Args)]
pub(crate) struct Limits {
    /// Share of packets that may be lost after recovery, in percent
    #[arg(long, default_value_t = 0.1)]
    max_loss: f64,
    /// Clients that may fail
    #[arg(long, default_value_t = 0)]
    max_failed: usize,
}

impl Limits {
    /// Names every limit that the run broke.
    pub(crate) fn broken_by(&self, report: &RunReport) -> Vec<String> {
        let totals = &report.totals;
        let mut broken = Vec::new();
        if totals.lost_percent > self.max_loss {
            broken.push(format!(
                "{:.4} % lost, more than {} %",
                totals.lost_percent, self.max_loss
            ));
        }
        if totals.failed > self.max_failed {
            broken.push(format!(
                "{} clients failed, more than {}",
                totals.failed, self.max_failed
            ));
        }
        let receivers = report
            .clients
            .iter()
            .filter(|client| !client.streams.is_empty())
            .count();
        if receivers > 0 && totals.packets == 0 {
            broken.push("nothing was received".to_owned());
        }
        broken
    }
}
