//! The endpoint's routes. Each asks first who is there, then looks at the body, then asks the [`Handler`].

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;

use crate::http::{Kind, Problem};
use crate::ident::{ClientName, MessageId};

use super::{Accepted, Handler, View, body, document, fields};

/// The largest body.
const LARGEST_BODY: usize = 4096;

type Routes = Arc<dyn Handler>;

/// The endpoint's routes. They need no layers or fallbacks but those of [`crate::http::serve`].
pub fn router(handler: Arc<dyn Handler>) -> Router {
    Router::new()
        .route("/v1/otp", post(submit))
        .route("/v1/otp/{id}", get(status))
        .route("/v1/otp/{id}/feedback", post(feedback))
        .route("/openapi.json", get(openapi))
        .with_state(handler)
}

async fn submit(
    State(handler): State<Routes>,
    Caller(client): Caller,
    headers: HeaderMap,
    content: Body,
) -> Result<Response, Problem> {
    let content = json(&headers, content).await?;
    let key = fields::idempotency_key(&headers)?;
    let request = body::request(&content, key)?;
    let (to, code) = (request.to.clone(), request.code.clone());
    let accepted = handler.submit(&client, request).await;
    let accepted = accepted.map_err(|refusal| refusal.without(&[&to, &code]))?;
    let location = [(header::LOCATION, format!("/v1/otp/{}", accepted.id))];
    Ok((StatusCode::ACCEPTED, location, Json(AcceptedBody::from(&accepted))).into_response())
}

async fn status(
    State(handler): State<Routes>,
    Caller(client): Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<ViewBody>, Problem> {
    let view = handler.status(&client, message_id(id)?).await?;
    Ok(Json(ViewBody::from(view)))
}

async fn feedback(
    State(handler): State<Routes>,
    Caller(client): Caller,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    content: Body,
) -> Result<StatusCode, Problem> {
    let id = message_id(id)?;
    let used = body::feedback(&json(&headers, content).await?)?;
    handler.feedback(&client, id, used).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document()).into_response()
}

/// The client whose token the request carries.
struct Caller(ClientName);

impl FromRequestParts<Routes> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, handler: &Routes) -> Result<Self, Problem> {
        let token = fields::bearer_token(&parts.headers)?;
        handler.client_of(&token).map(Self).ok_or_else(fields::invalid_token)
    }
}

async fn json(headers: &HeaderMap, content: Body) -> Result<Bytes, Problem> {
    fields::check_media_type(headers)?;
    to_bytes(content, LARGEST_BODY).await.map_err(|_| {
        Problem::of(Kind::ContentTooLarge, format!("the body has more than {LARGEST_BODY} bytes"))
    })
}

/// An id in its usual form. Anything else is the id of nothing.
fn message_id(path: Result<Path<String>, PathRejection>) -> Result<MessageId, Problem> {
    let hyphenated = |text: &String| text.len() == 36;
    let id = path.ok().map(|Path(text)| text).filter(hyphenated).and_then(|text| text.parse().ok());
    id.ok_or_else(|| Problem::not_found("there is no code with this id"))
}

#[derive(Serialize)]
struct AcceptedBody {
    id: String,
    status: &'static str,
    expires_at: String,
}

impl From<&Accepted> for AcceptedBody {
    fn from(accepted: &Accepted) -> Self {
        Self {
            id: accepted.id.to_string(),
            status: accepted.status.as_str(),
            expires_at: accepted.expires.to_rfc3339(),
        }
    }
}

#[derive(Serialize)]
struct ViewBody {
    id: String,
    status: &'static str,
    created_at: String,
    expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl From<View> for ViewBody {
    fn from(view: View) -> Self {
        Self {
            id: view.id.to_string(),
            status: view.status.as_str(),
            created_at: view.created.to_rfc3339(),
            expires_at: view.expires.to_rfc3339(),
            reference: view.reference,
            reason: view.reason,
        }
    }
}
