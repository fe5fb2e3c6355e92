use super::*;
use crate::mail::Message;
use crate::policy::{Text, TextLimits};

const GUARDED: [&str; 3] = ["signin", "mfa", "password-reset"];

const CATEGORIES: &str = "guarded = ['signin', 'mfa', 'password-reset']\nopen = ['marketing']\nopen_threshold = 3.0\n\
    [strictness]\nstrict = { threshold = 7.0, margin = 3.0 }\nbalanced = { threshold = 5.0, margin = 2.0 }\n\
    lenient = { threshold = 4.0, margin = 1.0 }\n";

const LANGUAGE: &str = "language = 'xx'\n\
    [[evidence]]\nname = 'four'\nfor = ['signin']\nweights = { text = 4.0 }\nphrases = ['four']\n\
    [[evidence]]\nname = 'six'\nfor = ['mfa']\nweights = { text = 6.0 }\nphrases = ['six']\n\
    [[evidence]]\nname = 'sale'\nfor = ['marketing']\nweights = { text = 5.0 }\nphrases = ['sale']\n";

fn recognition() -> Recognition {
    Recognition::from_files([("categories.toml", CATEGORIES), ("xx.toml", LANGUAGE)]).unwrap()
}

/// Rows of file, category, allowed, ambiguous and the words of the message.
fn judged(rows: &[(&str, &str, &str, &str, &str)]) -> Vec<Judged> {
    let recognition = recognition();
    let lines: Vec<String> = rows
        .iter()
        .map(|(file, category, allowed, ambiguous, _)| {
            format!("{file}\ten\t{category}\t{allowed}\t{ambiguous}")
        })
        .collect();
    let labels = manifest(&format!("file\n{}", lines.join("\n")), &GUARDED).unwrap();
    labels
        .into_iter()
        .zip(rows)
        .map(|(label, (.., words))| {
            let message = Message::new(format!("Subject: x\r\n\r\n{words}\r\n\r\n481516\r\n").into_bytes());
            let examination = recognition.examine(&Text::of(&message, &TextLimits::default()));
            Judged::new(&recognition, label, &examination)
        })
        .collect()
}

#[test]
fn labels_are_mapped() {
    let read = |rows: &str| manifest(&format!("file\tlanguage\n{rows}"), &GUARDED);
    let wanted = |rows: &str| {
        read(rows).map(|labels| labels.into_iter().map(|label| label.wanted).collect::<Vec<_>>())
    };
    assert_eq!(
        wanted(
            "my-app-1.eml\ten\tsignin-code\tallowed\t\na-2\tde\texport-warning\tallowed\tambiguous\na-3\tde\tother\tnot-allowed"
        ),
        Ok(vec![
            Wanted::Passes("signin".to_owned()),
            Wanted::Held("unknown".to_owned()),
            Wanted::Held("security-notice".to_owned()),
        ])
    );
    let label = read("my-app-1.eml\ten\tsignin\tallowed\tambiguous").unwrap().remove(0);
    assert_eq!((label.application.as_str(), label.ambiguous), ("my-app", true));
    // In our own vocabulary an export warning is what it says.
    assert!(matches!(read("a\ten\texport-warning\tallowed"), Err(ManifestError::Category { line: 2, .. })));
    assert_eq!(read("a\ten"), Err(ManifestError::Columns(2)));
    assert!(matches!(read("a\ten\tsignin\tmaybe"), Err(ManifestError::Allowed { line: 2, .. })));
    assert_eq!(read(""), Err(ManifestError::Empty));
}

#[test]
fn everything_is_counted_where_it_belongs() {
    let judged = judged(&[
        ("one-1", "signin", "allowed", "", "six"),
        ("one-2", "password-reset", "allowed", "", "six"),
        ("one-3", "signin", "allowed", "", "four"),
        ("two-1", "marketing", "not-allowed", "", "six"),
        ("two-2", "marketing", "not-allowed", "", "six sale"),
        ("two-3", "security-notice", "not-allowed", "", "six"),
        ("two-4", "signin", "allowed", "ambiguous", "four"),
    ]);
    let report = Report::of(&recognition(), &judged);
    let clear =
        Score { allowed: 3, passing: 2, exact: 1, held: 2, leaking: 1, notices: 1, notices_leaking: 1 };
    assert_eq!(report.clear, clear);
    assert_eq!(report.ambiguous, Score { allowed: 1, ..Score::default() });
    assert_eq!(report.confusion["marketing"]["mfa"], 1);
    assert_eq!(report.confusion["signin"]["-"], 1);
    assert_eq!(report.trade_off[2].score.passing, 3, "the lenient point takes four for enough");
    assert!(judged[1].is_wrong() && !judged[0].is_wrong() && judged[3].is_wrong() && !judged[4].is_wrong());
    let shown = report.to_string();
    assert!(shown.contains("2 of 3, 66.7 % (20.8 to 93.9)"), "{shown}");
}

#[test]
fn goals_are_held_against_what_was_reached() {
    let report = Report::of(
        &recognition(),
        &judged(&[
            ("one-1", "signin", "allowed", "", "six"),
            ("one-2", "marketing", "not-allowed", "", "six"),
        ]),
    );
    assert_eq!(report.missed(&[Goal::MinPassed(100.0), Goal::MinExact(97.0)]), []);
    let missed = report.missed(&[Goal::MaxLeaked(0.5), Goal::MaxNoticesLeaked(3.0)]);
    let told: Vec<_> = missed.iter().map(ToString::to_string).collect();
    assert_eq!(told[0], "at most 0.5 % of other mail may pass: it is 1 of 1, 100.0 % (20.7 to 100.0)");
    assert_eq!(told[1], "at most 3 % of security notices may pass: there is no such message");
}

#[test]
fn an_application_is_judged_at_the_point_the_others_teach() {
    // The others' advertisement reaches six, so nothing at six may pass, however well that would serve this one.
    let report = Report::of(
        &recognition(),
        &judged(&[
            ("one-1", "signin", "allowed", "", "six"),
            ("two-1", "marketing", "not-allowed", "", "six"),
            ("two-2", "signin", "allowed", "", "six four"),
        ]),
    );
    let fold =
        |name: &str| report.cross_validation.folds.iter().find(|fold| fold.application == name).unwrap();
    assert!(fold("one").point.threshold > 6.0, "{:?}", fold("one"));
    assert_eq!(fold("one").score.passing, 0);
    assert_eq!(fold("two").score.leaking, 1);
    assert_eq!(report.cross_validation.total.allowed, 2);
}

#[test]
fn spreads_are_read_off_sorted_values() {
    let spread = Spread::of([0.4, 0.0, 1.0, 0.8, 0.6].into_iter()).unwrap();
    assert_eq!(spread.to_string(), "0.0 | 40.0 60.0 80.0 | 100.0 %");
    assert_eq!(Spread::of(std::iter::empty()), None);
}
