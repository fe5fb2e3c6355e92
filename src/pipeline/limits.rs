//! A planned message on its way into the queue: under which terms, and what its client is told where a limit is met.
//!
//! A limit that is met is answered 451, and nothing of the message is kept: the client has it and may come again. What is
//! put on record about that is rationed.

use std::time::Duration;

use super::mail::{abouts, accepted, our_fault};
use super::{Config, Pipeline};
use crate::clock::Timestamp;
use crate::event::{About, Event, Kind};
use crate::guard::limits::{self, TooSlow};
use crate::guard::ration::Share;
use crate::ident::{CategoryName, ClientName, MessageId};
use crate::mail::Recipient;
use crate::outcome::{Detail, Reason, ReasonClass, Reply};
use crate::policy::{Limit, Submission, Verdict};
use crate::queue::{Counter, Stored, Terms};
use crate::rewrite::Planned;

/// A limit that one recipient's messages count against, in the order of the put's counters.
struct Counted {
    limit: Limit,
    recipient: Recipient,
    end: Timestamp,
}

/// What is said and recorded of a message should a limit be met.
struct Subject {
    id: MessageId,
    client: ClientName,
    category: CategoryName,
    abouts: Vec<About>,
}

impl Pipeline {
    /// Stores a planned message under the limits that hold for it, and gives the reply.
    pub(super) async fn keep(&self, config: &Config, planned: Planned) -> Reply {
        let action = planned.verdict().action;
        let subject = Subject::of(planned.submission(), planned.verdict());
        let (counters, counted) = self.recipient_counters(&planned);
        let terms = match self.terms(config, &planned, counters) {
            Ok(terms) => terms,
            Err(TooSlow { why }) => {
                let text = format!("category {}: {why}, and too many wait", subject.category);
                return self.turn_away(subject, "limit:pace", Detail(3, 2), &text).await;
            }
        };
        match self.queue.put(planned, terms).await {
            Ok(Stored::OverLimit(index)) => match counted.into_iter().nth(index) {
                Some(counted) => self.over_limit(subject, counted).await,
                None => Reply::local_error("a limit is reached, try again later"),
            },
            Ok(Stored::Full) => {
                let text = format!("category {}: too many messages wait, try again later", subject.category);
                self.turn_away(subject, "limit:backlog", Detail(3, 2), &text).await
            }
            Ok(stored) => accepted(&stored, action),
            Err(error) => our_fault(&error),
        }
    }

    fn terms(&self, config: &Config, planned: &Planned, counters: Vec<Counter>) -> Result<Terms, TooSlow> {
        let (submission, verdict) = (planned.submission(), planned.verdict());
        let client = config.policy.clients.get(&submission.client);
        let recipients = submission.envelope.recipients.len();
        let slots = match client {
            Some(client) => self.pacer.take(client, verdict, submission.accepted, recipients)?,
            None => None,
        };
        let delayed = |why: String| {
            let text = format!("delayed: {why}");
            Reason { text, ..Reason::new(ReasonClass::Policy, "") }
        };
        Ok(Terms {
            dedupe: Some(config.limits.dedupe),
            counters,
            burst: client.and_then(|client| client.burst),
            delay: slots.map(|slots| (slots.times, delayed(slots.why))),
            most_waiting: Some(config.limits.backlog),
        })
    }

    fn recipient_counters(&self, planned: &Planned) -> (Vec<Counter>, Vec<Counted>) {
        let (submission, verdict) = (planned.submission(), planned.verdict());
        let (client, category) = (submission.client.as_str(), verdict.category.name.as_str());
        let mut counters = Vec::new();
        let mut counted = Vec::new();
        for limit in limits::per_recipient(verdict) {
            for address in &submission.envelope.recipients {
                let recipient = Recipient::Mail(address.clone());
                let parts = [client, category, &recipient.lookup_form()];
                let at = submission.accepted;
                let counter = self.queue.counter("mail-recipient", &parts, at, limit.within, limit.most);
                counted.push(Counted { limit: *limit, recipient, end: counter.window_end });
                counters.push(counter);
            }
        }
        (counters, counted)
    }

    async fn over_limit(&self, mut subject: Subject, counted: Counted) -> Reply {
        let Counted { limit, recipient, end } = counted;
        subject.abouts.retain(|about| about.recipient == recipient);
        let (category, within, end) = (&subject.category, short(limit.within), end.to_rfc3339());
        let most = limit.most;
        let text =
            format!("category {category}: at most {most} in {within} to one recipient, again at {end}");
        self.turn_away(subject, "limit:recipient", Detail(7, 1), &text).await
    }

    /// Answers that a limit is met once it is on record, or counted.
    async fn turn_away(&self, subject: Subject, kind: &'static str, detail: Detail, text: &str) -> Reply {
        let now = self.clock.now();
        let reply = Reply::new(451, detail, format!("{text} (id {})", subject.id));
        match self.ration.take(&subject.client, kind, now) {
            Share::LeftOut => return reply,
            Share::Told { left_out: 0 } => {}
            Share::Told { left_out } => {
                tracing::warn!(client = %subject.client, kind, left_out, "limits met that are not on record");
            }
        }
        // Our own words: a time or a number in them may be seen.
        let reason =
            Reason { code: Some(451), text: text.to_owned(), ..Reason::new(ReasonClass::Policy, "") };
        let event = |about| Event::new(Kind::Refused, now, about).because(reason.clone());
        match self.queue.record(subject.abouts.into_iter().map(event).collect()).await {
            Ok(()) => reply,
            Err(error) => our_fault(&error),
        }
    }
}

impl Subject {
    fn of(submission: &Submission, verdict: &Verdict) -> Self {
        Self {
            id: submission.id,
            client: submission.client.clone(),
            category: verdict.category.name.clone(),
            abouts: abouts(submission, verdict),
        }
    }
}

/// `10 min`, in the largest unit that is whole.
fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "min")];
    let unit = units.into_iter().find(|(length, _)| seconds >= *length && seconds.is_multiple_of(*length));
    let (length, unit) = unit.unwrap_or((1, "s"));
    format!("{} {unit}", seconds / length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_their_largest_unit() {
        let told = [600, 86_400, 7200, 90, 1].map(|seconds| short(Duration::from_secs(seconds)));
        assert_eq!(told, ["10 min", "1 d", "2 h", "90 s", "1 s"]);
    }
}
