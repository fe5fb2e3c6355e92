//! A desk that takes mail in and remembers it, and a client that says exactly what it is told to say.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use authrelay::mail::{Address, ReversePath};
use authrelay::outcome::{Detail, Reply};
use authrelay::secret::Secret;
use authrelay::smtp::{
    BareLf, Config, Handler, Limits, ListenAt, ListenerConfig, ListenerTls, Peer, Server, Service,
    SessionFacts, TlsSource, serve,
};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// One message as the desk got it.
#[derive(Debug, Clone)]
pub struct Taken {
    pub from: String,
    pub to: Vec<String>,
    pub text: Bytes,
    pub facts: SessionFacts,
}

/// What the desk has seen. The local part of an address says what the desk does with it: `refused`, `later`, `bye`,
/// `panic`. A message that holds `hang` waits for `go`.
#[derive(Debug, Default)]
pub struct Desk {
    pub taken: Mutex<Vec<Taken>>,
    pub recipients: Mutex<Vec<String>>,
    pub connects: Mutex<usize>,
    pub go: Notify,
    pub hanging: Notify,
    pub strangers: bool,
    pub closed: bool,
}

impl Desk {
    pub fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }

    /// The one message that was taken in.
    pub fn only(&self) -> Taken {
        let taken = self.taken();
        assert_eq!(taken.len(), 1, "{taken:?}");
        taken.into_iter().next().unwrap()
    }
}

struct AtDesk(Arc<Desk>);

impl Service for AtDesk {
    fn connect(&self, _peer: &Peer) -> Result<Box<dyn Handler>, Reply> {
        *self.0.connects.lock().unwrap() += 1;
        if self.0.closed {
            return Err(Reply::new(554, Detail(7, 1), "not you"));
        }
        Ok(Box::new(Clerk { desk: Arc::clone(&self.0), envelope: None }))
    }
}

struct Clerk {
    desk: Arc<Desk>,
    envelope: Option<Taken>,
}

#[async_trait]
impl Handler for Clerk {
    async fn auth(&mut self, user: &str, password: Secret) -> Result<(), Reply> {
        let right = user == "anna" && password.reveal() == "secret";
        if right { Ok(()) } else { Err(Reply::new(535, Detail(7, 8), "authentication failed")) }
    }

    async fn mail(&mut self, facts: &SessionFacts, from: &ReversePath) -> Result<(), Reply> {
        if from.as_str().starts_with("refused@") {
            return Err(Reply::new(550, Detail(7, 1), "not from there"));
        }
        let (from, facts) = (from.as_str().to_owned(), facts.clone());
        self.envelope = Some(Taken { from, to: Vec::new(), text: Bytes::new(), facts });
        Ok(())
    }

    async fn rcpt(&mut self, to: &Address) -> Result<(), Reply> {
        self.desk.recipients.lock().unwrap().push(to.as_str().to_owned());
        match to.local_part() {
            "refused" => Err(Reply::new(550, Detail(1, 1), "nobody there")),
            "later" => Err(Reply::new(451, Detail(7, 1), "later")),
            "bye" => Err(Reply::new(421, Detail(3, 0), "bye")),
            "panic" => panic!("a defect in the handler"),
            _ => {
                assert!(self.envelope.is_some(), "MAIL comes before RCPT");
                Ok(())
            }
        }
    }

    async fn data(&mut self, to: Vec<Address>, text: Bytes) -> Reply {
        let has = |word: &[u8]| text.windows(word.len()).any(|window| window == word);
        if has(b"unwanted") {
            return Reply::new(550, Detail(7, 1), "unwanted");
        }
        if has(b"hang") {
            self.desk.hanging.notify_one();
            self.desk.go.notified().await;
        }
        let envelope = self.envelope.take().expect("MAIL comes before DATA");
        assert!(!to.is_empty());
        let to = to.iter().map(|to| to.as_str().to_owned()).collect();
        self.desk.taken.lock().unwrap().push(Taken { to, text, ..envelope });
        Reply::new(250, Detail(0, 0), "taken")
    }

    fn reset(&mut self) {
        self.envelope = None;
    }

    fn is_known_client(&self) -> bool {
        !self.desk.strangers
    }
}

