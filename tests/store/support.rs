//! Making messages, and short ways to say what is done with them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use authrelay::clock::{Clock, Timestamp};
use authrelay::event::Kind;
use authrelay::ident::{CategoryName, Class, ClientName, MessageId, UpstreamName};
use authrelay::mail::{Address, PhoneNumber, Recipient, ReversePath};
use authrelay::outcome::{Reason, ReasonClass};
use authrelay::policy::SenderPolicy;
use authrelay::queue::History;
use authrelay::queue::store::sqlite::SqliteStore;
use authrelay::queue::{
    Applied, Audience, Change, ClaimRequest, Claimed, Effect, Entry, Keyring, NewEntry, Payload, Put, Query,
    Settle, Settlement, State, Store, Subscription,
};
use authrelay::rewrite::Plan;
use authrelay::secret::{Digest, Secret};
use bytes::Bytes;

/// When every test begins.
pub const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
pub const LEASE: Duration = Duration::from_mins(15);
pub const LIFE: Duration = Duration::from_mins(10);

pub fn after(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

/// A place where a store can be opened again and again.
pub trait Backend {
    fn open(&self, at: Timestamp) -> Arc<dyn Store>;
}

pub struct Folder {
    pub directory: tempfile::TempDir,
    pub keyring: Arc<Keyring>,
}

impl Folder {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keyring = Arc::new(Keyring::create(&directory.path().join("queue.key")).unwrap());
        Self { directory, keyring }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("queue.db")
    }

    pub fn sqlite(&self, at: Timestamp) -> SqliteStore {
        SqliteStore::open(&self.path(), Arc::clone(&self.keyring), Clock::simulated(at)).unwrap()
    }

    /// A store that tells these of what happens.
    pub fn telling(&self, at: Timestamp, subscriptions: Vec<Subscription>) -> SqliteStore {
        let audience = Arc::new(Audience { subscriptions });
        let audience = Arc::new(move || Arc::clone(&audience));
        SqliteStore::open_telling(&self.path(), Arc::clone(&self.keyring), Clock::simulated(at), audience)
            .unwrap()
    }
}

impl Backend for Folder {
    fn open(&self, at: Timestamp) -> Arc<dyn Store> {
        Arc::new(self.sqlite(at))
    }
}

pub fn digest(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}

pub fn mail(text: &str) -> Payload {
    let plan = Plan {
        category: CategoryName::new("signin"),
        business: None,
        sender: SenderPolicy::NoReply,
        reverse_path: ReversePath::Null,
        received: "by relay.example".to_owned(),
        date: None,
        message_id: None,
        auto_submitted: true,
    };
    Payload::Mail { plan, message: Bytes::from(text.to_owned()) }
}

/// Text that does not get smaller when it is compressed.
pub fn noise(bytes: usize) -> String {
    let mut state = bytes as u64 + 1;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + (state >> 58) as u8)
    };
    (0..bytes).map(|_| letter()).collect()
}

pub fn sms(code: &str) -> Payload {
    Payload::Sms {
        code: Secret::new(code),
        host: "example.com".to_owned(),
        factor: authrelay::sms::Factor::Secondary,
        origin_bound: false,
    }
}

/// A put in the making.
pub struct Draft {
    pub put: Put,
}

pub fn draft(client: &str, to: &str, at: Timestamp) -> Draft {
    draft_to(client, &[to], at)
}

pub fn draft_to(client: &str, to: &[&str], at: Timestamp) -> Draft {
    let submission = MessageId::generate();
    let row = |(index, to): (usize, &&str)| {
        let recipient = match PhoneNumber::parse(to) {
            Ok(number) => Recipient::Phone(number),
            Err(_) => Recipient::Mail(Address::parse(to).unwrap()),
        };
        let entry = Entry {
            id: if index == 0 { submission } else { MessageId::generate() },
            submission,
            client: ClientName::new(client),
            business: None,
            category: CategoryName::new("signin"),
            rule: "test".to_owned(),
            class: Class::Urgent,
            recipient,
            application_id: Some("<1@app.example>".to_owned()),
            report_to: Some("legacy@app.example".parse().unwrap()),
            accepted: at,
            expires: at.plus(LIFE),
            next_attempt: at,
            attempts: 0,
            in_doubt: 0,
            state: State::Queued,
            reason: None,
            upstream: None,
            reference: None,
        };
        NewEntry { entry, recipient_key: digest(to), supersede_key: None }
    };
    let entries = to.iter().enumerate().map(row).collect();
    let put = Put {
        entries,
        payload: mail("hello\r\n"),
        dedupe: None,
        settling: None,
        counters: Vec::new(),
        idempotency: None,
        lease: None,
    };
    Draft { put }
}

