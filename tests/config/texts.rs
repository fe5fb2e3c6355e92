//! The configuration of texts: what is in force, and that no secret of it is ever shown.
#![expect(clippy::panic, reason = "tests, and the helpers under them")]

use std::process::Command;

use authrelay::client::Directory;
use authrelay::config::{Config, describe, load};
use authrelay::deliver::{TwilioConfig, TwilioFrom, TwilioLogin, UpstreamKind};
use authrelay::http::{Bind, Interface};
use authrelay::ident::ClientName;
use authrelay::secret::Secret;
use authrelay::sms::Factor;

use crate::Machine;

const MAIL: &str = "[upstreams.mail]\nkind = 'maildir'\n";
const ACCOUNT: &str =
    "[upstreams.twilio]\nkind = 'twilio'\naccount_sid = 'AC00000000000000000000000000000000'\n";
const TOKEN: &str = "auth_token_file = 'twilio.token'\n";
const FROM: &str = "from = '+12025550100'\n";
const KEY: &str = "api_key_sid = 'SK00000000000000000000000000000000'\napi_key_secret_file = 'twilio.key'\n";

fn config(machine: &Machine, text: &str) -> Config {
    machine.load(text).unwrap_or_else(|errors| panic!("{errors}")).config
}

/// The last upstream of a configuration, which is Twilio.
fn twilio(machine: &Machine, lines: &str) -> TwilioConfig {
    let config = config(machine, &format!("{MAIL}{ACCOUNT}{lines}"));
    let UpstreamKind::Twilio(twilio) = &config.deliver.upstreams[1].kind else { panic!("Twilio") };
    TwilioConfig::clone(twilio)
}

/// What the reference says about texts is what is in force where nothing is said.
pub fn assert_reference(machine: &Machine, config: &Config) {
    let brief = "[upstreams.m]\nkind = 'maildir'\n[upstreams.t]\nkind = 'twilio'\naccount_sid = 'AC00000000000000000000000000000000'\nauth_token_file = 'twilio.token'\nfrom = '+12025550100'\n";
    let defaults = machine.load(brief).unwrap_or_else(|errors| panic!("{errors}")).config;
    let UpstreamKind::Twilio(twilio) = &config.deliver.upstreams[3].kind else { panic!("Twilio") };
    let UpstreamKind::Twilio(default) = &defaults.deliver.upstreams[1].kind else { panic!("Twilio") };
    let times = |twilio: &TwilioConfig| (twilio.connect, twilio.answer, twilio.base_url.clone());
    assert_eq!(times(twilio), times(default));
    assert_eq!(config.deliver.upstreams[3].max_connections, defaults.deliver.upstreams[1].max_connections);
    assert_eq!(config.deliver.upstreams[3].breaker, defaults.deliver.upstreams[1].breaker);
    assert_eq!(config.otp.code, defaults.otp.code);
    assert_eq!(config.otp.origin_bound, defaults.otp.origin_bound);
    let limits = |config: &Config| {
        let guard = &config.sms_guard;
        let counted =
            [&guard.per_number, &guard.per_prefix, &guard.per_client, &guard.per_business, &guard.in_all];
        (counted.map(Clone::clone), guard.smoothing, guard.conversion.clone())
    };
    assert_eq!(limits(config), limits(&defaults));
    // Without Twilio both factors are on; with it, none is that was not named.
    assert!(!defaults.otp.primary && !defaults.otp.secondary && defaults.sms_guard.costs_money);
    assert!(config.otp.primary && config.otp.secondary);
    assert!(defaults.first_client.is_none() && config.first_client.is_none());
    // Test numbers are known to the guard and to what sends.
    assert_eq!(config.sms_guard.test_numbers, twilio.never);
    assert_eq!(twilio.never.len(), 1);
}

