//! Texts to a provider that is as strict as Twilio: what is posted, and what its answers become.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/fake_twilio.rs"]
mod fake_twilio;
#[path = "support/hand_over.rs"]
mod hand_over;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use authrelay::clock::Clock;
use authrelay::deliver::{
    BreakerConfig, Config, Delivery, HandOver, InForce, Outgoing, Renderer, Text, TwilioConfig, TwilioFrom,
    TwilioLogin, Upstream, UpstreamConfig, UpstreamKind,
};
use authrelay::event::{Event, Kind};
use authrelay::ident::{CategoryName, Class, MessageId, SenderName, UpstreamName};
use authrelay::mail::{Message, PhoneNumber, Recipient};
use authrelay::outbound::TlsClient;
use authrelay::outcome::{Reason, ReasonClass};
use authrelay::queue::store::sqlite::SqliteStore;
use authrelay::queue::{
    Active, ActiveLimits, Effect, Entry, Keyring, NewCode, Payload, Query, Queue, State, StoredCode,
};
use authrelay::rewrite::Plan;
use authrelay::secret::{LookupKey, Secret};
use authrelay::sms::Factor;
use certificates::Authority;
use fake_twilio::{ACCOUNT, API_KEY, API_SECRET, AUTH_TOKEN, Act, FakeTwilio, Seen};
use hand_over::{class, kind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

const TO: &str = "+12025550100";
const CODE: &str = "739182";
const TEXT: &str = "739182 is your one-time code to sign in to example.com #739182";

fn account(base_url: String) -> TwilioConfig {
    TwilioConfig {
        account_sid: ACCOUNT.to_owned(),
        login: TwilioLogin::AuthToken(Secret::new(AUTH_TOKEN)),
        auth_token: None,
        from: TwilioFrom::From("+15005550006".to_owned()),
        from_by_prefix: Vec::new(),
        base_url,
        public_url: None,
        risk_check: None,
        discard_content: false,
        obfuscate_address: false,
        feedback: false,
        never: HashSet::new(),
        tls: TlsClient(Authority::new().client()),
        connect: Duration::from_secs(5),
        answer: Duration::from_secs(5),
    }
}

fn upstream(config: TwilioConfig) -> Arc<Upstream> {
    let config = UpstreamConfig {
        name: UpstreamName::new("twilio"),
        kind: UpstreamKind::Twilio(Box::new(config)),
        carries: None,
        max_connections: 8,
        messages_per_minute: None,
        breaker: BreakerConfig::default(),
    };
    Upstream::new(config, "relay.example".to_owned(), Clock::System)
}

/// Hands one text over whose life is as given.
async fn send_for(upstream: &Upstream, to: &str, life: Duration, attempt: u32) -> (HandOver, MessageId) {
    let (id, to, code) = (MessageId::generate(), PhoneNumber::parse(to).unwrap(), Secret::new(CODE));
    let expires = Clock::System.now().plus(life);
    let text = Text { id, attempt, to: &to, code: &code, host: "example.com", origin_bound: false, expires };
    (upstream.hand_over(text).await, id)
}

async fn send_to(upstream: &Upstream, to: &str) -> HandOver {
    send_for(upstream, to, Duration::from_mins(10), 1).await.0
}

async fn send(upstream: &Upstream) -> HandOver {
    send_to(upstream, TO).await
}

fn names(seen: &Seen) -> Vec<&str> {
    seen.form.iter().map(|(name, _)| name.as_str()).collect()
}

#[tokio::test]
async fn a_text_is_posted_with_what_it_needs_and_nothing_else() {
    let twilio = FakeTwilio::start().await;
    let upstream = upstream(account(twilio.base_url()));
    let done = send(&upstream).await;
    assert_eq!(done, HandOver::Taken { reference: twilio.texts()[0].sid.clone() });
    let posts = twilio.posts();
    let seen = &posts[0];
    assert_eq!(seen.path, format!("/2010-04-01/Accounts/{ACCOUNT}/Messages.json"));
    assert_eq!(seen.user_agent, concat!("authrelay/", env!("CARGO_PKG_VERSION")));
    assert_eq!(seen.user, ACCOUNT);
    assert_eq!(names(seen), ["To", "Body", "From", "ValidityPeriod"]);
    assert_eq!(
        (seen.field("To"), seen.field("Body"), seen.field("From")),
        (Some(TO), Some(TEXT), Some("+15005550006"))
    );
    let validity: u32 = seen.field("ValidityPeriod").unwrap().parse().unwrap();
    assert!((595..=600).contains(&validity), "{validity}");
}

#[tokio::test]
async fn what_is_configured_is_posted_and_an_api_key_logs_in() {
    let twilio = FakeTwilio::start().await;
    let config = TwilioConfig {
        login: TwilioLogin::ApiKey(API_KEY.to_owned(), Secret::new(API_SECRET)),
        auth_token: Some(Secret::new(AUTH_TOKEN)),
        public_url: Some("https://relay.example".to_owned()),
        risk_check: Some(true),
        discard_content: true,
        obfuscate_address: true,
        feedback: true,
        ..account(twilio.base_url())
    };
    let (done, id) = send_for(&upstream(config.clone()), TO, Duration::from_mins(1), 3).await;
    assert_eq!(kind(&done), "taken");
    let posts = twilio.posts();
    assert_eq!(posts[0].user, API_KEY);
    let callback = format!("https://relay.example/v1/twilio/status?id={id}&attempt=3");
    for (name, value) in [
        ("StatusCallback", callback.as_str()),
        ("RiskCheck", "enable"),
        ("ContentRetention", "discard"),
        ("AddressRetention", "obfuscate"),
        ("ProvideFeedback", "true"),
    ] {
        assert_eq!(posts[0].field(name), Some(value), "{name}");
    }
    let without_check = TwilioConfig { risk_check: Some(false), ..config };
    assert_eq!(kind(&send(&upstream(without_check)).await), "taken");
    assert_eq!(twilio.posts()[1].field("RiskCheck"), Some("disable"));
}

#[tokio::test]
async fn the_longest_prefix_that_fits_decides_who_it_is_from() {
    let twilio = FakeTwilio::start().await;
    let from = |number: &str| TwilioFrom::From(number.to_owned());
    let service = format!("MG{}", "0".repeat(32));
    let config = TwilioConfig {
        from_by_prefix: vec![
            ("+44".to_owned(), from("EXAMPLE")),
            ("+447".to_owned(), TwilioFrom::MessagingService(service.clone())),
            ("+4".to_owned(), from("+15005550004")),
        ],
        ..account(twilio.base_url())
    };
    let upstream = upstream(config);
    for to in ["+12025550100", "+447400123456", "+442071838750", "+4915123456789"] {
        assert_eq!(kind(&send_to(&upstream, to).await), "taken", "{to}");
    }
    let posts = twilio.posts();
    let who: Vec<_> =
        posts.iter().map(|seen| (seen.field("From"), seen.field("MessagingServiceSid"))).collect();
    assert_eq!(
        who,
        [
            (Some("+15005550006"), None),
            (None, Some(service.as_str())),
            (Some("EXAMPLE"), None),
            (Some("+15005550004"), None)
        ]
    );
}

#[tokio::test]
async fn its_validity_is_what_is_left_of_its_life_and_too_little_is_not_posted() {
    let twilio = FakeTwilio::start().await;
    let upstream = upstream(account(twilio.base_url()));
    let mut validities = Vec::new();
    for seconds in [86_400 * 3, 36_500, 120, 8] {
        let life = Duration::from_secs(seconds);
        assert_eq!(kind(&send_for(&upstream, TO, life, 1).await.0), "taken");
        let posts = twilio.posts();
        validities.push(posts.last().unwrap().field("ValidityPeriod").unwrap().parse::<u64>().unwrap());
    }
    assert_eq!(validities[..2], [36_000, 36_000]);
    assert!((118..=120).contains(&validities[2]) && (6..=8).contains(&validities[3]), "{validities:?}");
    for millis in [5900, 1000, 0] {
        let (done, _) = send_for(&upstream, TO, Duration::from_millis(millis), 1).await;
        assert_eq!((kind(&done), class(&done)), ("deferred", Some(ReasonClass::Timeout)));
    }
    assert_eq!(twilio.posts().len(), 4);
}

#[tokio::test]
async fn a_test_number_is_never_sent_anything() {
    let twilio = FakeTwilio::start().await;
    let never = HashSet::from([PhoneNumber::parse(TO).unwrap()]);
    let upstream = upstream(TwilioConfig { never, ..account(twilio.base_url()) });
    let done = send(&upstream).await;
    assert_eq!((kind(&done), class(&done)), ("refused", Some(ReasonClass::Policy)));
    assert_eq!(kind(&send_to(&upstream, "+12025550101").await), "taken");
    assert_eq!(twilio.posts().len(), 1);
}

#[tokio::test]
async fn every_answer_has_its_outcome_and_the_number_is_in_none_of_them() {
    let twilio = FakeTwilio::start().await;
    let upstream = upstream(account(twilio.base_url()));
    let sid_of_nothing = r#"{"sid":"","status":"queued"}"#;
    for (act, expected, class_expected) in [
        (Act::Answer, "taken", None),
        (Act::Refuse(400, 21211), "refused", Some(ReasonClass::Reply)),
        (Act::Refuse(400, 21610), "refused", Some(ReasonClass::Reply)),
        (Act::Refuse(400, 21408), "unfit", Some(ReasonClass::Reply)),
        (Act::Refuse(400, 21611), "unavailable", Some(ReasonClass::Reply)),
        (Act::Refuse(403, 30002), "unavailable at once", Some(ReasonClass::Auth)),
        (Act::Refuse(429, 63038), "unavailable for a while", Some(ReasonClass::Reply)),
        (Act::Refuse(401, 20003), "unavailable at once", Some(ReasonClass::Auth)),
        (Act::TooMany(None), "unavailable", Some(ReasonClass::Reply)),
        (Act::TooMany(Some("2")), "unavailable for a while", Some(ReasonClass::Reply)),
        (Act::TooMany(Some("Wed, 21 Oct 2026 07:28:00 GMT")), "unavailable", Some(ReasonClass::Reply)),
        (Act::Refuse(500, 20500), "in doubt", Some(ReasonClass::Reply)),
        (Act::Say(503, "<html>try later</html>"), "in doubt", Some(ReasonClass::Reply)),
        (Act::Say(400, "<html>no</html>"), "refused", Some(ReasonClass::Reply)),
        (Act::Say(201, sid_of_nothing), "in doubt", Some(ReasonClass::Reply)),
        (Act::TakenAndGarbled("{\"sid\":"), "in doubt", Some(ReasonClass::Reply)),
        (Act::TakenAs("failed", Some(30005)), "refused", Some(ReasonClass::Reply)),
        (Act::TakenAs("failed", Some(30008)), "deferred", Some(ReasonClass::Reply)),
        (Act::TakenAs("accepted", None), "taken", None),
        (Act::Close, "in doubt", Some(ReasonClass::Connect)),
        (Act::TakenAndClose, "in doubt", Some(ReasonClass::Connect)),
    ] {
        let before = twilio.posts().len();
        twilio.next(act.clone());
        let done = send(&upstream).await;
        assert_eq!((kind(&done), class(&done)), (expected, class_expected), "{act:?}: {done:?}");
        assert_eq!(twilio.posts().len(), before + 1, "{act:?}: posted once");
        let words = format!("{done:?}");
        assert!(!words.contains("2025550100") && !words.contains(CODE), "{words}");
    }
}

#[tokio::test]
async fn silence_after_the_post_is_in_doubt_and_before_it_is_not() {
    let twilio = FakeTwilio::start().await;
    twilio.always(Act::TakenAndHang);
    let short = |base_url| TwilioConfig {
        connect: Duration::from_millis(300),
        answer: Duration::from_millis(300),
        ..account(base_url)
    };
    let done = send(&upstream(short(twilio.base_url()))).await;
    assert_eq!((kind(&done), class(&done)), ("in doubt", Some(ReasonClass::Timeout)));
    assert_eq!(twilio.posts().len(), 1);

    twilio.as_usual();
    twilio.next(Act::CloseUnread);
    let done = send(&upstream(short(twilio.base_url()))).await;
    assert_eq!(kind(&done), "in doubt", "it may have been read: {done:?}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let done = send(&upstream(short(closed))).await;
    assert_eq!((kind(&done), class(&done)), ("unavailable at once", Some(ReasonClass::Connect)));
}

#[tokio::test]
async fn a_connection_that_was_closed_over_there_in_the_meantime_costs_no_text() {
    let twilio = FakeTwilio::start().await;
    let upstream = upstream(account(twilio.base_url()));
    for _ in 0..3 {
        assert_eq!(kind(&send(&upstream).await), "taken");
    }
    assert_eq!(twilio.state().connections, 1, "it is kept");
    twilio.next(Act::Close);
    assert_eq!(kind(&send(&upstream).await), "in doubt");
    assert_eq!(kind(&send(&upstream).await), "taken");
    assert_eq!(twilio.state().connections, 2);
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_an_endless_answer_is_not_read() {
    let other = FakeTwilio::start().await;
    let location = format!("{}/2010-04-01/Accounts/{ACCOUNT}/Messages.json", other.base_url());
    let redirect =
        format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
    let done = send(&upstream(account(says(redirect).await))).await;
    assert_eq!((kind(&done), class(&done)), ("unavailable at once", Some(ReasonClass::Reply)));
    assert!(other.requests().is_empty());

    let endless = format!("HTTP/1.1 201 Created\r\nConnection: close\r\n\r\n{}", " ".repeat(1024 * 1024));
    let done = send(&upstream(account(says(endless).await))).await;
    assert_eq!(kind(&done), "in doubt");
}

/// A server that answers every request with these bytes.
async fn says(answer: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn a_certificate_that_proves_nothing_gets_nothing() {
    let authority = Authority::new();
    for (server, proves) in [
        (authority.server("localhost", certificates::VALID), true),
        (authority.server("api.example.com", certificates::VALID), false),
        (Authority::new().server("localhost", certificates::VALID), false),
        (authority.server("localhost", (2020, 2021)), false),
    ] {
        let twilio = FakeTwilio::start().await;
        let port = encrypted(server, twilio.address).await;
        let config = TwilioConfig {
            tls: TlsClient(authority.client()),
            ..account(format!("https://localhost:{port}"))
        };
        let done = send(&upstream(config)).await;
        if proves {
            assert_eq!(kind(&done), "taken");
        } else {
            assert_eq!(
                (kind(&done), class(&done)),
                ("unavailable at once", Some(ReasonClass::Tls)),
                "{done:?}"
            );
            assert!(twilio.requests().is_empty());
        }
    }
}

/// TLS in front of a server; returns the port.
async fn encrypted(config: Arc<rustls::ServerConfig>, inner: std::net::SocketAddr) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = tokio_rustls::TlsAcceptor::from(config);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut inner = tokio::net::TcpStream::connect(inner).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut inner).await });
        }
    });
    port
}

