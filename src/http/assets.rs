//! The web client's files, out of the binary.

use std::fmt::Write as _;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    HeaderValue, IF_NONE_MATCH,
};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rust_embed::{Embed, EmbeddedFile};
use tower_http::compression::CompressionLayer;

/// The web client; debug builds read it from the source tree each time.
#[derive(Embed)]
#[folder = "web/"]
#[allow_missing = true]
struct Web;

/// The operator's page, in the same way; it is served on the operator's listener alone.
#[derive(Embed)]
#[folder = "web-admin/"]
#[allow_missing = true]
struct Admin;

/// What the page may do: everything comes from here, and nothing is inline.
///
/// It goes along with what has a policy of its own: documents and workers. With each of a page's
/// sixty files it would be an eighth of what a first visit costs.
///
/// Pictures, sounds and workers that the page itself makes are `blob:`.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; worker-src 'self' blob:; \
     object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
);

/// The same for pages that others may put into theirs, as a player in an article.
///
/// A frame's own permissions do not count in it: a browser asks for camera and microphone in the
/// name of the page around it, and only where that one delegates them.
const EMBEDDABLE: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; worker-src 'self' blob:; \
     object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors *",
);

/// Camera, microphone and screen are for the page, not for what others might put into it.
const PERMISSIONS: HeaderValue =
    HeaderValue::from_static("camera=(self), microphone=(self), display-capture=(self)");

/// Appended to the tag of a compressed file: other bytes, so another strong tag
/// (RFC 9110 §8.8.3.3).
const GZIP_SUFFIX: &str = "-gzip";

/// What is not an interface: the page, at `/` and at every room's link, those of broadcasts, and
/// their files.
pub(super) fn files<S: Clone + Send + Sync + 'static>() -> Router<S> {
    files_of::<Web, S>()
}

/// The operator's page, at `/admin`.
pub(super) fn admin<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let page = async |headers: HeaderMap| serve(Admin::get("index.html"), &headers, Some(POLICY));
    let others = |name: Path<String>, headers: HeaderMap| async move {
        serve(Admin::get(&name), &headers, policy_of(&name))
    };
    Router::new()
        .route("/admin", get(page))
        .route("/admin/{file}", get(others))
}

fn files_of<Files: Embed + 'static, S: Clone + Send + Sync + 'static>() -> Router<S> {
    let document = |name: &'static str, policy: HeaderValue| {
        get(
            move |headers: HeaderMap| async move { serve(Files::get(name), &headers, Some(policy)) },
        )
    };
    let watch = || document("watch.html", EMBEDDABLE);
    let file = |method: Method, uri: Uri, headers: HeaderMap| async move {
        // Names are plain ASCII: what needs an escape is not one of them.
        let name = uri.path().trim_start_matches('/');
        let file = Files::get(name);
        if file.is_some() && !matches!(method, Method::GET | Method::HEAD) {
            return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET,HEAD")]).into_response();
        }
        serve(file, &headers, policy_of(name))
    };
    Router::new()
        .route("/", document("index.html", POLICY))
        .route("/r/{room}", document("room.html", POLICY))
        .route("/publish/{room}", document("publish.html", EMBEDDABLE))
        .route("/watch/{room}", watch())
        .route("/watch/{room}/{participant}", watch())
        .route("/direct/{room}", document("direct.html", POLICY))
        .fallback(file)
        .layer(CompressionLayer::new())
        .layer(map_response(tag_compressed))
}

/// The policy of a file that a browser runs or shows by itself; the others are under that of the page
/// that loads them (CSP3 §4.2, and of workers HTML §10.2.4).
fn policy_of(name: &str) -> Option<HeaderValue> {
    [".html", ".svg", "worker.js"]
        .iter()
        .any(|end| name.ends_with(end))
        .then_some(POLICY)
}

/// Marks an answer as a file, for what is to be said of an interface's answers alone.
#[derive(Clone, Copy)]
pub(super) struct IsFile;

/// A file, unless the client has it; 404 where there is none. `policy` makes it a document.
fn serve(file: Option<EmbeddedFile>, headers: &HeaderMap, policy: Option<HeaderValue>) -> Response {
    let Some(file) = file else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let tag = tag_of(&file);
    let known = known_tag(headers, &tag);
    let mut response = match &known {
        Some(_) => StatusCode::NOT_MODIFIED.into_response(),
        None => Body::from(file.data).into_response(),
    };
    let out = response.headers_mut();
    let tag = format!("\"{}\"", known.unwrap_or(tag));
    out.insert(
        ETAG,
        HeaderValue::try_from(tag).expect("hexadecimal digits"),
    );
    // To be asked for each time: after an update, page and modules must fit together.
    out.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(kind) = HeaderValue::from_str(&content_type(file.metadata.mimetype())) {
        out.insert(CONTENT_TYPE, kind);
    }
    if let Some(policy) = policy {
        out.insert(CONTENT_SECURITY_POLICY, policy);
        out.insert(HeaderName::from_static("permissions-policy"), PERMISSIONS);
    }
    response.extensions_mut().insert(IsFile);
    response
}

