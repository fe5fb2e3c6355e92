//! An SMTP server that does what a test tells it to: any reply at any step, silence, a closed connection before or after
//! the final dot; with or without STARTTLS, AUTH, 8BITMIME, SMTPUTF8 and SIZE. It records exact bytes, and counts.
//!
//! It reads as strictly as RFC 5321 allows: only CR LF ends a line and only CR LF . CR LF ends DATA.

#![allow(dead_code, clippy::unwrap_used, reason = "each test uses a part of it, and may fail in it")]

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// Where in the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Greeting,
    Ehlo,
    StartTls,
    Auth,
    Mail,
    Rcpt,
    Data,
    /// Before the first byte of the message is read.
    Body,
    /// After the final dot.
    Dot,
    Rset,
}

/// What the server does there.
#[derive(Clone, Debug)]
pub enum Act {
    /// Sends this line (CR LF is added).
    Say(&'static str),
    /// Sends nothing, ever.
    Hang,
    /// Closes the connection.
    Close,
    /// Sends this line, then closes the connection.
    SayAndClose(&'static str),
}

/// One message as it was taken.
#[derive(Clone, Debug)]
pub struct Received {
    pub mail: String,
    pub rcpt: Vec<String>,
    /// With the dots undone, without the final dot.
    pub bytes: Vec<u8>,
    pub encrypted: bool,
    pub user: Option<String>,
    /// Which connection, counted from one.
    pub connection: usize,
}

/// Everything that was seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub connections: usize,
    pub open: usize,
    pub most_open: usize,
    /// Messages that were read to their final dot, whatever was answered.
    pub messages: Vec<Received>,
    /// Every command line.
    pub commands: Vec<String>,
    /// Commands that were read before TLS was up.
    pub clear: Vec<String>,
}

/// How the server encrypts.
#[derive(Clone, Default)]
#[allow(clippy::enum_variant_names, reason = "it is what they are called")]
pub enum Tls {
    #[default]
    None,
    StartTls(Arc<rustls::ServerConfig>),
    Implicit(Arc<rustls::ServerConfig>),
}

#[derive(Default)]
struct Script {
    always: HashMap<Step, Act>,
    next: HashMap<Step, VecDeque<Act>>,
    refused: HashMap<String, &'static str>,
}

struct Shared {
    script: Mutex<Script>,
    offers: Vec<&'static str>,
    tls: Tls,
    /// User name and password, where one has to log in.
    login: Option<(&'static str, &'static str)>,
    seen: watch::Sender<Seen>,
}

/// A running server; ends when dropped.
pub struct ScriptedUpstream {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for ScriptedUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub const ALL_OFFERS: [&str; 4] = ["8BITMIME", "SMTPUTF8", "SIZE 20000000", "ENHANCEDSTATUSCODES"];

impl ScriptedUpstream {
    /// A server that offers everything but TLS and AUTH, and says yes.
    pub async fn start() -> Self {
        Self::start_with(&ALL_OFFERS, Tls::None, None).await
    }

