use proptest::prelude::*;

use super::*;
use crate::mail::Message;
use crate::policy::TextLimits;

const CATEGORIES: &str = "guarded = ['signin', 'password-reset']\nopen = ['marketing']\nopen_threshold = 3.0\n\
    [strictness]\nstrict = { threshold = 7.0, margin = 3.0 }\nbalanced = { threshold = 5.0, margin = 2.0 }\n\
    lenient = { threshold = 4.0, margin = 1.0 }\n";

fn shipped() -> &'static Recognition {
    static SHIPPED: std::sync::LazyLock<Recognition> =
        std::sync::LazyLock::new(|| Recognition::shipped().unwrap());
    &SHIPPED
}

fn text(raw: &str) -> Text {
    Text::of(&Message::new(raw.replace('\n', "\r\n").into_bytes()), &TextLimits::default())
}

fn category(raw: &str) -> Option<String> {
    shipped().recognize(&text(raw)).map(|found| found.category.to_string())
}

fn passes(raw: &str) -> bool {
    let guarded = |found: Recognized| shipped().guarded().any(|guarded| *guarded == found.category);
    shipped().recognize(&text(raw)).is_some_and(guarded)
}

fn html(subject: &str, body: &str) -> String {
    format!("Subject: {subject}\nContent-Type: text/html; charset=utf-8\n\n{body}\n")
}

const RESET_LINK: &str = "https://app.example/r?token=8f14e45fceea167a5a36";

fn reset_html() -> String {
    html(
        "Reset your password",
        &format!("<p>You asked to reset your password.</p><a href='{RESET_LINK}'>Reset password</a>"),
    )
}

#[test]
fn the_shipped_files_can_be_read_and_know_every_category_they_name() {
    let shipped = &shipped().compiled;
    assert!(shipped.knowledge.groups.len() > 40);
    let known = crate::policy::shipped_categories();
    for category in &shipped.knowledge.categories {
        assert!(known.iter().any(|known| known.name.as_str() == category.name), "{}", category.name);
    }
}

#[test]
fn every_shipped_phrase_is_found_where_it_stands_alone() {
    let languages =
        SHIPPED.iter().filter(|(file, _)| ![compile::CATEGORIES, compile::STRUCTURE].contains(file));
    let mut index = 0;
    for (name, written) in languages {
        let file: files::LanguageFile = files::parse(name, written).unwrap();
        for entry in &file.evidence {
            for phrase in &entry.phrases {
                let mut phrase = pattern::parse(phrase, &file.words).unwrap();
                if file.also_without_marks {
                    phrase.also_without_marks();
                }
                let words: Vec<_> = phrase.steps.iter().map(|step| step.pieces[0].text.as_str()).collect();
                let view = View::of(&text(&format!("Subject: x\n\n{}\n", words.join(" "))));
                let hits = shipped().compiled.scan(&view);
                assert!(hits.iter().any(|hit| hit.group == index), "{name}: {}: {words:?}", entry.name);
            }
            index += 1;
        }
    }
    assert_eq!(index, shipped().compiled.knowledge.groups.len());
}

