//! The whole HTTP surface, in one list.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, CONTENT_TYPE, HeaderValue,
    REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{Extensions, HeaderMap, Method, StatusCode, Version};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, post, put};
use tower::util::option_layer;
use tower_http::CompressionLevel;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::Predicate;
use tower_http::set_header::SetResponseHeaderLayer;

use super::{
    App, api, assets, body, doors, events, limits, messages, observe, openapi, origin, problem,
    session, spare, whep,
};

/// What clients reach.
pub(super) fn router(app: Arc<App>) -> Router {
    let routes = Router::new()
        .merge(the_doors())
        .merge(a_session())
        .merge(below())
        .merge(administration())
        .merge(assets::files());
    answered(routes, app)
}

/// What answers whoever there is no file descriptor for.
pub(super) fn without_descriptors(app: Arc<App>) -> Router {
    answered(spare::router(), app)
}

/// What every answer to a client passes through.
fn answered(routes: Router<Arc<App>>, app: Arc<App>) -> Router {
    routes
        // The last layer sees a request first.
        .layer(from_fn_with_state(Arc::clone(&app), limits::limit_requests))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn(problem::document_errors))
        .layer(from_fn(headers_for_browsers))
        .layer(from_fn(origin::name_host))
        .layer(option_layer(app.settings.tls.is_used().then(hsts)))
        .layer(from_fn_with_state(Arc::clone(&app), observe::observe))
        .with_state(app)
}

/// Where sessions are made.
#[rustfmt::skip] // One line each, so that it reads as the list that it is.
fn the_doors() -> Router<Arc<App>> {
    let routes = [
        ("/whip/{room}", get(doors::show).post(doors::publish)),
        ("/whip/{room}/{participant}", get(doors::show).post(doors::publish_as)),
        ("/whep/{room}", get(doors::show_watch).post(doors::watch)),
        ("/whep/{room}/{participant}", get(doors::show_watch).post(doors::watch_one)),
        ("/rooms/{room}/sessions", get(doors::show).post(doors::meet.layer(compressed()))),
    ];
    table(routes, doors::options)
}

/// Compresses descriptions for those who take them so: that of a room has some thirty m-lines which
/// say nearly the same, 24 KB of them, and a tenth of that afterwards, at the least effort. WHIP's
/// and WHEP's are short, and not all of their clients know that an answer may be compressed.
///
/// Who chooses a part of what is compressed and counts bytes may find out the rest, if it comes
/// again: the secrets in a description are new in each.
fn compressed() -> CompressionLayer<impl Predicate> {
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(
            |_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions| {
                headers
                    .get(CONTENT_TYPE)
                    .is_some_and(|kind| kind == body::SDP)
            },
        )
}

/// A session's own URL.
#[rustfmt::skip] // As its neighbours.
fn a_session() -> Router<Arc<App>> {
    let routes = [
        ("/sessions/{session}", get(session::show).patch(session::patch).delete(session::leave)),
    ];
    table(routes, session::options)
}

/// What is below it, and what else clients ask for.
#[rustfmt::skip] // One line each, so that it reads as the list that it is.
fn below() -> Router<Arc<App>> {
    let routes = [
        ("/sessions/{session}/events", get(events::stream)),
        ("/sessions/{session}/state", get(events::poll)),
        ("/sessions/{session}/sse", post(whep::make_stream)),
        ("/sessions/{session}/sse/{stream}", get(whep::read_stream).delete(whep::end_stream)),
        ("/sessions/{session}/layer", post(whep::choose_layer)),
        ("/sessions/{session}/subscriptions", put(session::subscribe)),
        ("/sessions/{session}/tracks", put(session::mute)),
        ("/sessions/{session}/attributes", put(messages::set_attributes)),
        ("/rooms/{room}/messages", post(messages::say)),
        ("/openapi.json", get(openapi::document)),
    ];
    table(routes, session::options_below)
}

/// The server API.
#[rustfmt::skip] // One line each, so that it reads as the list that it is.
fn administration() -> Router<Arc<App>> {
    let routes = [
        ("/api/rooms", get(api::list)),
        ("/api/rooms/{room}", get(api::show).put(api::configure).delete(api::close)),
        ("/api/rooms/{room}/participants/{participant}", delete(api::remove)),
        ("/api/rooms/{room}/participants/{participant}/stats", get(api::stats)),
        ("/api/rooms/{room}/participants/{participant}/tracks/{track}", put(api::mute)),
        ("/api/rooms/{room}/participants/{participant}/move", post(api::move_away)),
        ("/api/drain", post(api::drain)),
    ];
    table(routes, session::options_below)
}

/// Routes that answer `OPTIONS` alike.
fn table<H: Handler<T, Arc<App>>, T: 'static, const N: usize>(
    routes: [(&str, MethodRouter<Arc<App>>); N],
    options: H,
) -> Router<Arc<App>> {
    let add = move |router: Router<_>, (path, methods): (&str, MethodRouter<_>)| {
        router.route(path, methods.options(options.clone()))
    };
    routes.into_iter().fold(Router::new(), add)
}

/// What a page of another origin may read from any answer of an interface, errors included.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "Location, ETag, Link, X-Participant, X-Description-Tag, X-Subscriptions-Tag, Accept-Patch, Retry-After, WWW-Authenticate",
);
/// What it may send. `X-Requested-With` and the like are not ours, so they are not here.
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, Idempotency-Key, If-Match, Last-Event-ID, X-Resume",
);
const ALLOWED_METHODS: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
/// How long a browser may remember a preflight, in seconds: a day, of which each grants
/// itself less.
const PREFLIGHT_KEPT: HeaderValue = HeaderValue::from_static("86400");

/// Where HTTPS is ours, browsers stay with it for a year (RFC 6797), which is the least that
/// their preload lists take.
fn hsts() -> SetResponseHeaderLayer<HeaderValue> {
    let year = HeaderValue::from_static("max-age=31536000");
    SetResponseHeaderLayer::overriding(STRICT_TRANSPORT_SECURITY, year)
}

/// Middleware: CORS for any origin (there are no cookies), and headers that make browsers
/// careful with our URLs, because they are capabilities.
async fn headers_for_browsers(request: Request, next: Next) -> Response {
    let is_preflight = *request.method() == Method::OPTIONS;
    let mut response = next.run(request).await;
    let is_file = response.extensions().get::<assets::IsFile>().is_some();
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    if is_preflight {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
        headers.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_KEPT);
    } else if !is_file {
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
