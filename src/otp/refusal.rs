//! How refusals are told over HTTP: one table of kinds, and the `RateLimit` fields.

use axum::http::{HeaderName, HeaderValue, StatusCode};
use std::time::Duration;

use crate::http::Problem;
use crate::secret::Secret;

use super::{LimitMet, Refusal, RefusalKind};

impl RefusalKind {
    /// Every kind.
    pub const ALL: [Self; 18] = [
        Self::NotFound,
        Self::FactorOff,
        Self::CategoryNotAllowed,
        Self::Business,
        Self::Number,
        Self::Code,
        Self::Expiry,
        Self::Country,
        Self::NumberRange,
        Self::Conversion,
        Self::Rate,
        Self::NumberLimit,
        Self::PrefixLimit,
        Self::ClientLimit,
        Self::BusinessLimit,
        Self::TotalLimit,
        Self::IdempotencyMismatch,
        Self::Store,
    ];

    /// Its stable name: the end of the problem's type.
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status it is told with.
    pub fn status(self) -> StatusCode {
        self.row().1
    }

    fn row(self) -> (&'static str, StatusCode) {
        match self {
            Self::NotFound => ("not-found", StatusCode::NOT_FOUND),
            Self::FactorOff => ("factor-off", StatusCode::FORBIDDEN),
            Self::CategoryNotAllowed => ("category-not-allowed", StatusCode::FORBIDDEN),
            Self::Business => ("unknown-business", StatusCode::UNPROCESSABLE_ENTITY),
            Self::Number => ("invalid-number", StatusCode::UNPROCESSABLE_ENTITY),
            Self::Code => ("invalid-code", StatusCode::UNPROCESSABLE_ENTITY),
            Self::Expiry => ("invalid-expiry", StatusCode::UNPROCESSABLE_ENTITY),
            Self::Country => ("country-not-allowed", StatusCode::FORBIDDEN),
            Self::NumberRange => ("number-range-not-allowed", StatusCode::FORBIDDEN),
            Self::Conversion => ("conversion-too-low", StatusCode::FORBIDDEN),
            Self::Rate => ("rate-limited", StatusCode::TOO_MANY_REQUESTS),
            Self::NumberLimit => ("number-limit", StatusCode::TOO_MANY_REQUESTS),
            Self::PrefixLimit => ("prefix-limit", StatusCode::TOO_MANY_REQUESTS),
            Self::ClientLimit => ("client-limit", StatusCode::TOO_MANY_REQUESTS),
            Self::BusinessLimit => ("business-limit", StatusCode::TOO_MANY_REQUESTS),
            Self::TotalLimit => ("total-limit", StatusCode::TOO_MANY_REQUESTS),
            Self::IdempotencyMismatch => ("idempotency-mismatch", StatusCode::UNPROCESSABLE_ENTITY),
            Self::Store => ("store-unavailable", StatusCode::SERVICE_UNAVAILABLE),
        }
    }
}

impl Refusal {
    /// The same, with a general text in place of one that quotes one of `secrets`. Nobody should write such a text; if
    /// one does, it ends here.
    pub(super) fn without(mut self, secrets: &[&Secret]) -> Self {
        // Fewer characters than a code has are found in any text.
        let told = |secret: &&&Secret| secret.reveal().len() >= 4 && self.detail.contains(secret.reveal());
        if secrets.iter().any(|secret| told(&secret)) {
            "the request is refused".clone_into(&mut self.detail);
        }
        self
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let Refusal { kind, pointer, detail, limit, id } = refusal;
        let mut problem = Self::named(kind.as_str(), kind.status(), detail);
        problem.pointer = pointer.map(Into::into);
        problem.instance = id.map(|id| format!("urn:uuid:{id}").into());
        match limit {
            Some(limit) => with_limit(problem.retry_after(limit.retry_after), &limit),
            None if [429, 503].contains(&problem.status) => problem.retry_after(Duration::from_secs(1)),
            None => problem,
        }
    }
}

/// The fields of draft-ietf-httpapi-ratelimit-headers, as structured fields (RFC 9651).
fn with_limit(problem: Problem, limit: &LimitMet) -> Problem {
    let LimitMet { name, quota, window, retry_after: _ } = limit;
    let wait = problem.retry_after.unwrap_or(1);
    let window = window.as_secs().max(1);
    let fields = [
        (HeaderName::from_static("ratelimit-policy"), format!("\"{name}\";q={quota};w={window}")),
        (HeaderName::from_static("ratelimit"), format!("\"{name}\";r=0;t={wait}")),
    ];
    fields.into_iter().fold(problem, |problem, (name, value)| match HeaderValue::try_from(value) {
        Ok(value) => problem.with_field(name, value),
        Err(_) => problem,
    })
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;

    use super::*;
    use crate::ident::MessageId;

    fn refusal(kind: RefusalKind, detail: &str) -> Refusal {
        Refusal { kind, pointer: None, detail: detail.to_owned(), limit: None, id: None }
    }

    #[test]
    fn every_kind_is_listed_once_and_has_its_own_name() {
        let names: std::collections::BTreeSet<_> =
            RefusalKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names.len(), RefusalKind::ALL.len());
        assert_eq!(RefusalKind::ALL.len(), RefusalKind::Store as usize + 1);
        // The names that the common kinds have too mean the same and have the same status.
        for kind in RefusalKind::ALL {
            for common in crate::http::Kind::ALL.into_iter().filter(|common| common.name() == kind.as_str()) {
                assert_eq!(common.status(), kind.status());
            }
        }
    }

    #[test]
    fn a_limit_is_told_in_the_fields_of_the_draft() {
        let limit = LimitMet {
            name: "number",
            quota: 5,
            window: Duration::from_hours(1),
            retry_after: Duration::from_millis(61_500),
        };
        let id = MessageId::from_bytes([7; 16]);
        let refusal =
            Refusal { limit: Some(limit), id: Some(id), ..refusal(RefusalKind::NumberLimit, "enough") };
        let problem = Problem::from(refusal);
        assert_eq!(problem.instance.as_deref(), Some("urn:uuid:07070707-0707-0707-0707-070707070707"));
        let response = problem.into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "62");
        assert_eq!(response.headers()["ratelimit-policy"], "\"number\";q=5;w=3600");
        assert_eq!(response.headers()["ratelimit"], "\"number\";r=0;t=62");
    }

    #[test]
    fn a_text_that_quotes_a_secret_is_not_told() {
        let (number, code) = (Secret::new("+12025550100"), Secret::new("739182"));
        let told = |detail| refusal(RefusalKind::Code, detail).without(&[&number, &code]).detail;
        assert_eq!(told("739182 is too short"), "the request is refused");
        assert_eq!(told("not to +12025550100"), "the request is refused");
        assert_eq!(told("a code has 4 to 10 digits"), "a code has 4 to 10 digits");
        let short = Secret::new("4");
        let detail = refusal(RefusalKind::Code, "a code has 4 to 10 digits").without(&[&short]).detail;
        assert_eq!(detail, "a code has 4 to 10 digits");
    }
}