    pub async fn start_with(
        offers: &[&'static str],
        tls: Tls,
        login: Option<(&'static str, &'static str)>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Mutex::default(),
            offers: offers.to_vec(),
            tls,
            login,
            seen: watch::Sender::default(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, task }
    }

    /// What to do at a step from now on.
    pub fn always(&self, step: Step, act: Act) {
        self.shared.script.lock().unwrap().always.insert(step, act);
    }

    /// To say yes again at a step.
    pub fn as_usual(&self, step: Step) {
        self.shared.script.lock().unwrap().always.remove(&step);
    }

    /// What to do the next time at a step; several are done one after the other.
    pub fn once(&self, step: Step, act: Act) {
        self.shared.script.lock().unwrap().next.entry(step).or_default().push_back(act);
    }

    /// Refuses this recipient.
    pub fn refuse(&self, recipient: &str, reply: &'static str) {
        self.shared.script.lock().unwrap().refused.insert(recipient.to_owned(), reply);
    }

    pub fn seen(&self) -> Seen {
        self.shared.seen.borrow().clone()
    }

    /// Waits until what was seen is as asked.
    pub async fn until(&self, done: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.shared.seen.subscribe();
        let wait = tokio::time::timeout(std::time::Duration::from_secs(30), seen.wait_for(done));
        wait.await.expect("the upstream saw it in time").unwrap().clone()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut sessions = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let mut number = 0;
        shared.seen.send_modify(|seen| {
            seen.connections += 1;
            seen.open += 1;
            seen.most_open = seen.most_open.max(seen.open);
            number = seen.connections;
        });
        let shared = Arc::clone(&shared);
        sessions.spawn(async move {
            let _ = serve(stream, &shared, number).await;
            shared.seen.send_modify(|seen| seen.open -= 1);
        });
    }
}

async fn serve(stream: TcpStream, shared: &Shared, number: usize) -> std::io::Result<()> {
    match &shared.tls {
        Tls::None => Session::new(stream, shared, number, true).run(true).await.map(drop),
        Tls::Implicit(config) => {
            let stream = TlsAcceptor::from(Arc::clone(config)).accept(stream).await?;
            let mut session = Session::new(stream, shared, number, false);
            session.encrypted = true;
            session.run(true).await.map(drop)
        }
        Tls::StartTls(config) => {
            let mut session = Session::new(stream, shared, number, false);
            session.offer_tls = true;
            let Some(stream) = session.run(true).await? else { return Ok(()) };
            let stream = TlsAcceptor::from(Arc::clone(config)).accept(stream).await?;
            let mut session = Session::new(stream, shared, number, false);
            session.encrypted = true;
            session.run(false).await.map(drop)
        }
    }
}

struct Session<'a, T> {
    stream: Option<T>,
    buffer: Vec<u8>,
    shared: &'a Shared,
    number: usize,
    encrypted: bool,
    offer_tls: bool,
    /// Whether being without TLS is as it should be.
    clear_is_fine: bool,
    user: Option<String>,
    mail: Option<String>,
    rcpt: Vec<String>,
}

enum Next {
    Go,
    Upgrade,
    End,
}

impl<'a, T: AsyncRead + AsyncWrite + Unpin> Session<'a, T> {
    fn new(stream: T, shared: &'a Shared, number: usize, clear_is_fine: bool) -> Self {
        Self {
            stream: Some(stream),
            buffer: Vec::new(),
            shared,
            number,
            encrypted: false,
            offer_tls: false,
            clear_is_fine,
            user: None,
            mail: None,
            rcpt: Vec::new(),
        }
    }

    /// Gives the stream back when TLS is to begin.
    async fn run(mut self, greet: bool) -> std::io::Result<Option<T>> {
        if greet && !self.act(Step::Greeting, "220 scripted.example ESMTP").await? {
            return Ok(None);
        }
        while let Some(line) = self.line().await? {
            let text = String::from_utf8_lossy(&line).into_owned();
            let clear = !self.encrypted && !self.clear_is_fine;
            self.shared.seen.send_modify(|seen| {
                seen.commands.push(text.clone());
                if clear {
                    seen.clear.push(text.clone());
                }
            });
            match self.command(&text).await? {
                Next::Go => {}
                Next::Upgrade => return Ok(self.stream.take()),
                Next::End => break,
            }
        }
        Ok(None)
    }

    async fn command(&mut self, line: &str) -> std::io::Result<Next> {
        let verb = line.split(' ').next().unwrap_or("").to_ascii_uppercase();
        let go_on = match verb.as_str() {
            "EHLO" => {
                let reply = self.ehlo_reply();
                self.act(Step::Ehlo, &reply).await?
            }
            "STARTTLS" if self.offer_tls => {
                if self.act(Step::StartTls, "220 2.0.0 go ahead").await? {
                    return Ok(Next::Upgrade);
                }
                false
            }
            "AUTH" => self.auth(line).await?,
            "MAIL" if self.mail.is_some() => self.say("503 5.5.1 one at a time").await?,
            "MAIL" => {
                if self.shared.login.is_some() && self.user.is_none() {
                    self.say("530 5.7.0 log in first").await?
                } else if self.asked_for(Step::Mail) {
                    self.act(Step::Mail, "").await?
                } else {
                    self.mail = Some(line.to_owned());
                    self.say("250 2.1.0 fine").await?
                }
            }
            "RCPT" => self.rcpt(line).await?,
            "DATA" => self.data().await?,
            "RSET" => {
                self.mail = None;
                self.rcpt.clear();
                self.act(Step::Rset, "250 2.0.0 forgotten").await?
            }
            "QUIT" => {
                self.say("221 2.0.0 bye").await?;
                false
            }
            _ => self.say("500 5.5.2 what").await?,
        };
        Ok(if go_on { Next::Go } else { Next::End })
    }

    fn ehlo_reply(&self) -> String {
        let mut lines = vec!["scripted.example"];
        lines.extend(&self.shared.offers);
        if self.offer_tls {
            lines.push("STARTTLS");
        }
        let last = lines.len() - 1;
        let lines = lines.iter().enumerate();
        let lines = lines.map(|(at, line)| format!("250{}{line}", if at == last { ' ' } else { '-' }));
        lines.collect::<Vec<_>>().join("\r\n")
    }

