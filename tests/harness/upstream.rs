//! An upstream that does what a test tells it: it answers, refuses, hangs or drops the connection at any point.

use std::fmt;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::mail::Mail;
use super::{PATIENCE, Watched};

/// The point of a dialogue at which the upstream asks its script what to do.
#[derive(Debug, Clone, Copy)]
pub enum Moment<'a> {
    /// A connection was made: the greeting is due.
    Connect,
    /// `MAIL FROM`, with the address.
    Mail(&'a str),
    /// `RCPT TO`, with the address.
    Rcpt(&'a str),
    /// `DATA`.
    Data,
    /// The final dot, with the whole message.
    Dot(&'a Mail),
}

/// What the upstream does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The usual positive reply.
    Accept,
    /// This reply line.
    Reply(&'static str),
    /// Takes the message, and closes the connection without an answer.
    Drop,
    /// Says nothing more until the peer goes away.
    Hang,
    /// Takes the message, and resets the connection.
    Reset,
    /// These bytes, which are no reply; then it goes on as if it had answered.
    Garbage(&'static [u8]),
    /// The usual positive reply, with a pause before each byte.
    Slow(Duration),
}

impl Answer {
    /// Whether the upstream has a message at whose final dot it does this. Only [`Answer::Accept`] and
    /// [`Answer::Slow`] tell the peer so.
    pub fn takes(self) -> bool {
        match self {
            Self::Reply(line) => line.starts_with('2'),
            Self::Accept | Self::Drop | Self::Hang | Self::Reset | Self::Garbage(_) | Self::Slow(_) => true,
        }
    }

    /// Whether the peer is told that the message was taken.
    pub fn tells(self) -> bool {
        match self {
            Self::Accept | Self::Slow(_) => true,
            Self::Reply(line) => line.starts_with('2'),
            Self::Drop | Self::Hang | Self::Reset | Self::Garbage(_) => false,
        }
    }
}

/// The usual offers.
const OFFERS: &[&str] = &["SIZE 20000000", "8BITMIME", "ENHANCEDSTATUSCODES", "PIPELINING"];

/// A script.
pub type Script = Arc<dyn Fn(Moment<'_>) -> Answer + Send + Sync>;

/// What an upstream has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Connections made.
    pub connections: usize,
    /// Of these, how many are over.
    pub ended: usize,
    /// Every message that came to its final dot, whatever was answered then.
    pub dots: Vec<Mail>,
    /// What was answered to each of them.
    pub answers: Vec<Answer>,
    /// Over which connection each of them came: its far end.
    pub peers: Vec<SocketAddr>,
    /// The messages that were accepted.
    pub taken: Vec<Mail>,
    /// Every `MAIL` command, as it came.
    pub mail_commands: Vec<String>,
}

struct Shared {
    seen: Watched<Seen>,
    script: Watched<Script>,
    /// What it says in its EHLO reply that it can do.
    offers: &'static [&'static str],
    stopped: AtomicBool,
}

/// A scripted upstream. Stops when it is dropped.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upstream({})", self.address)
    }
}

impl Upstream {
    /// One that accepts everything.
    pub fn accepting() -> Self {
        Self::start(|_| Answer::Accept)
    }

    /// One that accepts everything and says that it can do these things, and no others.
    pub fn offering(offers: &'static [&'static str]) -> Self {
        Self::start_with(SocketAddr::from(([127, 0, 0, 1], 0)), offers, |_| Answer::Accept)
    }

    /// One that does what `script` says.
    pub fn start(script: impl Fn(Moment<'_>) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), script)
    }

    /// The same, at an address.
    pub fn start_at(
        address: SocketAddr,
        script: impl Fn(Moment<'_>) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(address, OFFERS, script)
    }

    fn start_with(
        address: SocketAddr,
        offers: &'static [&'static str],
        script: impl Fn(Moment<'_>) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("a port for the upstream");
        let address = listener.local_addr().expect("its address");
        let script: Script = Arc::new(script);
        let shared = Arc::new(Shared {
            seen: Watched::default(),
            script: Watched::new(script),
            offers,
            stopped: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &theirs));
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Does from now on what `script` says.
    pub fn become_(&self, script: impl Fn(Moment<'_>) -> Answer + Send + Sync + 'static) {
        self.shared.script.change(|current| *current = Arc::new(script));
    }

    /// What it has seen so far.
    pub fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.shared.seen.get()
    }

    /// Waits until it has taken `count` messages, and gives them.
    #[track_caller]
    pub fn wait_taken(&self, count: usize) -> Vec<Mail> {
        let all = |seen: &Seen| (seen.taken.len() >= count).then(|| seen.taken.clone());
        let taken = self.shared.seen.wait(PATIENCE, all);
        taken.unwrap_or_else(|| panic!("the upstream took {} of {count} messages", self.seen().taken.len()))
    }

    /// Waits until `enough` says so of what it has seen.
    #[track_caller]
    pub fn wait_seen(&self, what: &str, enough: impl Fn(&Seen) -> bool) {
        let found = self.shared.seen.wait(PATIENCE, |seen| enough(seen).then_some(()));
        found.unwrap_or_else(|| panic!("the upstream waited in vain for {what}: {:?}", self.seen()));
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(self.address);
    }
}

/// An address of this machine at which nobody listens, and which no other test is given by the system.
pub fn unused_address() -> SocketAddr {
    use std::sync::atomic::AtomicU8;
    static NEXT: AtomicU8 = AtomicU8::new(1);
    // A loopback address of this process alone: nobody else binds there.
    let process = std::process::id().to_be_bytes();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let host = Ipv4Addr::new(127, 100 + number % 100, process[2], process[3].max(1));
    let listener = TcpListener::bind((host, 0)).expect("a loopback address");
    listener.local_addr().expect("its port")
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::Acquire) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let Ok(peer) = stream.peer_addr() else { continue };
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            shared.seen.change(|seen| seen.connections += 1);
            // A connection that breaks is the peer's business, and shows in what was seen.
            let _ = Session { stream: BufReader::new(stream), peer, shared: Arc::clone(&shared) }.lead();
            shared.seen.change(|seen| seen.ended += 1);
        });
    }
}

