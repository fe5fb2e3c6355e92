//! Errors of the HTTP interfaces: problem documents (RFC 9457).
//!
//! The types are stable: programs tell problems apart by them. A problem never quotes what was sent.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::queue::StoreError;

/// What the type of every problem begins with.
pub const TYPE_PREFIX: &str = "urn:authrelay:problem:";

/// The media type of a problem document (RFC 9457, section 6.1).
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A problem document, and the header fields that go with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Problem {
    /// A stable name of the kind of problem: `urn:authrelay:problem:...`.
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// The kind in words.
    pub title: Box<str>,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong this time, and what to do.
    pub detail: String,
    /// The id under which it is recorded: `urn:uuid:...`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Box<str>>,
    /// The field at fault, as a JSON Pointer (RFC 6901) into the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<Box<str>>,
    /// In how many seconds it is worth trying again, as in `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    #[serde(skip)]
    fields: Option<Box<HeaderMap>>,
}

/// The kinds of problems that every HTTP interface can have. An interface may have more of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request, but for its body, is not as it has to be.
    InvalidRequest,
    /// The body is not JSON, or not of the shape that is expected here.
    MalformedJson,
    /// A member that has to be there is not.
    MissingField,
    /// A member that nobody knows.
    UnknownField,
    /// A member of the wrong type, or out of its bounds.
    InvalidField,
    /// There are no credentials.
    MissingToken,
    /// The credentials are not ours.
    InvalidToken,
    /// The caller may not.
    Forbidden,
    /// A signature is missing or wrong.
    InvalidSignature,
    /// There is no such thing.
    NotFound,
    /// The thing is there, but not for this method.
    MethodNotAllowed,
    /// The request did not come in time.
    RequestTimeout,
    /// What is asked for can't be done in the state that the thing is in.
    NotAllowedInThisState,
    /// The body is larger than anything that is taken here.
    ContentTooLarge,
    /// The body is of a type that is not read here.
    UnsupportedMediaType,
    /// A defect of ours.
    InternalError,
    /// All connections are taken, or the answer took too long.
    Overloaded,
    /// The store can't be used now.
    StoreUnavailable,
}

impl Kind {
    /// Every kind, in the order of the statuses.
    pub const ALL: [Self; 18] = [
        Self::InvalidRequest,
        Self::MalformedJson,
        Self::MissingToken,
        Self::InvalidToken,
        Self::Forbidden,
        Self::InvalidSignature,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::NotAllowedInThisState,
        Self::ContentTooLarge,
        Self::UnsupportedMediaType,
        Self::MissingField,
        Self::UnknownField,
        Self::InvalidField,
        Self::InternalError,
        Self::Overloaded,
        Self::StoreUnavailable,
    ];

    /// The end of its type, after [`TYPE_PREFIX`].
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// Its HTTP status.
    pub fn status(self) -> StatusCode {
        self.row().1
    }

    fn row(self) -> (&'static str, StatusCode) {
        match self {
            Self::InvalidRequest => ("invalid-request", StatusCode::BAD_REQUEST),
            Self::MalformedJson => ("malformed-json", StatusCode::BAD_REQUEST),
            Self::MissingToken => ("missing-token", StatusCode::UNAUTHORIZED),
            Self::InvalidToken => ("invalid-token", StatusCode::UNAUTHORIZED),
            Self::Forbidden => ("forbidden", StatusCode::FORBIDDEN),
            Self::InvalidSignature => ("invalid-signature", StatusCode::FORBIDDEN),
            Self::NotFound => ("not-found", StatusCode::NOT_FOUND),
            Self::MethodNotAllowed => ("method-not-allowed", StatusCode::METHOD_NOT_ALLOWED),
            Self::RequestTimeout => ("request-timeout", StatusCode::REQUEST_TIMEOUT),
            Self::NotAllowedInThisState => ("not-allowed-in-this-state", StatusCode::CONFLICT),
            Self::ContentTooLarge => ("content-too-large", StatusCode::PAYLOAD_TOO_LARGE),
            Self::UnsupportedMediaType => ("unsupported-media-type", StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Self::MissingField => ("missing-field", StatusCode::UNPROCESSABLE_ENTITY),
            Self::UnknownField => ("unknown-field", StatusCode::UNPROCESSABLE_ENTITY),
            Self::InvalidField => ("invalid-field", StatusCode::UNPROCESSABLE_ENTITY),
            Self::InternalError => ("internal-error", StatusCode::INTERNAL_SERVER_ERROR),
            Self::Overloaded => ("overloaded", StatusCode::SERVICE_UNAVAILABLE),
            Self::StoreUnavailable => ("store-unavailable", StatusCode::SERVICE_UNAVAILABLE),
        }
    }
}

impl Problem {
    /// A problem of one of the common kinds.
    pub fn of(kind: Kind, detail: impl Into<String>) -> Self {
        Self::named(kind.name(), kind.status(), detail)
    }

