//! The numbering plans: which territories stand behind a calling code, and what kinds of numbers they have.
//!
//! Only the library's data is used here, not its parser. The parser looks for a pattern anywhere from the start of a
//! number instead of matching it whole, takes a national prefix away twice, and forgets leading zeros when it looks for
//! the country; each of these would send a code to another number than the one that was meant. Its cache of 100 compiled
//! patterns is also shared by all threads and turned over by numbers of many countries.
//!
//! Invariant: a number has a range other than [`Range::Unknown`] only if a pattern of its territory matches all of it.
//! Patterns are compiled at the first number of a territory and kept; there are as many as there are territories.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use phonenumber::metadata::{DATABASE, Descriptor, Descriptors, Metadata};

use super::pattern::Pattern;
use super::{Country, Range};

/// The most digits of a calling code (ITU-T E.164, section 6.2.1).
const LONGEST_CODE: usize = 3;

type Look = for<'a> fn(&'a Descriptors) -> Option<&'a Descriptor>;

/// The kinds of ranges in the order in which they are asked: where two overlap, the dearer one is meant.
const RANGES: [(Range, Look); 10] = [
    (Range::Premium, Descriptors::premium_rate),
    (Range::TollFree, Descriptors::toll_free),
    (Range::SharedCost, Descriptors::shared_cost),
    (Range::Voip, Descriptors::voip),
    (Range::Personal, Descriptors::personal_number),
    (Range::Pager, Descriptors::pager),
    (Range::UniversalAccess, Descriptors::uan),
    (Range::Voicemail, Descriptors::voicemail),
    (Range::FixedLine, Descriptors::fixed_line),
    (Range::Mobile, Descriptors::mobile),
];

static PLANS: LazyLock<HashMap<u16, Plan>> = LazyLock::new(|| {
    let with_code = |code: u16| DATABASE.by_code(&code).map(|all| (code, Plan::new(code, all)));
    (1..=999).filter_map(with_code).collect()
});

/// Loads the data, where it is not there yet.
pub(super) fn load() {
    LazyLock::force(&PLANS);
}

/// The plan behind one calling code. Several territories may share it; the main one comes first.
pub(super) struct Plan {
    code: u16,
    territories: Vec<Territory>,
}

/// A country, territory or service with numbers of its own.
pub(super) struct Territory {
    country: Option<Country>,
    meta: &'static Metadata,
    kinds: OnceLock<Option<Kinds>>,
    leading: OnceLock<Option<Pattern>>,
    prefix: OnceLock<Option<Pattern>>,
    international: OnceLock<Option<Pattern>>,
}

/// The compiled kinds of a territory. The first is that of all its numbers.
struct Kinds {
    of: Vec<(Range, &'static [u16])>,
    patterns: Pattern,
}

impl Plan {
    /// The plan to which an international number belongs, and the number inside it.
    pub(super) fn of(digits: &str) -> Option<(&'static Self, &str)> {
        (1..=LONGEST_CODE).find_map(|length| {
            let (code, national) = digits.split_at_checked(length)?;
            Some((PLANS.get(&code.parse().ok()?)?, national))
        })
    }

    /// The plan and the territory of a country.
    pub(super) fn of_country(country: Country) -> Option<(&'static Self, &'static Territory)> {
        let plan = PLANS.get(&DATABASE.by_id(country.as_str())?.country_code())?;
        Some((plan, plan.territories.iter().find(|territory| territory.country == Some(country))?))
    }

    fn new(code: u16, all: Vec<&'static Metadata>) -> Self {
        Self { code, territories: all.into_iter().map(Territory::new).collect() }
    }

    /// Its calling code.
    pub(super) fn code(&self) -> u16 {
        self.code
    }

    /// The territory that stands for the whole plan.
    pub(super) fn main(&self) -> Option<&Territory> {
        self.territories.first()
    }

    /// Where a number of this plan belongs, and in which range it is. Where territories share the plan, a number that is
    /// valid in none of them belongs to none.
    pub(super) fn place(&self, national: &str) -> (Option<Country>, Range) {
        if let [only] = self.territories.as_slice() {
            return (only.country, only.range(national));
        }
        for territory in &self.territories {
            let range = territory.range(national);
            let here = match territory.meta.leading_digits() {
                Some(_) => territory.leads(national),
                None => range != Range::Unknown,
            };
            if here {
                return (territory.country, range);
            }
        }
        (None, Range::Unknown)
    }
}

impl Territory {
    fn new(meta: &'static Metadata) -> Self {
        Self {
            country: Country::parse(meta.id()),
            meta,
            kinds: OnceLock::new(),
            leading: OnceLock::new(),
            prefix: OnceLock::new(),
            international: OnceLock::new(),
        }
    }

    fn range(&self, national: &str) -> Range {
        let kinds = self.kinds.get_or_init(|| Kinds::new(self.meta.descriptors()));
        kinds.as_ref().map_or(Range::Unknown, |kinds| kinds.range(national))
    }

    fn leads(&self, national: &str) -> bool {
        let leading = self.leading.get_or_init(|| Pattern::start(self.meta.leading_digits()?.as_str()));
        leading.as_ref().is_some_and(|leading| leading.end(national).is_some())
    }

