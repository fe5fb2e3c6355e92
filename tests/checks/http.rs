//! The HTTP endpoints, each asked through its router.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use authrelay::callback::{self, Caller, Report, Verdict};
use authrelay::clock::Timestamp;
use authrelay::ident::{ClientName, MessageId};
use authrelay::otp::{self, Accepted, Refusal, RefusalKind, Request, Status, View};
use authrelay::secret::Secret;
use authrelay::sms::Factor;
use aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;

use super::webhook::slow_hmac;

const URL: &str = "https://relay.example";
const TOKEN: &str = "12345";
const ID: &str = "01931c6e-0000-7000-8000-000000000001";

/// A body is taken exactly where a plain reading of it finds all that is asked for and nothing else; what is refused is
/// refused as the client's fault, as a problem that repeats nothing.
pub fn otp_json(octets: &[u8]) {
    let desk = Arc::new(Desk::default());
    let request = http::Request::post("/v1/otp")
        .header("Authorization", "Bearer token")
        .header("Content-Type", "application/json")
        .body(Body::from(octets.to_vec()))
        .unwrap();
    let (status, answer) = ask(otp::router(Arc::clone(&desk) as Arc<dyn otp::Handler>), request);
    let taken = desk.codes.lock().unwrap().pop();
    let plain = plain_reading(octets);
    assert_eq!(taken.is_some(), status == 202, "{status}");
    match (taken, plain) {
        (Some(taken), Some(plain)) => assert_eq!(taken, plain),
        (Some(_), None) => panic!("taken, and it should not have been"),
        (None, Some(_)) => panic!("{status}: refused, and it should not have been"),
        (None, None) => {
            assert!([400, 413, 422].contains(&status), "{status}");
            let problem: Value = serde_json::from_slice(&answer).unwrap();
            assert_eq!(problem["status"], status);
        }
    }
}

/// Number and code, where the body has what it must have. Duplicates are told by writing the value out again.
fn plain_reading(octets: &[u8]) -> Option<(String, String)> {
    let Value::Object(members) = serde_json::from_slice(octets).ok()? else { return None };
    let known = ["to", "code", "business", "factor", "expires_in", "reference"];
    if octets.len() > 4096 || members.keys().any(|name| !known.contains(&name.as_str())) || repeats(octets) {
        return None;
    }
    let text = |name: &str, most: usize| {
        let text = members.get(name)?.as_str()?;
        (1..=most).contains(&text.chars().count()).then(|| text.to_owned())
    };
    let fine = |name: &str, most: usize| !members.contains_key(name) || text(name, most).is_some();
    let life = members.get("expires_in").is_none_or(|life| {
        life.as_f64().is_some_and(|life| (30.0..=86_400.0).contains(&life) && life.fract() == 0.0)
    });
    let reference = text("reference", 128).is_none_or(|text| !text.chars().any(char::is_control));
    let factor = ["primary", "secondary"].contains(&members.get("factor")?.as_str()?);
    let whole = factor && life && reference && fine("reference", 128) && fine("business", 64);
    text("to", 64).zip(text("code", 64)).filter(|_| whole)
}

/// Whether the object has one name twice: as many names as a reader that keeps all of them finds.
fn repeats(octets: &[u8]) -> bool {
    struct Names(usize);
    impl<'de> serde::Deserialize<'de> for Names {
        fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
            struct Counting;
            impl<'de> serde::de::Visitor<'de> for Counting {
                type Value = Names;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                    let mut count = 0;
                    while map.next_entry::<String, serde::de::IgnoredAny>()?.is_some() {
                        count += 1;
                    }
                    Ok(Names(count))
                }
            }
            reader.deserialize_map(Counting)
        }
    }
    let all = serde_json::from_slice::<Names>(octets).map_or(0, |names| names.0);
    let different = serde_json::from_slice::<Value>(octets).ok();
    different.and_then(|value| value.as_object().map(serde_json::Map::len)) != Some(all)
}

