//! Whether there is room for one more session: measured, not guessed.
//!
//! Who is in a call already goes first. A session that is refused with a time to come back is
//! better off than one that is taken in where its media, and that of all others, comes late.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;

use super::engines::Engines;
use super::engines::Handled;
use super::memory;
use super::problem::{Problem, jittered_seconds};
use super::settings::Ratio;
use super::{App, clock};
use crate::engine::command::Headroom;

/// How often the shards' load is measured.
pub(super) const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// Measurements that a load is taken over: 4 s. A keyframe to everybody is over sooner; what
/// lasts longer can be heard.
const SAMPLES: usize = 5;

/// What is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shortage {
    /// The thread that the room lives on.
    Load,
    /// Memory.
    Memory,
}

impl Shortage {
    /// The label that metrics carry.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Memory => "memory",
        }
    }
}

impl From<Shortage> for Problem {
    fn from(shortage: Shortage) -> Self {
        let detail = match shortage {
            Shortage::Load => "The server takes no more sessions now: its processor is used up.",
            Shortage::Memory => "The server takes no more sessions now: its memory is used up.",
        };
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
            .over(shortage.label())
            .retry_after(jittered_seconds(5, 15))
    }
}

/// How much of the machine is used, against how much may be.
pub(super) struct Admission {
    max_load: Ratio,
    max_memory: Ratio,
    memory_limit_bytes: Option<u64>,
    /// How long each shard was awake, at times; oldest first.
    samples: Mutex<VecDeque<(Instant, Vec<Duration>)>>,
    /// What became of each shard's datagrams, as long ago as that.
    handled: Mutex<VecDeque<Vec<Handled>>>,
    /// When those were let in whose memory does not show yet.
    newcomers: Mutex<VecDeque<Instant>>,
}

/// What a session takes up once it is connected, in bytes: some 70 KiB in a large room, 170 KiB
/// in one of fifty. Where it is less, those who come in a rush wait for some seconds.
const SESSION_BYTES: u64 = 128 << 10;

/// How long it takes until that shows in what the process has: ICE, DTLS and the first packets.
const SETTLES_IN: Duration = Duration::from_secs(2);

/// Part of a second's datagrams that may be late, or lost on the way in: more, for two seconds in a
/// row, and the machine does not keep up. After a pause it is more for one.
const LATE_PART: f64 = 0.1;

/// Fewer datagrams say nothing.
const MIN_HANDLED: u64 = 50;

impl Admission {
    pub(super) fn new(max_load: Ratio, max_memory: Ratio) -> Self {
        Self {
            max_load,
            max_memory,
            memory_limit_bytes: memory::limit_bytes(),
            samples: Mutex::default(),
            handled: Mutex::default(),
            newcomers: Mutex::default(),
        }
    }

    /// How much memory there is; `None` where that cannot be found out.
    pub(super) fn memory_limit_bytes(&self) -> Option<u64> {
        self.memory_limit_bytes
    }

    /// Measures. To be called every [`SAMPLE_INTERVAL`].
    pub(super) fn sample(&self, engines: &dyn Engines, now: Instant) {
        let awake = (0..engines.count()).map(|shard| engines.awake(shard));
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == SAMPLES {
            samples.pop_front();
        }
        samples.push_back((now, awake.collect()));
        let handled = (0..engines.count()).map(|shard| engines.handled(shard));
        let mut seconds = self.handled.lock().unwrap_or_else(PoisonError::into_inner);
        if seconds.len() == SAMPLES {
            seconds.pop_front();
        }
        seconds.push_back(handled.collect());
    }

    /// The part of the last seconds that a shard's thread was awake, from 0 to 1.
    pub(super) fn load(&self, shard: usize) -> f64 {
        self.load_over(shard, SAMPLES)
    }

    /// What a shard's thread has left: of the newest two seconds, so that what was done about it
    /// shows in the next answer but one.
    pub(super) fn headroom(&self, shard: usize) -> Headroom {
        let by_load = self.max_load.headroom(self.load_over(shard, 3));
        let late_for = self.late_for(shard);
        match by_load {
            // Whoever wants no limit has none.
            _ if !self.max_load.is_limit() => Headroom::Enough,
            _ if late_for >= 2 => Headroom::None,
            Headroom::Enough if late_for > 0 => Headroom::Little,
            by_load => by_load,
        }
    }

    /// For how many of the newest seconds too much was late.
    fn late_for(&self, shard: usize) -> usize {
        let seconds = self.handled.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |second: &Vec<Handled>| second.get(shard).copied().unwrap_or_default();
        let newest = seconds.iter().rev().map(of);
        let before = newest.clone().skip(1);
        let is_late = |(after, before): &(Handled, Handled)| {
            let all = after.all.saturating_sub(before.all);
            let late = after.late.saturating_sub(before.late);
            all >= MIN_HANDLED && late as f64 > all as f64 * LATE_PART
        };
        newest.zip(before).take_while(is_late).count()
    }

