//! Upstreams of kind "twilio". What holds of every one that comes out: requests go over TLS, or to this machine; there
//! is one login and one sender; and where Twilio calls back, there is the key that its calls are signed with.

use std::collections::HashSet;
use std::time::Duration;

use super::roots::{self, Roots};
use super::{Context, or, secret};
use crate::config::problem::Span;
use crate::config::raw::{API_KEY_SECRET, AUTH_TOKEN, RawTwilio, RawUpstream};
use crate::config::reader::At;
use crate::config::value::web::BaseUrl;
use crate::config::words::quote;
use crate::deliver::{TwilioConfig, TwilioFrom, TwilioLogin};
use crate::mail::PhoneNumber;
use crate::outbound::TlsClient;
use crate::secret::Secret;

const API: &str = "https://api.twilio.com";

/// Shorter than a code's shortest life: there must be time for another attempt.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(15);

/// Twilio's regions, each with the edge location that belongs to it.
const EDGE_OF: [(&str, &str); 9] = [
    ("us1", "ashburn"),
    ("us2", "umatilla"),
    ("ie1", "dublin"),
    ("de1", "frankfurt"),
    ("au1", "sydney"),
    ("br1", "sao-paulo"),
    ("jp1", "tokyo"),
    ("jp2", "osaka"),
    ("sg1", "singapore"),
];

/// How to talk to Twilio; nothing is ever sent to the numbers in `never`.
pub(super) fn resolve(
    cx: &Context<'_>,
    upstream: &RawUpstream,
    roots: &Roots,
    never: HashSet<PhoneNumber>,
) -> Option<TwilioConfig> {
    let raw = &upstream.twilio;
    let (login, auth_token) = login(cx, raw);
    let from = from(cx, raw);
    let base_url = base_url(cx, raw);
    let tls = tls(cx, upstream, roots);
    if let Some(public) = &raw.public_url {
        check_public_url(cx, public);
    }
    Some(TwilioConfig {
        account_sid: raw.account_sid.as_ref()?.value.clone(),
        login: login?,
        auth_token,
        from: from?,
        from_by_prefix: raw.from_by_prefix.clone(),
        base_url,
        public_url: raw.public_url.as_ref().map(|at| at.value.text.clone()),
        risk_check: raw.risk_check.as_ref().map(|at| at.value),
        discard_content: or(raw.discard_content.as_ref(), false),
        obfuscate_address: or(raw.obfuscate_address.as_ref(), false),
        feedback: or(raw.feedback.as_ref(), false),
        never,
        tls: tls?,
        connect: or(upstream.timeouts.connect.as_ref(), CONNECT),
        answer: or(upstream.timeouts.answer.as_ref(), ANSWER),
    })
}

/// What is presented with requests, and what callbacks are signed with. That there is one at all was checked before.
fn login(cx: &Context<'_>, raw: &RawTwilio) -> (Option<TwilioLogin>, Option<Secret>) {
    let token_place = secret::place(cx, &raw.auth_token, &AUTH_TOKEN);
    let secret_place = secret::place(cx, &raw.api_key_secret, &API_KEY_SECRET);
    let token = token_place.is_ok().then(|| secret::read(cx, &raw.auth_token, &AUTH_TOKEN)).flatten();
    let key_secret =
        secret_place.is_ok().then(|| secret::read(cx, &raw.api_key_secret, &API_KEY_SECRET)).flatten();
    let key_is_meant = raw.has_api_key || secret_place != Ok(None);
    match (&raw.api_key_sid, secret_place) {
        (Some(sid), Ok(None)) => cx
            .report
            .error(&sid.span, "an API key without its secret")
            .help("set api_key_secret_file, api_key_secret_env or api_key_secret_credential"),
        (None, Ok(Some(span))) if !raw.has_api_key => cx
            .report
            .error(span, "the secret of an API key without its SID")
            .help("set api_key_sid = \"SK...\""),
        (_, _) => {}
    }
    if let Some(public) = raw.public_url.as_ref().filter(|_| key_is_meant && token_place == Ok(None)) {
        cx.report
            .error(&public.span, "Twilio signs its calls with the account's auth token, and there is none here")
            .help("set auth_token_file, auth_token_env or auth_token_credential too: an API key can't verify them");
    }
    let by_key = raw.api_key_sid.as_ref().zip(key_secret);
    let by_key = by_key.map(|(sid, secret)| TwilioLogin::ApiKey(sid.value.clone(), secret));
    let login = if key_is_meant { by_key } else { token.clone().map(TwilioLogin::AuthToken) };
    (login, token)
}

fn from(cx: &Context<'_>, raw: &RawTwilio) -> Option<TwilioFrom> {
    let service = raw.messaging_service_sid.as_ref();
    if let (Some(_), Some(service)) = (&raw.from, service) {
        cx.report
            .error(&service.span, "`from` and `messaging_service_sid` exclude each other")
            .help("keep one of them; `from_by_prefix` may name others for single countries");
    }
    let service = service.map(|at| TwilioFrom::MessagingService(at.value.clone()));
    raw.from.as_ref().map(|at| at.value.clone()).or(service)
}

/// Where the API is. The form with a region and no edge location is one that Twilio has switched off.
fn base_url(cx: &Context<'_>, raw: &RawTwilio) -> String {
    let place = raw.region.as_ref().or(raw.edge.as_ref());
    if let Some(base) = &raw.base_url {
        if let Some(place) = place {
            cx.report
                .error(&place.span, "`base_url` says where the API is, so `region` and `edge` have no effect")
                .help("keep one of the two");
        }
        check_encrypted(cx, base, "codes and the login");
        return base.value.text.clone();
    }
    match (&raw.region, &raw.edge) {
        (None, None) => API.to_owned(),
        (region, Some(edge)) => {
            // As Twilio's own libraries do.
            let region = region.as_ref().map_or("us1", |at| at.value.as_str());
            format!("https://api.{}.{region}.twilio.com", edge.value)
        }
        (Some(region), None) => {
            let edge = EDGE_OF.iter().find(|(known, _)| *known == region.value).map(|(_, edge)| *edge);
            cx.report
                .error(&region.span, "a region without an edge location: Twilio has no such address")
                .help(format!("write edge = \"{}\" too", edge.unwrap_or("dublin")));
            API.to_owned()
        }
    }
}

fn check_public_url(cx: &Context<'_>, public: &At<BaseUrl>) {
    check_encrypted(cx, public, "what became of codes");
    if public.value.host.contains('_') {
        let message = format!("Twilio calls no host with an underscore: {}", quote(&public.value.host));
        cx.report.error(&public.span, message).help("give the relay another name in the DNS");
    }
}

fn check_encrypted(cx: &Context<'_>, at: &At<BaseUrl>, what: &str) {
    if !at.value.encrypted && !at.value.is_loopback() {
        let host = quote(&at.value.host);
        cx.report
            .error(&at.span, format!("{what} would cross the network to {host} in plain text"))
            .help("write https://; http:// is for this machine itself");
    }
}

fn tls(cx: &Context<'_>, upstream: &RawUpstream, roots: &Roots) -> Option<TlsClient> {
    let plain = upstream.twilio.base_url.as_ref().filter(|at| !at.value.encrypted);
    let client = if let Some(base) = plain {
        if let Some(ca_file) = &upstream.ca_file {
            cx.report
                .error(&ca_file.span, "`ca_file` has no effect without TLS")
                .help("remove it, or write https:// in base_url");
        }
        roots::none(cx, &base.span)
    } else {
        let span: &Span = &upstream.span;
        roots.client(cx, upstream.ca_file.as_ref(), span)
    };
    client.map(TlsClient)
}
