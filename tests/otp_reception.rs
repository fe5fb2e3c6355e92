//! From a request for a code to its row: the real reception, pipeline, guard and queue, without sockets.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use authrelay::callback::{Handler as _, Report, Verdict};
use authrelay::clock::{Clock, Timestamp};
use authrelay::config::{self, Environment};
use authrelay::deliver::{Delivery, InForce, Outgoing, Renderer};
use authrelay::event::Kind;
use authrelay::ident::{ClientName, MessageId, SenderName, UpstreamName};
use authrelay::mail::{Message, PhoneNumber, Recipient};
use authrelay::otp::{Accepted, Handler as _, Refusal, RefusalKind, Request, Status};
use authrelay::outcome::Reason;
use authrelay::pipeline::Pipeline;
use authrelay::queue::store::sqlite::SqliteStore;
use authrelay::queue::{Active, Effect, History, Keyring, Query, Queue};
use authrelay::reception::{Codes, Reports};
use authrelay::rewrite::Plan;
use authrelay::secret::Secret;
use authrelay::sms::Factor;
use authrelay::snapshot::{Current, Snapshot};
use tokio_util::sync::CancellationToken;

const ANNA: &str = "+12025550100";
const CODE: &str = "824193";

/// One business, texts that cost money, and hardly a limit.
const BASE: &str = r#"
hostname = "relay.test"
state_directory = "state"
[listeners.smtp]
address = "127.0.0.1:0"
[businesses.acme]
url = "https://www.acme.example/"
domains = ["acme.example"]
[upstreams.mail]
kind = "maildir"
[upstreams.phones]
kind = "twilio"
account_sid = "AC00000000000000000000000000000001"
auth_token = "00000000000000000000000000000001"
from = "+12025550111"
public_url = "https://relay.acme.example"
[upstreams.phones-too]
kind = "twilio"
account_sid = "AC00000000000000000000000000000001"
auth_token = "00000000000000000000000000000001"
from = "+12025550112"
public_url = "https://relay.acme.example"
"#;

const SHOP: &str = r#"
[clients.shop]
token_sha256 = "0000000000000000000000000000000000000000000000000000000000000001"
business = "acme"
"#;

const OPEN: &str = r#"
primary = true
secondary = true
countries = ["US"]
client_rate = 10000
client_burst = 100000
number_pause = "0s"
"#;

/// Takes codes as the daemon does, but sends none.
struct House {
    codes: Codes,
    queue: Arc<Queue>,
    current: Current,
    _folder: tempfile::TempDir,
}

struct NoMail;

impl Renderer for NoMail {
    fn senders(&self, _: &Plan) -> Vec<SenderName> {
        Vec::new()
    }

    fn render(&self, _: &Message, _: &Plan, _: &SenderName) -> Result<Outgoing, Reason> {
        unreachable!("nothing is delivered here")
    }
}

impl House {
    fn new(otp: &str) -> Self {
        Self::with(otp, SHOP)
    }

    fn with(otp: &str, clients: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("relay.toml");
        std::fs::write(&file, format!("{BASE}[otp]\n{otp}\n{clients}")).unwrap();
        let loaded = config::load(Some(&file), &Environment::of_process());
        let config = loaded.unwrap_or_else(|errors| unreachable!("{errors}")).config;
        let keyring = Arc::new(Keyring::create(&folder.path().join("queue.key")).unwrap());
        let path = folder.path().join("queue.db");
        let store = SqliteStore::open(&path, Arc::clone(&keyring), Clock::System).unwrap();
        let active = Active::new(config.queue.active);
        let queue = Queue::new(Arc::new(store), keyring.lookup_key(), Clock::System, active);
        let current = Current::new(Snapshot::new(config));
        let codes = codes(&current, &queue, Clock::System);
        Self { codes, queue, current, _folder: folder }
    }

    async fn submit(&self, request: Request) -> Result<Accepted, Refusal> {
        self.codes.submit(&shop(), request).await
    }

    async fn refused(&self, request: Request) -> Refusal {
        self.submit(request).await.unwrap_err()
    }

