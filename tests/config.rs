//! The configuration as an administrator meets it: what is wrong is told exactly, all at once, and the shipped examples
//! are right.
#![expect(clippy::unwrap_used, reason = "tests, and the helpers under them")]

#[path = "config/texts.rs"]
mod texts;
#[path = "config/webhooks.rs"]
mod webhooks;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use authrelay::clock::Timestamp;
use authrelay::config::{Environment, Errors, KeySource, Loaded, Variables, describe, load, places};
use authrelay::deliver::{UpstreamKind, UpstreamTls};
use authrelay::http::{Bind, Interface};
use authrelay::ident::ClientName;
use authrelay::policy::shipped_categories;
use authrelay::queue::ActiveLimits;
use authrelay::secret::Secret;
use authrelay::smtp::{Limits, ListenAt, ListenerTls};
use proptest::prelude::*;

/// A keyring as it stands in its file.
const QUEUE_KEY: &str = "lookup AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nseal 1 AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n";

/// A file of recognition for a language that is not shipped.
const OWN_LANGUAGE: &str = "language = \"tlh\"\n[[evidence]]\nname = \"signin.code\"\nfor = [\"signin\"]\n\
    weights = { subject = 6.0 }\nphrases = [\"mi'wi'meh ngoq\"]\n";

/// A folder with the files that the tests name, and an environment that is the same on every machine.
struct Machine {
    folder: tempfile::TempDir,
    env: Environment,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let env = Environment {
            home: Some("/home/anna".into()),
            hostname: Some("box.acme.example".to_owned()),
            credentials_directory: Some(folder.path().join("credentials")),
            variables: Variables::Given(BTreeMap::from([("PASSWORD".to_owned(), Secret::new("s3cret"))])),
            now: Timestamp::from_millis(1_795_440_360_000),
            ..Environment::default()
        };
        let machine = Self { folder, env };
        machine.write_files();
        machine
    }

    fn write_files(&self) {
        let ours = rcgen::generate_simple_self_signed(["mail.acme.example".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["mail.acme.example".to_owned()]).unwrap();
        let signing = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
        for (name, text) in [
            ("tls/fullchain.pem", ours.cert.pem().as_str()),
            ("tls/client-ca.pem", ours.cert.pem().as_str()),
            ("tls/provider-ca.pem", ours.cert.pem().as_str()),
            ("tls/privkey.pem", ours.signing_key.serialize_pem().as_str()),
            ("tls/other.pem", other.signing_key.serialize_pem().as_str()),
            ("dkim/acme.pem", signing.as_str()),
            ("dkim/acme-ed25519.pem", signing.as_str()),
            ("provider.password", "hunter2\n"),
            ("open.password", "hunter2\n"),
            ("empty.password", "\n"),
            ("twilio.token", "hunter2token\n"),
            ("twilio.key", "hunter2key\n"),
            (
                "webhook.secret",
                "whsec_aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg==\nwhsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n",
            ),
            ("short.secret", "whsec_aHVudGVyMg==\n"),
            ("queue.key", QUEUE_KEY),
            ("state/queue.key", QUEUE_KEY),
            ("state/queue.db", ""),
            ("short.key", "lookup c2hvcnQ=\n"),
            ("recognition/tlh.toml", OWN_LANGUAGE),
            ("no-recognition/readme.txt", ""),
            (
                "broken-recognition/de.toml",
                "language = \"de\"\n[[evidence]]\nname = \"one\"\nfor = [\"sign-in\"]\nweights = { text = 1.0 }\nphrases = [\"a\"]\n",
            ),
            ("credentials/provider", "hunter2"),
            ("credentials/twilio", "hunter2token"),
            ("credentials/queue", QUEUE_KEY),
        ] {
            self.write(name, text, if name == "open.password" { 0o644 } else { 0o600 });
        }
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn load(&self, text: &str) -> Result<Loaded, Errors> {
        load(Some(&self.write("authrelay.toml", text, 0o644)), &self.env)
    }

    /// Everything that is found in `text`, as it is printed, but for the folder of this test and for the warning that
    /// every configuration without a key has.
    fn problems(&self, text: &str) -> String {
        let mut found = match self.load(text) {
            Ok(Loaded { warnings, .. }) => Errors { errors: Vec::new(), warnings },
            Err(errors) => errors,
        };
        found.warnings.retain(|warning| warning.place.is_some());
        found.to_string().replace(&format!("{}/", self.folder.path().display()), "")
    }
}

fn project_file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The reference with all its options taken out of their comments.
fn reference_uncommented() -> String {
    let reference = project_file("config/authrelay.toml");
    let option = |line: &str| {
        line.strip_prefix('#').filter(|rest| !rest.is_empty() && !rest.starts_with(' ')).map(str::to_owned)
    };
    reference.lines().map(|line| option(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

#[test]
fn every_kind_of_mistake_is_told_exactly() {
    every_case_is_told_exactly("tests/config/problems.txt", 70);
}

#[test]
fn every_kind_of_mistake_about_texts_is_told_exactly() {
    every_case_is_told_exactly("tests/config/texts.txt", 40);
}

#[test]
fn every_kind_of_mistake_about_webhooks_is_told_exactly() {
    every_case_is_told_exactly("tests/config/webhooks.txt", 12);
}

/// Each case of the file is a title, a configuration, and exactly what is said of it.
fn every_case_is_told_exactly(file: &str, least: usize) {
    let machine = Machine::new();
    let cases = project_file(file);
    let mut wrong = Vec::new();
    let mut seen = 0;
    for case in cases.split("\n=== ").skip(1) {
        let (title, rest) = case.split_once('\n').unwrap();
        let (config, expected) = rest.split_once("\n---\n").unwrap();
        let found = machine.problems(&format!("{config}\n"));
        seen += 1;
        if found.trim_end() != expected.trim_end() {
            wrong.push(format!("=== {title}\n{config}\n---\n{found}\n"));
        }
    }
    assert!(seen >= least, "only {seen} cases were found");
    assert!(wrong.is_empty(), "{} of {seen} cases differ; found is:\n\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_defaults_need_no_file() {
    let machine = Machine::new();
    let Loaded { config, warnings } = load(None, &machine.env).unwrap();
    assert_eq!(config.source, None);
    assert_eq!(config.hostname, "box.acme.example");
    assert_eq!(config.state_directory, Path::new("/home/anna/.local/state/authrelay"));
    assert_eq!(config.control_socket, config.state_directory.join("control.sock"));
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].at, ListenAt::Address("127.0.0.1:2525".parse().unwrap()));
    assert_eq!(config.listeners[0].tls, ListenerTls::StartTls);
    assert_eq!(config.tls, None);
    let networks: Vec<_> = config.clients.clients[0].networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["127.0.0.0/8", "::1/128"]);
    assert_eq!(config.policy.clients["local"].categories, None);
    assert_eq!(config.rewrite.senders["no-reply"].from.address.as_str(), "no-reply@localhost");
    let [mail, texts] = config.deliver.upstreams.as_slice() else { panic!("two upstreams") };
    assert!(
        matches!(&mail.kind, UpstreamKind::Maildir { path } if *path == config.state_directory.join("maildir"))
    );
    assert!(
        matches!(&texts.kind, UpstreamKind::Outbox { path } if *path == config.state_directory.join("outbox.jsonl"))
    );
    let no_reply = config.rewrite.no_reply.clone();
    let carriers: Vec<_> =
        config.deliver.carriers(&no_reply).map(|upstream| upstream.name.as_str()).collect();
    assert_eq!(carriers, ["local-maildir"], "mail never goes to what takes texts");
    let [http] = config.http.as_slice() else { panic!("one HTTP listener") };
    assert_eq!(http.bind, Bind::Tcp("127.0.0.1:8025".parse().unwrap()));
    assert_eq!((http.tls, http.serves.as_slice()), (false, &[Interface::Otp, Interface::Callback][..]));
    assert_eq!(config.first_client.as_ref().map(ClientName::as_str), Some("local"));
    assert!(config.otp.primary && config.otp.secondary && !config.sms_guard.costs_money);
    assert_eq!(config.queue.key, KeySource::MadeAtFirstStart(config.state_directory.join("queue.key")));
    let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("does not protect a stolen disk"), "{warnings:?}");
}

#[test]
fn the_host_has_a_name_even_when_the_system_gives_a_strange_one() {
    let mut machine = Machine::new();
    for (given, used) in [(None, "localhost"), (Some("not a name"), "localhost"), (Some("VM"), "vm")] {
        machine.env.hostname = given.map(str::to_owned);
        assert_eq!(load(None, &machine.env).unwrap().config.hostname, used);
    }
}

#[test]
fn the_reference_as_shipped_is_the_defaults() {
    let machine = Machine::new();
    let shipped = machine.load(&project_file("config/authrelay.toml")).unwrap();
    let defaults = load(None, &machine.env).unwrap();
    let without_source = |text: String| text.split_once('\n').unwrap().1.to_owned();
    assert!(shipped.config.first_client.is_some());
    assert_eq!(without_source(describe(&shipped.config)), without_source(describe(&defaults.config)));
    assert_eq!(shipped.warnings, defaults.warnings);
}

#[test]
fn every_option_of_the_reference_is_read_and_its_defaults_are_true() {
    let machine = Machine::new();
    let text = reference_uncommented();
    let Loaded { config, warnings } = machine.load(&text).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(format!("{:?}", config.smtp.limits), format!("{:?}", Limits::default()));
    assert_eq!(format!("{:?}", config.queue.active), format!("{:?}", ActiveLimits::default()));
    let shipped: Vec<_> = shipped_categories();
    assert_eq!(config.policy.categories.len(), shipped.len());
    for category in shipped {
        assert_eq!(*config.policy.categories[category.name.as_str()], category);
    }
    assert_eq!(config.policy.rules.len(), 1);
    assert_eq!(config.rewrite.senders["acme"].dkim.len(), 2);
    assert_eq!(config.clients.clients.len(), 3);
    texts::assert_reference(&machine, &config);
    webhooks::assert_reference(&machine, &config);
    let provider = &config.deliver.upstreams[2];
    let UpstreamKind::Smtp(smtp) = &provider.kind else { panic!("an SMTP upstream") };
    assert_eq!(smtp.credentials.as_ref().unwrap().1.reveal(), "hunter2");
    // What the reference says of an upstream is what is in force where nothing is said.
    let brief = "[senders.no-reply]\nfrom = 'a@b.example'\n[upstreams.x]\nhost = 'y.example'\n";
    let defaults = machine.load(brief).unwrap().config;
    let UpstreamKind::Smtp(default) = &defaults.deliver.upstreams[0].kind else { panic!("an SMTP upstream") };
    assert!(matches!(default.tls, UpstreamTls::StartTls(_)));
    assert_eq!(
        format!(
            "{:?}",
            (smtp.port, smtp.timeouts, smtp.idle, smtp.messages_per_connection, provider.max_connections)
        ),
        format!(
            "{:?}",
            (
                default.port,
                default.timeouts,
                default.idle,
                default.messages_per_connection,
                defaults.deliver.upstreams[0].max_connections
            )
        )
    );
    assert_eq!(format!("{:?}", provider.breaker), format!("{:?}", defaults.deliver.upstreams[0].breaker));
    assert_eq!(config.queue.history, defaults.queue.history);
    assert_eq!(config.deliver.workers, defaults.deliver.workers);
    assert_eq!(config.log, defaults.log);
    assert!(
        warnings.iter().all(|warning| warning.message.contains("refused") || warning.place.is_some()),
        "{warnings:#?}"
    );
}

/// A key that the reader knows and the reference does not would be found by nobody.
#[test]
fn the_reference_has_every_key_that_unknown_keys_are_compared_with() {
    let machine = Machine::new();
    let text = reference_uncommented();
    let sections = [
        "",
        "tls",
        "queue",
        "limits",
        "log",
        "listeners.a",
        "clients.a",
        "businesses.a",
        "senders.a",
        "categories.a",
        "upstreams.a",
        "upstreams.a.timeouts",
        "upstreams.a.breaker",
        "http.a",
        "otp",
        "webhooks.a",
        "audit",
    ];
    for section in sections {
        let header = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
        let errors = machine.load(&format!("{header}zzzzzzzzzzzz = 1\n")).unwrap_err();
        let unknown = errors.errors.iter().find(|problem| problem.message.contains("zzzzzzzzzzzz")).unwrap();
        let known = unknown.help.as_ref().unwrap().strip_prefix("known: ").unwrap();
        for key in known.split(", ").map(|key| key.trim_matches('`')) {
            // A password in the file itself, and a credential, are named in a sentence of the reference.
            let there = text.lines().any(|line| line.starts_with(key) || line.contains(&format!(".{key} =")))
                || text.contains(&format!("({key})"))
                || text.contains(&format!("({key} ="))
                || text.contains(&format!("[{key}]"))
                || text.contains(&format!("[{key}."));
            assert!(there, "{key} of [{section}] is not in config/authrelay.toml");
        }
    }
}

#[test]
fn the_production_example_is_valid_and_short() {
    let machine = Machine::new();
    let text = project_file("config/example-production.toml");
    assert!(text.lines().filter(|line| !line.starts_with('#')).count() < 15);
    let Loaded { config, warnings } = machine.load(&text).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.listeners[0].tls, ListenerTls::Required);
    assert_eq!(config.clients.clients[0].user.as_deref(), Some("wiki"));
    let UpstreamKind::Smtp(smtp) = &config.deliver.upstreams[0].kind else { panic!("an SMTP upstream") };
    assert_eq!((smtp.host.as_str(), smtp.port), ("smtp.provider.example", 587));
    let told: Vec<&str> = warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert!(
        matches!(told.as_slice(), [tls, key] if tls.contains("self-signed") && key.contains("stolen disk")),
        "{told:?}"
    );
}

