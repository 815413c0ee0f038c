//! Where HTTP reads the clock.

use std::time::Instant;

/// What time it is.
#[expect(
    clippy::disallowed_methods,
    reason = "requests come from outside, and nobody hands them a time"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}
