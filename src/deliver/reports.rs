//! Asks Twilio what became of texts, where it does not tell by itself: without a `public_url`, after an answer that was
//! lost, and once where no callback came. Each text is asked for a bounded number of times, and the breaker is neither asked nor told.
//!
//! Trusts nothing it reads: what a text became is decided by the queue, which only moves forward.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::desk::Desk;
use super::parcel::Text;
use super::twilio::{self, AskError, Found, Twilio};
use crate::clock::Timestamp;
use crate::mail::Recipient;
use crate::queue::{Awaited, Effect, Entry, News, Payload, Query, Report, StoreError};

/// The pauses after each time that Twilio was asked; the queue sets the first one, of 5 s. Then it is not asked again.
const PAUSES: [Duration; 3] = [Duration::from_secs(15), Duration::from_mins(1), Duration::from_mins(4)];

/// When it is asked once, where it should have told by itself.
const CALLBACK_LOST: Duration = Duration::from_mins(4);

/// How many are taken up at once,
const TAKEN: usize = 50;

/// and how many of them are asked for at the same time.
const AT_ONCE: usize = 4;

/// It looks this often even if nobody told it anything.
const SAFETY_NET: Duration = Duration::from_mins(1);

/// The pause before the store is asked again after it failed.
const PAUSE: Duration = Duration::from_secs(1);

/// How many texts to one number are looked at for ids that are known.
const KNOWN: usize = 200;

/// Runs until `shutdown`.
pub(super) async fn run(desk: Arc<Desk>, shutdown: CancellationToken) {
    loop {
        let wait = tokio::select! {
            () = shutdown.cancelled() => return,
            wait = look(&desk) => wait,
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = desk.queue.reports_woken() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Asks for all that are due, and says how long none is.
async fn look(desk: &Arc<Desk>) -> Duration {
    let looked = async {
        let due = |next: Option<Timestamp>| next.is_some_and(|at| at <= desk.clock.now());
        let mut next = desk.queue.next_report().await?;
        let mut done = true;
        while done && due(next) {
            // The upstreams of the configuration of the moment.
            desk.registry.snapshot();
            done = ask_for_all(desk, desk.queue.due_reports(TAKEN).await?).await;
            next = desk.queue.next_report().await?;
        }
        let wait = next.map_or(SAFETY_NET, |at| desk.clock.now().until(at).min(SAFETY_NET));
        Ok::<_, StoreError>(if done { wait } else { wait.max(PAUSE) })
    };
    looked.await.unwrap_or_else(|error| {
        tracing::error!(target: "authrelay::deliver", %error, "what became of texts can't be looked up");
        PAUSE
    })
}

/// Whether each of them was told of, or put off: one that was not would be due again at once.
async fn ask_for_all(desk: &Arc<Desk>, due: Vec<Awaited>) -> bool {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let some = !due.is_empty();
    let mut tasks = JoinSet::new();
    for awaited in due {
        let (desk, turns) = (Arc::clone(desk), Arc::clone(&turns));
        tasks.spawn(async move {
            let _turn = turns.acquire_owned().await;
            ask_for(&desk, &awaited).await
        });
    }
    let mut all = some;
    while let Some(done) = tasks.join_next().await {
        let failure = match done {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(defect) => defect.to_string(),
        };
        tracing::error!(target: "authrelay::deliver", error = failure, "what became of a text was not recorded");
        all = false;
    }
    all
}

async fn ask_for(desk: &Desk, awaited: &Awaited) -> Result<(), StoreError> {
    let entry = &awaited.entry;
    let upstream = entry.upstream.as_ref().and_then(|name| desk.registry.upstream(name));
    let twilio = upstream.as_ref().and_then(|upstream| upstream.twilio());
    let tells_by_itself = twilio.is_some_and(|twilio| twilio.calls_back() && entry.reference.is_some());
    if tells_by_itself && awaited.polls == 0 {
        let later = desk.clock.now().plus(CALLBACK_LOST);
        return desk.queue.postpone_report(entry.id, Some(later)).await;
    }
    let found = match twilio {
        Some(twilio) => found_at(desk, twilio, awaited).await?,
        // Its upstream is not there at the moment.
        None => None,
    };
    if let (Some(found), Some(upstream)) = (found, entry.upstream.clone()) {
        let ended = !matches!(found.news, News::Underway);
        if ended || entry.reference.is_none() {
            let report = Report {
                id: entry.id,
                upstream,
                attempt: entry.attempts,
                reference: found.reference,
                news: found.news,
                at: desk.clock.now(),
            };
            let effect = desk.queue.report(report).await?;
            if ended && effect == Effect::Done {
                return Ok(());
            }
        }
    }
    let pauses: &[Duration] = if tells_by_itself { &[] } else { &PAUSES };
    let pause = usize::try_from(awaited.polls).ok().and_then(|polls| pauses.get(polls));
    desk.queue.postpone_report(entry.id, pause.map(|pause| desk.clock.now().plus(*pause))).await
}

/// What Twilio knows of it. That it could not be asked counts like no news.
async fn found_at(desk: &Desk, twilio: &Twilio, awaited: &Awaited) -> Result<Option<Found>, StoreError> {
    let entry = &awaited.entry;
    let asked = match &entry.reference {
        Some(reference) => twilio.fetch(reference).await,
        None => match sought(awaited) {
            Some(text) => look_for(desk, twilio, entry, text).await?,
            None => Ok(None),
        },
    };
    Ok(asked.unwrap_or_else(|error| {
        tracing::warn!(
            target: "authrelay::deliver",
            id = %entry.id,
            upstream = entry.upstream.as_ref().map(crate::ident::UpstreamName::as_str),
            %error,
            "what became of a text was not to be learned"
        );
        None
    }))
}

async fn look_for(
    desk: &Desk,
    twilio: &Twilio,
    entry: &Entry,
    text: Text<'_>,
) -> Result<Result<Option<Found>, AskError>, StoreError> {
    let Ok(body) = twilio::write(text) else { return Ok(Ok(None)) };
    let recipient_key = Some(desk.queue.recipient_key(&entry.recipient));
    let others = desk.queue.find(Query { recipient_key, limit: KNOWN, ..Query::default() }).await?;
    let known: Vec<String> = others.into_iter().filter_map(|other| other.reference).collect();
    Ok(twilio.look_for(text, &body, entry.accepted, &known).await)
}

fn sought(awaited: &Awaited) -> Option<Text<'_>> {
    let entry = &awaited.entry;
    match (&awaited.payload, &entry.recipient) {
        (Payload::Sms { code, host, factor: _, origin_bound }, Recipient::Phone(to)) => Some(Text {
            id: entry.id,
            attempt: entry.attempts,
            to,
            code,
            host,
            origin_bound: *origin_bound,
            expires: entry.expires,
        }),
        (Payload::Sms { .. } | Payload::Mail { .. }, _) => None,
    }
}
