//! Who may be sent a code, and how often: nobody may use the endpoint to burn the company's money.
//!
//! [`allow`] decides on the number and names the counters; the store counts them in the transaction that keeps the code,
//! so that neither a restart nor a second node forgets them. [`Smoother`] keeps bursts away from the store and guards no
//! money. [`converts`] closes a country in which codes are asked for and not used. The country and the range of a number
//! are trusted as [`crate::phone`] read them; where money is at stake, not knowing means no.

mod conversion;
mod smoother;

pub use crate::policy::Limit;
pub use conversion::{
    CONVERSION_SENT, CONVERSION_USED, CONVERSION_WINDOW, LEAST_SENT, conversion_windows, converts,
};
pub use smoother::{Refused, Smoother};

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use crate::ident::{BusinessName, ClientName};
use crate::mail::PhoneNumber;
use crate::phone::{Country, Dialled, Range};

/// What is let through.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Whether some upstream costs money. Where none does (a local outbox), countries and ranges are not looked at.
    pub costs_money: bool,
    /// The countries codes are sent to. Empty: none.
    pub countries: BTreeSet<Country>,
    /// Numbers that are accepted and never sent anything.
    pub test_numbers: HashSet<PhoneNumber>,
    /// Limits for one number.
    pub per_number: Vec<Limit>,
    /// Limits for numbers that differ in their last three digits only: sequential numbers are an attack.
    pub per_prefix: Vec<Limit>,
    /// Limits for one client.
    pub per_client: Vec<Limit>,
    /// Limits for one business.
    pub per_business: Vec<Limit>,
    /// Limits for all together: the spend cap.
    pub in_all: Vec<Limit>,
    /// How requests are smoothed inside this process, before the store is asked.
    pub smoothing: Smoothing,
    /// Where falling conversion closes a country.
    pub conversion: Conversion,
}

/// What is shipped: generous to one person, narrow for a machine.
///
/// A person who mistypes asks three times, and five times in ten minutes when the network is bad; who needs more than ten
/// codes a day has another trouble than a missing code. A thousand neighbouring numbers belong to a thousand strangers,
/// of whom twenty in one hour is a busy hour. The hourly limits of client and business are set so that one leaked token
/// burns some hundred euros and not some ten thousand before somebody looks, and the daily limit of all bounds what may be
/// lost in a night. Windows follow each other, so that twice a limit can come through around the end of one.
impl Default for Config {
    fn default() -> Self {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        const DAY: u64 = 24 * HOUR;
        let limit = |most, seconds| Limit { most, within: Duration::from_secs(seconds) };
        Self {
            costs_money: false,
            countries: BTreeSet::new(),
            test_numbers: HashSet::new(),
            per_number: vec![limit(5, 10 * MINUTE), limit(10, DAY)],
            per_prefix: vec![limit(20, HOUR)],
            per_client: vec![limit(2_000, HOUR)],
            per_business: vec![limit(2_000, HOUR)],
            in_all: vec![limit(10_000, DAY)],
            smoothing: Smoothing::default(),
            conversion: Conversion::default(),
        }
    }
}

/// How requests are smoothed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Smoothing {
    /// The most requests a second of one client, in the long run; 0: not smoothed.
    pub client_per_second: u32,
    /// How many it may make at once.
    pub client_burst: u32,
    /// The shortest time between two codes for one number, after two at once; zero: not smoothed.
    pub number_pause: Duration,
}

/// Two at once for a number, because impatient people press twice; an application's restart may bring a hundred at once.
impl Default for Smoothing {
    fn default() -> Self {
        Self { client_per_second: 20, client_burst: 100, number_pause: Duration::from_secs(5) }
    }
}

/// Where codes are asked for and not used, somebody earns by having them sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversion {
    /// The countries that are watched; empty: none.
    pub countries: BTreeSet<Country>,
    /// The least share of codes that must be used, in percent.
    pub least_percent: u32,
}

/// Off: without an application's feedback every country would look like an attack.
impl Default for Conversion {
    fn default() -> Self {
        Self { countries: BTreeSet::new(), least_percent: 10 }
    }
}

