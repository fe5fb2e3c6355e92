//! The route that the provider calls. The signature is checked before anything that the call says is looked at.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::routing::post;

use crate::http::{Kind, Problem};
use crate::ident::UpstreamName;

use super::signature::{Signature, SignedFields};
use super::{Handler, PATH, Report, Verdict};

/// The largest body.
const LARGEST_BODY: usize = 16 * 1024;

/// The field with the signature.
const SIGNATURE: &str = "x-twilio-signature";

type Routes = Arc<dyn Handler>;

/// The endpoint's routes. They need no layers or fallbacks but those of [`crate::http::serve`].
pub fn router(handler: Arc<dyn Handler>) -> Router {
    Router::new().route(PATH, post(report)).with_state(handler)
}

async fn report(
    State(handler): State<Routes>,
    uri: Uri,
    headers: HeaderMap,
    content: Body,
) -> Result<StatusCode, Problem> {
    check_media_type(&headers)?;
    let form = Form::parse(&bytes(content).await?);
    let upstreams = signers(&*handler, &uri, &headers, &form);
    if upstreams.is_empty() {
        handler.forged();
        let detail = "the signature is missing, or not that of this address and these fields";
        return Err(Problem::of(Kind::InvalidSignature, detail));
    }
    let query = Form::parse(uri.query().unwrap_or_default().as_bytes());
    let report = read(upstreams, &query, &form)?;
    match handler.report(report).await {
        // What is not known any more is nothing to call again for.
        Verdict::Applied | Verdict::Stale | Verdict::Unknown => Ok(StatusCode::NO_CONTENT),
        Verdict::Unavailable => {
            let problem = Problem::unavailable("the report can't be stored now; call again");
            Err(problem.retry_after(std::time::Duration::from_secs(1)))
        }
    }
}

/// The upstreams whose key the call is signed with. Every one is tried, whichever fits, so that time tells nothing.
fn signers(handler: &dyn Handler, uri: &Uri, headers: &HeaderMap, form: &Form) -> Vec<UpstreamName> {
    let mut given = headers.get_all(SIGNATURE).iter();
    let signature = given.next().and_then(|value| value.to_str().ok()).and_then(Signature::parse);
    let Some(signature) = signature.filter(|_| given.next().is_none()) else { return Vec::new() };
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let signed = SignedFields::new(&form.0);
    let mut found = Vec::new();
    for caller in handler.callers() {
        let url = format!("{}{target}", caller.public_url);
        if signature.fits(&caller.auth_token, &url, &signed) {
            found.push(caller.upstream);
        }
    }
    found
}

fn read(upstreams: Vec<UpstreamName>, query: &Form, form: &Form) -> Result<Report, Problem> {
    let missing =
        |name: &str| Problem::invalid(&format!("`{name}` is missing, there twice, or not understood"));
    let id = query.one("id").and_then(|id| id.parse().ok()).ok_or_else(|| missing("id"))?;
    let attempt = query.one("attempt").and_then(|attempt| attempt.parse().ok());
    let sid = form.word("MessageSid").or_else(|| form.word("SmsSid"));
    let status = form.word("MessageStatus").or_else(|| form.word("SmsStatus"));
    Ok(Report {
        upstreams,
        id,
        attempt: attempt.ok_or_else(|| missing("attempt"))?,
        sid: sid.ok_or_else(|| missing("MessageSid"))?,
        status: status.ok_or_else(|| missing("MessageStatus"))?,
        // A code of another form is one we can do nothing with; the status is worth more.
        error_code: form.one("ErrorCode").and_then(|code| code.parse().ok()),
    })
}

/// The fields of a form, decoded, in their order.
struct Form(Vec<(String, String)>);

impl Form {
    fn parse(bytes: &[u8]) -> Self {
        Self(form_urlencoded::parse(bytes).into_owned().collect())
    }

    /// The field's value, where the field is there once.
    fn one(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(field, _)| field == name);
        let (_, value) = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// The field's value, where it looks like an id or a status: fit to be stored and shown.
    fn word(&self, name: &str) -> Option<String> {
        let value = self.one(name)?;
        let is_word = (1..=64).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic());
        is_word.then(|| value.to_owned())
    }
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        Ok(())
    } else {
        Err(Problem::of(Kind::UnsupportedMediaType, "the body has to be application/x-www-form-urlencoded"))
    }
}

async fn bytes(content: Body) -> Result<Bytes, Problem> {
    to_bytes(content, LARGEST_BODY).await.map_err(|_| {
        Problem::of(Kind::ContentTooLarge, format!("the body has more than {LARGEST_BODY} bytes"))
    })
}
