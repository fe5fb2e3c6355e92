//! The plan: what was decided at acceptance, kept with the message until it is handed over.
//!
//! A message that has a plan can be rewritten: what would make `render` fail by the message's own fault is refused
//! here.

use serde::{Deserialize, Serialize};

use super::Config;
use super::received::{is_loop, received};
use super::render::{RenderError, write_header};
use crate::ident::{BusinessName, CategoryName};
use crate::mail::ReversePath;
use crate::outcome::Detail;
use crate::policy::{Classified, SenderPolicy, Submission, Text, Verdict};

/// How a message is to be written when it is handed over. Holds nothing that changes between attempts, so every attempt
/// carries the same Message-ID and Date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its category.
    pub category: CategoryName,
    /// On whose behalf.
    pub business: Option<BusinessName>,
    /// Whose name it may go out under.
    pub sender: SenderPolicy,
    /// The envelope sender as the client gave it; only whether it is null matters later.
    pub reverse_path: ReversePath,
    /// The Received field to put on top: its value, folded, without the name, the space behind it and the last line end.
    pub received: String,
    /// The Date to add, where the message has none.
    pub date: Option<String>,
    /// The Message-ID to add, where the message has none: with its angle brackets.
    pub message_id: Option<String>,
    /// Whether Auto-Submitted is to be added.
    pub auto_submitted: bool,
}

/// A submission, its verdict and its plan. Made by `plan` alone.
#[derive(Debug)]
pub struct Planned {
    submission: Submission,
    verdict: Verdict,
    plan: Plan,
    /// The message's text, where it was decoded before.
    text: Option<Text>,
}

impl Planned {
    /// All of it, for the queue.
    pub fn into_parts(self) -> (Submission, Verdict, Plan, Option<Text>) {
        (self.submission, self.verdict, self.plan, self.text)
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The submission.
    pub fn submission(&self) -> &Submission {
        &self.submission
    }

    /// The verdict.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }
}

/// Why a message is not planned. The texts are the message's own fault and safe to repeat to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// It can't be written for another sender: `550 5.6.0`, or `451 4.3.0` where the fault is ours.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// It goes round in circles: `554 5.4.6` (RFC 5321 section 6.3).
    #[error("the message goes round in circles: too many Received fields, or it was here before")]
    Loop,
    /// No configured sender may carry it: our own fault, `451 4.3.0`.
    #[error("there is no sender for this message")]
    NoSender,
}

impl PlanError {
    /// The reply code, and its detail.
    pub fn status(&self) -> (u16, Detail) {
        match self {
            Self::Render(RenderError::Sign(_)) | Self::NoSender => (451, Detail(3, 0)),
            Self::Render(RenderError::TwoFrom | RenderError::NoField { .. } | RenderError::BareLineEnd) => {
                (550, Detail(6, 0))
            }
            Self::Loop => (554, Detail(4, 6)),
        }
    }
}

/// Plans a classified message, and proves that it can be rewritten. One that can't be comes back, so that its refusal
/// can be put on record.
#[expect(
    clippy::result_large_err,
    reason = "a refusal carries the submission back; it is rare and short-lived"
)]
pub fn plan(config: &Config, classified: Classified) -> Result<Planned, (Classified, PlanError)> {
    match plan_for(config, classified.submission(), classified.verdict()) {
        Ok(plan) => {
            let (submission, verdict, text) = classified.into_parts();
            Ok(Planned { submission, verdict, plan, text })
        }
        Err(error) => Err((classified, error)),
    }
}

/// What [`plan`] decides, with the submission left where it is.
pub fn plan_for(config: &Config, submission: &Submission, verdict: &Verdict) -> Result<Plan, PlanError> {
    let message = &submission.message;
    let lacks = |name: &str| message.values(name).next().is_none();
    let plan = Plan {
        category: verdict.category.name.clone(),
        business: verdict.business.clone(),
        sender: sender_policy(verdict),
        reverse_path: submission.envelope.reverse_path.clone(),
        received: received(config, submission),
        date: lacks("Date").then(|| submission.accepted.to_rfc5322()),
        message_id: lacks("Message-ID").then(|| format!("<{}@{}>", submission.id, config.hostname)),
        auto_submitted: lacks("Auto-Submitted"),
    };
    let senders = config.senders_for(&plan);
    let sender = senders.first().ok_or(PlanError::NoSender)?;
    write_header(message, &plan, sender, config)?;
    if is_loop(config, message) {
        return Err(PlanError::Loop);
    }
    Ok(plan)
}

