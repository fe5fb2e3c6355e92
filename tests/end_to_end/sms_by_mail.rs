//! Codes for phones that come as mail: what an application that knows SMTP alone can do with them, and all it can't.

use crate::harness::config::{LISTENER, NO_REPLY};
use crate::harness::dialogue::{Dialogue, Reply};
use crate::harness::fake_twilio::Act;
use crate::harness::mail::message;
use crate::harness::relay::Relay;
use crate::harness::texts::{ANNA, CODE, OPEN, Provider, text_of, twilio};

const FROM: &str = "app@acme.example";
/// Where each client connects from.
const MFA: &str = "127.0.0.1";
const SIGNIN: &str = "127.0.0.2";
const PLAIN: &str = "127.0.0.3";

/// Three clients of one business: two that send codes by mail, and one that sends mail alone.
fn clients(more: &str) -> String {
    let client = |name: &str, from: &str, rest: &str| {
        format!("[clients.{name}]\nbusiness = \"acme\"\nnetworks = [\"{from}\"]\n{rest}\n")
    };
    [
        client("vault", MFA, "category = \"mfa\"\nsms_by_mail = true"),
        client("door", SIGNIN, "category = \"signin\"\nsms_by_mail = true"),
        client("plain", PLAIN, "category = \"mfa\""),
        format!("[businesses.acme]\nurl = \"https://acme.example\"\n{NO_REPLY}[upstreams.mail]\nkind = \"maildir\"\n{more}"),
    ]
    .concat()
}

struct Scene {
    provider: Provider,
    relay: Relay,
}

impl Scene {
    fn start(otp: &str) -> Self {
        let provider = Provider::start();
        let upstream = twilio("phones", &provider.fake.base_url(), "");
        let relay = Relay::start(&format!("{LISTENER}{}[otp]\n{otp}\n", clients(&upstream)));
        Self { provider, relay }
    }

    fn from(&self, source: &str) -> Dialogue {
        Dialogue::hello_from(source.parse().expect("an address"), self.relay.address())
    }

    /// Sends one message over a connection of its own.
    #[track_caller]
    fn send(&self, source: &str, to: &str, message: &[u8]) -> Reply {
        self.from(source).send(FROM, &[to], message)
    }
}

fn at_domain(number: &str) -> String {
    format!("{number}@sms.relay.test")
}

/// A message with a code in it. `id` makes its Message-ID.
fn code_mail(code: &str, id: &str) -> Vec<u8> {
    message(&[
        "From: Acme <app@acme.example>",
        "Subject: Your sign-in code",
        &format!("Message-ID: <{id}@acme.example>"),
        "",
        &format!("Your verification code is {code}."),
        "It is good for ten minutes.",
    ])
}