    /// A national number without what is dialled before it inside the country: a trunk prefix, a carrier's code. Some
    /// countries write their numbers otherwise at home; then it comes back as the world dials it.
    pub(super) fn without_prefix(&self, national: &str) -> Option<String> {
        let prefix = self.prefix.get_or_init(|| {
            Pattern::start(match self.meta.national_prefix_for_parsing() {
                Some(pattern) => pattern.as_str(),
                None => self.meta.national_prefix()?,
            })
        });
        let found = prefix.as_ref()?.find(national, self.meta.national_prefix_transform_rule())?;
        let rest = national.get(found.end..)?;
        match found.replaced {
            Some(whole) => Some(whole + rest),
            None => (found.end > 0).then(|| rest.to_owned()),
        }
    }

    /// What follows the digits by which one dials abroad from here.
    pub(super) fn dialled_abroad<'a>(&self, digits: &'a str) -> Option<&'a str> {
        let prefix =
            self.international.get_or_init(|| Pattern::start(self.meta.international_prefix()?.as_str()));
        digits.get(prefix.as_ref()?.end(digits)?..).filter(|rest| !rest.starts_with('0'))
    }
}

impl Kinds {
    fn new(descriptors: &'static Descriptors) -> Option<Self> {
        let every = std::iter::once((Range::Unknown, descriptors.general()));
        let ranges = RANGES.iter().filter_map(|(range, look)| Some((*range, look(descriptors)?)));
        let all: Vec<_> = every.chain(ranges).collect();
        let patterns = Pattern::whole(all.iter().map(|(_, kind)| kind.national_number().as_str()))?;
        Some(Self {
            of: all.iter().map(|(range, kind)| (*range, kind.possible_length())).collect(),
            patterns,
        })
    }

    fn range(&self, national: &str) -> Range {
        let length = u16::try_from(national.len()).unwrap_or(u16::MAX);
        let matched = self.patterns.matching(national);
        let fits = |(range, lengths): &(Range, &[u16])| {
            (lengths.is_empty() || lengths.contains(&length)).then_some(*range)
        };
        let mut ids = matched.iter().map(|id| id.as_usize()).peekable();
        if ids.next_if_eq(&0).is_none() {
            return Range::Unknown;
        }
        let mut found = ids.filter_map(|index| self.of.get(index).and_then(fits));
        match (found.next(), found.next()) {
            (Some(Range::FixedLine), Some(Range::Mobile)) => Range::FixedLineOrMobile,
            (first, _) => first.unwrap_or(Range::Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_of_every_territory_compiles() {
        assert!(PLANS.len() > 200, "{}", PLANS.len());
        for (code, plan) in PLANS.iter() {
            for territory in &plan.territories {
                let meta = territory.meta;
                assert!(Kinds::new(meta.descriptors()).is_some(), "{code} {}", meta.id());
                for pattern in
                    [meta.leading_digits(), meta.national_prefix_for_parsing(), meta.international_prefix()]
                        .into_iter()
                        .flatten()
                {
                    assert!(
                        Pattern::start(pattern.as_str()).is_some(),
                        "{code} {}: {}",
                        meta.id(),
                        pattern.as_str()
                    );
                }
                assert_eq!(territory.country.is_none(), meta.id() == "001", "{code} {}", meta.id());
            }
        }
    }

    /// The data has an example for each kind of number of each territory.
    #[test]
    fn every_example_of_the_data_is_found_in_its_range() {
        let mut examples = 0;
        for (plan, territory, range, example) in every_example() {
            let (_, found) = plan.place(example);
            let either =
                found == Range::FixedLineOrMobile && matches!(range, Range::FixedLine | Range::Mobile);
            assert!(found == range || either, "+{} {example}: {found:?}, not {range:?}", plan.code);
            // What begins with a number is not that number.
            let longer = format!("{example}{example}");
            assert_eq!(territory.range(&longer), Range::Unknown, "+{} {longer}", plan.code);
            examples += 1;
        }
        assert!(examples > 800, "{examples}");
    }

    /// Fixed lines tell the territory; mobile numbers and services are often those of the whole plan. The two exceptions are
    /// the data's own: Western Sahara's lines are in Morocco's plan, and three islands share theirs to the last digit.
    #[test]
    fn every_example_of_a_fixed_line_is_found_in_its_country() {
        let mut elsewhere: Vec<_> = every_example()
            .filter(|(plan, territory, range, example)| {
                *range == Range::FixedLine && plan.place(example).0 != territory.country
            })
            .map(|(_, territory, ..)| territory.meta.id())
            .collect();
        elsewhere.sort_unstable();
        assert_eq!(elsewhere, ["EH", "MF"]);
    }

    fn every_example() -> impl Iterator<Item = (&'static Plan, &'static Territory, Range, &'static str)> {
        PLANS.values().flat_map(|plan| {
            plan.territories.iter().flat_map(move |territory| {
                RANGES.into_iter().filter_map(move |(range, look)| {
                    Some((plan, territory, range, look(territory.meta.descriptors())?.example()?))
                })
            })
        })
    }
}
