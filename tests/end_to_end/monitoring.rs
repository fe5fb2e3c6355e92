//! What an operator sees from outside: metrics, health, room on the disk, and the log.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::harness::config::{LISTENER, NO_REPLY, client, sha256, upstream};
use crate::harness::dialogue::Dialogue;
use crate::harness::mail::{message, password_reset};
use crate::harness::relay::{BINARY, Home, Relay};
use crate::harness::search::assert_absent;
use crate::harness::texts;
use crate::harness::upstream::{Answer, Upstream, unused_address};
use crate::harness::web::{self, Connection};
use crate::harness::{PATIENCE, skipped};

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna.monitored@customer.example";
const ADMIN: &str = "[http.admin]\naddress = \"127.0.0.1:0\"\nserves = [\"admin\"]\n";

/// A client whose mail is recognised, an upstream, and an admin listener.
pub fn config(provider: SocketAddr, of_upstream: &str, more: &str) -> String {
    let (client, upstream) = (client("app", ""), upstream("provider", provider, of_upstream));
    format!("{LISTENER}{ADMIN}{client}{NO_REPLY}{upstream}{more}")
}

fn get(address: SocketAddr, path: &str, fields: &[(&str, &str)]) -> web::Answer {
    Connection::open(address)
        .and_then(|mut connection| connection.ask("GET", path, fields, ""))
        .expect("an answer")
}

pub fn metrics(relay: &Relay) -> String {
    get(relay.listener("admin"), "/metrics", &[]).expect(200).body
}

/// The value of a series, by its name with its labels.
#[track_caller]
pub fn value(page: &str, series: &str) -> f64 {
    let found = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
    assert!(found.is_some(), "{series} is not in\n{page}");
    found.unwrap_or_default()
}

fn advertisement() -> Vec<u8> {
    message(&[
        "From: shop@legacy.example",
        "To: anna.monitored@customer.example",
        "Subject: Our autumn sale: wombats for everybody",
        "",
        "Only this week. Shop now and save! Everything must go.",
        "Unsubscribe: https://legacy.example/unsubscribe",
    ])
}

#[test]
fn metrics_tell_what_happened_and_nothing_of_whom() {
    let provider = Upstream::start(|_| Answer::Accept);
    let relay = Relay::start(&config(provider.address(), "", ""));
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&id, "handed-over");
    relay.hello().send(FROM, &[ANNA], &advertisement()).expect(550);
    drop(relay.encrypted());
    let page = metrics(&relay);
    let of = |event: &str, category: &str| {
        format!("authrelay_messages_total{{event=\"{event}\",category=\"{category}\",client=\"app\"}}")
    };
    for (series, expected) in [
        (of("received", "password-reset"), 1.0),
        (of("handed-over", "password-reset"), 1.0),
        ("authrelay_delivery_seconds_count{category=\"password-reset\"}".to_owned(), 1.0),
        ("authrelay_delivery_seconds_bucket{category=\"password-reset\",le=\"60\"}".to_owned(), 1.0),
        ("authrelay_handed_over_within_half_life_total{category=\"password-reset\"}".to_owned(), 1.0),
        ("authrelay_upstream_attempts_total{upstream=\"provider\",result=\"accepted\"}".to_owned(), 1.0),
        ("authrelay_upstream_up{upstream=\"provider\"}".to_owned(), 1.0),
        ("authrelay_queue_messages{lane=\"urgent\"}".to_owned(), 0.0),
        ("authrelay_queue_writable".to_owned(), 1.0),
        ("authrelay_disk_low".to_owned(), 0.0),
        ("authrelay_smtp_sessions_total".to_owned(), 3.0),
        ("authrelay_smtp_tls_total{version=\"1.3\"}".to_owned(), 1.0),
        ("authrelay_smtp_auth_total{result=\"failed\"}".to_owned(), 0.0),
    ] {
        assert!((value(&page, &series) - expected).abs() < 1e-9, "{series} in\n{page}");
    }
    assert!(page.contains("authrelay_refused_total{rule="), "{page}");
    let health: Value = get(relay.listener("admin"), "/healthz", &[]).expect(200).json();
    assert_eq!(health["status"], "ok");
    let ready: Value = get(relay.listener("admin"), "/readyz", &[]).expect(200).json();
    assert_eq!(ready["checks"].as_array().map(Vec::len), Some(3), "{ready}");
    let shown = vec![
        ("the metrics".to_owned(), page.clone().into_bytes()),
        ("the log".to_owned(), relay.log().into()),
    ];
    assert_absent(
        &[("an address", "anna.monitored"), ("a subject", "wombats"), ("a sender", "shop@legacy")],
        &shown,
    );
    checked_by_promtool(&["check", "metrics"], &page);
}

