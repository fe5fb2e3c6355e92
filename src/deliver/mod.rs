//! From the queue to an upstream: takes messages up, renders them for the upstream of the attempt, hands them over, and
//! settles what came of it. Every answer becomes an `Outcome`.
//!
//! In the order in which a message meets them: [`Delivery`] (`dispatch`) takes it up and gives it its turn (`lanes`),
//! `attempt` walks its routes (`route`), an [`Upstream`] lets it in (`breaker`, connections, rate) and carries it: a mail over
//! a pooled `connection` of `smtp`, whose replies `reply` judges, or into a `maildir`; a text to `twilio`, or into an `outbox`.
//! `expiry` ends what is too late. `reports` asks Twilio what became of texts, and `feedback` tells it which were of use.
//! `herald` has it on record when an upstream fails as a whole, and when it works again.
//!
//! What must hold: one copy is sent, and after an attempt without an answer only the same upstream is asked again, and a
//! text is never posted again; nothing is sent once the life of a message is over; nothing is sent in the clear where TLS
//! was asked for.

mod attempt;
mod breaker;
mod connection;
mod desk;
mod discretion;
mod dispatch;
mod expiry;
mod feedback;
mod herald;
mod intake;
mod lanes;
mod maildir;
mod outbox;
mod parcel;
mod pipelined;
mod probe;
mod rate;
mod registry;
mod reply;
mod reports;
mod route;
mod smtp;
mod status;
mod tally;
mod twilio;
mod upstream;
mod walk;
mod wire;

#[cfg(test)]
mod tests;

pub use connection::Stream;
pub use dispatch::{CurrentConfig, Delivery, DeliveryStatus, InForce, Monitor, RetryClock};
pub use parcel::{Parcel, Text};
pub use probe::{SmtpProbe, certificates_shown, probe_smtp};
pub use reply::{HandOver, Trip};
pub use route::{Letter, Outgoing, Renderer};
pub use status::{BreakerStatus, UpstreamStatus};
pub use tally::Tally;
pub use twilio::{TwilioAccount, TwilioProbe, TwilioTrouble, news, probe as probe_twilio};
pub use upstream::Upstream;

use std::path::PathBuf;
use std::time::Duration;

use crate::ident::{SenderName, UpstreamName};
use crate::outbound::TlsClient;
use crate::secret::Secret;

/// How messages are handed over, as configured.
#[derive(Debug)]
pub struct Config {
    /// The name we give in EHLO.
    pub hostname: String,
    /// The upstreams, in the order in which they are tried.
    pub upstreams: Vec<UpstreamConfig>,
    /// The most attempts under way at once, over all upstreams. Normal mail never takes the last quarter.
    pub workers: usize,
}

impl Config {
    /// The upstreams that may carry mail of `sender`, in the order in which they are tried.
    pub fn carriers<'a>(&'a self, sender: &'a SenderName) -> impl Iterator<Item = &'a UpstreamConfig> {
        self.upstreams.iter().filter(move |upstream| upstream.may_carry(sender))
    }

    /// The upstreams that carry texts, in the order in which they are tried.
    pub fn text_carriers(&self) -> impl Iterator<Item = &UpstreamConfig> {
        self.upstreams.iter().filter(|upstream| upstream.kind.carries() == parcel::Carries::Texts)
    }
}

impl UpstreamConfig {
    /// Whether it may carry mail of `sender`.
    pub fn may_carry(&self, sender: &SenderName) -> bool {
        self.kind.carries() == parcel::Carries::Letters
            && self.carries.as_ref().is_none_or(|senders| senders.contains(sender))
    }
}

impl UpstreamKind {
    fn carries(&self) -> parcel::Carries {
        match self {
            Self::Maildir { .. } | Self::Smtp(_) => parcel::Carries::Letters,
            Self::Outbox { .. } | Self::Twilio(_) => parcel::Carries::Texts,
        }
    }
}

/// One upstream. Its pool and its breaker are kept for as long as this stays equal.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamConfig {
    /// Its name.
    pub name: UpstreamName,
    /// What it is.
    pub kind: UpstreamKind,
    /// The senders it may carry; `None` means every sender.
    pub carries: Option<Vec<SenderName>>,
    /// The most connections (or deliveries, for a folder) at once. Normal mail never takes the last quarter.
    pub max_connections: usize,
    /// The most messages a minute; `None` means no limit.
    pub messages_per_minute: Option<u32>,
    /// When its breaker opens and how long it stays open.
    pub breaker: BreakerConfig,
}

/// What kind of thing an upstream is.
#[derive(Debug, Clone, PartialEq)]
pub enum UpstreamKind {
    /// A folder in maildir form, on this machine.
    Maildir {
        /// The folder; made where it is missing.
        path: PathBuf,
    },
    /// An SMTP server.
    Smtp(SmtpConfig),
    /// A file on this machine that texts are written to: for trying out.
    Outbox {
        /// The file; made where it is missing, for its owner alone.
        path: PathBuf,
    },
    /// Twilio's Programmable Messaging.
    Twilio(Box<TwilioConfig>),
}

