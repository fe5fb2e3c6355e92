//! The dialogue with one peer: which command may come when, and what it is answered.
//!
//! The order of RFC 5321 section 4.1.4, the security rules of RFC 3207 and RFC 4954. The session trusts nothing it
//! reads. After every end of a transaction, good or bad, it is as before MAIL, and AUTH stays.
//!
//! The greeting, EHLO and STARTTLS are here, AUTH in `login`, MAIL, RCPT and DATA in `transaction`, what is
//! logged of refusals in `record`.

mod login;
mod record;
mod transaction;

use std::convert::Infallible;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, debug_span, error};

use crate::defect::survive;
use crate::mail::Address;
use crate::outcome::{Detail, Reply};

use super::command::{self, Command, Offer};
use super::connection::{Busy, Connection, Encrypted, End, NoTls, Transport};
use super::line::{Expect, Line};
use super::refusals::{self, Refusal};
use super::{Config, Handler, Limits, ListenerConfig, ListenerTls, Peer, Server, SessionFacts};

use record::Attempt;

/// Leads one session from greeting to end. Returns when the connection is closed.
pub async fn serve(
    transport: impl Transport + 'static,
    peer: Peer,
    listener: Arc<ListenerConfig>,
    server: Server,
    shutdown: CancellationToken,
) {
    let span =
        debug_span!("smtp", listener = %peer.listener, peer = peer.address.map(tracing::field::display));
    let config = server.config();
    let connection = Connection::new(Box::new(transport), &config.limits, shutdown);
    let tls = if listener.tls == ListenerTls::Off { None } else { server.tls() };
    let counted = server.clone();
    let _open = counted.stats().begin();
    let setting = Setting { peer, listener, config, server, tls };
    let session = async {
        let Some((mut session, greeting)) = open(connection, setting).await else { return };
        session.connection.queue(&greeting);
        let Err(end) = session.dialogue().await;
        debug!(?end, "session over");
        if let Some(farewell) = farewell(end) {
            session.record_end(end, &farewell);
            session.connection.queue(&farewell);
        }
        if end != End::Disconnected {
            session.connection.close().await;
        }
    };
    session.instrument(span).await;
}

/// What does not change in a session.
struct Setting {
    peer: Peer,
    listener: Arc<ListenerConfig>,
    config: Arc<Config>,
    server: Server,
    tls: Option<Arc<rustls::ServerConfig>>,
}

struct Session {
    setting: Setting,
    connection: Connection,
    handler: Box<dyn Handler>,
    facts: SessionFacts,
    has_said_hello: bool,
    transaction: Option<Transaction>,
    tally: Tally,
    attempt: Attempt,
}

/// A mail transaction between MAIL and the answer to DATA.
struct Transaction {
    smtputf8: bool,
    recipients: Vec<Address>,
}

#[derive(Default)]
struct Tally {
    errors: u32,
    auth_failures: u32,
    messages: u32,
}

/// TLS from the first byte where the listener says so, then the service's word, then the greeting to send.
async fn open(mut connection: Connection, setting: Setting) -> Option<(Session, Reply)> {
    let mut facts = SessionFacts::default();
    if setting.listener.tls == ListenerTls::Implicit {
        let Some(config) = &setting.tls else {
            error!(listener = %setting.peer.listener, "there is no certificate: a connection was refused");
            return None;
        };
        let patience = setting.config.limits.handshake;
        let handshake = connection.start_tls(config, patience).await;
        facts = facts_of(&noted(&setting, handshake).ok()?);
    }
    match setting.server.service().connect(&setting.peer) {
        Ok(handler) => {
            let greeting = Reply::plain(220, [format!("{} ESMTP authrelay", setting.config.hostname)]);
            let session = Session {
                setting,
                connection,
                handler,
                facts,
                has_said_hello: false,
                transaction: None,
                tally: Tally::default(),
                attempt: Attempt::default(),
            };
            Some((session, greeting))
        }
        Err(reply) => {
            setting.server.refusals().log(&Refusal {
                peer: &setting.peer,
                client: None,
                command: None,
                address: None,
                reply: &reply,
                session: refusals::Session::Closed,
            });
            connection.queue(&reply);
            connection.close().await;
            None
        }
    }
}

fn noted(setting: &Setting, handshake: Result<Encrypted, NoTls>) -> Result<Encrypted, End> {
    let stats = setting.server.stats();
    match &handshake {
        Ok(encrypted) => stats.encrypted(encrypted.version),
        Err(none) => {
            stats.not_encrypted.one();
            if let Some(reason) = none.reason() {
                setting.server.refusals().log_handshake(&setting.peer, reason);
            }
        }
    }
    handshake.map_err(|_| End::Disconnected)
}

/// What is known after a handshake, and nothing that was said before it.
fn facts_of(handshake: &Encrypted) -> SessionFacts {
    let &Encrypted { version, certificate } = handshake;
    SessionFacts { tls: Some(version), certificate, ..SessionFacts::default() }
}

