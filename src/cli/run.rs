//! `authrelay run`

use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{EX_CONFIG, Place, output};
use crate::clock::Clock;
use crate::config::{Config, Known, LogConfig, LogFormat};
use crate::daemon::{
    Daemon, DaemonError, HandedOver, HttpAddress, ReloadCause, Reloads, Source, logging, manager,
};
use crate::deliver::UpstreamKind;
use crate::http::Interface;

#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Args {
    /// The form of the log, whatever `format` in [log] says.
    #[arg(long, value_name = "FORMAT", env = "AUTHRELAY_LOG_FORMAT")]
    log_format: Option<Format>,
}

/// `auto`, `text`, `json` or `journald`, as in the configuration.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// The journal with its own fields where systemd keeps our output there, else text.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
    /// The journal's own fields.
    Journald,
}

impl From<Format> for LogFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Auto => Self::Automatic,
            Format::Text => Self::Text,
            Format::Json => Self::Json,
            Format::Journald => Self::Journald,
        }
    }
}

pub(super) fn run(place: &Place, args: Args) -> anyhow::Result<ExitCode> {
    let known = Known::default();
    let loaded = place.load_knowing(&known)?;
    let log = loaded.config.log;
    logging::start(&LogConfig { format: args.log_format.map_or(log.format, Into::into), ..log });
    let set_level = Box::new(logging::configured);
    for warning in &loaded.warnings {
        let line = warning.place.as_ref().map(|place| place.line);
        tracing::warn!(target: "authrelay::config", line, help = warning.help.as_deref(), "{}", warning.message);
    }
    let welcome = place.file()?.is_none().then(|| Welcome::of(&loaded.config));
    let again = place.clone();
    let source = Source { load: Box::new(move || again.load_knowing(&known)), set_level };
    // Before the first thread.
    let handed = HandedOver::take();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match runtime.block_on(serve(loaded.config, source, handed, welcome)) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            tracing::error!("{error}");
            Ok(exit_code(&error))
        }
    }
}

/// What a restart does not mend ends with the status on which the service manager gives up.
fn exit_code(error: &DaemonError) -> ExitCode {
    if error.is_mended_by_restart() { ExitCode::FAILURE } else { ExitCode::from(EX_CONFIG) }
}

async fn serve(
    config: Config,
    source: Source,
    handed: HandedOver,
    welcome: Option<Welcome>,
) -> Result<(), DaemonError> {
    let stop = stop_signal();
    // From here on SIGHUP ends nothing; one that comes during the start is heeded after it.
    let hangups = hangups();
    let daemon = Daemon::start(config, source, handed, Clock::System).await?;
    let reloading = tokio::spawn(reload_at(hangups, daemon.reloads().clone()));
    manager::ready(&status(&daemon));
    let telling = tokio::spawn(manager::tell_of_troubles(daemon.watch(), status(&daemon)));
    let _watchdog = manager::Watchdog::start(daemon.pulses());
    if let Some(welcome) = welcome {
        welcome.print(&daemon);
    }
    let broken = tokio::select! {
        () = stop => false,
        () = daemon.broken() => true,
    };
    telling.abort();
    manager::stopping();
    reloading.abort();
    let stopped = daemon.stop().await;
    if broken { Err(DaemonError::Broken) } else { stopped }
}

/// What `systemctl status` shows in one line.
fn status(daemon: &Daemon) -> String {
    let smtp = daemon.listeners().iter().map(|(name, address)| format!("{name} {address}"));
    let all: Vec<String> = smtp.chain(daemon.http_listeners().iter().map(ToString::to_string)).collect();
    format!("listening: {}", all.join(", "))
}

/// Resolves at SIGTERM or SIGINT.
fn stop_signal() -> impl Future<Output = ()> {
    let (terminate, interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        match (terminate, interrupt) {
            (Ok(mut terminate), Ok(mut interrupt)) => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
            _ => std::future::pending().await,
        }
    }
}

