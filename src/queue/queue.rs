//! The queue as the rest of the crate sees it: puts what was planned, hands out what is due, settles what came of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, Notify, broadcast, mpsc};

use super::backlog::Backlog;
use super::store::decision::{Decision, DecisionPlace, DecisionQuery};
use super::terms::{Keys, schedule};
use super::{
    Active, Applied, Change, ClaimRequest, Claimed, Depth, Effect, Entry, History, NewEntry, Payload, Put,
    Query, Settle, Slot, State, Store, StoreError, Terms, settle,
};
use crate::clock::{Clock, Timestamp};
use crate::event::{Event, UpstreamNews};
use crate::ident::{Class, MessageId, UpstreamName};
use crate::mail::Recipient;
use crate::outcome::{Outcome, Reason};
use crate::policy::{Action, Submission, Verdict};
use crate::rewrite::{Plan, Planned};
use crate::secret::{Digest, LookupKey};

/// How long a worker may hold a message before another may take it. Longer than all time-outs of an attempt together.
pub(super) const LEASE: Duration = Duration::from_mins(15);

/// How many rows one transaction ends or deletes.
pub(super) const SWEEP: usize = 500;

/// How many events a slow listener may be behind.
const EVENTS: usize = 4096;

/// A message to work on, and its room in the active set.
#[derive(Debug)]
pub struct Job {
    /// The message.
    pub claimed: Claimed,
    /// Held for as long as the message is in memory.
    pub slot: Slot,
}

/// What became of a put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// It is on stable storage under this id.
    New(MessageId),
    /// An equal submission is there already, under this id.
    Duplicate(MessageId),
    /// It is on stable storage under this id, and held as one of many.
    Held(MessageId),
    /// The counter at this index is at its limit; nothing was stored.
    OverLimit(usize),
    /// Too many messages of the normal lane wait; nothing was stored.
    Full,
}

/// The durable queue.
pub struct Queue {
    pub(super) store: Arc<dyn Store>,
    lookup: LookupKey,
    pub(super) clock: Clock,
    pub(super) active: Active,
    fresh: mpsc::UnboundedSender<Job>,
    intake: Mutex<mpsc::UnboundedReceiver<Job>>,
    pub(super) wake: Notify,
    events: broadcast::Sender<Event>,
    backlog: Backlog,
    /// Nothing new is taken, so that what is here already can still be brought to its end.
    shut: AtomicBool,
}

impl Queue {
    /// A queue over an open store. `lookup` is the key under which recipients are found.
    pub fn new(store: Arc<dyn Store>, lookup: LookupKey, clock: Clock, active: Active) -> Arc<Self> {
        // Unbounded in form only: every job holds a slot of the active set.
        let (fresh, intake) = mpsc::unbounded_channel();
        Arc::new(Self {
            store,
            lookup,
            clock,
            active,
            fresh,
            intake: Mutex::new(intake),
            wake: Notify::new(),
            events: broadcast::channel(EVENTS).0,
            backlog: Backlog::default(),
            shut: AtomicBool::new(false),
        })
    }

    /// From now on nothing new is taken, but [`StoreError::Full`] is answered; what is here already goes on.
    pub fn shut(&self) {
        self.shut.store(true, Ordering::Relaxed);
    }

    /// Takes what is new again.
    pub fn open(&self) {
        self.shut.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_open(&self) -> Result<(), StoreError> {
        if self.shut.load(Ordering::Relaxed) { Err(StoreError::Full) } else { Ok(()) }
    }

    /// Asks the writer for a word, and nothing else.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.store.commit(Vec::new()).await.map(drop)
    }

    /// Stores a planned message under these terms. When this returns `New` or `Held`, it is on stable storage.
    ///
    /// Runs to its end even if the caller goes away: what was committed is never forgotten in between.
    pub async fn put(self: &Arc<Self>, planned: Planned, terms: Terms) -> Result<Stored, StoreError> {
        self.is_open()?;
        let queue = Arc::clone(self);
        let task = tokio::spawn(async move { queue.put_to_end(planned, terms).await });
        task.await.unwrap_or_else(|error| Err(StoreError::Failed(format!("the put was cut off: {error}"))))
    }

