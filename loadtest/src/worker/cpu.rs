//! Whether a thread of ours is the bottleneck.

use std::time::{Duration, Instant};

use crate::meter::thread_cpu_time;

/// Follows how much of a core the thread takes.
pub(super) struct CpuMeter {
    from: Instant,
    at_from: Option<Duration>,
    last: (Instant, Duration),
    pub(super) busiest: f64,
}

impl CpuMeter {
    pub(super) fn new(from: Instant) -> Self {
        Self {
            from,
            at_from: None,
            last: (Instant::now(), thread_cpu_time()),
            busiest: 0.0,
        }
    }

    pub(super) fn tick(&mut self, now: Instant) {
        let wall = now.saturating_duration_since(self.last.0);
        if wall < Duration::from_secs(1) {
            return;
        }
        let used = thread_cpu_time();
        if now >= self.from {
            let share = (used.saturating_sub(self.last.1)).as_secs_f64() / wall.as_secs_f64();
            if self.at_from.is_some() {
                self.busiest = self.busiest.max(share);
            }
            self.at_from.get_or_insert(used);
        }
        self.last = (now, used);
    }

    pub(super) fn average(&self, now: Instant) -> f64 {
        let wall = now.saturating_duration_since(self.from).as_secs_f64();
        let used = thread_cpu_time().saturating_sub(self.at_from.unwrap_or_default());
        if self.at_from.is_none() || wall <= 0.0 {
            0.0
        } else {
            used.as_secs_f64() / wall
        }
    }
}