pub fn checked_by_promtool(arguments: &[&str], input: &str) {
    let promtool = std::env::var_os("AUTHRELAY_PROMTOOL").unwrap_or_else(|| "promtool".into());
    if Command::new(&promtool).arg("--version").output().is_err() {
        return skipped("promtool is not here: the metrics and the alert rules are not checked by it");
    }
    let mut command = Command::new(promtool);
    command.args(arguments);
    Home::new().run(command, input).ok();
}

#[test]
fn other_machines_and_a_password() {
    let digest = sha256("correct-horse");
    let provider = Upstream::start(|_| Answer::Accept);
    let admin = format!("{ADMIN}password_sha256 = \"{digest}\"\n");
    let relay = Relay::start(&config(provider.address(), "", "").replace(ADMIN, &admin));
    let address = relay.listener("admin");
    let basic = |password: &str| format!("Basic {}", STANDARD.encode(format!("prometheus:{password}")));
    for path in ["/metrics", "/healthz", "/readyz"] {
        let refused = get(address, path, &[]).problem(401, "invalid-token");
        assert!(refused.field("www-authenticate").is_some_and(|field| field.starts_with("Basic")));
        get(address, path, &[("Authorization", &basic("wrong"))]).expect(401);
        get(address, path, &[("Authorization", &basic("correct-horse"))]).expect(200);
    }
    get(address, "/v1/queue", &[("Authorization", &basic("correct-horse"))]).expect(404);
    let open = ADMIN.replace("127.0.0.1:0", "0.0.0.0:8026");
    relay.home.write("open.toml", config(provider.address(), "", "").replace(ADMIN, &open));
    let open = relay.home.file("open.toml");
    let checked = relay.home.cli(&["check", &open.display().to_string()]);
    assert_eq!(checked.status.code(), Some(78), "{checked:?}");
    assert!(checked.stderr.contains("set password_sha256") || checked.stdout.contains("set password_sha256"));
}

#[test]
fn without_an_upstream_that_answers_it_is_alive_and_not_ready() {
    let address = unused_address();
    let slow = "breaker = { shortest = \"10m\", longest = \"10m\" }";
    let relay = Relay::start(&config(address, slow, ""));
    let admin = relay.listener("admin");
    get(admin, "/readyz", &[]).expect(200);
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&id, "deferred");
    let problem = get(admin, "/readyz", &[]).problem(503, "not-ready").json();
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("upstreams: none of 1 can be reached; provider"), "{detail}");
    get(admin, "/healthz", &[]).expect(200);
    let page = metrics(&relay);
    assert!(value(&page, "authrelay_upstream_up{upstream=\"provider\"}") < 0.9, "{page}");
    assert!((value(&page, "authrelay_queue_messages{lane=\"urgent\"}") - 1.0).abs() < 1e-9, "{page}");
}

#[test]
fn with_too_little_room_mail_and_codes_are_put_off() {
    let reserve = "[queue]\ndisk_reserve = 1125899906842624\n";
    let provider = texts::Provider::start();
    let config = format!("{ADMIN}{reserve}{}", texts::texting(&provider.fake.base_url(), "", texts::OPEN));
    let known = client("app", "business = \"acme\"\ncategory = \"password-reset\"");
    let relay = Home::new().start(&format!("{known}{config}"));
    let reply = relay.hello().send(FROM, &[ANNA], &password_reset(ANNA));
    let reply = format!("{:?}", reply.expect(452));
    assert!(reply.contains("4.3.1"), "{reply}");
    let body = texts::asking(texts::ANNA, texts::CODE).to_string();
    let bearer = format!("Bearer {}", texts::TOKEN);
    let fields = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let mut http = Connection::open(relay.http()).expect("a connection");
    let refused = http.ask("POST", "/v1/otp", &fields, &body).expect("an answer");
    assert_eq!(refused.status, 503, "{refused:?}");
    let problem = get(relay.listener("admin"), "/readyz", &[]).problem(503, "not-ready").json();
    assert!(
        problem["detail"].as_str().is_some_and(|text| text.contains("disk_reserve in [queue]")),
        "{problem}"
    );
    assert!((value(&metrics(&relay), "authrelay_disk_low") - 1.0).abs() < 1e-9);
}

