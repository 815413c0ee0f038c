//! What becomes of a connection that there is no file descriptor for.
//!
//! It would wait in the kernel until another one ends, which may take longer than its client does,
//! and looks like a server that is gone. One descriptor is kept for this: it is given up for one such
//! connection at a time, which is answered and closed.

use std::fs::File;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;

use super::problem::{Problem, jittered_seconds};

/// How long one may take: its request has come with it, most likely, and TLS takes two round trips.
/// Whoever says nothing in that time keeps those behind it waiting as long.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// A descriptor of nothing, or none where it is given up.
#[derive(Debug)]
pub(super) struct Spare(Option<File>);

impl Spare {
    pub(super) fn new() -> Self {
        let mut spare = Self(None);
        spare.take_back();
        spare
    }

    /// Gives it up for one connection. `false` where there was none: another thread was faster
    /// the last time.
    pub(super) fn give_up(&mut self) -> bool {
        self.0.take().is_some()
    }

    /// Whether it is there; if it is not and another is free by now, it is taken back.
    pub(super) fn is_kept(&mut self) -> bool {
        self.take_back();
        self.0.is_some()
    }

    /// Has one again, if one is free by now.
    pub(super) fn take_back(&mut self) {
        if self.0.is_none() {
            self.0 = File::open("/dev/null").ok();
        }
    }
}

/// Whether it was for want of file descriptors, of the process or of the machine, that a call failed.
pub(super) fn is_wanted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Answers whatever is asked with 503.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().fallback(async || {
        let detail = "The server has no file descriptor left for this connection.";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
            .over("descriptors")
            .retry_after(jittered_seconds(5, 15))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_given_up_once_and_taken_back() {
        let mut spare = Spare::new();
        assert!(spare.give_up());
        assert!(!spare.give_up());
        spare.take_back();
        assert!(spare.give_up());
    }

    #[test]
    fn descriptors_are_short_where_the_system_says_so() {
        assert!(is_wanted(&io::Error::from_raw_os_error(libc::EMFILE)));
        assert!(!is_wanted(&io::Error::from_raw_os_error(
            libc::ECONNABORTED
        )));
    }
}
