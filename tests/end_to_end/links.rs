//! Where mail leads, what it brings along and what it calls people: refused, flagged, and how that is mended.

use crate::harness::config::{LISTENER, NO_REPLY, client, upstream};
use crate::harness::mail::{message, password_reset};
use crate::harness::relay::Relay;
use crate::harness::upstream::Upstream;

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna@customer.example";
const TOKEN: &str = "8f14e45fceea167a5a36dedd4bea2543";

fn config(provider: &Upstream, business: &str, settings: &str) -> String {
    let business = format!("[businesses.acme]\nurl = \"https://www.acme.example\"\n{business}");
    let app = client("app", &format!("business = \"acme\"\n{settings}"));
    format!("{LISTENER}{app}{business}{NO_REPLY}{}", upstream("provider", provider.address(), ""))
}

fn reset(link: &str) -> Vec<u8> {
    message(&[
        "From: Shop <shop@legacy.example>",
        &format!("To: {ANNA}"),
        "Subject: Reset your password",
        "",
        "Somebody asked to reset the password of your account. To choose a new one, follow this link:",
        link,
        "",
        "If it was not you, ignore this message. Questions? https://help.example/faq",
    ])
}

#[test]
fn a_foreign_token_link_is_refused_and_named() {
    let provider = Upstream::accepting();
    let relay = Relay::start(&config(&provider, "", ""));
    let foreign = reset(&format!("https://login.evil.example/reset/{TOKEN}"));
    let reply = relay.hello().send(FROM, &[ANNA], &foreign).expect(550);
    let text = reply.text();
    assert!(text.starts_with("5.7.1") && text.contains("login.evil.example"), "{reply}");
    assert!(text.contains("rule guard:link") && !text.contains(TOKEN), "{reply}");
    let traced = relay.trace(&reply.id());
    assert_eq!(traced["events"][0]["event"], "refused");
    assert_eq!(traced["events"][0]["rule"], "guard:link");

    // The business's own goes out; the foreign help page is flagged.
    let own = reset(&format!("https://login.acme.example/reset/{TOKEN}"));
    let id = relay.accept(FROM, &[ANNA], &own);
    relay.wait_event(&id, "handed-over");
    relay.wait_line("the flag", |line| line["id"] == id && line["hosts"] == "help.example");
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&id, "handed-over");

    let status = relay.cli(&["status", "--json"]).json();
    let seen = status["foreign_hosts"].as_array().expect("hosts").clone();
    let of = |host: &str| seen.iter().find(|seen| seen["host"] == host).expect("the host").clone();
    assert_eq!(
        (of("help.example")["messages"].as_u64(), &of("help.example")["taken"]),
        (Some(2), &"foreign".into())
    );
    assert_eq!(
        (&of("login.evil.example")["taken"], &of("login.evil.example")["business"]),
        (&"token".into(), &"acme".into())
    );
    let shown = relay.cli(&["status"]).ok().stdout;
    assert!(shown.contains("acme: help.example (foreign, 2 messages)"), "{shown}");
    let proposed = "[businesses.acme]\n  allowed_link_domains = [\"help.example\", \"login.evil.example\"]";
    assert!(shown.contains(proposed), "{shown}");
    assert!(!relay.log().contains(TOKEN) && !shown.contains(TOKEN));
}

#[test]
fn explain_shows_the_links_and_the_line_that_mends_it() {
    let provider = Upstream::accepting();
    let relay = Relay::start(&config(&provider, "", ""));
    let foreign = reset(&format!("https://login.evil.example/reset/{TOKEN}"));
    let file = relay.home.write("foreign.eml", &foreign);
    let path = file.to_str().expect("a path");
    let shown = relay.cli(&["explain", path]).ok().stdout;
    assert!(shown.contains("login.evil.example") && shown.contains("carries a token: refused"), "{shown}");
    assert!(shown.contains("guards     guard:link: a link to login.evil.example carries a token"), "{shown}");
    assert!(shown.contains("[businesses.acme]") && !shown.contains("[[rules]]"), "{shown}");
    let json = relay.cli(&["explain", path, "--json"]).json();
    assert_eq!(json["links"]["links"][0]["taken"], "token");
    assert!(!json["links"].to_string().contains(TOKEN), "{json}");

    // What it says is enough, as it stands there.
    let mended =
        shown.lines().find(|line| line.contains("allowed_link_domains = ")).expect("a line to paste");
    let relay = Relay::start(&config(&provider, &format!("{}\n", mended.trim()), "link_guard = \"strict\""));
    let id = relay.accept(FROM, &[ANNA], &foreign);
    relay.wait_event(&id, "handed-over");
}