/// What a peer is told at last.
fn farewell(end: End) -> Option<Reply> {
    match end {
        End::Disconnected | End::Answered => None,
        End::Idle => Some(Reply::new(421, Detail(4, 2), "time-out, closing connection")),
        End::SessionOver => {
            Some(Reply::new(421, Detail(4, 2), "the session lasted too long, closing connection"))
        }
        End::TransactionOver => {
            Some(Reply::new(421, Detail(4, 2), "the transaction lasted too long, closing connection"))
        }
        End::TooSlow => {
            Some(Reply::new(421, Detail(4, 2), "the message came too slowly, closing connection"))
        }
        End::Stopping => Some(Reply::new(421, Detail(3, 2), "shutting down, closing connection")),
        End::TooManyErrors => Some(Reply::new(421, Detail(7, 0), "too many errors, closing connection")),
        End::TooManyAuthFailures => {
            Some(Reply::new(421, Detail(7, 0), "too many failed logins, closing connection"))
        }
        End::TooManyMessages => {
            Some(Reply::new(421, Detail(7, 0), "too many messages in one connection, closing connection"))
        }
        End::NotSmtp => Some(Reply::new(421, Detail(7, 0), "this is an SMTP server, closing connection")),
        End::TlsTooSoon => Some(Reply::new(
            421,
            Detail(7, 0),
            "a session on this port does not begin with TLS, closing connection",
        )),
        End::Fault => Some(Reply::new(421, Detail(3, 0), "internal error, closing connection")),
    }
}

impl Session {
    async fn dialogue(&mut self) -> Result<Infallible, End> {
        loop {
            let busy = if self.transaction.is_some() { Busy::InTransaction } else { Busy::Idle };
            if busy == Busy::Idle {
                self.connection.may_go_on()?;
            }
            self.attempt = Attempt::default();
            let line = self.connection.read_line(Expect::Command, busy).await?;
            self.attempt = match &line {
                Line::Whole(line) => Attempt::of(line),
                Line::Broken | Line::BareLf | Line::TooLong | Line::Flood | Line::ClientHello => {
                    Attempt::unreadable()
                }
            };
            match line {
                Line::Whole(line) if command::is_http(&line) => return Err(End::NotSmtp),
                Line::Whole(line) => match command::parse(&line, self.offer()) {
                    Ok(command) => self.obey(command).await?,
                    Err(reply) => self.answer(&reply)?,
                },
                Line::Broken => {
                    self.answer(&Reply::new(
                        500,
                        Detail(5, 2),
                        "a command ends in CR LF, without other CR or NUL",
                    ))?;
                }
                Line::BareLf => return self.end_with(&bare_line_feed()),
                Line::TooLong => self.answer(&Reply::new(500, Detail(5, 2), "line too long"))?,
                Line::Flood => {
                    return self.end_with(&Reply::new(
                        500,
                        Detail(5, 2),
                        "line too long, closing connection",
                    ));
                }
                Line::ClientHello => return Err(End::TlsTooSoon),
            }
        }
    }

    async fn obey(&mut self, command: Command) -> Result<(), End> {
        let before_tls =
            matches!(command, Command::Ehlo(_) | Command::Noop | Command::Quit | Command::StartTls);
        if self.setting.listener.tls == ListenerTls::Required && self.facts.tls.is_none() && !before_tls {
            return self.answer(&Reply::new(530, Detail(7, 0), "STARTTLS comes first"));
        }
        match command {
            Command::Ehlo(name) => self.ehlo(name),
            Command::Helo(name) => {
                self.hello(name);
                self.answer(&Reply::plain(250, [&self.setting.config.hostname]))
            }
            Command::StartTls => self.start_tls().await,
            Command::Auth { mechanism, initial } => self.auth(mechanism, initial).await,
            Command::Mail(mail) => self.mail(mail).await,
            Command::Rcpt(to) => self.rcpt(to).await,
            Command::Data => self.data().await,
            Command::Rset => {
                self.reset();
                self.answer(&Reply::new(250, Detail(0, 0), "ok"))
            }
            Command::Noop => self.answer(&Reply::new(250, Detail(0, 0), "ok")),
            Command::Vrfy => self.answer(&Reply::new(252, Detail(5, 0), "not verified; send mail and see")),
            Command::Help => {
                self.answer(&Reply::new(214, Detail(0, 0), "this is an SMTP relay, see RFC 5321"))
            }
            Command::NotOffered => self.answer(&Reply::new(502, Detail(5, 1), "command not offered")),
            Command::Quit => {
                self.connection.queue(&Reply::new(221, Detail(0, 0), "bye"));
                Err(End::Answered)
            }
        }
    }