/// How to talk to Twilio.
#[derive(Debug, Clone, PartialEq)]
pub struct TwilioConfig {
    /// The account, `AC` and 32 hexadecimal digits.
    pub account_sid: String,
    /// What is presented with every request.
    pub login: TwilioLogin,
    /// The account's auth token, which callbacks are signed with; always there where `public_url` is.
    pub auth_token: Option<Secret>,
    /// Who texts are from, where no prefix fits.
    pub from: TwilioFrom,
    /// Who texts are from, by the beginning of the number (`+44`); the longest that fits.
    pub from_by_prefix: Vec<(String, TwilioFrom)>,
    /// Where the API is: `https://api.twilio.com`, or with edge and region, or a proxy. No `/` at the end.
    pub base_url: String,
    /// Where Twilio reaches us: `https://relay.example`, no `/` at the end. Without it Twilio is asked.
    pub public_url: Option<String>,
    /// `RiskCheck`: whether Twilio may hold a text back as pumping; `None` leaves it to the account.
    pub risk_check: Option<bool>,
    /// `ContentRetention=discard`: whether Twilio is told to keep no text.
    pub discard_content: bool,
    /// `AddressRetention=obfuscate`: whether Twilio is told to keep no number.
    pub obfuscate_address: bool,
    /// Whether it is told which codes were used (`ProvideFeedback`).
    pub feedback: bool,
    /// Numbers that nothing is ever sent to, whatever was decided before.
    pub never: std::collections::HashSet<crate::mail::PhoneNumber>,
    /// TLS, with the roots that are trusted.
    pub tls: TlsClient,
    /// How long connecting, with TLS, may take.
    pub connect: Duration,
    /// How long an answer may take.
    pub answer: Duration,
}

/// What is presented to Twilio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TwilioLogin {
    /// The account's auth token.
    AuthToken(Secret),
    /// An API key: its SID and its secret.
    ApiKey(String, Secret),
}

/// Who a text is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TwilioFrom {
    /// A number of the account, or an alphanumeric sender.
    From(String),
    /// A Messaging Service, `MG` and 32 hexadecimal digits.
    MessagingService(String),
}

/// How to talk to an SMTP upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct SmtpConfig {
    /// Host name or address; a name is what its certificate must be for.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How the connection is encrypted.
    pub tls: UpstreamTls,
    /// User name and password; presented only over TLS, or in the clear to loopback where `tls` is `Plain`. Where they
    /// are set, nothing is sent without them.
    pub credentials: Option<(String, Secret)>,
    /// The time each step may take.
    pub timeouts: Timeouts,
    /// How long an unused connection is kept.
    pub idle: Duration,
    /// The most messages over one connection.
    pub messages_per_connection: u32,
}

/// How a connection to an upstream is encrypted.
#[derive(Clone)]
pub enum UpstreamTls {
    /// STARTTLS; without it on offer nothing is sent.
    StartTls(std::sync::Arc<rustls::ClientConfig>),
    /// TLS from the first byte.
    Implicit(std::sync::Arc<rustls::ClientConfig>),
    /// None: loopback, or the operator's explicit word.
    Plain,
    /// As whoever dials sees to it: what it opens is used as it is, and no password is presented over it.
    ByDialler(std::sync::Arc<dyn Dial>),
}

/// Opens the byte stream to an SMTP upstream in place of TCP: through a tunnel, or inside this process.
#[async_trait::async_trait]
pub trait Dial: Send + Sync {
    /// A stream to `host`, fresh and with nothing read from it yet.
    async fn dial(&self, host: &str, port: u16) -> std::io::Result<Box<dyn Stream>>;
}

impl PartialEq for UpstreamTls {
    /// Equal when they share one `ClientConfig` or dialler: two that were built apart may trust different certificates.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::StartTls(a), Self::StartTls(b)) | (Self::Implicit(a), Self::Implicit(b)) => {
                std::sync::Arc::ptr_eq(a, b)
            }
            (Self::ByDialler(a), Self::ByDialler(b)) => std::sync::Arc::ptr_eq(a, b),
            (Self::Plain, Self::Plain) => true,
            (Self::StartTls(_) | Self::Implicit(_) | Self::Plain | Self::ByDialler(_), _) => false,
        }
    }
}

impl std::fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::StartTls(_) => "StartTls",
            Self::Implicit(_) => "Implicit",
            Self::Plain => "Plain",
            Self::ByDialler(_) => "ByDialler",
        })
    }
}

/// The time each step of a delivery may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Connecting, TLS and greeting included.
    pub connect: Duration,
    /// One command and its reply.
    pub command: Duration,
    /// The message and the reply after its final dot.
    pub data: Duration,
}

impl Default for Timeouts {
    /// Shorter than RFC 5321 section 4.5.3.2 asks for: a code that is minutes late is of no use, and a second upstream
    /// may be waiting.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            command: Duration::from_secs(30),
            data: Duration::from_mins(2),
        }
    }
}

/// When a breaker opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerConfig {
    /// After so many failures in a row. A failure to connect, to encrypt or to log in opens it at once.
    pub failures: u32,
    /// How long it stays open at first; doubles each time up to `longest`.
    pub shortest: Duration,
    /// The longest it stays open.
    pub longest: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self { failures: 5, shortest: Duration::from_secs(1), longest: Duration::from_secs(30) }
    }
}

/// How much of `all` normal mail may take: never the last quarter, and never the last one of several.
fn normal_share(all: usize) -> usize {
    if all > 1 { all - (all / 4).max(1) } else { all }
}
