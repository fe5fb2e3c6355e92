//! What will happen in a world, all of it drawn from the seed before the world begins: who sends what and when, what an operator
//! does, what is done to the machine, and how the upstreams feel.

use std::time::Duration;

use authrelay::ident::Class;
use authrelay::policy::Action;
use authrelay::queue::Operation;

use crate::dice::Dice;
use crate::ledger::Moment;

/// How long clients send, in milliseconds.
pub const TRAFFIC: Moment = 15 * 60 * 1000;

/// How many lives a world has, about.
pub const LIVES: usize = 3000;

/// How many submissions a flood of normal mail has.
const FLOOD: usize = 200;

/// How a world is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Nothing fails but messages, and at most once the machine: here it is also judged how long each has to wait.
    Calm,
    /// Upstreams fail, the disk fails, the machine crashes, the clock is set, and then all is well.
    Rough,
    /// The same, and the upstreams never come back: every life that was not handed over before has to end.
    Hopeless,
}

/// One application that sends, and what it sends.
#[derive(Debug)]
pub struct Kind {
    pub client: &'static str,
    pub category: &'static str,
    pub class: Class,
    pub action: Action,
    pub life: Duration,
    pub supersede: bool,
    pub settle: Duration,
    /// How many different people it sends to.
    pub people: u64,
    /// The most recipients of one submission.
    pub most: u64,
    /// How often it is chosen.
    weight: u64,
}

const fn kind(client: &'static str, category: &'static str, class: Class, minutes: u64, weight: u64) -> Kind {
    let life = Duration::from_mins(minutes);
    let (action, settle) = (Action::Relay, Duration::ZERO);
    Kind { client, category, class, action, life, supersede: false, settle, people: 400, most: 1, weight }
}

/// Every application.
pub const KINDS: [Kind; 7] = [
    Kind { supersede: true, people: 200, ..kind("shop", "signin", Class::Urgent, 10, 25) },
    Kind { supersede: true, people: 80, ..kind("bank", "mfa", Class::Urgent, 1, 15) },
    Kind { people: 50, ..kind("forum", "password-reset", Class::Urgent, 30, 15) },
    Kind { settle: Duration::from_secs(30), most: 4, ..kind("team", "invitation", Class::Normal, 90, 12) },
    Kind { most: 4, ..kind("office", "export-warning", Class::Normal, 60, 20) },
    Kind { action: Action::Suppress, ..kind("import", "invitation-api", Class::Normal, 60, 5) },
    Kind { action: Action::Hold, ..kind("watched", "security-notice", Class::Normal, 45, 8) },
];

/// The client whose messages are counted, and how many of them each person may have.
pub const COUNTED: (&str, u32) = ("forum", 9);

/// One submission.
#[derive(Debug)]
pub struct Submission {
    pub kind: usize,
    pub to: Vec<String>,
    /// How much later than it came its first attempt may be, for normal mail that a limit puts off.
    pub delay: Option<Duration>,
}

/// What is done to a world.
#[derive(Debug, Clone, Copy)]
pub enum Deed {
    /// A client sends this submission; a second time the same bytes again.
    Send(usize),
    /// An operator does this to a row of this submission.
    Operate(usize, Operation),
    /// The same to whatever burst is open.
    OperateBurst(Operation),
    /// This configuration comes into force.
    Reload(u64),
    /// The wall clock is set by so many milliseconds.
    Step(i64),
    /// Everything in memory is lost.
    Crash,
    /// It ends politely and begins again.
    Restart,
    /// The numbers are compared with the rows.
    Count,
}

/// A world to be.
#[derive(Debug)]
pub struct Scenario {
    pub seed: u64,
    pub weather: Weather,
    /// By serial number.
    pub submissions: Vec<Submission>,
    /// In order of time.
    pub deeds: Vec<(Moment, Deed)>,
    /// When the disk makes trouble.
    pub trouble: (Moment, Moment),
    /// How many attempts are under way at most.
    pub workers: usize,
    /// How many messages are in memory at most.
    pub active: usize,
}