#[test]
fn what_is_described_is_read_back_as_the_same() {
    let machine = Machine::new();
    let first = describe(&load(None, &machine.env).unwrap().config);
    let again = describe(&machine.load(&first).unwrap_or_else(|errors| panic!("{errors}\n{first}")).config);
    // What is made at first start belongs to no file.
    let comparable = |text: &str| {
        let kept: Vec<&str> =
            text.lines().skip(1).filter(|line| !line.starts_with("# token: made at")).collect();
        kept.join("\n")
    };
    assert!(first.contains("# token: made at first start in ") && !again.contains("# token: made at"));
    assert_eq!(comparable(&first), comparable(&again));
}

#[test]
fn nothing_printed_holds_a_password() {
    let machine = Machine::new();
    let text = project_file("config/example-production.toml");
    let config = machine.load(&text).unwrap().config;
    let shown = format!("{}{config:?}", describe(&config));
    assert!(!shown.contains("hunter2"), "{shown}");
    let inline =
        text.replace("password_file = \"provider.password\"", "password = \"hunter2\"\npasword = 'hunter2'");
    let errors = machine.load(&inline).unwrap_err();
    let shown = format!("{errors}{errors:?}{}", serde_json::to_string(&errors).unwrap());
    assert!(!shown.contains("hunter2") && shown.contains("pasword"), "{shown}");
}

