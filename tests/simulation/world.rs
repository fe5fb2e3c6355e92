//! A world: a machine with the real queue and the real delivery on a simulated disk, which crashes and begins again until
//! everything that was sent in it has come to its end.
//!
//! Each start is a runtime of its own with paused time: it runs as fast as it can be computed, and a crash is to drop it. What
//! survives that is the disk, the ledger, and what the wall clock shows.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use authrelay::clock::{Clock, Timestamp};
use authrelay::deliver::{Delivery, InForce};
use authrelay::event::Event;
use authrelay::ident::{Class, MessageId};
use authrelay::outcome::{Reason, ReasonClass};
use authrelay::queue::{
    Active, ActiveLimits, Counter, Entry, Keyring, Operation, Queue, State, Store as _, Stored, Terms,
};
use authrelay::secret::{Digest, LookupKey};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::dice::Dice;
use crate::disk::Disk;
use crate::ledger::{Answer, Book, Fault, Ledger, Moment};
use crate::letters::{self, BURST, Desk};
use crate::scenario::{COUNTED, Deed, Scenario, Weather};

/// What the wall clock shows when a world begins.
pub const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// How long the same bytes of one client count as one message.
pub const DEDUPE: Duration = Duration::from_secs(30);

/// The window of the counters.
pub const WINDOW: i64 = 10 * 60 * 1000;

/// By then everything in a world must have ended: longer than the longest life, and than the clock is ever set back.
const DOOMSDAY: Moment = 4 * 60 * 60 * 1000;

/// How often it is looked whether all has ended.
const LOOK: Duration = Duration::from_mins(2);

/// What all worlds share.
pub struct Universe {
    pub desk: Desk,
    keyring: Arc<Keyring>,
    folder: tempfile::TempDir,
    /// Where the stores' own tasks run.
    threads: tokio::runtime::Runtime,
}

/// A world that has ended.
pub struct Past {
    pub scenario: Arc<Scenario>,
    pub ledger: Ledger,
    pub rows: Vec<Entry>,
    /// Oldest first.
    pub events: Vec<Event>,
    /// Whom each counter counts, its window, and how far it has come.
    pub counters: Vec<(String, Timestamp, u64)>,
}

impl Universe {
    /// Everything that is made once.
    pub fn new() -> Self {
        let memory = PathBuf::from("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let folder = folder.expect("a folder for the stores");
        let keyring = Arc::new(Keyring::create(&folder.path().join("queue.key")).expect("a key"));
        let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("threads");
        Self { desk: Desk::new(), keyring, folder, threads }
    }

    /// Lives a world to its end.
    pub fn live(&self, scenario: Scenario) -> Past {
        let scenario = Arc::new(scenario);
        let path = self.folder.path().join(format!("{}.db", scenario.seed));
        let world = World {
            universe: self,
            scenario: Arc::clone(&scenario),
            ledger: Arc::default(),
            path: path.clone(),
            // A clock is cheap to copy because it borrows this for ever: eight bytes a world.
            set_by: Box::leak(Box::default()),
        };
        let (rows, events, counters) = world.run();
        let ledger = std::mem::take(&mut *world.ledger.lock().unwrap_or_else(PoisonError::into_inner));
        for end in ["", "-wal", "-shm", ".lock"] {
            let mut file = path.clone().into_os_string();
            file.push(end);
            // Which of them there are is the store's business.
            let _ = std::fs::remove_file(file);
        }
        Past { scenario, ledger, rows, events, counters }
    }
}

/// Whom a counter counts, and its window.
type Counted = (String, Timestamp);

/// What is read from the disk at the end.
type Remains = (Vec<Entry>, Vec<Event>, Vec<(String, Timestamp, u64)>);

struct World<'a> {
    universe: &'a Universe,
    scenario: Arc<Scenario>,
    ledger: Arc<Mutex<Ledger>>,
    path: PathBuf,
    set_by: &'static AtomicI64,
}

/// Where a world stands between two starts of its machine.
struct Standing {
    at: Moment,
    /// The next deed.
    next: usize,
    configuration: u64,
}

impl World<'_> {
    fn run(&self) -> Remains {
        let mut standing = Standing { at: 0, next: 0, configuration: 0 };
        loop {
            let mut dice = Dice::of(self.scenario.seed, "start", &[standing.at]);
            // The jitter of the product.
            fastrand::seed(dice.next());
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            let runtime = runtime.expect("a runtime");
            let remains =
                runtime.block_on(async { Machine::start(self, &standing).run(&mut standing).await });
            drop(runtime);
            if let Some(remains) = remains {
                return remains;
            }
            standing.at += dice.between(100, 20_000);
        }
    }
}