/// A server to be spoken to, and what it may be told.
pub struct Setup {
    pub desk: Arc<Desk>,
    pub listener: ListenerConfig,
    pub limits: Limits,
    pub tls: Option<Arc<rustls::ServerConfig>>,
    pub stop: CancellationToken,
}

impl Setup {
    pub fn new() -> Self {
        Self {
            desk: Arc::default(),
            listener: ListenerConfig {
                name: "test".into(),
                at: ListenAt::Address(SocketAddr::from(([127, 0, 0, 1], 0))),
                tls: ListenerTls::Off,
                plaintext_auth: vec!["127.0.0.0/8".parse().unwrap()],
                bare_lf: Some(BareLf::Refuse),
                smtputf8: false,
            },
            limits: Limits::default(),
            tls: None,
            stop: CancellationToken::new(),
        }
    }

    pub fn server(&self) -> Server {
        let tls = self.tls.clone();
        let source: TlsSource = Arc::new(move || tls.clone());
        let config = Config { hostname: "relay.example".to_owned(), limits: self.limits.clone() };
        Server::new(config, Arc::new(AtDesk(Arc::clone(&self.desk))), source)
    }

    /// A connection in memory, before the greeting was read.
    pub fn connect(&self) -> Talk<DuplexStream> {
        self.connect_to(self.server())
    }

    pub fn connect_to(&self, server: Server) -> Talk<DuplexStream> {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        self.spawn(server, theirs);
        Talk::new(ours)
    }

    pub fn spawn(&self, server: Server, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let peer = Peer { listener: "test".into(), address: Some("127.0.0.1".parse().unwrap()) };
        let (listener, stop) = (Arc::new(self.listener.clone()), self.stop.clone());
        tokio::spawn(serve(stream, peer, listener, server, stop));
    }

    /// A connection that has said EHLO.
    pub async fn greeted(&self) -> Talk<DuplexStream> {
        let mut talk = self.connect();
        talk.expect("220 relay.example ESMTP").await;
        talk.say("EHLO client.example", "250-relay.example").await;
        talk
    }
}

/// A client that says exactly what it is told to.
pub struct Talk<S> {
    pub stream: S,
    input: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, input: Vec::new() }
    }

    pub async fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.stream.write_all(octets.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// One whole reply with its line ends; `None` when the connection is over.
    pub async fn reply(&mut self) -> Option<String> {
        let mut end = 0;
        loop {
            while let Some(length) = self.input[end..].windows(2).position(|pair| pair == b"\r\n") {
                let line = &self.input[end..end + length];
                assert!(line.len() <= 510 && line.iter().all(|b| (b' '..=b'~').contains(b)), "{line:?}");
                let last = line.get(3) == Some(&b' ');
                end += length + 2;
                if last {
                    let reply: Vec<u8> = self.input.drain(..end).collect();
                    return Some(String::from_utf8(reply).unwrap());
                }
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) | Err(_) => {
                    assert!(self.input.is_empty(), "half a reply: {:?}", self.input);
                    return None;
                }
                Ok(_) => {}
            }
        }
    }

    pub async fn expect(&mut self, start: &str) -> String {
        let reply = self.reply().await.unwrap_or_else(|| panic!("the end instead of {start}"));
        assert!(reply.starts_with(start), "{reply:?} instead of {start:?}");
        reply
    }

    pub async fn say(&mut self, line: &str, reply: &str) -> String {
        self.send(format!("{line}\r\n")).await;
        let start = reply.to_owned();
        let reply = self.reply().await.unwrap_or_else(|| panic!("the end after {line}, instead of {start}"));
        assert!(reply.starts_with(&start), "{line}: {reply:?} instead of {start:?}");
        reply
    }

    /// MAIL, RCPT and DATA, up to the 354.
    pub async fn open_message(&mut self) {
        self.say("MAIL FROM:<app@shop.example>", "250 2.1.0").await;
        self.say("RCPT TO:<anna@mail.example>", "250 2.1.5").await;
        self.say("DATA", "354 ").await;
    }

    /// Nothing more comes but the end.
    pub async fn over(&mut self) {
        let more = self.reply().await;
        assert_eq!(more, None);
    }

    /// Waits until the server has done all it can do with what it has. Only with the clock paused.
    pub async fn settle(&mut self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
