//! What is kept between runs: the account at an authority, and the certificate.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use aws_lc_rs::digest::{SHA256, digest};
use instant_acme::AccountCredentials;

use super::super::settings::AcmeSettings;

/// A directory with a file for each account and each list of names. Another authority or other names
/// are other files: nothing of one is used for the other.
pub(super) struct Store {
    account: PathBuf,
    certificate: PathBuf,
}

impl Store {
    pub(super) fn new(settings: &AcmeSettings) -> Self {
        let directory = settings.acme_cache.clone().unwrap_or_default();
        let authority = settings.directory();
        let mut names = settings.acme_domain.clone();
        names.sort_unstable();
        let of = |what: &str| short_hash(&format!("{authority}\n{what}"));
        let names = names.join(",").to_ascii_lowercase();
        Self {
            account: directory.join(format!("account-{}.json", of("account"))),
            certificate: directory.join(format!("certificate-{}.pem", of(&names))),
        }
    }

    /// The certificate, its chain and its key, if there is one.
    pub(super) fn certificate(&self) -> Option<Vec<u8>> {
        fs::read(&self.certificate).ok()
    }

    pub(super) fn keep_certificate(&self, pem: &str) -> io::Result<()> {
        write(&self.certificate, pem.as_bytes())
    }

    /// The account, if there is one that can be read.
    pub(super) fn account(&self) -> Option<AccountCredentials> {
        serde_json::from_slice(&fs::read(&self.account).ok()?).ok()
    }

    pub(super) fn keep_account(&self, credentials: &AccountCredentials) -> io::Result<()> {
        write(&self.account, &serde_json::to_vec(credentials)?)
    }
}

/// Writes a file that only its owner may read (as `tempfile` makes them): whole, or not at all.
fn write(path: &PathBuf, contents: &[u8]) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::NotFound)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(contents)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Tells files apart; no secret.
fn short_hash(text: &str) -> String {
    let mut name = String::new();
    for byte in &digest(&SHA256, text.as_bytes()).as_ref()[..8] {
        write!(name, "{byte:02x}").expect("a string takes it");
    }
    name
}
