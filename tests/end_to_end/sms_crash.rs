//! `kill -9` between `202` and the provider's answer, again and again: no code is posted twice, and none that was not
//! posted is lost.
//!
//! What can be told at the end: a code that the provider never saw was either not posted when the process died, then it
//! is sent by the next one; or it died between the note that it is about to be posted and the post, then it ends unknown.
//! That is the price of never posting twice, and so is rare: the span is one write to a socket.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fastrand::Rng;

use crate::harness::fake_twilio::Act;
use crate::harness::relay::Relay;
use crate::harness::texts::{CALLED_BACK, OPEN, Scene, Shop, TOKEN, asking, id_of};
use crate::harness::{PATIENCE, Watched};

/// How often the relay is killed; each time with a seed of its own.
const ROUNDS: u16 = 20;
const SENDERS: u32 = 3;

/// How many codes a sender asks for in a round: no more than the next process sends in a moment.
const CODES: u32 = 8;

/// How many texts are on their way at once, at most.
const IN_FLIGHT: usize = 4;

/// Answers are not waited for long (the time to connect counts too), and no breaker stops the flow.
const UPSTREAM: &str = "max_connections = 4\nbreaker = { failures = 1000, longest = \"1s\" }\ntimeouts = { connect = \"1s\", answer = \"1s\" }\n";

/// Long enough for a code to be sent by the next process, and for the provider's list to be asked twice.
const LIFE: &str = "[categories.signin]\nlife = \"100s\"\n";

/// What the senders saw: the id by number of every code that was answered with `202`.
type Ledger = Watched<BTreeMap<String, String>>;

#[test]
fn no_code_is_posted_twice_and_none_is_lost_however_often_the_relay_is_killed() {
    let mut scene = Scene::start(UPSTREAM, &format!("{OPEN}{LIFE}"));
    let ledger: Arc<Ledger> = Arc::default();
    let mut resumed = 0;
    for seed in 0..ROUNDS {
        let waiting = round(&mut scene, seed.into(), &ledger);
        resumed += waiting;
    }
    scene.provider.fake.as_usual();
    let accepted = ledger.get().clone();
    let ends = ends(&scene, &accepted);
    let mut posts: BTreeMap<String, usize> = BTreeMap::new();
    for post in scene.provider.fake.posts() {
        *posts.entry(post.field("To").unwrap_or_default().to_owned()).or_default() += 1;
    }
    let taken: Vec<String> = scene
        .provider
        .fake
        .texts()
        .iter()
        .map(|text| text.field("To").unwrap_or_default().to_owned())
        .collect();
    let twice: Vec<_> = posts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "posted more than once: {twice:?}");
    let mut unknown = (0, 0);
    for (number, id) in &accepted {
        let (end, posted) = (ends[id].as_str(), posts.contains_key(number));
        match (posted, taken.contains(number)) {
            (_, true) => assert_eq!(end, "handed-over", "{id} is over there, and its list says so"),
            (true, false) => {
                unknown.0 += 1;
                assert_eq!(end, "unknown", "{id} was posted, and nobody heard of it again");
            }
            (false, false) => {
                unknown.1 += 1;
                assert_eq!(end, "unknown", "{id} was not posted: {}", said_of(&scene.relay, id));
            }
        }
    }
    let (all, posted) = (accepted.len(), posts.len());
    println!(
        "{ROUNDS} kills, {all} codes, {resumed} waited over one, {posted} posted; unknown: {unknown:?} (posted, not posted)"
    );
    // Only what is on its way when the process dies can be lost to doubt.
    let most = usize::from(ROUNDS) * IN_FLIGHT;
    assert!(unknown.1 <= most, "{} were not posted, and can't all have been about to be", unknown.1);
    assert!(
        all >= usize::from(ROUNDS) && resumed > 0,
        "{all} codes, {resumed} of them not posted before a kill"
    );
}

