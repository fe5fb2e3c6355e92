//! What those who run it look at from outside: metrics, and whether the daemon is alive and ready. All of it is read-only.
//! No answer holds anything of a message.

use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::http::Problem;
use crate::metrics::Page;

/// What the routes ask the daemon for.
#[async_trait]
pub trait Watch: Send + Sync + 'static {
    /// All metrics.
    async fn metrics(&self) -> Page;

    /// Whether its loops get on. A daemon that is not alive has to be started again.
    async fn health(&self) -> Vec<Check>;

    /// Whether it can take mail now, and hand it over. One that is not ready may get there by itself.
    async fn readiness(&self) -> Vec<Check>;
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found, and what to do about it.
    pub detail: String,
}

impl Check {
    /// What is wrong, in one line.
    pub fn trouble(&self) -> Option<String> {
        (!self.ok).then(|| format!("{}: {}", self.name, self.detail))
    }
}

/// `GET /healthz` and `GET /readyz`, where all is well.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HealthView {
    /// `ok`.
    pub status: String,
    /// What was looked at.
    pub checks: Vec<Check>,
}

/// The routes, to be served at a listener or on the control socket.
pub(super) fn router(watch: Arc<dyn Watch>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .with_state(watch)
}

async fn metrics(State(watch): State<Arc<dyn Watch>>) -> Response {
    let media_type = HeaderValue::from_static(Page::MEDIA_TYPE);
    ([(header::CONTENT_TYPE, media_type)], watch.metrics().await.into_text()).into_response()
}

async fn health(State(watch): State<Arc<dyn Watch>>) -> Response {
    answer("not-alive", watch.health().await)
}

async fn readiness(State(watch): State<Arc<dyn Watch>>) -> Response {
    answer("not-ready", watch.readiness().await)
}

fn answer(problem: &str, checks: Vec<Check>) -> Response {
    let told: Vec<String> = checks
        .iter()
        .filter(|check| !check.ok)
        .map(|check| format!("{}: {}", check.name, check.detail))
        .collect();
    if told.is_empty() {
        return Json(HealthView { status: "ok".to_owned(), checks }).into_response();
    }
    Problem::named(problem, StatusCode::SERVICE_UNAVAILABLE, told.join("; ")).into_response()
}
