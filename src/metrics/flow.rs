//! What happened in the last hour, by category: what somebody looks at who wants to know whether mail goes through now.
//!
//! Invariants: the memory is bounded (sixty minutes of a bounded number of categories), and counting never waits for a disk.
//! The clock is that of the events; whoever reads says what time it is.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::histogram::ENDS;
use crate::event::{Event, Kind};
use crate::ident::CategoryName;

/// How many minutes are remembered.
const MINUTES: usize = 60;

/// The most categories; what is beyond shares one name.
const MOST: usize = 200;

/// The name of what is beyond.
const OTHER: &str = "other";

const MINUTE_MILLIS: i64 = 60_000;

/// What happened in the last hour.
#[derive(Debug, Default)]
pub struct Flow(Mutex<HashMap<CategoryName, Box<[Minute; MINUTES]>>>);

/// What happened to messages of one category in the last hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CategoryFlow {
    /// The category.
    pub category: CategoryName,
    /// Accepted and queued.
    pub received: u64,
    /// Handed over to an upstream.
    pub handed_over: u64,
    /// Not accepted.
    pub refused: u64,
    /// Accepted, and by policy not handed over.
    pub suppressed: u64,
    /// Accepted and held.
    pub held: u64,
    /// Attempts after which another one had to be made.
    pub deferred: u64,
    /// Ended without having been handed over, or without anybody knowing it.
    pub failed: u64,
    /// Half of those handed over took no longer than this after their acceptance.
    pub half_within: Option<Duration>,
    /// All of them took no longer than this; `None` also where one took more than a day.
    pub all_within: Option<Duration>,
}

/// One minute of one category.
#[derive(Debug, Clone, Default)]
struct Minute {
    /// Which one, counted from the epoch.
    number: i64,
    counts: Counts,
}

#[derive(Debug, Clone, Default)]
struct Counts {
    received: u64,
    handed_over: u64,
    refused: u64,
    suppressed: u64,
    held: u64,
    deferred: u64,
    failed: u64,
    /// Those handed over, by how long they took; the last is longer than all ends.
    took: [u64; ENDS.len() + 1],
}

impl Flow {
    /// Counts an event.
    pub fn count(&self, event: &Event) {
        let number = event.at.as_millis().div_euclid(MINUTE_MILLIS);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = &event.subject.category;
        let fits = known.contains_key(name) || known.len() < MOST;
        let name = if fits { name.clone() } else { CategoryName::new(OTHER) };
        let minutes =
            known.entry(name).or_insert_with(|| Box::new(std::array::from_fn(|_| Minute::default())));
        let place = usize::try_from(number.rem_euclid(60)).unwrap_or(0);
        let minute = &mut minutes[place];
        if minute.number != number {
            *minute = Minute { number, counts: Counts::default() };
        }
        minute.counts.add(event);
    }

    /// The last hour until `now` (milliseconds since the epoch), by category; those in which nothing happened are left out.
    pub fn last_hour(&self, now: i64) -> Vec<CategoryFlow> {
        let last = now.div_euclid(MINUTE_MILLIS);
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |minute: &&Minute| minute.number > last - 60 && minute.number <= last;
        let sum = |minutes: &[Minute; MINUTES]| {
            let mut sum = Counts::default();
            minutes.iter().filter(is_recent).for_each(|minute| sum.merge(&minute.counts));
            sum
        };
        let mut flows: Vec<CategoryFlow> =
            known.iter().filter_map(|(name, minutes)| sum(minutes).into_flow(name)).collect();
        flows.sort_by(|one, other| one.category.cmp(&other.category));
        flows
    }
}

impl Counts {
    fn add(&mut self, event: &Event) {
        let count = match event.kind {
            Kind::Received => &mut self.received,
            Kind::HandedOver => {
                let took = event.at.since(event.subject.accepted).as_millis();
                self.took[ENDS.partition_point(|end| u128::from(*end) < took)] += 1;
                &mut self.handed_over
            }
            Kind::Refused => &mut self.refused,
            Kind::Suppressed => &mut self.suppressed,
            Kind::Held => &mut self.held,
            Kind::Deferred => &mut self.deferred,
            Kind::Failed | Kind::Expired | Kind::Unknown => &mut self.failed,
            // Of a burst each message has its own; the others say more of what was counted before.
            Kind::Released | Kind::Superseded | Kind::Removed | Kind::Delivered | Kind::BurstHeld => return,
        };
        *count += 1;
    }

