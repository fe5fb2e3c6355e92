//! Asks Twilio whether the account is in order and may send from the configured senders. Everything here is a GET: nothing
//! is sent, and no text or number of anybody is read.

use reqwest::{Method, Url};
use serde_json::Value;

use super::answer::text_of;
use super::{ASKING, AskError, Twilio, read, tls_error, what_went_wrong};
use crate::clock::Timestamp;
use crate::deliver::{TwilioConfig, TwilioFrom, TwilioLogin};

/// What Twilio said.
#[derive(Debug)]
pub struct TwilioProbe {
    /// The account; `Ok(None)`: the login is good, but an API key that may not read the account.
    pub account: Result<Option<TwilioAccount>, TwilioTrouble>,
    /// Each sender that is configured, and whether it can send. Empty where the login failed.
    pub senders: Vec<(TwilioFrom, Result<(), TwilioTrouble>)>,
    /// What Twilio's clock said, with what it is compared to: for telling whether ours is right.
    pub date: Option<Timestamp>,
}

/// The account, in Twilio's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TwilioAccount {
    /// `active`, `suspended` or `closed`.
    pub status: String,
    /// `Full` or `Trial`.
    pub kind: String,
}

/// What is in the way. Names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TwilioTrouble {
    /// Nothing answered.
    #[error("no answer: {0}")]
    Lost(String),
    /// The certificate or the handshake.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The login was not accepted.
    #[error("the login was not accepted (HTTP {0})")]
    Login(u16),
    /// Another answer.
    #[error("answered with HTTP {0}")]
    Status(u16),
    /// An answer of another kind than Twilio's.
    #[error("the answer is not Twilio's")]
    Unreadable,
    /// The account has no such sender.
    #[error("the account has no such sender")]
    NoSuchSender,
    /// It is there, and can't send texts.
    #[error("this number can't send texts")]
    NoSms,
    /// Twilio has no list of these to look in.
    #[error("a name instead of a number: that it may be used can't be asked")]
    NotListed,
}

/// Asks about the account, then about each sender. Nothing is sent.
pub async fn probe(config: &TwilioConfig) -> TwilioProbe {
    let twilio = Twilio::new(config.clone());
    let mut date = None;
    let account = twilio.account(&mut date).await;
    let mut senders: Vec<(TwilioFrom, Result<(), TwilioTrouble>)> = Vec::new();
    if account.is_ok() {
        let all = std::iter::once(&config.from).chain(config.from_by_prefix.iter().map(|(_, from)| from));
        for from in all {
            if senders.iter().all(|(known, _)| known != from) {
                let found = twilio.sender(from, &mut date).await;
                senders.push((from.clone(), found));
            }
        }
    }
    TwilioProbe { account, senders, date }
}

impl Twilio {
    async fn account(&self, date: &mut Option<Timestamp>) -> Result<Option<TwilioAccount>, TwilioTrouble> {
        let path = format!("/2010-04-01/Accounts/{}.json", self.config.account_sid);
        match self.look(&self.config.base_url, &path, &[], date).await {
            Ok(body) => {
                let said = |name| text_of(&body, name).unwrap_or_default().to_owned();
                let account = TwilioAccount { status: said("status"), kind: said("type") };
                if account.status.is_empty() { Err(TwilioTrouble::Unreadable) } else { Ok(Some(account)) }
            }
            // A standard key may send, and not look at the account: what it may look at tells whether it is good.
            Err(TwilioTrouble::Login(_)) if matches!(self.config.login, TwilioLogin::ApiKey(..)) => {
                self.numbers("IncomingPhoneNumbers.json", &[("PageSize", "1")], date).await.map(|_| None)
            }
            Err(trouble) => Err(trouble),
        }
    }

