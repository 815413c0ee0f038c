//! One signed request to one URL, and where it may lead.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_TYPE, USER_AGENT};
use reqwest::StatusCode;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use thiserror::Error;

use super::StartError;
use super::settings::{Secret, Target};
use crate::net::is_public;

/// How long resolving, connecting, sending and the answer's head may take together.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Who we say we are.
const AGENT: &str = concat!("plenum/", env!("CARGO_PKG_VERSION"));

/// Why an event was not delivered.
#[derive(Debug, Error)]
pub(super) enum PostError {
    #[error("{0}")]
    Request(#[from] reqwest::Error),
    #[error("it answered {0}")]
    Status(StatusCode),
}

/// Posts to one URL.
pub(super) struct Client {
    client: reqwest::Client,
    target: Target,
    key: hmac::Key,
}

impl Client {
    /// A client that follows no redirect, asks no proxy, and goes to public addresses only
    /// unless `private`.
    pub(super) fn new(target: &Target, secret: &Secret, private: bool) -> Result<Self, StartError> {
        let host = target.url().host_str().unwrap_or_default();
        // The client does not resolve what is an address already.
        let literal: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        if literal.is_some_and(|address| !private && !is_public(address)) {
            return Err(StartError::Private(host.to_owned()));
        }
        let client = reqwest::Client::builder()
            .dns_resolver(Resolver { private })
            .redirect(Policy::none())
            .no_proxy()
            .timeout(REQUEST_TIMEOUT)
            .build()?;
        Ok(Self {
            client,
            target: target.clone(),
            key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
        })
    }

    /// Where it posts to, as a log may show it.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Posts an event; its answer's body is not read. Only 2xx counts.
    pub(super) async fn post(&self, id: &str, body: &str) -> Result<(), PostError> {
        let timestamp = unix_seconds().to_string();
        let request = self
            .client
            .post(self.target.url().clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, AGENT)
            .header("webhook-id", id)
            .header("webhook-timestamp", &timestamp)
            .header("webhook-signature", self.signature(id, &timestamp, body))
            .body(body.to_owned());
        let answer = request.send().await.map_err(reqwest::Error::without_url)?;
        let status = answer.status();
        if status.is_success() {
            Ok(())
        } else {
            Err(PostError::Status(status))
        }
    }

    /// As Standard Webhooks 1.0 has it: HMAC-SHA256 of id, timestamp and body.
    fn signature(&self, id: &str, timestamp: &str, body: &str) -> String {
        let tag = hmac::sign(&self.key, format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(tag))
    }
}

/// Looks names up, and keeps the addresses that webhooks may go to: the connection is made to one
/// of these, so that a name cannot say one thing first and another thing later.
struct Resolver {
    private: bool,
}

/// A name leads to no address that webhooks may go to.
#[derive(Debug, Error)]
#[error("the name has no public address; --webhook-private allows others")]
struct NotPublic;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let private = self.private;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed = |address: &SocketAddr| private || is_public(address.ip());
            let addresses: Vec<SocketAddr> = found.filter(allowed).collect();
            if addresses.is_empty() {
                return Err(NotPublic.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "receivers refuse signatures that are too old, by the clock on the wall"
)]
fn unix_seconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_standard_webhooks() {
        // The example of the specification's own libraries.
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let target = "http://127.0.0.1/".parse().unwrap();
        let client = Client::new(&target, &secret, true).unwrap();
        assert_eq!(
            client.signature(
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                "1614265330",
                r#"{"test": 2432232314}"#
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn an_address_of_our_own_network_is_refused_however_it_is_written() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        for url in [
            "http://127.0.0.1/",
            "http://0x7f000001/",
            "http://2130706433/",
            "http://127.1/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "https://169.254.169.254/latest",
        ] {
            let target = url.parse().unwrap();
            let refused = Client::new(&target, &secret, false);
            assert!(matches!(refused, Err(StartError::Private(_))), "{url}");
            assert!(Client::new(&target, &secret, true).is_ok(), "{url}");
        }
    }
}
