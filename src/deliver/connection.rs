//! One connection to an SMTP upstream: opened, encrypted and logged in as configured, or not at all; then one
//! transaction after the other.
//!
//! mail-send speaks the protocol; every step has a time-out of ours, and what it leaves to its caller is decided here:
//! which AUTH mechanism, what MAIL may carry, and the bytes of DATA. Nothing is sent over a connection that is not
//! encrypted as configured, and no message where a login is configured and was not accepted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use mail_send::{Error, SmtpClient};
use smtp_proto::{
    AUTH_LOGIN, AUTH_PLAIN, EXT_8BIT_MIME, EXT_PIPELINING, EXT_SIZE, EXT_SMTP_UTF8, EXT_START_TLS,
    EhloResponse, Response,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use super::pipelined::{Command, all_at_once};
use super::reply::{HandOver, Step, Trip, accepted, judge, lost};
use super::route::Letter;
use super::wire::{Offers, SizeOffer, data_bytes, mail_parameters};
use super::{Dial, SmtpConfig, UpstreamTls};
use crate::outbound::TlsSeen;
use crate::outcome::{Reason, ReasonClass};
use crate::secret::Secret;

/// A byte stream, encrypted or not.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// How long a farewell may take; nobody waits for it.
pub(super) const QUIT_TIMEOUT: Duration = Duration::from_secs(2);

/// What stood in the way, and whether the connection can be used again.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) hand_over: HandOver,
    pub(super) usable: bool,
}

/// An open connection, ready for a transaction.
pub(super) struct Connection {
    client: SmtpClient<Box<dyn Stream>>,
    offers: Offers,
    /// Messages begun over it.
    pub(super) messages: u32,
    /// Whether a transaction may still be open.
    unfinished: bool,
    _counted: Counted,
}

/// Counts open connections.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    /// Connects, encrypts and logs in; all of it within the time for connecting.
    pub(super) async fn open(
        config: &SmtpConfig,
        hostname: &str,
        open: &Arc<AtomicUsize>,
    ) -> Result<Self, HandOver> {
        let counted = Counted::new(open);
        let opened = tokio::time::timeout(config.timeouts.connect, open_stream(config, hostname));
        let Opened { mut client, ehlo, .. } = match opened.await {
            Ok(result) => result?,
            Err(_) => return Err(lost(Step::Greeting, &Error::Timeout)),
        };
        client.timeout = config.timeouts.command;
        let size = match (ehlo.capabilities & EXT_SIZE != 0, ehlo.size) {
            (false, _) => SizeOffer::Unknown,
            (true, 0) => SizeOffer::Unlimited,
            (true, most) => SizeOffer::UpTo(most),
        };
        let offers = Offers {
            eight_bit_mime: ehlo.capabilities & EXT_8BIT_MIME != 0,
            smtp_utf8: ehlo.capabilities & EXT_SMTP_UTF8 != 0,
            pipelining: ehlo.capabilities & EXT_PIPELINING != 0,
            size,
        };
        Ok(Self { client, offers, messages: 0, unfinished: false, _counted: counted })
    }

    /// MAIL, RCPT and DATA, up to the reply that asks for the message. Nothing of the message is sent here.
    pub(super) async fn begin(&mut self, letter: Letter<'_>) -> Result<(), Fault> {
        let parameters =
            mail_parameters(letter, self.offers).map_err(|hand_over| Fault { hand_over, usable: true })?;
        if self.unfinished {
            self.command(Step::Mail, "RSET\r\n".to_owned(), 250).await?;
        }
        self.messages = self.messages.saturating_add(1);
        self.unfinished = true;
        let from = letter.outgoing.reverse_path.as_str();
        let to = letter.recipient.as_str();
        let commands = [
            Command { step: Step::Mail, line: format!("MAIL FROM:<{from}>{parameters}\r\n"), expected: 250 },
            Command { step: Step::Rcpt, line: format!("RCPT TO:<{to}>\r\n"), expected: 250 },
            Command { step: Step::Data, line: "DATA\r\n".to_owned(), expected: 354 },
        ];
        if self.offers.pipelining {
            return all_at_once(&mut self.client, &commands).await;
        }
        for Command { step, line, expected } in commands {
            self.command(step, line, expected).await?;
        }
        Ok(())
    }

    /// The message and its final dot, and the upstream's answer. Returns whether the connection can be used again.
    ///
    /// A write that fails or is cut short leaves the last bytes unsent, so the upstream can't take the message: it may be
    /// sent elsewhere. Once all bytes are out, only an answer tells.
    pub(super) async fn finish(&mut self, raw: &Bytes, within: Duration) -> (HandOver, bool) {
        let started = tokio::time::Instant::now();
        let wire = data_bytes(raw);
        let written = tokio::time::timeout(within, async {
            self.client.stream.write_all(&wire).await?;
            self.client.stream.flush().await
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return (lost(Step::Data, &Error::Io(error)), false),
            Err(_) => return (lost(Step::Data, &Error::Timeout), false),
        }
        let left = within.saturating_sub(started.elapsed());
        let reply = match tokio::time::timeout(left, self.client.read()).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => return (lost(Step::Dot, &error), false),
            Err(_) => return (lost(Step::Dot, &Error::Timeout), false),
        };
        if (200..300).contains(&reply.code) {
            self.unfinished = false;
            return (accepted(&reply), true);
        }
        let hand_over = judge(Step::Dot, &reply);
        let usable = stays_usable(&reply) && !matches!(hand_over, HandOver::InDoubt(_));
        self.unfinished = false;
        (hand_over, usable)
    }

    /// Says goodbye, without anybody waiting for it.
    pub(super) fn close(mut self) {
        self.client.timeout = QUIT_TIMEOUT;
        tokio::spawn(async move {
            // Whatever the upstream says to this, the connection ends here.
            let _ = self.client.cmd(b"QUIT\r\n").await;
        });
    }

    async fn command(&mut self, step: Step, command: String, expected: u16) -> Result<(), Fault> {
        let reply = match self.client.cmd(command.as_bytes()).await {
            Ok(reply) => reply,
            Err(error) => return Err(Fault { hand_over: lost(step, &error), usable: false }),
        };
        if is_expected(&reply, expected) {
            return Ok(());
        }
        Err(Fault { hand_over: judge(step, &reply), usable: stays_usable(&reply) })
    }
}

