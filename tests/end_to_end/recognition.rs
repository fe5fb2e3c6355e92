//! The command line of recognition: how well it does on labelled messages, and its files as somebody edits them.

use std::fmt::Write as _;

use crate::harness::config::small;
use crate::harness::mail::password_reset;
use crate::harness::relay::{Home, Ran};

const ANNA: &str = "anna@customer.example";

const HEAD: &str = "file\tlanguage\tcategory\tallowed\tambiguous\n";

fn home(tables: &str) -> Home {
    let home = Home::new();
    home.write("relay.toml", small("127.0.0.1:1".parse().expect("an address"), "", tables));
    home
}

/// Four messages, and labels of which half are wrong for each thing that is counted: of two allowed ones one passes, of
/// other mail one of two, and of security notices one of two.
fn labelled(home: &Home) {
    std::fs::create_dir_all(home.file("mails/eml")).expect("a folder");
    let nothing = b"From: a@legacy.example\r\nSubject: Lunch\r\n\r\nThe canteen has soup today.\r\n";
    let mut manifest = HEAD.to_owned();
    for (name, category, allowed) in [
        ("shop", "password-reset", "allowed"),
        ("crm", "marketing", "not-allowed"),
        ("wiki", "security-notice", "not-allowed"),
    ] {
        for (number, raw) in [password_reset(ANNA), nothing.to_vec()].into_iter().enumerate() {
            home.write(&format!("mails/eml/{name}-{number}.eml"), raw);
            writeln!(manifest, "{name}-{number}.eml\ten\t{category}\t{allowed}\t")
                .expect("a string takes everything");
        }
    }
    home.write("mails/manifest.tsv", manifest);
}

fn eval(home: &Home, more: &[&str]) -> Ran {
    home.cli(&[&["eval", "mails"], more].concat())
}

#[test]
fn each_goal_that_is_missed_is_told_and_is_the_exit_status() {
    let home = home("");
    labelled(&home);
    let goals = [
        ("--min-passed", "50", "51", "has to pass: it is 1 of 2"),
        ("--min-exact", "50", "51", "exact category: it is 1 of 2"),
        ("--max-leaked", "50", "49", "other mail may pass: it is 1 of 2"),
        ("--max-notices-leaked", "50", "49", "security notices may pass: it is 1 of 2"),
    ];
    let all: Vec<&str> = goals.iter().flat_map(|(goal, met, _, _)| [*goal, *met]).collect();
    let met = eval(&home, &all).ok();
    assert!(!met.stderr.contains("missed"), "{met:?}");
    for (goal, _, missed, word) in goals {
        let ran = eval(&home, &[goal, missed]);
        assert_eq!(ran.status.code(), Some(1), "{goal}: {ran:?}");
        let told: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("missed: ")).collect();
        assert!(told.len() == 1 && told[0].contains(word), "{goal}: {ran:?}");
        assert!(ran.stdout.contains("password-reset"), "the report is there all the same: {ran:?}");
    }
    let json = eval(&home, &["--json", "--min-passed", "51"]);
    assert_eq!(json.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_str(&json.stdout).expect("nothing but JSON");
    let score = &report["clear"];
    assert_eq!(
        (&score["allowed"], &score["passing"], &score["held"]),
        (&2.into(), &1.into(), &2.into()),
        "{score}"
    );
    assert_eq!((&score["leaking"], &score["notices_leaking"]), (&1.into(), &1.into()), "{score}");
    assert_eq!(report["confusion"]["marketing"]["password-reset"], 1);
    let listed = eval(&home, &["--list", "wrong"]).ok().stdout;
    let wrong = listed.split("\nwrong\n").nth(1).expect("the list");
    assert!(["shop-1.eml", "crm-0.eml", "wiki-0.eml"].iter().all(|file| wrong.contains(file)), "{listed}");
    assert_eq!(wrong.lines().count(), 3, "{listed}");
}