/// A small file system of its own; gone with the value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(home: &Home, size: &str) -> Option<Self> {
        let path = home.file("small");
        std::fs::create_dir(&path).expect("a folder");
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&path).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(path))
    }

    /// Takes room; gives how much it got.
    fn fill(&self, mebibytes: usize) -> usize {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.0.join("filler")).expect("a file");
        let piece = vec![b'x'; 1 << 20];
        (0..mebibytes).take_while(|_| file.write_all(&piece).is_ok()).count()
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_disk_that_fills_up_stops_new_mail_and_no_other() {
    let home = Home::new();
    let Some(disk) = SmallDisk::mount(&home, "128m") else {
        return skipped("a small file system can't be mounted here: a disk that fills up is not tried");
    };
    let address = unused_address();
    let provider = "breaker = { shortest = \"1s\", longest = \"1s\" }";
    let mut relay = home.start(&config(address, provider, "[queue]\npath = \"small/queue.db\"\n"));
    let held = disk.0.join("queue.db.reserve");
    assert!(held.exists(), "room is held back");
    let waiting = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&waiting, "deferred");
    let told = |relay: &Relay, text: &str| {
        relay.wait_line(text, |line| line["message"].as_str().is_some_and(|said| said.contains(text)));
    };

    assert_eq!(disk.fill(70), 70);
    told(&relay, "nothing new is taken until there is room");
    relay.hello().send(FROM, &[ANNA], &password_reset(ANNA)).expect(452);
    get(relay.listener("admin"), "/readyz", &[]).problem(503, "not-ready");

    // Others fill the disk to the last octet: what is held back is given up, and what waits comes to its end.
    assert!(disk.fill(1000) < 128);
    told(&relay, "the room that was held back is given up");
    let upstream = Upstream::start_at(address, |_| Answer::Accept);
    relay.wait_event(&waiting, "handed-over");
    assert_eq!(upstream.wait_taken(1).len(), 1);
    assert_eq!(relay.traced(&waiting)["state"], "handed-over");

    disk.empty();
    told(&relay, "there is room on the disk again");
    let after = relay.accept(FROM, &[ANNA], &password_reset("otto@customer.example"));
    relay.wait_event(&after, "handed-over");
    get(relay.listener("admin"), "/readyz", &[]).expect(200);
    assert!(relay.stop().success());
}

#[test]
fn a_recipient_is_found_in_the_log_by_a_key() {
    let provider = Upstream::start(|_| Answer::Accept);
    let mut relay = Relay::start(&config(provider.address(), "", ""));
    let otto = "otto@customer.example";
    let (to_anna, to_otto) = (
        relay.accept(FROM, &[ANNA], &password_reset(ANNA)),
        relay.accept(FROM, &[otto], &password_reset(otto)),
    );
    let key_of = |relay: &Relay, id: &str| relay.wait_event(id, "handed-over")["to_key"].clone();
    let (anna, other) = (key_of(&relay, &to_anna), key_of(&relay, &to_otto));
    assert!(anna.as_str().is_some_and(|key| key.len() == 16) && anna != other, "{anna} {other}");
    assert_eq!(relay.trace(ANNA)["to_key"], anna);
    let shown = relay.cli(&["trace", ANNA]).ok().stdout;
    assert!(shown.contains(&format!("to_key={}", anna.as_str().unwrap_or_default())), "{shown}");
    assert!(relay.stop().success());
    relay.restart();
    let again = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    assert_eq!(key_of(&relay, &again), anna, "it is the same on every day");
}

#[test]
fn the_level_of_a_module_is_changed_while_it_runs() {
    let provider = Upstream::start(|_| Answer::Accept);
    let relay = Home::new().start_at_level(&config(provider.address(), "", ""), "info");
    let of_session = |line: &Value| {
        line["level"] == "DEBUG"
            && line["target"].as_str().is_some_and(|target| target.starts_with("authrelay::smtp"))
    };
    drop(Dialogue::hello(relay.address()));
    assert_eq!(relay.cli(&["log"]).ok().stdout.trim(), "info");
    assert_eq!(relay.cli(&["log", "set", "smtp=debug"]).ok().stdout.trim(), "info smtp=debug");
    drop(Dialogue::encrypted(relay.address(), &relay.home.certificate()));
    relay.wait_line("a debug line of a session", of_session);
    let wrong = relay.cli(&["log", "set", "smtp=trace", "smpt=debug"]);
    assert!(!wrong.status.success() && wrong.stderr.contains("no module of this name"), "{wrong:?}");
    assert_eq!(relay.cli(&["log", "reset"]).ok().stdout.trim(), "info");
    let debug_lines = |relay: &Relay| relay.log().lines().filter(|line| line.contains("\"DEBUG\"")).count();
    let before = debug_lines(&relay);
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&id, "handed-over");
    assert!(debug_lines(&relay) <= before + 1, "the end of the session before may still be told");
}

