//! `If-Match` (RFC 9110 §13.1.1), as far as one entity tag needs it.

use axum::http::HeaderMap;
use axum::http::header::IF_MATCH;

use super::problem::Problem;

/// What a request demands of the current version.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Precondition {
    /// There was no `If-Match`.
    Missing,
    /// `*`: any version will do.
    Any,
    /// This version, its tag without quotes.
    Tag(String),
}

impl Precondition {
    /// Reads the header. Also `"*"` means any: RFC 9725's own example is quoted so in its
    /// last drafts, and clients copied it.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(IF_MATCH).iter();
        let Some(first) = values.next() else {
            return Ok(Self::Missing);
        };
        let malformed = || Problem::bad_request("If-Match takes one quoted entity tag, or *.");
        if values.next().is_some() {
            return Err(malformed());
        }
        let value = first.to_str().map_err(|_| malformed())?.trim();
        if matches!(value, "*" | "\"*\"") {
            return Ok(Self::Any);
        }
        if value.starts_with("W/\"") {
            // A weak tag never compares equal here (RFC 9110 §8.8.3.2).
            return Err(Problem::stale());
        }
        match value
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
        {
            Some(tag) if !tag.contains(['"', ',']) => Ok(Self::Tag(tag.to_owned())),
            _ => Err(malformed()),
        }
    }

    /// The tag to compare, where one was demanded.
    pub(super) fn into_tag(self) -> Option<String> {
        match self {
            Self::Missing | Self::Any => None,
            Self::Tag(tag) => Some(tag),
        }
    }
}
