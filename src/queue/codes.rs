//! The queue's dealings with one-time codes: storing them, marking that one is about to be posted, and what providers and
//! clients say of them afterwards.

use std::sync::Arc;
use std::time::Duration;

use super::queue::LEASE;
use super::{
    Awaited, Change, Claimed, Counter, Effect, Entry, NewCode, NewEntry, Payload, Put, Query, Queue, Report,
    State, StoreError,
};
use crate::clock::Timestamp;
use crate::ident::{ClientName, MessageId, UpstreamName};
use crate::secret::Digest;

/// What became of a code that was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredCode {
    /// It is on stable storage.
    New,
    /// The same request was stored before: its row as it stands now.
    Repeated(Box<Entry>),
    /// The same idempotency key came with another request before; nothing was stored.
    Mismatch,
    /// The counter at this index is at its limit; nothing was stored.
    OverLimit(usize),
}

impl Queue {
    /// Stores a code. When this returns `New`, it is on stable storage. A newer code of the same client, number,
    /// category and host takes the place of an older one that waits.
    ///
    /// Runs to its end even if the caller goes away.
    pub async fn put_code(self: &Arc<Self>, code: NewCode) -> Result<StoredCode, StoreError> {
        self.is_open()?;
        let queue = Arc::clone(self);
        let task = tokio::spawn(async move { queue.put_code_to_end(code).await });
        task.await.unwrap_or_else(|error| Err(StoreError::Failed(format!("the put was cut off: {error}"))))
    }

    async fn put_code_to_end(&self, code: NewCode) -> Result<StoredCode, StoreError> {
        let NewCode { entry, payload, idempotency, counters } = code;
        let slot = if entry.state == State::Queued {
            self.active.reserve(entry.class, payload.weight())
        } else {
            None
        };
        let lease = slot.is_some().then(|| self.clock.now().plus(LEASE));
        let new = NewEntry {
            recipient_key: self.recipient_key(&entry.recipient),
            supersede_key: self.supersede_key(&entry, &payload),
            entry: entry.clone(),
        };
        let put = Put {
            entries: vec![new],
            payload: payload.clone(),
            dedupe: None,
            settling: None,
            counters,
            idempotency,
            lease,
        };
        match self.commit_one(Change::Put(Box::new(put))).await?.result {
            Effect::Repeated(id) => return self.repeated(id).await,
            Effect::Mismatch => return Ok(StoredCode::Mismatch),
            Effect::OverLimit(index) => return Ok(StoredCode::OverLimit(index)),
            // It waits for the attempt of an older one, whose end wakes who claims.
            Effect::Waiting(_) => return Ok(StoredCode::New),
            Effect::Done
            | Effect::Held(_)
            | Effect::Rows(_)
            | Effect::Duplicate(_)
            | Effect::Stale
            | Effect::LostLease
            | Effect::NotFound
            | Effect::NotAllowed(_) => {}
        }
        match (slot, lease) {
            (Some(slot), Some(lease)) => self.hand_on(std::iter::once((entry, slot)), &payload, lease),
            _ => self.wake.notify_one(),
        }
        Ok(StoredCode::New)
    }

    /// The row of a request that came before. It is kept for as long as the request is remembered.
    async fn repeated(&self, id: MessageId) -> Result<StoredCode, StoreError> {
        let found = self.store.find(Query { id: Some(id), limit: 1, ..Query::default() }).await?;
        let row = found.into_iter().next();
        row.map(|row| StoredCode::Repeated(Box::new(row)))
            .ok_or_else(|| StoreError::Failed("a request was forgotten while it was repeated".to_owned()))
    }

    /// Codes with the same key take each other's place. `None` for what is no code.
    fn supersede_key(&self, entry: &Entry, payload: &Payload) -> Option<Digest> {
        let Payload::Sms { host, .. } = payload else { return None };
        let number = entry.recipient.lookup_form();
        let parts = [entry.client.as_str(), &number, entry.category.as_str(), host];
        Some(self.digest("supersede-code", &parts.map(str::as_bytes)))
    }

    /// Notes on stable storage that a claimed text is about to be posted to `upstream`. After a crash it is not posted
    /// again. Anything else than `Done`: it is not this worker's any more and must not be posted.
    pub async fn mark(&self, claimed: &Claimed, upstream: &UpstreamName) -> Result<Effect, StoreError> {
        let (id, lease, upstream) = (claimed.entry.id, claimed.lease, upstream.clone());
        Ok(self.commit_one(Change::Mark { id, lease, upstream }).await?.result)
    }

    /// What a provider says became of a text: `Done` where it moved the text, `Stale` where that was known before or
    /// more is known, `NotFound` where there is no such text or it is not this upstream's to speak of.
    pub async fn report(&self, report: Report) -> Result<Effect, StoreError> {
        Ok(self.commit_one(Change::Report(Box::new(report))).await?.result)
    }

    /// Texts whose provider is due to be asked, the longest due first.
    pub async fn due_reports(&self, limit: usize) -> Result<Vec<Awaited>, StoreError> {
        self.store.due_reports(self.clock.now(), limit).await
    }

    /// When the next provider is due to be asked.
    pub async fn next_report(&self) -> Result<Option<Timestamp>, StoreError> {
        self.store.next_report().await
    }

    /// Waits until a text has come to await its provider's report, since the last time this was told. One caller at a
    /// time.
    pub async fn reports_woken(&self) {
        self.store.reports_woken().await;
    }

    /// The provider had nothing to say: it is asked again at `until`, or not again. A text that does not await a report
    /// any more stays as it is.
    pub async fn postpone_report(&self, id: MessageId, until: Option<Timestamp>) -> Result<(), StoreError> {
        self.commit_one(Change::Postpone { id, until }).await.map(drop)
    }

    /// Notes, once, whether a client's code was used, and counts up `counters` then: `Done`. `Stale` where that was told
    /// before, `NotFound` where it is no code of this client's.
    pub async fn feedback(
        &self,
        id: MessageId,
        client: ClientName,
        used: bool,
        counters: Vec<Counter>,
    ) -> Result<Effect, StoreError> {
        Ok(self.commit_one(Change::Feedback { id, client, used, counters }).await?.result)
    }

    /// A counter of the window that `at` is in, by a keyed digest of `parts`. Windows of one length follow each other
    /// from 1970-01-01 UTC on; windows of different lengths are counted apart.
    pub fn counter(
        &self,
        purpose: &str,
        parts: &[&str],
        at: Timestamp,
        within: Duration,
        limit: u32,
    ) -> Counter {
        let length = i64::try_from(within.as_millis()).unwrap_or(i64::MAX).max(1);
        let start = at.as_millis() - at.as_millis().rem_euclid(length);
        let length_bytes = length.to_be_bytes();
        let mut of: Vec<&[u8]> = vec![&length_bytes];
        of.extend(parts.iter().map(|part| part.as_bytes()));
        Counter {
            key: self.digest(purpose, &of),
            window_start: Timestamp::from_millis(start),
            window_end: Timestamp::from_millis(start.saturating_add(length)),
            amount: 1,
            limit,
        }
    }

    /// How far counters have come, by key and start of the window.
    pub async fn amounts(&self, of: Vec<(Digest, Timestamp)>) -> Result<Vec<u64>, StoreError> {
        self.store.amounts(of).await
    }
}
