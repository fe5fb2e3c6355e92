//! The way of a message from the moment its last byte is in to the answer the client gets. Read this file first.
//!
//! ```text
//! Submission ── classify ──> Classified ── allow ──> Classified ── plan ──> Planned ── put ──> on disk ──> "250"
//!                    what is it?       may it go on?       who sends it, how?     stored durably
//! ```
//!
//! Each type is made only by the stage before it, so no stage can be left out. From the disk `deliver` takes it on:
//! claim, render, sign, hand over, settle.
//!
//! Invariants: a positive answer is given only after the commit. A negative answer by policy is 5xx and keeps nothing
//! but the record of it; our own fault is 4xx, and the client still has the message.

use std::sync::Arc;

use crate::clock::Clock;
use crate::event::{About, Event, Kind};
use crate::guard::{self, Objection};
use crate::mail::{Address, Recipient};
use crate::outcome::{Detail, Reason, ReasonClass, Reply};
use crate::policy::{self, Action, Classified, Policy, Submission, Verdict};
use crate::queue::{Queue, StoreError, Stored};
use crate::rewrite::{self, Planned};

/// What the pipeline decides by: parts of one configuration snapshot.
#[derive(Debug, Clone)]
pub struct Config {
    /// What a message is, and what is done with it.
    pub policy: Arc<Policy>,
    /// Whose name it goes out under.
    pub rewrite: Arc<rewrite::Config>,
}

/// The pipeline. One per process; the configuration comes with each message.
#[derive(Debug, Clone)]
pub struct Pipeline {
    queue: Arc<Queue>,
    clock: Clock,
}

impl Pipeline {
    /// A pipeline into a queue.
    pub fn new(queue: Arc<Queue>, clock: Clock) -> Self {
        Self { queue, clock }
    }

    /// Takes a message, or says why not. The reply is what the client is told.
    pub async fn accept(&self, config: &Config, submission: Submission) -> Reply {
        match judge(config, submission) {
            Ok(planned) => self.keep(planned).await,
            Err(refused) => self.refuse(*refused).await,
        }
    }

    async fn keep(&self, planned: Planned) -> Reply {
        let action = planned.verdict().action;
        match self.queue.put(planned).await {
            Ok(stored) => accepted(&stored, action),
            Err(error) => our_fault(&error),
        }
    }

    /// A refusal is answered once it is on record; if it can't be recorded, the client may come again.
    async fn refuse(&self, refused: Refused) -> Reply {
        let now = self.clock.now();
        let event = |about| Event::new(Kind::Refused, now, about).because(refused.reason.clone());
        match self.queue.record(refused.abouts.into_iter().map(event).collect()).await {
            Ok(()) => refused.reply,
            Err(error) => our_fault(&error),
        }
    }
}

/// Decides what a message is, whether it goes on, and how it will be written. Pure: nothing is kept and nothing is told
/// yet. `authrelay explain` stops here.
pub fn judge(config: &Config, submission: Submission) -> Result<Planned, Box<Refused>> {
    let classified = policy::classify(&config.policy, submission);
    let allowed =
        guard::allow(classified).map_err(|(classified, why)| Box::new(objection(&classified, why)))?;
    rewrite::plan(&config.rewrite, allowed)
        .map_err(|(classified, why)| Box::new(not_writable(&classified, why)))
}

/// A message that is not taken: what its client is told, and what is put on record, one event a recipient.
#[derive(Debug)]
pub struct Refused {
    /// What the client is told.
    pub reply: Reply,
    reason: Reason,
    abouts: Vec<About>,
}

impl Refused {
    fn new(classified: &Classified, code: u16, detail: Detail, text: &str) -> Self {
        let (submission, verdict) = (classified.submission(), classified.verdict());
        let rule = verdict.rule.strip_prefix("rule:").unwrap_or(&verdict.rule);
        let reply = Reply::new(code, detail, format!("{text} (rule {rule}, id {})", submission.id));
        let reason = Reason { code: Some(code), ..Reason::new(ReasonClass::Policy, text) };
        Self { reply, reason, abouts: abouts(submission, verdict) }
    }
}

fn objection(classified: &Classified, why: Objection) -> Refused {
    let verdict = classified.verdict();
    let category = &verdict.category.name;
    let (code, detail, text) = match (why, verdict.overridden_by) {
        (Objection::Category, None) => (550, Detail(7, 1), format!("category {category} is not relayed")),
        (Objection::Category, Some(by)) => {
            (550, Detail(7, 1), format!("category {category} is not relayed for this client ({by})"))
        }
        (Objection::Recipients { most }, _) => {
            (550, Detail(5, 3), format!("a message of category {category} may have {most} recipient(s)"))
        }
    };
    Refused::new(classified, code, detail, &text)
}

fn not_writable(classified: &Classified, why: rewrite::PlanError) -> Refused {
    let (code, detail) = why.status();
    Refused::new(classified, code, detail, &why.to_string())
}

fn abouts(submission: &Submission, verdict: &Verdict) -> Vec<About> {
    let about = |address: &Address| About {
        message: submission.id,
        submission: submission.id,
        client: submission.client.clone(),
        business: verdict.business.clone(),
        category: verdict.category.name.clone(),
        rule: verdict.recorded_rule(),
        recipient: Recipient::Mail(address.clone()),
        application_id: submission.application_id(),
        report_to: verdict.report_to.clone(),
        accepted: submission.accepted,
    };
    submission.envelope.recipients.iter().map(about).collect()
}

fn accepted(stored: &Stored, action: Action) -> Reply {
    let text = match (stored, action) {
        (Stored::New(id), Action::Relay) => format!("Ok: queued as {id}"),
        (Stored::New(id), Action::Hold | Action::Suppress | Action::Refuse) => {
            format!("Ok: accepted as {id}")
        }
        (Stored::Duplicate(id), _) => format!("Ok: already queued as {id}"),
        (Stored::OverLimit, _) => {
            return Reply::new(451, Detail(7, 1), "a limit is reached, try again later");
        }
    };
    Reply::new(250, Detail(0, 0), text)
}

fn our_fault(error: &StoreError) -> Reply {
    tracing::error!(%error, "a message could not be stored; its client was told to try again");
    match error {
        StoreError::Full => {
            Reply::new(452, Detail(3, 1), "no space left to store the message, try again later")
        }
        StoreError::Failed(_)
        | StoreError::NewerSchema { .. }
        | StoreError::Unreadable(_)
        | StoreError::Closed => Reply::local_error("the message could not be stored, try again later"),
    }
}
