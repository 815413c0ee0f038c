//! A certificate from an authority, by ACME (RFC 8555) with TLS-ALPN-01 (RFC 8737): the authority
//! connects to the HTTPS port itself and asks for a protocol of its own. No other port is needed, no
//! DNS, and no restart.

mod client;
mod store;

use std::collections::HashMap;
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Identifier, NewAccount, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use rand::RngExt;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use thiserror::Error;
use tokio::sync::watch;

use super::super::clock;
use super::certificate::{Current, read_text};
use super::settings::AcmeSettings;
use client::Client;
use store::Store;

/// First pause after a failure. Authorities allow a few failed validations per hour and name.
const FIRST_PAUSE: Duration = Duration::from_secs(60);

/// Longest pause: a certificate of 90 days leaves a month for some hundred attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3600);

/// How often the calendar is looked at. A machine that slept, or whose clock was set, is on time again
/// after this.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// How long an authority may take to validate, and again to issue.
const PATIENCE: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(120));

/// Why there is no certificate.
#[derive(Debug, Error)]
enum AcmeError {
    #[error("{0}{because}", because = because(.0))]
    Protocol(#[from] instant_acme::Error),
    #[error("the authority does not offer tls-alpn-01 for {0}")]
    NoChallenge(String),
    #[error("the authority was not convinced: {0}")]
    Refused(String),
    #[error("a certificate cannot be asked for: {0}")]
    Request(#[from] rcgen::Error),
    #[error("what the authority sent is no certificate for the key: {0}")]
    Certificate(String),
    #[error("--acme-cache: {0}")]
    Store(#[from] std::io::Error),
    #[error("the HTTPS client does not start: {0}")]
    Client(#[from] reqwest::Error),
}

/// What lies beneath an error, which libraries leave out of their own words.
fn because(error: &instant_acme::Error) -> String {
    let mut text = String::new();
    let mut source = StdError::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// What an earlier run got, if it is still good for anything.
pub(super) fn kept(settings: &AcmeSettings, provider: &CryptoProvider) -> Option<CertifiedKey> {
    let pem = Store::new(settings).certificate()?;
    match read_text(&pem, provider) {
        Ok(certified) => Some(certified),
        Err(error) => {
            tracing::warn!(error, "the certificate in --acme-cache cannot be used");
            None
        }
    }
}

/// Gets certificates and renews them.
pub(in crate::http) struct Acme {
    settings: AcmeSettings,
    store: Store,
    current: Arc<Current>,
    provider: Arc<CryptoProvider>,
}

impl Acme {
    pub(super) fn new(
        settings: AcmeSettings,
        current: Arc<Current>,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        Self {
            store: Store::new(&settings),
            settings,
            current,
            provider,
        }
    }

    /// Keeps the certificate good until the server stops.
    pub(in crate::http) async fn run(self, mut stopped: watch::Receiver<bool>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let mut wait = self.time_left();
            if wait.is_zero() {
                let renewed = tokio::select! {
                    renewed = self.renew() => renewed,
                    _ = stopped.changed() => return,
                };
                self.current.set_challenges(HashMap::new());
                match renewed {
                    Ok(()) => {
                        tracing::info!(domains = ?self.settings.acme_domain, "a new certificate is in force");
                        pause = FIRST_PAUSE;
                        continue;
                    }
                    Err(error) => {
                        // Many servers that failed together do not come again together.
                        wait = pause.mul_f64(rand::rng().random_range(0.8..1.2));
                        tracing::warn!(%error, again_in = ?wait, "no new certificate");
                        pause = (2 * pause).min(LONGEST_PAUSE);
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(wait.min(LONGEST_SLEEP)) => {}
                _ = stopped.changed() => return,
            }
        }
    }

    /// How long the certificate in force is good enough: two thirds of its life.
    fn time_left(&self) -> Duration {
        let Some((begin, end)) = self.current.validity() else {
            return Duration::ZERO;
        };
        let life = end.duration_since(begin).unwrap_or_default();
        let renew_at = begin + life.mul_f64(2.0 / 3.0);
        renew_at.duration_since(clock::wall()).unwrap_or_default()
    }

    async fn renew(&self) -> Result<(), AcmeError> {
        let account = self.account().await?;
        let names = &self.settings.acme_domain;
        let identifiers: Vec<Identifier> = names.iter().cloned().map(Identifier::Dns).collect();
        let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
        self.answer_challenges(&mut order).await?;
        let ready = order.poll_ready(&PATIENCE).await;
        if !matches!(ready, Ok(OrderStatus::Ready)) {
            return Err(refusal(&mut order).await.unwrap_or(match ready {
                Err(error) => error.into(),
                Ok(status) => AcmeError::Refused(format!("the order is {status:?}")),
            }));
        }
        let key = KeyPair::generate()?;
        let request = CertificateParams::new(names.clone())?.serialize_request(&key)?;
        order.finalize_csr(request.der()).await?;
        let chain = order.poll_certificate(&PATIENCE).await?;
        let pem = format!("{}\n{chain}", key.serialize_pem());
        let certified =
            read_text(pem.as_bytes(), &self.provider).map_err(AcmeError::Certificate)?;
        self.store.keep_certificate(&pem)?;
        self.current.set(certified);
        Ok(())
    }

    /// The account at the authority: the one that is kept, or a new one.
    async fn account(&self) -> Result<Account, AcmeError> {
        let builder = || Ok::<_, AcmeError>(Account::builder_with_http(Box::new(Client::new()?)));
        if let Some(credentials) = self.store.account() {
            return Ok(builder()?.from_credentials(credentials).await?);
        }
        let contact = self.settings.contact();
        let new = NewAccount {
            contact: &contact.iter().map(String::as_str).collect::<Vec<_>>(),
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let directory = self.settings.directory().to_owned();
        let (account, credentials) = builder()?.create(&new, directory, None).await?;
        self.store.keep_account(&credentials)?;
        Ok(account)
    }

    /// Puts the answers up, and only then tells the authority to look.
    async fn answer_challenges(&self, order: &mut Order) -> Result<(), AcmeError> {
        let mut answers = HashMap::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let name = authorization.identifier().to_string();
            let Some(mut challenge) = authorization.challenge(ChallengeType::TlsAlpn01) else {
                return Err(AcmeError::NoChallenge(name));
            };
            let answer = self.answer(&name, challenge.key_authorization().digest().as_ref())?;
            answers.insert(name.to_ascii_lowercase(), Arc::new(answer));
            self.current.set_challenges(answers.clone());
            challenge.set_ready().await?;
        }
        Ok(())
    }

    /// The certificate that proves control of a name (RFC 8737 §3).
    fn answer(&self, name: &str, digest: &[u8]) -> Result<CertifiedKey, AcmeError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let certificate = params.self_signed(&key)?;
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        // Its extension is critical, and unknown to who would hold the key against it here.
        let key = self.provider.key_provider.load_private_key(key);
        let key = key.map_err(|error| AcmeError::Certificate(error.to_string()))?;
        Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
    }
}

/// What the authority says about the first name that it was not convinced of.
async fn refusal(order: &mut Order) -> Option<AcmeError> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let state = authorization.refresh().await.ok()?;
        let failed = state
            .challenges
            .iter()
            .find_map(|challenge| challenge.error.as_ref());
        if let Some(problem) = failed {
            let name = state.identifier();
            return Some(AcmeError::Refused(format!("{name}: {problem}")));
        }
    }
    None
}
