//! Texts through the delivery as a whole: noted before they are posted, posted once, asked for a bounded number of times.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::bench::{Bench, Draft};
use super::fake_twilio::{ACCOUNT, AUTH_TOKEN, Act, FakeTwilio, Seen};
use super::memory_store::Marking;
use crate::clock::{Clock, Timestamp};
use crate::deliver::{
    BreakerConfig, BreakerStatus, TwilioConfig, TwilioFrom, TwilioLogin, UpstreamConfig, UpstreamKind,
};
use crate::ident::{MessageId, UpstreamName};
use crate::outcome::ReasonClass;
use crate::queue::{Entry, State};
use crate::secret::Secret;

const START: Timestamp = Timestamp::from_millis(1_795_440_360_000);
/// Of paused time.
const LONG: Duration = Duration::from_hours(1);

const BODY: &str = "739182 is your one-time code to sign in to example.com #739182";

fn account(base_url: String) -> TwilioConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    TwilioConfig {
        account_sid: ACCOUNT.to_owned(),
        login: TwilioLogin::AuthToken(Secret::new(AUTH_TOKEN)),
        auth_token: Some(Secret::new(AUTH_TOKEN)),
        from: TwilioFrom::From("+15005550006".to_owned()),
        from_by_prefix: Vec::new(),
        base_url,
        public_url: None,
        risk_check: None,
        discard_content: false,
        obfuscate_address: false,
        feedback: true,
        never: HashSet::new(),
        tls: crate::outbound::TlsClient(Arc::new(tls)),
        connect: Duration::from_secs(2),
        answer: Duration::from_secs(2),
    }
}

fn upstream(name: &str, kind: UpstreamKind) -> UpstreamConfig {
    UpstreamConfig {
        name: UpstreamName::new(name),
        kind,
        carries: None,
        max_connections: 8,
        messages_per_minute: None,
        breaker: BreakerConfig::default(),
    }
}

fn twilio(name: &str, server: &FakeTwilio) -> UpstreamConfig {
    upstream(name, UpstreamKind::Twilio(Box::new(account(server.base_url()))))
}

fn with_callback(server: &FakeTwilio) -> UpstreamConfig {
    let public_url = Some("https://relay.example".to_owned());
    let config = TwilioConfig { public_url, ..account(server.base_url()) };
    upstream("one", UpstreamKind::Twilio(Box::new(config)))
}

fn outbox(path: &Path) -> UpstreamConfig {
    upstream("outbox", UpstreamKind::Outbox { path: path.to_owned() })
}

/// A bench whose time is tokio's.
fn timed(upstreams: Vec<UpstreamConfig>) -> Bench {
    Bench::with_clock(upstreams, 8, Clock::simulated(START))
}

async fn attempted(bench: &Bench, id: MessageId) -> Entry {
    let tried = |entry: &Entry| entry.id == id && entry.attempts > 0;
    bench.store.until(|entries| entries.iter().any(tried)).await;
    bench.store.entry(id)
}

fn asked(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| seen.method == "GET").count()
}

