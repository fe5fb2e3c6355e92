//! Reload: what stands in files beside the configuration is read again (passwords), or picked up by itself (certificates);
//! and what is found at an HTTP listener, with its password.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::reload::status;
use crate::harness::config::{LISTENER, NO_REPLY, client, sha256, small};
use crate::harness::dialogue::Dialogue;
use crate::harness::independent::Independent;
use crate::harness::mail::password_reset;
use crate::harness::pki::{Authority, Pki};
use crate::harness::relay::{Home, Relay};
use crate::harness::upstream::Upstream;
use crate::harness::web::Connection;

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna@customer.example";

#[test]
fn a_password_file_is_read_again_and_a_variable_is_said_not_to_be() {
    let home = Home::new();
    let pki = Pki::new(home.path());
    let provider = Independent::guarded(&pki, "relay", "new-word");
    home.write("password", "old-word\n");
    let config = |password: &str| {
        format!(
            "{LISTENER}{}{NO_REPLY}[upstreams.provider]\nhost = \"localhost\"\nport = {}\nca_file = \"authority.pem\"\n\
             user = \"relay\"\n{password}\n",
            client("app", ""),
            provider.address().port()
        )
    };
    let relay = home.start(&config("password_file = \"password\""));
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&id, "deferred");
    relay.home.write("password", "new-word\n");
    let ran = relay.cli(&["reload"]).ok();
    assert!(!ran.stdout.contains("not read again"), "{ran:?}");
    provider.wait_taken(1);
    assert!(!relay.log().contains("new-word") && !relay.log().contains("old-word"));
    // The test's own process has it, the relay has not: what it can't have is refused.
    relay.configure(&config("password_env = \"RELAY_PASSWORD\""));
    let ran = relay.cli(&["reload"]);
    assert!(ran.status.code() == Some(78) && ran.stderr.contains("RELAY_PASSWORD"), "{ran:?}");
    relay.configure(&config("password_env = \"PATH\""));
    let ran = relay.cli(&["reload"]).ok();
    assert!(
        ran.stdout.contains("not read again before a restart")
            && ran.stdout.contains("password_env = \"PATH\""),
        "{ran:?}"
    );
}

#[test]
fn a_certificate_that_is_replaced_on_disk_is_shown_without_a_call() {
    let provider = Upstream::accepting();
    let home = Home::new();
    let pki = Pki::new(home.path());
    let tls = "[tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n";
    let relay = home.start(&small(provider.address(), "", tls));
    let mut before = Dialogue::encrypted(relay.address(), &pki.authority);
    let renewed = Authority::new();
    let authority = relay.home.write("renewed-authority.pem", renewed.pem());
    let server = renewed.sign("localhost");
    // A certificate without its key is not shown.
    relay.home.write("server.pem", &server.certificate);
    relay.wait_line("the warning", |line| {
        line["message"] == "the new certificate can't be used: the old one stays in use"
    });
    assert!(status(&relay)["reloads"]["not_picked_up"].is_string());
    Dialogue::encrypted(relay.address(), &pki.authority);
    // An ACME client puts another file in its place.
    let key = relay.home.write("server.key.new", &server.key);
    std::fs::rename(key, relay.home.file("server.key")).expect("renamed");
    relay.wait_line("the new one", |line| line["message"] == "picked up a new certificate");
    let mut after = Dialogue::encrypted(relay.address(), &authority);
    for dialogue in [&mut before, &mut after] {
        dialogue.send(FROM, &[ANNA], &password_reset(ANNA)).expect(250);
    }
    let reloads = status(&relay)["reloads"].clone();
    assert!(
        reloads["picked_up"] == 1 && reloads["not_picked_up"].is_null() && reloads["succeeded"] == 0,
        "{reloads}"
    );
}

#[test]
fn a_certificate_that_ends_soon_is_warned_of() {
    let provider = Upstream::accepting();
    let home = Home::new();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let end = std::time::Duration::from_hours(10 * 24 + 1);
    params.not_after = (std::time::SystemTime::UNIX_EPOCH + since_epoch() + end).into();
    let key = rcgen::KeyPair::generate().expect("a key");
    home.write("server.pem", params.self_signed(&key).expect("a certificate").pem());
    home.write("server.key", key.serialize_pem());
    let tls = "[tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n";
    let relay = home.start(&small(provider.address(), "", tls));
    relay.wait_line("the warning", |line| {
        line["level"] == "WARN"
            && line["message"].as_str().is_some_and(|text| text.contains("ends in 10 days"))
    });
    for arguments in [&["reload"][..], &["check"], &["status"]] {
        let ran = relay.cli(arguments).ok();
        assert!(
            format!("{}{}", ran.stdout, ran.stderr).contains("ends in 10 days"),
            "{arguments:?}: {ran:?}"
        );
    }
    let shown = status(&relay)["certificates"][0].clone();
    assert!(shown["path"].as_str().is_some_and(|path| path.ends_with("server.pem")), "{shown}");
    assert!(shown["expires"].is_string() && shown["warning"].is_string(), "{shown}");
}

fn since_epoch() -> std::time::Duration {
    let now = authrelay::clock::Clock::System.now().as_millis();
    std::time::Duration::from_millis(u64::try_from(now).expect("after 1970"))
}

/// The status of an answer at the listener called `admin`.
fn asked(relay: &Relay, path: &str, password: &str) -> u16 {
    let basic = format!("Basic {}", STANDARD.encode(format!("prometheus:{password}")));
    let mut connection = Connection::open(relay.listener("admin")).expect("a connection");
    connection.ask("GET", path, &[("Authorization", &basic)], "").expect("an answer").status
}

#[test]
fn the_password_of_a_listener_and_what_is_found_there_follow_and_its_address_waits() {
    let provider = Upstream::accepting();
    let listener = |password: &str, more: &str| {
        let digest = sha256(password);
        let admin = format!(
            "[http.admin]\naddress = \"127.0.0.1:0\"\nserves = [\"admin\"{more}]\npassword_sha256 = \"{digest}\"\n"
        );
        small(provider.address(), "", &admin)
    };
    let relay = Relay::start(&listener("first", ""));
    assert_eq!((asked(&relay, "/metrics", "first"), asked(&relay, "/metrics", "second")), (200, 401));
    assert_eq!(asked(&relay, "/v1/otp", "first"), 404);
    let done = relay.reload(&listener("second", ", \"otp\""));
    assert!(!done.stderr.contains("waits for a restart"), "{done:?}");
    assert_eq!((asked(&relay, "/metrics", "first"), asked(&relay, "/metrics", "second")), (401, 200));
    assert_eq!(asked(&relay, "/v1/otp", "second"), 405, "codes are asked for with POST");
    assert!(status(&relay)["listeners"].to_string().contains("admin, otp"), "{}", status(&relay));

    // What was judged for another place is not in force at this one: not the address, so not the password either.
    let done = relay.reload(&listener("third", "").replace("127.0.0.1:0\"\nserves", "127.0.0.2:0\"\nserves"));
    assert!(
        done.stderr.contains("[http.admin] stays as it was, at 127.0.0.1:0, not at 127.0.0.2:0 yet"),
        "{done:?}"
    );
    assert_eq!((asked(&relay, "/metrics", "second"), asked(&relay, "/metrics", "third")), (200, 401));
}