    fn merge(&mut self, other: &Self) {
        self.received += other.received;
        self.handed_over += other.handed_over;
        self.refused += other.refused;
        self.suppressed += other.suppressed;
        self.held += other.held;
        self.deferred += other.deferred;
        self.failed += other.failed;
        for (sum, more) in self.took.iter_mut().zip(other.took) {
            *sum += more;
        }
    }

    fn into_flow(self, category: &CategoryName) -> Option<CategoryFlow> {
        let Self { received, handed_over, refused, suppressed, held, deferred, failed, .. } = self;
        let all = [received, handed_over, refused, suppressed, held, deferred, failed];
        all.iter().any(|count| *count > 0).then(|| CategoryFlow {
            category: category.clone(),
            received,
            handed_over,
            refused,
            suppressed,
            held,
            deferred,
            failed,
            half_within: self.within(handed_over.div_ceil(2)),
            all_within: self.within(handed_over),
        })
    }

    /// The time in which so many of those handed over were.
    fn within(&self, wanted: u64) -> Option<Duration> {
        let mut seen = 0;
        let end = ENDS.iter().zip(self.took).find(|(_, count)| {
            seen += count;
            seen >= wanted
        });
        end.filter(|_| wanted > 0).map(|(end, _)| Duration::from_millis(*end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::About;
    use crate::ident::{ClientName, MessageId};
    use crate::mail::Recipient;

    fn event(kind: Kind, category: &str, at: Timestamp, took: u64) -> Event {
        let id = MessageId::generate();
        let about = About {
            message: id,
            submission: id,
            client: ClientName::new("shop"),
            business: None,
            category: CategoryName::new(category),
            rule: "none".to_owned(),
            recipient: Recipient::Forgotten,
            application_id: None,
            report_to: None,
            accepted: at.minus(Duration::from_millis(took)),
        };
        Event::new(kind, at, about)
    }

    #[test]
    fn an_hour_is_remembered_and_no_more() {
        let flow = Flow::default();
        let start = Timestamp::from_millis(1_800_000_000_000);
        let minutes = |count| start.plus(Duration::from_mins(count));
        flow.count(&event(Kind::Received, "signin", start, 0));
        flow.count(&event(Kind::HandedOver, "signin", start, 40));
        flow.count(&event(Kind::HandedOver, "signin", minutes(1), 40));
        flow.count(&event(Kind::HandedOver, "signin", minutes(2), 4_000));
        flow.count(&event(Kind::Refused, "marketing", minutes(3), 0));
        let seen = flow.last_hour(minutes(59).as_millis());
        let names: Vec<&str> = seen.iter().map(|flow| flow.category.as_str()).collect();
        assert_eq!(names, ["marketing", "signin"]);
        assert_eq!((seen[1].received, seen[1].handed_over, seen[0].refused), (1, 3, 1));
        let within = (seen[1].half_within, seen[1].all_within);
        assert_eq!(within, (Some(Duration::from_millis(50)), Some(Duration::from_secs(5))));
        assert_eq!((seen[0].half_within, seen[0].all_within), (None, None));

        let later = flow.last_hour(minutes(61).as_millis());
        assert_eq!((later[1].received, later[1].handed_over), (0, 1), "the first minutes are over");
        // The same place in the ring, an hour later: the old count is gone.
        flow.count(&event(Kind::HandedOver, "signin", minutes(62), 40));
        assert_eq!(flow.last_hour(minutes(62).as_millis())[1].handed_over, 1);
        assert_eq!(flow.last_hour(minutes(500).as_millis()), []);
    }

    #[test]
    fn what_took_longer_than_a_day_has_no_bound() {
        let flow = Flow::default();
        let at = Timestamp::from_millis(1_800_000_000_000);
        flow.count(&event(Kind::HandedOver, "invitation", at, 90_000_000));
        assert_eq!(flow.last_hour(at.as_millis())[0].all_within, None);
    }

    #[test]
    fn categories_are_bounded() {
        let flow = Flow::default();
        let at = Timestamp::from_millis(1_800_000_000_000);
        for number in 0..MOST + 50 {
            flow.count(&event(Kind::Received, &format!("c{number}"), at, 0));
        }
        let seen = flow.last_hour(at.as_millis());
        assert_eq!(seen.len(), MOST + 1);
        assert_eq!(seen.iter().find(|flow| flow.category.as_str() == OTHER).unwrap().received, 50);
    }
}
