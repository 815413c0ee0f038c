//! The certificate in force: read from PEM, given to every connection, and when it ends.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_cert::der::Decode;

/// The protocol in which a certificate authority looks who answers for a name (RFC 8737 §6.2).
pub(in crate::http) const ACME_TLS_1: &[u8] = b"acme-tls/1";

/// What is wrong with a file that has other things in it.
const NO_CERTIFICATE: &str = "there is no certificate in it";

/// Gives every connection the certificate in force; none where there is none yet.
#[derive(Default)]
pub(super) struct Current {
    certified: ArcSwapOption<CertifiedKey>,
    /// What a certificate authority wants to see, by the name that it asks for.
    challenges: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

impl Current {
    /// From now on connections get this one.
    pub(super) fn set(&self, certified: CertifiedKey) {
        self.certified.store(Some(Arc::new(certified)));
    }

    /// When the one in force begins and ends, where that can be read.
    pub(super) fn validity(&self) -> Option<(SystemTime, SystemTime)> {
        let certified = self.certified.load();
        validity_of(certified.as_ref()?.cert.first()?).ok()
    }

    /// Answers challenges with these, and with no others.
    pub(super) fn set_challenges(&self, answers: HashMap<String, Arc<CertifiedKey>>) {
        *self
            .challenges
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = answers;
    }

    fn challenge(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let challenges = self
            .challenges
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        challenges.get(&name.to_ascii_lowercase()).cloned()
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Who validates offers that protocol and no other (RFC 8737 §3).
        let is_challenge = hello.alpn().is_some_and(|mut offered| {
            offered.next() == Some(ACME_TLS_1) && offered.next().is_none()
        });
        if is_challenge {
            return self.challenge(hello.server_name()?);
        }
        self.certified.load_full()
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current(..)")
    }
}

/// When the first certificate of a file ends; the error says what is wrong with the file.
pub fn certificate_end(cert: &Path) -> Result<SystemTime, String> {
    let chain = chain_of(CertificateDer::pem_file_iter(cert))?;
    Ok(validity_of(chain.first().ok_or(NO_CERTIFICATE)?)?.1)
}

/// Whether the first certificate of a file is for this host, a name or an address.
pub fn certificate_is_for(cert: &Path, host: &str) -> Result<bool, String> {
    let chain = chain_of(CertificateDer::pem_file_iter(cert))?;
    let first = chain.first().ok_or(NO_CERTIFICATE)?;
    let parsed = ParsedCertificate::try_from(first).map_err(|error| error.to_string())?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(bare).map_err(|error| error.to_string())?;
    Ok(verify_server_name(&parsed, &name).is_ok())
}

/// A certificate with its key, from two files.
pub(super) fn read_files(
    cert: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let chain = chain_of(CertificateDer::pem_file_iter(cert))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| format!("the key: {error}"))?;
    certified(chain, key, provider)
}

/// A certificate with its key, from one text that has both.
pub(super) fn read_text(pem: &[u8], provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let chain = chain_of(Ok(CertificateDer::pem_slice_iter(pem)))?;
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| format!("the key: {error}"))?;
    certified(chain, key, provider)
}

/// Also holds the key against the certificate.
fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    CertifiedKey::from_der(chain, key, provider).map_err(|error| error.to_string())
}

fn chain_of<I, E>(read: Result<I, E>) -> Result<Vec<CertificateDer<'static>>, String>
where
    I: Iterator<Item = Result<CertificateDer<'static>, E>>,
    E: fmt::Display,
{
    let chain = read
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("the certificate: {error}"))?;
    if chain.is_empty() {
        return Err(NO_CERTIFICATE.into());
    }
    Ok(chain)
}

fn validity_of(certificate: &CertificateDer<'_>) -> Result<(SystemTime, SystemTime), String> {
    let parsed = x509_cert::Certificate::from_der(certificate)
        .map_err(|error| format!("the certificate: {error}"))?;
    let validity = parsed.tbs_certificate().validity();
    let [begin, end] = [validity.not_before, validity.not_after]
        .map(|time| SystemTime::UNIX_EPOCH + time.to_unix_duration());
    Ok((begin, end))
}