#[tokio::test]
async fn that_a_text_is_posted_is_noted_before() {
    let server = FakeTwilio::start().await;
    let bench = Bench::new(vec![twilio("one", &server)], 8);
    let noted: Arc<Mutex<Vec<String>>> = Arc::default();
    let counter = server.counter();
    let tell = {
        let noted = Arc::clone(&noted);
        move |upstream: &UpstreamName| {
            noted.lock().unwrap().push(format!("{upstream}, {} posted", counter.posted()));
        }
    };
    *bench.store.marking.lock().unwrap() = Marking::Tells(Box::new(tell));
    let _delivery = bench.start();
    let id = bench.offer(&Draft::text("739182"));
    let entry = bench.until_state(id, State::AwaitingReport).await;
    assert_eq!(entry.reference.as_deref(), Some(server.texts()[0].sid.as_str()));
    assert_eq!((entry.attempts, entry.in_doubt), (1, 0));
    bench.offer(&Draft::text("739183"));
    server.until(|seen| seen.texts.len() == 2).await;
    assert_eq!(*noted.lock().unwrap(), ["one, 0 posted", "one, 1 posted"]);
    let posts = server.posts();
    assert_eq!(posts[0].field("Body"), Some(BODY));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_noted_is_not_posted() {
    let server = FakeTwilio::start().await;
    let bench = timed(vec![twilio("one", &server)]);
    *bench.store.marking.lock().unwrap() = Marking::Fails(3);
    let _delivery = bench.start();
    let id = bench.offer(&Draft::text("739182"));
    let entry = bench.until_state(id, State::AwaitingReport).await;
    assert_eq!((entry.attempts, server.posts().len()), (1, 1), "an attempt that was not made does not count");
    assert_eq!(bench.store.tally().given_back, 3);

    *bench.store.marking.lock().unwrap() = Marking::Lost;
    let lost = bench.offer(&Draft::text("739183"));
    bench.store.until(|_| bench.store.tally().given_back > 3).await;
    assert_eq!((bench.store.entry(lost).attempts, server.posts().len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_taken_is_never_posted_again() {
    let home = tempfile::tempdir().unwrap();
    let server = FakeTwilio::start().await;
    let path = home.path().join("outbox.jsonl");
    let bench = timed(vec![twilio("one", &server), outbox(&path)]);
    let _delivery = bench.start();
    for (posts, act) in [
        Act::TakenAndHang,
        Act::TakenAndClose,
        Act::Close,
        Act::Refuse(500, 20500),
        Act::TakenAndGarbled("<html>"),
        Act::Say(502, ""),
    ]
    .into_iter()
    .enumerate()
    {
        server.next(act.clone());
        // What Twilio has is not to be found, so that it stays in doubt.
        server.reading(Some(Act::Refuse(500, 20500)));
        let id = bench.offer(&Draft { life: Duration::from_hours(1), ..Draft::text("739182") });
        let entry = attempted(&bench, id).await;
        assert_eq!((entry.state, entry.in_doubt), (State::AwaitingReport, 1), "{act:?}");
        tokio::time::sleep(Duration::from_mins(30)).await;
        assert_eq!(server.posts().len(), posts + 1, "{act:?}");
        assert_eq!(bench.store.entry(id).state, State::AwaitingReport);
    }
    assert!(!path.exists(), "and not given to another upstream");
}

#[tokio::test(start_paused = true)]
async fn what_was_certainly_not_taken_goes_to_the_next_upstream_at_once() {
    let home = tempfile::tempdir().unwrap();
    let server = FakeTwilio::start().await;
    let path = home.path().join("outbox.jsonl");
    for (count, act) in
        [Act::TooMany(None), Act::Refuse(401, 20003), Act::Refuse(400, 21408), Act::Refuse(429, 63038)]
            .into_iter()
            .enumerate()
    {
        let bench = timed(vec![twilio("one", &server), outbox(&path)]);
        let _delivery = bench.start();
        server.next(act.clone());
        let id = bench.offer(&Draft::text("739182"));
        let entry = bench.until_state(id, State::HandedOver).await;
        assert_eq!((entry.upstream.unwrap().as_str(), entry.attempts), ("outbox", 1), "{act:?}");
        assert_eq!(entry.reference.as_deref(), Some("outbox"));
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), count + 1);
    }
    assert_eq!((server.posts().len(), server.texts().len()), (4, 0));
}

#[tokio::test(start_paused = true)]
async fn it_is_tried_until_shortly_before_its_end() {
    let server = FakeTwilio::start().await;
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    server.always(Act::TooMany(None));
    for (what, base_url) in [("429", server.base_url()), ("no connection", closed)] {
        let mut config = upstream("one", UpstreamKind::Twilio(Box::new(account(base_url))));
        config.breaker.longest = Duration::from_secs(4);
        let bench = timed(vec![config]);
        let _delivery = bench.start();
        let id = bench.offer(&Draft { life: Duration::from_mins(1), ..Draft::text("739182") });
        let over = |entry: &Entry| entry.id == id && entry.state == State::Expired;
        bench.store.until_within(LONG, |entries| entries.iter().any(over)).await;
        let entry = bench.store.entry(id);
        assert!(entry.attempts > 5, "{what}: {} attempts", entry.attempts);
        assert!(bench.clock.now() >= START.plus(Duration::from_secs(50)), "{what}: {:?}", bench.clock.now());
    }
    let posts = server.posts();
    assert!(posts.len() > 5, "{}", posts.len());
    let least = posts.iter().map(|seen| seen.field("ValidityPeriod").unwrap().parse::<u32>().unwrap()).min();
    assert!(least.unwrap() >= 6, "{least:?}");
    assert!(server.texts().is_empty());
}

#[tokio::test]
async fn what_is_about_one_number_does_not_stop_the_others() {
    let server = FakeTwilio::start().await;
    let bench = Bench::new(vec![twilio("one", &server)], 8);
    let delivery = bench.start();
    let breaker = || delivery.monitor().status().upstreams[0].breaker;
    for code in [21211, 21610, 21614, 21266, 30004, 21408, 21612, 30450].into_iter().cycle().take(24) {
        server.next(Act::Refuse(400, code));
        let id = bench.offer(&Draft::text("739182"));
        let entry = bench.until_state(id, State::Failed).await;
        assert_eq!(entry.reason.unwrap().code.map(u32::from), Some(code));
        assert_eq!(breaker(), BreakerStatus::Closed, "{code}");
    }
    server.next(Act::Refuse(401, 20003));
    let id = bench.offer(&Draft::text("739182"));
    let entry = attempted(&bench, id).await;
    assert_eq!((entry.state, entry.reason.unwrap().class), (State::Queued, ReasonClass::Auth));
    assert!(matches!(breaker(), BreakerStatus::Open { .. }));
    // Kept, and sent when the account is mended.
    bench.until_state(id, State::AwaitingReport).await;
}

#[tokio::test(start_paused = true)]
async fn twilio_is_asked_a_bounded_number_of_times() {
    let server = FakeTwilio::start().await;
    let bench = timed(vec![twilio("one", &server)]);
    let _delivery = bench.start();
    let id = bench.offer(&Draft { life: Duration::from_hours(2), ..Draft::text("739182") });
    bench.until_state(id, State::AwaitingReport).await;
    let mut asked_at = Vec::new();
    for polls in 1..=4 {
        bench.store.until_within(LONG, |_| bench.store.polls(id).0 == polls).await;
        asked_at.push(bench.clock.now().since(START).as_secs());
    }
    assert_eq!(asked_at, [5, 20, 80, 320]);
    assert_eq!(bench.store.polls(id), (4, None));
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(asked(&server.requests()), 4);
    assert_eq!(bench.store.entry(id).state, State::AwaitingReport);
}

#[tokio::test(start_paused = true)]
async fn what_became_of_a_text_is_learned_by_asking() {
    let server = FakeTwilio::start().await;
    let bench = timed(vec![twilio("one", &server)]);
    let _delivery = bench.start();
    for (status, code, state) in [
        ("delivered", None, State::Delivered),
        ("undelivered", Some(30005), State::Failed),
        ("failed", Some(30450), State::Failed),
        // Posted once more, and taken.
        ("undelivered", Some(30008), State::Queued),
    ] {
        let posts = server.posts().len();
        let id = bench.offer(&Draft::text("739182"));
        let entry = bench.until_state(id, State::AwaitingReport).await;
        server.set_status(entry.reference.as_deref().unwrap(), status, code);
        let entry = match state {
            State::Queued => {
                server.until(|seen| seen.texts.len() == posts + 2).await;
                bench.store.entry(id)
            }
            ended => bench.until_state(id, ended).await,
        };
        assert_eq!(entry.reason.and_then(|reason| reason.code).map(u32::from), code, "{status} {code:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_lost_is_found_in_the_list() {
    let server = FakeTwilio::start().await;
    let bench = timed(vec![with_callback(&server)]);
    let _delivery = bench.start();
    let now = || bench.clock.now().to_rfc5322();
    // Another text to this number, of ours and known, and one of somebody else.
    let known = server.foreign_text("+12025550100", BODY, &now());
    server.foreign_text("+12025550100", "another text", &now());
    bench.awaited(&Draft::text("739182"), "one", Some(&known));
    server.next(Act::TakenAndHang);
    let id = bench.offer(&Draft::text("739182"));
    let ours = server.until(|seen| seen.texts.len() == 3).await.texts[2].sid.clone();
    server.set_created(&ours, &now());
    assert_eq!(bench.until_state(id, State::AwaitingReport).await.reference, None);
    let learned = |entry: &Entry| entry.id == id && entry.reference.is_some();
    bench.store.until(|entries| entries.iter().any(learned)).await;
    let entry = bench.store.entry(id);
    assert_eq!((entry.reference.as_deref(), entry.in_doubt), (Some(ours.as_str()), 0));
    assert_eq!(entry.state, State::AwaitingReport);
    // From here on the callback tells; it is asked once more, in case that is lost.
    bench.store.until(|_| bench.store.polls(id) == (2, None)).await;
    let list: Vec<_> = server.requests().into_iter().filter(|seen| seen.method == "GET").collect();
    assert_eq!(list.len(), 2, "{list:?}");
    assert!(list[1].path.ends_with(&format!("Messages/{ours}.json")), "{list:?}");
    assert_eq!(
        list[0].query,
        [("To", "+12025550100"), ("PageSize", "50")].map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_does_not_answer_is_asked_no_oftener() {
    let server = FakeTwilio::start().await;
    let bench = timed(vec![twilio("one", &server)]);
    let delivery = bench.start();
    server.reading(Some(Act::TakenAndHang));
    let ids: Vec<MessageId> = (0..60).map(|_| bench.awaited(&Draft::text("739182"), "one", None)).collect();
    let gone = bench.awaited(&Draft::text("739182"), "gone", None);
    bench.store.until_within(LONG, |_| ids.iter().all(|id| bench.store.polls(*id) == (4, None))).await;
    assert_eq!(bench.store.polls(gone), (4, None), "an upstream that is not there counts too");
    assert_eq!(asked(&server.requests()), 240);
    assert_eq!(delivery.monitor().status().upstreams[0].breaker, BreakerStatus::Closed);
}

#[tokio::test(start_paused = true)]
async fn whether_a_code_was_used_is_passed_on_where_that_is_configured() {
    let server = FakeTwilio::start().await;
    let quiet_config = TwilioConfig { feedback: false, ..account(server.base_url()) };
    let quiet = upstream("quiet", UpstreamKind::Twilio(Box::new(quiet_config)));
    let bench = timed(vec![twilio("one", &server), quiet]);
    let delivery = bench.start();
    let entry = bench.until_state(bench.offer(&Draft::text("739182")), State::AwaitingReport).await;
    let (one, quiet, reference) = ("one".into(), "quiet".into(), entry.reference.unwrap());
    let monitor = delivery.monitor();
    monitor.feedback(&one, &reference, true).await;
    monitor.feedback(&quiet, &reference, true).await;
    monitor.feedback(&"outbox".into(), &reference, true).await;
    monitor.feedback(&one, &reference, false).await;
    let seen = server.until(|seen| seen.texts[0].feedback.len() == 2).await;
    assert_eq!(seen.texts[0].feedback, ["confirmed", "unconfirmed"]);

    server.reading(Some(Act::Refuse(500, 20500)));
    monitor.feedback(&one, &reference, true).await;
    tokio::time::sleep(LONG).await;
    let told = server.requests().iter().filter(|seen| seen.path.ends_with("/Feedback.json")).count();
    assert_eq!(told, 2 + 3, "three tries");
    assert_eq!(monitor.status().feedback_dropped, 1);
    for _ in 0..1100 {
        monitor.feedback(&one, &reference, true).await;
    }
    assert!((90..=101).contains(&monitor.status().feedback_dropped), "{}", monitor.status().feedback_dropped);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_the_answer_to_what_was_posted() {
    let server = FakeTwilio::start().await;
    let bench = timed(vec![twilio("one", &server)]);
    let delivery = bench.start();
    server.next(Act::TakenAndHang);
    let id = bench.offer(&Draft::text("739182"));
    server.until(|seen| seen.texts.len() == 1).await;
    bench.shutdown.cancel();
    delivery.stopped().await;
    let entry = bench.store.entry(id);
    assert_eq!((entry.state, entry.in_doubt), (State::AwaitingReport, 1));
}
