//! The configuration: what the administrator wrote, made into what each stage wants, in two steps.
//!
//! `raw` reads the file as written, `resolve` decides what it means as a whole: names that refer to something, files
//! that must be there, things that contradict each other. Both collect every problem, so that one look at the file puts
//! it right. What comes out, a [`Config`], is one immutable snapshot that no stage has to check again.
//!
//! Trusts the file and the files it names as far as their owner may be trusted; holds every secret as a `Secret`.

mod describe;
mod environment;
mod known;
mod problem;
mod raw;
mod reader;
mod resolve;
mod value;
mod words;

pub use describe::describe;
pub use environment::{Environment, Variables};
pub use known::Known;
pub use problem::{Errors, Place, Problem, Severity};
pub use value::show_duration;
pub use value::texts::show_limit;
pub(crate) use words::help_with;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeTable;

use crate::clock::Timestamp;
use crate::ident::{BusinessName, ClientName};
use crate::mail::Address;
use crate::queue::ActiveLimits;
use crate::{client, deliver, guard, http, otp, policy, rewrite, smtp, webhook};
use problem::{Report, Span};
use raw::{Raw, RawTop};
use reader::Table;

/// A file larger than this is not a configuration.
const FILE_SIZE_MOST: u64 = 4 << 20;

/// Everything that is configured. Immutable; a reload makes a new one.
#[derive(Debug)]
pub struct Config {
    /// The file it was read from; `None` for the defaults.
    pub source: Option<PathBuf>,
    /// Our name in SMTP and in header fields.
    pub hostname: String,
    /// Where everything is kept that must survive a restart.
    pub state_directory: PathBuf,
    /// The socket the command line talks to the daemon by.
    pub control_socket: PathBuf,
    /// The listening sockets, in the order of the file.
    pub listeners: Vec<smtp::ListenerConfig>,
    /// The SMTP server.
    pub smtp: smtp::Config,
    /// The server's certificate; `None`: a self-signed one is made at first start, in [`Config::tls_directory`].
    pub tls: Option<TlsFiles>,
    /// How clients are known.
    pub clients: client::Config,
    /// What each message is, and what is done with it.
    pub policy: Arc<policy::Policy>,
    /// Where the operator's own files of recognition are; `None`: there are only the shipped ones.
    pub recognition_directory: Option<PathBuf>,
    /// Whose name mail goes out under.
    pub rewrite: Arc<rewrite::Config>,
    /// How mail is handed over.
    pub deliver: Arc<deliver::Config>,
    /// How mail is kept.
    pub queue: QueueConfig,
    /// The HTTP listeners, in the order of the file.
    pub http: Vec<http::ListenerConfig>,
    /// How one-time codes for phones are taken.
    pub otp: Arc<otp::Config>,
    /// Where messages may lead, and what else is asked of them.
    pub mail_guard: Arc<guard::mail::Config>,
    /// Who may be sent a code, and how often.
    pub sms_guard: Arc<guard::sms::Config>,
    /// The client whose token is made at first start, in [`Config::token_file`]: only where no client is configured.
    pub first_client: Option<ClientName>,
    /// The web address of each business that has one.
    pub business_urls: BTreeMap<BusinessName, BusinessUrl>,
    /// Where events are told to.
    pub webhooks: Arc<webhook::Config>,
    /// What is kept of decisions.
    pub audit: AuditConfig,
    /// What is logged.
    pub log: LogConfig,
    /// The secrets that a reload does not read again, each as it stands in the file: those that the service manager gave
    /// to this process, and the queue's key.
    pub fixed_secrets: Vec<String>,
}

impl Config {
    /// Where the self-signed certificate is kept that is made when none is configured.
    pub fn tls_directory(&self) -> PathBuf {
        self.state_directory.join("tls")
    }

    /// Where it is kept what clients were seen to do.
    pub fn conduct_file(&self) -> PathBuf {
        self.state_directory.join("clients.json")
    }

    /// Where the token is kept that is made when no client is configured.
    pub fn token_file(&self) -> PathBuf {
        self.state_directory.join("otp.token")
    }
}

/// The files of the server's certificate; they were there and fitted each other when the configuration was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and its chain, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// The certificates that client certificates must be signed by, in PEM; `None`: any is taken, and only its
    /// fingerprint counts.
    pub client_ca: Option<PathBuf>,
}

/// How mail is kept.
#[derive(Debug, Clone)]
pub struct QueueConfig {
    /// The store's file.
    pub path: PathBuf,
    /// The key it is sealed with.
    pub key: KeySource,
    /// How long the record of a message is kept after its end.
    pub history: Duration,
    /// How much of it is in memory at once.
    pub active: ActiveLimits,
    /// Who gets failure reports; `None`: nobody.
    pub bounces: Option<Address>,
    /// When two messages are one, and how many of the normal lane may wait.
    pub limits: guard::limits::Config,
    /// How much of the disk is kept back: with less, nothing new is taken.
    pub reserve: Reserve,
}

/// How much of a disk is kept back for bringing to its end what was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserve {
    /// In octets.
    pub bytes: u64,
    /// In files.
    pub inodes: u64,
}