#[test]
fn secrets_of_twilio_come_from_files_variables_and_credentials() {
    let machine = Machine::new();
    for (line, expected) in [
        ("auth_token_file = 'twilio.token'\n", "hunter2token"),
        ("auth_token_env = 'PASSWORD'\n", "s3cret"),
        ("auth_token_credential = 'twilio'\n", "hunter2token"),
        ("auth_token = 'inline'\n", "inline"),
    ] {
        let twilio = twilio(&machine, &format!("{line}{FROM}"));
        assert_eq!(twilio.login, TwilioLogin::AuthToken(Secret::new(expected)), "{line}");
        assert_eq!(twilio.auth_token, Some(Secret::new(expected)), "{line}");
    }
    let by_key = twilio(&machine, &format!("{KEY}{FROM}"));
    let key = TwilioLogin::ApiKey(format!("SK{}", "0".repeat(32)), Secret::new("hunter2key"));
    assert_eq!((&by_key.login, by_key.auth_token), (&key, None));
    // The auth token beside an API key is for the signatures of callbacks alone.
    let both =
        twilio(&machine, &format!("{KEY}{TOKEN}{FROM}public_url = 'https://Relay.Acme.Example:443/'\n"));
    assert_eq!((both.login, both.auth_token), (key, Some(Secret::new("hunter2token"))));
    assert_eq!(both.public_url.as_deref(), Some("https://relay.acme.example"));
}

/// The comments of the example for production are true too.
#[test]
fn the_production_example_sends_texts_when_its_comments_are_taken_away() {
    let machine = Machine::new();
    let example = crate::project_file("config/example-production.toml");
    let option = |line: &str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).map(str::to_owned);
    let lines: Vec<String> =
        example.lines().map(|line| option(line).unwrap_or_else(|| line.to_owned())).collect();
    let client = "\n[clients.wiki]\n";
    let token = format!("{client}token_sha256 = '{}'\n", "2".repeat(64));
    let loaded = machine.load(&lines.join("\n").replace(client, &token));
    let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    assert!(loaded.config.sms_guard.costs_money && loaded.config.otp.secondary && !loaded.config.otp.primary);
    assert_eq!(loaded.config.sms_guard.in_all.len(), 1);
    assert_eq!(loaded.config.http.len(), 1);
    // Only what the file without them says already: the self-signed certificate and the key beside the queue.
    assert_eq!(loaded.warnings.len(), 2, "{:#?}", loaded.warnings);
}

#[test]
fn the_api_is_where_it_is_said_to_be() {
    let machine = Machine::new();
    for (lines, expected) in [
        ("", "https://api.twilio.com"),
        ("region = 'ie1'\nedge = 'dublin'\n", "https://api.dublin.ie1.twilio.com"),
        ("edge = 'frankfurt'\n", "https://api.frankfurt.us1.twilio.com"),
        ("base_url = 'http://127.0.0.1:4010/'\n", "http://127.0.0.1:4010"),
        ("base_url = 'https://proxy.acme.example/twilio/'\n", "https://proxy.acme.example/twilio"),
    ] {
        assert_eq!(twilio(&machine, &format!("{TOKEN}{FROM}{lines}")).base_url, expected);
    }
}

#[test]
fn senders_of_texts_are_as_configured() {
    let machine = Machine::new();
    let service = format!("MG{}", "0".repeat(32));
    let lines = format!(
        "{TOKEN}messaging_service_sid = '{service}'\nfrom_by_prefix = {{ '+49' = '{service}', '+44' = 'ACME' }}\n"
    );
    let twilio = twilio(&machine, &lines);
    assert_eq!(twilio.from, TwilioFrom::MessagingService(service.clone()));
    let by_prefix = [
        ("+44".to_owned(), TwilioFrom::From("ACME".to_owned())),
        ("+49".to_owned(), TwilioFrom::MessagingService(service)),
    ];
    assert_eq!(twilio.from_by_prefix, by_prefix);
    assert_eq!((twilio.risk_check, twilio.discard_content, twilio.feedback), (None, false, false));
}