/// Whose name it goes out under: what is only observed never borrows a business's.
fn sender_policy(verdict: &Verdict) -> SenderPolicy {
    if verdict.overridden_by == Some("observe") { SenderPolicy::NoReply } else { verdict.category.sender }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::ident::Class;
    use crate::policy::{Action, Category, DecidedBy};
    use crate::rewrite::testing;

    fn verdict(sender: SenderPolicy, overridden_by: Option<&'static str>) -> Verdict {
        let life = Duration::from_mins(10);
        Verdict {
            category: Arc::new(Category::new("signin", Action::Relay, sender, life, Class::Urgent)),
            action: Action::Relay,
            decided_by: DecidedBy::Recognition,
            rule: "recognition:signin".to_owned(),
            overridden_by,
            report_to: None,
            business: Some("acme".into()),
            evidence: Vec::new(),
        }
    }

    fn planned(raw: &[u8]) -> Result<Plan, PlanError> {
        let verdict = verdict(SenderPolicy::CustomElseNoReply, None);
        plan_for(&testing::config(), &testing::submission(raw), &verdict)
    }

    #[test]
    fn what_the_message_lacks_is_planned_once() {
        let plan = planned(b"Subject: x\r\n\r\n").unwrap();
        assert_eq!(plan.date.as_deref(), Some("Mon, 23 Nov 2026 13:26:00 +0000"));
        assert!(plan.message_id.unwrap().ends_with("@relay.example>"));
        assert!(plan.auto_submitted);
        let plan = planned(b"date:x\r\nMessage-id : <1@a>\r\nAuto-Submitted: no\r\n\r\n").unwrap();
        assert_eq!((plan.date, plan.message_id, plan.auto_submitted), (None, None, false));
    }

    #[test]
    fn what_is_only_observed_goes_out_as_no_reply() {
        let config = testing::config();
        let submission = testing::submission(b"Subject: x\r\n\r\n");
        let first = |verdict: &Verdict| {
            let plan = plan_for(&config, &submission, verdict).unwrap();
            config.senders_for(&plan)[0].name.to_string()
        };
        assert_eq!(first(&verdict(SenderPolicy::CustomElseNoReply, None)), "acme");
        assert_eq!(first(&verdict(SenderPolicy::CustomElseNoReply, Some("observe"))), "no-reply");
        assert_eq!(first(&verdict(SenderPolicy::NoReply, None)), "no-reply");
    }

    #[test]
    fn refusals_carry_the_codes_they_are_known_by() {
        let refused = |raw: &[u8]| {
            let error = planned(raw).unwrap_err();
            (error.status(), error.to_string())
        };
        let two = refused(b"From: a\r\nFrom: b\r\n\r\n");
        assert_eq!(two, ((550, Detail(6, 0)), "there is more than one From field".to_owned()));
        let (code, text) = refused(b"To: a\r\nodd line\r\n\r\n");
        assert_eq!(code, (550, Detail(6, 0)));
        assert!(text.starts_with("line 2 of the header"), "{text}");
        assert_eq!(refused(b"To: a\r\n\r\nbare\n").0, (550, Detail(6, 0)));
        assert_eq!(refused("Received: x\r\n".repeat(101).as_bytes()).0, (554, Detail(4, 6)));
        let mut config = testing::config();
        config.senders.clear();
        let submission = testing::submission(b"Subject: x\r\n\r\n");
        let error = plan_for(&config, &submission, &verdict(SenderPolicy::NoReply, None)).unwrap_err();
        assert_eq!(error.status(), (451, Detail(3, 0)));
    }
}