    async fn auth(&mut self, line: &str) -> std::io::Result<bool> {
        use base64::Engine as _;
        let decode = |text: &str| {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        if self.asked_for(Step::Auth) {
            return self.act(Step::Auth, "").await;
        }
        let (user, password) = if let Some(token) = line.strip_prefix("AUTH PLAIN ") {
            let text = decode(token);
            let mut parts = text.split('\0').skip(1).map(str::to_owned);
            (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
        } else if line == "AUTH LOGIN" {
            self.say("334 VXNlcm5hbWU6").await?;
            let user = self.line().await?.unwrap_or_default();
            self.say("334 UGFzc3dvcmQ6").await?;
            let password = self.line().await?.unwrap_or_default();
            (decode(&String::from_utf8_lossy(&user)), decode(&String::from_utf8_lossy(&password)))
        } else {
            return self.say("504 5.5.4 not offered").await;
        };
        if self.shared.login == Some((user.as_str(), password.as_str())) {
            self.user = Some(user);
            return self.say("235 2.7.0 welcome").await;
        }
        self.say("535 5.7.8 no").await
    }

    async fn rcpt(&mut self, line: &str) -> std::io::Result<bool> {
        let address = line.trim_start_matches("RCPT TO:<").trim_end_matches('>').to_owned();
        let refused = self.shared.script.lock().unwrap().refused.get(&address).copied();
        if let Some(reply) = refused {
            return self.say(reply).await;
        }
        if self.asked_for(Step::Rcpt) {
            return self.act(Step::Rcpt, "").await;
        }
        self.rcpt.push(line.to_owned());
        self.say("250 2.1.5 fine").await
    }

    async fn data(&mut self) -> std::io::Result<bool> {
        if self.asked_for(Step::Data) {
            return self.act(Step::Data, "").await;
        }
        if self.mail.is_none() || self.rcpt.is_empty() {
            return self.say("503 5.5.1 no").await;
        }
        self.say("354 go ahead").await?;
        if self.asked_for(Step::Body) {
            return self.act(Step::Body, "").await;
        }
        let mut bytes = Vec::new();
        loop {
            let Some(line) = self.line().await? else { return Ok(false) };
            if line == b"." {
                break;
            }
            bytes.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            bytes.extend_from_slice(b"\r\n");
        }
        let received = Received {
            mail: self.mail.take().unwrap_or_default(),
            rcpt: std::mem::take(&mut self.rcpt),
            bytes,
            encrypted: self.encrypted,
            user: self.user.clone(),
            connection: self.number,
        };
        let mut reply = String::new();
        self.shared.seen.send_modify(|seen| {
            seen.messages.push(received);
            reply = format!("250 2.0.0 Ok: queued as TEST{:04}", seen.messages.len());
        });
        self.act(Step::Dot, &reply).await
    }

    fn asked_for(&self, step: Step) -> bool {
        let script = self.shared.script.lock().unwrap();
        script.always.contains_key(&step) || script.next.get(&step).is_some_and(|next| !next.is_empty())
    }

    async fn act(&mut self, step: Step, usual: &str) -> std::io::Result<bool> {
        let act = {
            let mut script = self.shared.script.lock().unwrap();
            let next = script.next.get_mut(&step).and_then(VecDeque::pop_front);
            next.or_else(|| script.always.get(&step).cloned())
        };
        match act {
            None => self.say(usual).await,
            Some(Act::Say(reply)) => {
                self.say(reply).await?;
                // A step that was answered otherwise than usual has not happened.
                Ok(step != Step::StartTls)
            }
            Some(Act::Hang) => std::future::pending().await,
            Some(Act::Close) => Ok(false),
            Some(Act::SayAndClose(reply)) => {
                self.say(reply).await?;
                Ok(false)
            }
        }
    }

    async fn say(&mut self, reply: &str) -> std::io::Result<bool> {
        let stream = self.stream.as_mut().expect("a stream");
        stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
        stream.flush().await?;
        Ok(true)
    }

    /// The next line without its CR LF.
    async fn line(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let mut line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                line.truncate(end);
                return Ok(Some(line));
            }
            let mut chunk = vec![0; 16 * 1024];
            let stream = self.stream.as_mut().expect("a stream");
            match stream.read(&mut chunk).await? {
                0 => return Ok(None),
                read => self.buffer.extend_from_slice(&chunk[..read]),
            }
        }
    }
}
