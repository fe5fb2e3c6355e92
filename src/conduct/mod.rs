//! What each client was seen to do, and which strangers knocked: from this an administrator learns what to change in an
//! application, and which one is not configured yet.
//!
//! Bounded: one record for each client there is, a fixed number of strangers, and fixed numbers of names, addresses and
//! refusals in each. Nothing of a message is kept but what kind it was: no address of a person, no subject, no text.

mod advice;
mod file;

pub use advice::{Advice, advise};
pub use file::{keep, load};

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ident::ClientName;
use crate::mail::Message;
use crate::outcome::Reply;
use crate::plain::is_plain;

/// Strangers that are remembered; the one that was not heard of longest gives way.
pub const STRANGERS_MAX: usize = 100;
/// Kinds of refusal that are remembered of one client; the rarest gives way.
pub const REFUSALS_MAX: usize = 20;
/// Names and addresses that are remembered of one client; the oldest gives way.
const NAMES_MAX: usize = 5;
/// How much of a name is kept.
const NAME_LENGTH: usize = 64;
/// The longest line that every server takes (RFC 5321 section 4.5.3.1.6), without its end.
const LINE_MAX: usize = 998;

/// How often something was seen, and when last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// How often.
    pub times: u64,
    /// When last.
    pub last: Timestamp,
}

impl Count {
    fn one_more(&mut self, now: Timestamp) {
        self.times += 1;
        self.last = now;
    }
}

/// A habit of an application that somebody should know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Habit {
    /// It sends without TLS.
    NoTls,
    /// It does not log in, and is known by its address or certificate alone.
    NoAuth,
    /// It ends lines with LF alone.
    BareLf,
    /// It sends lines of more than 998 octets.
    LongLines,
    /// It sends no `Date`.
    NoDate,
    /// It sends no `Message-ID`.
    NoMessageId,
    /// It sends octets above 127 in the body.
    EightBitBody,
    /// It sends octets above 127 in the header.
    EightBitHeader,
}

/// What one client was seen to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// When it was first seen.
    pub first: Timestamp,
    /// When it was last seen.
    pub last: Timestamp,
    /// Messages it handed us, whatever became of them.
    pub messages: u64,
    /// TLS versions, or `none`, by message.
    pub tls: BTreeMap<String, Count>,
    /// What it called itself in EHLO, the latest last.
    pub names: Vec<String>,
    /// From where it came, the latest last.
    pub addresses: Vec<IpAddr>,
    /// What it is in the habit of.
    pub habits: BTreeMap<Habit, Count>,
    /// What it was refused, by code and rule.
    pub refusals: BTreeMap<String, Count>,
}

/// A peer that is nobody we know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stranger {
    /// Attempts to send, and logins that failed.
    pub attempts: Count,
    /// What it called itself last.
    pub name: String,
    /// The listener it came to last.
    pub listener: String,
    /// Whether it tried to log in.
    pub tried_login: bool,
}

/// How a message came.
#[derive(Debug, Clone, Copy)]
pub struct Manner<'a> {
    /// The TLS version, where there was one.
    pub tls: Option<&'a str>,
    /// Whether it had logged in.
    pub logged_in: bool,
    /// Whether a line ended with LF alone.
    pub bare_lf: bool,
    /// What it called itself.
    pub name: &'a str,
    /// From where it came.
    pub address: Option<IpAddr>,
}

/// Everything that was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// By client.
    pub clients: BTreeMap<ClientName, Client>,
    /// By address.
    pub strangers: BTreeMap<IpAddr, Stranger>,
}

/// Takes notes. Shared by all sessions.
#[derive(Debug, Default)]
pub struct Conduct(Mutex<Notes>);

#[derive(Debug, Default)]
struct Notes {
    record: Record,
    is_changed: bool,
}

impl Conduct {
    /// Goes on from an earlier record, forgetting the clients that are not in `known` any more.
    pub fn from_record(mut record: Record, known: impl Fn(&ClientName) -> bool) -> Self {
        record.clients.retain(|name, _| known(name));
        while record.strangers.len() > STRANGERS_MAX {
            drop_oldest(&mut record.strangers);
        }
        Self(Mutex::new(Notes { record, is_changed: false }))
    }