/// The machine from one start to its end.
struct Machine<'a> {
    world: &'a World<'a>,
    book: Book,
    disk: Arc<Disk>,
    queue: Arc<Queue>,
    active: Active,
    in_force: Arc<Mutex<InForce>>,
    delivery: Delivery,
    shutdown: CancellationToken,
    clients: JoinSet<()>,
}

impl<'a> Machine<'a> {
    fn start(world: &'a World<'a>, standing: &Standing) -> Self {
        let scenario = &world.scenario;
        let wall = START.plus(Duration::from_millis(standing.at));
        let clock = Clock::simulated_and_set(wall, world.set_by);
        let book = Book::open(Arc::clone(&world.ledger), clock, standing.at, scenario.trouble);
        let keyring = &world.universe.keyring;
        let threads = world.universe.threads.handle().clone();
        let disk = Arc::new(Disk::open(&world.path, keyring, &book, threads, scenario.seed));
        if disk.count().1.iter().any(|row| row.state == State::Attempting) {
            book.breach("after a start nobody attempts what its row says is being attempted".to_owned());
        }
        let active = Active::new(limits(scenario));
        let lookup = LookupKey::new(&[7; 32]);
        let queue = Queue::new(Arc::clone(&disk) as _, lookup, clock, active.clone());
        let in_force = Arc::new(Mutex::new(letters::in_force(standing.configuration, scenario, &book)));
        let shutdown = CancellationToken::new();
        let delivery = {
            let in_force = Arc::clone(&in_force);
            let current = move || in_force.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let policy = world.universe.desk.policy();
            let retry = move |category: &_, class| policy.retry_clock(category, class);
            Delivery::start(Arc::clone(&queue), Arc::new(current), Arc::new(retry), clock, shutdown.clone())
        };
        let clients = JoinSet::new();
        Self { world, book, disk, queue, active, in_force, delivery, shutdown, clients }
    }

    /// Does what is to be done. `None`: the machine ends before the world does.
    async fn run(mut self, standing: &mut Standing) -> Option<Remains> {
        while let Some((at, deed)) = self.world.scenario.deeds.get(standing.next).copied() {
            tokio::time::sleep_until(self.book.instant(at)).await;
            standing.next += 1;
            standing.at = self.book.now();
            match deed {
                Deed::Crash => {
                    self.book.fault(Fault::Crash);
                    return None;
                }
                Deed::Restart => {
                    let book = self.book.clone();
                    self.stop().await;
                    standing.at = book.now();
                    return None;
                }
                Deed::Send(serial) => self.send(serial),
                Deed::Reload(number) => {
                    standing.configuration = number;
                    let fresh = letters::in_force(number, &self.world.scenario, &self.book);
                    *self.in_force.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
                    self.book.fault(Fault::Reload);
                    self.delivery.monitor().config_changed();
                }
                Deed::Step(millis) => {
                    self.world.set_by.fetch_add(millis, Ordering::Relaxed);
                    self.book.fault(Fault::Step(millis));
                }
                Deed::Operate(serial, operation) => self.operate(serial, operation),
                Deed::OperateBurst(operation) => self.operate_burst(operation),
                Deed::Count => self.count(),
            }
        }
        self.outlive().await;
        self.look_for_what_is_left();
        let (names, counters) = self.counters();
        let (rows, events, amounts) = self.disk.past(counters);
        self.stop().await;
        let counters = names.into_iter().zip(amounts).map(|((to, at), amount)| (to, at, amount)).collect();
        Some((rows, events, counters))
    }

    /// A polite end: first nothing new is taken, then what is under way gets its time.
    async fn stop(mut self) {
        while self.clients.join_next().await.is_some() {}
        self.shutdown.cancel();
        self.delivery.stopped().await;
        self.book.fault(Fault::Restart);
        let _ = self.queue.close().await;
    }

    fn send(&mut self, serial: usize) {
        let scenario = &self.world.scenario;
        let (id, accepted) = (MessageId::generate(), self.book.clock().now());
        let planned = self.world.universe.desk.planned(scenario, serial, id, accepted);
        let terms = terms(scenario, serial, &self.queue, accepted);
        let (book, queue) = (self.book.clone(), Arc::clone(&self.queue));
        self.clients.spawn(async move {
            let place = book.began(serial, id, accepted);
            let answer = match queue.put(planned, terms).await {
                Ok(Stored::New(_)) => Answer::Taken,
                Ok(Stored::Held(_)) => Answer::Held,
                Ok(Stored::Duplicate(of)) => Answer::Duplicate(of),
                Ok(Stored::OverLimit(_)) => Answer::OverLimit,
                Ok(Stored::Full) => Answer::Full,
                Err(_) => Answer::Failed,
            };
            book.answered(place, answer);
        });
    }

