//! Webhooks at the control interface: how endpoints stand, a test, and enabling one again.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path as UrlPath, State};
use serde::{Deserialize, Serialize};

use super::{Control, Problem};
use crate::ident::EndpointName;

/// `GET /v1/webhooks`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WebhooksView {
    /// The endpoints, in the order of the configuration.
    pub webhooks: Vec<WebhookView>,
}

/// How an endpoint stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WebhookView {
    /// Its name.
    pub name: String,
    /// Where it is; what follows the host is not shown.
    pub target: String,
    /// `active`, `resting` (it failed, and is tried again) or `disabled` (it said that it is gone).
    pub state: String,
    /// Until when it rests, or since when it is disabled.
    pub since_or_until: Option<String>,
    /// How many notices wait for it.
    pub waiting: u64,
    /// When the oldest of them happened.
    pub oldest: Option<String>,
    /// How many it has taken.
    pub delivered: u64,
    /// How many it will never be told.
    pub dropped: u64,
    /// When it took the last one.
    pub last_delivered: Option<String>,
    /// When it did not,
    pub last_failed: Option<String>,
    /// and why.
    pub last_error: Option<String>,
}

/// What came of a test.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WebhookTested {
    /// Whether the endpoint took it.
    pub taken: bool,
    /// What it said, or what went wrong.
    pub detail: String,
    /// How long that took.
    pub milliseconds: u64,
}

/// What was done.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct WebhookEnabled {}

pub(super) async fn list(State(control): State<Control>) -> Result<Json<WebhooksView>, Problem> {
    Ok(Json(WebhooksView { webhooks: control.daemon.webhooks().await? }))
}

pub(super) async fn test(
    State(control): State<Control>,
    path: Result<UrlPath<String>, PathRejection>,
) -> Result<Json<WebhookTested>, Problem> {
    let UrlPath(name) = path?;
    Ok(Json(control.daemon.test_webhook(&EndpointName::new(name)).await?))
}

pub(super) async fn enable(
    State(control): State<Control>,
    path: Result<UrlPath<String>, PathRejection>,
) -> Result<Json<WebhookEnabled>, Problem> {
    let UrlPath(name) = path?;
    control.daemon.enable_webhook(&EndpointName::new(name)).await?;
    Ok(Json(WebhookEnabled {}))
}