#[test]
fn passwords_come_from_files_variables_and_credentials() {
    let machine = Machine::new();
    let head = "[senders.no-reply]\nfrom = 'a@b.example'\n[upstreams.x]\nhost = 'y.example'\nuser = 'u'\n";
    for (line, expected) in [
        ("password_file = 'provider.password'", "hunter2"),
        ("password_env = 'PASSWORD'", "s3cret"),
        ("password_credential = 'provider'", "hunter2"),
        ("password = 'inline'", "inline"),
    ] {
        let config =
            machine.load(&format!("{head}{line}\n")).unwrap_or_else(|errors| panic!("{errors}")).config;
        let UpstreamKind::Smtp(smtp) = &config.deliver.upstreams[0].kind else { panic!("an SMTP upstream") };
        assert_eq!(smtp.credentials.as_ref().unwrap().1.reveal(), expected, "{line}");
    }
}

#[test]
fn a_client_of_one_business_need_not_name_it() {
    let machine = Machine::new();
    let config = machine.load("[businesses.acme]\nurl = 'https://www.acme.example'\n").unwrap().config;
    assert_eq!(config.policy.clients["local"].businesses[0].as_str(), "acme");
    assert_eq!(config.policy.business_domains["acme.example"].as_str(), "acme");
    assert_eq!(config.business_urls["acme"].host, "www.acme.example");
}

