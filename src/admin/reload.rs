//! `authrelay reload`: the verdict on a configuration, and how earlier ones fared.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::Control;

/// `POST /v1/reload`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ReloadView {
    /// Whether the configuration is in force; else all is as it was.
    pub in_force: bool,
    /// Why it is not.
    pub error: Option<String>,
    /// Whether that is in the configuration, or in a file that it names.
    pub config_error: bool,
    /// The file that was read; `None`: the defaults.
    pub source: Option<String>,
    /// What should be looked at.
    pub warnings: Vec<String>,
    /// What waits for a restart.
    pub restart: Vec<String>,
    /// The secrets that were not read again.
    pub fixed_secrets: Vec<String>,
    /// The certificates that are shown now.
    pub certificates: Vec<CertificateView>,
    /// How long it took.
    pub milliseconds: u64,
}

/// How the reloads went since the daemon began.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ReloadsView {
    /// Since when the configuration is in force (RFC 3339).
    pub in_force_since: String,
    /// How many were put in force.
    pub succeeded: u64,
    /// How many were refused.
    pub failed: u64,
    /// When the latest one was made, of either kind.
    pub last: Option<String>,
    /// Why that one was refused, where it was.
    pub refused: Option<String>,
    /// How often certificates were picked up by themselves.
    pub picked_up: u64,
    /// Why certificate files that changed are not used, where that is so.
    pub not_picked_up: Option<String>,
}

/// A certificate file in use.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CertificateView {
    /// The file.
    pub path: String,
    /// When the first certificate in it ends (RFC 3339).
    pub expires: Option<String>,
    /// What to say of that, where it is near or has passed.
    pub warning: Option<String>,
}

pub(super) async fn handle(State(control): State<Control>) -> Json<ReloadView> {
    Json(control.daemon.reload().await)
}
