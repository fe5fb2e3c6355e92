//! A server on a free port, a client that writes what it is told to, and a handler that stands for the rest of the
//! daemon.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use authrelay::clock::Timestamp;
use authrelay::http::{Limits, MEDIA_TYPE, RouterSource, Socket, TlsSource, serve, whole};
use authrelay::ident::{ClientName, ListenerName, MessageId};
use authrelay::otp::{self, Accepted, Handler, Refusal, RefusalKind, Request, Status, View};
use authrelay::secret::Secret;
use axum::Router;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const TOKEN: &str = "app-token";
pub const OTHER_TOKEN: &str = "other-token";
pub const NUMBER: &str = "+12025550100";
pub const CODE: &str = "739182";
pub const TAKEN: i64 = 1_795_440_360_000;

/// What the desk does with the next codes.
#[derive(Debug, Clone, Default)]
pub enum Mood {
    /// Takes codes of 4 to 10 letters or digits.
    #[default]
    Good,
    /// Refuses.
    Refuses(Refusal),
    /// Has a defect.
    Panics,
    /// Takes them when told to, once for each word.
    Waits(Arc<Notify>),
}

/// Stands for the rest of the daemon.
#[derive(Default)]
pub struct Desk {
    pub mood: Mutex<Mood>,
    pub requests: Mutex<Vec<Request>>,
    pub feedback: Mutex<Vec<(MessageId, bool)>>,
    pub begun: Notify,
    codes: Mutex<HashMap<MessageId, (ClientName, View)>>,
}

impl Desk {
    pub fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn find(&self, client: &ClientName, id: MessageId) -> Result<View, Refusal> {
        let codes = self.codes.lock().unwrap();
        let found = codes.get(&id).filter(|(owner, _)| owner == client);
        found.map(|(_, view)| view.clone()).ok_or_else(|| refusal(RefusalKind::NotFound, "no such code"))
    }
}

pub fn refusal(kind: RefusalKind, detail: &str) -> Refusal {
    Refusal { kind, pointer: None, detail: detail.to_owned(), limit: None, id: None }
}

#[async_trait]
impl Handler for Desk {
    fn client_of(&self, token: &Secret) -> Option<ClientName> {
        match token.reveal() {
            TOKEN => Some("app".into()),
            OTHER_TOKEN => Some("other".into()),
            _ => None,
        }
    }

    async fn submit(&self, client: &ClientName, request: Request) -> Result<Accepted, Refusal> {
        let mood = self.mood.lock().unwrap().clone();
        self.begun.notify_one();
        match mood {
            Mood::Good => {}
            Mood::Refuses(refusal) => return Err(refusal),
            Mood::Panics => panic!("a defect"),
            Mood::Waits(word) => word.notified().await,
        }
        let code = request.code.reveal();
        if !(4..=10).contains(&code.len()) || !code.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(refusal(RefusalKind::Code, "a code has 4 to 10 letters or digits"));
        }
        let (id, created) = (MessageId::generate(), Timestamp::from_millis(TAKEN));
        let expires = created.plus(request.expires_in.unwrap_or(Duration::from_mins(10)));
        let (status, reference) = (Status::Queued, request.reference.clone());
        let view = View { id, status, created, expires, reference, reason: None };
        self.codes.lock().unwrap().insert(id, (client.clone(), view));
        self.requests.lock().unwrap().push(request);
        Ok(Accepted { id, status, expires })
    }

    async fn status(&self, client: &ClientName, id: MessageId) -> Result<View, Refusal> {
        self.find(client, id)
    }

    async fn feedback(&self, client: &ClientName, id: MessageId, used: bool) -> Result<(), Refusal> {
        self.find(client, id)?;
        self.feedback.lock().unwrap().push((id, used));
        Ok(())
    }
}

/// A server of these tests.
pub struct Server {
    pub address: SocketAddr,
    pub desk: Arc<Desk>,
    pub shutdown: CancellationToken,
    pub task: JoinHandle<()>,
}

impl Server {
    pub async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub async fn with(limits: Limits) -> Self {
        Self::with_tls(limits, None).await
    }