/// Sends, kills at some moment, and starts again. Gives how many codes were answered `202` and not posted by then.
fn round(scene: &mut Scene, seed: u64, ledger: &Arc<Ledger>) -> usize {
    let mut rng = Rng::with_seed(seed);
    for _ in 0..30 {
        scene.provider.fake.next(match rng.u8(0..15) {
            0 => Act::TakenAndHang,
            1 => Act::TakenAndClose,
            2 => Act::Close,
            3..6 => Act::TakenAndSlow(rng.u64(1..200)),
            _ => Act::Answer,
        });
    }
    let (before, posted) = (ledger.get().len(), scene.provider.fake.posts().len());
    let stop = Arc::new(AtomicBool::new(false));
    let senders = send(&scene.relay, seed, ledger, &stop);
    // Some after the answer to a client, some after a post reached the provider, each a moment later.
    if rng.bool() {
        let enough = before + rng.usize(1..12);
        let there = ledger.wait(PATIENCE, |ledger| (ledger.len() >= enough).then_some(()));
        assert!(there.is_some(), "no code is taken in round {seed}");
    } else {
        let enough = posted + rng.usize(1..12);
        scene
            .provider
            .until(|state| state.requests.iter().filter(|seen| seen.method == "POST").count() >= enough);
    }
    // The moment itself is what is tried out.
    std::thread::park_timeout(Duration::from_micros(rng.u64(0..15_000)));
    scene.relay.kill9();
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.join().expect("a sender that was hung up on");
    }
    let posts = scene.provider.fake.posts();
    let was_posted = |number: &str| posts.iter().any(|post| post.field("To") == Some(number));
    let this_round = format!("{seed:02}");
    let of_round = |number: &&String| number[8..10] == this_round;
    let waiting = ledger.get().keys().filter(of_round).filter(|number| !was_posted(number)).count();
    scene.provider.fake.as_usual();
    scene.relay.restart();
    waiting
}

fn send(relay: &Relay, round: u64, ledger: &Arc<Ledger>, stop: &Arc<AtomicBool>) -> Vec<JoinHandle<()>> {
    let address = relay.http();
    let one = |sender: u32| {
        let (ledger, stop) = (Arc::clone(ledger), Arc::clone(stop));
        std::thread::spawn(move || {
            let Ok(mut shop) = Shop::at(address, TOKEN) else { return };
            for n in 0..CODES {
                let number = format!("+1212{}{sender}{round:02}{n:02}", 55);
                // What was not answered is nobody's promise.
                let Ok(answer) = shop.try_post(&asking(&number, "739182"), None) else { return };
                let id = id_of(&answer.expect(202));
                ledger.change(|ledger| ledger.insert(number, id));
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        })
    };
    (0..SENDERS).map(one).collect()
}

/// All that the relay's log says of a code.
fn said_of(relay: &Relay, id: &str) -> String {
    let log = relay.log();
    let of_it = |line: &&str| line.contains(id) || line.contains("\"listening\"");
    log.lines().filter(of_it).collect::<Vec<_>>().join("\n")
}

/// Waits until every code has come to rest, and says how.
fn ends(scene: &Scene, accepted: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut shop = scene.shop();
    let mut found = BTreeMap::new();
    crate::harness::look_until_within(Duration::from_mins(3), "every code to come to rest", || {
        for id in accepted.values() {
            if !found.contains_key(id) {
                let status = shop.status(id);
                if !matches!(status.as_str(), "queued" | "in-doubt") {
                    found.insert(id.clone(), status);
                }
            }
        }
        (found.len() == accepted.len()).then_some(())
    });
    found
}

#[test]
fn a_text_that_was_on_its_way_when_the_process_died_is_told_of_by_report() {
    let mut scene = Scene::start(&format!("{UPSTREAM}{CALLED_BACK}"), OPEN);
    // The list says nothing, so that only the report can.
    scene.provider.fake.reading(Some(Act::Refuse(503, 20503)));
    scene.provider.fake.next(Act::TakenAndHang);
    let mut shop = scene.shop();
    let id = shop.code("+12125550100", "111111");
    let sid = scene.provider.texts(1)[0].sid.clone();
    // Another for the same person waits, because it is not known what became of the first.
    let newer = shop.code("+12125550100", "222222");
    scene.relay.kill9();
    scene.relay.restart();
    assert_eq!(scene.shop().status(&id), "in-doubt");
    scene.report(&sid, "delivered", None);
    scene.relay.wait_event(&id, "delivered");
    scene.relay.wait_event(&newer, "handed-over");
    assert_eq!(scene.provider.fake.posts().len(), 2);
}
