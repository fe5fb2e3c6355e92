//! Whoever holds a token can't burn money with it: each refusal, what it is told as, where it is found again, and that
//! nothing went to the provider.

use serde_json::json;

use crate::harness::relay::Relay;
use crate::harness::texts::{ANNA, CODE, OPEN, Scene, Shop, asking, id_of, shop, with};
use crate::harness::web::Answer;

/// Hardly a limit, as [`OPEN`], but for those that are replaced.
fn limited(changes: &[(&str, &str)]) -> String {
    let line = |line: &str| {
        let (key, _) = line.split_once(" = ").expect("a setting");
        let change = changes.iter().find(|(changed, _)| *changed == key);
        change.map_or_else(|| line.to_owned(), |(_, value)| format!("{key} = {value}"))
    };
    let added = changes.iter().filter(|(key, _)| !OPEN.contains(&format!("{key} = ")));
    let added = added.map(|(key, value)| format!("{key} = {value}"));
    OPEN.lines().map(line).chain(added).collect::<Vec<_>>().join("\n")
}

/// Asserts that a refusal of this number is on record.
#[track_caller]
fn assert_on_record(relay: &Relay, number: &str, rule: &str) {
    let trace = relay.trace(number);
    let events = trace["events"].as_array().expect("a list");
    let refused = events.iter().find(|event| event["event"] == "refused" && event["rule"] == rule);
    assert!(refused.is_some_and(|event| event["to"] == "(forgotten)"), "{rule} in {trace}");
}

#[test]
fn numbers_that_nobody_s_phone_has_are_refused_by_country_and_by_range() {
    let scene = Scene::start("", &limited(&[("countries", "[\"US\", \"DE\"]"), ("secondary", "false")]));
    let mut shop = scene.shop();
    for (number, kind, rule) in [
        ("+447400123456", "country-not-allowed", "guard:country"),
        ("+882161234567", "country-not-allowed", "guard:country"),
        ("+19002345678", "number-range-not-allowed", "guard:range"),
        ("+491805123456", "number-range-not-allowed", "guard:range"),
    ] {
        let answer = shop.post(&asking(number, CODE)).problem(403, kind);
        assert_eq!(answer.json()["pointer"].as_str().unwrap_or("/to"), "/to", "{answer:?}");
        let digits = &number[number.len() - 7.min(number.len() - 1)..];
        assert!(!answer.body.contains(digits) && !answer.body.contains(CODE), "{answer:?}");
        assert_on_record(&scene.relay, number, rule);
    }
    // Before anything is known that could be on record.
    shop.post(&asking("12", CODE)).problem(422, "invalid-number");
    shop.post(&asking("02125550100", CODE)).problem(422, "invalid-number");
    shop.post(&asking(ANNA, "12ab")).problem(422, "invalid-code");
    shop.post(&with(asking(ANNA, CODE), json!({ "factor": "secondary" }))).problem(403, "factor-off");
    shop.post(&with(asking(ANNA, CODE), json!({ "business": "bolt" }))).problem(422, "unknown-business");
    shop.post(&with(asking(ANNA, CODE), json!({ "expires_in": 3600 }))).problem(422, "invalid-expiry");
    let id = shop.code(ANNA, CODE);
    scene.relay.wait_event(&id, "handed-over");
    assert_eq!(scene.provider.fake.requests().len(), 1, "only what was let through");
}

/// Two codes pass, the third does not; `number` says which number the nth code is for.
fn third_is_refused(setting: (&str, &str), kind: &str, rule: &str, number: impl Fn(u32) -> String) -> Answer {
    let mut scene = Scene::start("", &limited(&[setting]));
    let mut shop = scene.shop();
    for n in 0..2 {
        let id = shop.code(&number(n), CODE);
        scene.relay.wait_event(&id, "handed-over");
    }
    shop.post(&asking(&number(2), CODE)).problem(429, kind);
    assert_on_record(&scene.relay, &number(2), rule);
    // What guards money is counted on disk.
    scene.relay.kill9();
    scene.relay.restart();
    let answer = scene.shop().post(&asking(&number(2), CODE)).problem(429, kind);
    assert_eq!(scene.provider.fake.posts().len(), 2);
    answer
}