    /// The rules of the refusals that are on record for a number.
    async fn on_record(&self, number: &str) -> Vec<String> {
        let recipient = Recipient::Phone(PhoneNumber::parse(number).unwrap());
        let key = self.queue.recipient_key(&recipient);
        let events = self.queue.history(History::Recipient(key)).await.unwrap();
        let refused = events.into_iter().filter(|event| event.kind == Kind::Refused);
        refused
            .map(|event| {
                assert_eq!(event.subject.recipient, Recipient::Forgotten);
                event.subject.rule
            })
            .collect()
    }
}

fn codes(current: &Current, queue: &Arc<Queue>, clock: Clock) -> Codes {
    let stop = CancellationToken::new();
    stop.cancel();
    let config = current.clone();
    let delivery = Delivery::start(
        Arc::clone(queue),
        Arc::new(move || {
            let config = Arc::clone(&config.get().config.deliver);
            InForce { config, renderer: Arc::new(NoMail) }
        }),
        Arc::new(|_, _| vec![Duration::from_secs(1)]),
        clock,
        stop,
    );
    let pipeline = Pipeline::new(Arc::clone(queue), clock);
    Codes::new(current.clone(), pipeline, Arc::clone(queue), delivery.monitor(), clock)
}

fn shop() -> ClientName {
    ClientName::new("shop")
}

fn request(to: &str) -> Request {
    Request {
        to: Secret::new(to),
        code: Secret::new(CODE),
        business: None,
        factor: Factor::Primary,
        expires_in: None,
        reference: None,
        idempotency_key: None,
    }
}

fn keyed(to: &str, key: &str) -> Request {
    Request { idempotency_key: Some(Secret::new(key)), ..request(to) }
}

#[tokio::test]
async fn a_code_is_stored_and_only_its_client_sees_it() {
    let house = House::new(OPEN);
    let taken = Request {
        expires_in: Some(Duration::from_secs(90)),
        reference: Some("login-7".to_owned()),
        ..request("+1 (202) 555-0100")
    };
    let taken = house.submit(taken).await.unwrap();
    assert_eq!(taken.status, Status::Queued);
    let view = house.codes.status(&shop(), taken.id).await.unwrap();
    assert_eq!(view.expires, view.created.plus(Duration::from_secs(90)));
    assert_eq!((view.expires, view.reference.as_deref()), (taken.expires, Some("login-7")));
    let stranger = house.codes.status(&ClientName::new("other"), taken.id).await.unwrap_err();
    let unknown = house.codes.status(&shop(), MessageId::generate()).await.unwrap_err();
    assert_eq!((stranger.kind, &stranger), (RefusalKind::NotFound, &unknown), "the two can't be told apart");

    let row =
        house.queue.find(Query { id: Some(taken.id), limit: 1, ..Query::default() }).await.unwrap().remove(0);
    assert_eq!(row.recipient, Recipient::Phone(PhoneNumber::parse(ANNA).unwrap()));
    assert_eq!((row.category.as_str(), row.rule.as_str()), ("signin", "factor:primary country:US"));
    assert_eq!(row.business.as_ref().map(ToString::to_string).as_deref(), Some("acme"));
}

#[tokio::test]
async fn a_repeated_request_is_answered_with_the_first_however_soon_it_comes() {
    // Two at once, then one an hour: a third request for the number would be too soon.
    let house = House::new(&OPEN.replace("\"0s\"", "\"1h\""));
    let first = house.submit(keyed(ANNA, "k")).await.unwrap();
    for spelling in [ANNA, "+1 202 555 0100", "+1 (202) 555-0100"] {
        assert_eq!(house.submit(keyed(spelling, "k")).await.unwrap().id, first.id);
    }
    let other_code = Request { code: Secret::new("111111"), ..keyed(ANNA, "k") };
    let named = Request { business: Some("acme".to_owned()), ..keyed(ANNA, "k") };
    let longer = Request { expires_in: Some(Duration::from_mins(5)), ..keyed(ANNA, "k") };
    for other in [other_code, named, longer, keyed("+12025550101", "k")] {
        assert_eq!(house.refused(other).await.kind, RefusalKind::IdempotencyMismatch);
    }
    assert_ne!(house.submit(keyed(ANNA, "another")).await.unwrap().id, first.id);
    let too_soon = house.refused(keyed(ANNA, "a third")).await;
    assert_eq!(too_soon.kind, RefusalKind::NumberLimit);
    assert!(too_soon.limit.unwrap().retry_after > Duration::from_mins(50));
    assert_eq!(house.on_record(ANNA).await, ["guard:rate"]);
}

