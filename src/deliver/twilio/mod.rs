//! Twilio's Programmable Messaging: sends texts, and asks what became of them.
//!
//! A text is posted once. Only a failure to connect, and an answer that says that nothing was made of the request, let it
//! be posted again; after anything else Twilio may have it, and it is asked for instead (`super::reports`). Nothing is
//! retried below us either: no redirect is followed, and the HTTP client repeats no request that was begun.
//!
//! TLS is as configured, with the roots that are trusted there; no proxy is taken from the environment.

mod answer;
mod codes;
mod find;
mod probe;

pub use answer::news;
pub use probe::{TwilioAccount, TwilioProbe, TwilioTrouble, probe};

use std::borrow::Cow;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response, Url};
use serde_json::Value;
use zeroize::Zeroizing;

use self::answer::{Answer, code_of, is_reference, judge, text_of};
use self::find::{Sought, find};
use super::parcel::Text;
use super::reply::{HandOver, Trip};
use super::{TwilioConfig, TwilioFrom, TwilioLogin};
use crate::clock::Timestamp;
use crate::outcome::{Reason, ReasonClass};
use crate::queue::News;

/// The least that must be left of the life of a text. Twilio takes a `ValidityPeriod` from 1 s on and advises more than 5.
pub(super) const LEAST_LIFE: Duration = Duration::from_secs(6);

/// The longest `ValidityPeriod`.
const LONGEST_VALIDITY: u64 = 36_000;

/// The most of an answer that is read.
const ANSWER_MAX: usize = 64 * 1024;

/// How long an unused connection is kept. Short: a request over one that the other side closes at this moment is in doubt.
const IDLE: Duration = Duration::from_secs(15);

/// The longest that asking what became of a text may take.
const ASKING: Duration = Duration::from_secs(10);

/// The path of the status callback under `public_url`.
const CALLBACK: &str = "/v1/twilio/status";

/// An account at Twilio. How many use it at once is not decided here.
pub(super) struct Twilio {
    config: TwilioConfig,
    /// Could not be built where the TLS configuration is none that the client knows.
    client: Option<Client>,
}

/// What Twilio knows of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Its id of the text.
    pub(super) reference: String,
    /// What became of it.
    pub(super) news: News,
}

/// Why Twilio could not be asked. For the log: names nobody.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("no answer: {0}")]
    Lost(&'static str),
    #[error("answered with HTTP {0}")]
    Status(u16),
    #[error("the answer can't be read")]
    Unreadable,
    #[error("the client can't be built")]
    NoClient,
}

impl std::fmt::Debug for Twilio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Twilio").field("account_sid", &self.config.account_sid).finish_non_exhaustive()
    }
}

impl Twilio {
    pub(super) fn new(config: TwilioConfig) -> Self {
        let client = config
            .tls
            .http()
            .connect_timeout(config.connect)
            .timeout(config.connect + config.answer)
            .pool_idle_timeout(IDLE)
            .build()
            .inspect_err(|error| tracing::error!(target: "authrelay::deliver", %error, "no HTTP client"));
        Self { config, client: client.ok() }
    }

    /// The longest that [`Twilio::post`] may take.
    pub(super) fn limit(&self) -> Duration {
        self.config.connect + self.config.answer
    }

    /// Whether it is told which codes were used.
    pub(super) fn wants_feedback(&self) -> bool {
        self.config.feedback
    }

    /// Whether Twilio tells by itself what becomes of its texts.
    pub(super) fn calls_back(&self) -> bool {
        self.config.public_url.is_some()
    }

    /// What is asked before anything else is done.
    pub(super) fn check(&self, text: Text<'_>) -> Result<(), HandOver> {
        if self.config.never.contains(text.to) {
            return Err(HandOver::Refused(Reason::new(
                ReasonClass::Policy,
                "a test number is never sent anything",
            )));
        }
        Ok(())
    }