/// Only a call that is signed as the provider signs is believed, whatever it says; the same call with one octet of
/// its signature changed is not.
pub fn twilio_callback(octets: &[u8]) {
    let (query, form) =
        octets.split_at(octets.iter().position(|byte| *byte == b'\n').unwrap_or(octets.len()));
    let form = form.get(1..).unwrap_or_default();
    let target = format!("{}?{}", callback::PATH, String::from_utf8_lossy(query));
    let Ok(uri) = target.parse::<http::Uri>() else { return };
    let mut fields: Vec<(String, String)> = form_urlencoded::parse(form).into_owned().collect();
    fields.sort();
    fields.dedup();
    let fields: String = fields.into_iter().flat_map(|(name, value)| [name, value]).collect();
    let signed = format!("{URL}{uri}{fields}");
    let mut signature = slow_hmac(&SHA1_FOR_LEGACY_USE_ONLY, TOKEN.as_bytes(), signed.as_bytes());
    let (status, forged, reports) = call(&uri, form, Some(&signature));
    assert_eq!(forged, 0, "{status}: a good signature was not believed");
    assert!([204, 400, 422].contains(&status), "{status}");
    assert_eq!(reports.len(), usize::from(status == 204));
    for report in reports {
        assert_eq!(report.upstreams, ["sms".into()]);
        for word in [&report.sid, &report.status] {
            assert!((1..=64).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
    let at = octets.len() % signature.len();
    signature[at] ^= 1 << (octets.len() % 8);
    for signature in [Some(&signature[..]), None] {
        let (status, forged, reports) = call(&uri, form, signature);
        assert_eq!((status, forged, reports.len()), (403, 1, 0));
    }
}

fn call(uri: &http::Uri, form: &[u8], signature: Option<&[u8]>) -> (u16, usize, Vec<Report>) {
    let desk = Arc::new(Desk::default());
    let mut request =
        http::Request::post(uri.clone()).header("Content-Type", "application/x-www-form-urlencoded");
    if let Some(signature) = signature {
        request = request.header("X-Twilio-Signature", STANDARD.encode(signature));
    }
    let router = callback::router(Arc::clone(&desk) as Arc<dyn callback::Handler>);
    let (status, _) = ask(router, request.body(Body::from(form.to_vec())).unwrap());
    (status, *desk.forged.lock().unwrap(), std::mem::take(&mut *desk.reports.lock().unwrap()))
}

fn ask(router: Router, request: http::Request<Body>) -> (u16, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let answer = TowerToHyperService::new(router).call(request).await.unwrap();
        let status = answer.status().as_u16();
        (status, to_bytes(answer.into_body(), 1 << 20).await.unwrap().to_vec())
    })
}

/// Takes everything and remembers it.
#[derive(Default)]
struct Desk {
    codes: Mutex<Vec<(String, String)>>,
    reports: Mutex<Vec<Report>>,
    forged: Mutex<usize>,
}

#[async_trait]
impl otp::Handler for Desk {
    fn client_of(&self, _token: &Secret) -> Option<ClientName> {
        Some("app".into())
    }

    async fn submit(&self, _client: &ClientName, request: Request) -> Result<Accepted, Refusal> {
        assert!(matches!(request.factor, Factor::Primary | Factor::Secondary));
        let code = (request.to.reveal().to_owned(), request.code.reveal().to_owned());
        self.codes.lock().unwrap().push(code);
        let expires = Timestamp::from_millis(1_795_440_360_000).plus(Duration::from_mins(10));
        Ok(Accepted { id: ID.parse().unwrap(), status: Status::Queued, expires })
    }

    async fn status(&self, _client: &ClientName, _id: MessageId) -> Result<View, Refusal> {
        let (kind, detail) = (RefusalKind::NotFound, "there is no such code".to_owned());
        Err(Refusal { kind, pointer: None, detail, limit: None, id: None })
    }

    async fn feedback(&self, client: &ClientName, id: MessageId, _used: bool) -> Result<(), Refusal> {
        otp::Handler::status(self, client, id).await.map(|_| ())
    }
}

#[async_trait]
impl callback::Handler for Desk {
    fn callers(&self) -> Vec<Caller> {
        vec![Caller { upstream: "sms".into(), public_url: URL.to_owned(), auth_token: Secret::new(TOKEN) }]
    }

    async fn report(&self, report: Report) -> Verdict {
        self.reports.lock().unwrap().push(report);
        Verdict::Applied
    }

    fn forged(&self) {
        *self.forged.lock().unwrap() += 1;
    }
}
