//! What is going on in calls, asked of all engines at once.

use std::time::Duration;

use axum::http::StatusCode;
use futures_util::future::join_all;
use serde::Serialize;

use super::admission::Shortage;
use super::problem::Problem;
use super::settings::Ratio;
use super::{App, memory};
use crate::engine::command::{Command, Reply};
use crate::engine::ids::{ParticipantId, RoomId};
use crate::engine::inspect::{RoomOverview, SessionReport};
use crate::engine::tape::Recording;

/// Longest wait for one engine: Prometheus itself gives up after ten seconds, and a person who
/// looks for what is wrong is better told of the other engines than kept waiting.
const SHARD_TIMEOUT: Duration = Duration::from_secs(1);

/// The server as a whole: what it has to do, what it may, and whether it takes anybody.
#[derive(Serialize)]
pub(super) struct ServerOverview {
    version: &'static str,
    age_seconds: u64,
    /// Why nobody new should be sent here, as `/readyz` says: `draining`, `load`, `memory`.
    refuses: Option<&'static str>,
    /// What is in memory, and what may be at the most before sessions are refused.
    memory_bytes: Option<u64>,
    memory_limit_bytes: Option<u64>,
    max_memory_ratio: Ratio,
    max_load_ratio: Ratio,
    shards: Vec<ShardOverview>,
}

/// A thread that forwards media.
#[derive(Serialize)]
pub(super) struct ShardOverview {
    shard: usize,
    /// Part of the last seconds that it was awake.
    load_ratio: f64,
    /// Part of the video wanted that it forwards.
    video_share_ratio: f64,
}

impl App {
    /// The server as a whole, without asking an engine.
    pub(super) fn server_overview(&self) -> ServerOverview {
        let shards = (0..self.engines.count()).map(|shard| ShardOverview {
            shard,
            load_ratio: self.admission.load(shard),
            video_share_ratio: self.metrics.video_share(shard),
        });
        ServerOverview {
            version: env!("CARGO_PKG_VERSION"),
            age_seconds: self.started_at.elapsed().as_secs(),
            refuses: self.refuses(),
            memory_bytes: memory::resident_bytes(),
            memory_limit_bytes: self.admission.memory_limit_bytes(),
            max_memory_ratio: self.settings.max_memory,
            max_load_ratio: self.settings.max_load,
            shards: shards.collect(),
        }
    }

    /// Why nobody new should be sent here, if so.
    pub(super) fn refuses(&self) -> Option<&'static str> {
        if self.is_draining() {
            return Some("draining");
        }
        let shortage = self.admission.general_shortage(self.engines.count());
        shortage.map(Shortage::label)
    }

    /// Every room, with who is in it. One that has several shards is there as often.
    pub(super) async fn overview(&self) -> Vec<RoomOverview> {
        let mut rooms: Vec<RoomOverview> = self
            .ask_each(|| Command::Overview)
            .await
            .into_iter()
            .flatten()
            .filter_map(|reply| match reply {
                Reply::Overview(here) => Some(here),
                _ => None,
            })
            .flatten()
            .collect();
        rooms.sort_by(|a, b| a.room.cmp(&b.room).then(a.shard.cmp(&b.shard)));
        rooms
    }

    /// Why a participant's call is as it is: each of their sessions, in full.
    pub(super) async fn reports(
        &self,
        room: &RoomId,
        participant: &ParticipantId,
    ) -> Result<Vec<SessionReport>, Problem> {
        let inspect = || Command::Inspect {
            room: room.clone(),
            participant: participant.clone(),
        };
        let replies = self.ask_each(inspect).await.into_iter().flatten();
        let reports: Vec<SessionReport> = replies
            .filter_map(|reply| match reply {
                Reply::Inspected(here) => Some(here),
                _ => None,
            })
            .flatten()
            .collect();
        if reports.is_empty() {
            return Err(nobody());
        }
        Ok(reports)
    }

    /// Has every engine record what it is asked to; 404 where none has anybody to record.
    pub(super) async fn record(
        &self,
        command: impl Fn() -> Command,
    ) -> Result<StatusCode, Problem> {
        let mut refused = nobody();
        let mut is_recorded = false;
        for shard in 0..self.engines.count() {
            match self.command(shard, command()).await {
                Ok(_) => is_recorded = true,
                Err(problem) if problem.is_gone() => {}
                Err(problem) => refused = problem,
            }
        }
        if is_recorded {
            Ok(StatusCode::ACCEPTED)
        } else {
            Err(refused)
        }
    }

    /// Ends the recordings of a participant, and gives them out.
    pub(super) async fn recorded(
        &self,
        room: &RoomId,
        participant: &ParticipantId,
    ) -> Result<Vec<Recording>, Problem> {
        let recorded = || Command::Recorded {
            room: room.clone(),
            participant: participant.clone(),
        };
        let replies = self.ask_each(recorded).await.into_iter().flatten();
        let recordings: Vec<Recording> = replies
            .filter_map(|reply| match reply {
                Reply::Recorded(here) => Some(here),
                _ => None,
            })
            .flatten()
            .collect();
        if recordings.is_empty() {
            return Err(Problem::not_found("Nobody of this name is recorded."));
        }
        Ok(recordings)
    }

    /// What each engine answers, if it does in time; all are asked at once.
    pub(super) async fn ask_each(&self, command: impl Fn() -> Command) -> Vec<Option<Reply>> {
        let asked = (0..self.engines.count()).map(|shard| {
            let answer = self.engines.command(shard, command());
            async { tokio::time::timeout(SHARD_TIMEOUT, answer).await.ok()?.ok() }
        });
        join_all(asked).await
    }
}

/// There is nobody of this name.
pub(super) fn nobody() -> Problem {
    Problem::not_found("There is nobody of this name in this room.")
}