    /// As [`Self::load`], over the newest so many measurements.
    fn load_over(&self, shard: usize, newest: usize) -> f64 {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = samples.len().saturating_sub(newest);
        let (Some((from, before)), Some((to, after))) = (samples.get(oldest), samples.back())
        else {
            return 0.0;
        };
        let (Some(before), Some(after)) = (before.get(shard), after.get(shard)) else {
            return 0.0;
        };
        let elapsed = to.saturating_duration_since(*from).as_secs_f64();
        let awake = after.saturating_sub(*before).as_secs_f64();
        // One measurement says nothing yet.
        if elapsed > 0.0 {
            (awake / elapsed).min(1.0)
        } else {
            0.0
        }
    }

    /// Whether a shard has no room for one more session.
    fn is_busy(&self, shard: usize) -> bool {
        self.max_load.is_exceeded(self.load(shard))
    }

    /// Whether there is room for one more session of a room with this home, which may be opened on
    /// another shard if it is a player's. Gives the shards that it may not be opened on.
    fn admit(
        &self,
        (home, shards): (usize, usize),
        may_go_elsewhere: bool,
        now: Instant,
    ) -> Result<Vec<u16>, Shortage> {
        let busy: Vec<usize> = (0..shards).filter(|shard| self.is_busy(*shard)).collect();
        if busy.contains(&home) && (!may_go_elsewhere || busy.len() == shards) {
            return Err(Shortage::Load);
        }
        self.promise_memory(memory::resident_bytes(), now)?;
        Ok(busy.into_iter().map(|shard| shard as u16).collect())
    }

    /// Keeps memory for one more session, if there is some besides what the process has and what
    /// those who came a moment ago will take: in a storm many are let in before the first of them
    /// is connected.
    fn promise_memory(&self, resident_bytes: Option<u64>, now: Instant) -> Result<(), Shortage> {
        let mut newcomers = self
            .newcomers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let has_settled = |at: &Instant| now.saturating_duration_since(*at) >= SETTLES_IN;
        while newcomers.front().is_some_and(has_settled) {
            newcomers.pop_front();
        }
        let promised = newcomers.len() as u64 * SESSION_BYTES;
        if let Some(shortage) = self.memory_shortage(resident_bytes.map(|has| has + promised)) {
            return Err(shortage);
        }
        newcomers.push_back(now);
        Ok(())
    }

    /// What is short for every room: then nobody new should be sent here.
    pub(super) fn general_shortage(&self, shards: usize) -> Option<Shortage> {
        if shards > 0 && (0..shards).all(|shard| self.is_busy(shard)) {
            return Some(Shortage::Load);
        }
        self.memory_shortage(memory::resident_bytes())
    }

    /// Whether newcomers are refused for want of memory.
    pub(super) fn is_memory_short(&self) -> bool {
        self.memory_shortage(memory::resident_bytes()).is_some()
    }

    fn memory_shortage(&self, resident_bytes: Option<u64>) -> Option<Shortage> {
        let used = resident_bytes? as f64 / self.memory_limit_bytes? as f64;
        self.max_memory
            .is_exceeded(used)
            .then_some(Shortage::Memory)
    }
}

impl App {
    /// Whether there is room for one more session, see [`Admission::admit`].
    pub(super) fn admit(&self, home: usize, may_go_elsewhere: bool) -> Result<Vec<u16>, Shortage> {
        let shards = self.engines.count();
        self.admission
            .admit((home, shards), may_go_elsewhere, clock::now())
    }
}

#[cfg(test)]
mod tests {
    use super::super::CommandFuture;
    use super::*;
    use crate::engine::command::Command;
    use crate::engine::ids::RoomId;

    /// Two shards that were awake for so long.
    struct Awake([Duration; 2]);

    impl Engines for Awake {
        fn count(&self) -> usize {
            2
        }

        fn home(&self, _: &RoomId) -> usize {
            0
        }

        fn awake(&self, shard: usize) -> Duration {
            self.0[shard]
        }

