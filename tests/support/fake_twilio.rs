//! A provider of texts that behaves like Twilio's Programmable Messaging, as strict as that one, on the loopback interface.
//! It needs nothing of the test's own: include it with `#[path]`.
//!
//! - `FakeTwilio::start().await` listens on a free port; `base_url()` is what `base_url` is configured as. It ends when
//!   it is dropped. Its account is [`ACCOUNT`] with [`AUTH_TOKEN`]; the API key [`API_KEY`] with [`API_SECRET`] logs in too.
//! - `next(Act)` says what is done with the next text that is posted, `always(Act)` with every one, `as_usual()` takes that
//!   back. Reading (fetch, list) and feedback follow `reading(Act)` in the same way. Without a word it answers as the real one.
//! - `posts()` are all requests that create a text, whatever was answered, in order; `texts()` those that exist over here;
//!   `requests()` are all. `until(|seen| ...)` waits for something.
//! - `set_status(sid, "delivered", None)` and `set_created(sid, date)` change what a fetch or a list says;
//!   `foreign_text(...)` is one of the same account that somebody else sent.
//! - `call_back(sid, "delivered", None, Call::Signed, relay)` calls the text's `StatusCallback`, with a right signature, a forged one or
//!   none, and returns the HTTP status of the answer. `relay` is where the relay listens: the address that is signed is the
//!   public one, which a test cannot reach. `repeat(relay)` sends the very bytes of the last call again.
//!
//! It refuses what the real one refuses: a wrong login (401, 20003), another account (404, 20404), a body that is no form, a
//! field that it does not know, a number that is not E.164 (21211), no sender or two, an empty body or more than 1600
//! characters, and values out of their ranges.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test uses a part of it, and may fail in it"
)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::hmac;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub const ACCOUNT: &str = "AC00000000000000000000000000000001";
pub const AUTH_TOKEN: &str = "an-auth-token-of-a-test";
pub const API_KEY: &str = "SK00000000000000000000000000000002";
/// The one number of the account, and its one messaging service.
pub const NUMBER: &str = "+15005550006";
pub const SERVICE: &str = "MG00000000000000000000000000000003";
pub const API_SECRET: &str = "an-api-secret-of-a-test";

