//! What is noted of every request: counters, durations, and a line in the log.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use super::problem::OverLimit;
use super::{App, clock};

/// Middleware: counts a request by method, route and status. The route is the pattern,
/// never the path: that has a session's capability in it.
pub(super) async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let arrived = clock::now();
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;

    let route = route.as_ref().map_or("files", MatchedPath::as_str);
    let status = response.status();
    let took = arrived.elapsed();
    if let Some(OverLimit(limit)) = response.extensions().get() {
        app.metrics.count_refusal(limit);
    }
    if status == StatusCode::FORBIDDEN {
        app.metrics.count_auth_failure("forbidden");
    }
    app.metrics
        .count_request(method, route, status.as_u16(), took);
    tracing::debug!(method, route, status = status.as_u16(), ?took, "request");
    response
}

/// Methods are the client's to choose; labels are not.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
