//! The session that a request is about, for whoever may change it: where its handlers begin.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use serde::Deserialize;

use super::App;
use super::problem::Problem;
use crate::engine::command::{Command, Reply};
use crate::engine::ids::SessionId;

/// The session in a request's path. Its token, where one is needed, reaches as far as this session.
pub(super) struct Owned {
    pub(super) app: Arc<App>,
    pub(super) session: SessionId,
    pub(super) headers: HeaderMap,
    shard: usize,
}

/// What of the path is read; there may be more.
#[derive(Deserialize)]
struct SessionPath {
    session: String,
}

impl FromRequestParts<Arc<App>> for Owned {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let path = Path::<SessionPath>::from_request_parts(parts, app).await;
        let Path(path) = path.map_err(|_| Problem::bad_request("The path could not be read."))?;
        let (session, shard) = app.find_for(&path.session, &parts.headers)?;
        Ok(Self {
            app: Arc::clone(app),
            session,
            headers: parts.headers.clone(),
            shard,
        })
    }
}

impl Owned {
    /// Asks the engine that has the session.
    pub(super) async fn command(&self, command: Command) -> Result<Reply, Problem> {
        self.app.command(self.shard, command).await
    }
}
