use proptest::prelude::*;

use super::*;

fn country(code: &str) -> Option<Country> {
    let known = Country::parse(code);
    assert!(known.is_some(), "{code}");
    known
}

fn read(text: &str, default: Option<Country>) -> String {
    match parse(text, default) {
        Ok(Dialled { number, country, range }) => {
            let country = country.map_or_else(|| "-".to_owned(), String::from);
            format!("{} {country} {}", number.as_str(), range.as_str())
        }
        Err(error) => format!("{error:?}"),
    }
}

#[test]
fn numbers_are_known_for_what_they_are() {
    for (text, expected) in [
        ("+12025550100", "+12025550100 US fixed-line-or-mobile"),
        ("+16135550100", "+16135550100 CA fixed-line-or-mobile"),
        ("+18002345678", "+18002345678 US toll-free"),
        ("+19005550100", "+19005550100 US premium"),
        ("+442079460958", "+442079460958 GB fixed-line"),
        ("+447024000000", "+447024000000 GB personal"),
        ("+447640123456", "+447640123456 GB pager"),
        ("+33899000000", "+33899000000 FR premium"),
        ("+4915112345678", "+4915112345678 DE mobile"),
        ("+393123456789", "+393123456789 IT mobile"),
        // Leading zeros are part of the number.
        ("+390236618300", "+390236618300 IT fixed-line"),
        ("+390669812345", "+390669812345 VA fixed-line"),
        // Numbers of no country.
        ("+80012345678", "+80012345678 - toll-free"),
        ("+80812345678", "+80812345678 - shared-cost"),
        ("+881612345678", "+881612345678 - mobile"),
        ("+979123456789", "+979123456789 - premium"),
    ] {
        assert_eq!(read(text, None), expected);
    }
}

/// Fraud likes numbers that look as if they were in the United States.
#[test]
fn every_country_of_the_north_american_plan_is_itself() {
    for (area, expected) in [
        ("242", "BS"),
        ("246", "BB"),
        ("264", "AI"),
        ("268", "AG"),
        ("284", "VG"),
        ("340", "VI"),
        ("345", "KY"),
        ("441", "BM"),
        ("473", "GD"),
        ("649", "TC"),
        ("664", "MS"),
        ("670", "MP"),
        ("671", "GU"),
        ("684", "AS"),
        ("721", "SX"),
        ("758", "LC"),
        ("767", "DM"),
        ("784", "VC"),
        ("787", "PR"),
        ("809", "DO"),
        ("868", "TT"),
        ("869", "KN"),
        ("876", "JM"),
        ("416", "CA"),
        ("212", "US"),
    ] {
        for last in ["2345678", "5550100", "9999999", "0000000"] {
            let dialled = parse(&format!("+1{area}{last}"), None).unwrap();
            let fits = dialled.country == country(expected)
                || dialled.country.is_none() && dialled.range == Range::Unknown;
            assert!(fits, "{area} {last}: {:?}", dialled.country);
        }
    }
    assert_eq!(read("+18765550100", None), "+18765550100 JM mobile");
}

#[test]
fn what_no_plan_knows_is_read_and_unknown() {
    for (text, expected) in [
        ("+447700900123", "+447700900123 - unknown"),
        ("+12530000", "+12530000 - unknown"),
        ("+11112345678", "+11112345678 - unknown"),
        ("+800123456789", "+800123456789 - unknown"),
        // One digit more than a number has is not that number.
        ("+120255501000", "+120255501000 - unknown"),
        ("+3361234567", "+3361234567 FR unknown"),
    ] {
        assert_eq!(read(text, None), expected);
    }
}

#[test]
fn numbers_are_read_as_people_write_them() {
    for text in [
        "+44 20 7946 0958",
        " +44 (0)20 7946 0958 ",
        "+44-20-7946-0958",
        "(+44) 20/7946.0958",
        "tel:+44-20-7946-0958",
        "TEL:+442079460958",
        "\u{FF0B}\u{FF14}\u{FF14}\u{FF12}\u{FF10}\u{FF17}\u{FF19}\u{FF14}\u{FF16}\u{FF10}\u{FF19}\u{FF15}\u{FF18}",
        "+\u{664}\u{664}\u{662}\u{660}\u{667}\u{669}\u{664}\u{666}\u{660}\u{669}\u{665}\u{668}",
        "\u{202A}+44\u{A0}20\u{2011}7946\u{2011}0958\u{202C}",
    ] {
        assert_eq!(read(text, None), "+442079460958 GB fixed-line", "{text}");
    }
}

