//! The upstreams of a world: SMTP servers inside this process that accept, put off, refuse, hang and break off, as the dice say.
//!
//! How an upstream feels as a whole (its mood) is drawn for each half minute, what it does to one try at one life for that
//! try. The life is known from MAIL on, because the senders of a world carry its number.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use authrelay::deliver::{Dial, Stream};
use authrelay::ident::UpstreamName;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream};
use tokio::time::sleep;

use crate::dice::Dice;
use crate::ledger::{Book, Moment, Said, Try};
use crate::letters;
use crate::scenario::{TRAFFIC, Weather};

/// How long a mood lasts.
const MOOD: Moment = 30_000;

/// From when on upstreams that come back are well.
pub const WELL: Moment = TRAFFIC + 3 * 60 * 1000;

/// The longest that a healthy upstream thinks over a message, in milliseconds.
pub const THINKS: u64 = 1500;

/// One upstream while a machine runs.
pub struct Provider {
    name: UpstreamName,
    seed: u64,
    weather: Weather,
    book: Book,
    scenario: Arc<crate::scenario::Scenario>,
    /// Transactions under way, and the most there may be.
    busy: AtomicUsize,
    most: usize,
}

/// How an upstream feels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    /// Nobody answers the door.
    Down,
    /// It takes connections and says nothing.
    Mute,
    /// It greets with 421.
    Busy,
    /// It puts every sender off.
    Throttles,
    /// It lets nobody use our sender.
    Forbids,
}

/// What it does to one try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Take,
    DeferAtRcpt,
    DeferAtDot,
    RefuseAtRcpt,
    RefuseAtDot,
    LeaveAtRcpt,
    MuteAtRcpt,
    ThrottleAtRcpt,
    /// Hangs up in the middle of the message.
    CutTheMessage,
    /// Has the message, and hangs up.
    LeaveAfterDot,
    /// Has the message, and says nothing more.
    MuteAfterDot,
    /// Has the message, and says what nobody understands.
    Babble,
}

const CALM: [(u64, Act); 5] = [
    (80, Act::Take),
    (10, Act::DeferAtRcpt),
    (4, Act::DeferAtDot),
    (3, Act::RefuseAtRcpt),
    (3, Act::RefuseAtDot),
];

const ROUGH: [(u64, Act); 12] = [
    (60, Act::Take),
    (8, Act::DeferAtRcpt),
    (5, Act::DeferAtDot),
    (3, Act::RefuseAtRcpt),
    (2, Act::RefuseAtDot),
    (4, Act::LeaveAtRcpt),
    (1, Act::MuteAtRcpt),
    (3, Act::ThrottleAtRcpt),
    (3, Act::CutTheMessage),
    (5, Act::LeaveAfterDot),
    (2, Act::MuteAfterDot),
    (1, Act::Babble),
];

impl Provider {
    /// The upstream of this name, which is to be given at most `most` messages at once.
    pub fn new(name: &str, most: usize, scenario: &Arc<crate::scenario::Scenario>, book: &Book) -> Arc<Self> {
        Arc::new(Self {
            name: UpstreamName::new(name),
            seed: scenario.seed,
            weather: scenario.weather,
            book: book.clone(),
            scenario: Arc::clone(scenario),
            busy: AtomicUsize::new(0),
            most,
        })
    }

    fn mood(&self) -> Mood {
        let now = self.book.now();
        match self.weather {
            Weather::Calm => return Mood::Well,
            Weather::Rough if now >= WELL => return Mood::Well,
            Weather::Hopeless if now >= WELL => return Mood::Down,
            Weather::Rough | Weather::Hopeless => {}
        }
        let mut dice = Dice::of(self.seed, self.name.as_str(), &[now / MOOD]);
        dice.weighed(&[
            (70, Mood::Well),
            (12, Mood::Down),
            (4, Mood::Mute),
            (5, Mood::Busy),
            (6, Mood::Throttles),
            (3, Mood::Forbids),
        ])
    }