#[tokio::test]
async fn what_is_wrong_is_told_with_its_field_and_without_what_was_sent() {
    let clients = format!("{SHOP}categories = [\"signin\"]\n");
    let house = House::with(OPEN, &clients);
    let anna = "+12025550177";
    let base = || request(anna);
    let cases = [
        (Request { to: Secret::new("0151 4711223"), ..base() }, RefusalKind::Number, Some("/to")),
        (Request { to: Secret::new("anna"), ..base() }, RefusalKind::Number, Some("/to")),
        (Request { code: Secret::new("82419x"), ..base() }, RefusalKind::Code, Some("/code")),
        (Request { business: Some("bolt".to_owned()), ..base() }, RefusalKind::Business, Some("/business")),
        (Request { factor: Factor::Secondary, ..base() }, RefusalKind::CategoryNotAllowed, Some("/factor")),
        (
            Request { expires_in: Some(Duration::from_mins(11)), ..base() },
            RefusalKind::Expiry,
            Some("/expires_in"),
        ),
        (request("+447700900123"), RefusalKind::Country, Some("/to")),
        (request("+19005550100"), RefusalKind::NumberRange, Some("/to")),
    ];
    for (sent, kind, pointer) in cases {
        let refusal = house.refused(sent).await;
        assert_eq!((refusal.kind, refusal.pointer), (kind, pointer), "{refusal:?}");
        let told = format!("{refusal:?}");
        for secret in ["82419", "5550177", "4711223", "anna", "bolt", "900123"] {
            assert!(!told.contains(secret), "{told}");
        }
    }
    assert_eq!(house.on_record(anna).await, ["policy:client-list", "policy:life"]);
    assert_eq!(house.on_record("+447700900123").await, ["guard:country"]);
    assert_eq!(house.on_record("+19005550100").await, ["guard:range"]);
}

#[tokio::test]
async fn a_factor_that_is_off_and_a_client_bound_elsewhere_send_nothing() {
    let off = House::new(&OPEN.replace("secondary = true", "secondary = false"));
    let refusal = off.refused(Request { factor: Factor::Secondary, ..request(ANNA) }).await;
    assert_eq!(refusal.kind, RefusalKind::FactorOff);
    off.submit(request(ANNA)).await.unwrap();
    let bound = House::with(OPEN, &format!("{SHOP}category = \"password-reset\"\n"));
    assert_eq!(bound.refused(request(ANNA)).await.kind, RefusalKind::CategoryNotAllowed);
}

#[tokio::test]
async fn a_limit_names_itself_and_says_when_it_ends() {
    let house = House::new(&format!("{OPEN}per_number = [\"3/1d\"]\nper_client = [\"5/1h\"]\n"));
    for _ in 0..3 {
        house.submit(request(ANNA)).await.unwrap();
    }
    let refusal = house.refused(request(ANNA)).await;
    let limit = refusal.limit.unwrap();
    assert_eq!(
        (refusal.kind, limit.quota, limit.window),
        (RefusalKind::NumberLimit, 3, Duration::from_hours(24))
    );
    assert!(!limit.retry_after.is_zero() && limit.retry_after <= Duration::from_hours(24));
    assert_eq!(house.on_record(ANNA).await, ["guard:number-limit"]);
    for end in ["0171", "0272"] {
        house.submit(request(&format!("+1202555{end}"))).await.unwrap();
    }
    assert_eq!(house.refused(request("+12025550373")).await.kind, RefusalKind::ClientLimit);
}

#[tokio::test]
async fn a_flood_of_refusals_does_not_fill_the_disk() {
    let house = House::new(OPEN);
    let mut recorded = 0;
    for number in 0..300 {
        let refusal = house.refused(request(&format!("+4477009{number:05}"))).await;
        assert_eq!(refusal.kind, RefusalKind::Country);
        recorded += usize::from(refusal.id.is_some());
    }
    assert!((100..=110).contains(&recorded), "{recorded}");
}

