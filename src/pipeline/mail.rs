//! What the client of a mail is told: that it was taken, why it was not, or that the fault is ours.

use crate::event::About;
use crate::guard::Objection;
use crate::mail::{Address, Recipient};
use crate::outcome::{Detail, Reason, ReasonClass, Reply};
use crate::policy::{Action, Classified, Submission, Verdict};
use crate::queue::{StoreError, Stored};
use crate::rewrite;

/// A message that is not taken: what its client is told, and what is put on record, one event a recipient.
#[derive(Debug)]
pub struct Refused {
    /// What the client is told.
    pub reply: Reply,
    pub(super) reason: Reason,
    pub(super) abouts: Vec<About>,
}

impl Refused {
    fn new(classified: &Classified, code: u16, detail: Detail, text: &str) -> Self {
        let (submission, verdict) = (classified.submission(), classified.verdict());
        let rule = verdict.rule.strip_prefix("rule:").unwrap_or(&verdict.rule);
        Self::by(classified, (code, detail), text, rule, abouts(submission, verdict))
    }

    /// A refusal by a guard: its name stands where the rule would.
    fn by_guard(classified: &Classified, guard: &str, text: &str) -> Self {
        let mut abouts = abouts(classified.submission(), classified.verdict());
        for about in &mut abouts {
            guard.clone_into(&mut about.rule);
        }
        Self::by(classified, (550, Detail(7, 1)), text, guard, abouts)
    }

    fn by(
        classified: &Classified,
        (code, detail): (u16, Detail),
        text: &str,
        rule: &str,
        abouts: Vec<About>,
    ) -> Self {
        let submission = classified.submission();
        let reply = Reply::new(code, detail, format!("{text} (rule {rule}, id {})", submission.id));
        let reason = Reason { code: Some(code), ..Reason::new(ReasonClass::Policy, text) };
        Self { reply, reason, abouts }
    }
}

pub(super) fn objection(classified: &Classified, why: &Objection) -> Refused {
    if let (Some(guard), Some(text)) = (why.guard(), super::foreign::told(why)) {
        return Refused::by_guard(classified, guard, &text);
    }
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
        // These have a guard, and were told above.
        (Objection::Link(_) | Objection::Name(_) | Objection::Attachment(_) | Objection::Unread, _) => {
            (550, Detail(7, 1), "the message is not relayed".to_owned())
        }
    };
    Refused::new(classified, code, detail, &text)
}

pub(super) fn not_writable(classified: &Classified, why: rewrite::PlanError) -> Refused {
    let (code, detail) = why.status();
    Refused::new(classified, code, detail, &why.to_string())
}

pub(super) fn abouts(submission: &Submission, verdict: &Verdict) -> Vec<About> {
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

pub(super) fn accepted(stored: &Stored, action: Action) -> Reply {
    let text = match (stored, action) {
        (Stored::New(id), Action::Relay) => format!("Ok: queued as {id}"),
        (Stored::Held(id), _) | (Stored::New(id), Action::Hold | Action::Suppress | Action::Refuse) => {
            format!("Ok: accepted as {id}")
        }
        (Stored::Duplicate(id), _) => format!("Ok: already queued as {id}"),
        (Stored::OverLimit(_) | Stored::Full, _) => {
            return Reply::local_error("a limit is reached, try again later");
        }
    };
    Reply::new(250, Detail(0, 0), text)
}

pub(super) fn our_fault(error: &StoreError) -> Reply {
    tracing::error!(%error, "a message could not be stored; its client was told to try again");
    match error {
        StoreError::Full => {
            Reply::new(452, Detail(3, 1), "no space left to store the message, try again later")
        }
        StoreError::Failed(_)
        | StoreError::NewerSchema { .. }
        | StoreError::Damaged(_)
        | StoreError::Unreadable(_)
        | StoreError::Closed => Reply::local_error("the message could not be stored, try again later"),
    }
}
