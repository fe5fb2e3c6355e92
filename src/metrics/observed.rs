//! What passed only because its client is observed: what enforcement would have refused, by client, category and rule,
//! since the process began. What an operator looks at before the observation ends.
//!
//! Invariant: the memory is bounded; what is beyond the bound is only counted.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::event::{Event, Kind};
use crate::ident::{CategoryName, ClientName, MessageId};

/// How the rule of a message ends that only observation let pass.
const MARK: &str = " (observe)";

/// The most different ones.
const MOST: usize = 500;

/// What would have been refused.
#[derive(Debug, Default)]
pub struct Observed(Mutex<HashMap<(ClientName, CategoryName, String), Seen>>);

/// Messages of one kind that would have been refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WouldRefuse {
    /// Who sent them.
    pub client: ClientName,
    /// What they are.
    pub category: CategoryName,
    /// What decided that.
    pub rule: String,
    /// How many there were, one for each recipient.
    pub messages: u64,
    /// When the last one came, in milliseconds since the epoch.
    pub last: i64,
    /// The id of that one.
    pub example: MessageId,
}

#[derive(Debug)]
struct Seen {
    messages: u64,
    last: i64,
    example: MessageId,
}

impl Observed {
    /// Takes notice of an event.
    pub fn count(&self, event: &Event) {
        let about = &event.subject;
        let Some(rule) = about.rule.strip_suffix(MARK).filter(|_| event.kind == Kind::Received) else {
            return;
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (about.client.clone(), about.category.clone(), rule.to_owned());
        let (last, example) = (event.at.as_millis(), about.submission);
        if let Some(seen) = known.get_mut(&key) {
            *seen = Seen { messages: seen.messages + 1, last, example };
        } else if known.len() < MOST {
            known.insert(key, Seen { messages: 1, last, example });
        }
    }

    /// All of them, the most frequent first.
    pub fn list(&self) -> Vec<WouldRefuse> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<WouldRefuse> = known
            .iter()
            .map(|((client, category, rule), seen)| WouldRefuse {
                client: client.clone(),
                category: category.clone(),
                rule: rule.clone(),
                messages: seen.messages,
                last: seen.last,
                example: seen.example,
            })
            .collect();
        all.sort_by(|one, other| {
            let order = |all: &WouldRefuse| (std::cmp::Reverse(all.messages), all.client.clone());
            order(one).cmp(&order(other)).then_with(|| one.category.cmp(&other.category))
        });
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::About;
    use crate::mail::Recipient;

    fn event(kind: Kind, rule: &str) -> Event {
        let id = MessageId::generate();
        let at = Timestamp::from_millis(1_800_000_000_000);
        let about = About {
            message: id,
            submission: id,
            client: ClientName::new("shop"),
            business: None,
            category: CategoryName::new("marketing"),
            rule: rule.to_owned(),
            recipient: Recipient::Forgotten,
            application_id: None,
            report_to: None,
            accepted: at,
        };
        Event::new(kind, at, about)
    }

    #[test]
    fn only_what_observation_let_pass_is_listed() {
        let observed = Observed::default();
        observed.count(&event(Kind::Received, "recognition:signin"));
        observed.count(&event(Kind::Refused, "none"));
        assert_eq!(observed.list(), []);
        for _ in 0..2 {
            observed.count(&event(Kind::Received, "none (observe)"));
            observed.count(&event(Kind::HandedOver, "none (observe)"));
        }
        observed.count(&event(Kind::Received, "rule:news (observe)"));
        let list = observed.list();
        let shown: Vec<_> = list.iter().map(|one| (one.rule.as_str(), one.messages)).collect();
        assert_eq!(shown, [("none", 2), ("rule:news", 1)]);
    }

    #[test]
    fn the_list_is_bounded() {
        let observed = Observed::default();
        for number in 0..MOST + 9 {
            observed.count(&event(Kind::Received, &format!("rule:{number} (observe)")));
        }
        assert_eq!(observed.list().len(), MOST);
    }
}