#[test]
fn upstreams_and_clients_keep_the_order_of_the_file() {
    let machine = Machine::new();
    let text = "[upstreams.z]\nkind = 'maildir'\n[upstreams.a]\nkind = 'maildir'\n[clients.y]\nnetworks = ['10.0.0.0/8']\n[clients.b]\nnetworks = ['127.0.0.1']\n[upstreams.m]\nkind = 'maildir'\n";
    let config = machine.load(text).unwrap().config;
    let upstreams: Vec<_> = config.deliver.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    let clients: Vec<_> = config.clients.clients.iter().map(|client| client.name.as_str()).collect();
    assert_eq!((upstreams, clients), (vec!["z", "a", "m"], vec!["y", "b"]));
}

#[test]
fn the_daemon_is_found_even_where_the_rest_is_wrong() {
    let machine = Machine::new();
    let path = machine.write(
        "authrelay.toml",
        "state_directory = 'state'\nwrong = 1\n[upstreams.x]\nhost = 1\n",
        0o644,
    );
    let found = places(Some(&path), &machine.env).unwrap();
    assert_eq!(found.state_directory, machine.folder.path().join("state"));
    assert_eq!(found.control_socket, machine.folder.path().join("state/control.sock"));
    assert!(load(Some(&path), &machine.env).is_err());
}

