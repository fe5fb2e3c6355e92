//! The relay as a process: the real binary, in a folder of its own.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::dialogue::Dialogue;
use super::{PATIENCE, Watched, deadline, now};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_authrelay");

/// How often a process is asked whether it still lives, while nothing else can tell.
const LOOK: Duration = Duration::from_millis(100);

/// A folder for one relay: configuration, state, and whatever a test puts there.
#[derive(Debug)]
pub struct Home {
    folder: TempDir,
}

impl Home {
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("authrelay-").tempdir().expect("a folder for the test");
        Self { folder }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The path of a file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file that only its owner can read.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = self.file(name);
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
        std::io::Write::write_all(&mut file.expect("a file"), content.as_ref()).expect("written");
        path
    }

    /// The folder's own configuration file.
    pub fn config(&self) -> PathBuf {
        self.file("relay.toml")
    }

    /// The certificate that the relay made for itself.
    pub fn certificate(&self) -> PathBuf {
        self.file("state/tls/certificate.pem")
    }

    /// The binary with an environment that holds nothing but what it needs.
    pub fn command(&self) -> Command {
        self.command_under(&[])
    }

    /// The same, started by another program.
    pub fn command_under(&self, wrapper: &[String]) -> Command {
        let mut command = match wrapper {
            [] => Command::new(BINARY),
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(BINARY);
                command
            }
        };
        command.env_clear().env("HOME", self.path()).current_dir(self.path());
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command
    }

    /// Runs a subcommand with the folder's configuration.
    pub fn cli(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command();
        let output = command.arg("--config").arg(self.config()).args(arguments).stdin(Stdio::null()).output();
        Ran::of(output.expect("the binary runs"))
    }

    /// Starts a relay with this configuration. Its state directory, host name and log are set here.
    pub fn start(self, config: &str) -> Relay {
        self.start_at_level(config, "debug")
    }

    /// The same, with a log of another level.
    pub fn start_at_level(self, config: &str, level: &str) -> Relay {
        self.configure(config, level);
        let tcp = |listeners: usize, sockets: usize| listeners.max(1) - sockets;
        let expected = config.matches("[listeners.").count().max(1)
            + tcp(config.matches("[http.").count(), config.matches("\nsocket = ").count());
        let mut relay =
            Relay { expected, home: self, child: None, log: Arc::default(), listeners: BTreeMap::new() };
        relay.spawn_or_fail();
        relay
    }

    /// Writes the configuration file of a relay that is started here.
    pub fn configure(&self, config: &str, level: &str) {
        let head = "hostname = \"relay.test\"\nstate_directory = \"state\"\n";
        let log = format!("[log]\nformat = \"json\"\nlevel = \"{level}\"\n");
        // Relays of several tests run at once, and the default is one port for all.
        let http = if config.contains("[http") { "" } else { "[http.http]\naddress = \"127.0.0.1:0\"\n" };
        self.write("relay.toml", format!("{head}{config}\n{http}{log}"));
    }

    /// Runs any command in the folder. `input` is its standard input.
    pub fn run(&self, mut command: Command, input: &str) -> Ran {
        command.current_dir(self.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the command starts");
        let mut stdin = child.stdin.take().expect("its input");
        // What does not read its input may have ended by now.
        let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
        drop(stdin);
        Ran::of(child.wait_with_output().expect("it ends"))
    }
}

/// What a subcommand said.
#[derive(Debug)]
pub struct Ran {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output in UTF-8");
        Self { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Asserts that it succeeded, and gives it.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status.success(), "{}\n{}{}", self.status, self.stdout, self.stderr);
        self
    }

    /// Its output as JSON.
    #[track_caller]
    pub fn json(self) -> Value {
        let ran = self.ok();
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error} in {}", ran.stdout))
    }
}

/// The lines that a process wrote on its standard error, from all its starts.
type Log = Watched<Vec<String>>;

/// A running relay. It is killed when it is dropped.
#[derive(Debug)]
pub struct Relay {
    pub home: Home,
    /// How many TCP listeners it has.
    expected: usize,
    child: Option<Child>,
    log: Arc<Log>,
    listeners: BTreeMap<String, SocketAddr>,
}

impl Relay {
    /// Starts one in a new folder.
    pub fn start(config: &str) -> Self {
        Home::new().start(config)
    }

    /// The address of the listener called `smtp`.
    pub fn address(&self) -> SocketAddr {
        self.listener("smtp")
    }

    /// The address of a listener.
    pub fn listener(&self, name: &str) -> SocketAddr {
        self.listeners[name]
    }