    fn act(&self, serial: usize, to: &str, before: u64) -> (Act, Duration) {
        let mut dice = Dice::of(self.seed, to, &[serial as u64, before]);
        let act = match self.weather {
            Weather::Calm => dice.weighed(&CALM),
            // Nobody is put off for ever.
            Weather::Rough | Weather::Hopeless if before > 12 => Act::Take,
            Weather::Rough | Weather::Hopeless => dice.weighed(&ROUGH),
        };
        let most = if self.weather == Weather::Calm { THINKS } else { THINKS / 4 };
        (act, Duration::from_millis(dice.between(20, most)))
    }
}

#[async_trait]
impl Dial for Dialler {
    async fn dial(&self, _host: &str, _port: u16) -> io::Result<Box<dyn Stream>> {
        let mood = self.0.mood();
        if mood == Mood::Down {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (ours, theirs) = tokio::io::duplex(16 << 10);
        let session = Session { provider: Arc::clone(&self.0), stream: BufReader::new(theirs), sender: None };
        tokio::spawn(session.run(mood));
        Ok(Box::new(ours))
    }
}

/// Opens streams to one upstream.
pub struct Dialler(pub Arc<Provider>);

/// One connection.
struct Session {
    provider: Arc<Provider>,
    stream: BufReader<DuplexStream>,
    /// The submission that MAIL named.
    sender: Option<usize>,
}

/// The connection ends here.
struct HangUp;

/// A transaction under way, counted.
struct Busy(Arc<Provider>);

impl Busy {
    fn begin(provider: &Arc<Provider>) -> Self {
        let busy = provider.busy.fetch_add(1, Ordering::Relaxed) + 1;
        if busy > provider.most {
            provider
                .book
                .breach(format!("{} had {busy} messages at once, of {}", provider.name, provider.most));
        }
        Self(Arc::clone(provider))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Session {
    async fn run(mut self, mood: Mood) {
        // However it ends: the stream is closed.
        let _ = self.serve(mood).await;
    }

    async fn serve(&mut self, mood: Mood) -> Result<(), HangUp> {
        match mood {
            Mood::Busy => {
                self.say("421 4.3.2 too busy").await?;
                return Ok(());
            }
            Mood::Mute => return self.until_given_up().await,
            Mood::Well | Mood::Down | Mood::Throttles | Mood::Forbids => self.say("220 ready").await?,
        }
        loop {
            let line = self.line().await?;
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match verb {
                "EHLO" => {
                    let lines = "250-upstream.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 1000000";
                    self.say(lines).await?;
                }
                "MAIL" => self.mail(rest).await?,
                "RCPT" => self.rcpt(rest).await?,
                "RSET" => self.say("250 2.0.0 ok").await?,
                "DATA" => self.say("503 5.5.1 no recipient").await?,
                "QUIT" => {
                    self.say("221 2.0.0 bye").await?;
                    return Ok(());
                }
                _ => self.say("500 5.5.2 what?").await?,
            }
        }
    }

    async fn mail(&mut self, rest: &str) -> Result<(), HangUp> {
        self.sender = None;
        match self.provider.mood() {
            Mood::Throttles => return self.say("451 4.7.1 slow down").await,
            Mood::Forbids => return self.say("550 5.7.1 this sender is not verified").await,
            Mood::Well | Mood::Down | Mood::Mute | Mood::Busy => {}
        }
        self.sender = letters::serial_of(rest);
        self.say("250 2.1.0 ok").await
    }

    async fn rcpt(&mut self, rest: &str) -> Result<(), HangUp> {
        let Some(serial) = self.sender.take() else { return self.say("503 5.5.1 no sender").await };
        let to = rest.trim_start_matches("TO:<").trim_end_matches('>').to_owned();
        let provider = Arc::clone(&self.provider);
        let _busy = Busy::begin(&provider);
        let (place, before) = provider.book.tried(serial, &to, &provider.name);
        let (act, thinks) = provider.act(serial, &to, before);
        match act {
            Act::DeferAtRcpt => self.verdict(place, Said::Deferred, "450 4.2.1 mailbox busy").await,
            Act::RefuseAtRcpt => self.verdict(place, Said::Refused, "550 5.1.1 nobody there").await,
            Act::ThrottleAtRcpt => self.verdict(place, Said::Unavailable, "451 4.7.1 slow down").await,
            Act::LeaveAtRcpt => {
                self.said(place, Said::Unavailable);
                Err(HangUp)
            }
            Act::MuteAtRcpt => {
                self.said(place, Said::Unavailable);
                self.until_given_up().await
            }
            Act::Take
            | Act::DeferAtDot
            | Act::RefuseAtDot
            | Act::CutTheMessage
            | Act::LeaveAfterDot
            | Act::MuteAfterDot
            | Act::Babble => {
                self.say("250 2.1.5 ok").await?;
                self.message(place, serial, act, thinks).await
            }
        }
    }

    async fn message(
        &mut self,
        place: usize,
        serial: usize,
        act: Act,
        thinks: Duration,
    ) -> Result<(), HangUp> {
        if self.line().await? != "DATA" {
            return Err(HangUp);
        }
        self.provider.book.about_try(place, |one, now, wall| one.data = Some((now, wall)));
        self.say("354 go on").await?;
        if act == Act::CutTheMessage {
            self.line().await?;
            return Err(HangUp);
        }
        let text = self.text().await?;
        let whole = text == letters::raw(&self.provider.scenario, serial);
        self.provider.book.about_try(place, |one, now, _| {
            one.dot = Some(now);
            one.whole = whole;
        });
        sleep(thinks).await;
        match act {
            Act::DeferAtDot => self.verdict(place, Said::Deferred, "452 4.2.2 mailbox full").await,
            Act::RefuseAtDot => self.verdict(place, Said::Refused, "554 5.6.0 not that").await,
            Act::LeaveAfterDot => Err(HangUp),
            Act::MuteAfterDot => self.until_given_up().await,
            Act::Babble => {
                self.say("mumble mumble").await?;
                Err(HangUp)
            }
            Act::Take
            | Act::DeferAtRcpt
            | Act::RefuseAtRcpt
            | Act::ThrottleAtRcpt
            | Act::LeaveAtRcpt
            | Act::MuteAtRcpt
            | Act::CutTheMessage => self.verdict(place, Said::Taken, "250 2.0.0 Ok queued").await,
        }
    }

    /// Says nothing until the other end has closed the connection.
    async fn until_given_up(&mut self) -> Result<(), HangUp> {
        loop {
            self.line().await?;
        }
    }

    fn said(&self, place: usize, said: Said) {
        self.provider.book.about_try(place, |one: &mut Try, now, _| one.said = Some((now, said)));
    }

    async fn verdict(&mut self, place: usize, said: Said, reply: &str) -> Result<(), HangUp> {
        self.said(place, said);
        self.say(reply).await
    }

    async fn say(&mut self, reply: &str) -> Result<(), HangUp> {
        let reply = format!("{reply}\r\n");
        self.stream.get_mut().write_all(reply.as_bytes()).await.map_err(|_| HangUp)
    }

    async fn line(&mut self) -> Result<String, HangUp> {
        let mut line = String::new();
        match self.stream.read_line(&mut line).await {
            Ok(read) if read > 0 => Ok(line.trim_end().to_owned()),
            Ok(_) | Err(_) => Err(HangUp),
        }
    }

    async fn text(&mut self) -> Result<Vec<u8>, HangUp> {
        let mut text = Vec::new();
        loop {
            let mut line = Vec::new();
            match self.stream.read_until(b'\n', &mut line).await {
                Ok(read) if read > 0 => {}
                Ok(_) | Err(_) => return Err(HangUp),
            }
            match line.as_slice() {
                b".\r\n" => return Ok(text),
                [b'.', rest @ ..] => text.extend_from_slice(rest),
                whole => text.extend_from_slice(whole),
            }
        }
    }
}