#[test]
fn strict_and_off_do_what_they_say() {
    let provider = Upstream::accepting();
    let own = reset(&format!("https://login.acme.example/reset/{TOKEN}"));
    let strict = Relay::start(&config(&provider, "", "link_guard = \"strict\""));
    let reply = strict.hello().send(FROM, &[ANNA], &own).expect(550);
    assert!(reply.text().contains("help.example"), "{reply}");
    let off = Relay::start(&config(&provider, "", "link_guard = \"off\""));
    let foreign = reset(&format!("https://login.evil.example/reset/{TOKEN}"));
    let id = off.accept(FROM, &[ANNA], &foreign);
    off.wait_event(&id, "handed-over");
    let checked = off.cli(&["check"]).ok();
    assert!(checked.stderr.contains("mail that leads to strangers goes out"), "{}", checked.stderr);
}

#[test]
fn guards_stay_on_where_a_client_is_observed() {
    let provider = Upstream::accepting();
    let relay = Relay::start(&config(&provider, "", "observe_until = 2999-12-31"));
    let news = message(&[
        "From: a@legacy.example",
        "Subject: Autumn news",
        "",
        "Everything is cheaper: https://evil.example/",
    ]);
    let reply = relay.hello().send(FROM, &[ANNA], &news).expect(550);
    assert!(reply.text().contains("evil.example") && reply.text().contains("guard:link"), "{reply}");
}

#[test]
fn attachments_and_names_are_refused() {
    let provider = Upstream::accepting();
    let relay = Relay::start(&config(&provider, "", ""));
    let with = |kind: &str, body: &str| {
        message(&[
            "From: a@legacy.example",
            "Subject: Reset your password",
            "Content-Type: multipart/mixed; boundary=b",
            "",
            "--b",
            "",
            "Somebody asked to reset the password of your account. To choose a new one, follow this link:",
            &format!("https://acme.example/reset/{TOKEN}"),
            "--b",
            &format!("Content-Type: {kind}"),
            "Content-Transfer-Encoding: base64",
            "",
            body,
            "--b--",
        ])
    };
    let reply =
        relay.hello().send(FROM, &[ANNA], &with("image/png; name=a.png", "UEsDBBQAAAAIAA==")).expect(550);
    assert!(
        reply.text().contains("an archive is attached") && reply.text().contains("guard:attachment"),
        "{reply}"
    );
    let id = relay.accept(FROM, &[ANNA], &with("image/png; name=a.png", "iVBORw0KGgoAAAANSUhEUg=="));
    relay.wait_event(&id, "handed-over");

    let invitation = |name: &str| {
        message(&[
            "From: a@legacy.example",
            &format!("Subject: {name} has invited you to join the team"),
            "",
            &format!("{name} has invited you to join the team on Acme. Accept the invitation:"),
            &format!("https://acme.example/join/{TOKEN}"),
        ])
    };
    let reply = relay.hello().send(FROM, &[ANNA], &invitation("Free iPads at evil.com")).expect(550);
    assert!(reply.text().contains("guard:name") && reply.text().contains("evil.com"), "{reply}");
    let id = relay.accept(FROM, &[ANNA], &invitation("Dr. O'Brien"));
    relay.wait_event(&id, "handed-over");
}

#[test]
fn a_suppressed_message_is_looked_at_when_an_operator_releases_it() {
    let provider = Upstream::accepting();
    let relay = Relay::start(&config(&provider, "", "category = \"invitation-bulk\""));
    let foreign = relay.accept(FROM, &[ANNA], &reset(&format!("https://evil.example/{TOKEN}")));
    let own = relay.accept(FROM, &[ANNA], &reset(&format!("https://acme.example/{TOKEN}")));
    assert_eq!(relay.events(&foreign), ["suppressed"], "its application does not notice");

    let refused = relay.cli(&["queue", "release", &foreign]);
    let told = ["evil.example", "guard:link", "--force"];
    assert!(
        !refused.status.success() && told.iter().all(|told| refused.stderr.contains(told)),
        "{refused:?}"
    );
    assert_eq!(relay.traced(&foreign)["state"], "suppressed");
    assert_eq!(relay.events(&foreign), ["suppressed"], "it can still be released or removed");
    relay.cli(&["queue", "release", &own]).ok();
    relay.wait_event(&own, "handed-over");

    relay.cli(&["queue", "release", &foreign, "--force"]).ok();
    relay.wait_event(&foreign, "handed-over");
    let traced = relay.trace(&foreign);
    let events = traced["events"].as_array().expect("events");
    let released = events.iter().find(|event| event["event"] == "released").expect("its release");
    assert_eq!(released["reason"], "released by an operator in spite of the guards", "{traced}");
    let line = relay.wait_line("what went out", |line| line["message"] == "released in spite of the guards");
    assert!(
        line["id"] == foreign && line["why"].as_str().is_some_and(|why| why.contains("evil.example")),
        "{line}"
    );
    assert_eq!(relay.log().matches("released in spite of the guards").count(), 1);
    assert!(!relay.log().contains(TOKEN));
}
