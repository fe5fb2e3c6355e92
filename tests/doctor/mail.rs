//! SMTP upstreams: what is found of those that are well, and of each way to be ill. None ever sees a recipient.

use std::sync::Arc;

use super::certificates::{Authority, VALID, params, server_config};
use super::dns::Dns;
use super::harness::config::LISTENER;
use super::harness::relay::Home;
use super::harness::upstream::unused_address;
use super::scripted_upstream::{ALL_OFFERS, Act, ScriptedUpstream, Step, Tls};
use super::{Checked, check};

const SENDERS: &str = "[senders.no-reply]\nfrom = \"Acme <no-reply@acme.example>\"\nreturn_path = \"bounces@acme.example\"\n\
    [senders.shop]\nfrom = \"Shop <hello@shop.example>\"\n";
const OFFERS: [&str; 3] = ["AUTH PLAIN LOGIN", "8BITMIME", "ENHANCEDSTATUSCODES"];
const LOGIN: (&str, &str) = ("relay", "correct-horse");

/// A provider on a thread of its own.
struct Provider {
    scripted: ScriptedUpstream,
    // Dropped after the server that runs on it.
    _runtime: tokio::runtime::Runtime,
}

impl Provider {
    fn start(tls: Tls, login: Option<(&'static str, &'static str)>) -> Self {
        super::harness::install_tls();
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime");
        let offers: &[&'static str] = if login.is_some() { &OFFERS } else { &ALL_OFFERS };
        let scripted = runtime.block_on(ScriptedUpstream::start_with(offers, tls, login));
        Self { scripted, _runtime: runtime }
    }

    fn port(&self) -> u16 {
        self.scripted.address.port()
    }

    /// That nothing was sent: there was never a recipient, nor a message.
    #[track_caller]
    fn assert_nothing_was_sent(&self) {
        let seen = self.scripted.seen();
        // Not the other way round: where TLS is begun with a server that has none, it takes that for commands.
        for command in &seen.commands {
            assert!(!["RCPT", "DATA", "BDAT"].iter().any(|verb| command.starts_with(verb)), "{command}");
        }
        assert!(seen.messages.is_empty());
    }
}

fn encrypted(port: u16, more: &str) -> String {
    format!(
        "{LISTENER}{SENDERS}[upstreams.provider]\nhost = \"localhost\"\nport = {port}\nca_file = \"ca.pem\"\n{more}\n"
    )
}

const WITH_LOGIN: &str = "user = \"relay\"\npassword_file = \"password\"\n";

fn home(authority: &Authority, password: &str) -> Home {
    let home = Home::new();
    home.write("ca.pem", authority.pem());
    home.write("password", password);
    home
}

#[test]
fn an_upstream_that_is_well_is_told_with_its_certificate_and_every_sender() {
    let authority = Authority::new();
    for (tls, mode) in [
        (Tls::StartTls(authority.server("localhost", VALID)), "tls = \"starttls\"\n"),
        (Tls::Implicit(authority.server("localhost", VALID)), "tls = \"implicit\"\n"),
    ] {
        let provider = Provider::start(tls, Some(LOGIN));
        let config = encrypted(provider.port(), &format!("{WITH_LOGIN}{mode}"));
        let checked = check(&home(&authority, LOGIN.1), &config, &Dns::start());
        let (severity, _) = checked.find("connected with TLS 1.3, certificate until 2120-01-01");
        assert_eq!(severity, "ok");
        assert!(checked.tells("logged in"), "{}", checked.said);
        assert_eq!(checked.find("takes mail of sender no-reply (b***@acme.example)").0, "ok");
        assert_eq!(checked.find("takes mail of sender shop (h***@shop.example)").0, "ok");
        provider.assert_nothing_was_sent();
        let commands = provider.scripted.seen().commands;
        let mails = commands.iter().filter(|command| command.starts_with("MAIL")).count();
        // Two senders and the empty one.
        assert_eq!(mails, 3, "{commands:?}");
        assert_eq!(commands.iter().filter(|command| *command == "QUIT").count(), 1, "{commands:?}");
    }
}

#[test]
fn a_sender_that_is_refused_is_named_with_the_words_of_the_provider() {
    let provider = Provider::start(Tls::None, None);
    provider.scripted.once(Step::Mail, Act::SayAndClose("421 4.7.0 not now"));
    provider.scripted.once(Step::Mail, Act::Say("553 5.7.1 <hello@shop.example>: not verified"));
    provider.scripted.once(Step::Mail, Act::Say("550 5.7.1 no empty senders"));
    let port = provider.port();
    let config = format!(
        "{LISTENER}{SENDERS}[upstreams.provider]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"plain\"\n"
    );
    let checked = check(&Home::new(), &config, &Dns::start());
    assert!(!checked.healthy && !checked.succeeded);
    assert_eq!(checked.find("refuses mail of sender no-reply (b***@acme.example): 421").0, "error");
    let (severity, advice) = checked.find("refuses mail of sender shop (h***@shop.example): 553 5.7.1");
    assert_eq!(severity, "error");
    assert!(advice.contains("verify this address") && advice.contains("[upstreams.provider]"), "{advice}");
    assert!(!checked.tells("hello@shop.example"), "{}", checked.said);
    let (severity, advice) = checked.find("refuses mail with the empty envelope sender");
    assert!(severity == "warning" && advice.contains("null_reverse_path"), "{advice}");
    provider.assert_nothing_was_sent();
}

fn refused(authority: &Authority, tls: Tls, password: &str, more: &str) -> Checked {
    let provider = Provider::start(tls, Some(LOGIN));
    let config = encrypted(provider.port(), &format!("{WITH_LOGIN}{more}"));
    let checked = check(&home(authority, password), &config, &Dns::start());
    assert!(!checked.healthy && !checked.succeeded);
    provider.assert_nothing_was_sent();
    let seen = provider.scripted.seen();
    assert!(!seen.commands.iter().any(|command| command.starts_with("MAIL")), "{:?}", seen.commands);
    assert!(!seen.clear.iter().any(|command| command.starts_with("AUTH")), "{:?}", seen.clear);
    checked
}

#[test]
fn a_certificate_that_is_not_trusted_is_explained() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let alone = {
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params("localhost", VALID).self_signed(&key).expect("a certificate");
        server_config(certificate.der().clone(), &key)
    };
    for (server, words, advised) in [
        (authority.server("localhost", (2020, 2022)), "its certificate ended", "clock"),
        (authority.server("localhost", (2110, 2120)), "its certificate begins at 2110-01-01", "clock"),
        (
            authority.server("mail.other.example", VALID),
            "is for mail.other.example, not for localhost",
            "`host`",
        ),
        (stranger.server("localhost", VALID), "whom this machine does not trust", "ca_file"),
        (alone, "is self-signed", "ca_file"),
    ] {
        let checked = refused(&authority, Tls::StartTls(Arc::clone(&server)), LOGIN.1, "");
        let (severity, advice) = checked.find(words);
        assert!(severity == "error" && advice.contains(advised), "{words}: {advice}");
    }
}

