//! HTTPS: with a certificate from files, which are read again when they change, or with one that
//! the server gets for itself by ACME (RFC 8555) and renews.

mod acme;
mod certificate;
mod settings;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::ResolvesServerCert;
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

pub(super) use acme::Acme;
pub(super) use certificate::ACME_TLS_1;
use certificate::{Current, read_files};
pub use certificate::{certificate_end, certificate_is_for};
pub use settings::{AcmeSettings, TlsSettings};

use super::watched::WatchedFiles;

/// HTTP/2 over TLS, as ALPN names it (RFC 9113 §3.2).
pub(super) const H2: &[u8] = b"h2";
/// HTTP/1.1, for those who know no other.
const HTTP_1_1: &[u8] = b"http/1.1";

/// Why a certificate cannot be used, or will not be had.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The two files are no certificate and its key.
    #[error("--tls-cert {} with --tls-key {}: {reason}", cert.display(), key.display())]
    Files {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's.
        key: PathBuf,
        /// What is wrong with them.
        reason: String,
    },
    /// A setting of ACME cannot be used.
    #[error("{setting} {value}: {reason}")]
    Acme {
        /// The option.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The library does not start.
    #[error("TLS: {0}")]
    Library(String),
}

/// The certificate in force, and who listens with it.
pub(super) struct Tls {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
    provider: Arc<CryptoProvider>,
    source: Source,
}

/// Where the certificate comes from.
enum Source {
    Files {
        cert: PathBuf,
        key: PathBuf,
        files: WatchedFiles,
    },
    Acme(AcmeSettings),
}

impl Tls {
    /// Reads the files, or what an earlier run got by ACME; `None` where there is to be no HTTPS.
    pub(super) fn new(settings: &TlsSettings) -> Result<Option<Self>, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let current = Arc::<Current>::default();
        let source = match (&settings.tls_cert, &settings.tls_key) {
            (Some(cert), Some(key)) => {
                // Looked at first: a change while they are read is a change.
                let files = WatchedFiles::new([cert, key]);
                let (cert, key) = (cert.clone(), key.clone());
                match read_files(&cert, &key, &provider) {
                    Ok(certified) => current.set(certified),
                    Err(reason) => return Err(TlsError::Files { cert, key, reason }),
                }
                Source::Files { cert, key, files }
            }
            _ if settings.acme.is_used() => {
                settings.acme.check()?;
                if let Some(certified) = acme::kept(&settings.acme, &provider) {
                    current.set(certified);
                }
                Source::Acme(settings.acme.clone())
            }
            _ => return Ok(None),
        };
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Library(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
        if matches!(source, Source::Acme(_)) {
            config.alpn_protocols.push(ACME_TLS_1.to_vec());
        }
        Ok(Some(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            current,
            provider,
            source,
        }))
    }

    /// What makes connections encrypted.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// When the certificate in force ends, where there is one.
    pub(super) fn end(&self) -> Option<SystemTime> {
        Some(self.current.validity()?.1)
    }

    /// Who gets certificates and renews them, where that is wanted.
    pub(super) fn acme(&self) -> Option<Acme> {
        let Source::Acme(settings) = &self.source else {
            return None;
        };
        let (current, provider) = (Arc::clone(&self.current), Arc::clone(&self.provider));
        Some(Acme::new(settings.clone(), current, provider))
    }

    /// Reads the files again if they have changed; new connections get the new certificate.
    pub(super) fn reload_if_changed(&self) {
        let Source::Files { cert, key, files } = &self.source else {
            return;
        };
        if !files.have_changed() {
            return;
        }
        match read_files(cert, key, &self.provider) {
            Ok(certified) => {
                self.current.set(certified);
                tracing::info!("the certificate was read again");
            }
            // Certificate and key are two files: in between they do not fit.
            Err(error) => tracing::warn!(error, "the certificate stays as it was"),
        }
    }
}
