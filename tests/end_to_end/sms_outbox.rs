//! A relay that nobody configured for texts: a token of its own, and an outbox on this machine.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use crate::harness::config::LISTENER;
use crate::harness::relay::Relay;
use crate::harness::texts::{ANNA, CODE, Shop, text_of};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("the file is there").permissions().mode() & 0o777
}

#[test]
fn the_first_token_and_the_outbox_are_for_their_owner_alone_and_the_text_is_whole() {
    let mut relay = Relay::start(LISTENER);
    let (token, outbox) = (relay.home.file("state/otp.token"), relay.home.file("state/outbox.jsonl"));
    assert_eq!(mode(&token), 0o600);
    let token = std::fs::read_to_string(&token).expect("the token");
    let mut shop = Shop::at(relay.http(), token.trim()).expect("the relay listens");
    let id = shop.code(ANNA, CODE);
    relay.wait_event(&id, "handed-over");
    assert_eq!((shop.status(&id), mode(&outbox)), ("handed-over".to_owned(), 0o600));
    let lines = std::fs::read_to_string(&outbox).expect("the outbox");
    let line: Value = serde_json::from_str(lines.trim_end()).expect("one line of JSON");
    let text = text_of(CODE).replace("acme.example", "localhost");
    assert_eq!(
        (line["to"].as_str(), line["text"].as_str(), line["id"].as_str()),
        (Some(ANNA), Some(&*text), Some(&*id))
    );
    let traced = relay.cli(&["trace", ANNA]).ok().stdout;
    assert!(
        traced.contains(&id) && traced.contains("HANDED-OVER") && !traced.contains("5550100"),
        "{traced}"
    );

    // The token is the same after a restart, and no other one is taken.
    assert!(relay.stop().success());
    relay.restart();
    let mut shop = Shop::at(relay.http(), token.trim()).expect("the relay listens");
    assert_eq!(shop.status(&id), "handed-over");
    let mut stranger = Shop::at(relay.http(), &"x".repeat(43)).expect("the relay listens");
    let answer = stranger.get(&format!("/v1/otp/{id}")).problem(401, "invalid-token");
    assert!(answer.field("www-authenticate").is_some_and(|text| text.starts_with("Bearer")), "{answer:?}");
}

#[test]
fn an_outbox_that_others_could_read_is_not_written_to() {
    let relay = Relay::start(LISTENER);
    let outbox = relay.home.write("state/outbox.jsonl", "");
    std::fs::set_permissions(&outbox, std::fs::Permissions::from_mode(0o644)).expect("another mode");
    let token = std::fs::read_to_string(relay.home.file("state/otp.token")).expect("the token");
    let mut shop = Shop::at(relay.http(), token.trim()).expect("the relay listens");
    let id = shop.code(ANNA, CODE);
    let event = relay.wait_event(&id, "deferred");
    assert!(event["reason"].as_str().is_some_and(|reason| reason.contains("chmod u=rw,go=")), "{event}");
    assert_eq!(std::fs::read(&outbox).expect("the outbox"), b"");
    std::fs::set_permissions(&outbox, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    relay.wait_event(&id, "handed-over");
}
