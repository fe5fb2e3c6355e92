//! Between the callback endpoint and the queue: what the provider says became of a text. By then its signature was
//! checked; what it may still move is decided by the queue, which goes forward only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use super::seldom::Seldom;
use crate::callback::{Caller, Handler, Report, Verdict};
use crate::clock::Clock;
use crate::deliver::{self, UpstreamConfig, UpstreamKind};
use crate::ident::UpstreamName;
use crate::queue::{self, Effect, News, Queue};
use crate::snapshot::Current;

/// Takes the provider's reports.
pub struct Reports {
    current: Current,
    queue: Arc<Queue>,
    clock: Clock,
    counts: Counts,
}

/// How many calls there were since the process began, by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReportCounts {
    /// They moved a text forward, or told what was known.
    pub applied: u64,
    /// They changed nothing: older news, or told before.
    pub stale: u64,
    /// They were about no text of the upstream's.
    pub unknown: u64,
    /// Their signature was missing or wrong.
    pub forged: u64,
}

#[derive(Debug, Default)]
struct Counts {
    applied: AtomicU64,
    stale: AtomicU64,
    unknown: AtomicU64,
    forged: Seldom,
}

impl Reports {
    /// A reception in front of `queue`.
    pub fn new(current: Current, queue: Arc<Queue>, clock: Clock) -> Self {
        Self { current, queue, clock, counts: Counts::default() }
    }

    /// The counts so far.
    pub fn counts(&self) -> ReportCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { applied, stale, unknown, forged } = &self.counts;
        ReportCounts {
            applied: read(applied),
            stale: read(stale),
            unknown: read(unknown),
            forged: forged.count(),
        }
    }

    /// What the queue makes of a report: of whichever of those who may say so the text is.
    async fn pass_on(&self, report: &Report) -> Verdict {
        let Some(news) = deliver::news(&report.status, report.error_code) else { return Verdict::Stale };
        let mut verdict = Verdict::Unknown;
        for upstream in &report.upstreams {
            verdict = self.pass_on_as(upstream, report, news.clone()).await;
            if verdict != Verdict::Unknown {
                break;
            }
        }
        verdict
    }

    async fn pass_on_as(&self, upstream: &UpstreamName, report: &Report, news: News) -> Verdict {
        let passed = self.queue.report(queue::Report {
            id: report.id,
            upstream: upstream.clone(),
            attempt: report.attempt,
            reference: report.sid.clone(),
            news,
            at: self.clock.now(),
        });
        match passed.await {
            Ok(Effect::Done) => Verdict::Applied,
            Ok(Effect::NotFound) => Verdict::Unknown,
            Ok(
                Effect::Stale
                | Effect::LostLease
                | Effect::NotAllowed(_)
                | Effect::Waiting(_)
                | Effect::Rows(_)
                | Effect::Duplicate(_)
                | Effect::OverLimit(_)
                | Effect::Repeated(_)
                | Effect::Held(_)
                | Effect::Mismatch,
            ) => Verdict::Stale,
            Err(error) => {
                tracing::error!(%error, id = %report.id, "a provider's report could not be stored; it may call again");
                Verdict::Unavailable
            }
        }
    }
}

#[async_trait]
impl Handler for Reports {
    fn callers(&self) -> Vec<Caller> {
        self.current.get().config.deliver.upstreams.iter().filter_map(caller).collect()
    }

    async fn report(&self, report: Report) -> Verdict {
        let verdict = self.pass_on(&report).await;
        let counts = &self.counts;
        match verdict {
            Verdict::Applied => counts.applied.fetch_add(1, Ordering::Relaxed),
            Verdict::Stale => counts.stale.fetch_add(1, Ordering::Relaxed),
            Verdict::Unknown => counts.unknown.fetch_add(1, Ordering::Relaxed),
            Verdict::Unavailable => 0,
        };
        let Report { upstreams, id, attempt, status, error_code, .. } = &report;
        tracing::debug!(?upstreams, %id, attempt, status, error_code, ?verdict, "report");
        verdict
    }

    fn forged(&self) {
        if let Some(forged) = self.counts.forged.one_more() {
            tracing::warn!(
                forged,
                "status callbacks were not believed: their signature is missing or wrong; if they are the provider's, \
                 compare public_url and auth_token with what it has"
            );
        }
    }
}

/// An upstream that may call: one that was told where.
fn caller(upstream: &UpstreamConfig) -> Option<Caller> {
    match &upstream.kind {
        UpstreamKind::Twilio(twilio) => Some(Caller {
            upstream: upstream.name.clone(),
            public_url: twilio.public_url.clone()?,
            auth_token: twilio.auth_token.clone()?,
        }),
        UpstreamKind::Maildir { .. } | UpstreamKind::Smtp(_) | UpstreamKind::Outbox { .. } => None,
    }
}