#[test]
fn labels_that_cannot_be_used_are_told_with_their_line() {
    let home = home("");
    labelled(&home);
    let right = "shop-0.eml\ten\tpassword-reset\tallowed\t\n";
    let cases = [
        ("shop-0.eml\ten\tpassword-reset\tyes\t\n", vec!["line 3", "\"yes\"", "not-allowed"]),
        ("shop-0.eml\ten\tmarketing\tallowed\t\n", vec!["line 3", "\"marketing\""]),
        ("shop-0.eml\ten\n", vec!["line 3", "five columns"]),
        ("gone-0.eml\ten\tsignin\tallowed\t\n", vec!["gone-0.eml", "can't be read"]),
    ];
    for (row, words) in cases {
        home.write("mails/manifest.tsv", format!("{HEAD}{right}{row}"));
        let ran = eval(&home, &[]);
        assert!(
            !ran.status.success() && words.iter().all(|word| ran.stderr.contains(word)),
            "{row}: {ran:?}"
        );
    }
    home.write("mails/manifest.tsv", HEAD);
    assert!(eval(&home, &[]).stderr.contains("no message"), "an empty one proves nothing");
    std::fs::remove_file(home.file("mails/manifest.tsv")).expect("removed");
    let ran = eval(&home, &[]);
    assert!(!ran.status.success() && ran.stderr.contains("manifest.tsv can't be read"), "{ran:?}");
}

#[test]
fn files_are_exported_whole_or_not_at_all() {
    let home = home("");
    let files = |folder: &str| std::fs::read_dir(home.file(folder)).map_or(0, Iterator::count);
    home.cli(&["recognition", "export", "one", "--only", "fr"]).ok();
    assert_eq!(files("one"), 1);
    let again = home.cli(&["recognition", "export", "one"]);
    assert!(!again.status.success() && again.stderr.contains("fr.toml"), "{again:?}");
    assert_eq!(files("one"), 1, "nothing beside a file that is there");
    let all = home.cli(&["recognition", "export", "all"]).ok().stdout;
    assert!(files("all") > 30 && all.contains(&format!("{} files", files("all"))), "{all}");
    let unknown = home.cli(&["recognition", "export", "none", "--only", "klingon"]);
    assert!(!unknown.status.success() && unknown.stderr.contains("klingon"), "{unknown:?}");
    assert!(unknown.stderr.contains("fr, ") && unknown.stderr.contains("structure"), "{unknown:?}");
    assert_eq!(files("none"), 0);
}

#[test]
fn an_edited_file_decides_and_a_wrong_one_is_told_with_file_and_entry() {
    let home = home("[recognition]\ndirectory = \"own\"\n");
    // Without the folder the configuration is wrong; the export has to work all the same.
    home.cli(&["recognition", "export", "own", "--only", "en"]).ok();
    let path = home.file("own/en.toml");
    let shipped = std::fs::read_to_string(&path).expect("the file");
    home.cli(&["check"]).ok();
    let entry = "[[evidence]]\nname = \"test.soup\"\nfor = [\"password-reset\"]\n\
                 weights = { subject = 9.0, text = 9.0 }\nphrases = [\"canteen has soup\"]\n";
    let wrong = [
        (entry.replace("password-reset", "sign-in"), vec!["test.soup", "\"sign-in\""]),
        (entry.replace("\"canteen", "\"(canteen"), vec!["test.soup", "bracket"]),
        (entry.replace("phrases", "phrase"), vec!["line ", "phrase", "phrases"]),
        ("name = = 1\n".to_owned(), vec!["line ", "= ="]),
    ];
    for (added, words) in wrong {
        home.write("own/en.toml", format!("{shipped}\n{added}"));
        let ran = home.cli(&["check"]);
        assert_eq!(ran.status.code(), Some(78), "{added}: {ran:?}");
        let told = &ran.stderr;
        assert!(told.contains("en.toml") && words.iter().all(|word| told.contains(word)), "{added}: {ran:?}");
    }
    // A right one is followed.
    home.write("soup.eml", "From: a@legacy.example\nSubject: Lunch\n\nThe canteen has soup today: https://a.example/menu?t=8f14e45fceea167a5a36dedd4bea2543\n");
    let scored = |text: &str| {
        home.write("own/en.toml", text);
        home.cli(&["explain", "soup.eml", "--json"]).json()["evidence"].to_string()
    };
    assert!(!scored(&shipped).contains("test.soup"));
    let followed = scored(&format!("{shipped}\n{entry}"));
    assert!(followed.contains("test.soup") && followed.contains("canteen has soup"), "{followed}");
}