/// Where the key comes from that the store is sealed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// This file, which was there when the configuration was read.
    File(PathBuf),
    /// This file beside the store, made at first start. For trying out: it does not protect a stolen disk.
    MadeAtFirstStart(PathBuf),
}

impl KeySource {
    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::MadeAtFirstStart(path) => path,
        }
    }
}

/// The web address of a business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusinessUrl {
    /// As written.
    pub url: String,
    /// Its host, in lower case.
    pub host: String,
}

/// What is kept of decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditConfig {
    /// How long, where the record of the message itself is not kept for longer.
    pub keep: Duration,
}

impl AuditConfig {
    /// The archive keeps what was decided since then; `None`: it keeps nothing.
    pub fn archive(&self, now: Timestamp) -> Option<Timestamp> {
        (!self.keep.is_zero()).then(|| now.minus(self.keep))
    }
}

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogConfig {
    /// In which form.
    pub format: LogFormat,
    /// How much.
    pub level: tracing::Level,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// [`LogFormat::Journald`] where systemd keeps our output in its journal, else [`LogFormat::Text`].
    Automatic,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
    /// The journal's own fields.
    Journald,
}

/// A configuration that can be used, and what should be looked at.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What should be looked at, in the order of the file.
    pub warnings: Vec<Problem>,
}

/// Where a daemon is found, whether or not the rest of its configuration can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Where it keeps its state.
    pub state_directory: PathBuf,
    /// The socket it listens on for the command line.
    pub control_socket: PathBuf,
}

/// Reads the configuration in `path`; without one, the defaults. `Err` holds all that is wrong.
pub fn load(path: Option<&Path>, env: &Environment) -> Result<Loaded, Errors> {
    match read(path) {
        Ok(text) => load_text(path, text, env),
        Err(report) => Err(errors(report)),
    }
}

/// Reads from `path` only where the daemon is found: for a command that talks to it and need not be able to read the
/// files its configuration names.
pub fn places(path: Option<&Path>, env: &Environment) -> Result<Places, Errors> {
    let text = read(path).map_err(errors)?;
    let report = Report::new(shown(path), text);
    let text = report.text().to_owned();
    let document = parse(&report, &text);
    let (state_directory, control_socket) = RawTop::read_places(&Table::root(&report, document.get_ref()));
    if report.has_errors() {
        return Err(errors(report));
    }
    Ok(resolve::places(path, env, state_directory.as_ref(), control_socket.as_ref()))
}

/// The same, as far as it can be told, whatever is wrong with the file.
pub fn likely_places(path: Option<&Path>, env: &Environment) -> Places {
    let report = Report::new(shown(path), read(path).unwrap_or_default());
    let text = report.text().to_owned();
    let document = parse(&report, &text);
    let (state_directory, control_socket) = RawTop::read_places(&Table::root(&report, document.get_ref()));
    resolve::places(path, env, state_directory.as_ref(), control_socket.as_ref())
}

fn load_text(path: Option<&Path>, text: String, env: &Environment) -> Result<Loaded, Errors> {
    let report = Report::new(shown(path), text);
    let text = report.text().to_owned();
    let document = parse(&report, &text);
    let syntax_errors = report.len();
    let raw = Raw::read(&report, Table::root(&report, document.get_ref()));
    if syntax_errors > 0 {
        report.forget_consequences(syntax_errors);
        return Err(errors(report));
    }
    let config = resolve::resolve(raw, path, env, &report);
    let (errors, warnings) = report.finish();
    match config {
        Some(config) if errors.is_empty() => Ok(Loaded { config, warnings }),
        Some(_) | None => Err(Errors { errors, warnings }),
    }
}

/// The file's text; empty where there is no file to read. A file that can't be read is reported.
fn read(path: Option<&Path>) -> Result<String, Report> {
    let Some(path) = path else { return Ok(String::new()) };
    let failed = |message: String, help: &str| {
        let report = Report::new(shown(Some(path)), String::new());
        report.error(&None, message).help(help);
        report
    };
    let name = path.display();
    let io = |error: std::io::Error| {
        let help = match error.kind() {
            std::io::ErrorKind::PermissionDenied => "use sudo, or name a file with --config",
            _ => "name the file with --config FILE",
        };
        failed(format!("can't read {name}: {error}"), help)
    };
    if std::fs::metadata(path).map_err(io)?.len() > FILE_SIZE_MOST {
        return Err(failed(format!("{name} is larger than 4 MiB"), "this is not a configuration file"));
    }
    let bytes = std::fs::read(path).map_err(io)?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = good.split(|byte| *byte == b'\n').count();
        failed(format!("{name} is not UTF-8, in line {line}"), "save it as UTF-8")
    })
}

fn parse<'t>(report: &Report, text: &'t str) -> Spanned<DeTable<'t>> {
    let (document, problems) = DeTable::parse_recoverable(text);
    for problem in problems {
        let span: Span = problem.span().or(Some(text.len()..text.len()));
        report.error(&span, problem.message()).maybe(None);
    }
    document
}

fn errors(report: Report) -> Errors {
    let (errors, warnings) = report.finish();
    Errors { errors, warnings }
}

fn shown(path: Option<&Path>) -> String {
    path.map_or_else(|| "defaults".to_owned(), |path| path.display().to_string())
}
