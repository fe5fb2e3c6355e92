//! What arrives at an upstream that nobody here wrote, over verified TLS.

use crate::harness::config::{LISTENER, NO_REPLY, client};
use crate::harness::independent::Independent;
use crate::harness::mail::{assert_rewritten, message};
use crate::harness::pki::Pki;
use crate::harness::relay::{Home, Relay};

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna@customer.example";

fn relay_to(home: Home, provider: &Independent, authority: &str, password: &str) -> Relay {
    home.write("provider.password", password);
    let port = provider.address().port();
    let upstream = format!(
        "[upstreams.provider]\nhost = \"localhost\"\nport = {port}\nca_file = \"{authority}\"\n\
         user = \"relay\"\npassword_file = \"provider.password\"\n"
    );
    let sender = "[senders.shop]\nfrom = \"Acme Shop <accounts@acme.example>\"\nreturn_path = \"bounces@acme.example\"\n";
    let business = "[businesses.acme]\nurl = \"https://acme.example\"\nsender = \"shop\"\n";
    let client = client("app", "business = \"acme\"\ncategory = \"password-reset\"");
    home.start(&format!("{LISTENER}{client}{NO_REPLY}{sender}{business}{upstream}"))
}

fn difficult_messages() -> Vec<Vec<u8>> {
    let long = "x".repeat(990);
    let own_fields = [
        "Received: from app.legacy.example by mx.legacy.example; Mon, 5 Jan 2026 10:00:00 +0000",
        "From: =?utf-8?Q?Sh=C3=B6p?=",
        " <shop@legacy.example>",
        "Sender: daemon@legacy.example",
        "To: Anna <anna@customer.example>,",
        "\tBert <bert@customer.example>",
        "Subject: =?utf-8?B?UmVzZXQ=?= your",
        "  password",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        "X-Odd:   spaces  and\ttabs  ",
    ];
    let with = |body: &[&str]| {
        let lines: Vec<&str> = own_fields.iter().chain(&[""]).chain(body).copied().collect();
        message(&lines)
    };
    let mut without_final_line_end = with(&["the last line"]);
    without_final_line_end.truncate(without_final_line_end.len() - 2);
    vec![
        with(&["plain", ".", "..", ".dot first", "", "two empty lines follow", "", ""]),
        with(&["Grüße, schöne Wörter, 漢字", &long, "\u{a0}trailing spaces   "]),
        with(&["From: not a header field", "", "From: nor this"]),
        with(&[""]),
        without_final_line_end,
        message(&["Subject: no From at all", "", "body"]),
        message(&["From: a@legacy.example", "Subject: no body"]),
    ]
}

#[test]
fn the_sender_is_rewritten_and_every_other_byte_stands() {
    let home = Home::new();
    let pki = Pki::new(home.path());
    let provider = Independent::guarded(&pki, "relay", "s3cret-of-provider");
    let relay = relay_to(home, &provider, "authority.pem", "s3cret-of-provider");
    for (index, original) in difficult_messages().into_iter().enumerate() {
        let id = relay.accept(FROM, &[ANNA], &original);
        relay.wait_event(&id, "handed-over");
        let mail = provider.wait_taken(index + 1).pop().expect("the newest");
        assert_eq!(mail.reverse_path, "bounces@acme.example");
        assert_eq!(mail.recipients, [ANNA]);
        assert!(!mail.header("From").is_some_and(|from| from.contains("legacy")), "{mail:?}");
        assert_rewritten(&format!("message {index}"), &original, &mail, "accounts@acme.example");
        let received = mail.header("Received").expect("a Received field");
        assert!(!received.contains(ANNA) && !received.contains("127.0.0.1"), "{received}");
    }
}

#[test]
fn a_provider_whose_certificate_is_not_trusted_gets_nothing() {
    let home = Home::new();
    let pki = Pki::new(home.path());
    let provider = Independent::guarded(&pki, "relay", "s3cret-of-provider");
    let other = Home::new();
    std::fs::copy(Pki::new(other.path()).authority, home.file("other.pem")).expect("copied");
    let relay = relay_to(home, &provider, "other.pem", "s3cret-of-provider");
    let id = relay.accept(FROM, &[ANNA], &difficult_messages()[0]);
    let deferred = relay.wait_event(&id, "deferred");
    assert_eq!(deferred["class"], "tls", "{deferred}");
    assert!(provider.taken().is_empty());
}

#[test]
fn a_provider_that_does_not_know_us_gets_nothing() {
    let home = Home::new();
    let pki = Pki::new(home.path());
    let provider = Independent::guarded(&pki, "relay", "s3cret-of-provider");
    let relay = relay_to(home, &provider, "authority.pem", "not-the-password");
    let id = relay.accept(FROM, &[ANNA], &difficult_messages()[0]);
    let deferred = relay.wait_event(&id, "deferred");
    assert_eq!(deferred["class"], "auth", "{deferred}");
    assert!(provider.taken().is_empty());
    assert!(!relay.log().contains("not-the-password"));
}

#[test]
fn a_provider_without_auth_on_offer_gets_nothing() {
    let home = Home::new();
    let provider = Independent::open();
    home.write("provider.password", "s3cret-of-provider");
    let port = provider.address().port();
    let upstream = format!(
        "[upstreams.provider]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"plain\"\n\
         user = \"relay\"\npassword_file = \"provider.password\"\n"
    );
    let client = client("app", "category = \"password-reset\"");
    let relay = home.start(&format!("{LISTENER}{client}{NO_REPLY}{upstream}"));
    let id = relay.accept(FROM, &[ANNA], &difficult_messages()[0]);
    let deferred = relay.wait_event(&id, "deferred");
    assert_eq!(deferred["class"], "auth", "{deferred}");
    assert!(provider.taken().is_empty());
}
