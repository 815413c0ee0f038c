//! One request, what came back, and what is demanded of it.

use std::net::{Ipv4Addr, SocketAddr};

use reqwest::{Client, Method, header::HeaderMap};

use crate::{
    payload::Codec,
    sdp::{MediaSpec, OfferSpec, offer},
};

/// A request may take so long; a door that waits for media before it answers is of no use.
const REQUEST_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(15);

pub(super) const SDP: (&str, &str) = ("content-type", "application/sdp");
pub(super) const FRAGMENT: (&str, &str) = ("content-type", "application/trickle-ice-sdpfrag");
pub(super) const JSON: (&str, &str) = ("content-type", "application/json");

/// Why a row is not kept.
#[derive(Debug)]
pub(super) enum Fault {
    Broken(String),
    NotApplicable(&'static str),
}

/// A response with its whole body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

/// Somebody at a door.
pub(super) struct Probe {
    http: Client,
    token: Option<String>,
    pub(super) door: String,
    publishes: bool,
    exchange: String,
    /// At most one session at a time: a name may publish only once.
    open: Option<String>,
}

impl Probe {
    pub(super) fn new(door: &str, token: Option<String>, publishes: bool) -> std::io::Result<Self> {
        let http = Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(std::io::Error::other)?;
        Ok(Self {
            http,
            token,
            door: door.to_owned(),
            publishes,
            exchange: String::new(),
            open: None,
        })
    }

    /// The last request and what it was answered.
    pub(super) fn last_exchange(&self) -> &str {
        &self.exchange
    }

    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// A request with the token, where there is one.
    pub(super) async fn ask(
        &mut self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer, Fault> {
        let token = self.token.clone();
        self.ask_as(token.as_deref(), method, url, headers, body)
            .await
    }

    pub(super) async fn ask_as(
        &mut self,
        token: Option<&str>,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer, Fault> {
        let is_offer = method == "POST" && url == self.door;
        if is_offer {
            self.end().await;
        }
        let broken = |error: &dyn std::fmt::Display| Fault::Broken(error.to_string());
        let verb = Method::from_bytes(method.as_bytes()).map_err(|error| broken(&error))?;
        let mut request = self.http.request(verb, url).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        self.exchange = format!("{method} {url} {headers:?}, {} bytes", body.len());
        let response = request.send().await.map_err(|error| broken(&error))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.text().await.map_err(|error| broken(&error))?;
        let start: String = body.chars().take(120).collect();
        self.exchange += &format!(" -> {status} {headers:?} {start:?}");
        let answer = Answer {
            status,
            headers,
            body,
        };
        if is_offer && status == 201 {
            self.open = answer.header("location").and_then(|it| self.resolve(it));
        }
        Ok(answer)
    }

    /// An offer as a browser words it.
    pub(super) fn offer(&self) -> String {
        let media = [Codec::Opus, Codec::Vp8].map(|codec| MediaSpec {
            codec,
            sends: self.publishes,
            simulcast: false,
            ssrc: if codec == Codec::Opus { 1001 } else { 2001 },
        });
        let fingerprint = ["AB"; 32].join(":");
        offer(&OfferSpec {
            ufrag: "conf",
            password: "conformance0conformance0",
            fingerprint: &fingerprint,
            cname: "conformance",
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 9)),
            media: &media,
        })
    }

    /// Posts an offer.
    pub(super) async fn post(&mut self, offer: &str) -> Result<Answer, Fault> {
        let door = self.door.clone();
        self.ask("POST", &door, &[SDP], offer).await
    }

    /// Posts an offer that is taken: the answer, and the session's URL.
    pub(super) async fn join(&mut self) -> Result<(Answer, String), Fault> {
        let offer = self.offer();
        let answer = self.post(&offer).await?;
        self.demand_stage(&answer)?;
        demand(
            answer.status == 201,
            "an ordinary offer is not answered 201",
        )?;
        let location = self.resolve(answer.header("location").unwrap_or_default());
        let location = location.ok_or_else(|| Fault::Broken("201 without Location".to_owned()))?;
        Ok((answer, location))
    }

    /// A server may refuse players while nobody publishes (draft-ietf-wish-whep-03 §4): then it shows nothing.
    pub(super) fn demand_stage(&self, answer: &Answer) -> Result<(), Fault> {
        if !self.publishes && matches!(answer.status, 404 | 409) {
            return Err(Fault::NotApplicable(
                "players are refused while nobody publishes at this door: publish VP8 and Opus there",
            ));
        }
        Ok(())
    }

    /// Ends the session that is open; what becomes of that is one row's affair.
    pub(super) async fn end(&mut self) {
        if let Some(session) = self.open.take() {
            let mut request = self.http.delete(session);
            if let Some(token) = &self.token {
                request = request.bearer_auth(token);
            }
            let _ = request.send().await;
        }
    }

    /// A URL that the server gave, which may be relative.
    pub(super) fn resolve(&self, location: &str) -> Option<String> {
        let base = reqwest::Url::parse(&self.door).ok()?;
        let is_given = !location.is_empty();
        is_given.then(|| base.join(location).ok().map(String::from))?
    }
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn header_contains(&self, name: &str, part: &str) -> bool {
        let mut values = self.headers.get_all(name).iter();
        let part = part.to_ascii_lowercase();
        values.any(|value| {
            let text = value.to_str().unwrap_or_default();
            text.to_ascii_lowercase().contains(&part)
        })
    }

    pub(super) fn is_refused(&self) -> bool {
        (400..500).contains(&self.status)
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// How many lines of an answer begin so.
    pub(super) fn lines(&self, start: &str) -> usize {
        self.body
            .lines()
            .filter(|line| line.starts_with(start))
            .count()
    }
}

/// A row is broken unless this holds.
pub(super) fn demand(holds: bool, otherwise: &str) -> Result<(), Fault> {
    if holds {
        Ok(())
    } else {
        Err(Fault::Broken(otherwise.to_owned()))
    }
}
