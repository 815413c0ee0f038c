//! Whether the wall clock can be right: tokens and certificates are judged by it.

use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use super::Finding;

/// systemd-timesyncd leaves this file once it has set the clock.
const SYNCHRONIZED_MARK: &str = "/run/systemd/timesync/synchronized";

pub(super) fn examine(now: SystemTime) -> Finding {
    let built = std::env::current_exe()
        .and_then(|path| path.metadata()?.modified())
        .ok();
    judge(now, built, is_synchronized())
}

fn judge(now: SystemTime, built: Option<SystemTime>, synchronized: Option<bool>) -> Finding {
    if built.is_some_and(|built| now < built) {
        return Finding::fault(
            "the clock says that this program is from the future",
            "set the clock and keep it set (`timedatectl set-ntp true`): tokens and certificates \
             count as expired or not yet valid",
        );
    }
    match synchronized {
        Some(true) => Finding::good("the clock is kept by a time server"),
        Some(false) => Finding::hint(
            "no time server keeps the clock",
            "`timedatectl set-ntp true`: tokens are refused when clocks are a minute apart",
        ),
        None => {
            Finding::good("the clock is plausible; whether a time server keeps it is not known")
        }
    }
}

/// Whether a time server keeps the clock, where that can be found out.
fn is_synchronized() -> Option<bool> {
    if Path::new(SYNCHRONIZED_MARK).exists() {
        return Some(true);
    }
    let asked = Command::new("timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .output()
        .ok()?;
    match asked.stdout.trim_ascii() {
        b"yes" => Some(true),
        b"no" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_clock_before_the_programs_own_birth_is_a_fault() {
        let built = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let before = built - Duration::from_secs(1);
        assert_eq!(
            judge(before, Some(built), Some(true)).verdict,
            Verdict::Fault
        );
        assert_eq!(judge(built, Some(built), Some(true)).verdict, Verdict::Good);
        assert_eq!(
            judge(built, Some(built), Some(false)).verdict,
            Verdict::Hint
        );
        assert_eq!(judge(built, None, None).verdict, Verdict::Good);
    }
}
