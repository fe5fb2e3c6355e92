//! What those who run it look at from outside: metrics, and whether the daemon is alive and ready. All of it is read-only.
//!
//! Where a password is set, every path asks for it (HTTP Basic, any user name). No answer holds anything of a message.

use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::http::{Kind, Problem};
use crate::metrics::Page;
use crate::secret::{Digest, Secret};

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

/// `GET /healthz` and `GET /readyz`, where all is well.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HealthView {
    /// `ok`.
    pub status: String,
    /// What was looked at.
    pub checks: Vec<Check>,
}

/// The routes, to be served at a listener or on the control socket. `password` is a digest.
pub fn watch_router(watch: Arc<dyn Watch>, password: Option<Digest>) -> Router {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .with_state(watch);
    match password {
        Some(password) => routes.route_layer(middleware::from_fn_with_state(password, ask_for_password)),
        None => routes,
    }
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

async fn ask_for_password(State(password): State<Digest>, request: Request, next: Next) -> Response {
    if shown(request.headers()).is_some_and(|shown| shown == password) {
        return next.run(request).await;
    }
    let challenge = HeaderValue::from_static("Basic realm=\"authrelay\", charset=\"UTF-8\"");
    Problem::of(Kind::InvalidToken, "the admin interface asks for a password (HTTP Basic, any user name)")
        .with_field(header::WWW_AUTHENTICATE, challenge)
        .into_response()
}

/// The digest of the password that was shown (RFC 7617).
fn shown(fields: &HeaderMap) -> Option<Digest> {
    let field = fields.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = field.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = STANDARD.decode(credentials.trim()).ok()?;
    let credentials = Secret::new(String::from_utf8(bytes).ok()?);
    let (_, password) = credentials.reveal().split_once(':')?;
    Some(Digest::sha256(password.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(field: &str) -> Option<Digest> {
        let mut fields = HeaderMap::new();
        fields.insert(header::AUTHORIZATION, HeaderValue::from_str(field).unwrap());
        shown(&fields)
    }

    #[test]
    fn the_password_is_what_stands_behind_the_first_colon() {
        let digest = Digest::sha256(b"pass:word");
        let encoded = STANDARD.encode("prometheus:pass:word");
        assert_eq!(of(&format!("Basic {encoded}")), Some(digest));
        assert_eq!(of(&format!("basic  {encoded}")), Some(digest));
        for wrong in
            [format!("Bearer {encoded}"), "Basic".to_owned(), "Basic !".to_owned(), STANDARD.encode("x")]
        {
            assert_eq!(of(&wrong), None, "{wrong}");
        }
    }
}