#[test]
fn national_numbers_are_read_by_the_default_country() {
    for (text, default, expected) in [
        ("020 7946 0958", "GB", "+442079460958 GB fixed-line"),
        ("20 7946 0958", "GB", "+442079460958 GB fixed-line"),
        ("00 1 202 555 0100", "GB", "+12025550100 US fixed-line-or-mobile"),
        ("01534 556291", "GB", "+441534556291 JE fixed-line"),
        ("0151 12345678", "DE", "+4915112345678 DE mobile"),
        // A forgotten plus is found, but where the digits are a national number too, they are that.
        ("33631966543", "FR", "+33631966543 FR mobile"),
        ("4915112345678", "DE", "+494915112345678 DE fixed-line"),
        ("(202) 555-0100", "US", "+12025550100 US fixed-line-or-mobile"),
        ("1 202 555 0100", "US", "+12025550100 US fixed-line-or-mobile"),
        ("011 44 20 7946 0958", "US", "+442079460958 GB fixed-line"),
        ("876 555 0100", "US", "+18765550100 JM mobile"),
        ("02 3661 8300", "IT", "+390236618300 IT fixed-line"),
        // The prefix 8 is taken away once, and never from a number that begins with it.
        ("8 800 234 56 78", "RU", "+78002345678 RU toll-free"),
        ("8 812 234 56 78", "RU", "+78122345678 RU fixed-line"),
        ("812 234 56 78", "RU", "+78122345678 RU fixed-line"),
        ("8 912 345 67 89", "RU", "+79123456789 RU mobile"),
        // Written otherwise at home than abroad.
        ("011 15 2345-6789", "AR", "+5491123456789 AR mobile"),
        ("0 11 96123-4567", "BR", "+5511961234567 BR mobile"),
        ("0 15 11 96123-4567", "BR", "+5511961234567 BR mobile"),
        // The default is for national numbers only.
        ("+33 6 31 96 65 43", "US", "+33631966543 FR mobile"),
    ] {
        assert_eq!(read(text, country(default)), expected, "{text}");
    }
    for text in ["2025550100", "0044 20 7946 0958", "tel:2025550100"] {
        assert_eq!(parse(text, None), Err(PhoneError::NoCountry), "{text}");
    }
}

#[test]
fn what_is_no_number_is_refused() {
    for text in [
        "",
        " ",
        "+",
        "++442079460958",
        "+44 20 7946 0958 ext. 5",
        "+44 20 7946 0958 x5",
        "+44 20 7946 0958;ext=5",
        "tel:7042;phone-context=example.com",
        "+1-800-FLOWERS",
        "1800flowers",
        "+44 20 7946 0958,5",
        "+44 20 7946 0958 #5",
        "+44*20",
        "44+2079460958",
        "+44 20 7946 0958\n+12025550100",
        "+12",
        "+120255",
        "+1234567890123456",
        "+0044 20 7946 0958",
        "+999 123456789",
        "\u{2074}\u{2074}",
        "+12025550100\0",
        "anna@example.com",
    ] {
        assert_eq!(parse(text, country("GB")), Err(PhoneError::Shape), "{text:?}");
    }
    let long = format!("+44 20 7946 0958{}", " ".repeat(64));
    assert_eq!(parse(&long, None), Err(PhoneError::Shape));
}

#[test]
fn countries_are_two_letters_that_a_plan_knows() {
    assert_eq!(Country::parse("gb").map(String::from).as_deref(), Some("GB"));
    assert_eq!(Country::parse("Jm"), country("JM"));
    for code in ["", "G", "GBR", "UK", "ZZ", "AQ", "001", "1A", "é", "日", "gß", "G B"] {
        assert_eq!(Country::parse(code), None, "{code}");
    }
    let every = phonenumber::metadata::DATABASE.iter().filter(|meta| meta.id() != "001");
    let mut count = 0;
    for meta in every {
        assert!(Plan::of_country(Country::parse(meta.id()).unwrap()).is_some(), "{}", meta.id());
        count += 1;
    }
    assert!(count > 240, "{count}");
    let json = serde_json::to_string(&country("GB")).unwrap();
    assert_eq!(json, "\"GB\"");
    assert_eq!(serde_json::from_str::<Option<Country>>(&json).unwrap(), country("GB"));
    assert!(serde_json::from_str::<Country>("\"ZZ\"").is_err());
}

#[test]
fn errors_and_debug_show_no_number() {
    let dialled = parse("+44 20 7946 0958", None).unwrap();
    assert!(!format!("{dialled:?}").contains("2079460958"), "{dialled:?}");
    for error in [PhoneError::Shape, PhoneError::NoCountry] {
        assert!(!format!("{error:?} {error}").contains("207946"), "{error}");
    }
}

#[test]
fn threads_may_read_at_once() {
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            scope.spawn(move || {
                for index in 0..2_000_u32 {
                    let number = format!("+{}{:08}", 30 + (index + thread) % 60, 20_000_000 + index);
                    let first = parse(&number, None);
                    assert_eq!(parse(&number, None), first, "{number}");
                }
            });
        }
    });
}

/// A country by chance.
fn any_country() -> impl Strategy<Value = Option<Country>> {
    let codes = ["US", "GB", "DE", "IT", "RU", "BR", "AR", "MX", "KZ", "AG", "SM", "GA", "KR", "JP", "CX"];
    prop::sample::select(codes.to_vec()).prop_map(Country::parse)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_text_panics_and_what_is_read_is_read_again(text: String, default in any_country()) {
        if let Ok(dialled) = parse(&text, default) {
            prop_assert_eq!(parse(dialled.number.as_str(), None).map(|again| again.number), Ok(dialled.number));
        }
    }

    #[test]
    fn no_digits_panic_and_what_is_read_is_read_again(
        text in "(\\+|tel:|00|011|8|0)?[0-9 ()/.-]{1,20}",
        default in any_country(),
    ) {
        if let Ok(dialled) = parse(&text, default) {
            let again = parse(dialled.number.as_str(), default).unwrap();
            if dialled.range != Range::Unknown {
                prop_assert_eq!(again, dialled);
            }
        }
    }

    /// An invariant of the module: what is valid is never changed, whatever the default country.
    #[test]
    fn a_number_in_e164_is_never_another(digits in "[1-9][0-9]{6,14}", default in any_country()) {
        let text = format!("+{digits}");
        let Ok(alone) = parse(&text, None) else { return Ok(()) };
        prop_assert_eq!(parse(&text, default), Ok(alone.clone()));
        let (plan, national) = Plan::of(&digits).unwrap();
        if plan.place(national).1 != Range::Unknown {
            prop_assert_eq!(alone.number.as_str(), text);
        }
    }
}