    /// A client handed us a message, and this was the answer.
    pub fn message(
        &self,
        client: &ClientName,
        manner: Manner<'_>,
        message: &Message,
        reply: &Reply,
        now: Timestamp,
    ) {
        // Reading the message takes time that others need not wait for.
        let habits = habits(manner, message);
        let mut notes = self.notes();
        let seen = of(&mut notes, client, now);
        seen.messages += 1;
        seen.tls.entry(manner.tls.unwrap_or("none").to_owned()).or_default().one_more(now);
        put_last(&mut seen.names, short(manner.name));
        if let Some(address) = manner.address {
            put_last(&mut seen.addresses, address);
        }
        for habit in habits {
            seen.habits.entry(habit).or_default().one_more(now);
        }
        if !reply.is_positive() {
            refused(seen, kind_of(reply), now);
        }
    }

    /// A line of a client's ended with LF alone, and its message was refused for that.
    pub fn bare_lf_refused(&self, client: &ClientName, now: Timestamp) {
        let mut notes = self.notes();
        let seen = of(&mut notes, client, now);
        seen.habits.entry(Habit::BareLf).or_default().one_more(now);
        refused(seen, "521 bare <LF>".to_owned(), now);
    }

    /// Somebody who is no client wanted to send.
    pub fn stranger(&self, address: IpAddr, listener: &str, name: &str, now: Timestamp) {
        let mut notes = self.notes();
        let seen = stranger(&mut notes, address, listener, now);
        seen.name = short(name);
    }

    /// A login failed.
    pub fn login_failed(&self, address: IpAddr, listener: &str, now: Timestamp) {
        let mut notes = self.notes();
        stranger(&mut notes, address, listener, now).tried_login = true;
    }

    /// Everything that was seen so far.
    pub fn record(&self) -> Record {
        self.notes().record.clone()
    }

    /// The record, if anything was seen since it was last taken.
    fn take_changed(&self) -> Option<Record> {
        let mut notes = self.notes();
        std::mem::take(&mut notes.is_changed).then(|| notes.record.clone())
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of<'n>(notes: &'n mut Notes, client: &ClientName, now: Timestamp) -> &'n mut Client {
    notes.is_changed = true;
    let first = || Client { first: now, ..Client::default() };
    let seen = notes.record.clients.entry(client.clone()).or_insert_with(first);
    seen.last = now;
    seen
}

fn stranger<'n>(notes: &'n mut Notes, address: IpAddr, listener: &str, now: Timestamp) -> &'n mut Stranger {
    notes.is_changed = true;
    let strangers = &mut notes.record.strangers;
    if strangers.len() >= STRANGERS_MAX && !strangers.contains_key(&address) {
        drop_oldest(strangers);
    }
    let seen = strangers.entry(address).or_default();
    seen.attempts.one_more(now);
    listener.clone_into(&mut seen.listener);
    seen
}

fn drop_oldest(strangers: &mut BTreeMap<IpAddr, Stranger>) {
    let oldest = strangers.iter().min_by_key(|(_, seen)| seen.attempts.last).map(|(address, _)| *address);
    oldest.map(|address| strangers.remove(&address));
}

fn refused(seen: &mut Client, kind: String, now: Timestamp) {
    if seen.refusals.len() >= REFUSALS_MAX && !seen.refusals.contains_key(&kind) {
        let rarest = seen.refusals.iter().min_by_key(|(_, count)| count.times).map(|(kind, _)| kind.clone());
        rarest.map(|kind| seen.refusals.remove(&kind));
    }
    seen.refusals.entry(kind).or_default().one_more(now);
}

fn habits(manner: Manner<'_>, message: &Message) -> Vec<Habit> {
    let lacks = |name| message.values(name).next().is_none();
    let need = message.need();
    let is_long = |line: &[u8]| line.strip_suffix(b"\r").unwrap_or(line).len() > LINE_MAX;
    let all = [
        (manner.tls.is_none(), Habit::NoTls),
        (!manner.logged_in, Habit::NoAuth),
        (manner.bare_lf, Habit::BareLf),
        (message.raw().split(|byte| *byte == b'\n').any(is_long), Habit::LongLines),
        (lacks("Date"), Habit::NoDate),
        (lacks("Message-ID"), Habit::NoMessageId),
        (need.eight_bit_body, Habit::EightBitBody),
        (need.eight_bit_header, Habit::EightBitHeader),
    ];
    all.into_iter().filter_map(|(seen, habit)| seen.then_some(habit)).collect()
}

/// The code and the rule of a refusal. Its other words may name what only this message has.
fn kind_of(reply: &Reply) -> String {
    let code = match reply.enhanced() {
        Some(enhanced) => format!("{} {enhanced}", reply.code()),
        None => reply.code().to_string(),
    };
    let text = reply.lines().first().map_or("", String::as_str);
    let rule = text.rsplit_once("(rule ").and_then(|(_, rest)| rest.split_once([',', ')']));
    match rule {
        Some((rule, _)) => format!("{code} rule {}", short(rule)),
        None => code,
    }
}

