//! How much is logged, changed while the daemon runs.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::Control;
use crate::http::Problem;

/// `GET /v1/log`, and the answer to `POST /v1/log`: what is logged at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogView {
    /// The level of everything that is not named: `error`, `warn`, `info`, `debug` or `trace`.
    pub all: String,
    /// Modules with a level of their own, as `MODULE=LEVEL`.
    pub modules: Vec<String>,
}

/// `POST /v1/log`: what is to be logged.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetLog {
    /// Whether everything is first set back to what is configured.
    pub reset: bool,
    /// Levels as `LEVEL` or `MODULE=LEVEL`, in their order. All are set, or none.
    pub levels: Vec<String>,
}

pub(super) async fn show(State(control): State<Control>) -> Result<Json<LogView>, Problem> {
    Ok(Json(control.daemon.log()))
}

pub(super) async fn set(
    State(control): State<Control>,
    Json(wanted): Json<SetLog>,
) -> Result<Json<LogView>, Problem> {
    control.daemon.set_log(&wanted)?;
    Ok(Json(control.daemon.log()))
}