struct NoMail;

impl Renderer for NoMail {
    fn senders(&self, _: &Plan) -> Vec<SenderName> {
        Vec::new()
    }

    fn render(&self, _: &Message, _: &Plan, _: &SenderName) -> Result<Outgoing, Reason> {
        Err(Reason::new(ReasonClass::Local, "there is no mail here"))
    }
}

fn queue(folder: &Path) -> Arc<Queue> {
    let key = folder.join("queue.key");
    let keyring = if key.exists() { Keyring::load(&key) } else { Keyring::create(&key) };
    let store =
        SqliteStore::open(&folder.join("queue.db"), Arc::new(keyring.unwrap()), Clock::System).unwrap();
    let active = Active::new(ActiveLimits::default());
    Queue::new(Arc::new(store), LookupKey::new(&[7; 32]), Clock::System, active)
}

fn deliver(queue: &Arc<Queue>, twilio: &FakeTwilio, stop: &CancellationToken) -> Delivery {
    let upstream = UpstreamConfig {
        name: UpstreamName::new("twilio"),
        kind: UpstreamKind::Twilio(Box::new(account(twilio.base_url()))),
        carries: None,
        max_connections: 8,
        messages_per_minute: None,
        breaker: BreakerConfig::default(),
    };
    let config =
        Arc::new(Config { hostname: "relay.example".to_owned(), upstreams: vec![upstream], workers: 4 });
    Delivery::start(
        Arc::clone(queue),
        Arc::new(move || InForce { config: Arc::clone(&config), renderer: Arc::new(NoMail) }),
        Arc::new(|_: &CategoryName, _: Class| vec![Duration::from_secs(1)]),
        Clock::System,
        stop.clone(),
    )
}

