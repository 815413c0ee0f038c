//! HTTPS with certificates from files, which are read again when they change.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use clap::Args;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use tokio_rustls::TlsAcceptor;
use x509_cert::der::Decode;

use super::watched::WatchedFiles;

/// HTTP/2 over TLS, as ALPN names it (RFC 9113 §3.2).
pub(super) const H2: &[u8] = b"h2";
/// HTTP/1.1, for those who know no other.
const HTTP_1_1: &[u8] = b"http/1.1";

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
}

impl TlsSettings {
    /// Whether clients speak HTTPS with this server itself.
    pub fn is_used(&self) -> bool {
        self.tls_cert.is_some()
    }
}

/// Why a certificate cannot be used.
#[derive(Debug, Error)]
#[error("--tls-cert {} with --tls-key {}: {reason}", cert.display(), key.display())]
pub struct TlsError {
    cert: PathBuf,
    key: PathBuf,
    reason: String,
}

/// The certificate in force, and who listens with it.
pub(super) struct Tls {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
    cert: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    files: WatchedFiles,
}

impl Tls {
    /// Reads the files; `None` where there are none.
    pub(super) fn new(settings: &TlsSettings) -> Result<Option<Self>, TlsError> {
        let (Some(cert), Some(key)) = (&settings.tls_cert, &settings.tls_key) else {
            return Ok(None);
        };
        let refused = |reason| TlsError {
            cert: cert.clone(),
            key: key.clone(),
            reason,
        };
        // Looked at first: a change while they are read is a change.
        let files = WatchedFiles::new([cert, key]);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let certified = read(cert, key, &provider).map_err(refused)?;
        let current = Arc::new(Current(ArcSwap::from_pointee(certified)));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| refused(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
        Ok(Some(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            current,
            cert: cert.clone(),
            key: key.clone(),
            provider,
            files,
        }))
    }

    /// What makes connections encrypted.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// When the certificate in force ends, where it can be read.
    pub(super) fn end(&self) -> Option<SystemTime> {
        end_of(self.current.0.load().cert.first()?).ok()
    }

    /// Reads the files again if they have changed; new connections get the new certificate.
    pub(super) fn reload_if_changed(&self) {
        if !self.files.have_changed() {
            return;
        }
        match read(&self.cert, &self.key, &self.provider) {
            Ok(certified) => {
                self.current.0.store(certified.into());
                tracing::info!("the certificate was read again");
            }
            // Certificate and key are two files: in between they do not fit.
            Err(error) => tracing::warn!(error, "the certificate stays as it was"),
        }
    }
}

/// When the first certificate of a file ends; the error says what is wrong with the file.
pub fn certificate_end(cert: &Path) -> Result<SystemTime, String> {
    let chain = read_chain(cert)?;
    end_of(chain.first().ok_or(NO_CERTIFICATE)?)
}

fn end_of(certificate: &CertificateDer<'_>) -> Result<SystemTime, String> {
    let parsed = x509_cert::Certificate::from_der(certificate)
        .map_err(|error| format!("the certificate: {error}"))?;
    let end = parsed.tbs_certificate().validity().not_after;
    Ok(SystemTime::UNIX_EPOCH + end.to_unix_duration())
}

/// What is wrong with a file that has other things in it.
const NO_CERTIFICATE: &str = "there is no certificate in it";

fn read_chain(cert: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("the certificate: {error}"))?;
    if chain.is_empty() {
        return Err(NO_CERTIFICATE.into());
    }
    Ok(chain)
}

fn read(cert: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let chain = read_chain(cert)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| format!("the key: {error}"))?;
    // Also holds the key against the certificate.
    CertifiedKey::from_der(chain, key, provider).map_err(|error| error.to_string())
}

/// Gives every connection the certificate in force.
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current(..)")
    }
}
