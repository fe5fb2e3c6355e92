use super::*;
use crate::phone;

fn config() -> Config {
    Config {
        costs_money: true,
        countries: ["US", "GB", "IT"].into_iter().filter_map(Country::parse).collect(),
        test_numbers: [PhoneNumber::parse("+12025550199").unwrap()].into(),
        ..Config::default()
    }
}

fn decide(config: &Config, number: &str) -> Result<Allowed, Objection> {
    let dialled = phone::parse(number, None).unwrap();
    allow(config, &dialled, &ClientName::new("shop"), Some(&BusinessName::new("acme")))
}

#[test]
fn only_listed_countries_are_sent_to() {
    let config = config();
    for number in ["+12025550100", "+442079460958", "+390236618300"] {
        assert!(matches!(decide(&config, number), Ok(Allowed::Send(_))), "{number}");
    }
    let country = |code| Err(Objection::Country(Country::parse(code)));
    // Beside a listed country's code stand countries with the same code.
    assert_eq!(decide(&config, "+18765550100"), country("JM"));
    assert_eq!(decide(&config, "+16135550100"), country("CA"));
    assert_eq!(decide(&config, "+441534556291"), country("JE"));
    assert_eq!(decide(&config, "+4915112345678"), country("DE"));
    assert_eq!(decide(&config, "+881612345678"), Err(Objection::Country(None)));
    assert_eq!(
        decide(&config, "+447700900123"),
        Err(Objection::Country(None)),
        "no valid number, no country"
    );
    let none = Config { countries: BTreeSet::new(), ..config };
    assert_eq!(decide(&none, "+12025550100"), country("US"), "an empty list lets nothing through");
}

#[test]
fn only_ranges_of_persons_are_sent_to() {
    let every = |range| {
        let number = PhoneNumber::parse("+12025550100").unwrap();
        let dialled = Dialled { number, country: Country::parse("US"), range };
        allow(&config(), &dialled, &ClientName::new("shop"), None).map(|_| ())
    };
    for range in [Range::Mobile, Range::FixedLineOrMobile, Range::FixedLine, Range::Voip] {
        assert_eq!(every(range), Ok(()));
    }
    for range in [
        Range::Personal,
        Range::TollFree,
        Range::Premium,
        Range::SharedCost,
        Range::Pager,
        Range::UniversalAccess,
        Range::Voicemail,
        Range::Unknown,
    ] {
        assert_eq!(every(range), Err(Objection::Range(range)));
    }
    assert_eq!(decide(&config(), "+19005550100"), Err(Objection::Range(Range::Premium)));
    assert_eq!(decide(&config(), "+447024000000"), Err(Objection::Range(Range::Personal)));
}

#[test]
fn a_test_number_is_never_sent_to_and_comes_before_all() {
    let nowhere = Config { countries: BTreeSet::new(), ..config() };
    for config in [config(), nowhere] {
        let Ok(Allowed::Test(tallies)) = decide(&config, "+12025550199") else { panic!("not a test") };
        let Ok(Allowed::Send(sent)) = decide(&Config { costs_money: false, ..config }, "+12025550100") else {
            panic!("not sent")
        };
        let [own] = tallies.as_slice() else { panic!("{tallies:?}") };
        assert_eq!((own.what, own.limit.most), (What::Client, 1_000));
        assert!(sent.iter().all(|tally| tally.of != own.of), "what is sent is counted apart");
    }
}

#[test]
fn where_nothing_costs_money_only_the_limits_hold() {
    let free = Config { costs_money: false, countries: BTreeSet::new(), ..config() };
    for number in ["+4915112345678", "+19005550100", "+881612345678", "+447700900123"] {
        let Ok(Allowed::Send(tallies)) = decide(&free, number) else { panic!("{number}") };
        assert_eq!(tallies.len(), 6);
    }
}

#[test]
fn every_limit_has_its_counter_the_narrowest_first() {
    let Ok(Allowed::Send(tallies)) = decide(&config(), "+12025550100") else { panic!() };
    let hour = Duration::from_hours(1);
    let seen: Vec<_> = tallies
        .iter()
        .map(|tally| (tally.what, tally.of.as_str(), tally.limit.most, tally.limit.within))
        .collect();
    assert_eq!(
        seen,
        [
            (What::Number, "+12025550100", 5, Duration::from_mins(10)),
            (What::Number, "+12025550100", 10, 24 * hour),
            (What::Prefix, "+12025550", 20, hour),
            (What::Client, "shop", 2_000, hour),
            (What::Business, "acme", 2_000, hour),
            (What::All, "", 10_000, 24 * hour),
        ]
    );
    let dialled = phone::parse("+12025550100", None).unwrap();
    let Ok(Allowed::Send(without)) = allow(&config(), &dialled, &ClientName::new("shop"), None) else {
        panic!()
    };
    assert!(without.iter().all(|tally| tally.what != What::Business));
    assert_eq!(without.len(), 5);
}

#[test]
fn sequential_numbers_share_a_counter() {
    let prefix = |number: &str| {
        let Ok(Allowed::Send(tallies)) = decide(&config(), number) else { panic!("{number}") };
        tallies.into_iter().find(|tally| tally.what == What::Prefix).map(|tally| tally.of)
    };
    assert_eq!(prefix("+12025550100"), prefix("+12025550987"));
    assert_ne!(prefix("+12025550100"), prefix("+12025551100"));
}

#[test]
fn nothing_shows_a_number() {
    let Ok(allowed) = decide(&config(), "+12025550100") else { panic!() };
    assert!(!format!("{allowed:?}").contains("2025550"), "{allowed:?}");
    for number in ["+18765550100", "+19005550100", "+447700900123"] {
        let objection = decide(&config(), number).unwrap_err();
        assert!(!format!("{objection} {objection:?}").contains("5550100"), "{objection}");
    }
    assert_eq!(Objection::Country(None).to_string(), "codes are not sent to numbers of no country");
    assert_eq!(Objection::Country(Country::parse("JM")).to_string(), "codes are not sent to JM");
}