fn new_code(code: &'static str, to: &str) -> NewCode {
    let (id, now) = (MessageId::generate(), Clock::System.now());
    let entry = Entry {
        id,
        submission: id,
        client: "app".into(),
        business: None,
        category: "signin".into(),
        rule: "otp".to_owned(),
        class: Class::Urgent,
        recipient: Recipient::Phone(PhoneNumber::parse(to).unwrap()),
        application_id: None,
        report_to: None,
        accepted: now,
        expires: now.plus(Duration::from_mins(10)),
        next_attempt: now,
        attempts: 0,
        in_doubt: 0,
        state: State::Queued,
        reason: None,
        upstream: None,
        reference: None,
    };
    let (code, host) = (Secret::new(code), "example.com".to_owned());
    let payload = Payload::Sms { code, host, factor: Factor::Primary, origin_bound: false };
    NewCode { entry, payload, idempotency: None, counters: Vec::new() }
}

/// Waits for events until all of `ids` have had one of `kind`.
async fn until_told(events: &mut broadcast::Receiver<Event>, kind: Kind, ids: &[MessageId]) {
    let mut missing: HashSet<MessageId> = ids.iter().copied().collect();
    let told = async {
        while !missing.is_empty() {
            let event = events.recv().await.unwrap();
            if event.kind == kind {
                missing.remove(&event.subject.message);
            }
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), told).await;
    assert!(waited.is_ok(), "not in time: {kind:?}");
}

