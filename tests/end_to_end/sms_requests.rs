//! One request, however often it comes: one text.

use std::collections::BTreeSet;

use crate::harness::relay::Relay;
use crate::harness::texts::{ANNA, CODE, OPEN, Scene, Shop, asking, id_of};

#[test]
fn a_repeated_request_is_one_text_also_after_a_restart() {
    let mut scene = Scene::start("", OPEN);
    let body = asking(ANNA, CODE);
    let id = id_of(&scene.shop().post_once(&body, "order-7").expect(202));
    scene.relay.wait_event(&id, "handed-over");
    let again = scene.shop().post_once(&body, "order-7").expect(202);
    assert_eq!((id_of(&again), again.json()["status"].as_str()), (id.clone(), Some("handed-over")));
    scene.relay.kill9();
    scene.relay.restart();
    assert_eq!(id_of(&scene.shop().post_once(&body, "order-7").expect(202)), id);
    // The same number in another form is the same request; another code, number or life is not.
    assert_eq!(id_of(&scene.shop().post_once(&asking("+1 (212) 555-0100", CODE), "order-7").expect(202)), id);
    for other in [asking(ANNA, "111111"), asking("+12125550101", CODE)] {
        scene.shop().post_once(&other, "order-7").problem(422, "idempotency-mismatch");
    }
    let other = id_of(&scene.shop().post_once(&body, "order-8").expect(202));
    assert_ne!(other, id);
    scene.relay.wait_event(&other, "handed-over");
    assert_eq!(scene.provider.texts(2).len(), 2);
}

#[test]
fn a_repeated_request_is_not_counted_against_its_limit() {
    let scene = Scene::start("", &OPEN.replace("per_number = [\"1000/1h\"]", "per_number = [\"1/1d\"]"));
    let mut shop = scene.shop();
    let id = id_of(&shop.post_once(&asking(ANNA, CODE), "k").expect(202));
    assert_eq!(id_of(&shop.post_once(&asking(ANNA, CODE), "k").expect(202)), id);
    shop.post(&asking(ANNA, CODE)).problem(429, "number-limit");
}

#[test]
fn fifty_equal_requests_at_once_are_one_text() {
    let scene = Scene::start("", OPEN);
    let relay: &Relay = &scene.relay;
    let ids: BTreeSet<String> = std::thread::scope(|scope| {
        let ask = || id_of(&Shop::of(relay).post_once(&asking(ANNA, CODE), "the-one").expect(202));
        let threads: Vec<_> = (0..50).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().expect("an id")).collect()
    });
    assert_eq!(ids.len(), 1, "{ids:?}");
    let id = ids.first().expect("one");
    scene.relay.wait_event(id, "handed-over");
    assert_eq!(scene.provider.fake.posts().len(), 1);
}