/// What a limit is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// One number.
    Number,
    /// Numbers that differ in their last digits only.
    Prefix,
    /// One client.
    Client,
    /// One business.
    Business,
    /// All together.
    All,
}

impl What {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Prefix => "prefix",
            Self::Client => "client",
            Self::Business => "business",
            Self::All => "all",
        }
    }
}

/// One counter to count up in the store, with its limit.
#[derive(Clone, PartialEq, Eq)]
pub struct Tally {
    /// What it is about.
    pub what: What,
    /// Whose it is: a number, a prefix, a name. Only ever stored as a keyed digest.
    pub of: String,
    /// The most it may reach.
    pub limit: Limit,
}

impl std::fmt::Debug for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tally").field("what", &self.what).field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// What becomes of a code that is let on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// It is sent, and counted.
    Send(Vec<Tally>),
    /// It is for a test number: recorded and never sent. No limit of what is sent counts it; its record takes room, so
    /// it has a limit of its own.
    Test(Vec<Tally>),
}

/// Why a code does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// Its country is not in the list.
    #[error("codes are not sent to {}", .0.map_or_else(|| "numbers of no country".to_owned(), |c| c.to_string()))]
    Country(Option<Country>),
    /// Its number is in a range that no person's phone is in, or that costs extra.
    #[error("codes are not sent to {} numbers", .0.as_str())]
    Range(Range),
    /// Too few of the codes sent to its country of late were used.
    #[error("too few codes sent to {0} are used")]
    Conversion(Country),
}

/// Lets a code on, or objects. Pure.
pub fn allow(
    config: &Config,
    dialled: &Dialled,
    client: &ClientName,
    business: Option<&BusinessName>,
) -> Result<Allowed, Objection> {
    if config.test_numbers.contains(&dialled.number) {
        return Ok(Allowed::Test(of(What::Client, &format!("{TEST}{client}"), &[TESTS])));
    }
    if config.costs_money {
        let listed = dialled.country.is_some_and(|country| config.countries.contains(&country));
        if !listed {
            return Err(Objection::Country(dialled.country));
        }
        if !is_a_persons(dialled.range) {
            return Err(Objection::Range(dialled.range));
        }
    }
    Ok(Allowed::Send(tallies(config, &dialled.number, client, business)))
}

/// Whether a person's phone is in this range, and a text to it costs what a text costs. Personal numbers are not: they are
/// charged like premium ones.
fn is_a_persons(range: Range) -> bool {
    match range {
        Range::Mobile | Range::FixedLineOrMobile | Range::FixedLine | Range::Voip => true,
        Range::Personal
        | Range::TollFree
        | Range::Premium
        | Range::SharedCost
        | Range::Pager
        | Range::UniversalAccess
        | Range::Voicemail
        | Range::Unknown => false,
    }
}

/// Stands before a client's name where its codes for test numbers are counted. No name holds such a character.
const TEST: char = '\0';

/// The most codes for test numbers of one client: more than tests need, and no more than a disk takes.
const TESTS: Limit = Limit { most: 1_000, within: Duration::from_hours(1) };

/// How many digits at its end a number may differ in from its neighbours.
const NEIGHBOURS: usize = 3;

/// Every counter of a code, the narrowest first: the first at its limit is the one that is told.
fn tallies(
    config: &Config,
    number: &PhoneNumber,
    client: &ClientName,
    business: Option<&BusinessName>,
) -> Vec<Tally> {
    let whole = number.as_str();
    let prefix = whole.get(..whole.len().saturating_sub(NEIGHBOURS)).unwrap_or(whole);
    let mut all = of(What::Number, whole, &config.per_number);
    all.extend(of(What::Prefix, prefix, &config.per_prefix));
    all.extend(of(What::Client, client.as_str(), &config.per_client));
    if let Some(business) = business {
        all.extend(of(What::Business, business.as_str(), &config.per_business));
    }
    all.extend(of(What::All, "", &config.in_all));
    all
}

fn of(what: What, name: &str, limits: &[Limit]) -> Vec<Tally> {
    limits.iter().map(|limit| Tally { what, of: name.to_owned(), limit: *limit }).collect()
}

#[cfg(test)]
mod tests;
