//! `authrelay send-test`: a message or a code of our own through the whole way.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use serde::{Deserialize, Serialize};

use super::{Control, Problem};
use crate::ident::{BusinessName, CategoryName};
use crate::mail::Address;
use crate::secret::Secret;
use crate::sms::Factor;

/// `POST /v1/send-test`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendTest {
    /// To whom.
    pub to: Address,
    /// As what.
    pub category: CategoryName,
    /// On whose behalf; no-reply without one.
    pub business: Option<BusinessName>,
}

/// `POST /v1/send-test/sms`: a random code for a phone.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendTestCode {
    /// The number, in any form that can be read.
    pub to: Secret,
    /// For which factor.
    pub factor: Factor,
    /// On whose behalf; may be left out where there are not several.
    pub business: Option<BusinessName>,
}

/// What became of a test message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sent {
    /// The id to trace it by, where it was accepted.
    pub id: Option<String>,
    /// The reply a client would have got.
    pub reply: String,
    /// Whether it was accepted.
    pub accepted: bool,
}

pub(super) async fn handle(
    State(control): State<Control>,
    test: Result<Json<SendTest>, JsonRejection>,
) -> Result<Json<Sent>, Problem> {
    let Json(test) = test?;
    Ok(Json(control.daemon.send_test(test).await?))
}

pub(super) async fn handle_code(
    State(control): State<Control>,
    test: Result<Json<SendTestCode>, JsonRejection>,
) -> Result<Json<Sent>, Problem> {
    let Json(test) = test?;
    Ok(Json(control.daemon.send_test_code(test).await?))
}