#[test]
fn a_broken_file_is_told_with_its_name_and_entry() {
    let entry = |more: &str| {
        format!("language = 'xx'\n[[evidence]]\nname = 'one'\nweights = {{ text = 1.0 }}\n{more}\n")
    };
    for (file, expected) in [
        ("language = ".to_owned(), "xx.toml: "),
        (entry("for = ['signin']\nphrases = ['(a']"), "xx.toml: one: a bracket is not closed"),
        (entry("for = ['signin']\nphrases = ['{a}']"), "xx.toml: one: there is no word list \"a\""),
        (entry("for = ['nothing']\nphrases = ['a']"), "xx.toml: one: there is no category \"nothing\""),
        (entry("for = ['signin']\nphrase = ['a']"), "xx.toml: "),
        (entry("for = ['signin']\nphrases = ['a']").replace("text", "txet"), "xx.toml: "),
        (entry("for = ['signin']\nphrases = ['a']").replace("1.0", "0.0"), "xx.toml: one: it weighs nothing"),
    ] {
        let error =
            Recognition::from_files([("categories.toml", CATEGORIES), ("xx.toml", &file)]).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}

#[test]
fn evidence_counts_once_per_place_and_names_the_rule() {
    let file = "language = 'xx'\n[words]\nopen = ['open', 'opens']\n\
        [[evidence]]\nname = 'door'\nfor = ['signin']\nagainst = ['marketing']\n\
        weights = { subject = 3.0, first = 2.5, text = 1.0 }\nphrases = ['{open} * door + now']\n";
    let recognition = Recognition::from_files([("categories.toml", CATEGORIES), ("xx.toml", file)]).unwrap();
    let link = "https://a.example/";
    let raw =
        format!("Subject: Open the blue door right now\n\nOpens the door now. Open door now.\n\n{link}\n");
    let found = recognition.examine(&text(&raw));
    assert_eq!(
        found.recognized,
        Some(Recognized { category: "signin".into(), rule: "xx.door".to_owned(), score: 5.5 })
    );
    assert_eq!(found.scores.last().map(|(name, score)| (name.as_str(), *score)), Some(("marketing", -5.5)));
    assert_eq!(found.evidence[0].matched, "open the blue door right now");
    // Without anything to act on it is nothing.
    assert_eq!(recognition.recognize(&text(&raw.replace(link, ""))), None);
    // A phrase ends with its sentence, and with its gap.
    for raw in [
        "Subject: Open. The door now",
        "Subject: Openly the door now",
        "Subject: Open a door one two three four five now",
        "Subject: Open one two three four five six seven eight nine ten the door now",
    ] {
        assert!(recognition.examine(&text(&format!("{raw}\n\n{link}\n"))).evidence.is_empty(), "{raw}");
    }
}

#[test]
fn distances_are_the_same_in_every_script() {
    let at = |letter: &str, word: &str| {
        let before = letter.repeat(9);
        let view =
            View::of(&text(&format!("Subject: x\n\n{}{word}\n\n123456\n", format!("{before} ").repeat(12))));
        let start = view.text.find(word).unwrap();
        (view.is_early(0, start), view.is_near_code(start, start + word.len()))
    };
    assert_eq!(at("a", "code"), at("д", "код"));
    assert_eq!(at("д", "код"), (true, true));
}

#[test]
fn scripts_without_spaces_are_read_as_they_are_written() {
    // A Japanese charset, and a line that ends inside a word.
    let japanese = "Subject: =?iso-2022-jp?B?GyRCJVElOSVvITwlSTpGQF9EahsoQg==?=\nContent-Type: text/plain; charset=iso-2022-jp\n\
        Content-Transfer-Encoding: base64\n\nGyRCJVElOSVvITwlSSROOkZAXxsoQg0KGyRCRGokciQ0NHVLPiROSn0kTyEiPCEkThsoQlVSTBskQiRyMyskJCRGJC8kQCQ1JCQhIxsoQg0KDQpodHRwczovL2FwcC5leGFtcGxlL3I/dG9rZW49OGYxNGU0NWZjZWVhMTY3YTVhMzYNCg==\n";
    assert_eq!(category(japanese).as_deref(), Some("password-reset"));
    let view = View::of(&text(japanese));
    assert!(view.text.contains("パスワードの再設定を"), "{}", view.text);
    // A Latin word ends where the other script begins; Korean words go on.
    let file = "language = 'xx'\n[[evidence]]\nname = 'one'\nfor = ['signin']\n\
        weights = { subject = 6.0 }\nphrases = ['url', '코드']\n";
    let recognition = Recognition::from_files([("categories.toml", CATEGORIES), ("xx.toml", file)]).unwrap();
    let found = |subject: &str| {
        let raw = format!("Subject: {subject}\n\nhttps://a.example/\n");
        recognition.recognize(&text(&raw)).is_some()
    };
    assert!(found("次のURLを開く") && found("로그인코드는 아래") && !found("curls"));
}

#[test]
fn a_word_that_languages_share_counts_only_in_one_that_is_spoken() {
    let file = |name: &str, category: &str, phrases: &str| {
        format!(
            "language = '{name}'\n[[evidence]]\nname = '{category}'\nfor = ['{category}']\n\
             weights = {{ subject = 3.0, text = 3.0 }}\nphrases = [{phrases}]\n"
        )
    };
    let (ja, zh) =
        (file("ja", "marketing", "'請求', 'ご請求'"), file("zh", "password-reset", "'重設密碼', '請求'"));
    let files = [("categories.toml", CATEGORIES), ("ja.toml", ja.as_str()), ("zh.toml", zh.as_str())];
    let recognition = Recognition::from_files(files).unwrap();
    let seen = |body: &str| {
        let examined = recognition.examine(&text(&format!("Subject: x\n\n{body}\n")));
        let mut names: Vec<String> = examined.evidence.into_iter().map(|seen| seen.name).collect();
        names.sort();
        names
    };
    assert_eq!(seen("您的重設密碼請求"), ["zh.password-reset"]);
    assert_eq!(seen("ご請求"), ["ja.marketing"]);
    // In which language nobody can tell.
    assert_eq!(seen("請求"), ["ja.marketing", "zh.password-reset"]);
}

#[test]
fn hidden_text_does_not_speak_for_a_message() {
    assert!(passes(&reset_html()));
    let dressed = html(
        "Hello",
        &format!(
            "<div style='display:none'>You asked to reset your password. Reset your password here.</div>\
             <p>See what is new in our shop.</p><a href='{RESET_LINK}'>Look</a>"
        ),
    );
    assert!(!passes(&dressed));
    // And what speaks against it is heard, hidden or not.
    let hidden = "<div style='display:none'>Black Friday: 50% off! Unsubscribe from our newsletter.</div>";
    let score = |raw: &str| {
        let scores = shipped().examine(&text(raw)).scores;
        scores.iter().find(|(name, _)| name.as_str() == "marketing").map_or(0.0, |(_, score)| *score)
    };
    assert!(score(&reset_html().replace("<p>", &format!("{hidden}<p>"))) > score(&reset_html()));
}

#[test]
fn an_alternative_that_says_something_else_is_seen() {
    let other = "Come and see our new shop, it has chairs and tables and lamps of every kind. ".repeat(8);
    let message = |second: &str| {
        format!(
            "Subject: Reset your password\nContent-Type: multipart/alternative; boundary=b\n\n--b\n\
             Content-Type: text/plain\n\nReset your password here: {RESET_LINK}\n--b\n\
             Content-Type: text/html\n\n{second}\n--b--\n"
        )
    };
    assert!(passes(&message("<p>Reset your password</p>")));
    let seen = |raw: &str| shipped().examine(&text(raw)).evidence;
    let name = "structure.OtherAlternative";
    assert!(seen(&message(&other)).iter().any(|evidence| evidence.name == name));
    assert!(!seen(&message("<p>Reset your password</p>")).iter().any(|evidence| evidence.name == name));
}

#[test]
fn a_part_that_would_be_refused_alone_hides_behind_no_other() {
    let reset =
        format!("<p>You asked for a new password.</p><p><a href=\"{RESET_LINK}\">Reset password</a></p>");
    let message = |kind: &str, plain: &str, html: &str| {
        format!(
            "Subject: Reset your password\nContent-Type: multipart/{kind}; boundary=b\n\n--b\n\
             Content-Type: text/plain\n\n{plain}\n--b\nContent-Type: text/html\n\n{html}\n--b--\n"
        )
    };
    let honest = format!("You asked for a new password. Reset password: {RESET_LINK}");
    let advertisements = [
        "Our summer sale: chairs and lamps at a discount, only this week. Shop now.",
        "Register now for our free webinar and save your seat.",
        "Your invoice for August is ready. Thank you for your order.",
        "Your password has been changed. If it was not you, contact support at once.",
    ];
    for kind in ["alternative", "mixed"] {
        assert!(passes(&message(kind, &honest, &reset)), "{kind}");
        for other in advertisements {
            assert!(!passes(&message(kind, other, &reset)), "{kind}, text: {other}");
            assert!(!passes(&message(kind, &honest, &format!("<p>{other}</p>"))), "{kind}, HTML: {other}");
        }
    }
    // A text part that only points to the other, and the footer of a list, say nothing that would be refused.
    for small in ["This message is in HTML.", "You can unsubscribe from other mail in your settings."] {
        assert!(passes(&message("alternative", small, &reset)), "{small}");
    }
}

#[test]
fn template_names_in_the_header_are_evidence() {
    let plain = format!("Subject: Acme\n\nPlease go on here: {RESET_LINK}\n");
    assert_eq!(category(&plain), None);
    assert_eq!(
        category(&format!("X-Template-Name: password_reset\n{plain}")).as_deref(),
        Some("password-reset")
    );
}

#[test]
fn look_alike_letters_do_not_turn_a_refusal_into_a_pass() {
    let notice = "Subject: Your password has been changed\n\nYour password has been changed. Not you? Reset your \
                  password: https://app.example/r?token=8f14e45fceea167a5a36\n";
    assert!(!passes(notice));
    assert!(!passes(&notice.replace("changed", "ch\u{430}nged")));
    assert!(!passes(&notice.replace("changed", "cha\u{200b}nged")));
}

#[test]
fn hostile_size_is_bounded_and_never_passes() {
    let body = format!("Reset your password: {RESET_LINK}\n").repeat(60_000);
    assert!(!passes(&format!("Subject: Reset your password\n\n{body}")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn markup_and_case_do_not_matter(
        noise in prop::collection::vec(
            prop_oneof![
                Just("<!-- newsletter -->"), Just("<span>"), Just("</span>"), Just("<b class='x'>"), Just("</b>"),
                Just("&#8203;"), Just("\u{ad}"), Just("<style>sale</style>"), Just("<i></i>"),
            ],
            4
        ),
        upper in any::<bool>(),
    ) {
        let body = format!(
            "<p>You asked to re{}set your pass{}word.</p><a href='{RESET_LINK}'>{}Reset pass{}word</a>",
            noise[0], noise[1], noise[2], noise[3]
        );
        let subject = if upper { "RESET YOUR PASSWORD" } else { "reset Your passWord" };
        let plain = category(&reset_html());
        prop_assert_eq!(plain.as_deref(), Some("password-reset"));
        prop_assert_eq!(category(&html(subject, &body)), plain);
    }

    #[test]
    fn the_same_text_gets_the_same_answer(words in "(reset|password|your|code|123456|invited|join|team|[a-z]{1,6}| |\n){1,60}") {
        let text = text(&format!("Subject: {}\n\n{words}\n", words.replace('\n', " ")));
        let (one, two) = (shipped().examine(&text), shipped().examine(&text));
        prop_assert_eq!(one.recognized, two.recognized);
        prop_assert_eq!(one.evidence, two.evidence);
    }
}
