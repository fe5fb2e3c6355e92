//! Texts to the provider, and what it reports of them.

use std::collections::BTreeMap;

use serde_json::json;

use crate::harness::fake_twilio::{ACCOUNT, API_KEY, API_SECRET, AUTH_TOKEN, Call, Text, signature};
use crate::harness::look_until;
use crate::harness::relay::Relay;
use crate::harness::texts::{
    ANNA, CALLED_BACK, CODE, OPEN, Provider, Scene, Shop, asking, id_of, shop, text_of, with,
};
use crate::harness::web::Connection;

/// A life of codes that is over soon.
const SHORT: &str = "[categories.signin]\nlife = \"10s\"\n";

fn fields(text: &Text) -> BTreeMap<&str, &str> {
    text.form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[test]
fn the_provider_gets_what_belongs_to_a_text_and_nothing_else() {
    let scene = Scene::start(CALLED_BACK, OPEN);
    let id = scene.shop().code(ANNA, CODE);
    scene.relay.wait_event(&id, "handed-over");
    let [text] = scene.provider.texts(1).try_into().expect("one text");
    let mut got = fields(&text);
    let validity: u32 = got.remove("ValidityPeriod").and_then(|period| period.parse().ok()).expect("seconds");
    assert!((540..=600).contains(&validity), "{validity}");
    let callback = format!("https://relay.acme.example/v1/twilio/status?id={id}&attempt=1");
    let body = text_of(CODE);
    let expected = [("To", ANNA), ("From", "+15005550006"), ("Body", &body), ("StatusCallback", &callback)];
    assert_eq!(got, BTreeMap::from(expected));
    assert_eq!(scene.provider.fake.posts()[0].user, ACCOUNT);
    assert_eq!(scene.shop().status(&id), "handed-over");
}

#[test]
fn the_other_form_of_the_text_and_every_setting_of_the_upstream() {
    let provider = Provider::start();
    let upstream = format!(
        "[upstreams.phones]\nkind = \"twilio\"\naccount_sid = \"{ACCOUNT}\"\napi_key_sid = \"{API_KEY}\"\n\
         api_key_secret = \"{API_SECRET}\"\nmessaging_service_sid = \"MG0123456789abcdef0123456789abcdef\"\n\
         from_by_prefix = {{ \"+1212555\" = \"+15005550007\" }}\nbase_url = \"{}\"\nrisk_check = true\n\
         discard_content = true\nobfuscate_address = true\nfeedback = true\n",
        provider.fake.base_url()
    );
    let relay = Relay::start(&format!("{}{upstream}[otp]\n{OPEN}origin_bound = true\n", shop()));
    let mut shop = Shop::of(&relay);
    let first = id_of(&shop.post(&with(asking(ANNA, CODE), json!({ "expires_in": 60 }))).expect(202));
    relay.wait_event(&first, "handed-over");
    let second = shop.code("+12126660100", CODE);
    relay.wait_event(&second, "handed-over");
    let texts = provider.texts(2);
    let body = "739182 is your one-time code to sign in to acme.example\n\n@acme.example #739182";
    for text in &texts {
        let got = fields(text);
        let expected = [
            ("Body", body),
            ("RiskCheck", "enable"),
            ("ContentRetention", "discard"),
            ("AddressRetention", "obfuscate"),
            ("ProvideFeedback", "true"),
        ];
        for (name, value) in expected {
            assert_eq!(got.get(name), Some(&value), "{name}");
        }
        assert!(!got.contains_key("StatusCallback") && got.len() == 8, "{got:?}");
    }
    let validity: u32 =
        texts[0].field("ValidityPeriod").and_then(|period| period.parse().ok()).expect("seconds");
    assert!((30..=60).contains(&validity), "{validity}");
    assert_eq!(texts[0].field("From"), Some("+15005550007"));
    assert_eq!(texts[1].field("MessagingServiceSid"), Some("MG0123456789abcdef0123456789abcdef"));
    assert!(provider.fake.posts().iter().all(|post| post.user == API_KEY));
    // The application's word on the code goes on to the provider, once.
    shop.used(&first, true).expect(204);
    shop.used(&first, true).expect(204);
    let told = provider.until(|state| !state.texts[0].feedback.is_empty());
    assert_eq!(told.texts[0].feedback, ["confirmed"]);
}

#[test]
fn a_signed_report_moves_a_text_forward_and_nothing_moves_it_back() {
    let scene = Scene::start(CALLED_BACK, OPEN);
    let (id, sid) = sent(&scene, ANNA);
    for (call, status) in [(Call::Forged, 403), (Call::Unsigned, 403)] {
        assert_eq!(scene.provider.call_back(&sid, "delivered", None, call, &scene.relay), status);
    }
    assert_eq!(scene.shop().status(&id), "handed-over");
    scene.report(&sid, "delivered", None);
    scene.relay.wait_event(&id, "delivered");
    assert_eq!(scene.provider.repeat(&scene.relay), 204);
    // Out of order, and news that would have it sent again.
    scene.report(&sid, "sent", None);
    scene.report(&sid, "undelivered", Some(30003));
    assert_eq!(scene.shop().status(&id), "delivered");
    assert_eq!((scene.reports("applied"), scene.reports("stale"), scene.reports("forged")), (1, 3, 2));
    assert_eq!(scene.provider.fake.posts().len(), 1);
    assert_eq!(scene.relay.events(&id), ["received", "handed-over", "delivered"]);
}

#[test]
fn a_report_about_another_attempt_or_no_text_of_ours_changes_nothing() {
    let scene = Scene::start(CALLED_BACK, OPEN);
    let (id, sid) = sent(&scene, ANNA);
    let nobody = "01890000-0000-7000-8000-000000000000";
    for (query, told) in [
        (format!("id={id}&attempt=2"), 204),
        (format!("id={id}&attempt=0"), 204),
        (format!("id={nobody}&attempt=1"), 204),
        (format!("id={id}"), 400),
        ("id=1&attempt=1".to_owned(), 400),
        (String::new(), 400),
    ] {
        assert_eq!(call(&scene, &query, &sid), told, "{query}");
    }
    // The right attempt of another text over there.
    assert_eq!(call(&scene, &format!("id={id}&attempt=1"), "SM00000000000000000000000000000099"), 204);
    assert_eq!(scene.shop().status(&id), "handed-over");
    assert_eq!((scene.reports("applied"), scene.reports("stale"), scene.reports("unknown")), (0, 3, 1));
    assert_eq!(call(&scene, &format!("id={id}&attempt=1"), &sid), 204);
    scene.relay.wait_event(&id, "delivered");
}

#[test]
fn the_callback_is_not_found_where_codes_are_taken_nor_the_other_way_round() {
    let scene = Scene::start(CALLED_BACK, OPEN);
    let ask = |listener: &str, path: &str| {
        let mut connection = Connection::open(scene.relay.listener(listener)).expect("a connection");
        connection.ask("POST", path, &[], "").expect("an answer").status
    };
    assert_eq!((ask("http", "/v1/twilio/status"), ask("callback", "/v1/otp")), (404, 404));
}

#[test]
fn without_a_public_address_the_provider_is_asked() {
    let scene = Scene::start("", OPEN);
    let (id, sid) = sent(&scene, ANNA);
    assert_eq!(scene.provider.texts(1)[0].field("StatusCallback"), None);
    scene.provider.fake.set_status(&sid, "delivered", None);
    scene.relay.wait_event(&id, "delivered");
    assert_eq!(scene.provider.fake.posts().len(), 1);
}

#[test]
fn a_text_that_did_not_arrive_is_sent_once_more_and_no_third_time() {
    let scene = Scene::start(CALLED_BACK, OPEN);
    let (id, sid) = sent(&scene, ANNA);
    scene.report(&sid, "undelivered", Some(30003));
    scene.relay.wait_events(&id, "handed-over", 2);
    let texts = scene.provider.texts(2);
    assert!(texts[1].field("StatusCallback").is_some_and(|url| url.ends_with("&attempt=2")));
    assert_eq!(texts[0].field("Body"), texts[1].field("Body"));
    // The first one's report comes again: it is not about this attempt.
    scene.report(&sid, "undelivered", Some(30003));
    scene.report(&texts[1].sid, "undelivered", Some(30003));
    scene.relay.wait_event(&id, "failed");
    assert_eq!(scene.relay.events(&id), ["received", "handed-over", "deferred", "handed-over", "failed"]);
    assert_eq!((scene.shop().status(&id), scene.provider.fake.posts().len()), ("failed".to_owned(), 2));
    let view = scene.shop().get(&format!("/v1/otp/{id}")).json();
    assert!(view["reason"].as_str().is_some_and(|reason| reason.contains("30003")), "{view}");
}

#[test]
fn what_a_report_says_for_good_ends_the_text() {
    let scene = Scene::start(CALLED_BACK, OPEN);
    let (id, sid) = sent(&scene, ANNA);
    scene.report(&sid, "failed", Some(30007));
    scene.relay.wait_event(&id, "failed");
    assert_eq!(scene.relay.events(&id), ["received", "handed-over", "failed"]);
}

#[test]
fn a_report_that_comes_after_the_life_of_the_code_is_recorded() {
    let scene = Scene::start(CALLED_BACK, &format!("{OPEN}{SHORT}"));
    let (id, sid) = sent(&scene, ANNA);
    look_until("the end of its life", || (scene.relay.traced(&id)["state"] == "handed-over").then_some(()));
    assert_eq!(scene.relay.traced(&id)["to"], "(forgotten)");
    // Too late to be sent again, not too late to be told of.
    scene.report(&sid, "delivered", None);
    scene.relay.wait_event(&id, "delivered");
    assert_eq!((scene.shop().status(&id), scene.provider.fake.posts().len()), ("delivered".to_owned(), 1));
}

/// A text that was handed over: our id and the provider's.
fn sent(scene: &Scene, to: &str) -> (String, String) {
    let id = scene.shop().code(to, CODE);
    scene.relay.wait_event(&id, "handed-over");
    (id, scene.provider.texts(1)[0].sid.clone())
}

/// A report of `delivered`, rightly signed for whatever it says.
fn call(scene: &Scene, query: &str, sid: &str) -> u16 {
    let path = format!("/v1/twilio/status?{query}");
    let form = [("MessageSid", sid.to_owned()), ("MessageStatus", "delivered".to_owned())];
    let signed = signature(AUTH_TOKEN, &format!("https://relay.acme.example{path}"), &form);
    let body = format!("MessageSid={sid}&MessageStatus=delivered");
    let fields =
        [("Content-Type", "application/x-www-form-urlencoded"), ("X-Twilio-Signature", signed.as_str())];
    let mut connection = Connection::open(scene.relay.listener("callback")).expect("a connection");
    connection.ask("POST", &path, &fields, &body).expect("an answer").status
}