    async fn put_to_end(&self, planned: Planned, terms: Terms) -> Result<Stored, StoreError> {
        let (submission, verdict, plan, text) = planned.into_parts();
        let state = match verdict.action {
            Action::Relay => State::Queued,
            Action::Hold => State::Held,
            Action::Suppress | Action::Refuse => State::Suppressed,
        };
        let room = match (verdict.class(), state) {
            (Class::Normal, State::Queued) => {
                let more = submission.envelope.recipients.len();
                self.backlog.has_room(&*self.store, more, terms.most_waiting).await?
            }
            _ => true,
        };
        if !room {
            return Ok(Stored::Full);
        }
        let keys = Keys::new(&self.lookup, &submission, &verdict, state, text.as_ref());
        drop(text);
        let mut entries = self.entries(&submission, &verdict, &plan, state);
        for new in &mut entries {
            new.supersede_key = keys.supersede(&new.entry);
        }
        schedule(&mut entries, &verdict, terms.delay.as_ref());
        let (dedupe, settling) = (keys.dedupe(terms.dedupe), keys.settling(terms.burst));
        let id = submission.id;
        let payload = Payload::Mail { plan, message: submission.message.raw().clone() };
        let slots = self.slots_for(&entries, &payload);
        let lease = slots.is_some().then(|| self.clock.now().plus(LEASE));
        let rows: Vec<Entry> = entries.iter().map(|new| new.entry.clone()).collect();
        let (counters, copy) = (terms.counters, payload.clone());
        let put = Put { entries, payload: copy, dedupe, settling, counters, idempotency: None, lease };
        let effect = self.commit_one(Change::Put(Box::new(put))).await?.result;
        let waiting = match effect {
            Effect::Duplicate(of) => return Ok(Stored::Duplicate(of)),
            Effect::OverLimit(index) => return Ok(Stored::OverLimit(index)),
            Effect::Held(_) => return Ok(Stored::Held(id)),
            Effect::Waiting(ids) => ids,
            Effect::Done
            | Effect::Rows(_)
            | Effect::Repeated(_)
            | Effect::Mismatch
            | Effect::Stale
            | Effect::LostLease
            | Effect::NotFound
            | Effect::NotAllowed(_) => Vec::new(),
        };
        match (slots, lease) {
            (Some(slots), Some(lease)) => {
                let leased = rows.into_iter().zip(slots).filter(|(row, _)| !waiting.contains(&row.id));
                self.hand_on(leased, &payload, lease);
            }
            _ => self.wake.notify_one(),
        }
        Ok(Stored::New(id))
    }

    /// A keyed digest, for what must be found again and not be read.
    pub fn digest(&self, purpose: &str, parts: &[&[u8]]) -> Digest {
        self.lookup.digest(purpose, parts)
    }

    fn entries(
        &self,
        submission: &Submission,
        verdict: &Verdict,
        plan: &Plan,
        state: State,
    ) -> Vec<NewEntry> {
        let application_id = submission.application_id();
        let row = |(index, address): (usize, &crate::mail::Address)| {
            let recipient = Recipient::Mail(address.clone());
            let id = if index == 0 { submission.id } else { MessageId::generate() };
            let entry = Entry {
                id,
                submission: submission.id,
                client: submission.client.clone(),
                business: plan.business.clone(),
                category: verdict.category.name.clone(),
                rule: verdict.recorded_rule(),
                class: verdict.class(),
                recipient: recipient.clone(),
                application_id: application_id.clone(),
                report_to: verdict.report_to.clone(),
                accepted: submission.accepted,
                expires: submission.accepted.plus(verdict.life()),
                next_attempt: submission.accepted,
                attempts: 0,
                in_doubt: 0,
                state,
                reason: None,
                upstream: None,
                reference: None,
            };
            NewEntry { entry, recipient_key: self.recipient_key(&recipient), supersede_key: None }
        };
        submission.envelope.recipients.iter().enumerate().map(row).collect()
    }