impl Scenario {
    /// The world of a seed.
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::of(seed, "world", &[]);
        let weather = dice.weighed(&[(25, Weather::Calm), (60, Weather::Rough), (15, Weather::Hopeless)]);
        let workers =
            if weather == Weather::Calm { 16 } else { usize::try_from(dice.between(4, 16)).unwrap_or(4) };
        let active = if dice.percent(30) { 24 } else { 1000 };
        let begin = dice.below(TRAFFIC);
        let trouble =
            if weather == Weather::Calm { (0, 0) } else { (begin, begin + dice.between(5_000, 120_000)) };
        let mut scenario =
            Self { seed, weather, submissions: Vec::new(), deeds: Vec::new(), trouble, workers, active };
        scenario.draw_traffic();
        if weather == Weather::Calm {
            scenario.draw_flood(&mut dice);
        }
        scenario.draw_operator();
        match weather {
            Weather::Calm if dice.percent(40) => scenario.deeds.push((dice.below(TRAFFIC), Deed::Crash)),
            Weather::Calm => {}
            Weather::Rough | Weather::Hopeless => scenario.draw_faults(),
        }
        scenario.deeds.sort_by_key(|(at, _)| *at);
        scenario
    }

    /// What a submission is.
    pub fn kind_of(&self, serial: usize) -> &'static Kind {
        &KINDS[self.submissions[serial].kind]
    }

    fn draw_traffic(&mut self) {
        let mut dice = Dice::of(self.seed, "traffic", &[]);
        let weights: Vec<(u64, usize)> =
            KINDS.iter().enumerate().map(|(at, kind)| (kind.weight, at)).collect();
        let mut lives = 0;
        while lives < LIVES {
            let at = dice.below(TRAFFIC);
            let kind = dice.weighed(&weights);
            // Now and then many at once: a wave of normal mail, a person who asks again and again.
            let wave = if dice.percent(6) { dice.between(5, 60) } else { 1 };
            let same = KINDS[kind].class == Class::Urgent && dice.percent(70);
            let person = dice.below(KINDS[kind].people);
            for _ in 0..wave {
                let to = recipients(&mut dice, kind, same.then_some(person));
                lives += to.len();
                let later = if wave > 1 { dice.below(20_000) } else { 0 };
                let puts_off = KINDS[kind].client == "office" && dice.percent(10);
                let delay = puts_off.then(|| Duration::from_secs(dice.between(10, 600)));
                let serial = self.submissions.len();
                self.submissions.push(Submission { kind, to, delay });
                self.deeds.push((at + later, Deed::Send(serial)));
                if dice.percent(5) {
                    self.deeds.push((at + later + dice.between(5, 40_000), Deed::Send(serial)));
                }
            }
        }
    }

    /// So much normal mail at once that all workers have to do with it for a while: urgent mail must not feel it.
    fn draw_flood(&mut self, dice: &mut Dice) {
        let at = dice.below(TRAFFIC);
        let kind = KINDS.iter().position(|kind| kind.client == "office").unwrap_or(0);
        for _ in 0..FLOOD {
            let to = recipients(dice, kind, None);
            self.deeds.push((at + dice.below(5_000), Deed::Send(self.submissions.len())));
            self.submissions.push(Submission { kind, to, delay: None });
        }
    }

    fn draw_operator(&mut self) {
        let mut dice = Dice::of(self.seed, "operator", &[]);
        let submissions = self.submissions.len() as u64;
        for _ in 0..submissions / 12 {
            let operation = dice.weighed(&[
                (3, Operation::Retry),
                (3, Operation::Hold),
                (5, Operation::Release),
                (1, Operation::Force),
                (2, Operation::Remove),
            ]);
            let at = dice.below(TRAFFIC + TRAFFIC / 2);
            let serial = usize::try_from(dice.below(submissions)).unwrap_or(0);
            self.deeds.push((at, Deed::Operate(serial, operation)));
        }
        for _ in 0..3 {
            let operation = dice.weighed(&[(1, Operation::Release), (1, Operation::Remove)]);
            self.deeds.push((dice.below(TRAFFIC + TRAFFIC / 2), Deed::OperateBurst(operation)));
            self.deeds.push((dice.below(TRAFFIC), Deed::Count));
        }
    }

    fn draw_faults(&mut self) {
        let mut dice = Dice::of(self.seed, "faults", &[]);
        for _ in 0..dice.between(0, 3) {
            self.deeds.push((dice.below(TRAFFIC + TRAFFIC / 2), Deed::Crash));
        }
        for _ in 0..dice.between(0, 1) {
            self.deeds.push((dice.below(TRAFFIC + TRAFFIC / 2), Deed::Restart));
        }
        for _ in 0..dice.between(0, 2) {
            self.deeds.push((dice.below(TRAFFIC), Deed::Reload(dice.next())));
        }
        if dice.percent(40) {
            let seconds = i64::try_from(dice.between(1, 240)).unwrap_or(1);
            // Further than a lease is long, now and then.
            let millis = 1000 * dice.weighed(&[(4, seconds), (4, -seconds), (2, seconds * 10)]);
            self.deeds.push((dice.below(TRAFFIC), Deed::Step(millis)));
        }
    }
}

/// Whom a submission is for: one person, or some of those that its application knows.
fn recipients(dice: &mut Dice, kind: usize, person: Option<u64>) -> Vec<String> {
    let Kind { client, people, most, .. } = &KINDS[kind];
    let mut to: Vec<u64> = (0..dice.between(1, *most)).map(|_| dice.below(*people)).collect();
    if let Some(person) = person {
        to = vec![person];
    }
    to.sort_unstable();
    to.dedup();
    to.into_iter().map(|person| format!("{client}{person}@people.example")).collect()
}
