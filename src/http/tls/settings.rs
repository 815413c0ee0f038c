//! Where the certificate comes from, as the operator says it.

use std::path::PathBuf;

use clap::Args;
use reqwest::Url;

use super::TlsError;

/// Let's Encrypt.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// Its double for trying things out: no browser trusts what it issues, and its limits are wide.
const STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// Longest name that DNS has (RFC 1035 §2.3.4), in bytes.
const MAX_NAME_BYTES: usize = 253;
/// Longest part of it between two dots.
const MAX_LABEL_BYTES: usize = 63;

/// Where the certificate is.
#[derive(Args, Clone, Debug, Default)]
#[group(id = "tls")]
pub struct TlsSettings {
    /// The certificate and its chain (PEM). With it clients speak HTTPS; read again whenever it changes.
    #[arg(long, env = "PLENUM_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// The certificate's private key (PEM).
    #[arg(long, env = "PLENUM_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Or how to get one.
    #[command(flatten)]
    pub acme: AcmeSettings,
}

impl TlsSettings {
    /// Whether clients speak HTTPS with this server itself.
    pub fn is_used(&self) -> bool {
        self.tls_cert.is_some() || self.acme.is_used()
    }
}

/// How a certificate is got from an authority (ACME, RFC 8555).
#[derive(Args, Clone, Debug, Default)]
#[group(id = "acme")]
pub struct AcmeSettings {
    /// Names to get a certificate for, and to renew it, from Let's Encrypt: clients speak HTTPS. Port 443
    /// of each has to lead to --http. With it you agree to the authority's terms of service.
    #[arg(
        long,
        env = "PLENUM_ACME_DOMAIN",
        value_name = "NAME",
        value_delimiter = ',',
        requires = "acme_cache"
    )]
    pub acme_domain: Vec<String>,

    /// Where account and certificates are kept, so that a restart needs no new ones. A directory that only
    /// the server may read.
    #[arg(long, env = "PLENUM_ACME_CACHE", value_name = "DIR")]
    pub acme_cache: Option<PathBuf>,

    /// Whom the authority tells when something is wrong.
    #[arg(long, env = "PLENUM_ACME_CONTACT", value_name = "EMAIL")]
    pub acme_contact: Option<String>,

    /// Another authority's directory, or "staging" for Let's Encrypt's test one.
    #[arg(long, env = "PLENUM_ACME_DIRECTORY", value_name = "URL")]
    pub acme_directory: Option<String>,
}

impl AcmeSettings {
    /// Whether a certificate is to be got.
    pub fn is_used(&self) -> bool {
        !self.acme_domain.is_empty()
    }

    /// The authority's directory.
    pub(super) fn directory(&self) -> &str {
        match self.acme_directory.as_deref() {
            None => LETS_ENCRYPT,
            Some("staging") => STAGING,
            Some(url) => url,
        }
    }

    /// The contact as ACME has it.
    pub(super) fn contact(&self) -> Option<String> {
        let contact = self.acme_contact.as_ref()?;
        Some(format!("mailto:{contact}"))
    }

    /// Finds out at start what would fail later, when nobody looks.
    pub(super) fn check(&self) -> Result<(), TlsError> {
        let refused = |setting, value: &str, reason: &str| {
            let (value, reason) = (value.to_owned(), reason.to_owned());
            Err(TlsError::Acme {
                setting,
                value,
                reason,
            })
        };
        for name in &self.acme_domain {
            if name.starts_with("*.") {
                let reason = "names with a star need a proof by DNS, which this server cannot give";
                return refused("--acme-domain", name, reason);
            }
            if !is_public_name(name) {
                let reason = "is no name of a host, such as sfu.example.org";
                return refused("--acme-domain", name, reason);
            }
        }
        if let Some(contact) = &self.acme_contact
            && !contact
                .split_once('@')
                .is_some_and(|(who, at)| !who.is_empty() && is_public_name(at))
        {
            return refused(
                "--acme-contact",
                contact,
                "is no address of electronic mail",
            );
        }
        let directory = self.directory();
        if !Url::parse(directory).is_ok_and(|url| url.scheme() == "https") {
            let reason = "is neither an https:// URL nor \"staging\"";
            return refused("--acme-directory", directory, reason);
        }
        let Some(cache) = &self.acme_cache else {
            return refused(
                "--acme-domain",
                &self.acme_domain.join(","),
                "needs --acme-cache, too",
            );
        };
        if let Err(error) = tempfile::Builder::new()
            .prefix(".plenum-")
            .tempfile_in(cache)
        {
            let reason = format!("no file can be written there: {error}");
            return refused("--acme-cache", &cache.display().to_string(), &reason);
        }
        Ok(())
    }
}

/// Whether an authority may know such a name: labels of letters, digits and hyphens, two at the least.
fn is_public_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    name.len() <= MAX_NAME_BYTES
        && name.contains('.')
        && name.split('.').all(is_label)
        // An address of IPv4 is none.
        && name.rsplit('.').next().is_some_and(|last| !is_number(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_an_authority_may_know_are_taken() {
        for name in ["sfu.example.org", "a-b.example", "XN--BCHER-KVA.example"] {
            assert!(is_public_name(name), "{name}");
        }
        let long = format!("{}.example", "a".repeat(64));
        for name in [
            "",
            "localhost",
            "192.0.2.1",
            "a..b",
            "-a.example",
            "a-.example",
            "a b.example",
            &long,
        ] {
            assert!(!is_public_name(name), "{name}");
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused_by_name() {
        let cache = tempfile::tempdir().expect("a directory");
        let good = AcmeSettings {
            acme_domain: vec!["sfu.example.org".to_owned()],
            acme_cache: Some(cache.path().to_owned()),
            ..AcmeSettings::default()
        };
        assert!(good.check().is_ok());
        let said = |settings: &AcmeSettings| {
            settings
                .check()
                .map_err(|error| error.to_string())
                .expect_err("refused")
        };

        let mut bad = good.clone();
        bad.acme_domain.push("*.example.org".to_owned());
        assert!(
            said(&bad).starts_with("--acme-domain *.example.org: "),
            "{}",
            said(&bad)
        );
        let bad = AcmeSettings {
            acme_contact: Some("ada".to_owned()),
            ..good.clone()
        };
        assert!(said(&bad).starts_with("--acme-contact ada: "));
        let bad = AcmeSettings {
            acme_directory: Some("http://ca.example/".to_owned()),
            ..good.clone()
        };
        assert!(said(&bad).starts_with("--acme-directory http://ca.example/: "));
        let bad = AcmeSettings {
            acme_cache: Some("/nowhere".into()),
            ..good
        };
        assert!(said(&bad).starts_with("--acme-cache /nowhere: "));
    }
}