    async fn sender(&self, from: &TwilioFrom, date: &mut Option<Timestamp>) -> Result<(), TwilioTrouble> {
        match from {
            TwilioFrom::MessagingService(sid) => {
                let base = messaging_base(&self.config.base_url);
                match self.look(&base, &format!("/v1/Services/{sid}"), &[], date).await {
                    Ok(_) => Ok(()),
                    Err(TwilioTrouble::Status(404)) => Err(TwilioTrouble::NoSuchSender),
                    Err(trouble) => Err(trouble),
                }
            }
            TwilioFrom::From(number) if number.starts_with('+') => {
                let query = [("PhoneNumber", number.as_str()), ("PageSize", "1")];
                let body = self.numbers("IncomingPhoneNumbers.json", &query, date).await?;
                let found = body.get("incoming_phone_numbers").and_then(Value::as_array);
                let found = found.ok_or(TwilioTrouble::Unreadable)?;
                let one = found.iter().find(|one| text_of(one, "phone_number") == Some(number));
                let can_send = one.ok_or(TwilioTrouble::NoSuchSender)?.pointer("/capabilities/sms");
                if can_send == Some(&Value::Bool(false)) { Err(TwilioTrouble::NoSms) } else { Ok(()) }
            }
            TwilioFrom::From(code) if code.bytes().all(|byte| byte.is_ascii_digit()) => {
                let query = [("ShortCode", code.as_str()), ("PageSize", "1")];
                let body = self.numbers("SMS/ShortCodes.json", &query, date).await?;
                let found = body.get("short_codes").and_then(Value::as_array);
                let found = found.ok_or(TwilioTrouble::Unreadable)?;
                if found.is_empty() { Err(TwilioTrouble::NoSuchSender) } else { Ok(()) }
            }
            TwilioFrom::From(_) => Err(TwilioTrouble::NotListed),
        }
    }

    async fn numbers(
        &self,
        list: &str,
        query: &[(&str, &str)],
        date: &mut Option<Timestamp>,
    ) -> Result<Value, TwilioTrouble> {
        let path = format!("/2010-04-01/Accounts/{}/{list}", self.config.account_sid);
        self.look(&self.config.base_url, &path, query, date).await
    }

    async fn look(
        &self,
        base: &str,
        path: &str,
        query: &[(&str, &str)],
        date: &mut Option<Timestamp>,
    ) -> Result<Value, TwilioTrouble> {
        let no_client = || TwilioTrouble::Lost(AskError::NoClient.to_string());
        let mut url = Url::parse(&format!("{base}{path}")).map_err(|_| no_client())?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.logged_in(Method::GET, url).ok_or_else(no_client)?;
        let response = request.timeout(ASKING).send().await.map_err(|error| match tls_error(&error) {
            Some(tls) => TwilioTrouble::Tls(tls.to_string()),
            None => TwilioTrouble::Lost(what_went_wrong(&error).to_owned()),
        })?;
        let said = response.headers().get(reqwest::header::DATE).and_then(|value| value.to_str().ok());
        *date = said.and_then(instant).or(*date);
        match response.status().as_u16() {
            200..=299 => read(response).await.map_err(|_| TwilioTrouble::Unreadable),
            status @ (401 | 403) => Err(TwilioTrouble::Login(status)),
            status => Err(TwilioTrouble::Status(status)),
        }
    }
}

/// Messaging Services have a host of their own beside `api`; a proxy or a test has one for all.
fn messaging_base(base_url: &str) -> String {
    match base_url.strip_prefix("https://api.") {
        Some(rest) if rest.ends_with("twilio.com") => format!("https://messaging.{rest}"),
        Some(_) | None => base_url.to_owned(),
    }
}

fn instant(date: &str) -> Option<Timestamp> {
    let parsed = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    Some(Timestamp::from_millis(parsed.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messaging_services_are_asked_for_at_their_own_host() {
        assert_eq!(messaging_base("https://api.twilio.com"), "https://messaging.twilio.com");
        let dublin = messaging_base("https://api.dublin.ie1.twilio.com");
        assert_eq!(dublin, "https://messaging.dublin.ie1.twilio.com");
        assert_eq!(messaging_base("http://127.0.0.1:8080"), "http://127.0.0.1:8080");
    }

    #[test]
    fn the_date_of_an_answer_is_read() {
        let read = instant("Mon, 23 Nov 2026 13:26:00 GMT").unwrap();
        assert_eq!(read.to_rfc3339(), "2026-11-23T13:26:00Z");
        assert_eq!(instant("today"), None);
    }
}
