//! What is counted of codes: how many went where, for the limits that guard money, and how many were used, for
//! conversion. The store counts, in the transaction that keeps a code; here it is said what, and what a limit means.

use std::time::Duration;

use super::code::{CodeObjection, CodeRequest, LimitMet};
use crate::clock::Timestamp;
use crate::guard::sms::{self as guard, Config, Tally, What};
use crate::phone::Country;
use crate::queue::{Counter, Queue, State, StoreError};

/// How long it is known how many codes of a country were taken and used.
const CONVERSION_KEPT: Duration = Duration::from_hours(24);

/// What one code counts up.
pub(super) struct Counts {
    limited: Vec<(Tally, Counter)>,
    conversion: Option<Counter>,
}

impl Counts {
    /// What is counted of a code that becomes a row in `state`.
    pub(super) fn new(
        queue: &Queue,
        config: &Config,
        request: &CodeRequest,
        state: State,
        tallies: Vec<Tally>,
    ) -> Self {
        let at = request.accepted;
        let counter = |Tally { what, of, limit }: &Tally| {
            queue.counter(purpose(*what), &[of], at, limit.within, limit.most)
        };
        let limited = tallies.into_iter().map(|tally| (counter(&tally), tally));
        let country = watched(config, request.to.country).filter(|_| state == State::Queued);
        Self {
            limited: limited.map(|(counter, tally)| (tally, counter)).collect(),
            conversion: country.map(|country| conversion(queue, guard::CONVERSION_SENT, country, at)),
        }
    }

    /// The counters. Those with a limit come first: the one at its limit is told by its index.
    pub(super) fn counters(&self) -> Vec<Counter> {
        self.limited.iter().map(|(_, counter)| counter).chain(&self.conversion).cloned().collect()
    }

    /// The objection of the counter at `index`.
    pub(super) fn over_limit(&self, index: usize, now: Timestamp) -> CodeObjection {
        match self.limited.get(index) {
            Some((Tally { what, limit, .. }, counter)) => {
                let retry_after = now.until(counter.window_end);
                CodeObjection::Limit(LimitMet { what: *what, limit: *limit, retry_after })
            }
            None => StoreError::Failed("a counter without a limit was at its limit".to_owned()).into(),
        }
    }
}

/// Whether enough of the codes that went to this country lately were used.
pub(super) async fn converts(
    queue: &Queue,
    config: &Config,
    request: &CodeRequest,
    state: State,
) -> Result<(), CodeObjection> {
    let country = watched(config, request.to.country).filter(|_| state == State::Queued);
    let Some(country) = country else { return Ok(()) };
    let windows = guard::conversion_windows(request.accepted);
    let sum = async |name| {
        let counters = windows.iter().map(|at| conversion(queue, name, country, *at));
        let of = counters.map(|counter| (counter.key, counter.window_start)).collect();
        Ok::<u64, StoreError>(queue.amounts(of).await?.into_iter().sum())
    };
    let (sent, used) = (sum(guard::CONVERSION_SENT).await?, sum(guard::CONVERSION_USED).await?);
    Ok(guard::converts(&config.conversion, Some(country), sent, used)?)
}

/// What a code to `country` that was used counts up: for the time when it was taken.
pub(super) fn used(
    queue: &Queue,
    config: &Config,
    country: Option<Country>,
    taken: Timestamp,
) -> Vec<Counter> {
    let counter = |country| conversion(queue, guard::CONVERSION_USED, country, taken);
    watched(config, country).map(counter).into_iter().collect()
}

fn conversion(queue: &Queue, name: &str, country: Country, at: Timestamp) -> Counter {
    let counter = queue.counter(name, &[country.as_str()], at, guard::CONVERSION_WINDOW, u32::MAX);
    Counter { window_end: counter.window_start.plus(CONVERSION_KEPT), ..counter }
}

/// The country, where falling conversion would close it.
fn watched(config: &Config, country: Option<Country>) -> Option<Country> {
    country.filter(|country| config.conversion.countries.contains(country))
}

/// What a counter is for, as it goes into its key: stored counters are found by it, so it stays as it is.
fn purpose(what: What) -> &'static str {
    match what {
        What::Number => "sms-number",
        What::Prefix => "sms-prefix",
        What::Client => "sms-client",
        What::Business => "sms-business",
        What::All => "sms-all",
    }
}