/// A relay in a mount namespace where systemd's journal is a socket of ours.
struct Journaled {
    child: std::process::Child,
    journal: UnixDatagram,
}

impl Journaled {
    fn start(home: &Home) -> Option<Self> {
        let folder = home.file("journal");
        std::fs::create_dir(&folder).expect("a folder");
        let journal = UnixDatagram::bind(folder.join("socket")).expect("a socket");
        journal.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let script = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && \
                      mount --bind \"$1\" /run/systemd/journal && shift && exec \"$@\"";
        let namespace = |command: &mut Command| {
            command.args(["-m", "sh", "-c", script, "sh"]).arg(&folder);
        };
        let mut trial = Command::new("unshare");
        namespace(&mut trial);
        if !trial.arg("true").output().is_ok_and(|output| output.status.success()) {
            return None;
        }
        let mut command = Command::new("unshare");
        namespace(&mut command);
        command.arg(BINARY).arg("--config").arg(home.config()).arg("run");
        let child = command.current_dir(home.path()).stdin(Stdio::null()).spawn().expect("it starts");
        Some(Self { child, journal })
    }

    /// The next entry whose message begins so.
    fn entry(&self, message: &str) -> BTreeMap<String, String> {
        let mut entry = vec![0; 64 << 10];
        loop {
            let length = self.journal.recv(&mut entry).expect("an entry of the journal");
            let fields = fields(&entry[..length]);
            if fields.get("MESSAGE").is_some_and(|said| said.starts_with(message)) {
                return fields;
            }
        }
    }
}

/// The fields of an entry: `NAME=value`, or the name, a length of eight octets, and the value.
fn fields(mut entry: &[u8]) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut fields = BTreeMap::new();
    while let Some(end) = entry.iter().position(|byte| *byte == b'\n') {
        let (line, rest) = (&entry[..end], &entry[end + 1..]);
        if let Some(between) = line.iter().position(|byte| *byte == b'=') {
            fields.insert(text(&line[..between]), text(&line[between + 1..]));
            entry = rest;
        } else {
            let length = u64::from_le_bytes(rest[..8].try_into().expect("a length"));
            let end = 8 + usize::try_from(length).expect("a length");
            fields.insert(text(line), text(&rest[8..end]));
            entry = &rest[end + 1..];
        }
    }
    fields
}

impl Drop for Journaled {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_journal_gets_fields_of_its_own() {
    let provider = Upstream::start(|_| Answer::Accept);
    let home = Home::new();
    let more = "[log]\nformat = \"journald\"\n";
    let head = "hostname = \"relay.test\"\nstate_directory = \"state\"\n";
    home.write("relay.toml", format!("{head}{}", config(provider.address(), "", more)));
    let Some(relay) = Journaled::start(&home) else {
        return skipped("no mount namespace can be made here: the form of the journal is not tried");
    };
    let address = loop {
        let listening = relay.entry("listening ");
        if listening["LISTENER"] == "smtp" {
            break listening["ADDRESS"].parse().expect("an address");
        }
    };
    let id = Dialogue::hello(address).send(FROM, &[ANNA], &password_reset(ANNA)).expect(250).id();
    let entry = relay.entry("handed-over");
    let expected = [
        ("ID", id.as_str()),
        ("CLIENT", "app"),
        ("CATEGORY", "password-reset"),
        ("TO", "a***@customer.example"),
        ("UPSTREAM", "provider"),
        ("SYSLOG_IDENTIFIER", "authrelay"),
        ("PRIORITY", "6"),
        ("TARGET", "authrelay::event"),
    ];
    for (field, value) in expected {
        assert_eq!(entry.get(field).map(String::as_str), Some(value), "{field} in {entry:?}");
    }
    let line = format!("handed-over id={id} client=app category=password-reset");
    assert!(entry["MESSAGE"].starts_with(&line), "journalctl shows it whole: {entry:?}");
    assert!(entry.get("TO_KEY").is_some_and(|key| key.len() == 16), "{entry:?}");
}
