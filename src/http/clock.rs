//! Where HTTP reads the clock.

use std::time::{Instant, SystemTime};

/// What time it is.
#[expect(
    clippy::disallowed_methods,
    reason = "requests come from outside, and nobody hands them a time"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// What day it is.
#[expect(
    clippy::disallowed_methods,
    reason = "tokens and certificates are made elsewhere, by the clock on the wall"
)]
pub(super) fn wall() -> SystemTime {
    SystemTime::now()
}
