//! The verdict on a message, with everything that led to it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{Action, Category, SenderPolicy};
use crate::ident::{BusinessName, Class};
use crate::mail::Address;

/// How long a message is of use that only `observe` lets through.
const OBSERVED_LIFE: Duration = Duration::from_hours(1);

/// Why a verdict's action is not its category's own: the client's list of categories.
pub(super) const CLIENT_LIST: &str = "client-list";
/// Why a verdict's action is not its category's own: the client is only observed.
pub(super) const OBSERVE: &str = "observe";

/// Which step decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecidedBy {
    /// The client is bound to one category.
    Binding,
    /// The message declared it, and the client may.
    Declared,
    /// A rule of the operator.
    Rule,
    /// The shipped recognition.
    Recognition,
    /// Nothing did: unknown.
    Nothing,
}

/// One thing recognition or a rule saw, for `explain`. May hold words of the message: never logged.
#[derive(Clone, PartialEq, Serialize)]
pub struct Evidence {
    /// Which piece of evidence, such as `en.password-reset.subject`.
    pub name: String,
    /// For which category it speaks.
    pub category: String,
    /// Where it was found: `subject`, `button`, `first`, `code`, `text`, `header`, `structure`, `policy`.
    pub place: String,
    /// The words that matched.
    pub matched: String,
    /// What it weighs; negative speaks against.
    pub weight: f64,
}

/// Shows nothing of the message.
impl std::fmt::Debug for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}, {:+.1} {})", self.name, self.place, self.weight, self.category)
    }
}

/// What a message is and what is done with it.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The category.
    pub category: Arc<Category>,
    /// What is done: the category's action, or what the client's list or `observe` made of it.
    pub action: Action,
    /// Which step decided on the category.
    pub decided_by: DecidedBy,
    /// The name of what decided, for the client's log: `client-binding`, `declared`, `rule:NAME`,
    /// `recognition:NAME`, `none`.
    pub rule: String,
    /// Why the action is not the category's own: `client-list` or `observe`.
    pub overridden_by: Option<&'static str>,
    /// On whose behalf it is sent.
    pub business: Option<BusinessName>,
    /// Who gets a report if it fails: its envelope sender, where the client may have that.
    pub report_to: Option<Address>,
    /// What was seen, strongest first.
    pub evidence: Vec<Evidence>,
}

impl Verdict {
    /// Whether the message is relayed only because its client is observed. Such a message goes out as no-reply, in the
    /// normal lane, and for an hour, whatever its category says; the methods below have that in them.
    pub fn is_observed(&self) -> bool {
        self.overridden_by == Some(OBSERVE)
    }

    /// What goes on record as the rule: what decided, and whether only `observe` let the message pass.
    pub fn recorded_rule(&self) -> String {
        if self.is_observed() { format!("{} ({OBSERVE})", self.rule) } else { self.rule.clone() }
    }

    /// Whose name it goes out under.
    pub fn sender_policy(&self) -> SenderPolicy {
        if self.is_observed() { SenderPolicy::NoReply } else { self.category.sender }
    }

    /// Its lane.
    pub fn class(&self) -> Class {
        if self.is_observed() { Class::Normal } else { self.category.class }
    }

    /// How long it is of use, counted from acceptance.
    pub fn life(&self) -> Duration {
        if self.is_observed() { OBSERVED_LIFE } else { self.category.life }
    }

    /// The pauses between attempts; the last one repeats. Never empty.
    pub fn retry(&self) -> Cow<'_, [Duration]> {
        if self.is_observed() {
            Cow::Owned(Category::default_retry(Class::Normal))
        } else {
            Cow::Borrowed(&self.category.retry)
        }
    }

    /// How long it waits before its first attempt. Urgent mail never does.
    pub fn settle(&self) -> Duration {
        if self.is_observed() || self.class() == Class::Urgent {
            Duration::ZERO
        } else {
            self.category.settle
        }
    }

    /// Whether it takes the place of an older one to the same person that waits.
    pub fn supersedes(&self) -> bool {
        self.category.supersede && !self.is_observed()
    }

    /// The most recipients it may have.
    pub fn max_recipients(&self) -> usize {
        if self.is_observed() {
            Category::default_max_recipients(Class::Normal)
        } else {
            self.category.max_recipients
        }
    }
}