    /// A problem of an interface's own kind: `name` is the end of its type.
    pub fn named(name: &str, status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("{TYPE_PREFIX}{name}").into(),
            title: name.replace('-', " ").into(),
            status: status.as_u16(),
            detail: detail.into(),
            instance: None,
            pointer: None,
            retry_after: None,
            fields: None,
        }
    }

    /// Names the field at fault, as a JSON Pointer (RFC 6901).
    pub fn at(self, pointer: impl Into<Box<str>>) -> Self {
        Self { pointer: Some(pointer.into()), ..self }
    }

    /// Says when to try again: in whole seconds, rounded up, at least one.
    pub fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let seconds = seconds.max(1);
        Self { retry_after: Some(seconds), ..self }.with_field(header::RETRY_AFTER, seconds.into())
    }

    /// Adds a header field to the response.
    pub fn with_field(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.fields.get_or_insert_default().append(name, value);
        self
    }

    /// 404.
    pub fn not_found(detail: &str) -> Self {
        Self::of(Kind::NotFound, detail)
    }

    /// 400.
    pub fn invalid(detail: &str) -> Self {
        Self::of(Kind::InvalidRequest, detail)
    }

    /// 403.
    pub fn forbidden(detail: &str) -> Self {
        Self::of(Kind::Forbidden, detail)
    }

    /// 409.
    pub fn conflict(detail: &str) -> Self {
        Self::of(Kind::NotAllowedInThisState, detail)
    }

    /// 503: a fault of ours.
    pub fn unavailable(detail: &str) -> Self {
        Self::of(Kind::StoreUnavailable, detail)
    }

    /// 404 for a path that no route has.
    pub(crate) fn no_route() -> Self {
        Self::of(Kind::NotFound, "there is nothing at this path")
    }

    /// 405; the router adds `Allow`.
    pub(crate) fn no_method() -> Self {
        Self::of(Kind::MethodNotAllowed, "this path knows other methods only: see the Allow field")
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::unavailable(&error.to_string())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::invalid(&rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::invalid(&rejection.body_text())
    }
}

impl From<JsonRejection> for Problem {
    fn from(_: JsonRejection) -> Self {
        // The rejection's own text may quote what was sent.
        Self::invalid("the body is not the JSON object that is expected here")
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let fields = self.fields.take();
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(fields) = fields {
            headers.extend(*fields);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_told_in_whole_seconds_and_never_as_none() {
        for (wait, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (59_999, 60)] {
            let problem = Problem::of(Kind::Overloaded, "x").retry_after(Duration::from_millis(wait));
            assert_eq!(problem.retry_after, Some(seconds));
            assert_eq!(problem.into_response().headers()[header::RETRY_AFTER], seconds.to_string());
        }
    }

    #[test]
    fn every_kind_is_listed_once_and_has_its_own_name() {
        let names: std::collections::BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
        assert_eq!(Kind::ALL.len(), Kind::StoreUnavailable as usize + 1);
        assert!(Kind::ALL.is_sorted_by_key(|kind| kind.status()));
    }

    #[test]
    fn what_is_not_known_is_not_written_and_a_shorter_document_can_be_read() {
        let problem = Problem::not_found("nothing is here");
        let json = serde_json::to_value(&problem).unwrap();
        let expected = serde_json::json!({
            "type": "urn:authrelay:problem:not-found", "title": "not found", "status": 404,
            "detail": "nothing is here",
        });
        assert_eq!(json, expected);
        let read: Problem = serde_json::from_value(json).unwrap();
        assert_eq!((read.status, read.pointer, read.retry_after), (404, None, None));
    }
}
