//! Categories and what is done with each.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Limit;
use crate::ident::{CategoryName, Class};

/// What is done with the messages of a category.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Hand it over.
    Relay,
    /// Answer `550 5.7.1` and keep nothing but the record.
    Refuse,
    /// Answer `250`, record it, hand nothing over. An operator may release it within its life.
    Suppress,
    /// Answer `250` and keep it for an operator.
    Hold,
}

/// Whose name a message goes out under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SenderPolicy {
    /// The business's own sender, and no-reply where it has none or no upstream for it answers.
    CustomElseNoReply,
    /// Always no-reply.
    NoReply,
}

/// A kind of message and the treatment it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Category {
    /// Its name; also the metrics label.
    pub name: CategoryName,
    /// What is done with it.
    pub action: Action,
    /// Whose name it goes out under.
    pub sender: SenderPolicy,
    /// How long it is of use, counted from acceptance.
    pub life: Duration,
    /// Its lane.
    pub class: Class,
    /// The pauses between attempts; the last one repeats. Never empty.
    pub retry: Vec<Duration>,
    /// The most recipients one message may have.
    pub max_recipients: usize,
    /// How long a message waits before its first attempt, to be seen among others like it; zero: not at all. Only in the
    /// normal lane.
    pub settle: Duration,
    /// Whether a newer message takes the place of an older one to the same person that waits.
    pub supersede: bool,
    /// How many messages a client may send to one recipient. What is beyond is not taken.
    pub per_recipient: Vec<Limit>,
    /// The most messages a minute; what is beyond is delayed. Only in the normal lane.
    pub per_minute: Option<NonZeroU32>,
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// How long an invitation waits to be seen among others like it: nobody sits and waits for one.
const INVITATIONS_SETTLE: Duration = Duration::from_secs(30);

impl Category {
    /// The pauses between attempts where nothing else is configured.
    pub fn default_retry(class: Class) -> Vec<Duration> {
        let seconds: &[u64] = match class {
            Class::Urgent => &[1, 2, 5, 10, 15],
            Class::Normal => &[15, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE],
        };
        seconds.iter().copied().map(Duration::from_secs).collect()
    }

    /// The most recipients one message may have where nothing else is configured.
    pub fn default_max_recipients(class: Class) -> usize {
        match class {
            Class::Urgent => 1,
            Class::Normal => 100,
        }
    }

    /// How many messages a client may send to one recipient where nothing else is configured: a person who asks for a
    /// code again and again asks ten times in ten minutes at most, and whoever asks for more is no person.
    pub fn default_per_recipient(class: Class) -> Vec<Limit> {
        let limit = |most, seconds| Limit { most, within: Duration::from_secs(seconds) };
        match class {
            Class::Urgent => vec![limit(10, 10 * MINUTE), limit(30, 24 * HOUR)],
            Class::Normal => Vec::new(),
        }
    }

    /// A category with the defaults of its lane.
    pub fn new(name: &str, action: Action, sender: SenderPolicy, life: Duration, class: Class) -> Self {
        Self {
            name: CategoryName::new(name),
            action,
            sender,
            life,
            class,
            retry: Self::default_retry(class),
            max_recipients: Self::default_max_recipients(class),
            settle: Duration::ZERO,
            supersede: false,
            per_recipient: Self::default_per_recipient(class),
            per_minute: None,
        }
    }
}

/// The categories every installation has, with their default treatment.
pub fn shipped_categories() -> Vec<Category> {
    use Action::{Refuse, Relay, Suppress};
    use Class::{Normal, Urgent};
    use SenderPolicy::{CustomElseNoReply, NoReply};
    let table = [
        ("signup-verification", Relay, CustomElseNoReply, HOUR, Urgent),
        ("signin", Relay, CustomElseNoReply, 10 * MINUTE, Urgent),
        ("mfa", Relay, CustomElseNoReply, 10 * MINUTE, Urgent),
        ("password-reset", Relay, CustomElseNoReply, HOUR, Urgent),
        ("invitation", Relay, NoReply, 72 * HOUR, Normal),
        ("export-warning", Relay, NoReply, 24 * HOUR, Normal),
        ("invitation-api", Suppress, NoReply, 72 * HOUR, Normal),
        ("invitation-bulk", Suppress, NoReply, 72 * HOUR, Normal),
        ("subscription", Refuse, NoReply, 24 * HOUR, Normal),
        ("admin-activity", Refuse, NoReply, 24 * HOUR, Normal),
        ("security-notice", Refuse, NoReply, 24 * HOUR, Normal),
        ("marketing", Refuse, NoReply, 24 * HOUR, Normal),
        ("unknown", Refuse, NoReply, HOUR, Normal),
    ];
    table
        .into_iter()
        .map(|(name, action, sender, life, class)| {
            let category = Category::new(name, action, sender, Duration::from_secs(life), class);
            match name {
                "signin" | "mfa" => Category { supersede: true, ..category },
                "invitation" => Category { settle: INVITATIONS_SETTLE, ..category },
                _ => category,
            }
        })
        .collect()
}
