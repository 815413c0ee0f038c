//! Whether the certificate of HTTPS is good, and for how long.

use std::time::{Duration, SystemTime};

use super::Finding;
use crate::http::{TlsSettings, certificate_end};

/// A day.
const DAY: Duration = Duration::from_secs(86_400);

/// When to say that a certificate ends soon: those that renew themselves do so at a third of their
/// ninety days, so two weeks before the end something has gone wrong.
const SOON: Duration = Duration::from_secs(14 * 86_400);

pub(super) fn examine(settings: &TlsSettings, now: SystemTime) -> Option<Finding> {
    let cert = settings.tls_cert.as_ref()?;
    let name = cert.display();
    Some(match certificate_end(cert) {
        Ok(end) => judge(&name.to_string(), end, now),
        Err(error) => Finding::fault(
            format!("--tls-cert {name}: {error}"),
            "name a file with the certificate first, and then its chain, in PEM",
        ),
    })
}

fn judge(name: &str, end: SystemTime, now: SystemTime) -> Finding {
    let advice = "renew it: the server reads it again by itself, within a second";
    match end.duration_since(now) {
        Err(_) => Finding::fault(format!("--tls-cert {name} has expired"), advice),
        Ok(left) => {
            let days = left.as_secs() / DAY.as_secs();
            let seen = format!("--tls-cert {name} is good for {days} days");
            if left < SOON {
                Finding::hint(seen, advice)
            } else {
                Finding::good(seen)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_certificate_is_told_good_soon_over_and_over() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let verdict = |end| judge("cert.pem", end, now).verdict;
        assert_eq!(verdict(now + 60 * DAY), Verdict::Good);
        assert_eq!(verdict(now + 13 * DAY), Verdict::Hint);
        assert_eq!(verdict(now - DAY), Verdict::Fault);
    }

    #[test]
    fn a_file_without_certificate_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cert.pem");
        std::fs::write(&path, "nothing").unwrap();
        let settings = TlsSettings {
            tls_cert: Some(path),
            ..TlsSettings::default()
        };
        let finding = examine(&settings, SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(finding.verdict, Verdict::Fault);
    }
}