    /// Posts the text. Must be waited for: from here on Twilio may have it.
    pub(super) async fn post(&self, text: Text<'_>, body: &str, now: Timestamp) -> HandOver {
        let left = now.until(text.expires);
        if left < LEAST_LIFE {
            return HandOver::Deferred(Reason::new(ReasonClass::Timeout, "no time left to send it"));
        }
        let Some(request) = self.request(Method::POST, "Messages.json", &[]) else { return no_client() };
        let response = match request.form(&self.form(text, body, left)).send().await {
            Ok(response) => response,
            Err(error) => return lost(&error),
        };
        let (status, retry_after) = (response.status().as_u16(), retry_after(&response));
        // An answer that breaks off is one that can't be read: the status alone is judged.
        let body = read(response).await.ok();
        judge(Answer { status, retry_after, body: body.as_ref(), first: text.attempt <= 1 })
    }

    fn form<'a>(
        &'a self,
        text: Text<'a>,
        body: &'a str,
        left: Duration,
    ) -> Vec<(&'static str, Cow<'a, str>)> {
        let validity = left.as_secs().clamp(1, LONGEST_VALIDITY);
        let mut form: Vec<(&'static str, Cow<'a, str>)> =
            vec![("To", text.to.as_str().into()), ("Body", body.into())];
        form.push(match self.from(text.to.as_str()) {
            TwilioFrom::From(number) => ("From", number.into()),
            TwilioFrom::MessagingService(sid) => ("MessagingServiceSid", sid.into()),
        });
        form.push(("ValidityPeriod", validity.to_string().into()));
        if let Some(public_url) = &self.config.public_url {
            let url = format!("{public_url}{CALLBACK}?id={}&attempt={}", text.id, text.attempt);
            form.push(("StatusCallback", url.into()));
        }
        if let Some(check) = self.config.risk_check {
            form.push(("RiskCheck", if check { "enable" } else { "disable" }.into()));
        }
        for (wanted, field, value) in [
            (self.config.discard_content, "ContentRetention", "discard"),
            (self.config.obfuscate_address, "AddressRetention", "obfuscate"),
            (self.config.feedback, "ProvideFeedback", "true"),
        ] {
            if wanted {
                form.push((field, value.into()));
            }
        }
        form
    }

    /// Who a text to this number is from: the longest prefix that fits decides.
    fn from(&self, to: &str) -> &TwilioFrom {
        let fitting = self.config.from_by_prefix.iter().filter(|(prefix, _)| to.starts_with(prefix.as_str()));
        fitting.max_by_key(|(prefix, _)| prefix.len()).map_or(&self.config.from, |(_, from)| from)
    }

    /// What became of the text that Twilio knows as `reference`. `None` where it does not know it.
    pub(super) async fn fetch(&self, reference: &str) -> Result<Option<Found>, AskError> {
        match self.ask(&format!("Messages/{}.json", segment(reference)), &[]).await {
            Ok(body) => Ok(found(&body)),
            Err(AskError::Status(404)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Looks for a text whose answer was lost among those that Twilio sent to the number. `known` are its ids of others.
    pub(super) async fn look_for(
        &self,
        text: Text<'_>,
        body: &str,
        accepted: Timestamp,
        known: &[String],
    ) -> Result<Option<Found>, AskError> {
        let sought = Sought {
            to: text.to.as_str(),
            body,
            from: accepted,
            until: text.expires,
            known,
            content_is_discarded: self.config.discard_content,
            address_is_obfuscated: self.config.obfuscate_address,
        };
        // Not by date: one that waits over there has none yet. The newest come first.
        let query = [("To", sought.to), ("PageSize", "50")];
        let list = self.ask("Messages.json", &query).await?;
        let messages = list.get("messages").and_then(Value::as_array).ok_or(AskError::Unreadable)?;
        Ok(find(messages, &sought).and_then(found))
    }

    /// Tells whether the code of a text was used.
    pub(super) async fn feedback(&self, reference: &str, used: bool) -> Result<(), AskError> {
        let path = format!("Messages/{}/Feedback.json", segment(reference));
        let request = self.request(Method::POST, &path, &[]).ok_or(AskError::NoClient)?;
        let outcome = if used { "confirmed" } else { "unconfirmed" };
        answered(request.form(&[("Outcome", outcome)])).await.map(drop)
    }

    async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, AskError> {
        let request = self.request(Method::GET, path, query).ok_or(AskError::NoClient)?;
        read(answered(request).await?).await
    }

    /// A request to the account's `path`, with its login.
    fn request(&self, method: Method, path: &str, query: &[(&str, &str)]) -> Option<RequestBuilder> {
        let base = &self.config.base_url;
        let address = format!("{base}/2010-04-01/Accounts/{}/{path}", self.config.account_sid);
        let mut url = Url::parse(&address).ok()?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.logged_in(method, url)
    }

    /// A request with the account's login.
    fn logged_in(&self, method: Method, url: Url) -> Option<RequestBuilder> {
        let request = self.client.as_ref()?.request(method, url);
        Some(match &self.config.login {
            TwilioLogin::AuthToken(token) => {
                request.basic_auth(&self.config.account_sid, Some(token.reveal()))
            }
            TwilioLogin::ApiKey(sid, secret) => request.basic_auth(sid, Some(secret.reveal())),
        })
    }
}

/// The text as it is sent. Overwritten when it goes.
pub(super) fn write(text: Text<'_>) -> Result<Zeroizing<String>, HandOver> {
    crate::sms::text(text.code, text.host, text.origin_bound)
        .map_err(|error| HandOver::Deferred(Reason::new(ReasonClass::Local, error.to_string())))
}

/// A reference as a part of a path, whatever is in it.
fn segment(reference: &str) -> String {
    form_urlencoded::byte_serialize(reference.as_bytes()).collect()
}

fn found(message: &Value) -> Option<Found> {
    let reference = text_of(message, "sid").filter(|sid| is_reference(sid))?;
    let news = news(text_of(message, "status")?, code_of(message, "error_code"))?;
    Some(Found { reference: reference.to_owned(), news })
}

/// A positive answer to a request whose repetition does no harm.
async fn answered(request: RequestBuilder) -> Result<Response, AskError> {
    let response =
        request.timeout(ASKING).send().await.map_err(|error| AskError::Lost(what_went_wrong(&error)))?;
    let status = response.status();
    if status.is_success() { Ok(response) } else { Err(AskError::Status(status.as_u16())) }
}

/// The body, up to its bound.
async fn read(mut response: Response) -> Result<Value, AskError> {
    // Twilio repeats what it was sent, the code included.
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(|error| AskError::Lost(what_went_wrong(&error)))? {
        if body.len() + chunk.len() > ANSWER_MAX {
            return Err(AskError::Unreadable);
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).map_err(|_| AskError::Unreadable)
}

fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(reqwest::header::RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

fn no_client() -> HandOver {
    HandOver::Unavailable(Reason::new(ReasonClass::Local, AskError::NoClient.to_string()), Trip::AtOnce)
}

/// What it means that no answer came. Only a connection that never stood is certain not to have carried anything.
fn lost(error: &reqwest::Error) -> HandOver {
    let class = match tls_error(error) {
        Some(_) => ReasonClass::Tls,
        None if error.is_timeout() => ReasonClass::Timeout,
        None => ReasonClass::Connect,
    };
    if error.is_builder() {
        return no_client();
    }
    if error.is_connect() {
        let what = tls_error(error).map_or_else(|| what_went_wrong(error).to_owned(), ToString::to_string);
        return HandOver::Unavailable(Reason::new(class, format!("{what} (at connecting)")), Trip::AtOnce);
    }
    HandOver::InDoubt(Reason::new(class, format!("{} (after it was posted)", what_went_wrong(error))))
}

fn what_went_wrong(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection ended"
    }
}

/// The TLS error at the bottom of one of connecting. An I/O error stands for what it holds: its source is that one's.
fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if let Some(tls) = cause.downcast_ref() {
            return Some(tls);
        }
        let held = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match held {
            Some(held) => Some(held),
            None => cause.source(),
        };
    }
    None
}