#[test]
fn no_secret_of_texts_is_ever_shown() {
    let machine = Machine::new();
    let token = "2".repeat(64);
    let clients = format!(
        "[clients.shop]\ntoken_sha256 = '{token}'\n[businesses.acme]\nurl = 'https://acme.example'\n"
    );
    let text = format!("{clients}{MAIL}{ACCOUNT}{TOKEN}{KEY}{FROM}");
    let config = config(&machine, &text);
    let described = describe(&config);
    for line in ["# token: set", "# auth_token: set", "# api_key_secret: set"] {
        assert!(described.contains(line), "{described}");
    }
    let shown = format!("{described}{config:?}");
    assert!(!shown.contains("hunter2") && !shown.contains(&token), "{shown}");
    let wrong = text.replace("auth_token_file = 'twilio.token'", "auth_token = ['hunter2']").replace(
        "api_key_secret_file = 'twilio.key'",
        "api_key_secrett = 'hunter2'\napi_key = 'hunter2'\ntoken = 'hunter2'",
    );
    let errors = machine.load(&wrong).unwrap_err();
    let shown = format!("{errors}{errors:?}{}", serde_json::to_string(&errors).unwrap());
    assert!(!shown.contains("hunter2") && shown.contains("api_key_secrett"), "{shown}");
}