    fn operate(&mut self, serial: usize, operation: Operation) {
        let put = self.book.ledger().puts.iter().rev().find(|put| put.serial == serial).map(|put| put.id);
        let (Some(id), queue) = (put, Arc::clone(&self.queue)) else { return };
        // What comes of it is on record with the commit.
        self.clients.spawn(async move { drop(queue.operate(id, operation).await) });
    }

    fn operate_burst(&mut self, operation: Operation) {
        let queue = Arc::clone(&self.queue);
        self.clients.spawn(async move {
            let open = queue.open_bursts().await.unwrap_or_default();
            if let Some(burst) = open.first() {
                // On record with the commit, too.
                let _ = queue.operate_burst(&burst.id, operation).await;
            }
        });
    }

    /// The numbers that are shown are those of the rows.
    fn count(&self) {
        let (depth, rows) = self.disk.count();
        let of = |class, states: &[State]| {
            rows.iter().filter(|row| row.class == class && states.contains(&row.state)).count() as u64
        };
        let waiting = [State::Queued, State::Attempting];
        let held = Class::ALL.map(|class| of(class, &[State::Held])).iter().sum();
        let counted = (of(Class::Urgent, &waiting), of(Class::Normal, &waiting), held);
        let shown = (depth.urgent, depth.normal, depth.held);
        if counted != shown {
            self.book.breach(format!("the queue says {shown:?} wait, and {counted:?} do"));
        }
    }

    /// Waits until all has ended.
    async fn outlive(&self) {
        while self.book.now() < DOOMSDAY {
            let depth = self.disk.depth().await;
            if depth.is_ok_and(|depth| depth.urgent + depth.normal + depth.held + depth.suppressed == 0) {
                return;
            }
            sleep(LOOK).await;
        }
    }

    /// Nothing is under way any more, and all room is free.
    fn look_for_what_is_left(&self) {
        let status = self.delivery.monitor().status();
        if status.attempts > 0 {
            self.book.breach(format!("{} attempts are under way at the end", status.attempts));
        }
        for upstream in status.upstreams.iter().filter(|upstream| upstream.in_flight > 0) {
            self.book.breach(format!("{} tickets of {} never came back", upstream.in_flight, upstream.name));
        }
        let ActiveLimits { messages, bytes } = limits(&self.world.scenario);
        let room = self.active.room(Class::Urgent);
        if room != (messages, bytes) {
            self.book.breach(format!(
                "of the room for {messages} messages and {bytes} bytes {room:?} is free at the end"
            ));
        }
    }

    /// Every counter that was ever asked for.
    fn counters(&self) -> (Vec<Counted>, Vec<(Digest, Timestamp)>) {
        let scenario = &self.world.scenario;
        let ledger = self.book.ledger();
        let counted = ledger.puts.iter().filter(|put| scenario.kind_of(put.serial).client == COUNTED.0);
        let mut names: Vec<Counted> = counted
            .map(|put| (scenario.submissions[put.serial].to[0].clone(), window(put.accepted)))
            .collect();
        names.sort();
        names.dedup();
        let keys =
            names.iter().map(|(to, at)| (self.queue.digest("counted", &[to.as_bytes()]), *at)).collect();
        (names, keys)
    }
}

fn limits(scenario: &Scenario) -> ActiveLimits {
    ActiveLimits { messages: scenario.active, ..ActiveLimits::default() }
}

/// The beginning of the window that a time is in.
pub fn window(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.as_millis() - at.as_millis().rem_euclid(WINDOW))
}

fn terms(scenario: &Scenario, serial: usize, queue: &Queue, accepted: Timestamp) -> Terms {
    let (kind, submission) = (scenario.kind_of(serial), &scenario.submissions[serial]);
    let counter = |to: &String| Counter {
        key: queue.digest("counted", &[to.as_bytes()]),
        window_start: window(accepted),
        window_end: window(accepted).plus(Duration::from_millis(WINDOW.unsigned_abs())),
        amount: 1,
        limit: COUNTED.1,
    };
    let delay = submission.delay.map(|delay| {
        let reason = Reason::new(ReasonClass::Policy, "delayed by a limit");
        (vec![accepted.plus(delay); submission.to.len()], reason)
    });
    Terms {
        dedupe: Some(DEDUPE),
        counters: if kind.client == COUNTED.0 {
            submission.to.iter().map(counter).collect()
        } else {
            Vec::new()
        },
        burst: Some(BURST),
        delay,
        most_waiting: (scenario.weather == Weather::Rough).then_some(250),
    }
}
