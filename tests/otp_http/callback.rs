//! Status reports of the provider, and calls by others.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use authrelay::callback::{self, Caller, Handler, PATH, Report, Verdict};
use authrelay::http::Limits;
use authrelay::ident::{MessageId, UpstreamName};
use authrelay::secret::Secret;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::{Ask, Desk, Response, Server};

const URL: &str = "https://relay.example";
const ID: &str = "019a8f3c-5b7e-7d10-9c41-2f6f0a9b1c3d";
const FIELDS: &str = "SmsSid=SM11&SmsStatus=delivered&MessageStatus=delivered&To=%2B12025550100&MessageSid=SM11&\
                      AccountSid=AC1&From=%2B12025550199&ApiVersion=2010-04-01&New+Field=a+%26+b&Empty=";

#[derive(Default)]
struct Told {
    reports: Mutex<Vec<Report>>,
    forged: Mutex<usize>,
    verdict: Mutex<Option<Verdict>>,
}

#[async_trait]
impl Handler for Told {
    fn callers(&self) -> Vec<Caller> {
        let caller = |name: &str, url: &str, token: &str| Caller {
            upstream: UpstreamName::new(name),
            public_url: url.to_owned(),
            auth_token: Secret::new(token),
        };
        let behind = "https://other.example:8443/behind";
        vec![
            caller("one", URL, "token-1"),
            caller("two", behind, "token-2"),
            caller("three", "https://shared.example", "token-3"),
            caller("four", "https://shared.example", "token-3"),
        ]
    }

    async fn report(&self, report: Report) -> Verdict {
        self.reports.lock().unwrap().push(report);
        self.verdict.lock().unwrap().unwrap_or(Verdict::Applied)
    }

    fn forged(&self) {
        *self.forged.lock().unwrap() += 1;
    }
}

async fn start() -> (Server, Arc<Told>) {
    let told = Arc::new(Told::default());
    let router = callback::router(Arc::clone(&told) as Arc<dyn Handler>);
    (Server::of(router, Arc::new(Desk::default()), Limits::default(), None).await, told)
}

/// The provider's signature, computed on its own.
fn sign(token: &str, url: &str, body: &str) -> String {
    let mut fields: Vec<(String, String)> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    fields.sort();
    fields.dedup();
    let data = fields.iter().fold(url.to_owned(), |data, (name, value)| data + name + value);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
    STANDARD.encode(hmac::sign(&key, data.as_bytes()))
}

fn target() -> String {
    format!("{PATH}?id={ID}&attempt=3")
}

fn call(target: &str, body: &str) -> Ask {
    Ask::new("POST", target)
        .with("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8")
        .body(body)
}

async fn signed(server: &Server, target: &str, body: &str) -> Response {
    let signature = sign("token-1", &format!("{URL}{target}"), body);
    server.ask(&call(target, body).with("X-Twilio-Signature", &signature)).await
}

#[tokio::test]
async fn a_signed_report_is_passed_on() {
    let (server, told) = start().await;
    let response = signed(&server, &target(), FIELDS).await;
    assert_eq!((response.status, response.body.len()), (204, 0));
    let id: MessageId = ID.parse().unwrap();
    let expected = Report {
        upstreams: vec!["one".into()],
        id,
        attempt: 3,
        sid: "SM11".to_owned(),
        status: "delivered".to_owned(),
        error_code: None,
    };
    assert_eq!(told.reports.lock().unwrap().pop(), Some(expected.clone()));
    // The old names, an error, and fields in another order: the query is not put into order.
    let target = format!("{PATH}?attempt=3&x=1&id={ID}");
    let response = signed(&server, &target, "SmsStatus=undelivered&ErrorCode=30005&SmsSid=SM12").await;
    assert_eq!(response.status, 204);
    let expected = Report {
        sid: "SM12".to_owned(),
        status: "undelivered".to_owned(),
        error_code: Some(30005),
        ..expected
    };
    assert_eq!(told.reports.lock().unwrap().pop(), Some(expected));
    assert_eq!(*told.forged.lock().unwrap(), 0);
}

#[tokio::test]
async fn each_upstream_calls_under_its_own_address() {
    let (server, told) = start().await;
    let target = target();
    for url in ["https://other.example:8443/behind", "https://other.example/behind"] {
        let signature = sign("token-2", &format!("{url}{target}"), FIELDS);
        let response = server.ask(&call(&target, FIELDS).with("X-Twilio-Signature", &signature)).await;
        assert_eq!(response.status, 204, "{url}");
        assert_eq!(told.reports.lock().unwrap().pop().unwrap().upstreams, ["two".into()]);
    }
    let signature = sign("token-1", &format!("https://relay.example:443{target}"), FIELDS);
    let response = server.ask(&call(&target, FIELDS).with("X-Twilio-Signature", &signature)).await;
    assert_eq!(response.status, 204);
    assert_eq!(told.reports.lock().unwrap().pop().unwrap().upstreams, ["one".into()]);
}

