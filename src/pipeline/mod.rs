//! The way of a message from the moment its last byte is in to the answer the client gets. Read this file first.
//!
//! ```text
//! Submission ── classify ──> Classified ── allow ──> Classified ── plan ──> Planned ── put ──> on disk ──> "250"
//!                    what is it?       may it go on?       who sends it, how?     stored durably, counted
//! ```
//!
//! Each type is made only by the stage before it, so no stage can be left out. From the disk `deliver` takes it on:
//! claim, render, sign, hand over, settle.
//!
//! A one-time code for a phone says itself what it is, and its text is fixed. What is asked of it is whether it may go
//! to that number, and how many went there before:
//!
//! ```text
//! CodeRequest ── admit ──> allow ──> smooth ──> converts ── put, counted ──> on disk ──> "202"
//!           its category?  whereto?  how fast?  is it used?   how many so far?
//! ```
//!
//! A mail that is for a phone becomes such a request by the one code in it ([`code_in`]), and goes the same way.
//!
//! Invariants: a positive answer is given only after the commit. A negative answer by policy is 5xx and keeps nothing
//! but the record of it; our own fault is 4xx, and the client still has the message. (For a code: 4xx and 503.)

mod aftermath;
mod code;
mod code_mail;
mod counts;
mod foreign;
mod heavy;
mod limits;
mod mail;
mod repeats;

pub use aftermath::CodeFeedback;
pub use code::{CodeObjection, CodeRefused, CodeRequest, LimitMet};
pub use code_mail::{Unfit, about_code_mail, code_in};
pub use mail::Refused;

use std::sync::Arc;

use crate::clock::Clock;
use crate::event::{About, Event, Kind};
use crate::guard;
use crate::guard::limits::{self as limits_guard, Pacer};
use crate::guard::ration::{Ration, Share};
use crate::guard::seen::{Counted, ForeignHosts};
use crate::guard::sms::{self as sms_guard, Smoother};
use crate::outcome::{Reason, ReasonClass, Reply};
use crate::policy::{self, Policy, Submission};
use crate::queue::{Entry, NewCode, Queue, StoredCode};
use crate::rewrite::{self, Planned};
use counts::Counts;
use foreign::Foreign;
use heavy::Heavy;
use repeats::Repeats;

/// What the pipeline decides by: parts of one configuration snapshot.
#[derive(Debug, Clone)]
pub struct Config {
    /// What a message is, and what is done with it.
    pub policy: Arc<Policy>,
    /// Whose name it goes out under.
    pub rewrite: Arc<rewrite::Config>,
    /// Where messages may lead, and what else is asked of them.
    pub mail: Arc<guard::mail::Config>,
    /// Which phones are sent codes, and how many.
    pub sms: Arc<sms_guard::Config>,
    /// How much mail is taken, and how fast it goes on.
    pub limits: limits_guard::Config,
}

/// The pipeline. One per process; the configuration comes with each message.
#[derive(Clone)]
pub struct Pipeline {
    queue: Arc<Queue>,
    clock: Clock,
    smoother: Arc<Smoother>,
    ration: Arc<Ration>,
    repeats: Arc<Repeats>,
    pacer: Arc<Pacer>,
    foreign: Arc<ForeignHosts>,
    heavy: Heavy,
}

impl Pipeline {
    /// A pipeline into a queue.
    pub fn new(queue: Arc<Queue>, clock: Clock) -> Self {
        Self {
            queue,
            clock,
            smoother: Arc::new(Smoother::new()),
            ration: Arc::default(),
            repeats: Arc::default(),
            pacer: Arc::default(),
            foreign: Arc::default(),
            heavy: Heavy::new(),
        }
    }

    /// The foreign hosts that mail led to since the process began.
    pub fn foreign_hosts(&self) -> Vec<Counted> {
        self.foreign.list()
    }

    /// Takes a message, or says why not. The reply is what the client is told.
    pub async fn accept(&self, config: &Config, submission: Submission) -> Reply {
        let octets = submission.message.raw().len();
        let (judged, foreign) = self.heavy.work(octets, || decide(config, submission)).await;
        foreign.note(&self.foreign);
        match judged {
            Ok(planned) => self.keep(config, planned).await,
            Err(refused) => self.refuse(*refused).await,
        }
    }

    /// A refusal is answered once it is on record; if it can't be recorded, the client may come again.
    async fn refuse(&self, refused: Refused) -> Reply {
        let now = self.clock.now();
        let event = |about| Event::new(Kind::Refused, now, about).because(refused.reason.clone());
        match self.queue.record(refused.abouts.into_iter().map(event).collect()).await {
            Ok(()) => refused.reply,
            Err(error) => mail::our_fault(&error),
        }
    }

