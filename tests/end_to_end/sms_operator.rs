//! The command line and codes for phones.

use serde_json::Value;

use crate::harness::config::{LISTENER, NO_REPLY};
use crate::harness::fake_twilio::Act;
use crate::harness::relay::Relay;
use crate::harness::texts::{ANNA, CODE, OPEN, Scene};
use crate::harness::upstream::unused_address;

/// A German relay for trying out: numbers are written as they are at home.
fn at_home() -> Relay {
    Relay::start(&format!(
        "{LISTENER}{NO_REPLY}[businesses.acme]\nurl = \"https://acme.example\"\n\
         [otp]\ndefault_country = \"DE\"\ncode_shortest = 6\ncode_longest = 6\n"
    ))
}

#[test]
fn a_test_code_is_sent_and_traced_by_its_number_as_written_at_home() {
    let relay = at_home();
    let sent = relay.cli(&["send-test", "--sms", "0151 23456789", "--json"]).json();
    assert_eq!(sent["accepted"], true, "{sent}");
    let id = sent["id"].as_str().expect("an id");
    relay.wait_event(id, "handed-over");
    let outbox = std::fs::read_to_string(relay.home.file("state/outbox.jsonl")).expect("the outbox");
    let line: Value = serde_json::from_str(outbox.trim_end()).expect("one line");
    let text = line["text"].as_str().expect("a text");
    let (code, rest) = text.split_at(6);
    assert!(code.bytes().all(|byte| byte.is_ascii_digit()), "{text}");
    assert_eq!(rest, format!(" is your one-time code to sign in to acme.example #{code}"));
    assert_eq!(line["to"], "+4915123456789");
    for number in ["0151 23456789", "+49 151 23456789", "0049-151-23456789", "tel:+4915123456789"] {
        let traced = relay.cli(&["trace", number, "--json"]).json();
        assert_eq!(traced["messages"][0]["id"], id, "{number}: {traced}");
        assert_eq!(traced["messages"][0]["to"], "(forgotten)", "{traced}");
        let listed = relay.cli(&["queue", "list", "--to", number, "--json"]).json();
        assert_eq!(listed["messages"][0]["id"], id, "{number}: {listed}");
    }
    let shown = relay.cli(&["queue", "show", id]).ok().stdout;
    assert!(shown.contains("HANDED-OVER") && !shown.contains(code) && !shown.contains("3456789"), "{shown}");
    let other = relay.cli(&["trace", "0151 23456780"]);
    assert!(!other.status.success() && other.stderr.contains("nothing is known"), "{other:?}");
    let nonsense = relay.cli(&["send-test", "--sms", "12"]);
    assert!(!nonsense.status.success(), "{nonsense:?}");
}

#[test]
fn a_number_without_its_country_is_not_guessed_at() {
    let scene = Scene::start("", OPEN);
    let refused = scene.relay.cli(&["trace", "0151 23456789"]);
    assert!(!refused.status.success() && refused.stderr.contains("default_country"), "{refused:?}");
    let sent = scene.relay.cli(&["send-test", "--sms", "0151 23456789"]);
    assert!(!sent.status.success(), "{sent:?}");
    assert!(scene.provider.fake.requests().is_empty());
}

#[test]
fn a_test_code_obeys_the_rules_of_all_codes() {
    let scene = Scene::start("", OPEN);
    let refused = scene.relay.cli(&["send-test", "--sms", "+447400123456"]);
    assert!(!refused.status.success() && format!("{refused:?}").contains("GB"), "{refused:?}");
    let sent =
        scene.relay.cli(&["send-test", "--sms", ANNA, "--factor", "secondary", "--business", "acme"]).ok();
    assert!(sent.stdout.contains("follow it with"), "{sent:?}");
    let text = scene.provider.texts(1)[0].clone();
    assert!(text.field("Body").is_some_and(|body| body.contains("to sign in to acme.example #")));
    let unknown = scene.relay.cli(&["send-test", "--sms", ANNA, "--business", "akme"]);
    assert!(!unknown.status.success() && unknown.stderr.contains("acme"), "{unknown:?}");
}

#[test]
fn a_code_that_waits_is_listed_masked_held_released_and_removed() {
    let scene = Scene::start("breaker = { longest = \"1s\" }\n", OPEN);
    scene.provider.fake.always(Act::TooMany(None));
    let mut shop = scene.shop();
    let (kept, gone) = (shop.code(ANNA, CODE), shop.code("+12126660100", "222222"));
    scene.relay.wait_event(&kept, "deferred");
    let list = scene.relay.cli(&["queue", "list", "--json"]).json();
    assert_eq!(list["messages"].as_array().map(Vec::len), Some(2), "{list}");
    let text = list.to_string();
    assert!(!text.contains("5550100") && !text.contains("6660100") && !text.contains(CODE), "{text}");
    let full = scene.relay.cli(&["queue", "list", "--json", "--full"]).json().to_string();
    assert!(full.contains(ANNA) && !full.contains(CODE), "{full}");
    operate(&scene.relay, "hold", &kept);
    operate(&scene.relay, "remove", &gone);
    scene.provider.fake.as_usual();
    let other = shop.code("+12126660101", "333333");
    scene.relay.wait_event(&other, "handed-over");
    assert_eq!((shop.status(&kept), shop.status(&gone)), ("queued".to_owned(), "removed".to_owned()));
    assert_eq!(scene.relay.traced(&gone)["to"], "(forgotten)");
    operate(&scene.relay, "release", &kept);
    scene.relay.wait_event(&kept, "handed-over");
    assert_eq!(scene.provider.texts(2).len(), 2);
}

/// A message that is being attempted at this moment refuses an operation.
fn operate(relay: &Relay, operation: &str, id: &str) {
    crate::harness::look_until(operation, || {
        let ran = relay.cli(&["queue", operation, id]);
        assert!(ran.status.success() || ran.stderr.contains("attempt is under way"), "{ran:?}");
        ran.status.success().then_some(())
    });
}

#[test]
fn the_status_names_the_provider_and_what_it_reported() {
    let scene = Scene::start("public_url = \"https://relay.acme.example\"\n", OPEN);
    let shown = scene.relay.cli(&["status"]).ok().stdout;
    for word in ["phones", "twilio", &scene.provider.fake.base_url(), "callback", "otp"] {
        assert!(shown.contains(word), "{word} in {shown}");
    }
    assert_eq!((scene.reports("applied"), scene.reports("forged")), (0, 0));
    let down = crate::harness::texts::texting(&format!("http://{}", unused_address()), "", OPEN);
    let relay = Relay::start(&down);
    let id = crate::harness::texts::Shop::of(&relay).code(ANNA, CODE);
    relay.wait_event(&id, "deferred");
    let shown = relay.cli(&["status"]).ok().stdout;
    assert!(shown.contains("down") || shown.contains("probing"), "{shown}");
}
