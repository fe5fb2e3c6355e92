//! `authrelay clients`: what applications were seen to do, over a restart.

use super::harness::config::{LISTENER, NO_REPLY, USER, client_with_password, upstream};
use super::harness::dialogue::Dialogue;
use super::harness::relay::{Home, Relay};
use super::harness::upstream::Upstream;
use serde_json::Value;

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna.smith@customer.example";

/// A legacy application's worst: bare LF, a line without end, no Date, no Message-ID, octets above 127 everywhere.
fn worst() -> Vec<u8> {
    let long = "x".repeat(1200);
    let head = "From: <shop@legacy.example>\nSubject: Sch\u{f6}ne Gr\u{fc}\u{df}e\n\n";
    format!("{head}Setzen Sie Ihr Passwort zur\u{fc}ck\n{long}\r\n.\r\n").into_bytes()
}

fn send(dialogue: &mut Dialogue, wire: &[u8]) -> u16 {
    dialogue.command(&format!("MAIL FROM:<{FROM}>")).expect(250);
    dialogue.command(&format!("RCPT TO:<{ANNA}>")).expect(250);
    dialogue.command("DATA").expect(354);
    dialogue.write(wire);
    dialogue.reply().code
}

#[track_caller]
fn client<'v>(view: &'v Value, name: &str) -> &'v Value {
    let clients = view["clients"].as_array().expect("clients");
    clients.iter().find(|client| client["name"] == name).unwrap_or_else(|| panic!("no {name} in {view}"))
}

#[track_caller]
fn count(client: &Value, list: &str, of: &str) -> u64 {
    let pairs = client[list].as_array().expect("a list");
    pairs
        .iter()
        .find(|pair| pair[0].as_str().is_some_and(|kind| kind.contains(of)))
        .map_or(0, |pair| pair[1].as_u64().expect("a number"))
}

fn relay(provider: &Upstream) -> Relay {
    let legacy = "[clients.legacy]\nnetworks = [\"127.0.0.2/32\"]\ncategory = \"password-reset\"\n";
    let strict = "[clients.new]\nnetworks = [\"127.0.0.3/32\"]\n";
    let with_password = client_with_password("category = \"password-reset\"");
    let table = upstream("provider", provider.address(), "");
    Home::new().start(&format!("{LISTENER}{legacy}{strict}{with_password}{NO_REPLY}{table}"))
}

/// What `clients` has to show of it, whether the relay was started anew or not.
#[track_caller]
fn assert_noted(relay: &Relay) {
    let ran = relay.cli(&["clients", "--json"]);
    assert!(!ran.stdout.contains("anna") && !ran.stdout.contains("Passwort"), "{ran:?}");
    let view = ran.json();
    let legacy = client(&view, "legacy");
    assert_eq!(legacy["messages"], 2, "{legacy}");
    for habit in ["bare-lf", "long-lines", "no-date", "no-message-id", "eight-bit-body", "eight-bit-header"] {
        assert_eq!(count(legacy, "habits", habit), 1, "{habit} in {legacy}");
    }
    assert_eq!((count(legacy, "habits", "no-tls"), count(legacy, "habits", "no-auth")), (2, 2), "{legacy}");
    assert_eq!((count(legacy, "tls", "none"), &legacy["addresses"][0]), (2, &Value::from("127.0.0.2")));
    assert_eq!(count(client(&view, "new"), "refusals", "550 5.7.1 rule "), 2, "{view}");
    assert!(client(&view, USER)["last_seen"].is_null(), "{view}");
    let strangers = view["strangers"].as_array().expect("strangers");
    assert_eq!(strangers.len(), 2, "{view}");
    let guest = strangers.iter().find(|stranger| stranger["address"] == "127.0.0.1").expect("the guest");
    assert_eq!((&guest["tried_login"], &guest["attempts"]), (&Value::from(true), &Value::from(1)), "{view}");
}

#[test]
fn what_an_application_does_is_told_with_what_to_change_also_after_a_restart() {
    let provider = Upstream::accepting();
    let mut relay = relay(&provider);
    let mut legacy = Dialogue::hello_from([127, 0, 0, 2].into(), relay.address());
    assert_eq!(send(&mut legacy, &worst()), 250);
    let plain = "Date: Mon, 5 Jan 2026 10:00:00 +0000\r\nMessage-ID: <1@legacy.example>\r\nFrom: <shop@legacy.example>\r\n\
                 Subject: Reset your password\r\n\r\nReset your password.\r\n.\r\n";
    assert_eq!(send(&mut legacy, plain.as_bytes()), 250);
    drop(legacy);
    // A client that is known, and sends what is refused.
    let mut new = Dialogue::hello_from([127, 0, 0, 3].into(), relay.address());
    for _ in 0..2 {
        let sale =
            "From: <shop@legacy.example>\r\nSubject: Autumn sale, 20% off\r\n\r\nShop now and save!\r\n.\r\n";
        assert_eq!(send(&mut new, sale.as_bytes()), 550);
    }
    drop(new);
    // Strangers: one who only knocks, and one who guesses passwords.
    let mut stranger = Dialogue::hello_from([127, 0, 0, 4].into(), relay.address());
    stranger.command(&format!("MAIL FROM:<{FROM}>")).expect(530);
    drop(stranger);
    let certificate = relay.home.certificate();
    let mut guest = Dialogue::encrypted(relay.address(), &certificate);
    guest.auth_plain(USER, "wrong").expect(535);
    drop(guest);

    assert_noted(&relay);
    let said = relay.cli(&["clients"]).ok().stdout;
    for words in [
        "legacy: 2 messages",
        "lines that end in LF alone: 1 of 2 messages",
        "bare_lf",
        "quoted-printable",
        "shop: never seen",
        "127.0.0.4",
        "logins failed",
    ] {
        assert!(said.contains(words), "{words} is not in {said}");
    }
    let one = relay.cli(&["clients", "new"]).ok().stdout;
    assert!(one.contains("explain") && !one.contains("legacy") && !one.contains("127.0.0.4"), "{one}");
    assert!(!relay.cli(&["clients", "nobody"]).status.success());

    assert!(relay.stop().success());
    relay.restart();
    assert_noted(&relay);
}

#[test]
fn a_bare_lf_that_is_refused_is_told_too() {
    let provider = Upstream::accepting();
    let table = upstream("provider", provider.address(), "");
    let app = "[clients.app]\nnetworks = [\"127.0.0.0/8\"]\ncategory = \"password-reset\"\n";
    let config = format!("{LISTENER}bare_lf = \"refuse\"\n{app}{NO_REPLY}{table}");
    let relay = Home::new().start(&config);
    let mut dialogue = Dialogue::hello(relay.address());
    assert_eq!(send(&mut dialogue, b"From: <a@legacy.example>\nSubject: x\n\nx\r\n.\r\n"), 521);
    let view = relay.cli(&["clients", "--json"]).json();
    let app = client(&view, "app");
    assert_eq!((count(app, "habits", "bare-lf"), count(app, "refusals", "521")), (1, 1), "{app}");
}