impl Draft {
    pub fn each(mut self, change: impl Fn(&mut NewEntry)) -> Self {
        self.put.entries.iter_mut().for_each(change);
        self
    }

    pub fn class(self, class: Class) -> Self {
        self.each(|new| new.entry.class = class)
    }

    pub fn state(self, state: State) -> Self {
        self.each(|new| new.entry.state = state)
    }

    pub fn supersedes(self, key: &str) -> Self {
        self.each(|new| new.supersede_key = Some(digest(key)))
    }

    pub fn payload(mut self, payload: Payload) -> Self {
        self.put.payload = payload;
        self
    }

    pub fn dedupe(mut self, key: &str, since: Timestamp) -> Self {
        self.put.dedupe = Some((digest(key), since));
        self
    }

    pub fn leased(mut self, until: Timestamp) -> Self {
        self.put.lease = Some(until);
        self
    }

    pub fn change(self) -> Change {
        Change::Put(Box::new(self.put))
    }

    /// Stores it. Returns its id and what became of it.
    pub async fn store(self, store: &dyn Store) -> (MessageId, Applied) {
        let id = self.put.entries[0].entry.id;
        (id, commit(store, self.change()).await)
    }

    /// Stores it and expects that nothing stands in the way.
    pub async fn stored(self, store: &dyn Store) -> MessageId {
        let (id, applied) = self.store(store).await;
        assert_eq!(applied.result, Effect::Done);
        id
    }
}

pub async fn commit(store: &dyn Store, change: Change) -> Applied {
    let mut applied = store.commit(vec![change]).await.unwrap();
    assert_eq!(applied.len(), 1);
    applied.remove(0)
}

pub async fn claim(store: &dyn Store, class: Class, messages: usize, now: Timestamp) -> Vec<Claimed> {
    store.claim(ClaimRequest { class, messages, bytes: 1 << 20, now, lease: LEASE }).await.unwrap()
}

pub fn mark(id: MessageId, lease: Timestamp) -> Change {
    Change::Mark { id, lease, upstream: UpstreamName::new("provider") }
}

/// Claims the one urgent message that must be due.
pub async fn claim_one(store: &dyn Store, now: Timestamp) -> Claimed {
    let mut claimed = claim(store, Class::Urgent, 10, now).await;
    assert_eq!(claimed.len(), 1, "{claimed:?}");
    claimed.remove(0)
}

pub fn settlement(state: State, at: Timestamp) -> Settlement {
    let (event, reason) = match state {
        State::Queued => (Kind::Deferred, Some(Reason::reply(451, "4.2.0 later"))),
        State::HandedOver | State::AwaitingReport => (Kind::HandedOver, None),
        State::Unknown => (Kind::Unknown, Some(Reason::new(ReasonClass::Timeout, "no answer"))),
        _ => (Kind::Failed, Some(Reason::reply(550, "5.1.1 nobody"))),
    };
    let reference = match state {
        State::HandedOver => Some("2.0.0 queued as 4Xyz".to_owned()),
        State::AwaitingReport => Some("SM1".to_owned()),
        _ => None,
    };
    let in_doubt = u32::from(state == State::Unknown);
    Settlement { state, next_attempt: at, attempts: 1, in_doubt, reason, reference, event }
}

pub fn settle(claimed: &Claimed, settlement: Settlement, at: Timestamp) -> Change {
    settle_id(claimed.entry().id, claimed.lease(), settlement, at)
}

pub fn settle_id(id: MessageId, lease: Timestamp, settlement: Settlement, at: Timestamp) -> Change {
    let upstream = Some(UpstreamName::new("provider"));
    Change::Settle(Box::new(Settle { id, lease, upstream, settlement, at }))
}

pub async fn entry(store: &dyn Store, id: MessageId) -> Entry {
    let query = Query { id: Some(id), limit: 100, ..Query::default() };
    let found = store.find(query).await.unwrap();
    found.into_iter().find(|entry| entry.id == id).expect("the row is there")
}

pub async fn state(store: &dyn Store, id: MessageId) -> State {
    entry(store, id).await.state
}

pub async fn told(store: &dyn Store, id: MessageId) -> Vec<Kind> {
    store.history(History::Id(id)).await.unwrap().into_iter().map(|event| event.kind).collect()
}

pub fn kinds(applied: &Applied) -> Vec<Kind> {
    applied.events.iter().map(|event| event.kind).collect()
}