/// 251 and 252 to RCPT are as good as 250.
pub(super) fn is_expected(reply: &Response<String>, expected: u16) -> bool {
    reply.code == expected || (expected == 250 && (250..=252).contains(&reply.code))
}

/// After 421 the upstream closes (RFC 5321 section 3.8); after a reply that is neither 4xx nor 5xx nobody knows where the
/// two ends are.
pub(super) fn stays_usable(reply: &Response<String>) -> bool {
    reply.code != 421 && (400..600).contains(&reply.code)
}

/// A conversation that is encrypted as configured, with the upstream's answer to EHLO.
pub(super) struct Opened {
    pub(super) client: SmtpClient<Box<dyn Stream>>,
    ehlo: EhloResponse<String>,
    pub(super) tls: Option<TlsSeen>,
    may_log_in_clear: bool,
}

async fn open_stream(config: &SmtpConfig, hostname: &str) -> Result<Opened, HandOver> {
    let mut opened = secure(config, hostname).await?;
    opened.log_in(config).await?;
    Ok(opened)
}

/// Connects and encrypts as configured.
pub(super) async fn secure(config: &SmtpConfig, hostname: &str) -> Result<Opened, HandOver> {
    if let UpstreamTls::ByDialler(dialler) = &config.tls {
        return dialled(&**dialler, config, hostname).await;
    }
    let addresses = addresses(config).await?;
    let stream = connect(config, &addresses).await.map_err(|error| lost(Step::Greeting, &error))?;
    // Without it every small command waits for the one before to be acknowledged.
    stream.set_nodelay(true).map_err(|error| lost(Step::Greeting, &Error::Io(error)))?;
    let may_log_in_clear = stream.peer_addr().is_ok_and(|peer| peer.ip().to_canonical().is_loopback());
    // Each step stands inside the time for connecting; this only keeps the library's own away.
    let mut plain = SmtpClient { stream, timeout: config.timeouts.connect };
    let (mut client, tls) = match &config.tls {
        UpstreamTls::Plain | UpstreamTls::ByDialler(_) => {
            greeting(&mut plain).await?;
            (SmtpClient { stream: Box::new(plain.stream) as Box<dyn Stream>, timeout: plain.timeout }, None)
        }
        UpstreamTls::StartTls(tls) => {
            greeting(&mut plain).await?;
            let offers = ehlo(&mut plain, hostname).await?;
            if offers.capabilities & EXT_START_TLS == 0 {
                return Err(lost(Step::Tls, &Error::MissingStartTls));
            }
            let connector = TlsConnector::from(Arc::clone(tls));
            let secured = plain.start_tls(&connector, &config.host).await;
            boxed(secured.map_err(|error| lost(Step::Tls, &error))?)
        }
        UpstreamTls::Implicit(tls) => {
            let connector = TlsConnector::from(Arc::clone(tls));
            let secured = plain.into_tls(&connector, &config.host).await;
            let (mut client, seen) = boxed(secured.map_err(|error| lost(Step::Tls, &error))?);
            greeting(&mut client).await?;
            (client, seen)
        }
    };
    // After STARTTLS what was said before counts for nothing (RFC 3207 section 4.2).
    let ehlo = ehlo(&mut client, hostname).await?;
    Ok(Opened { client, ehlo, tls, may_log_in_clear })
}

async fn dialled(dialler: &dyn Dial, config: &SmtpConfig, hostname: &str) -> Result<Opened, HandOver> {
    let stream = dialler.dial(&config.host, config.port).await;
    let stream = stream.map_err(|error| lost(Step::Greeting, &Error::Io(error)))?;
    let mut client = SmtpClient { stream, timeout: config.timeouts.connect };
    greeting(&mut client).await?;
    let ehlo = ehlo(&mut client, hostname).await?;
    Ok(Opened { client, ehlo, tls: None, may_log_in_clear: false })
}