    /// Takes a code, or says why not. The row is what it has become: that of the first request, where this one repeats
    /// it.
    pub async fn accept_code(&self, config: &Config, request: CodeRequest) -> Result<Entry, CodeRefused> {
        match self.take_code(config, &request).await {
            Ok(entry) => Ok(entry),
            Err(why) => Err(self.refuse_code(request.about(), why).await),
        }
    }

    async fn take_code(&self, config: &Config, request: &CodeRequest) -> Result<Entry, CodeObjection> {
        let (category, life) = code::admit(&config.policy, request)?;
        let (state, tallies) = code::allow(&config.sms, request)?;
        // A request that comes again is answered by the store.
        if !request.idempotency.is_some_and(|known| self.repeats.holds(&known.key)) {
            code::smooth(&self.smoother, &config.sms.smoothing, request, state)?;
            counts::converts(&self.queue, &config.sms, request, state).await?;
        }
        let counts = Counts::new(&self.queue, &config.sms, request, state, tallies);
        self.keep_code(request, request.entry(category, life, state), counts).await
    }

    async fn keep_code(
        &self,
        request: &CodeRequest,
        entry: Entry,
        counts: Counts,
    ) -> Result<Entry, CodeObjection> {
        let idempotency = request.idempotency;
        let counters = counts.counters();
        let new = NewCode { entry: entry.clone(), payload: request.payload(), idempotency, counters };
        let stored = self.queue.put_code(new).await?;
        if let (Some(known), StoredCode::New | StoredCode::Repeated(_)) = (idempotency, &stored) {
            self.repeats.add(known.key);
        }
        match stored {
            StoredCode::New => Ok(entry),
            StoredCode::Repeated(row) => Ok(*row),
            StoredCode::Mismatch => Err(CodeObjection::Mismatch),
            StoredCode::OverLimit(index) => Err(counts.over_limit(index, request.accepted)),
        }
    }

    /// A refusal is answered once it is on record, or counted: a client that asks for thousands a minute does not fill
    /// the disk with them. What the record is `about` gets its rule here.
    pub async fn refuse_code(&self, mut about: About, why: CodeObjection) -> CodeRefused {
        let Some(rule) = why.rule() else {
            if let CodeObjection::Store(error) = &why {
                tracing::error!(%error, "a code could not be stored; its client was told to try again");
            }
            return CodeRefused { why, recorded: None };
        };
        let now = self.clock.now();
        match self.ration.take(&about.client, rule, now) {
            Share::LeftOut => return CodeRefused { why, recorded: None },
            Share::Told { left_out: 0 } => {}
            Share::Told { left_out } => {
                tracing::warn!(client = %about.client, rule, left_out, "refused codes that are not on record");
            }
        }
        let reason = Reason::new(ReasonClass::Policy, why.to_string());
        let id = about.message;
        rule.clone_into(&mut about.rule);
        match self.queue.record(vec![Event::new(Kind::Refused, now, about).because(reason)]).await {
            Ok(()) => CodeRefused { why, recorded: Some(id) },
            Err(error) => {
                tracing::error!(%error, "a refusal could not be recorded; its client was told to try again");
                CodeRefused { why: CodeObjection::Store(error), recorded: None }
            }
        }
    }
}

/// Decides what a message is, whether it goes on, and how it will be written. Pure: nothing is kept and nothing is told
/// yet. `authrelay explain` stops here.
pub fn judge(config: &Config, submission: Submission) -> Result<Planned, Box<Refused>> {
    decide(config, submission).0
}

/// What the guards say to a message's content, whatever is done with its category: their rule, and what a client would
/// be told.
pub fn objection(config: &Config, content: &guard::Content<'_>) -> Option<(&'static str, String)> {
    let why = guard::inspect(&config.mail, &config.policy, content).0?;
    Some((why.guard()?, foreign::told(&why)?))
}

/// Decides on a code as far as nothing has to be counted for that. Pure, and as far as `authrelay explain` goes.
pub fn judge_code(config: &Config, request: &CodeRequest) -> Result<(), CodeObjection> {
    code::admit(&config.policy, request)?;
    code::allow(&config.sms, request)?;
    Ok(())
}

/// As [`judge`], with the foreign hosts that the message leads to.
fn decide(config: &Config, submission: Submission) -> (Result<Planned, Box<Refused>>, Foreign) {
    let classified = policy::classify(&config.policy, submission);
    let asked = guard::allow(&config.mail, &config.policy, classified);
    let foreign = Foreign::of(&asked);
    let judged = match asked.objection {
        Some(why) => Err(Box::new(mail::objection(&asked.classified, &why))),
        None => rewrite::plan(&config.rewrite, asked.classified)
            .map_err(|(classified, why)| Box::new(mail::not_writable(&classified, why))),
    };
    (judged, foreign)
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pipeline")
    }
}
