//! Pages of others, where nobody needs a token.
//!
//! Without keys the server API is open to whoever reaches it, which is this machine. But a browser
//! on this machine reaches it too, for any page that it shows: directly, since any origin may use
//! this interface, or under a name of the page's own that it has had resolved to 127.0.0.1. So
//! then, only our own pages and those of this machine may administer.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header::{HOST, HeaderValue, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;

use super::problem::Problem;
use super::settings::Settings;

/// Whether a request without a token may be one of an administrator's.
pub(super) fn check(settings: &Settings, headers: &HeaderMap) -> Result<(), Problem> {
    let is_local = settings.http_listen.ip().to_canonical().is_loopback();
    let is_trusted = |authority: &Authority| is_our_name(authority, settings);
    let host = headers.get(HOST).and_then(authority_of);
    let Some(origin) = headers.get(ORIGIN) else {
        // Programs. Pages, too, if they have no need to say where they are from: under our name.
        return match host {
            Some(host) if is_local && !is_trusted(&host) => Err(refused()),
            _ => Ok(()),
        };
    };
    let origin: Option<Uri> = origin.to_str().ok().and_then(|text| text.parse().ok());
    let origin = origin.as_ref().and_then(Uri::authority);
    let (Some(origin), Some(host)) = (origin, host) else {
        return Err(refused());
    };
    let is_same = *origin == host && is_trusted(origin);
    if is_same || is_public(origin, settings) || (is_local && is_loopback(origin)) {
        Ok(())
    } else {
        Err(refused())
    }
}

/// Middleware: HTTP/2 says in the URL which host is asked; here it stands where HTTP/1 has it.
pub(super) async fn name_host(mut request: Request, next: Next) -> Response {
    if !request.headers().contains_key(HOST)
        && let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(HOST, host);
    }
    next.run(request).await
}

fn authority_of(value: &HeaderValue) -> Option<Authority> {
    value.to_str().ok()?.parse().ok()
}

/// A name that nobody else can have had resolved to this machine.
fn is_our_name(authority: &Authority, settings: &Settings) -> bool {
    let is_address = address_of(authority).is_some();
    is_address || is_loopback(authority) || is_public(authority, settings)
}

fn is_public(authority: &Authority, settings: &Settings) -> bool {
    let public = settings.public_url.as_ref();
    public.is_some_and(|url| url.has_authority(authority))
}

fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host().to_ascii_lowercase();
    let is_named = host == "localhost" || host.ends_with(".localhost");
    is_named || address_of(authority).is_some_and(|address| address.to_canonical().is_loopback())
}

fn address_of(authority: &Authority) -> Option<IpAddr> {
    let host = authority.host();
    host.trim_matches(['[', ']']).parse().ok()
}

fn refused() -> Problem {
    let detail = "Without keys, only pages of this machine administer: set --key, or --public-url \
                  where this is the server's own page.";
    Problem::new(StatusCode::FORBIDDEN, "forbidden", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(listen: &str, public: Option<&str>, host: &str, origin: Option<&str>) -> bool {
        let settings = Settings {
            http_listen: listen.parse().unwrap(),
            public_url: public.map(|url| url.parse().unwrap()),
            ..Settings::default()
        };
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        check(&settings, &headers).is_ok()
    }

    #[test]
    fn our_own_pages_and_programs_may_and_pages_of_others_may_not() {
        let local = "127.0.0.1:8080";
        for (host, origin) in [
            (local, None),
            ("localhost:8080", None),
            (local, Some("http://127.0.0.1:8080")),
            ("[::1]:8080", Some("http://[::1]:8080")),
            ("localhost:8080", Some("http://localhost:5173")),
        ] {
            assert!(is_allowed(local, None, host, origin), "{host} {origin:?}");
        }
        for (host, origin) in [
            (local, Some("https://x.example")),
            (local, Some("null")),
            (local, Some("http://192.0.2.1")),
            // Names that others have had resolved to 127.0.0.1.
            ("x.example:8080", Some("http://x.example:8080")),
            ("x.example:8080", None),
            ("127.0.0.1.x.example:8080", None),
        ] {
            assert!(!is_allowed(local, None, host, origin), "{host} {origin:?}");
        }
    }

    #[test]
    fn behind_a_proxy_the_public_url_is_ours() {
        let (local, public) = ("127.0.0.1:8080", Some("https://sfu.example"));
        let page = Some("https://sfu.example");
        assert!(is_allowed(local, public, "sfu.example", page));
        assert!(is_allowed(local, public, local, page));
        assert!(!is_allowed(
            local,
            public,
            "sfu.example",
            Some("https://x.example")
        ));
        assert!(!is_allowed(local, None, "sfu.example", page));
    }

    #[test]
    fn on_a_network_programs_may_use_any_name_and_pages_the_servers_address() {
        let all = "0.0.0.0:8080";
        assert!(is_allowed(all, None, "plenum:8080", None));
        assert!(is_allowed(
            all,
            None,
            "10.0.0.5:8080",
            Some("http://10.0.0.5:8080")
        ));
        assert!(!is_allowed(
            all,
            None,
            "10.0.0.5:8080",
            Some("http://localhost:5173")
        ));
        assert!(!is_allowed(
            all,
            None,
            "10.0.0.5:8080",
            Some("https://x.example")
        ));
        assert!(!is_allowed(
            all,
            None,
            "x.example:8080",
            Some("http://x.example:8080")
        ));
    }
}