    /// Room for all rows of a submission, or none: what does not fit, or is not to be sent now, waits in the store.
    fn slots_for(&self, entries: &[NewEntry], payload: &Payload) -> Option<Vec<Slot>> {
        let now =
            |new: &NewEntry| new.entry.state == State::Queued && new.entry.next_attempt <= new.entry.accepted;
        if !entries.iter().all(now) {
            return None;
        }
        let weight = payload.weight();
        entries.iter().map(|new| self.active.reserve(new.entry.class, weight)).collect()
    }

    pub(super) fn hand_on(
        &self,
        leased: impl Iterator<Item = (Entry, Slot)>,
        payload: &Payload,
        lease: Timestamp,
    ) {
        for (mut entry, slot) in leased {
            entry.state = State::Attempting;
            let claimed = Claimed { entry, payload: payload.clone(), lease };
            // Fails only when nobody delivers any more: the row is found again by its lease, or at the next start.
            let _ = self.fresh.send(Job { claimed, slot });
        }
    }

    /// Hands a message straight to the workers, as a put does.
    #[cfg(test)]
    pub(crate) fn offer(&self, claimed: Claimed) {
        let slot =
            self.active.reserve(claimed.entry.class, claimed.weight()).expect("room in the active set");
        self.fresh.send(Job { claimed, slot }).expect("the queue holds the other end");
    }

    /// The next message that was put straight into the active set. One caller at a time.
    pub async fn fresh(&self) -> Option<Job> {
        self.intake.lock().await.recv().await
    }

    /// Waits until something was put into the store that may be due, or an operator changed something.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Takes due messages of a lane out of the store, at most `messages` and what the active set has room for.
    pub async fn claim(&self, class: Class, messages: usize) -> Result<Vec<Job>, StoreError> {
        let (room, bytes) = self.active.room(class);
        let messages = messages.min(room);
        if messages == 0 || bytes == 0 {
            return Ok(Vec::new());
        }
        let request = ClaimRequest { class, messages, bytes, now: self.clock.now(), lease: LEASE };
        let mut jobs = Vec::new();
        for claimed in self.store.claim(request).await? {
            match self.active.reserve(class, claimed.weight()) {
                Some(slot) => jobs.push(Job { claimed, slot }),
                // A fresh message took the room in the meantime.
                None => self.give_back(&claimed, self.clock.now(), None).await?,
            }
        }
        Ok(jobs)
    }

    /// Records what an attempt made of a message. `retry` is its category's clock; `not_before` is what the upstream's
    /// breaker demands.
    pub async fn settle(
        &self,
        claimed: &Claimed,
        upstream: Option<UpstreamName>,
        outcome: &Outcome,
        retry: &[Duration],
        not_before: Option<Timestamp>,
    ) -> Result<State, StoreError> {
        let at = self.clock.now();
        let settlement = settle(&claimed.entry, outcome, at, retry, fastrand::f64(), not_before);
        let state = settlement.state;
        let change = Settle { id: claimed.entry.id, lease: claimed.lease, upstream, settlement, at };
        self.commit_one(Change::Settle(Box::new(change))).await?;
        Ok(state)
    }

    /// Gives a message back without an attempt having been made. `reason` says why it waits, where there is a new one.
    pub async fn give_back(
        &self,
        claimed: &Claimed,
        next_attempt: Timestamp,
        reason: Option<Reason>,
    ) -> Result<(), StoreError> {
        let change = Change::GiveBack { id: claimed.entry.id, lease: claimed.lease, next_attempt, reason };
        self.commit_one(change).await.map(drop)
    }

    /// When the next message of a lane is due.
    pub async fn next_due(&self, class: Class) -> Result<Option<Timestamp>, StoreError> {
        self.store.next_due(class).await
    }

    /// When the next message expires.
    pub async fn next_expiry(&self) -> Result<Option<Timestamp>, StoreError> {
        self.store.next_expiry().await
    }