#[test]
fn the_limit_of_a_number_outlives_the_process() {
    let answer = third_is_refused(("per_number", "[\"2/1d\"]"), "number-limit", "guard:number-limit", |_| {
        ANNA.to_owned()
    });
    let wait: u64 = answer.field("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
    assert!((1..=86_400).contains(&wait), "{wait}");
    assert_eq!(answer.field("ratelimit-policy"), Some("\"number\";q=2;w=86400"));
    assert_eq!(answer.field("ratelimit"), Some(format!("\"number\";r=0;t={wait}").as_str()));
    assert!(!answer.body.contains("5550100") && !answer.body.contains(CODE), "{answer:?}");
}

#[test]
fn the_limit_of_neighbouring_numbers_outlives_the_process() {
    let number = |n| format!("+12125550{:03}", 100 + n * 7);
    third_is_refused(("per_prefix", "[\"2/1d\"]"), "prefix-limit", "guard:prefix-limit", number);
}

#[test]
fn the_limits_of_client_business_and_all_outlive_the_process() {
    let number = |n| format!("+1212{}0100", 555 + n);
    third_is_refused(("per_client", "[\"2/1d\"]"), "client-limit", "guard:client-limit", number);
    third_is_refused(("per_business", "[\"2/1d\"]"), "business-limit", "guard:business-limit", number);
    third_is_refused(("in_all", "[\"2/1d\"]"), "total-limit", "guard:total-limit", number);
}

#[test]
fn what_comes_too_fast_is_put_off() {
    let scene = Scene::start("", &limited(&[("number_pause", "\"10m\"")]));
    let mut shop = scene.shop();
    shop.code(ANNA, "111111");
    shop.code(ANNA, "222222");
    let answer = shop.post(&asking(ANNA, "333333")).problem(429, "number-limit");
    assert!(answer.field("retry-after").is_some(), "{answer:?}");
    assert_on_record(&scene.relay, ANNA, "guard:rate");
    let scene = Scene::start("", &limited(&[("client_rate", "1"), ("client_burst", "3")]));
    let mut shop = scene.shop();
    let number = |n| format!("+1212{}0100", 555 + n);
    let first = (0..20).map(|n| shop.post(&asking(&number(n), CODE))).find(|answer| answer.status != 202);
    let answer = first.expect("twenty at once are too many").problem(429, "rate-limited");
    assert_eq!(answer.field("retry-after"), Some("1"));
}

#[test]
fn where_no_country_is_named_nothing_goes_to_the_provider_and_check_says_so() {
    let scene = Scene::start("", &limited(&[("countries", "[]"), ("test_numbers", "[\"+12126660100\"]")]));
    scene.shop().post(&asking(ANNA, CODE)).problem(403, "country-not-allowed");
    // A test number is taken, and sent nothing.
    let answer = scene.shop().post(&asking("+12126660100", CODE)).expect(202);
    assert_eq!(answer.json()["status"], "suppressed");
    let id = id_of(&answer);
    scene.relay.wait_event(&id, "suppressed");
    assert_eq!(scene.shop().status(&id), "suppressed");
    let released = scene.relay.cli(&["queue", "release", &id]);
    if released.status.success() {
        scene.relay.wait_event(&id, "failed");
    }
    assert!(scene.provider.fake.requests().is_empty());
    let checked = scene.relay.cli(&["check"]).ok();
    assert!(checked.stderr.contains("countries") && checked.stderr.contains("phones"), "{checked:?}");
}

#[test]
fn a_countries_list_is_not_needed_where_texts_cost_nothing() {
    let outbox = "[upstreams.phones]\nkind = \"outbox\"\n";
    let otp = limited(&[("countries", "[]")]);
    let relay = Relay::start(&format!("{}{outbox}[otp]\n{otp}", shop()));
    let id = Shop::of(&relay).code("+447400123456", CODE);
    relay.wait_event(&id, "handed-over");
}