    /// The address of the HTTP listener called `http`.
    pub fn http(&self) -> SocketAddr {
        self.listener("http")
    }

    /// Connects to the listener called `smtp` and says EHLO.
    pub fn hello(&self) -> Dialogue {
        Dialogue::hello(self.address())
    }

    /// The same, over STARTTLS.
    pub fn encrypted(&self) -> Dialogue {
        Dialogue::encrypted(self.address(), &self.home.certificate())
    }

    /// Hands in one message over a connection of its own; gives the id it was accepted with.
    #[track_caller]
    pub fn accept(&self, from: &str, to: &[&str], message: &[u8]) -> String {
        self.hello().send(from, to, message).expect(250).id()
    }

    /// Runs a subcommand with the same configuration.
    pub fn cli(&self, arguments: &[&str]) -> Ran {
        self.home.cli(arguments)
    }

    /// Gives it another configuration, which it reads when it is told to.
    pub fn configure(&self, config: &str) {
        self.home.configure(config, "debug");
    }

    /// Gives it another configuration, and has it read that.
    #[track_caller]
    pub fn reload(&self, config: &str) -> Ran {
        self.configure(config);
        self.cli(&["reload"]).ok()
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        let killed = Command::new("kill").args(["-HUP", &self.process().to_string()]).status();
        assert!(killed.expect("kill runs").success());
    }

    /// What `trace` says of an id or address, as JSON, with whole addresses.
    #[track_caller]
    pub fn trace(&self, target: &str) -> Value {
        self.cli(&["trace", target, "--json", "--full"]).json()
    }

    /// The first message of what `trace` says.
    #[track_caller]
    pub fn traced(&self, target: &str) -> Value {
        self.trace(target)["messages"][0].clone()
    }

    /// Waits for the event `kind` about the submission `id`, and gives its log line.
    #[track_caller]
    pub fn wait_event(&self, id: &str, kind: &str) -> Value {
        self.wait_line(&format!("event {kind} of {id}"), |line| line["id"] == id && line["message"] == kind)
    }

    /// Waits for `count` events `kind` about the submission `id`.
    #[track_caller]
    pub fn wait_events(&self, id: &str, kind: &str, count: usize) -> Vec<Value> {
        let wanted = |line: &Value| line["id"] == id && is_event(line, kind);
        let found = self.log.wait(PATIENCE, |lines| {
            let events: Vec<Value> = parsed(lines).filter(&wanted).collect();
            (events.len() >= count).then_some(events)
        });
        found.unwrap_or_else(|| panic!("waited in vain for {count} x {kind} of {id} in\n{}", self.tail()))
    }

    /// Waits for a log line.
    #[track_caller]
    pub fn wait_line(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = self.log.wait(PATIENCE, |lines| parsed(lines).find(|line| wanted(line)));
        found.unwrap_or_else(|| panic!("waited in vain for {what} in\n{}", self.tail()))
    }

    /// The events about a submission so far, by name.
    pub fn events(&self, id: &str) -> Vec<String> {
        let of_it = |line: &Value| line["id"] == id && line["target"] == "authrelay::event";
        let name = |line: Value| event_name(&line).to_owned();
        parsed(&self.log.get()).filter(of_it).map(name).collect()
    }

    /// Everything it wrote on its standard error.
    pub fn log(&self) -> String {
        self.log.get().join("\n")
    }

    /// The id of its process.
    pub fn process(&self) -> u32 {
        self.child.as_ref().expect("a running relay").id()
    }

    /// `kill -9`, and waits for the end.
    pub fn kill9(&mut self) {
        let mut child = self.child.take().expect("a running relay");
        child.kill().expect("killed");
        child.wait().expect("ended");
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        let child = self.child.as_ref().expect("a running relay");
        let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        assert!(killed.expect("kill runs").success());
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self) -> ExitStatus {
        self.terminate();
        self.wait_end()
    }

    /// Waits for the end of the process.
    #[track_caller]
    pub fn wait_end(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("a running relay");
        let deadline = deadline(PATIENCE);
        loop {
            if let Some(status) = child.try_wait().expect("a child") {
                return status;
            }
            if now() > deadline {
                // What hangs must not outlive the test.
                let _ = child.kill();
                let _ = child.wait();
                panic!("the relay did not end; its last words:\n{}", self.tail());
            }
            std::thread::park_timeout(LOOK);
        }
    }