#[tokio::test]
async fn a_test_number_is_recorded_never_sent_and_limited_only_in_its_records() {
    let limits = "test_numbers = [\"+12025550100\"]\nper_client = [\"1/1d\"]\n";
    let house = House::new(&format!("{}{limits}", OPEN.replace("\"0s\"", "\"1h\"")));
    for _ in 0..5 {
        let taken = house.submit(request(ANNA)).await.unwrap();
        assert_eq!(taken.status, Status::Suppressed);
        let view = house.codes.status(&shop(), taken.id).await.unwrap();
        assert!(view.reason.is_some_and(|reason| reason.contains("a test number")));
    }
    house.submit(request("+12025550101")).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    let house = Arc::new(house);
    for _ in 5..1_000 {
        let house = Arc::clone(&house);
        tasks.spawn(async move { house.submit(request(ANNA)).await.unwrap() });
    }
    tasks.join_all().await;
    let refusal = house.refused(request(ANNA)).await;
    assert_eq!((refusal.kind, refusal.limit.unwrap().quota), (RefusalKind::ClientLimit, 1_000));
}

#[tokio::test]
async fn test_numbers_keep_the_pace_of_their_client() {
    let slow = OPEN.replace("client_burst = 100000", "client_burst = 3").replace("10000", "1");
    let house = House::new(&format!("{slow}test_numbers = [\"+12025550100\"]\n"));
    for _ in 0..3 {
        house.submit(request(ANNA)).await.unwrap();
    }
    assert_eq!(house.refused(request(ANNA)).await.kind, RefusalKind::Rate);
}

/// Two upstreams of one account sign alike, so a report is that of either.
#[tokio::test]
async fn a_report_moves_the_text_of_whichever_upstream_took_it() {
    let house = House::new(OPEN);
    let taken = house.submit(request(ANNA)).await.unwrap();
    let job = house.queue.fresh().await.unwrap();
    let took = UpstreamName::new("phones-too");
    assert_eq!(house.queue.mark(&job.claimed, &took).await.unwrap(), Effect::Done);
    let reports = Reports::new(house.current.clone(), Arc::clone(&house.queue), Clock::System);
    let callers: Vec<UpstreamName> = reports.callers().into_iter().map(|caller| caller.upstream).collect();
    assert_eq!(callers.len(), 2);
    let report = |upstreams: &[UpstreamName]| Report {
        upstreams: upstreams.to_vec(),
        id: taken.id,
        attempt: 1,
        sid: "SM1".to_owned(),
        status: "delivered".to_owned(),
        error_code: None,
    };
    assert_eq!(reports.report(report(&["phones".into()])).await, Verdict::Unknown);
    assert_eq!(reports.report(report(&callers)).await, Verdict::Applied);
    assert_eq!(reports.report(report(&callers)).await, Verdict::Stale);
    let view = house.codes.status(&shop(), taken.id).await.unwrap();
    assert_eq!(view.status, Status::Delivered);
    assert_eq!((reports.counts().applied, reports.counts().unknown), (1, 1));
}

#[tokio::test]
async fn what_is_not_used_closes_a_country_and_what_is_used_keeps_it_open() {
    let watched = "conversion_countries = [\"US\"]\nconversion_least = 10\nper_client = [\"100000/1h\"]\n\
                   per_prefix = [\"100000/1h\"]\nper_business = [\"100000/1h\"]\n";
    let house = House::new(&format!("{OPEN}{watched}"));
    let before = Timestamp::from_millis(Clock::System.now().as_millis() - 60 * 60 * 1000);
    let earlier = codes(&house.current, &house.queue, Clock::simulated(before));
    let mut taken = Vec::new();
    for number in 0..100 {
        let request = request(&format!("+1202555{number:04}"));
        taken.push(earlier.submit(&shop(), request).await.unwrap().id);
    }
    let refusal = house.refused(request(ANNA)).await;
    assert_eq!((refusal.kind, refusal.pointer), (RefusalKind::Conversion, Some("/to")));
    for id in &taken[..9] {
        house.codes.feedback(&shop(), *id, true).await.unwrap();
        house.codes.feedback(&shop(), *id, true).await.unwrap();
    }
    house.codes.feedback(&shop(), taken[9], false).await.unwrap();
    house.codes.feedback(&shop(), taken[9], true).await.unwrap();
    assert_eq!(
        house.refused(request(ANNA)).await.kind,
        RefusalKind::Conversion,
        "the first word counts, once"
    );
    let stranger = house.codes.feedback(&ClientName::new("other"), taken[10], true).await.unwrap_err();
    assert_eq!(stranger.kind, RefusalKind::NotFound);
    house.codes.feedback(&shop(), taken[10], true).await.unwrap();
    house.submit(request(ANNA)).await.unwrap();
}
