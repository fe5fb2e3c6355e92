//! What a service manager does with the real binary: hands over sockets, hears that it is ready and that it lives.

mod harness;

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};

use harness::config::{NO_REPLY, client, upstream};
use harness::dialogue::Dialogue;
use harness::mail::password_reset;
use harness::relay::{BINARY, Home};
use harness::upstream::Upstream;
use harness::{PATIENCE, skipped};

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna@customer.example";

/// The binary started with sockets of these names, and with a service manager to tell.
struct Service {
    _home: Home,
    child: Child,
    manager: UnixDatagram,
}

fn socket(address: &str) -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind(address).expect("a free port");
    let address = socket.local_addr().expect("its address");
    (socket, address)
}

impl Service {
    /// Starts it; `sockets` are handed over in this order, two at most: by the shell, through its input and output.
    fn start(config: &str, sockets: Vec<(&str, TcpListener)>) -> Self {
        let home = Home::new();
        home.write("relay.toml", format!("hostname = \"relay.test\"\nstate_directory = \"state\"\n{config}"));
        let manager = UnixDatagram::bind(home.file("notify")).expect("a socket");
        manager.set_read_timeout(Some(PATIENCE)).expect("a limit");
        let names: Vec<&str> = sockets.iter().map(|(name, _)| *name).collect();
        let mut command = Command::new("sh");
        let start = "exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_PID=$$ exec \"$0\" --config relay.toml run";
        command.args(["-c", start, BINARY]).env_clear().env("HOME", home.path()).current_dir(home.path());
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        command.env("NOTIFY_SOCKET", home.file("notify")).env("WATCHDOG_USEC", "400000");
        let mut sockets = sockets.into_iter().map(|(_, socket)| Stdio::from(OwnedFd::from(socket)));
        command.stdin(sockets.next().unwrap_or_else(Stdio::null));
        command.stdout(sockets.next().unwrap_or_else(Stdio::null));
        let child = command.stderr(Stdio::piped()).spawn().expect("the shell starts");
        Self { _home: home, child, manager }
    }

    /// Waits until the service manager is told something that begins like this; gives the whole line.
    #[track_caller]
    fn told(&self, what: &str) -> String {
        let mut told = [0; 4096];
        loop {
            let length = self.manager.recv(&mut told).expect(what);
            let text = String::from_utf8_lossy(&told[..length]).into_owned();
            if let Some(line) = text.lines().find(|line| line.starts_with(what)) {
                return line.to_owned();
            }
        }
    }

    fn terminate(&self) {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(killed.expect("kill").success());
    }

    /// Waits for its end; gives its status and its log.
    fn end(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        self.child.stderr.take().expect("its log").read_to_string(&mut log).expect("in UTF-8");
        (self.child.wait().expect("its end").code(), log)
    }
}

fn config(provider: &Upstream, listeners: &str) -> String {
    let (client, upstream) = (client("app", ""), upstream("provider", provider.address(), ""));
    format!("{listeners}{client}{NO_REPLY}{upstream}")
}

const SMTP: &str = "[listeners.smtp]\naddress = \"systemd\"\n";

#[test]
fn a_listener_takes_all_sockets_of_its_name_and_the_manager_hears_of_it() {
    let provider = Upstream::accepting();
    let ((one, at_one), (two, at_two)) = (socket("127.0.0.1:0"), socket("[::1]:0"));
    let networks = config(&provider, SMTP).replace("[\"127.0.0.0/8\"]", "[\"127.0.0.0/8\", \"::1\"]");
    let service = Service::start(&networks, vec![("smtp", one), ("smtp", two)]);
    // Whoever connects before the start is served by it.
    for address in [at_one, at_two] {
        Dialogue::hello(address).send(FROM, &[ANNA], &password_reset(&address.to_string())).expect(250);
    }
    provider.wait_taken(2);
    service.told("READY=1");
    assert_eq!(service.told("WATCHDOG"), "WATCHDOG=1");
    assert_eq!(service.told("WATCHDOG"), "WATCHDOG=1");
    service.terminate();
    service.told("STOPPING=1");
    let (status, log) = service.end();
    assert_eq!(status, Some(0), "{log}");
}