    fn ehlo(&mut self, name: String) -> Result<(), End> {
        self.hello(name);
        self.facts.extended = true;
        let config = &self.setting.config;
        let mut lines = vec![config.hostname.clone(), "PIPELINING".to_owned()];
        lines.push(format!("SIZE {}", config.limits.message_size));
        if self.may_start_tls() && self.setting.tls.is_some() {
            lines.push("STARTTLS".to_owned());
        }
        if self.may_auth() {
            lines.push("AUTH PLAIN LOGIN".to_owned());
        }
        lines.push("8BITMIME".to_owned());
        if self.setting.listener.smtputf8 {
            lines.push("SMTPUTF8".to_owned());
        }
        lines.push("ENHANCEDSTATUSCODES".to_owned());
        self.answer(&Reply::plain(250, lines))
    }

    fn hello(&mut self, name: String) {
        debug!(%name, "hello");
        self.reset();
        self.facts.helo = name;
        self.facts.extended = false;
        self.has_said_hello = true;
    }

    async fn start_tls(&mut self) -> Result<(), End> {
        if !self.may_start_tls() {
            let text =
                if self.facts.tls.is_some() { "TLS is active already" } else { "STARTTLS is not offered" };
            let code = if self.facts.tls.is_some() { 503 } else { 502 };
            return self.answer(&Reply::new(code, Detail(5, 1), text));
        }
        let Some(config) = self.setting.tls.clone() else {
            return self.answer(&Reply::new(454, Detail(7, 0), "TLS is not available at the moment"));
        };
        self.connection.queue(&Reply::new(220, Detail(0, 0), "ready for TLS"));
        let patience = self.limits().handshake;
        let handshake = self.connection.start_tls(&config, patience).await;
        let handshake = noted(&self.setting, handshake)?;
        debug!(version = handshake.version, "TLS");
        let had_user = self.facts.user.is_some();
        self.reset();
        self.facts = facts_of(&handshake);
        self.has_said_hello = false;
        if had_user {
            match self.setting.server.service().connect(&self.setting.peer) {
                Ok(handler) => self.handler = handler,
                Err(reply) => return self.end_with(&reply),
            }
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.transaction = None;
        self.handler.reset();
    }

    /// Queues a reply of the session's own; errors are logged and counted.
    fn answer(&mut self, reply: &Reply) -> Result<(), End> {
        if !reply.is_positive() {
            self.record(reply);
        }
        self.send(reply)
    }

    /// Queues a reply; errors are counted.
    fn send(&mut self, reply: &Reply) -> Result<(), End> {
        self.connection.queue(reply);
        if !reply.is_positive() {
            self.tally.errors += 1;
            if self.tally.errors >= self.limits().errors {
                return Err(End::TooManyErrors);
            }
        }
        Ok(())
    }

    /// Queues a last reply, behind which nothing more is read.
    fn end_with<T>(&mut self, reply: &Reply) -> Result<T, End> {
        self.record_last(reply);
        self.connection.queue(reply);
        Err(End::Answered)
    }

    /// Queues a reply of the handler. That a client we know has something refused is no error in the protocol.
    fn pass_on(&mut self, reply: &Reply) -> Result<(), End> {
        if self.handler.is_known_client() {
            self.connection.queue(reply);
        } else {
            self.send(reply)?;
        }
        closing(reply)
    }

    fn may_start_tls(&self) -> bool {
        let offered = matches!(self.setting.listener.tls, ListenerTls::StartTls | ListenerTls::Required);
        offered && self.facts.tls.is_none()
    }

    fn may_auth(&self) -> bool {
        let named = |address| self.setting.listener.plaintext_auth.iter().any(|net| net.contains(&address));
        match self.setting.listener.tls {
            _ if self.facts.tls.is_some() => true,
            ListenerTls::Required => false,
            ListenerTls::Off | ListenerTls::StartTls | ListenerTls::Implicit => {
                self.setting.peer.address.is_some_and(named)
            }
        }
    }

    fn limits(&self) -> &Limits {
        &self.setting.config.limits
    }

    fn offer(&self) -> Offer<'_> {
        Offer { hostname: &self.setting.config.hostname, smtputf8: self.setting.listener.smtputf8 }
    }
}

fn bare_line_feed() -> Reply {
    Reply::new(500, Detail(5, 2), "lines end in CR LF; a bare LF was received, closing connection")
}

fn out_of_order(text: &str) -> Reply {
    Reply::new(503, Detail(5, 1), text)
}

/// A 421 or 521 says that the connection is closed (RFC 5321 section 3.8, RFC 7504).
fn closing(reply: &Reply) -> Result<(), End> {
    if matches!(reply.code(), 421 | 521) { Err(End::Answered) } else { Ok(()) }
}

/// Lets the handler work. A panic in there ends this session with a temporary error, and nothing else.
async fn guarded<T>(work: impl Future<Output = T>) -> Result<T, End> {
    survive(work).await.map_err(|defect| {
        error!(%defect, "the handler of a session failed");
        End::Fault
    })
}
