//! The link guard on real and on hostile messages: what it takes, and what it would refuse.
//!
//! `AUTHRELAY_CORPUS` names a directory of labelled messages (see `recognition.rs`); without it that part is skipped.

#![expect(clippy::print_stdout, reason = "a test that prints what it measured")]

#[path = "common/skipped.rs"]
mod skipped;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use authrelay::guard::attachment::forbidden;
use authrelay::guard::links::{Domains, LinkGuard, Survey, Taken, survey};
use authrelay::guard::names;
use authrelay::mail::Message;
use authrelay::policy::{Recognition, Text, TextLimits};

fn read(message: &Message) -> Text {
    Text::of(message, &TextLimits::default())
}

fn of(domains: &[&str]) -> Domains {
    Domains { allowed: domains.iter().map(|&domain| domain.to_owned()).collect(), ..Domains::default() }
}

/// The last two labels of the host to which most links of the message lead: what a business would have configured.
fn own_domain(survey: &Survey) -> Option<String> {
    let is_link = |taken: Taken| taken == Taken::Unknown;
    let most = survey.links.iter().filter(|seen| is_link(seen.taken) && seen.host.contains('.'));
    let host = &most.max_by_key(|seen| seen.count)?.host;
    let labels: Vec<&str> = host.split('.').collect();
    Some(labels[labels.len().saturating_sub(2)..].join("."))
}

#[test]
fn honest_mail_is_let_out() {
    let Some(directory) = std::env::var_os("AUTHRELAY_CORPUS") else {
        return skipped::skipped("the link guard on labelled messages: AUTHRELAY_CORPUS is not set");
    };
    let directory = Path::new(&directory);
    let recognition = Recognition::shipped().unwrap();
    let manifest = std::fs::read_to_string(directory.join("manifest.tsv")).unwrap();
    let mut why: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut all, mut let_out) = (0, 0);
    let (mut reading, mut surveying) = (Duration::ZERO, Duration::ZERO);
    for row in manifest.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>()) {
        if row[3] != "allowed" {
            continue;
        }
        let message = Message::new(std::fs::read(directory.join("eml").join(row[0])).unwrap());
        let start = tokio::time::Instant::now();
        let text = read(&message);
        reading += start.elapsed();
        let domain =
            own_domain(&survey(&text, None, &recognition)).unwrap_or_else(|| "acme.example".to_owned());
        let domains = of(&[&domain]);
        let start = tokio::time::Instant::now();
        let survey = survey(&text, Some(&domains), &recognition);
        surveying += start.elapsed();
        let link = survey.objection(LinkGuard::On).map(|seen| format!("{:?} {}", seen.taken, seen.host));
        let name = names::problem(&text, &row[2].into(), Some(&domains), &recognition)
            .map(|found| format!("{found:?}"));
        let enclosed = text.enclosures.iter().find_map(forbidden).map(|found| found.to_string());
        let unread = text.unread.then(|| "unread".to_owned());
        all += 1;
        match link.or(name).or(enclosed).or(unread) {
            Some(reason) => why.entry(reason).or_default().push(format!("{} ({domain})", row[0])),
            None => let_out += 1,
        }
    }
    println!("{let_out} of {all} let out; reading {reading:?}, surveying {surveying:?}");
    for (reason, files) in &why {
        println!("  {reason}: {}", files.join(" "));
    }
    assert!(all > 0 && let_out * 100 >= all * 90, "{let_out} of {all}");
}

/// Ten megabytes made to be slow. What grows with the square of the size takes minutes here.
#[test]
fn hostile_messages_take_bounded_time() {
    let recognition = Recognition::shipped().unwrap();
    let (plain, html) = ("Subject: x\r\n\r\n", "Content-Type: text/html\r\n\r\n");
    let multipart = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";
    for (head, unit) in [
        (plain, "https://"),
        (plain, "https://a.example/?u=https://b.example/"),
        (plain, "a.example/x,"),
        (plain, "a.example "),
        (plain, "www."),
        (plain, "\u{4e2d}.\u{3002}"),
        (plain, "://"),
        (plain, "begin "),
        (plain, "begin 644 a\n"),
        (plain, "begin 644 a\n(35J0``,```\n"),
        (html, "<xmp>"),
        (html, "<title><a href=x>"),
        (html, "<title></title><template>x</template>"),
        (html, "<script type=application/ld+json>\\u0068</script>"),
        (html, "<set to='a;b;c'>"),
        (html, "<a href='https://a.example/?u=https://b.example/'>x</a>"),
        (html, "<base href=//a.example><a href=x>"),
        (html, "<a href=\"&#0000000000104;"),
        (html, "<!--[if mso]><a href=x>"),
        (html, "<!--[if mso]><a href=x><![endif]-->"),
        (html, "<!----"),
        (html, "<img srcset='a 1x,b 2x'>"),
        (html, "<style>.a{display:none}</style><p class=a>"),
        (html, "<style>{/*"),
        (html, "<p style='background:url(x);'>"),
        (html, "<meta http-equiv=refresh content='0;url=https://a.example/'>"),
        (
            multipart,
            "--b\r\nContent-Type: application/zip; name=a.zip\r\nContent-Transfer-Encoding: base64\r\n\r\nUEsDBA==\r\n",
        ),
    ] {
        let message = Message::new(format!("{head}{}", unit.repeat(10_000_000 / unit.len())).into_bytes());
        let start = tokio::time::Instant::now();
        let text = read(&message);
        let read = start.elapsed();
        survey(&text, Some(&of(&["acme.example"])), &recognition);
        names::problem(&text, &"invitation".into(), Some(&of(&["acme.example"])), &recognition);
        let taken = start.elapsed();
        println!("{read:>12?} {taken:>12?} {head:?} {unit:?}");
        assert!(taken < Duration::from_secs(20), "{taken:?} {head:?} {unit:?}");
    }
}

/// A link beyond all that is read as text is found all the same, and more links than are kept are told.
#[test]
fn nothing_can_be_stuffed_in_front_of_a_link() {
    let recognition = Recognition::shipped().unwrap();
    let link = "https://evil.example/8f14e45fceea167a5a36dedd4bea2543";
    for (head, filling, link) in [
        ("Subject: x\r\n\r\n", "word ".repeat(60_000), link.to_owned()),
        ("Content-Type: text/html\r\n\r\n", "<p>words</p>".repeat(30_000), format!("<a href={link}>x</a>")),
        ("Content-Type: text/html\r\n\r\n", "<p>words</p>".repeat(30_000), link.to_owned()),
    ] {
        let text = read(&Message::new(format!("{head}https://acme.example/ {filling}{link}").into_bytes()));
        assert!(text.incomplete && !text.unread);
        let survey = survey(&text, Some(&of(&["acme.example"])), &recognition);
        assert_eq!(survey.objection(LinkGuard::On).map(|seen| seen.taken), Some(Taken::Token), "{head}");
    }
    let many: Vec<String> = (0..600).map(|number| format!("https://acme.example/{number} ")).collect();
    let many = many.concat();
    assert!(read(&Message::new(format!("Subject: x\r\n\r\n{many}").into_bytes())).unread);
}