        fn command(&self, _: usize, _: Command) -> CommandFuture<'_> {
            unreachable!("nobody is asked")
        }
    }

    fn admission(max_load: &str, max_memory: &str, limit: Option<u64>) -> Admission {
        let ratio = |text: &str| text.parse().unwrap();
        Admission {
            memory_limit_bytes: limit,
            ..Admission::new(ratio(max_load), ratio(max_memory))
        }
    }

    /// After so many seconds in which the shards were awake for these parts.
    fn busy(admission: &Admission, from: Instant, seconds: u64, parts: [f64; 2]) {
        for second in 0..=seconds {
            let awake = parts.map(|part| Duration::from_secs_f64(part * second as f64));
            admission.sample(&Awake(awake), from + Duration::from_secs(second));
        }
    }

    #[test]
    fn a_room_on_a_busy_shard_takes_nobody_and_one_on_an_idle_shard_does() {
        let admission = admission("0.9", "1", None);
        busy(&admission, clock::now(), 10, [0.95, 0.2]);
        let room_on = |home| admission.admit((home, 2), false, clock::now());
        assert_eq!(room_on(0), Err(Shortage::Load));
        assert_eq!(room_on(1), Ok(vec![0]));
        assert_eq!(
            admission.general_shortage(2),
            None,
            "the other one has room"
        );
        assert_eq!(admission.general_shortage(1), Some(Shortage::Load));
    }

    #[test]
    fn a_shard_keeps_up_or_not_by_what_it_did_lately() {
        let admission = admission("0.9", "1", None);
        busy(&admission, clock::now(), 10, [0.96, 0.9]);
        let headroom = |shard| admission.headroom(shard);
        assert_eq!(
            [headroom(0), headroom(1)],
            [Headroom::None, Headroom::Little]
        );
        let unlimited = self::admission("1", "1", None);
        busy(&unlimited, clock::now(), 10, [1.0, 0.2]);
        assert_eq!(unlimited.headroom(0), Headroom::Enough);
    }

    #[test]
    fn what_is_late_for_two_seconds_is_too_much_however_idle_a_thread_looks() {
        let admission = admission("0.9", "1", None);
        let second = |all, late| {
            let mut seconds = admission.handled.lock().unwrap();
            let before = seconds
                .back()
                .map_or(Handled::default(), |all: &Vec<_>| all[0]);
            let (all, late) = (before.all + all, before.late + late);
            seconds.push_back(vec![Handled { all, late }]);
        };
        second(0, 0);
        for (all, late, expected) in [
            (1_000, 90, Headroom::Enough),
            (1_000, 900, Headroom::Little),
            (1_000, 110, Headroom::None),
            (1_000, 0, Headroom::Enough),
            (10, 10, Headroom::Enough),
            (10, 10, Headroom::Enough),
        ] {
            second(all, late);
            assert_eq!(admission.headroom(0), expected, "{late} of {all}");
        }
    }

    #[test]
    fn a_player_is_taken_while_any_shard_has_room() {
        let admission = admission("0.9", "1", None);
        busy(&admission, clock::now(), 10, [0.95, 0.2]);
        assert_eq!(admission.admit((0, 2), true, clock::now()), Ok(vec![0]));
        busy(&admission, clock::now(), 10, [0.95, 0.95]);
        assert_eq!(
            admission.admit((0, 2), true, clock::now()),
            Err(Shortage::Load)
        );
    }

    #[test]
    fn a_shard_that_was_busy_takes_sessions_again_seconds_later() {
        let admission = admission("0.9", "1", None);
        let from = clock::now();
        busy(&admission, from, 5, [1.0, 1.0]);
        assert_eq!(
            admission.admit((0, 2), false, clock::now()),
            Err(Shortage::Load)
        );
        let awake = Awake([Duration::from_secs(5); 2]);
        admission.sample(&awake, from + Duration::from_secs(6));
        assert_eq!(admission.admit((0, 2), false, clock::now()), Ok(vec![]));
    }

    #[test]
    fn nothing_is_refused_before_anything_was_measured_or_without_a_limit() {
        let unmeasured = admission("0.5", "1", None);
        assert_eq!(unmeasured.admit((0, 2), false, clock::now()), Ok(vec![]));
        let unlimited = admission("1", "1", Some(100));
        busy(&unlimited, clock::now(), 5, [1.0, 1.0]);
        assert_eq!(unlimited.admit((0, 2), false, clock::now()), Ok(vec![]));
        assert_eq!(unlimited.memory_shortage(Some(100)), None);
    }

    #[test]
    fn in_a_storm_those_count_who_were_let_in_and_have_not_connected() {
        let limit = 1 << 30;
        let admission = admission("1", "0.75", Some(limit));
        let (from, has) = (clock::now(), limit / 2);
        let let_in = (0..).find(|_| admission.promise_memory(Some(has), from).is_err());
        let room = (limit / 4 / SESSION_BYTES) as usize;
        assert!(let_in.is_some_and(|let_in| (room..=room + 2).contains(&let_in)));
        let later = from + SETTLES_IN;
        assert_eq!(admission.promise_memory(Some(has), later), Ok(()));
        let unlimited = self::admission("1", "1", Some(1));
        assert_eq!(unlimited.promise_memory(Some(has), from), Ok(()));
    }

    #[test]
    fn memory_is_short_before_it_is_gone() {
        let admission = admission("1", "0.75", Some(1000));
        assert_eq!(admission.memory_shortage(Some(740)), None);
        assert_eq!(admission.memory_shortage(Some(760)), Some(Shortage::Memory));
        assert_eq!(admission.memory_shortage(None), None, "it is not known");
    }
}