    /// Ends everything that has expired, and tells it. Returns the events.
    pub async fn expire(&self) -> Result<Vec<Event>, StoreError> {
        let mut told = Vec::new();
        loop {
            let applied = self.commit_one(Change::Expire { now: self.clock.now(), limit: SWEEP }).await?;
            told.extend(applied.events);
            if applied.result != Effect::Rows(SWEEP) {
                return Ok(told);
            }
        }
    }

    /// Deletes what ended before `before`, a bounded piece at a time. The archive keeps what was decided since `archive`.
    pub async fn prune(&self, before: Timestamp, archive: Option<Timestamp>) -> Result<(), StoreError> {
        loop {
            let change = Change::Prune { before, archive, limit: SWEEP };
            if self.commit_one(change).await?.result != Effect::Rows(SWEEP) {
                return Ok(());
            }
        }
    }

    /// Tells those who want to know how an upstream does.
    pub async fn announce(&self, news: UpstreamNews) -> Result<(), StoreError> {
        self.commit_one(Change::Announce(Box::new(news))).await.map(drop)
    }

    /// The upstreams that were last told to be down.
    pub async fn upstreams_down(&self) -> Result<Vec<UpstreamName>, StoreError> {
        self.store.upstreams_down().await
    }

    /// What was decided of messages, in the order in which it was decided, each with its place among all; `None` where a
    /// record can't be opened.
    pub async fn decisions(
        &self,
        query: DecisionQuery,
    ) -> Result<Vec<(DecisionPlace, Option<Decision>)>, StoreError> {
        self.store.decisions(query).await
    }

    /// Stores events that belong to no row, such as a refusal.
    pub async fn record(&self, events: Vec<Event>) -> Result<(), StoreError> {
        self.is_open()?;
        let keyed = |event: Event| (self.recipient_key(&event.subject.recipient), event);
        self.commit_one(Change::Record(events.into_iter().map(keyed).collect())).await.map(drop)
    }

    /// Rows, newest first.
    pub async fn find(&self, query: Query) -> Result<Vec<Entry>, StoreError> {
        self.store.find(query).await
    }

    /// The events of a message, of a recipient, or the latest of all, oldest first.
    pub async fn history(&self, of: History) -> Result<Vec<Event>, StoreError> {
        self.store.history(of).await
    }

    /// The bytes of a message, while they are kept.
    pub async fn message(&self, id: MessageId) -> Result<Option<Bytes>, StoreError> {
        self.store.message(id).await
    }

    /// How full the queue is.
    pub async fn depth(&self) -> Result<Depth, StoreError> {
        self.store.depth().await
    }

    /// Every event from now on, as it is committed. For what may miss some: the store has them all.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// What log lines about a recipient are found by.
    pub fn search_key(&self, recipient: &Recipient) -> String {
        search_key(&self.lookup, recipient)
    }

    /// The key under which a recipient's messages are found.
    pub fn recipient_key(&self, recipient: &Recipient) -> Digest {
        recipient_key(&self.lookup, recipient)
    }

    /// Waits for what is under way, then closes the store.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }

    pub(super) async fn commit_one(&self, change: Change) -> Result<Applied, StoreError> {
        let applied = self.store.commit(vec![change]).await?.pop();
        let applied = applied.ok_or_else(|| StoreError::Failed("the store answered nothing".to_owned()))?;
        for event in &applied.events {
            event.log();
            if self.events.receiver_count() > 0 {
                let _ = self.events.send(event.clone());
            }
        }
        if applied.wakes {
            self.wake.notify_one();
        }
        Ok(applied)
    }
}

/// The key under which a recipient's messages are found, where the queue itself is not open.
pub fn recipient_key(lookup: &LookupKey, recipient: &Recipient) -> Digest {
    lookup.digest("recipient", &[recipient.lookup_form().as_bytes()])
}

/// What log lines about a recipient are found by: of another purpose than the keys in the store, so that the log of a
/// machine and a stolen store say nothing about each other.
pub fn search_key(lookup: &LookupKey, recipient: &Recipient) -> String {
    let mut key = lookup.digest("log", &[recipient.lookup_form().as_bytes()]).to_hex();
    key.truncate(16);
    key
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queue")
    }
}