fn short(name: &str) -> String {
    name.chars().map(|c| if is_plain(c) { c } else { '?' }).take(NAME_LENGTH).collect()
}

fn put_last<T: PartialEq>(list: &mut Vec<T>, item: T) {
    list.retain(|known| *known != item);
    list.push(item);
    if list.len() > NAMES_MAX {
        list.remove(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Detail;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn manner(name: &str) -> Manner<'_> {
        Manner { tls: Some("TLSv1.3"), logged_in: true, bare_lf: false, name, address: None }
    }

    fn good() -> Reply {
        Reply::new(250, Detail(0, 0), "ok")
    }

    #[test]
    fn habits_are_counted_by_message() {
        let conduct = Conduct::default();
        let app = ClientName::new("app");
        let long = format!("Date: x\r\nMessage-ID: <a@b>\r\n\r\n{}\r\n", "x".repeat(999));
        let plain = "Date: x\r\nMessage-ID: <a@b>\r\n\r\nx\r\n";
        let bad = "Subject: x\r\n\r\nGr\u{fc}\u{df}e\r\n";
        let poor = Manner { tls: None, logged_in: false, bare_lf: true, ..manner("vm") };
        for (text, manner) in [(long.as_str(), manner("a")), (plain, manner("b")), (bad, poor)] {
            conduct.message(&app, manner, &Message::new(text.as_bytes().to_vec()), &good(), NOW);
        }
        let record = conduct.record();
        let seen = &record.clients["app"];
        let habits: Vec<(Habit, u64)> =
            seen.habits.iter().map(|(habit, count)| (*habit, count.times)).collect();
        let expected = [
            Habit::NoTls,
            Habit::NoAuth,
            Habit::BareLf,
            Habit::LongLines,
            Habit::NoDate,
            Habit::NoMessageId,
            Habit::EightBitBody,
        ];
        assert_eq!(habits, expected.map(|habit| (habit, 1)));
        assert_eq!(
            (seen.messages, seen.names.as_slice()),
            (3, ["a", "b", "vm"].map(String::from).as_slice())
        );
        assert_eq!((seen.tls["TLSv1.3"].times, seen.tls["none"].times), (2, 1));
        assert!(seen.refusals.is_empty());
    }

    #[test]
    fn refusals_are_known_by_code_and_rule_and_by_nothing_of_the_message() {
        let conduct = Conduct::default();
        let app = ClientName::new("app");
        let message = Message::new(b"Date: x\r\n\r\n".to_vec());
        for (text, times) in
            [("a link to evil.example is foreign (rule guard:link, id 0199-ab)", 2), ("too late", 1)]
        {
            for _ in 0..times {
                let reply = Reply::new(550, Detail(7, 1), text);
                conduct.message(&app, manner("a"), &message, &reply, NOW);
            }
        }
        let refusals = conduct.record().clients["app"].refusals.clone();
        let refusals: Vec<(&str, u64)> =
            refusals.iter().map(|(kind, count)| (kind.as_str(), count.times)).collect();
        assert_eq!(refusals, [("550 5.7.1", 1), ("550 5.7.1 rule guard:link", 2)]);
    }

    #[test]
    fn a_flood_makes_nothing_grow() {
        let conduct = Conduct::default();
        let app = ClientName::new("app");
        let message = Message::new(b"Date: x\r\n\r\n".to_vec());
        for number in 0..2000_u32 {
            let now = NOW.plus(std::time::Duration::from_secs(number.into()));
            conduct.stranger(IpAddr::from(number.to_be_bytes()), "smtp", &"x".repeat(1000), now);
            let name = format!("host-{number}");
            let from = Manner { address: Some(IpAddr::from(number.to_be_bytes())), ..manner(&name) };
            let reply = Reply::new(550, Detail(7, 1), format!("(rule r{number}, id x)"));
            conduct.message(&app, from, &message, &reply, now);
        }
        let record = conduct.record();
        let seen = &record.clients["app"];
        assert_eq!(record.strangers.len(), STRANGERS_MAX);
        assert!(record.strangers.contains_key(&IpAddr::from(1999_u32.to_be_bytes())), "the latest is there");
        assert_eq!((seen.names.len(), seen.addresses.len()), (NAMES_MAX, NAMES_MAX));
        assert_eq!(seen.refusals.len(), REFUSALS_MAX);
        assert!(record.strangers.values().all(|seen| seen.name.len() == NAME_LENGTH));
    }
}