async fn state_of(queue: &Queue, id: MessageId) -> Entry {
    queue.find(Query { id: Some(id), limit: 1, ..Query::default() }).await.unwrap().remove(0)
}

#[tokio::test]
async fn what_was_posted_is_settled_from_the_durable_queue_and_never_posted_again() {
    let home = tempfile::tempdir().unwrap();
    let twilio = FakeTwilio::start().await;
    let (queue, stop) = (queue(home.path()), CancellationToken::new());
    let mut events = queue.events();
    let delivery = deliver(&queue, &twilio, &stop);
    // Taken; taken without an answer; never read.
    twilio.next(Act::Answer);
    let taken = new_code("111111", "+12025550101");
    let first = taken.entry.id;
    assert_eq!(queue.put_code(taken).await.unwrap(), StoredCode::New);
    until_told(&mut events, Kind::HandedOver, &[first]).await;
    twilio.next(Act::TakenAndClose);
    let lost = new_code("222222", "+12025550102");
    let second = lost.entry.id;
    queue.put_code(lost).await.unwrap();
    until_told(&mut events, Kind::Deferred, &[second]).await;
    twilio.next(Act::Close);
    let nowhere = new_code("333333", "+12025550103");
    let third = nowhere.entry.id;
    queue.put_code(nowhere).await.unwrap();
    until_told(&mut events, Kind::Deferred, &[third]).await;
    assert_eq!(state_of(&queue, second).await.in_doubt, 1);
    for text in twilio.texts() {
        twilio.set_status(&text.sid, "delivered", None);
    }
    until_told(&mut events, Kind::Delivered, &[first, second]).await;
    let settled = state_of(&queue, second).await;
    assert_eq!((settled.state, settled.reference), (State::Delivered, Some(twilio.texts()[1].sid.clone())));
    let still = state_of(&queue, third).await;
    assert_eq!((still.state, still.in_doubt, still.reference), (State::AwaitingReport, 1, None));
    stop.cancel();
    delivery.stopped().await;
    assert_eq!(twilio.posts().len(), 3);
}