    /// Starts it again with the same configuration and state.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "it is still running");
        self.spawn_or_fail();
    }

    /// The same as a child of another program, which must become it (`strace -D`, `prlimit`); the error is how it ended
    /// before it was ready.
    pub fn try_restart(&mut self, wrapper: &[String]) -> Result<(), ExitStatus> {
        assert!(self.child.is_none(), "it is still running");
        self.spawn(wrapper)
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let ended = self.child.as_mut().and_then(|child| child.try_wait().expect("a child"));
        if ended.is_some() {
            self.child = None;
        }
        ended
    }

    /// How many lines it has written on its standard error.
    pub fn log_length(&self) -> usize {
        self.log.get().len()
    }

    /// What it wrote since it had written so many lines.
    pub fn log_since(&self, length: usize) -> String {
        self.log.get()[length..].join("\n")
    }

    #[track_caller]
    fn spawn_or_fail(&mut self) {
        if let Err(status) = self.spawn(&[]) {
            panic!("the relay ended with {status}:\n{}", self.tail());
        }
    }

    fn spawn(&mut self, wrapper: &[String]) -> Result<(), ExitStatus> {
        let socket = self.home.file("notify.sock");
        let _ = std::fs::remove_file(&socket);
        let ready = UnixDatagram::bind(&socket).expect("a socket to be told at");
        let before = self.log.get().len();
        let mut command = self.home.command_under(wrapper);
        command.arg("--config").arg(self.home.config()).arg("run").env("NOTIFY_SOCKET", &socket);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        collect(child.stderr.take().expect("its standard error"), Arc::clone(&self.log));
        self.child = Some(child);
        self.wait_ready(&ready)?;
        let expected = self.expected;
        let listening = self.log.wait(PATIENCE, |lines| {
            let found: BTreeMap<String, SocketAddr> =
                parsed(&lines[before..]).filter_map(|line| listener(&line)).collect();
            (found.len() >= expected).then_some(found)
        });
        self.listeners = listening.unwrap_or_else(|| panic!("{expected} listeners in\n{}", self.tail()));
        Ok(())
    }

    /// Waits until the relay says that it is ready, as a service manager would.
    fn wait_ready(&mut self, socket: &UnixDatagram) -> Result<(), ExitStatus> {
        socket.set_read_timeout(Some(LOOK)).expect("a time-out");
        let deadline = deadline(PATIENCE);
        let mut told = [0; 512];
        loop {
            if let Ok(count) = socket.recv(&mut told)
                && told[..count].split(|&byte| byte == b'\n').any(|line| line == b"READY=1")
            {
                return Ok(());
            }
            if let Some(status) = self.ended() {
                return Err(status);
            }
            assert!(now() < deadline, "the relay is not ready:\n{}", self.tail());
        }
    }

    fn tail(&self) -> String {
        let lines = self.log.get();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("the relay's log ends with:\n{}", self.tail());
        }
    }
}

/// A relay on its built-in defaults: no configuration, its state in the folder.
pub struct Unconfigured {
    pub home: Home,
    child: Child,
    /// What it says to whoever starts it.
    pub stdout: Arc<Log>,
    pub stderr: Arc<Log>,
}

impl Unconfigured {
    /// Starts it with `HOME` as the only thing it knows.
    pub fn start() -> Self {
        let home = Home::new();
        let mut command = home.command();
        command.arg("run").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let (stdout, stderr): (Arc<Log>, Arc<Log>) = Default::default();
        collect(child.stdout.take().expect("its output"), Arc::clone(&stdout));
        collect(child.stderr.take().expect("its standard error"), Arc::clone(&stderr));
        Self { home, child, stdout, stderr }
    }
}

impl Drop for Unconfigured {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(stream: impl std::io::Read + Send + 'static, log: Arc<Log>) {
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stream);
        let mut line = Vec::new();
        while lines.by_ref().read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            log.change(|lines| lines.push(text));
            line.clear();
        }
    });
}

fn parsed(lines: &[String]) -> impl Iterator<Item = Value> + '_ {
    lines.iter().filter_map(|line| serde_json::from_str(line).ok())
}

fn listener(line: &Value) -> Option<(String, SocketAddr)> {
    let text = |key: &str| line[key].as_str().map(ToOwned::to_owned);
    (line["message"] == "listening").then(|| Some((text("listener")?, text("address")?.parse().ok()?)))?
}

fn is_event(line: &Value, kind: &str) -> bool {
    event_name(line) == kind
}

fn event_name(line: &Value) -> &str {
    line["message"].as_str().unwrap_or_default()
}
