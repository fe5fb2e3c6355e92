//! How much mail is taken, and how fast it goes on. Pure but for the [`Pacer`], which remembers when the next message may
//! go; time comes in from outside.
//!
//! Urgent mail is counted by recipient and never delayed. Normal mail is delayed and never counted; it is turned away only
//! where it could not go within its life. Memory is bounded by the clients and categories that have a pace.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::ident::{CategoryName, Class, ClientName};
use crate::policy::{Action, Client, Limit, Verdict};

/// What holds for all mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Within this time the same bytes from the same client to the same recipients are one message; zero: never.
    pub dedupe: Duration,
    /// How many messages of the normal lane may wait.
    pub backlog: u64,
}

/// An application that did not hear our answer sends again at once, or after some seconds. A hundred thousand messages are
/// hours of work for most providers.
impl Default for Config {
    fn default() -> Self {
        Self { dedupe: Duration::from_secs(30), backlog: 100_000 }
    }
}

/// The limits that a message counts against for each of its recipients. Only what is sent is counted.
pub fn per_recipient(verdict: &Verdict) -> &[Limit] {
    match verdict.action {
        Action::Relay if !verdict.is_observed() => &verdict.category.per_recipient,
        Action::Relay | Action::Hold | Action::Suppress | Action::Refuse => &[],
    }
}

/// When each recipient's message may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slots {
    /// One a recipient, in their order.
    pub times: Vec<Timestamp>,
    /// Whose pace it is, for `trace`.
    pub why: String,
}

/// The message would have to wait for longer than it is of use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooSlow {
    /// Whose pace it is.
    pub why: String,
}

/// Spaces out normal mail: the slots of a client and of a category follow each other evenly.
#[derive(Debug, Default)]
pub struct Pacer(Mutex<HashMap<Paced, Timestamp>>);

/// What has a pace of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Paced {
    Client(ClientName),
    Category(CategoryName),
}

impl Pacer {
    /// Takes a slot for each of `recipients`; `None` where all may go at once. Nothing is taken where the last slot would
    /// come after the message's life.
    pub fn take(
        &self,
        client: &Client,
        verdict: &Verdict,
        now: Timestamp,
        recipients: usize,
    ) -> Result<Option<Slots>, TooSlow> {
        if verdict.class() == Class::Urgent || verdict.action != Action::Relay {
            return Ok(None);
        }
        let of_client = client.per_minute.map(|pace| (Paced::Client(client.name.clone()), pace));
        let category = &verdict.category;
        let of_category = category.per_minute.map(|pace| (Paced::Category(category.name.clone()), pace));
        let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last: Option<(Timestamp, String)> = None;
        let mut times = vec![now; recipients];
        let mut taken = Vec::new();
        for (paced, pace) in of_client.into_iter().chain(of_category) {
            let pause = Duration::from_mins(1) / pace.get();
            let begin = next.get(&paced).map_or(now, |next| (*next).max(now));
            let mut at = begin;
            for time in &mut times {
                *time = (*time).max(at);
                at = at.plus(pause);
            }
            let end = times.last().copied().unwrap_or(now);
            if last.as_ref().is_none_or(|(before, _)| *before < end) {
                last = Some((end, paced.why(pace)));
            }
            taken.push((paced, at));
        }
        let Some((end, why)) = last else { return Ok(None) };
        if end >= now.plus(verdict.life()) {
            return Err(TooSlow { why });
        }
        next.extend(taken);
        Ok((end > now).then_some(Slots { times, why }))
    }
}

impl Paced {
    fn why(&self, pace: NonZeroU32) -> String {
        match self {
            Self::Client(name) => format!("client {name} sends at most {pace} a minute"),
            Self::Category(name) => format!("at most {pace} of category {name} are sent a minute"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::policy::{Category, DecidedBy, SenderPolicy};

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn after(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    fn client(name: &str, per_minute: u32) -> Client {
        Client {
            name: name.into(),
            businesses: Vec::new(),
            categories: None,
            bound_to: None,
            may_declare: false,
            reports_to: Vec::new(),
            observe_until: None,
            burst: None,
            per_minute: NonZeroU32::new(per_minute),
        }
    }

    fn verdict(name: &str, class: Class, per_minute: u32) -> Verdict {
        let life = Duration::from_mins(10);
        let category = Category::new(name, Action::Relay, SenderPolicy::NoReply, life, class);
        Verdict {
            category: Arc::new(Category { per_minute: NonZeroU32::new(per_minute), ..category }),
            action: Action::Relay,
            decided_by: DecidedBy::Nothing,
            rule: "test".to_owned(),
            overridden_by: None,
            business: None,
            report_to: None,
            evidence: Vec::new(),
        }
    }

    #[test]
    fn normal_mail_is_spaced_out_and_told_why() {
        let pacer = Pacer::default();
        let (shop, invitation) = (client("shop", 60), verdict("invitation", Class::Normal, 0));
        assert_eq!(pacer.take(&shop, &invitation, NOW, 1), Ok(None));
        let slots = pacer.take(&shop, &invitation, NOW, 2).unwrap().unwrap();
        assert_eq!(
            (slots.times, slots.why.as_str()),
            (vec![after(1), after(2)], "client shop sends at most 60 a minute")
        );
        assert_eq!(
            pacer.take(&client("bank", 60), &invitation, NOW, 1),
            Ok(None),
            "another client has its own"
        );
        assert_eq!(
            pacer.take(&shop, &invitation, after(3), 1),
            Ok(None),
            "a pause is not saved up, but ends"
        );
        let minute: Vec<_> = (0..200).map(|_| pacer.take(&shop, &invitation, after(60), 1)).collect();
        let within = |slot: &Result<Option<Slots>, TooSlow>| match slot {
            Ok(Some(slots)) => slots.times[0] < after(120),
            Ok(None) => true,
            Err(_) => false,
        };
        assert_eq!(minute.into_iter().filter(within).count(), 60);
    }

    #[test]
    fn the_slower_pace_counts_and_leaves_the_other_alone() {
        let pacer = Pacer::default();
        let (shop, slow) = (client("shop", 60), verdict("invitation", Class::Normal, 6));
        let slots = pacer.take(&shop, &slow, NOW, 3).unwrap().unwrap();
        assert_eq!(slots.times, [NOW, after(10), after(20)]);
        assert!(slots.why.contains("6 of category invitation"), "{}", slots.why);
        let other = pacer.take(&shop, &verdict("export-warning", Class::Normal, 0), NOW, 1).unwrap().unwrap();
        assert_eq!(other.times, [after(3)]);
    }

    #[test]
    fn urgent_mail_has_no_pace_and_what_could_never_go_takes_no_slot() {
        let pacer = Pacer::default();
        let (shop, urgent) = (client("shop", 1), verdict("signin", Class::Urgent, 1));
        for _ in 0..100 {
            assert_eq!(pacer.take(&shop, &urgent, NOW, 1), Ok(None));
        }
        let normal = verdict("invitation", Class::Normal, 0);
        assert!(pacer.take(&shop, &normal, NOW, 10).is_ok());
        assert!(pacer.take(&shop, &normal, NOW, 1).is_err(), "its life is ten minutes");
        assert!(pacer.take(&shop, &normal, after(60), 1).is_ok());
    }

    #[test]
    fn only_what_is_sent_counts_for_its_recipient() {
        let mut verdict = verdict("signin", Class::Urgent, 0);
        assert_eq!(per_recipient(&verdict).len(), 2);
        verdict.action = Action::Suppress;
        assert!(per_recipient(&verdict).is_empty());
    }
}