/// What is done with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// It is answered as the real one would.
    Answer,
    /// An error of this HTTP status and code. Nothing is made of the text.
    Refuse(u16, u32),
    /// 429 with 20429 and, where given, `Retry-After`.
    TooMany(Option<&'static str>),
    /// Exactly this status and body. Nothing is made of the text.
    Say(u16, &'static str),
    /// The text is taken, and its status and code in the answer are these.
    TakenAs(&'static str, Option<u32>),
    /// The text is taken, and the answer is this body, which is no answer.
    TakenAndGarbled(&'static str),
    /// The text is taken, and the answer comes so many milliseconds later.
    TakenAndSlow(u64),
    /// The text is taken, and no answer comes.
    TakenAndHang,
    /// The text is taken, and the connection is closed without an answer.
    TakenAndClose,
    /// The connection is closed when the request was read, and nothing is made of the text.
    Close,
    /// The next new connection is closed before anything is read.
    CloseUnread,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// The path, without what stands behind `?`.
    pub path: String,
    /// What stands behind `?`, decoded.
    pub query: Vec<(String, String)>,
    /// The form, decoded.
    pub form: Vec<(String, String)>,
    pub user_agent: String,
    /// Who logged in.
    pub user: String,
}

impl Seen {
    /// A field of the form.
    pub fn field(&self, name: &str) -> Option<&str> {
        value_of(&self.form, name)
    }

    fn creates(&self) -> bool {
        self.method == "POST" && self.path.ends_with("/Messages.json")
    }
}

/// A text that exists over here.
#[derive(Clone, Debug)]
pub struct Text {
    pub sid: String,
    pub form: Vec<(String, String)>,
    pub status: String,
    pub error_code: Option<u32>,
    pub date_created: String,
    /// `Outcome` of its feedback.
    pub feedback: Vec<String>,
}

impl Text {
    pub fn field(&self, name: &str) -> Option<&str> {
        value_of(&self.form, name)
    }

    fn json(&self) -> Value {
        let discarded = self.field("ContentRetention") == Some("discard");
        json!({
            "account_sid": ACCOUNT,
            "api_version": "2010-04-01",
            "body": if discarded { "" } else { self.field("Body").unwrap_or_default() },
            "date_created": self.date_created,
            "date_sent": if self.status == "queued" { Value::Null } else { json!(self.date_created) },
            "date_updated": self.date_created,
            "direction": "outbound-api",
            "error_code": self.error_code,
            "error_message": Value::Null,
            "from": self.field("From"),
            "messaging_service_sid": self.field("MessagingServiceSid"),
            "num_media": "0",
            "num_segments": "1",
            "price": Value::Null,
            "price_unit": "USD",
            "sid": self.sid,
            "status": self.status,
            "subresource_uris": { "media": format!("/2010-04-01/Accounts/{ACCOUNT}/Messages/{}/Media.json", self.sid) },
            "to": self.field("To"),
            "uri": format!("/2010-04-01/Accounts/{ACCOUNT}/Messages/{}.json", self.sid),
        })
    }
}

/// How a callback is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// With the auth token.
    Signed,
    /// With another one.
    Forged,
    /// Not at all.
    Unsigned,
}

/// Everything that was seen.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub connections: usize,
    pub requests: Vec<Seen>,
    pub texts: Vec<Text>,
}

#[derive(Default)]
struct Script {
    next: VecDeque<Act>,
    always: Option<Act>,
    reading: Option<Act>,
    account: Option<&'static str>,
}

struct Shared {
    script: Mutex<Script>,
    state: watch::Sender<State>,
    last_call: Mutex<Vec<u8>>,
}

/// Counts what was posted, for as long as somebody looks.
#[derive(Clone)]
pub struct Counter(Arc<Shared>);

impl Counter {
    pub fn posted(&self) -> usize {
        self.0.state.borrow().requests.iter().filter(|seen| seen.creates()).count()
    }
}

/// A running provider; ends when dropped.
pub struct FakeTwilio {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for FakeTwilio {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeTwilio {
    pub async fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// The same at an address of the test's choice, where nobody listened before.
    pub async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Mutex::default(),
            state: watch::Sender::default(),
            last_call: Mutex::default(),
        });
        let task = tokio::spawn(listen(listener, Arc::clone(&shared)));
        Self { address, shared, task }
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn next(&self, act: Act) {
        self.shared.script.lock().unwrap().next.push_back(act);
    }

    pub fn always(&self, act: Act) {
        self.shared.script.lock().unwrap().always = Some(act);
    }

    /// Every fetch, list and feedback from now on; `None`: as usual.
    pub fn reading(&self, act: Option<Act>) {
        self.shared.script.lock().unwrap().reading = act;
    }

    /// What the account is from now on: `active`, `suspended` or `closed`.
    pub fn account_is(&self, status: &'static str) {
        self.shared.script.lock().unwrap().account = Some(status);
    }

    pub fn as_usual(&self) {
        *self.shared.script.lock().unwrap() = Script::default();
    }

    pub fn counter(&self) -> Counter {
        Counter(Arc::clone(&self.shared))
    }

    pub fn state(&self) -> State {
        self.shared.state.borrow().clone()
    }

    pub fn requests(&self) -> Vec<Seen> {
        self.state().requests
    }

    pub fn posts(&self) -> Vec<Seen> {
        self.requests().into_iter().filter(Seen::creates).collect()
    }

    pub fn texts(&self) -> Vec<Text> {
        self.state().texts
    }

    /// Waits, for half a minute at most, until what was seen is as asked.
    pub async fn until(&self, mut done: impl FnMut(&State) -> bool) -> State {
        let mut states = self.shared.state.subscribe();
        let waited =
            tokio::time::timeout(Duration::from_secs(30), states.wait_for(|state| done(state))).await;
        let Ok(state) = waited else { panic!("not in time: {:#?}", self.state()) };
        state.unwrap().clone()
    }

    pub fn set_status(&self, sid: &str, status: &str, error_code: Option<u32>) {
        self.shared.state.send_modify(|state| {
            let text = state.texts.iter_mut().find(|text| text.sid == sid).expect("there is such a text");
            (text.status, text.error_code) = (status.to_owned(), error_code);
        });
    }

    /// A text of the account that was sent by somebody else, or by other means.
    pub fn foreign_text(&self, to: &str, body: &str, date_created: &str) -> String {
        let form = vec![
            ("To".to_owned(), to.to_owned()),
            ("From".to_owned(), "+15005550006".to_owned()),
            ("Body".to_owned(), body.to_owned()),
        ];
        let text = self.shared.take(form, "delivered", None);
        self.set_created(&text.sid, date_created);
        text.sid
    }

    /// When the text was created, as it is told (RFC 2822).
    pub fn set_created(&self, sid: &str, date_created: &str) {
        self.shared.state.send_modify(|state| {
            let text = state.texts.iter_mut().find(|text| text.sid == sid).expect("there is such a text");
            date_created.clone_into(&mut text.date_created);
        });
    }

    /// Sets the status and calls back, at `relay`; returns the HTTP status of the answer.
    pub async fn call_back(
        &self,
        sid: &str,
        status: &str,
        error_code: Option<u32>,
        call: Call,
        relay: SocketAddr,
    ) -> u16 {
        self.set_status(sid, status, error_code);
        let text = self.texts().into_iter().find(|text| text.sid == sid).unwrap();
        let url = text.field("StatusCallback").expect("the text names where to call").to_owned();
        let mut form = vec![
            ("AccountSid", ACCOUNT.to_owned()),
            ("ApiVersion", "2010-04-01".to_owned()),
            ("From", text.field("From").unwrap_or_default().to_owned()),
            ("MessageSid", sid.to_owned()),
            ("MessageStatus", status.to_owned()),
            ("SmsSid", sid.to_owned()),
            ("SmsStatus", status.to_owned()),
            ("To", text.field("To").unwrap_or_default().to_owned()),
        ];
        if let Some(code) = error_code {
            form.push(("ErrorCode", code.to_string()));
        }
        let signature = match call {
            Call::Signed => Some(signature(AUTH_TOKEN, &url, &form)),
            Call::Forged => Some(signature("another-token", &url, &form)),
            Call::Unsigned => None,
        };
        let wire = callback_request(&url, &form, signature.as_deref());
        self.shared.last_call.lock().unwrap().clone_from(&wire);
        exchange(relay, &wire).await
    }

    /// The very bytes of the last call again.
    pub async fn repeat(&self, relay: SocketAddr) -> u16 {
        let wire = self.shared.last_call.lock().unwrap().clone();
        exchange(relay, &wire).await
    }
}

/// `X-Twilio-Signature`: Base64 of HMAC-SHA1 over the address and every field and its value, sorted by field.
pub fn signature(token: &str, url: &str, form: &[(&str, String)]) -> String {
    let mut sorted: Vec<_> = form.iter().collect();
    sorted.sort();
    let mut signed = url.to_owned();
    for (name, value) in sorted {
        signed.push_str(name);
        signed.push_str(value);
    }
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
    STANDARD.encode(hmac::sign(&key, signed.as_bytes()).as_ref())
}

fn callback_request(url: &str, form: &[(&str, String)], signature: Option<&str>) -> Vec<u8> {
    let uri: Uri = url.parse().unwrap();
    let body: Vec<String> = form.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    let body = body.join("&");
    let signature = signature.map(|text| format!("X-Twilio-Signature: {text}\r\n")).unwrap_or_default();
    format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: TwilioProxy/1.1\r\nAccept: */*\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n{signature}Content-Length: {}\r\n\r\n{body}",
        uri.path_and_query().unwrap(),
        uri.authority().unwrap(),
        body.len(),
    )
    .into_bytes()
}

async fn exchange(address: SocketAddr, wire: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(wire).await.unwrap();
    let mut answer = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer));
    reading.await.expect("an answer in time").unwrap();
    let answer = String::from_utf8_lossy(&answer);
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("an HTTP answer")
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    // Connections end with the server.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        shared.state.send_modify(|state| state.connections += 1);
        if shared.closes_unread() {
            continue;
        }
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(|request: Request<hyper::body::Incoming>| {
                let shared = Arc::clone(&shared);
                async move { shared.serve(request.map(Body::new)).await.ok_or(Cut) }
            });
            let connection = hyper::server::conn::http1::Builder::new();
            // A connection that is cut off as the script says ends with that error.
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// The connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("as the script says")]
struct Cut;

type Refused = (u16, u32, &'static str);

impl Shared {
    fn closes_unread(&self) -> bool {
        let mut script = self.script.lock().unwrap();
        match script.next.front() {
            Some(Act::CloseUnread) => script.next.pop_front().is_some(),
            Some(_) => false,
            None => script.always == Some(Act::CloseUnread),
        }
    }

    async fn serve(&self, request: Request<Body>) -> Option<Response<Body>> {
        let (head, body) = request.into_parts();
        let Ok(body) = to_bytes(body, 64 * 1024).await else { return Some(error(413, 20413, "too long")) };
        let seen = Seen {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: decode(head.uri.query().unwrap_or_default()).unwrap_or_default(),
            form: std::str::from_utf8(&body).ok().and_then(decode).unwrap_or_default(),
            user_agent: header_of(&head.headers, &header::USER_AGENT),
            user: login(&head.headers).map(|(user, _)| user).unwrap_or_default(),
        };
        let checked = check_head(&head.method, &head.uri, &head.headers, &body);
        self.state.send_modify(|state| state.requests.push(seen.clone()));
        if let Err((status, code, words)) = checked {
            return Some(error(status, code, words));
        }
        if seen.creates() { self.create(seen).await } else { self.read(&seen).await }
    }

    async fn create(&self, seen: Seen) -> Option<Response<Body>> {
        let act = {
            let mut script = self.script.lock().unwrap();
            script.next.pop_front().or_else(|| script.always.clone()).unwrap_or(Act::Answer)
        };
        if let Err((status, code, words)) = check_form(&seen.form) {
            return Some(error(status, code, words));
        }
        match act {
            Act::Answer => Some(answer(201, &self.take(seen.form, "queued", None).json())),
            Act::TakenAs(status, code) => Some(answer(201, &self.take(seen.form, status, code).json())),
            Act::TakenAndGarbled(body) => {
                self.take(seen.form, "queued", None);
                Some(said(201, body))
            }
            Act::TakenAndSlow(pause) => {
                let text = self.take(seen.form, "queued", None);
                tokio::time::sleep(Duration::from_millis(pause)).await;
                Some(answer(201, &text.json()))
            }
            Act::TakenAndHang => {
                self.take(seen.form, "queued", None);
                std::future::pending().await
            }
            Act::TakenAndClose => {
                self.take(seen.form, "queued", None);
                None
            }
            other @ (Act::Refuse(..) | Act::TooMany(_) | Act::Say(..) | Act::Close | Act::CloseUnread) => {
                refuse(&other, &seen)
            }
        }
    }

    async fn read(&self, seen: &Seen) -> Option<Response<Body>> {
        let act = self.script.lock().unwrap().reading.clone().unwrap_or(Act::Answer);
        match act {
            Act::Answer => {}
            Act::TakenAndHang => std::future::pending().await,
            other => return refuse(&other, seen),
        }
        let list = format!("/2010-04-01/Accounts/{ACCOUNT}/Messages.json");
        let (status, body) = match (seen.method.as_str(), seen.path.as_str()) {
            ("GET", path) if path == list => match check_list(&seen.query) {
                Ok(()) => (200, self.list(&seen.query)),
                Err((status, code, words)) => return Some(error(status, code, words)),
            },
            ("POST", path) if path.ends_with("/Feedback.json") => self.feedback(seen),
            // As the real one has it: a standard key may not look at the account.
            ("GET", path)
                if path == format!("/2010-04-01/Accounts/{ACCOUNT}.json") && seen.user == API_KEY =>
            {
                return Some(error(401, 20003, "Authenticate"));
            }
            ("GET", path) if path == format!("/2010-04-01/Accounts/{ACCOUNT}.json") => {
                let status = self.script.lock().unwrap().account.unwrap_or("active");
                (
                    200,
                    json!({ "sid": ACCOUNT, "status": status, "type": "Full", "friendly_name": "a test's" }),
                )
            }
            ("GET", path) if path.ends_with("/IncomingPhoneNumbers.json") => (200, numbers(&seen.query)),
            ("GET", path) if path.starts_with("/v1/Services/") => (200, json!({ "sid": SERVICE })),
            ("GET", path) => match self.find(path, ".json") {
                Some(text) => (200, text.json()),
                None => return Some(error(404, 20404, "no such text")),
            },
            _ => return Some(error(405, 20004, "no such method here")),
        };
        Some(answer(status, &body))
    }

    fn find(&self, path: &str, end: &str) -> Option<Text> {
        let sid = path.strip_suffix(end)?.rsplit('/').next()?;
        self.state.borrow().texts.iter().find(|text| text.sid == sid).cloned()
    }

    /// Newest first, by `To`.
    fn list(&self, query: &[(String, String)]) -> Value {
        let size: usize = value_of(query, "PageSize").map_or(50, |size| size.parse().unwrap());
        let to = value_of(query, "To");
        let state = self.state.borrow();
        let fits = |text: &&Text| to.is_none() || text.field("To") == to;
        let texts: Vec<Value> = state.texts.iter().rev().filter(fits).take(size).map(Text::json).collect();
        json!({ "messages": texts, "page": 0, "page_size": size, "next_page_uri": Value::Null })
    }

    fn feedback(&self, seen: &Seen) -> (u16, Value) {
        let refused = |words: &str| (400, json!({ "code": 20001, "message": words, "status": 400 }));
        let Some(text) = self.find(&seen.path, "/Feedback.json") else {
            return (404, json!({ "code": 20404, "message": "no such text", "status": 404 }));
        };
        if text.field("ProvideFeedback") != Some("true") {
            return refused("feedback was not announced");
        }
        match &seen.form[..] {
            [(name, outcome)]
                if name == "Outcome" && ["confirmed", "unconfirmed"].contains(&outcome.as_str()) =>
            {
                self.state.send_modify(|state| {
                    let known = state.texts.iter_mut().find(|known| known.sid == text.sid).unwrap();
                    known.feedback.push(outcome.clone());
                });
                (201, json!({ "account_sid": ACCOUNT, "message_sid": text.sid, "outcome": outcome }))
            }
            _ => refused("Outcome is confirmed or unconfirmed"),
        }
    }

    fn take(&self, form: Vec<(String, String)>, status: &str, error_code: Option<u32>) -> Text {
        let mut taken = None;
        self.state.send_modify(|state| {
            let text = Text {
                sid: format!("SM{:032x}", state.texts.len() + 1),
                form,
                status: status.to_owned(),
                error_code,
                date_created: jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S +0000").to_string(),
                feedback: Vec::new(),
            };
            state.texts.push(text.clone());
            taken = Some(text);
        });
        taken.unwrap()
    }
}

fn refuse(act: &Act, seen: &Seen) -> Option<Response<Body>> {
    match act {
        // The real one quotes the number in its words.
        Act::Refuse(status, code) => {
            let words = format!("The 'To' number {} is not right", seen.field("To").unwrap_or_default());
            Some(error(*status, *code, &words))
        }
        Act::TooMany(after) => {
            let mut response = error(429, 20429, "Too many requests");
            if let Some(after) = after {
                response.headers_mut().insert(header::RETRY_AFTER, after.parse().unwrap());
            }
            Some(response)
        }
        Act::Say(status, body) => Some(said(*status, body)),
        Act::Close | Act::CloseUnread => None,
        other => panic!("{other:?} can't be done here"),
    }
}

fn answer(status: u16, body: &Value) -> Response<Body> {
    let builder = Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
    builder.body(Body::from(body.to_string())).unwrap()
}

fn said(status: u16, body: &'static str) -> Response<Body> {
    Response::builder().status(StatusCode::from_u16(status).unwrap()).body(Body::from(body)).unwrap()
}

fn error(status: u16, code: u32, words: &str) -> Response<Body> {
    let more = format!("https://www.twilio.com/docs/errors/{code}");
    answer(status, &json!({ "code": code, "message": words, "more_info": more, "status": status }))
}

fn header_of(headers: &HeaderMap, name: &header::HeaderName) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn login(headers: &HeaderMap) -> Option<(String, String)> {
    let presented = header_of(headers, &header::AUTHORIZATION);
    let decoded = String::from_utf8(STANDARD.decode(presented.strip_prefix("Basic ")?).ok()?).ok()?;
    decoded.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

fn check_head(method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<(), Refused> {
    let known = [(ACCOUNT, AUTH_TOKEN), (API_KEY, API_SECRET)];
    if !login(headers).is_some_and(|(user, password)| known.contains(&(user.as_str(), password.as_str()))) {
        return Err((401, 20003, "Authenticate"));
    }
    let account = format!("/2010-04-01/Accounts/{ACCOUNT}");
    let known = ["/Messages", "/IncomingPhoneNumbers.json", ".json"].map(|end| format!("{account}{end}"));
    if !known.iter().any(|known| uri.path().starts_with(known))
        && uri.path() != format!("/v1/Services/{SERVICE}")
    {
        return Err((404, 20404, "The requested resource was not found"));
    }
    if *method == Method::POST {
        let kind = header_of(headers, &header::CONTENT_TYPE);
        if kind.split(';').next().map(str::trim) != Some("application/x-www-form-urlencoded") {
            return Err((415, 20415, "Content-Type is application/x-www-form-urlencoded"));
        }
        if std::str::from_utf8(body).ok().and_then(decode).is_none() {
            return Err((400, 20001, "The body is no form"));
        }
    }
    Ok(())
}

/// The numbers of the account: one.
fn numbers(query: &[(String, String)]) -> Value {
    let wanted = value_of(query, "PhoneNumber");
    let fits = wanted.is_none_or(|number| number == NUMBER);
    let one = json!({ "phone_number": NUMBER, "capabilities": { "sms": true, "voice": true, "mms": false } });
    json!({ "incoming_phone_numbers": if fits { vec![one] } else { Vec::new() }, "page": 0 })
}

fn value_of<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// What the real one asks of a list.
fn check_list(query: &[(String, String)]) -> Result<(), Refused> {
    const KNOWN: [&str; 8] =
        ["To", "From", "DateSent", "DateSent>", "DateSent<", "PageSize", "Page", "PageToken"];
    if query.iter().any(|(name, _)| !KNOWN.contains(&name.as_str())) {
        return Err((400, 20001, "A filter is not known"));
    }
    let size = value_of(query, "PageSize").map(str::parse::<u32>);
    if size.is_some_and(|size| !size.is_ok_and(|size| (1..=1000).contains(&size))) {
        return Err((400, 20001, "PageSize is 1 to 1000"));
    }
    let since = value_of(query, "DateSent>").map(str::parse::<jiff::Timestamp>);
    if since.is_some_and(|since| since.is_err()) {
        return Err((400, 20001, "DateSent is a date-time"));
    }
    Ok(())
}

/// What the real one asks of the fields.
fn check_form(form: &[(String, String)]) -> Result<(), Refused> {
    const KNOWN: [&str; 11] = [
        "To",
        "From",
        "MessagingServiceSid",
        "Body",
        "ValidityPeriod",
        "StatusCallback",
        "RiskCheck",
        "ContentRetention",
        "AddressRetention",
        "ProvideFeedback",
        "SmartEncoded",
    ];
    let field = |name: &str| value_of(form, name);
    let names: Vec<&str> = form.iter().map(|(name, _)| name.as_str()).collect();
    if names.iter().any(|name| !KNOWN.contains(name)) {
        return Err((400, 20001, "A field is not known"));
    }
    if names.iter().enumerate().any(|(at, name)| names[..at].contains(name)) {
        return Err((400, 20001, "A field stands twice"));
    }
    if !field("To").is_some_and(is_e164) {
        return Err((400, 21211, "Invalid 'To' Phone Number"));
    }
    match (field("From"), field("MessagingServiceSid")) {
        (Some(from), None) if is_e164(from) || is_alphanumeric_sender(from) => {}
        (Some(_), None) => return Err((400, 21212, "Invalid From Number")),
        (None, Some(service)) if is_sid("MG", service) => {}
        (None, Some(_)) => return Err((400, 21701, "The Messaging Service does not exist")),
        (None, None) => return Err((400, 21603, "A 'From' phone number is required")),
        (Some(_), Some(_)) => return Err((400, 20001, "One of From and MessagingServiceSid")),
    }
    match field("Body").map(|body| body.chars().count()) {
        None | Some(0) => return Err((400, 21602, "Message body is required")),
        Some(1..=1600) => {}
        Some(_) => return Err((400, 21617, "The body exceeds the 1600 character limit")),
    }
    let one_of = |name: &str, values: &[&str]| field(name).is_none_or(|value| values.contains(&value));
    let validity = field("ValidityPeriod").map(str::parse::<u32>);
    let in_range = validity.is_none_or(|period| period.is_ok_and(|period| (1..=36000).contains(&period)));
    let values = one_of("RiskCheck", &["enable", "disable"])
        && one_of("ContentRetention", &["retain", "discard"])
        && one_of("AddressRetention", &["retain", "obfuscate"])
        && one_of("ProvideFeedback", &["true", "false"])
        && one_of("SmartEncoded", &["true", "false"]);
    if !values || !in_range {
        return Err((400, 20001, "A value is out of its range"));
    }
    if field("StatusCallback").is_some_and(|url| !is_callback(url)) {
        return Err((400, 21609, "Invalid 'StatusCallback' URL"));
    }
    Ok(())
}

fn is_e164(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or_default();
    (7..=15).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit())
}

fn is_alphanumeric_sender(text: &str) -> bool {
    (1..=11).contains(&text.len())
        && text.bytes().any(|b| b.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b' ')
}

fn is_sid(prefix: &str, text: &str) -> bool {
    let digits = text.strip_prefix(prefix).unwrap_or_default();
    digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_callback(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    scheme && uri.host().is_some_and(|host| !host.is_empty() && !host.contains('_'))
}

/// A form; `None` where it is none.
fn decode(form: &str) -> Option<Vec<(String, String)>> {
    let pairs = form.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((decode_one(name)?, decode_one(value)?))
        })
        .collect()
}

fn decode_one(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let pair = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn encode(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}