#[test]
fn what_is_described_of_texts_is_read_back_as_the_same() {
    let machine = Machine::new();
    let text = "\
[http.inside]
socket = 'http.sock'
socket_mode = '0600'
serves = ['otp']
[http.outside]
address = '0.0.0.0:8443'
serves = ['callback']
[otp]
primary = false
code_shortest = 6
code_longest = 8
code_letters = true
default_country = 'gb'
origin_bound = true
countries = ['GB', 'DE']
test_numbers = ['+12025550100', '+44 7911 123456']
per_number = ['3/1h 30m']
per_prefix = []
in_all = ['100/1d', '1000/7d']
client_rate = 1
client_burst = 2
number_pause = '0s'
conversion_countries = ['GB']
conversion_least = 33
";
    let config = config(&machine, text);
    let first = describe(&config);
    let again = machine.load(&first).unwrap_or_else(|errors| panic!("{errors}\n{first}")).config;
    // What is made at first start belongs to no file.
    let kept = |config: &Config| {
        let described = describe(config);
        let lines = described.lines().skip(1).filter(|line| !line.starts_with("# token: made at"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(kept(&config), kept(&again));
    assert_eq!((&config.otp, &config.sms_guard), (&again.otp, &again.sms_guard));
    assert_eq!(config.http, again.http);
    assert_eq!(config.http[0].bind, Bind::Unix(machine.folder.path().join("http.sock"), 0o600));
    assert!(config.http[1].tls && config.http[1].serves == [Interface::Callback]);
}

#[test]
fn codes_by_mail_are_taken_from_whom_it_is_said() {
    let machine = Machine::new();
    let client = |name: &str, address: &str, category: &str| {
        format!("[clients.{name}]\nnetworks = ['{address}']\ncategory = '{category}'\n")
    };
    let (vault, door) = (client("vault", "127.0.0.1", "mfa"), client("door", "127.0.0.2", "signin"));
    let business = "[businesses.acme]\nurl = 'https://acme.example'\n";
    let nobody = config(&machine, &format!("{vault}sms_by_mail = false\n{door}{business}"));
    assert_eq!(nobody.otp.by_mail, None);
    let text = format!("{vault}sms_by_mail = true\n{door}sms_by_mail = true\n{business}");
    let both = config(&machine, &format!("hostname = 'Relay.Acme.Example'\n{text}"));
    let by_mail = both.otp.by_mail.clone().unwrap();
    assert_eq!(by_mail.domain, "sms.relay.acme.example");
    let clients = [("door", Factor::Primary), ("vault", Factor::Secondary)];
    assert_eq!(by_mail.clients, clients.map(|(name, factor)| (ClientName::new(name), factor)).into());
    // Nothing else opens a port, and nothing is asked over HTTP.
    assert!(both.http.is_empty());
    let own = config(&machine, &format!("{text}[otp]\nmail_domain = 'Texts.Acme.Example'\n"));
    assert_eq!(own.otp.by_mail.as_ref().unwrap().domain, "texts.acme.example");
    let again = machine.load(&describe(&own)).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert_eq!(own.otp, again.otp);
}

#[test]
fn the_host_that_texts_name_is_ascii() {
    let machine = Machine::new();
    for (url, host) in [
        ("https://www.acme.example/login", "www.acme.example"),
        ("https://Müller.example:8443", "xn--mller-kva.example"),
    ] {
        let config = config(&machine, &format!("[businesses.acme]\nurl = '{url}'\n"));
        assert_eq!(config.business_urls["acme"].host, host);
        assert_eq!(config.business_urls["acme"].url, url);
    }
}

#[test]
fn a_token_is_made_at_first_start_only_for_trying_out() {
    let machine = Machine::new();
    let first = |text: &str| config(&machine, text).first_client.map(|name| name.as_str().to_owned());
    let local = Some("local".to_owned());
    assert_eq!(first(""), local);
    assert_eq!(first("[businesses.acme]\nurl = 'https://acme.example'\n"), local);
    // Another client is configured; no file takes texts; texts cost money; nothing listens; no site can be named.
    for text in [
        "[clients.local]\nnetworks = ['127.0.0.1']\n".to_owned(),
        MAIL.to_owned(),
        format!("{MAIL}[upstreams.file]\nkind = 'outbox'\n{ACCOUNT}{TOKEN}{FROM}"),
        "[http]\n".to_owned(),
        "[http.a]\nserves = ['callback']\n".to_owned(),
        "[businesses.acme]\ndomains = ['acme.example']\n".to_owned(),
    ] {
        assert_eq!(first(&text), None, "{text}");
    }
}

#[test]
fn a_port_is_opened_only_where_texts_are_spoken_of() {
    let machine = Machine::new();
    let client = "[clients.a]\nnetworks = ['127.0.0.1']\n";
    let ports = |text: &str| config(&machine, text).http.len();
    assert_eq!(ports(client), 0);
    assert_eq!(ports(&format!("{client}token_sha256 = '{}'\n", "2".repeat(64))), 1);
    assert_eq!(ports(&format!("{client}[otp]\n")), 1);
    assert_eq!(ports(&format!("{client}{MAIL}{ACCOUNT}{TOKEN}{FROM}")), 1);
    assert_eq!(ports(&format!("{client}[http.a]\n[http.b]\naddress = '127.0.0.1:1'\n")), 2);
    assert_eq!(ports(&format!("{client}[http]\n")), 0);
    assert_eq!(load(None, &machine.env).unwrap().config.http.len(), 1);
}

/// What `authrelay client add` prints.
fn client_add(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authrelay"));
    let output = command.args(["client", "add", "shop"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_token_that_client_add_prints_is_the_clients_when_pasted() {
    let machine = Machine::new();
    let printed = client_add(&["--otp"]);
    assert!(!printed.contains("password"), "{printed}");
    let token = printed.lines().find_map(|line| line.strip_prefix("#   token ")).unwrap().trim();
    assert_eq!(token.len(), 43);
    assert!(printed.contains(&format!("-H 'Authorization: Bearer {token}'")), "{printed}");
    let access = config(&machine, &printed).clients;
    assert!(access.clients[0].password.is_none() && access.clients[0].user.is_none());
    let directory = Directory::new(access);
    assert_eq!(directory.client_of_token(&Secret::new(token)), Some(ClientName::new("shop")));
    assert_eq!(directory.client_of_token(&Secret::generate().unwrap()), None);
}

#[test]
fn client_add_makes_what_it_is_asked_for() {
    let machine = Machine::new();
    for (arguments, password, token) in [
        (&[][..], true, false),
        (&["--smtp"], true, false),
        (&["--otp"], false, true),
        (&["--otp", "--smtp"], true, true),
    ] {
        let printed = client_add(arguments);
        let access = config(&machine, &printed).clients.clients.remove(0);
        assert_eq!((access.password.is_some(), access.token.is_some()), (password, token), "{arguments:?}");
    }
}
