//! One endpoint while the daemon runs, and the delivery of one notice to it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::health::Health;
use super::post::{Answer, Blame, Poster};
use super::{Endpoint, body, schedule};
use crate::clock::{Clock, Timestamp};
use crate::ident::EndpointName;
use crate::queue::{Change, Outbox, OutboxChange, StoreError, Waiting};
use crate::secret::Digest;

/// An endpoint, and what is under way to it.
pub(super) struct Lane {
    pub(super) poster: Arc<Poster>,
    pub(super) health: Health,
    /// By their numbers in the outbox.
    pub(super) under_way: HashSet<i64>,
    /// How many dropped notices the log has told of, and when it did.
    pub(super) dropped: Option<(u64, Instant)>,
}

impl Lane {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Self {
        Self {
            poster: Arc::new(Poster::new(endpoint)),
            health: Health::default(),
            under_way: HashSet::new(),
            dropped: None,
        }
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.poster.endpoint
    }

    /// How many more may be sent now.
    pub(super) fn room(&self, now: Instant) -> usize {
        let most = self.health.room(self.endpoint().concurrency, now);
        most.saturating_sub(self.under_way.len())
    }

    /// Takes in how a delivery ended.
    pub(super) fn ended(&mut self, done: &Done, now: Instant) {
        self.under_way.remove(&done.number);
        match done.verdict {
            Verdict::Worked => self.health.worked(),
            Verdict::Failed { asked } => self.health.failed(asked, now, fastrand::f64()),
            Verdict::Neither => {}
        }
    }
}

/// How a delivery ended.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) endpoint: EndpointName,
    pub(super) number: i64,
    pub(super) verdict: Verdict,
    /// What came of the request, for metrics; `None` where none was made.
    pub(super) result: Option<&'static str>,
}

/// What a delivery says of its endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verdict {
    /// It does.
    Worked,
    /// It does not, and wants to be left alone for so long.
    Failed { asked: Option<Duration> },
    /// Nothing.
    Neither,
}

/// How an endpoint is configured, as far as that makes it another one: one that said that it is gone is tried again when this
/// has changed.
pub(super) fn configured(endpoint: &Endpoint) -> Digest {
    let mut text = endpoint.target.url().as_str().as_bytes().to_vec();
    for key in &endpoint.keys {
        text.push(b'\n');
        text.extend_from_slice(key.bytes());
    }
    // Keys have the entropy that a digest without a key of its own wants.
    Digest::sha256(&text)
}

/// Sends one notice, and has it on record what came of it.
pub(super) async fn deliver(
    outbox: Arc<dyn Outbox>,
    poster: Arc<Poster>,
    waiting: Waiting,
    clock: Clock,
) -> Done {
    let (number, name) = (waiting.number, poster.endpoint.name().clone());
    let answer = attempt(&poster, &waiting, clock).await;
    let at = clock.now();
    let result = answer.as_ref().map(|answer| match answer {
        Answer::Taken(_) => "taken",
        Answer::Gone => "gone",
        Answer::Failed { .. } => "failed",
    });
    let (verdict, change) = outcome(&poster, &waiting, answer, at);
    let recorded = outbox.commit(vec![Change::Outbox(Box::new(change))]).await;
    let verdict = match recorded {
        Ok(_) => verdict,
        Err(error) => {
            tracing::error!(target: "authrelay::webhook", endpoint = %name, %error, "what came of a webhook was not recorded");
            // It is told again: its receiver knows it by its id.
            Verdict::Failed { asked: Some(Duration::from_secs(1)) }
        }
    };
    Done { endpoint: name, number, verdict, result }
}

/// What came of the attempt; `None` where there is nothing to tell any more.
async fn attempt(poster: &Poster, waiting: &Waiting, clock: Clock) -> Option<Answer> {
    let notice = waiting.notice.as_ref()?;
    let body = body::body(notice, &poster.endpoint).ok()?;
    // Its receiver compares this with a clock of its own.
    Some(poster.post(notice.id(), clock.wall(), body).await)
}

fn outcome(
    poster: &Poster,
    waiting: &Waiting,
    answer: Option<Answer>,
    at: Timestamp,
) -> (Verdict, OutboxChange) {
    let (number, endpoint) = (waiting.number, poster.endpoint.name().clone());
    match answer {
        None => {
            let error = "its stored data is damaged and can't be opened".to_owned();
            tracing::error!(target: "authrelay::webhook", %endpoint, error, "webhook dropped");
            (Verdict::Neither, OutboxChange::Failed { number, at, error, pause: None })
        }
        Some(Answer::Taken(status)) => {
            tracing::debug!(target: "authrelay::webhook", %endpoint, status, "webhook delivered");
            (Verdict::Worked, OutboxChange::Delivered { number, at })
        }
        Some(Answer::Gone) => {
            tracing::error!(
                target: "authrelay::webhook", %endpoint,
                "the endpoint says that it is gone (HTTP 410): nothing more is sent there until \
                 `authrelay webhook enable`, or until its url or secret changes"
            );
            let configured = configured(&poster.endpoint);
            (
                Verdict::Neither,
                OutboxChange::Disable { endpoint, configured, at, error: "HTTP 410".to_owned() },
            )
        }
        Some(Answer::Failed { error, asked, blame }) => {
            let attempts = waiting.attempts.saturating_add(1);
            let pause = schedule::pause(attempts, asked, fastrand::f64());
            let again_in_s = pause.map(|pause| pause.as_secs());
            tracing::warn!(target: "authrelay::webhook", %endpoint, error, attempts, again_in_s, "webhook not taken");
            let verdict = match blame {
                Blame::Endpoint => Verdict::Failed { asked },
                Blame::Request => Verdict::Neither,
            };
            (verdict, OutboxChange::Failed { number, at, error, pause })
        }
    }
}

/// Lets an endpoint be told again.
pub(super) async fn enable(
    outbox: &dyn Outbox,
    endpoint: &EndpointName,
    at: Timestamp,
) -> Result<(), StoreError> {
    let change = OutboxChange::Enable { endpoint: endpoint.clone(), at };
    outbox.commit(vec![Change::Outbox(Box::new(change))]).await.map(drop)
}
