//! What happened to messages, counted from the events. An event is counted once, after the commit that holds it.

use std::sync::Arc;
use std::time::Duration;

use super::{CategoryFlow, Counter, Family, Flow, Histogram, Observed, Page, WouldRefuse};
use crate::event::{Event, Kind};
use crate::ident::CategoryName;
use crate::mail::Recipient;
use crate::phone::{self, Country};

/// How long a message of a category is of use, by the configuration of the moment.
pub type Lives = Arc<dyn Fn(&CategoryName) -> Option<Duration> + Send + Sync>;

/// The counts of messages.
pub struct Messages {
    events: Family<Counter>,
    refused: Family<Counter>,
    took: Family<Histogram>,
    within_half_life: Family<Counter>,
    texts: Family<Counter>,
    flow: Flow,
    observed: Observed,
    lives: Lives,
}

impl Messages {
    /// Nothing is counted yet.
    pub fn new(lives: Lives) -> Self {
        Self {
            events: Family::new(&["event", "category", "client"]),
            refused: Family::new(&["rule", "category", "client"]),
            took: Family::new(&["category"]),
            within_half_life: Family::new(&["category"]),
            texts: Family::new(&["country", "event"]),
            flow: Flow::default(),
            observed: Observed::default(),
            lives,
        }
    }

    /// Counts an event.
    pub fn count(&self, event: &Event) {
        let about = &event.subject;
        let (kind, category, client) = (event.kind.as_str(), about.category.as_str(), about.client.as_str());
        self.events.of(&[kind, category, client]).one();
        self.flow.count(event);
        self.observed.count(event);
        if event.kind == Kind::Refused {
            self.refused.of(&[&about.rule, category, client]).one();
        }
        if event.kind == Kind::HandedOver {
            let took = event.at.since(about.accepted);
            self.took.of(&[category]).observe(took);
            if (self.lives)(&about.category).is_some_and(|life| took <= life / 2) {
                self.within_half_life.of(&[category]).one();
            }
        }
        if let Recipient::Phone(number) = &about.recipient {
            let country = phone::parse(number.as_str(), None).ok().and_then(|dialled| dialled.country);
            self.texts.of(&[country.as_ref().map_or("none", Country::as_str), kind]).one();
        }
    }

    /// The last hour until `now` (milliseconds since the epoch), by category.
    pub fn last_hour(&self, now: i64) -> Vec<CategoryFlow> {
        self.flow.last_hour(now)
    }

    /// What passed only because its client is observed.
    pub fn would_refuse(&self) -> Vec<WouldRefuse> {
        self.observed.list()
    }

    /// Writes the counts.
    pub fn write(&self, page: &mut Page) {
        page.counters(
            "authrelay_messages_total",
            "What happened to messages, one for each recipient; received means accepted and queued.",
            &self.events,
        );
        page.counters("authrelay_refused_total", "Refused messages by the rule that decided.", &self.refused);
        page.histograms(
            "authrelay_delivery_seconds",
            "Time from the 250 to the client to the 250 of the upstream.",
            &self.took,
        );
        page.counters(
            "authrelay_handed_over_within_half_life_total",
            "Messages handed over before half of the life of their category was over.",
            &self.within_half_life,
        );
        page.counters(
            "authrelay_sms_total",
            "What happened to one-time codes for phones, by country.",
            &self.texts,
        );
    }
}

impl std::fmt::Debug for Messages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Messages")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::About;
    use crate::ident::{ClientName, MessageId};
    use crate::mail::Address;

    fn event(kind: Kind, recipient: Recipient, after: Duration) -> Event {
        let id = MessageId::generate();
        let accepted = Timestamp::from_millis(1_000_000);
        let about = About {
            message: id,
            submission: id,
            client: ClientName::new("shop"),
            business: None,
            category: CategoryName::new("signin"),
            rule: "rule:codes".to_owned(),
            recipient,
            application_id: Some("anna-secret-id".to_owned()),
            report_to: None,
            accepted,
        };
        Event::new(kind, accepted.plus(after), about)
    }

    #[test]
    fn events_become_counts_and_times_and_no_recipient_is_shown() {
        let messages = Messages::new(Arc::new(|_| Some(Duration::from_mins(10))));
        let anna = || Recipient::Mail(Address::parse("anna@customer.example").unwrap());
        messages.count(&event(Kind::Received, anna(), Duration::ZERO));
        messages.count(&event(Kind::HandedOver, anna(), Duration::from_secs(2)));
        messages.count(&event(Kind::HandedOver, anna(), Duration::from_mins(6)));
        messages.count(&event(Kind::Refused, anna(), Duration::ZERO));
        let number = phone::parse("+12025550100", None).unwrap().number;
        messages.count(&event(Kind::Received, Recipient::Phone(number), Duration::ZERO));
        let mut page = Page::default();
        messages.write(&mut page);
        let text = page.into_text();
        for line in [
            "authrelay_messages_total{event=\"received\",category=\"signin\",client=\"shop\"} 2",
            "authrelay_messages_total{event=\"handed-over\",category=\"signin\",client=\"shop\"} 2",
            "authrelay_refused_total{rule=\"rule:codes\",category=\"signin\",client=\"shop\"} 1",
            "authrelay_delivery_seconds_bucket{category=\"signin\",le=\"2\"} 1",
            "authrelay_delivery_seconds_count{category=\"signin\"} 2",
            "authrelay_handed_over_within_half_life_total{category=\"signin\"} 1",
            "authrelay_sms_total{country=\"US\",event=\"received\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        for hidden in ["anna", "customer", "2025550100"] {
            assert!(!text.contains(hidden), "{hidden} in\n{text}");
        }
    }
}