/// The reports of the second upstream of an account were once taken for those of the first, and lost.
#[tokio::test]
async fn a_call_may_be_of_each_upstream_that_shares_its_key() {
    let (server, told) = start().await;
    let target = target();
    let signature = sign("token-3", &format!("https://shared.example{target}"), FIELDS);
    let response = server.ask(&call(&target, FIELDS).with("X-Twilio-Signature", &signature)).await;
    assert_eq!(response.status, 204);
    let told = told.reports.lock().unwrap().pop().unwrap();
    assert_eq!(told.upstreams, ["three".into(), "four".into()]);
}

#[tokio::test]
async fn what_is_not_signed_is_not_believed() {
    let (server, told) = start().await;
    let target = target();
    let right = sign("token-1", &format!("{URL}{target}"), FIELDS);
    let crossed = sign("token-2", &format!("{URL}{target}"), FIELDS);
    let elsewhere = sign("token-1", &format!("http://localhost{target}"), FIELDS);
    let later = format!("{PATH}?id={ID}&attempt=4");
    let twice = call(&target, FIELDS).with("X-Twilio-Signature", &right).with("X-Twilio-Signature", &right);
    let calls = [
        call(&target, FIELDS),
        call(&target, FIELDS).with("X-Twilio-Signature", ""),
        call(&target, FIELDS).with("X-Twilio-Signature", "not base64"),
        call(&target, FIELDS).with("X-Twilio-Signature", &crossed),
        call(&target, FIELDS).with("X-Twilio-Signature", &elsewhere),
        call(&target, &FIELDS.replace("delivered", "failed")).with("X-Twilio-Signature", &right),
        call(&later, FIELDS).with("X-Twilio-Signature", &right),
        call(&format!("{target}&"), FIELDS).with("X-Twilio-Signature", &right),
        twice,
    ];
    let count = calls.len();
    for forged in calls {
        server.ask(&forged).await.is_problem(403, "invalid-signature");
    }
    assert_eq!(*told.forged.lock().unwrap(), count);
    assert!(told.reports.lock().unwrap().is_empty());
    assert_eq!(server.ask(&call(&target, FIELDS).with("X-Twilio-Signature", &right)).await.status, 204);
}

#[tokio::test]
async fn the_provider_is_asked_to_call_again_only_where_that_helps() {
    let (server, told) = start().await;
    for (verdict, status) in
        [(Verdict::Applied, 204), (Verdict::Stale, 204), (Verdict::Unknown, 204), (Verdict::Unavailable, 503)]
    {
        *told.verdict.lock().unwrap() = Some(verdict);
        let response = signed(&server, &target(), FIELDS).await;
        assert_eq!(response.status, status);
        if status == 503 {
            response.is_problem(503, "store-unavailable");
            assert_eq!(response.field("retry-after"), Some("1"));
        }
    }
}

#[tokio::test]
async fn a_signed_call_that_says_nothing_is_refused() {
    let (server, told) = start().await;
    for (target, body) in [
        (PATH.to_owned(), FIELDS),
        (format!("{PATH}?id={ID}"), FIELDS),
        (format!("{PATH}?id={ID}&id={ID}&attempt=3"), FIELDS),
        (format!("{PATH}?id=x&attempt=3"), FIELDS),
        (format!("{PATH}?id={ID}&attempt=-3"), FIELDS),
        (target(), "MessageSid=SM1"),
        (target(), "MessageStatus=sent"),
        (target(), "MessageSid=SM1%0a&MessageStatus=sent"),
        (target(), "MessageSid=SM1&MessageStatus="),
    ] {
        signed(&server, &target, body).await.is_problem(400, "invalid-request");
    }
    let response = signed(&server, &target(), "MessageSid=SM1&MessageStatus=sent&ErrorCode=").await;
    assert_eq!(response.status, 204);
    assert_eq!(told.reports.lock().unwrap().len(), 1);
    assert_eq!(*told.forged.lock().unwrap(), 0);
}

#[tokio::test]
async fn other_bodies_and_methods_are_refused() {
    let (server, told) = start().await;
    let json = call(&target(), "{}").instead("Content-Type", "application/json");
    server.ask(&json).await.is_problem(415, "unsupported-media-type");
    let large = "a=".to_owned() + &"b".repeat(16 * 1024);
    signed(&server, &target(), &large).await.is_problem(413, "content-too-large");
    let response = server.ask(&Ask::new("GET", &target())).await;
    response.is_problem(405, "method-not-allowed");
    assert_eq!(response.field("allow"), Some("POST"));
    server.ask(&Ask::code()).await.is_problem(404, "not-found");
    assert!(told.reports.lock().unwrap().is_empty());
}

/// The callback is the only part that ever needs to be public; on one listener with the rest it works too.
#[tokio::test]
async fn interfaces_can_share_a_listener() {
    let (told, desk) = (Arc::new(Told::default()), Arc::new(Desk::default()));
    let router = callback::router(Arc::clone(&told) as Arc<dyn Handler>)
        .merge(authrelay::otp::router(Arc::clone(&desk) as Arc<dyn authrelay::otp::Handler>));
    let server = Server::of(router, desk, Limits::default(), None).await;
    assert_eq!(signed(&server, &target(), FIELDS).await.status, 204);
    assert_eq!(server.ask(&Ask::code()).await.status, 202);
    server.ask(&Ask::new("GET", "/")).await.is_problem(404, "not-found");
    server.ask(&Ask::new("PUT", PATH)).await.is_problem(405, "method-not-allowed");
}
