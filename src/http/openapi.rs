//! The interface as a document for programs (OpenAPI 3.1), at `/openapi.json`.
//!
//! It is written by hand, because most of what it says is in no type of ours: SDP, headers, streams and
//! capabilities. The tests below hold it against the router, and `tests/operation/openapi.test.mjs` has a program ask
//! a server everything that it allows, and some of what it does not.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use axum::response::IntoResponse;

/// The document.
const DOCUMENT: &str = include_str!("openapi.json");

/// `GET /openapi.json`.
pub(super) async fn document() -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, DOCUMENT)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::Value;

    use super::*;

    const ROUTER: &str = include_str!("router.rs");
    const PAGE: &str = include_str!("../../docs/http.md");

    /// The methods of each path, as the document has them.
    fn documented() -> BTreeMap<String, BTreeSet<String>> {
        let document: Value = serde_json::from_str(DOCUMENT).expect("JSON");
        let paths = document["paths"].as_object().expect("it has paths");
        let methods = |item: &Value| {
            let fields = item.as_object().expect("a path has operations");
            let names = fields.keys().filter(|name| *name != "parameters");
            names.map(|name| name.to_uppercase()).collect()
        };
        let paths = paths.iter();
        paths
            .map(|(path, item)| (path.clone(), methods(item)))
            .collect()
    }

    /// The methods of each path, as the router's text has them.
    fn routed() -> BTreeMap<String, BTreeSet<String>> {
        let mut routes = BTreeMap::new();
        // What is before the first path is none.
        for route in ROUTER.split("(\"/").skip(1) {
            let (path, route) = route.split_once('"').expect("a path");
            // As far as its own closing parenthesis.
            let mut depth = 1;
            let end = route.find(|c| {
                depth += i32::from(c == '(') - i32::from(c == ')');
                depth == 0
            });
            let handlers = &route[..end.expect("it is closed")];
            let is_called = |method: &&str| {
                let call = format!("{method}(");
                handlers
                    .split([' ', '.', '\n'])
                    .any(|word| word.starts_with(&call))
            };
            let methods = ["get", "post", "put", "patch", "delete"];
            let methods = methods.into_iter().filter(is_called);
            routes.insert(format!("/{path}"), methods.map(str::to_uppercase).collect());
        }
        routes
    }

    #[test]
    fn the_document_has_every_path_and_method_and_no_others() {
        assert_eq!(documented(), routed());
    }

    #[test]
    fn every_path_of_the_document_is_in_the_page_of_the_interface() {
        for path in documented().keys() {
            // The page writes "/whip/{room}` or …" and calls sessions and streams by other names.
            let path = path
                .replace("{session}", "{id}")
                .replace("participants/{participant}", "participants/{id}");
            let is_stream = path.ends_with("/{stream}");
            assert!(
                is_stream || PAGE.contains(&path),
                "{path} is not in docs/http.md"
            );
        }
    }

    #[test]
    fn the_document_is_of_this_version() {
        let document: Value = serde_json::from_str(DOCUMENT).expect("JSON");
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