#[test]
fn a_file_that_is_not_there_or_no_text_is_told() {
    let machine = Machine::new();
    let errors = load(Some(Path::new("/nowhere/authrelay.toml")), &machine.env).unwrap_err().to_string();
    assert_eq!(
        errors,
        "error: can't read /nowhere/authrelay.toml: No such file or directory (os error 2)\n  = name the file with --config FILE\n\n1 error"
    );
    let path = machine.folder.path().join("binary");
    fs::write(&path, b"hostname = 'a'\n\xff\xfe").unwrap();
    let errors = load(Some(&path), &machine.env).unwrap_err().to_string();
    assert!(errors.contains("is not UTF-8, in line 2"), "{errors}");
}

#[test]
fn problems_are_serialized_for_scripts() {
    let machine = Machine::new();
    let errors = machine.load("hostnam = 'x'\n").unwrap_err();
    let json = serde_json::to_value(&errors).unwrap();
    let first = &json["errors"][0];
    assert_eq!(first["severity"], "error");
    assert_eq!(first["message"], "unknown key `hostnam` at the top of the file");
    assert_eq!(first["help"], "did you mean `hostname`?");
    assert_eq!((&first["place"]["line"], &first["place"]["column"]), (&1.into(), &1.into()));
}

/// Words that mean something as keys or as names of tables.
const KEYS: &[&str] = &[
    "hostname",
    "listeners",
    "a",
    "address",
    "clients",
    "networks",
    "password_sha256",
    "rules",
    "any",
    "not",
    "header",
    "subject",
    "upstreams",
    "host",
    "password",
    "tls",
    "senders",
    "from",
    "dkim",
    "categories",
    "retry",
    "limits",
    "x y",
    "observe_until",
    "timeouts.connect",
    "queue",
    "path",
    "http",
    "socket",
    "socket_mode",
    "serves",
    "token_sha256",
    "otp",
    "countries",
    "test_numbers",
    "in_all",
    "kind",
    "account_sid",
    "auth_token",
    "from",
    "from_by_prefix",
    "public_url",
    "businesses",
    "url",
];

/// Values of every kind.
const VALUES: &[&str] = &[
    "[]",
    "{}",
    "1",
    "-1",
    "1e400",
    "true",
    "2027-01-31",
    "[[1]]",
    "{a={b={}}}",
    "''",
    "'10m'",
    "'::/0'",
    "'twilio'",
    "'https://a.example'",
    "['DE']",
    "['5/1m']",
    "['+12025550100']",
    "{'+44'='A'}",
    "[{}]",
    "0x",
];

fn toml_like() -> impl Strategy<Value = String> {
    let key = prop::sample::select(KEYS);
    let value = prop_oneof![
        "\\PC{0,12}".prop_map(|text| format!("\"{text}\"")),
        prop::sample::select(VALUES).prop_map(str::to_owned),
    ];
    let line = prop_oneof![
        (key.clone(), value).prop_map(|(key, value)| format!("{key} = {value}")),
        (key.clone(), key.clone()).prop_map(|(one, other)| format!("[{one}.{other}]")),
        key.prop_map(|key| format!("[[{key}]]")),
        "\\PC{0,20}",
    ];
    prop::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

/// An unknown key to begin with: everything is looked at all the same, and the shipped recognition, which takes longer
/// than all else together, is not built.
const WRONG: &str = "zz = 1\n";

proptest! {
    #[test]
    fn no_text_whatever_panics(text in toml_like()) {
        let machine = Machine { folder: tempfile::tempdir().unwrap(), env: Environment::default() };
        let found = machine.problems(&format!("{WRONG}{text}"));
        prop_assert!(found.contains("error: "), "{found}");
    }

    /// Cutting the reference anywhere, or damaging one character of it, is told and never fatal.
    #[test]
    fn a_damaged_reference_does_not_panic(at in 0usize..20_000, with in any::<char>()) {
        let machine = Machine { folder: tempfile::tempdir().unwrap(), env: Environment::default() };
        let mut text: Vec<char> = reference_uncommented().chars().collect();
        let at = at % text.len();
        text[at] = with;
        let text: String = text.into_iter().collect();
        for text in [&text[..], &text[..text.floor_char_boundary(at)]] {
            let found = machine.problems(&format!("{WRONG}{text}"));
            prop_assert!(found.contains("error: "), "{found}");
        }
    }
}