#[test]
fn the_code_in_a_mail_goes_out_as_the_one_text() {
    let scene = Scene::start(OPEN);
    let id = scene.send(MFA, &at_domain(ANNA), &code_mail(CODE, "one")).expect(250).id();
    scene.relay.wait_event(&id, "handed-over");
    let [text] = scene.provider.texts(1).try_into().expect("one text");
    assert_eq!((text.field("To"), text.field("Body")), (Some(ANNA), Some(&*text_of(CODE))));
    let traced = scene.relay.traced(&id);
    assert_eq!(
        (traced["category"].as_str(), traced["client"].as_str()),
        (Some("mfa"), Some("vault")),
        "{traced}"
    );
    assert_eq!(scene.relay.events(&id), ["received", "handed-over"]);
    // A code that lets a person in, from the other client, and the number in another spelling of the domain.
    let id =
        scene.send(SIGNIN, &format!("{ANNA}@SMS.Relay.Test"), &code_mail("481 516", "two")).expect(250).id();
    scene.relay.wait_event(&id, "handed-over");
    assert_eq!(scene.relay.traced(&id)["category"], "signin");
    assert_eq!(scene.provider.texts(2)[1].field("Body"), Some(&*text_of("481516")));
    let log = scene.relay.log();
    for secret in [CODE, "481516", "481 516", "5550100"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn who_may_not_is_told_at_rcpt_and_the_domain_is_no_way_out() {
    let scene = Scene::start(&OPEN.replace("primary = true", "primary = false"));
    let rcpt = |source: &str, to: &str| {
        let mut client = scene.from(source);
        client.command(&format!("MAIL FROM:<{FROM}>")).expect(250);
        client.command(&format!("RCPT TO:<{to}>"))
    };
    for (source, to, code, said) in [
        (PLAIN, at_domain(ANNA), 550, "5.7.1 client plain may not send texts by mail"),
        (SIGNIN, at_domain(ANNA), 550, "5.7.1 codes for the primary factor are switched off"),
        (MFA, at_domain("postmaster"), 550, "5.1.3 not a phone number"),
        (MFA, at_domain("2125550100"), 550, "5.1.3 a number without a country code"),
        (MFA, at_domain(ANNA), 250, "recipient ok"),
    ] {
        let reply = rcpt(source, &to).expect(code);
        assert!(reply.text().contains(said), "{reply}");
    }
    // One reply answers a transaction: it is for one phone, or for mailboxes.
    let mut client = scene.from(MFA);
    for (first, second) in [
        (at_domain(ANNA), "anna@example.org".to_owned()),
        ("anna@example.org".to_owned(), at_domain(ANNA)),
        (at_domain(ANNA), at_domain("+12125550101")),
    ] {
        client.command(&format!("MAIL FROM:<{FROM}>")).expect(250);
        client.command(&format!("RCPT TO:<{first}>")).expect(250);
        let reply = client.command(&format!("RCPT TO:<{second}>")).expect(452);
        assert!(reply.text().starts_with("4.5.3 "), "{reply}");
        client.command("RSET").expect(250);
    }
    // The first is sent all the same, and the other one apart.
    client.command(&format!("MAIL FROM:<{FROM}>")).expect(250);
    client.command(&format!("RCPT TO:<{}>", at_domain(ANNA))).expect(250);
    client.command("RCPT TO:<anna@example.org>").expect(452);
    client.command("DATA").expect(354);
    client.write(&code_mail(CODE, "mixed"));
    let id = client.command(".").expect(250).id();
    scene.relay.wait_event(&id, "handed-over");
    assert_eq!(scene.provider.texts(1).len(), 1);
    // Mail of a bound client is mail still.
    let mail = client.send(FROM, &["anna@example.org"], &code_mail(CODE, "mixed")).expect(250).id();
    scene.relay.wait_event(&mail, "handed-over");
    assert_eq!(scene.provider.fake.posts().len(), 1);
}

#[test]
fn mail_without_exactly_one_code_is_refused_with_the_reason_and_on_record() {
    let scene = Scene::start(OPEN);
    let written = |subject: &str, lines: &[&str]| {
        let head = format!("Subject: {subject}");
        message(&[&["From: app@acme.example", &head, ""], lines].concat())
    };
    let newsletter = written(
        "Spring sale: save 30% with your coupon",
        &[
            "Our big spring sale has begun: 30% off everything in the shop, this week only.",
            "Shop now! Use coupon code 481516 at the checkout.",
            "You get this newsletter because you subscribed. Unsubscribe here: https://acme.example/u",
        ],
    );
    let reset = written(
        "Reset your password",
        &[
            "You asked to reset your password. Your password reset code is 481516.",
            "Enter it to choose a new password.",
        ],
    );
    for (what, code, rule) in [
        (written("Your code", &["It will come soon."]), "550 5.6.0", "policy:no-code"),
        (
            written("Your codes", &["Your sign-in code is 481516.", "Your sign-in code is 234242."]),
            "550 5.6.0",
            "policy:several-codes",
        ),
        (written("Your code", &["Your sign-in code is XK4T9PQ2."]), "550 5.6.0", "policy:code-form"),
        (newsletter, "550 5.7.1", "policy:recognized"),
        (reset, "550 5.7.1", "policy:recognized"),
    ] {
        let reply = scene.send(MFA, &at_domain(ANNA), &what);
        let told = reply.to_string();
        assert!(
            told.starts_with(code) && told.contains(&format!("(category mfa, rule {rule}, id ")),
            "{told}"
        );
        assert!(
            !["481516", "234242", "XK4T9PQ2", "5550100"].iter().any(|secret| told.contains(secret)),
            "{told}"
        );
        let event = scene.relay.wait_event(&reply.id(), "refused");
        assert_eq!(
            (event["rule"].as_str(), event["category"].as_str()),
            (Some(rule), Some("mfa")),
            "{event}"
        );
    }
    let trace = scene.relay.trace(ANNA);
    let refused =
        trace["events"].as_array().expect("a list").iter().filter(|event| event["event"] == "refused");
    assert_eq!(refused.count(), 5, "{trace}");
    assert!(scene.provider.fake.requests().is_empty(), "nothing went to the provider");
}

#[test]
fn what_guards_codes_over_http_guards_these() {
    let otp = OPEN.replace("per_number = [\"1000/1h\"]", "per_number = [\"1/1d\"]");
    let scene = Scene::start(&format!("{otp}test_numbers = [\"+12126660100\"]\n"));
    for (number, rule) in [("+447400123456", "guard:country"), ("+19002345678", "guard:range")] {
        let told = scene.send(MFA, &at_domain(number), &code_mail(CODE, number)).expect(550).text();
        assert!(
            told.starts_with("5.7.1 ") && told.contains(&format!("(category mfa, rule {rule}, id ")),
            "{told}"
        );
    }
    scene.send(MFA, &at_domain(ANNA), &code_mail("111111", "first")).expect(250);
    let over = scene.send(MFA, &at_domain(ANNA), &code_mail("222222", "second")).expect(451).text();
    assert!(over.starts_with("4.7.1 too many codes for this number, try again in "), "{over}");
    assert!(over.contains("rule guard:number-limit, id "), "{over}");
    let test = scene.send(MFA, &at_domain("+12126660100"), &code_mail(CODE, "test")).expect(250);
    assert!(test.text().contains("Ok: accepted as "), "{test}");
    scene.relay.wait_event(&test.id(), "suppressed");
    let texts = scene.provider.texts(1);
    assert_eq!(texts.len(), 1);
}

#[test]
fn a_message_that_comes_again_is_one_text_also_after_a_kill() {
    let mut scene = Scene::start(OPEN);
    let once = code_mail(CODE, "once");
    let id = scene.send(MFA, &at_domain(ANNA), &once).expect(250).id();
    scene.relay.wait_event(&id, "handed-over");
    scene.relay.kill9();
    scene.relay.restart();
    let again = scene.send(MFA, &at_domain(ANNA), &once).expect(250);
    assert!(again.text().contains("already queued as") && again.id() == id, "{again}");
    // An application whose Message-IDs are all the same sends every code.
    let other = scene.send(MFA, &at_domain(ANNA), &code_mail("222222", "once")).expect(250).id();
    scene.relay.wait_event(&other, "handed-over");
    let bodies: Vec<String> = scene
        .provider
        .texts(2)
        .iter()
        .map(|text| text.field("Body").unwrap_or_default().to_owned())
        .collect();
    assert_eq!(bodies, [text_of(CODE), text_of("222222")]);
}

#[test]
fn without_the_setting_the_domain_is_like_any_other() {
    let config = clients("[upstreams.phones]\nkind = \"outbox\"\n").replace("sms_by_mail = true", "");
    let relay = Relay::start(&format!("{LISTENER}{config}"));
    let id = relay.accept(FROM, &[&at_domain(ANNA)], &code_mail(CODE, "mail"));
    let event = relay.wait_event(&id, "handed-over");
    assert_eq!(event["upstream"], "mail", "{event}");
    assert!(!relay.home.file("state/outbox.jsonl").exists());
}

#[test]
fn a_message_of_which_nothing_came_is_not_answered_as_if_it_had() {
    let scene = Scene::start(OPEN);
    scene.provider.fake.next(Act::Refuse(400, 21211));
    let once = code_mail(CODE, "once");
    let id = scene.send(MFA, &at_domain(ANNA), &once).expect(250).id();
    scene.relay.wait_event(&id, "failed");
    let again = scene.send(MFA, &at_domain(ANNA), &once).expect(550).text();
    assert!(again.contains(&format!("queued before as {id}, which is failed now")), "{again}");
    assert_eq!(scene.provider.fake.posts().len(), 1);
}

#[test]
fn a_client_of_several_businesses_names_one_by_from() {
    let bolt = "[businesses.bolt]\nurl = \"https://bolt.example\"\n[upstreams.phones]\nkind = \"outbox\"\n";
    let config = clients(bolt).replace("business = \"acme\"\n", "businesses = [\"acme\", \"bolt\"]\n");
    let relay = Relay::start(&format!("{LISTENER}{config}"));
    let from = |domain: &str| {
        let head = format!("From: app@{domain}");
        message(&[&head, "Subject: Your sign-in code", "", "Your sign-in code is 739182."])
    };
    let to = at_domain(ANNA);
    let id = relay.accept(FROM, &[&to], &from("mail.bolt.example"));
    relay.wait_event(&id, "handed-over");
    let outbox = std::fs::read_to_string(relay.home.file("state/outbox.jsonl")).expect("the outbox");
    assert!(outbox.contains("sign in to bolt.example #739182"), "{outbox}");
    let told = relay.hello().send(FROM, &[&to], &from("acme.invalid")).expect(550).text();
    assert!(told.contains("(category mfa, rule policy:business, id "), "{told}");
}

#[test]
fn a_message_that_is_not_read_to_its_end_has_no_only_code() {
    let scene = Scene::start(OPEN);
    let lines = vec!["Nothing is said in this line, and it goes on for a while to say it."; 4_000];
    let head = ["Subject: Your sign-in code", "", "Your sign-in code is 739182.", ""];
    let told = scene.send(MFA, &at_domain(ANNA), &message(&[&head[..], &lines].concat())).expect(550).text();
    assert!(told.starts_with("5.6.0 ") && told.contains("rule guard:unread, id "), "{told}");
}

#[test]
fn explain_says_what_becomes_of_mail_for_a_phone() {
    let scene = Scene::start(OPEN);
    let home = &scene.relay.home;
    home.write("code.eml", code_mail(CODE, "one"));
    home.write("none.eml", "Subject: Your code\r\n\r\nIt will come soon.\r\n");
    let explain = |client: &str, to: &str, file: &str| {
        scene.relay.cli(&["explain", "--client", client, "--to", to, file]).ok().stdout
    };
    let sent = explain("vault", &at_domain(ANNA), "code.eml");
    assert!(sent.contains("250 2.0.0 Ok") && sent.contains("to sign in to acme.example"), "{sent}");
    for (client, to, file, said) in [
        ("vault", at_domain(ANNA), "none.eml", "rule policy:no-code"),
        ("vault", at_domain("+447400123456"), "code.eml", "rule guard:country"),
        ("vault", at_domain("anna"), "code.eml", "5.1.3 not a phone number"),
        ("plain", at_domain(ANNA), "code.eml", "may not send texts by mail"),
    ] {
        let shown = explain(client, &to, file);
        assert!(shown.contains(said) && shown.contains("no text is sent"), "{shown}");
    }
    let mail = explain("vault", "anna@example.org", "code.eml");
    assert!(mail.contains("category   mfa") && mail.contains("route"), "{mail}");
    assert!(scene.provider.fake.requests().is_empty());
}
