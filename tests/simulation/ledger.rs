//! What happened in a world, as it was seen from outside: what clients asked and were told, what upstreams were asked and said,
//! what was done to the machine. It outlives every crash; the judge reads nothing else, beside the rows and events at the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use authrelay::clock::{Clock, Timestamp};
use authrelay::ident::{MessageId, UpstreamName};
use authrelay::queue::Operation;
use tokio::time::Instant;

/// Milliseconds of simulated time since the world began, crashes or not. Unlike the wall clock nobody sets it.
pub type Moment = u64;

/// All that was seen.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Every put, in the order in which they were begun.
    pub puts: Vec<Put>,
    /// Where in the order of all commits a submission was stored, by its id.
    pub commits: BTreeMap<MessageId, (u64, Moment)>,
    /// When outcomes of a row were recorded.
    pub settled: BTreeMap<MessageId, Vec<Moment>>,
    /// Every RCPT that an upstream heard, in order.
    pub tries: Vec<Try>,
    /// How often each life was tried.
    pub tried: BTreeMap<(usize, String), u64>,
    /// What was done to the machine.
    pub faults: Vec<(Moment, Fault)>,
    /// What an operator did to rows that allowed it.
    pub operated: Vec<(Moment, MessageId, Operation)>,
    /// What an operator did to all that a burst held.
    pub operated_bursts: Vec<Operation>,
    /// Breaches that were seen when they happened.
    pub breaches: Vec<String>,
}

/// One call of the queue's put.
#[derive(Debug)]
pub struct Put {
    /// Which submission of the scenario it carries.
    pub serial: usize,
    /// The id it has if it is stored.
    pub id: MessageId,
    /// What the wall clock showed.
    pub accepted: Timestamp,
    /// When it began.
    pub began: Moment,
    /// What the client was told; `None`: nothing, because of a crash.
    pub answer: Option<Answer>,
}

/// What a client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// `250`.
    Taken,
    /// `250`, and held as one of many.
    Held,
    /// `250`: it is there already, under this id.
    Duplicate(MessageId),
    /// `451`: a counter is at its limit.
    OverLimit,
    /// `451`: too many wait.
    Full,
    /// `451`: our own trouble.
    Failed,
}

/// One try to hand a life over, as the upstream saw it.
#[derive(Debug, Clone)]
pub struct Try {
    /// Which submission.
    pub serial: usize,
    /// To whom.
    pub to: String,
    /// Which upstream.
    pub upstream: UpstreamName,
    /// When RCPT was heard.
    pub at: Moment,
    /// When the message itself was let begin, with the wall clock.
    pub data: Option<(Moment, Timestamp)>,
    /// When the final dot came: from here on the upstream may have it.
    pub dot: Option<Moment>,
    /// Whether the bytes were those that were promised.
    pub whole: bool,
    /// What it said in the end, and when.
    pub said: Option<(Moment, Said)>,
}

/// What an upstream said to a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// 250 to the dot.
    Taken,
    /// 4xx about the message.
    Deferred,
    /// 5xx about the message.
    Refused,
    /// It can't serve anybody.
    Unavailable,
}

/// What was done to the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Everything in memory is lost.
    Crash,
    /// It ended politely and began again.
    Restart,
    /// The wall clock was set by so many milliseconds.
    Step(i64),
    /// Another configuration came into force.
    Reload,
}

/// The ledger with the time of the moment. Cheap to clone; a start of the machine makes another.
#[derive(Debug, Clone)]
pub struct Book {
    ledger: Arc<Mutex<Ledger>>,
    clock: Clock,
    before: Moment,
    origin: Instant,
    trouble: (Moment, Moment),
}

impl Book {
    /// Goes on with a ledger at `before`. Between the two moments of `trouble` the disk fails now and then.
    pub fn open(ledger: Arc<Mutex<Ledger>>, clock: Clock, before: Moment, trouble: (Moment, Moment)) -> Self {
        Self { ledger, clock, before, origin: Instant::now(), trouble }
    }

    /// Now.
    pub fn now(&self) -> Moment {
        self.before + u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The instant of a moment.
    pub fn instant(&self, at: Moment) -> Instant {
        self.origin + std::time::Duration::from_millis(at.saturating_sub(self.before))
    }

    /// The wall clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Whether the disk fails now and then.
    pub fn disk_makes_trouble(&self) -> bool {
        (self.trouble.0..self.trouble.1).contains(&self.now())
    }

    /// The ledger itself.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A submission is on stable storage.
    pub fn committed(&self, id: MessageId) {
        let now = self.now();
        let mut ledger = self.ledger();
        let order = ledger.commits.len() as u64;
        ledger.commits.insert(id, (order, now));
    }

    /// An outcome is on stable storage.
    pub fn settled(&self, id: MessageId) {
        let now = self.now();
        self.ledger().settled.entry(id).or_default().push(now);
    }

    /// A put begins. Its place in the ledger.
    pub fn began(&self, serial: usize, id: MessageId, accepted: Timestamp) -> usize {
        let began = self.now();
        let mut ledger = self.ledger();
        ledger.puts.push(Put { serial, id, accepted, began, answer: None });
        ledger.puts.len() - 1
    }

    /// A put was answered.
    pub fn answered(&self, place: usize, answer: Answer) {
        self.ledger().puts[place].answer = Some(answer);
    }

    /// Something was done to the machine.
    pub fn fault(&self, fault: Fault) {
        let now = self.now();
        self.ledger().faults.push((now, fault));
    }

    /// An operator's hand on a row is on stable storage.
    pub fn operated(&self, id: MessageId, operation: Operation) {
        let now = self.now();
        self.ledger().operated.push((now, id, operation));
    }

    /// An operator's hand on a burst is.
    pub fn operated_burst(&self, operation: Operation) {
        self.ledger().operated_bursts.push(operation);
    }

    /// An upstream heard RCPT. Its place in the ledger, and how often it was tried before.
    pub fn tried(&self, serial: usize, to: &str, upstream: &UpstreamName) -> (usize, u64) {
        let at = self.now();
        let mut ledger = self.ledger();
        let count = ledger.tried.entry((serial, to.to_owned())).or_default();
        let before = *count;
        *count += 1;
        let (to, upstream) = (to.to_owned(), upstream.clone());
        ledger.tries.push(Try { serial, to, upstream, at, data: None, dot: None, whole: false, said: None });
        (ledger.tries.len() - 1, before)
    }

    /// Something more is known of a try.
    pub fn about_try(&self, place: usize, change: impl FnOnce(&mut Try, Moment, Timestamp)) {
        let (now, wall) = (self.now(), self.clock.now());
        change(&mut self.ledger().tries[place], now, wall);
    }

    /// What must never happen did.
    pub fn breach(&self, what: String) {
        self.ledger().breaches.push(what);
    }
}