    pub async fn with_tls(limits: Limits, tls: Option<TlsSource>) -> Self {
        let desk = Arc::new(Desk::default());
        Self::of(otp::router(Arc::clone(&desk) as Arc<dyn Handler>), desk, limits, tls).await
    }

    pub async fn of(router: Router, desk: Arc<Desk>, limits: Limits, tls: Option<TlsSource>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let name = ListenerName::new("otp");
        let router = whole(router);
        let router: RouterSource = Arc::new(move || router.clone());
        let task = tokio::spawn(serve(Socket::Tcp(listener), name, tls, limits, router, shutdown.clone()));
        Self { address, desk, shutdown, task }
    }

    pub async fn connect(&self) -> Client<TcpStream> {
        Client::new(TcpStream::connect(self.address).await.unwrap())
    }

    /// One request on a connection of its own.
    pub async fn ask(&self, request: &Ask) -> Response {
        self.connect().await.ask(request).await
    }

    /// Sends bytes and reads whatever comes until the connection ends.
    pub async fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer
    }
}

/// A request as it is written.
#[derive(Clone)]
pub struct Ask {
    method: String,
    target: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Ask {
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.to_owned(), target: target.to_owned(), fields: Vec::new(), body: Vec::new() }
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target).with("Authorization", &format!("Bearer {TOKEN}"))
    }

    pub fn post(target: &str, body: impl AsRef<[u8]>) -> Self {
        let ask = Self::new("POST", target).with("Authorization", &format!("Bearer {TOKEN}"));
        ask.with("Content-Type", "application/json").body(body)
    }

    /// A code that is taken.
    pub fn code() -> Self {
        Self::post("/v1/otp", code_body())
    }

    /// The field as well.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(field, _)| !field.eq_ignore_ascii_case(name));
        self
    }

    pub fn instead(self, name: &str, value: &str) -> Self {
        self.without(name).with(name, value)
    }

    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut lines =
            vec![format!("{} {} HTTP/1.1", self.method, self.target), "Host: localhost".to_owned()];
        lines.extend(self.fields.iter().map(|(name, value)| format!("{name}: {value}")));
        if !self.body.is_empty() {
            lines.push(format!("Content-Length: {}", self.body.len()));
        }
        let text = lines.join("\r\n") + "\r\n\r\n";
        [text.as_bytes(), &self.body].concat()
    }
}

pub fn code_body() -> String {
    format!(r#"{{"to":"{NUMBER}","code":"{CODE}","factor":"primary"}}"#)
}

/// A connection.
pub struct Client<S> {
    pub stream: S,
    read: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, read: Vec::new() }
    }

    pub async fn ask(&mut self, request: &Ask) -> Response {
        self.write(&request.bytes()).await;
        self.response(&request.method).await.unwrap()
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next response; `None` when the connection ends.
    pub async fn response(&mut self, method: &str) -> Option<Response> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let fields: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut response = Response { status, fields, body: Vec::new() };
        let length = response.field("content-length").map_or(0, |length| length.parse().unwrap());
        if method != "HEAD" {
            while self.read.len() < length {
                self.more().await?;
            }
            response.body = self.read.drain(..length).collect();
        }
        Some(response)
    }

    /// Waits for the end of the connection.
    pub async fn ended(&mut self) {
        while self.more().await.is_some() {}
    }

    async fn more(&mut self) -> Option<()> {
        match self.stream.read_buf(&mut self.read).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(()),
        }
    }
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Checks that it is the problem document of this kind, whole and safe.
    #[track_caller]
    pub fn is_problem(&self, status: u16, name: &str) -> Value {
        let json = self.json();
        assert_eq!((self.status, json["status"].as_u64()), (status, Some(u64::from(status))), "{json}");
        assert_eq!(json["type"], format!("urn:authrelay:problem:{name}"), "{json}");
        assert_eq!(json["title"], name.replace('-', " "));
        assert!(json["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
        assert_eq!(self.field("content-type"), Some(MEDIA_TYPE));
        assert_eq!(self.field("cache-control"), Some("no-store"));
        let all = format!("{self:?}{json}");
        assert!(!all.contains(CODE) && !all.contains(NUMBER), "{all}");
        json
    }
}