#[test]
fn a_wrong_password_is_tried_once_and_told() {
    let authority = Authority::new();
    let provider = Provider::start(Tls::StartTls(authority.server("localhost", VALID)), Some(LOGIN));
    let config = encrypted(provider.port(), WITH_LOGIN);
    let checked = check(&home(&authority, "wrong-horse"), &config, &Dns::start());
    let (severity, advice) = checked.find("does not let us log in: 535 5.7.8 no");
    assert!(severity == "error" && advice.contains("password of [upstreams.provider]"), "{advice}");
    let seen = provider.scripted.seen();
    assert_eq!(seen.commands.iter().filter(|command| command.starts_with("AUTH")).count(), 1);
    assert!(!checked.tells("wrong-horse"));
    provider.assert_nothing_was_sent();
}

#[test]
fn an_upstream_that_does_not_answer_as_configured_is_told_apart() {
    let authority = Authority::new();
    // No STARTTLS on offer, though it is configured.
    let checked = refused(&authority, Tls::None, LOGIN.1, "");
    let (_, advice) = checked.find("STARTTLS is not offered");
    assert!(advice.contains("implicit"), "{advice}");
    // Plain text where TLS should begin.
    let checked = refused(&authority, Tls::None, LOGIN.1, "tls = \"implicit\"\n");
    let (_, advice) = checked.find("failed to begin TLS");
    assert!(advice.contains("starttls"), "{advice}");
    let nobody = unused_address();
    let config = format!(
        "{LISTENER}{SENDERS}[upstreams.provider]\nhost = \"{}\"\nport = {}\ntls = \"plain\"\n\
         [upstreams.lost]\nhost = \"no-such-host.invalid\"\n",
        nobody.ip(),
        nobody.port()
    );
    let checked = check(&Home::new(), &config, &Dns::start());
    let (_, advice) = checked.find("can't be reached");
    assert!(advice.contains("firewall"), "{advice}");
    let (_, advice) = checked.find("no-such-host.invalid can't be found");
    assert!(advice.contains("spelling"), "{advice}");
}

#[test]
fn an_upstream_that_says_nothing_ends_in_time() {
    let provider = Provider::start(Tls::None, None);
    provider.scripted.always(Step::Greeting, Act::Hang);
    let port = provider.port();
    let config = format!(
        "{LISTENER}{SENDERS}[upstreams.provider]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"plain\"\n\
         timeouts = {{ connect = \"1s\" }}\n"
    );
    let checked = check(&Home::new(), &config, &Dns::start());
    let (severity, advice) = checked.find("does not answer: no answer in time");
    assert!(severity == "error" && advice.contains("firewall"), "{advice}");
}
