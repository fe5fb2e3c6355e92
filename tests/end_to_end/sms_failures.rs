//! What becomes of codes while the provider refuses, throttles, fails, or is not there.

use crate::harness::fake_twilio::Act;
use crate::harness::relay::Relay;
use crate::harness::texts::{ANNA, CALLED_BACK, CODE, OPEN, Provider, Scene, Shop, text_of, texting};
use crate::harness::upstream::unused_address;

/// An upstream that is asked again soon, and whose answers are not waited for long.
const QUICK: &str = "breaker = { longest = \"1s\" }\ntimeouts = { connect = \"1s\", answer = \"1s\" }\n";

/// A life of codes that is over soon.
const SHORT: &str = "[categories.signin]\nlife = \"10s\"\n";

#[test]
fn a_newer_code_takes_the_place_of_one_that_waits_for_the_provider() {
    let address = unused_address();
    let relay = Relay::start(&texting(&format!("http://{address}"), QUICK, OPEN));
    let mut shop = Shop::of(&relay);
    let older = shop.code(ANNA, "111111");
    relay.wait_event(&older, "deferred");
    let newer = shop.code(ANNA, "222222");
    relay.wait_event(&older, "superseded");
    let provider = Provider::start_at(address);
    relay.wait_event(&newer, "handed-over");
    let texts = provider.texts(1);
    assert_eq!(texts[0].field("Body"), Some(text_of("222222").as_str()));
    assert_eq!(
        (shop.status(&older), shop.status(&newer)),
        ("superseded".to_owned(), "handed-over".to_owned())
    );
    assert_eq!(provider.fake.posts().len(), 1);
    // The code of another factor, and one for another person, are codes of their own.
    assert_eq!(relay.events(&older).last().map(String::as_str), Some("superseded"));
}

#[test]
fn a_login_that_is_not_accepted_opens_the_breaker_and_the_mended_one_closes_it() {
    let scene = Scene::start(QUICK, OPEN);
    scene.provider.fake.always(Act::Refuse(401, 20003));
    let mut shop = scene.shop();
    let first = shop.code(ANNA, CODE);
    scene.relay.wait_event(&first, "deferred");
    let shown = scene.upstream();
    assert_ne!(shown["state"], "up", "{shown}");
    assert!(shown["reason"].as_str().is_some_and(|reason| reason.contains("20003")), "{shown}");
    // Others wait, and do not ask.
    let others: Vec<String> = (0..20).map(|n| shop.code(&format!("+1212666{n:04}"), CODE)).collect();
    let asked = scene.provider.fake.posts().len();
    assert!(asked < 10, "{asked} requests with a login that is not accepted");
    scene.provider.fake.as_usual();
    for id in others.iter().chain([&first]) {
        scene.relay.wait_event(id, "handed-over");
    }
    assert_eq!((scene.provider.texts(21).len(), scene.upstream()["state"].clone()), (21, "up".into()));
}

#[test]
fn throttling_is_waited_out() {
    let scene = Scene::start(QUICK, OPEN);
    scene.provider.fake.next(Act::TooMany(Some("1")));
    scene.provider.fake.next(Act::TooMany(None));
    let id = scene.shop().code(ANNA, CODE);
    scene.relay.wait_event(&id, "handed-over");
    assert_eq!((scene.provider.fake.posts().len(), scene.provider.texts(1).len()), (3, 1));
}

#[test]
fn a_code_that_is_throttled_for_its_whole_life_expires_unsent() {
    let scene = Scene::start(QUICK, &format!("{OPEN}{SHORT}"));
    scene.provider.fake.always(Act::TooMany(None));
    let id = scene.shop().code(ANNA, CODE);
    scene.relay.wait_event(&id, "expired");
    let view = scene.shop().get(&format!("/v1/otp/{id}")).json();
    assert_eq!(view["status"], "expired");
    assert!(view["reason"].as_str().is_some_and(|reason| reason.contains("20429")), "{view}");
    assert!(scene.provider.fake.texts().is_empty() && scene.provider.fake.posts().len() > 1);
    // Nothing is sent of it when the provider is back.
    scene.provider.fake.as_usual();
    let other = scene.shop().code("+12126660100", "222222");
    scene.relay.wait_event(&other, "handed-over");
    assert_eq!(scene.provider.texts(1).len(), 1);
}

#[test]
fn what_the_provider_refuses_has_failed_and_the_number_is_not_repeated() {
    let scene = Scene::start(QUICK, OPEN);
    scene.provider.fake.next(Act::Refuse(400, 21211));
    let id = scene.shop().code(ANNA, CODE);
    let event = scene.relay.wait_event(&id, "failed");
    assert!(event["reason"].as_str().is_some_and(|reason| reason.contains("21211")), "{event}");
    let view = scene.shop().get(&format!("/v1/otp/{id}")).expect(200);
    assert!(!view.body.contains("5550100") && !scene.relay.log().contains("5550100"), "{view:?}");
    assert_eq!(scene.provider.fake.posts().len(), 1);
}

#[test]
fn a_server_error_leaves_open_whether_it_was_taken_so_it_is_never_posted_again() {
    let scene = Scene::start(&format!("{QUICK}{CALLED_BACK}"), &format!("{OPEN}{SHORT}"));
    scene.provider.fake.next(Act::Say(500, "{\"code\":20500}"));
    let id = scene.shop().code(ANNA, CODE);
    scene.provider.until(|state| state.requests.len() == 1);
    // Nothing was made of it over there, and asking does not find it.
    scene.relay.wait_event(&id, "unknown");
    assert_eq!(scene.shop().status(&id), "unknown");
    assert_eq!(scene.provider.fake.posts().len(), 1);
}

#[test]
fn an_answer_that_was_lost_is_settled_by_the_provider_s_list() {
    for act in [Act::TakenAndHang, Act::TakenAndClose, Act::TakenAndGarbled("{\"sid\":")] {
        let scene = Scene::start(QUICK, OPEN);
        scene.provider.fake.next(act.clone());
        let id = scene.shop().code(ANNA, CODE);
        scene.relay.wait_event(&id, "handed-over");
        assert_eq!(scene.provider.fake.posts().len(), 1, "{act:?}");
        let (sid, shown) = (scene.provider.texts(1)[0].sid.clone(), scene.relay.traced(&id));
        assert_eq!(shown["reference"], sid, "{act:?}: {shown}");
    }
}

#[test]
fn an_answer_that_was_lost_is_settled_by_the_provider_s_report() {
    let scene = Scene::start(&format!("{QUICK}{CALLED_BACK}"), OPEN);
    scene.provider.fake.reading(Some(Act::Refuse(503, 20503)));
    scene.provider.fake.next(Act::TakenAndHang);
    let id = scene.shop().code(ANNA, CODE);
    let sid = scene.provider.texts(1)[0].sid.clone();
    // It may come before our own patience ends.
    scene.report(&sid, "delivered", None);
    scene.relay.wait_event(&id, "delivered");
    assert_eq!((scene.shop().status(&id), scene.provider.fake.posts().len()), ("delivered".to_owned(), 1));
}