#[test]
fn the_status_names_the_listeners() {
    let provider = Upstream::accepting();
    let (one, at) = socket("127.0.0.1:0");
    let service = Service::start(&config(&provider, SMTP), vec![("smtp", one)]);
    assert_eq!(service.told("STATUS=listening"), format!("STATUS=listening: smtp {at}"));
    service.terminate();
    service.end();
}

#[test]
fn a_missing_socket_ends_with_the_status_of_a_wrong_config() {
    let provider = Upstream::accepting();
    let (other, _) = socket("127.0.0.1:0");
    let service = Service::start(&config(&provider, SMTP), vec![("submission", other)]);
    let (status, log) = service.end();
    assert_eq!(status, Some(78), "{log}");
    assert!(log.contains("listener smtp") && log.contains("enable --now authrelay-smtp.socket"), "{log}");
}

#[test]
fn a_socket_that_no_listener_takes_is_told_and_the_others_work() {
    let provider = Upstream::accepting();
    let ((one, at), (other, _)) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
    let service = Service::start(&config(&provider, SMTP), vec![("smtp", one), ("submission", other)]);
    Dialogue::hello(at).send(FROM, &[ANNA], &password_reset(ANNA)).expect(250);
    provider.wait_taken(1);
    service.terminate();
    let (status, log) = service.end();
    assert_eq!(status, Some(0), "{log}");
    assert!(log.contains("disable --now authrelay-submission.socket"), "{log}");
}

#[test]
fn http_without_tls_is_not_opened_to_other_machines() {
    let provider = Upstream::accepting();
    let http =
        "[http.http]\naddress = \"systemd\"\ntls = \"off\"\n[listeners.smtp]\naddress = \"127.0.0.1:0\"\n";
    let (open, at) = socket("0.0.0.0:0");
    let service = Service::start(&config(&provider, http), vec![("http", open)]);
    let (status, log) = service.end();
    assert_eq!(status, Some(78), "{log}");
    assert!(log.contains("in plain text") && log.contains(&at.to_string()), "{log}");
    let (here, _) = socket("127.0.0.1:0");
    let service = Service::start(&config(&provider, http), vec![("http", here)]);
    service.told("READY=1");
    service.terminate();
    service.end();
}

#[test]
fn the_service_manager_hears_why_it_is_not_ready() {
    let provider = Upstream::accepting();
    let (one, _) = socket("127.0.0.1:0");
    let reserve = "[queue]\ndisk_reserve = 1125899906842624\n";
    let service = Service::start(&format!("{}{reserve}", config(&provider, SMTP)), vec![("smtp", one)]);
    service.told("READY=1");
    let told = service.told("STATUS=NOT READY: disk: ");
    assert!(told.contains("make room there"), "{told}");
    service.terminate();
    service.end();
}

/// A whole Debian with the real systemd, where `tests/run --full` could make one ready.
#[test]
fn the_package_lives_through_all_that_an_administrator_does() {
    let [Some(tree), Some(old), Some(new)] =
        ["TREE", "OLD", "NEW"].map(|name| std::env::var_os(format!("AUTHRELAY_SYSTEMD_{name}")))
    else {
        return skipped(
            "the package in a booted systemd: it needs tests/run --full, root, systemd-nspawn and debootstrap",
        );
    };
    let boot = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/systemd/boot");
    let done = Command::new(boot).args([tree, old, new]).stdin(Stdio::null()).output().expect("it starts");
    let output = String::from_utf8_lossy(&done.stdout);
    println!("{output}");
    assert!(done.status.success(), "{output}{}", String::from_utf8_lossy(&done.stderr));
}

/// What Debian's own judge of packages has to say; what is overridden stands with its reason in packaging/lintian-overrides.
#[test]
fn lintian_finds_nothing_wrong_with_the_package() {
    let is_here = Command::new("lintian").arg("--version").output().is_ok();
    let Some(package) = std::env::var_os("AUTHRELAY_SYSTEMD_NEW").filter(|_| is_here) else {
        return skipped("lintian: it needs tests/run --full, which builds the package");
    };
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", "error,warning"]).arg(package).stdin(Stdio::null());
    let done = lintian.output().expect("it starts");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success() && said.trim().is_empty(),
        "{said}{}",
        String::from_utf8_lossy(&done.stderr)
    );
}