impl Opened {
    /// Logs in, where a login is configured.
    pub(super) async fn log_in(&mut self, config: &SmtpConfig) -> Result<(), HandOver> {
        let Some((user, password)) = &config.credentials else { return Ok(()) };
        let is_encrypted = match config.tls {
            UpstreamTls::StartTls(_) | UpstreamTls::Implicit(_) => true,
            UpstreamTls::Plain | UpstreamTls::ByDialler(_) => false,
        };
        if !is_encrypted && !self.may_log_in_clear {
            return Err(no_login("the password is not sent in the clear to another machine"));
        }
        log_in(&mut self.client, self.ehlo.auth_mechanisms, user, password).await
    }

    /// Whether addresses beyond ASCII may be said.
    pub(super) fn offers_smtp_utf8(&self) -> bool {
        self.ehlo.capabilities & EXT_SMTP_UTF8 != 0
    }
}

async fn addresses(config: &SmtpConfig) -> Result<Vec<SocketAddr>, HandOver> {
    let found = tokio::net::lookup_host((config.host.as_str(), config.port)).await;
    let why = match found {
        Ok(found) => {
            let addresses: Vec<SocketAddr> = found.collect();
            if !addresses.is_empty() {
                return Ok(addresses);
            }
            "it has no address".to_owned()
        }
        // The system's own words; its kind says nothing.
        Err(error) => error.to_string(),
    };
    let reason =
        Reason::new(ReasonClass::Connect, format!("{} can't be found in the DNS: {why}", config.host));
    Err(HandOver::Unavailable(reason, Trip::AtOnce))
}

/// Tries every address of the host. Each gets its share of the time, so that a first one that swallows everything does
/// not hide a second one that works.
async fn connect(config: &SmtpConfig, addresses: &[SocketAddr]) -> Result<TcpStream, Error> {
    let share = config.timeouts.connect / u32::try_from(addresses.len() + 1).unwrap_or(u32::MAX);
    let mut last = Error::Io(std::io::ErrorKind::NotFound.into());
    for address in addresses {
        match tokio::time::timeout(share, TcpStream::connect(*address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = Error::Io(error),
            Err(_) => last = Error::Timeout,
        }
    }
    Err(last)
}

fn boxed(client: SmtpClient<TlsStream<TcpStream>>) -> (SmtpClient<Box<dyn Stream>>, Option<TlsSeen>) {
    let seen = TlsSeen::of(client.stream.get_ref().1);
    (SmtpClient { stream: Box::new(client.stream), timeout: client.timeout }, Some(seen))
}

async fn greeting<T: Stream>(client: &mut SmtpClient<T>) -> Result<(), HandOver> {
    let reply = client.read().await.map_err(|error| lost(Step::Greeting, &error))?;
    if reply.code == 220 { Ok(()) } else { Err(judge(Step::Greeting, &reply)) }
}

async fn ehlo<T: Stream>(
    client: &mut SmtpClient<T>,
    hostname: &str,
) -> Result<EhloResponse<String>, HandOver> {
    client.ehlo(hostname).await.map_err(|error| lost(Step::Ehlo, &error))
}

/// Logs in with PLAIN, or with LOGIN where that is all there is. One try: a wrong password must not lock the account.
async fn log_in(
    client: &mut SmtpClient<Box<dyn Stream>>,
    offered: u64,
    user: &str,
    password: &Secret,
) -> Result<(), HandOver> {
    let password = password.reveal();
    let (first, answers) = if offered & AUTH_PLAIN != 0 {
        let token = Zeroizing::new(format!("\0{user}\0{password}"));
        let token = encoded(token.as_bytes());
        (Zeroizing::new(format!("AUTH PLAIN {}\r\n", *token)), vec![token])
    } else if offered & AUTH_LOGIN != 0 {
        let answers = vec![encoded(user.as_bytes()), encoded(password.as_bytes())];
        (Zeroizing::new("AUTH LOGIN\r\n".to_owned()), answers)
    } else {
        return Err(no_login("the upstream offers neither AUTH PLAIN nor AUTH LOGIN"));
    };
    let mut reply = client.cmd(first.as_bytes()).await.map_err(|error| lost(Step::Auth, &error))?;
    for answer in answers {
        if reply.code != 334 {
            break;
        }
        let line = Zeroizing::new(format!("{}\r\n", *answer));
        reply = client.cmd(line.as_bytes()).await.map_err(|error| lost(Step::Auth, &error))?;
    }
    if reply.code == 235 { Ok(()) } else { Err(judge(Step::Auth, &reply)) }
}

fn encoded(text: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(text))
}

fn no_login(text: &str) -> HandOver {
    HandOver::Unavailable(Reason::new(ReasonClass::Auth, text), Trip::AtOnce)
}