fn hangups() -> Option<Signal> {
    signal(SignalKind::hangup()).inspect_err(|error| tracing::warn!(%error, "SIGHUP is not heeded")).ok()
}

/// Reloads at every SIGHUP. What came of it stands in the log.
async fn reload_at(hangups: Option<Signal>, reloads: Reloads) {
    let Some(mut hangups) = hangups else { return };
    while hangups.recv().await.is_some() {
        let _ = reloads.reload(ReloadCause::Signal).await;
    }
}

/// What somebody who starts it for the first time, without a configuration, can try next.
struct Welcome {
    state: String,
    maildir: String,
    token_file: String,
    /// The file that texts are written to.
    outbox: Option<String>,
}

impl Welcome {
    fn of(config: &Config) -> Self {
        let state = &config.state_directory;
        let outbox = config.deliver.upstreams.iter().find_map(|upstream| match &upstream.kind {
            UpstreamKind::Outbox { path } => Some(path.display().to_string()),
            UpstreamKind::Maildir { .. } | UpstreamKind::Smtp(_) | UpstreamKind::Twilio(_) => None,
        });
        Self {
            state: state.display().to_string(),
            maildir: state.join("maildir").display().to_string(),
            token_file: config.token_file().display().to_string(),
            outbox,
        }
    }

    fn print(&self, daemon: &Daemon) {
        let address = daemon.listeners().first().map_or_else(String::new, |(_, address)| address.to_string());
        let program = std::env::args().next().unwrap_or_else(|| "authrelay".to_owned());
        let Self { state, maildir, .. } = self;
        let code = self.code(daemon, &program).unwrap_or_default();
        // The daemon runs on whether or not somebody reads this.
        let _ = output::try_line(format_args!(
            "
authrelay listens on {address} (SMTP). It runs on its built-in defaults: mail that is let through is
delivered into {maildir}, everything is kept in {state}.

Try a message that is let through:

  printf 'From: shop@example.com\\nTo: anna@example.com\\nSubject: Reset your password\\n\\nSomebody asked to reset the password of your account. To choose a new one, follow this link:\\nhttps://example.com/reset?token=3q2-7w\\nIf it was not you, ignore this message.\\n' \\
    | curl -sS --crlf --mail-from shop@example.com --mail-rcpt anna@example.com -T - smtp://{address}
  ls {maildir}/new
  {program} trace anna@example.com

and one that is refused:

  printf 'From: shop@example.com\\nTo: anna@example.com\\nSubject: Our autumn sale: 20%% off everything\\n\\nOnly this week. Shop now and save!\\nUnsubscribe: https://example.com/unsubscribe\\n' \\
    | curl -sSv --crlf --mail-from shop@example.com --mail-rcpt anna@example.com -T - smtp://{address} 2>&1 | grep '^< 5'
{code}
For real use: config/authrelay.toml explains every setting, README.md the way to production.
"
        ));
    }

    /// How a code for a phone is tried; where there is a token for it, and a place where its text is seen.
    fn code(&self, daemon: &Daemon, program: &str) -> Option<String> {
        let (outbox, token) = (self.outbox.as_ref()?, daemon.first_token()?);
        let address = daemon.http_listeners().iter().find_map(|listener| match &listener.address {
            HttpAddress::Tcp(address) if listener.serves.contains(&Interface::Otp) => Some(address),
            HttpAddress::Tcp(_) | HttpAddress::Unix(_) => None,
        })?;
        // A journal is kept, and read by others: there the file is named instead.
        let token = match std::env::var_os("JOURNAL_STREAM") {
            Some(_) => format!("$(cat {})", self.token_file),
            None => token.reveal().to_owned(),
        };
        Some(format!(
            "
and a one-time code for a phone, over HTTP on {address}; its text is not sent, but written to a file:

  curl -sS http://{address}/v1/otp -H \"Authorization: Bearer {token}\" \\
    -H 'Content-Type: application/json' -d '{{\"to\": \"+12025550100\", \"code\": \"123456\", \"factor\": \"primary\"}}'
  cat {outbox}
  {program} trace +12025550100
"
        ))
    }
}