struct Session {
    stream: BufReader<TcpStream>,
    peer: SocketAddr,
    shared: Arc<Shared>,
}

/// Whether the dialogue goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Go(bool),
    Close,
}

impl Session {
    fn lead(mut self) -> std::io::Result<()> {
        if self.act(Moment::Connect, "220 upstream.test ESMTP")? != Next::Go(true) {
            return Ok(());
        }
        let mut envelope = Mail { reverse_path: String::new(), recipients: Vec::new(), raw: Vec::new() };
        while let Some(line) = self.line()? {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let next = match verb.as_str() {
                "EHLO" => self.ehlo()?,
                "HELO" | "NOOP" => self.say("250 2.0.0 Ok")?,
                "RSET" => {
                    envelope.recipients.clear();
                    self.say("250 2.0.0 Ok")?
                }
                "MAIL" => {
                    self.shared.seen.change(|seen| seen.mail_commands.push(line.clone()));
                    envelope.reverse_path = address(&line);
                    envelope.recipients.clear();
                    self.act(Moment::Mail(&address(&line)), "250 2.1.0 Ok")?
                }
                "RCPT" => {
                    let to = address(&line);
                    let next = self.act(Moment::Rcpt(&to), "250 2.1.5 Ok")?;
                    envelope.recipients.extend((next == Next::Go(true)).then_some(to));
                    next
                }
                "DATA" if envelope.recipients.is_empty() => self.say("503 5.5.1 No recipients")?,
                "DATA" => self.data(&mut envelope)?,
                "QUIT" => {
                    self.say("221 2.0.0 Bye")?;
                    Next::Close
                }
                _ => self.say("500 5.5.2 Not understood")?,
            };
            if next == Next::Close {
                break;
            }
        }
        Ok(())
    }

    fn ehlo(&mut self) -> std::io::Result<Next> {
        let mut lines = vec!["upstream.test"];
        lines.extend(self.shared.offers);
        let last = lines.pop().unwrap_or_default();
        let first = lines.iter().map(|line| format!("250-{line}\r\n"));
        self.say(&format!("{}250 {last}", first.collect::<String>()))
    }

    fn data(&mut self, envelope: &mut Mail) -> std::io::Result<Next> {
        let next = self.act(Moment::Data, "354 Go ahead")?;
        if next != Next::Go(true) {
            return Ok(next);
        }
        envelope.raw.clear();
        loop {
            let Some(line) = self.line()? else { return Ok(Next::Close) };
            if line == b".\r\n" {
                break;
            }
            envelope.raw.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
        let mail = envelope.clone();
        envelope.recipients.clear();
        // What is answered is decided before others can see the message, and the message is seen before the answer is.
        let answer = (self.shared.script.get().clone())(Moment::Dot(&mail));
        let peer = self.peer;
        self.shared.seen.change(|seen| {
            if answer == Answer::Accept {
                seen.taken.push(mail.clone());
            }
            seen.dots.push(mail.clone());
            seen.answers.push(answer);
            seen.peers.push(peer);
        });
        let number = self.shared.seen.get().dots.len();
        self.answer(answer, &format!("250 2.0.0 Ok: queued as UP{number}"))
    }

    fn act(&mut self, moment: Moment<'_>, accepted: &str) -> std::io::Result<Next> {
        let script = self.shared.script.get().clone();
        self.answer(script(moment), accepted)
    }

    fn answer(&mut self, answer: Answer, accepted: &str) -> std::io::Result<Next> {
        match answer {
            Answer::Accept => self.say(accepted),
            Answer::Reply(line) => {
                self.say(line)?;
                // RFC 5321 section 3.8: who says 421 closes the connection.
                Ok(if line.starts_with("421") { Next::Close } else { Next::Go(line.starts_with(['2', '3'])) })
            }
            Answer::Drop => Ok(Next::Close),
            Answer::Reset => self.reset(),
            Answer::Garbage(bytes) => {
                self.stream.get_mut().write_all(bytes)?;
                Ok(Next::Go(true))
            }
            Answer::Slow(pause) => {
                for byte in format!("{accepted}\r\n").bytes() {
                    std::thread::park_timeout(pause);
                    self.stream.get_mut().write_all(&[byte])?;
                }
                Ok(Next::Go(true))
            }
            Answer::Hang => {
                std::io::copy(&mut self.stream.by_ref().take(1 << 20), &mut std::io::sink())?;
                Ok(Next::Close)
            }
        }
    }

    /// Closes so that the peer gets a reset, not an end.
    fn reset(&mut self) -> std::io::Result<Next> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let stream = self.stream.get_ref().try_clone()?;
        stream.set_nonblocking(true)?;
        let _inside = runtime.enter();
        tokio::net::TcpStream::from_std(stream)?.set_zero_linger()?;
        Ok(Next::Close)
    }

    fn say(&mut self, line: &str) -> std::io::Result<Next> {
        self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes())?;
        Ok(Next::Go(true))
    }

    fn line(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        Ok((!line.is_empty()).then_some(line))
    }
}

fn address(line: &str) -> String {
    let inner = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inner.map(|(address, _)| address.to_owned()).unwrap_or_default()
}