/// 128 bits of the file's hash.
fn tag_of(file: &EmbeddedFile) -> String {
    let mut tag = String::with_capacity(32 + GZIP_SUFFIX.len());
    for byte in &file.metadata.sha256_hash()[..16] {
        let _ = write!(tag, "{byte:02x}");
    }
    tag
}

/// Our tag as the client knows it, compressed or not, if it does (RFC 9110 §13.1.2).
fn known_tag(headers: &HeaderMap, tag: &str) -> Option<String> {
    let values = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(|known| known.trim().trim_start_matches("W/").trim_matches('"'))
        .find(|known| *known == "*" || known.strip_suffix(GZIP_SUFFIX).unwrap_or(known) == tag)
        .map(|known| {
            if known == "*" {
                tag.to_owned()
            } else {
                known.to_owned()
            }
        })
}

/// Our text is UTF-8.
fn content_type(essence: &str) -> String {
    match essence {
        text if text.starts_with("text/") => format!("{text}; charset=utf-8"),
        other => other.to_owned(),
    }
}

/// Middleware around the compression: other bytes get another tag.
async fn tag_compressed(mut response: Response) -> Response {
    if response.headers().contains_key(CONTENT_ENCODING)
        && let Some(tag) = response
            .headers()
            .get(ETAG)
            .and_then(|tag| tag.to_str().ok())
    {
        let tag = format!("{}{GZIP_SUFFIX}\"", tag.trim_end_matches('"'));
        if let Ok(tag) = HeaderValue::try_from(tag) {
            response.headers_mut().insert(ETAG, tag);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::extract::Request;
    use axum::http::header::ACCEPT_ENCODING;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    /// Some files that are certainly there.
    #[derive(Embed)]
    #[folder = "docs/"]
    struct Docs;

    async fn get_file(path: &str, headers: &[(HeaderName, &str)]) -> Response {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let request = request.body(Body::empty()).expect("a request");
        files_of::<Docs, ()>()
            .oneshot(request)
            .await
            .expect("routers do not fail")
    }

    fn tag(response: &Response) -> String {
        response.headers()[ETAG].to_str().expect("ASCII").to_owned()
    }

    #[tokio::test]
    async fn a_file_comes_once_and_is_then_not_modified() {
        let response = get_file("/http.md", &[]).await;
        assert_eq!(response.status(), 200);
        assert_eq!(
            response.headers()[CONTENT_TYPE],
            "text/markdown; charset=utf-8"
        );
        let tag = tag(&response);
        assert!(
            tag.starts_with('"') && tag.ends_with('"') && tag.len() == 34,
            "{tag}"
        );

        let again = get_file("/http.md", &[(IF_NONE_MATCH, &tag)]).await;
        assert_eq!(again.status(), 304);
        let body = again
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        assert!(body.is_empty());
    }

    #[tokio::test]
    async fn a_compressed_file_is_another_version_of_it() {
        let plain = tag(&get_file("/http.md", &[]).await);
        let response = get_file("/http.md", &[(ACCEPT_ENCODING, "gzip")]).await;
        assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
        let compressed = tag(&response);
        assert_ne!(plain, compressed);

        let again = get_file(
            "/http.md",
            &[(ACCEPT_ENCODING, "gzip"), (IF_NONE_MATCH, &compressed)],
        )
        .await;
        assert_eq!(again.status(), 304);
        assert_eq!(tag(&again), compressed);
    }

    #[test]
    fn what_a_browser_runs_by_itself_has_a_policy() {
        for name in ["index.html", "favicon.svg", "encryption-worker.js"] {
            assert!(policy_of(name).is_some(), "{name}");
        }
        for name in ["room.js", "css/base.css"] {
            assert!(policy_of(name).is_none(), "{name}");
        }
    }

    #[tokio::test]
    async fn what_is_not_in_the_binary_is_not_found() {
        for path in [
            "/nothing.js",
            "/../Cargo.toml",
            "/%2e%2e/Cargo.toml",
            "//etc/passwd",
            "/r/room",
            "/watch/room/participant",
        ] {
            assert_eq!(get_file(path, &[]).await.status(), 404, "{path}");
        }
    }
}