#[tokio::test]
async fn a_text_that_was_noted_when_the_process_died_is_asked_for_and_one_that_was_not_is_sent() {
    let home = tempfile::tempdir().unwrap();
    let twilio = FakeTwilio::start().await;
    let (noted, fresh) = (new_code("111111", "+12025550101"), new_code("222222", "+12025550102"));
    let ids = [noted.entry.id, fresh.entry.id];
    {
        let queue = queue(home.path());
        queue.put_code(noted).await.unwrap();
        let job = queue.fresh().await.unwrap();
        let marked = queue.mark(&job.claimed, &UpstreamName::new("twilio")).await.unwrap();
        assert_eq!(marked, Effect::Done);
        queue.put_code(fresh).await.unwrap();
        queue.close().await.unwrap();
    }
    // What the process had posted before it died.
    let body = "111111 is your one-time code to sign in to example.com #111111";
    let sid = twilio.foreign_text("+12025550101", body, &Clock::System.now().to_rfc5322());
    let (queue, stop) = (queue(home.path()), CancellationToken::new());
    let mut events = queue.events();
    let delivery = deliver(&queue, &twilio, &stop);
    until_told(&mut events, Kind::Delivered, &ids[..1]).await;
    assert_eq!(state_of(&queue, ids[0]).await.reference, Some(sid));
    assert_eq!(state_of(&queue, ids[1]).await.state, State::AwaitingReport);
    let posts = twilio.posts();
    assert_eq!(posts.len(), 1);
    assert_eq!(posts[0].field("To"), Some("+12025550102"));
    stop.cancel();
    delivery.stopped().await;
}
