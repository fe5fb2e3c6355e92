//! A provider that can't prove who it is: nothing is handed to it, no password shown, and the reason is told in words.

use std::path::Path;

#[path = "../support/certificates.rs"]
mod made;

use made::{Authority, VALID, params};
use rcgen::KeyPair;

use crate::harness::config::{LISTENER, NO_REPLY, client};
use crate::harness::independent::Independent;
use crate::harness::mail::password_reset;
use crate::harness::pki::Pki;
use crate::harness::relay::Home;

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna@customer.example";

/// Certificate and key, PEM.
type Pair = (String, String);

fn issued(authority: &Authority, name: &str, years: (i32, i32)) -> Pair {
    let (certificate, key) = authority.issue(name, years);
    (certificate.pem(), key.serialize_pem())
}

fn self_signed() -> Pair {
    let key = KeyPair::generate().expect("a key");
    let own = params("localhost", VALID).self_signed(&key).expect("a certificate");
    (own.pem(), key.serialize_pem())
}

fn provider(folder: &Path, (certificate, key): &Pair) -> Independent {
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a file in the test's folder");
        path
    };
    let pki = Pki {
        authority: folder.join("authority.pem"),
        certificate: file("server.pem", certificate),
        key: file("server.key", key),
    };
    Independent::guarded(&pki, "relay", "s3cret-of-provider")
}

#[test]
fn a_provider_that_cannot_prove_who_it_is_gets_nothing_and_the_reason_is_told() {
    let authority = Authority::new();
    let below = authority.intermediate();
    for (what, pair, reason) in [
        ("expired", issued(&authority, "localhost", (2020, 2021)), "expired"),
        ("not yet valid", issued(&authority, "localhost", (2119, 2120)), "not valid yet"),
        ("another name", issued(&authority, "mail.example.com", VALID), "another name"),
        ("self-signed", self_signed(), "no authority that is trusted here"),
        (
            "another authority",
            issued(&Authority::new(), "localhost", VALID),
            "no authority that is trusted here",
        ),
        ("without its intermediate", issued(&below, "localhost", VALID), "intermediate certificate"),
    ] {
        let home = Home::new();
        home.write("authority.pem", authority.pem());
        home.write("provider.password", "s3cret-of-provider");
        let provider = provider(home.path(), &pair);
        let port = provider.address().port();
        let upstream = format!(
            "[upstreams.provider]\nhost = \"localhost\"\nport = {port}\nca_file = \"authority.pem\"\n\
             user = \"relay\"\npassword_file = \"provider.password\"\n"
        );
        let client = client("app", "category = \"password-reset\"");
        let relay = home.start(&format!("{LISTENER}{client}{NO_REPLY}{upstream}"));
        let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
        let deferred = relay.wait_event(&id, "deferred");
        assert_eq!(deferred["class"], "tls", "{what}: {deferred}");
        let told = deferred["reason"].as_str().unwrap_or_default();
        assert!(told.contains(reason), "{what}: {told}");
        let traced = relay.cli(&["trace", &id]).ok().stdout;
        assert!(traced.contains(reason), "{what}: {traced}");
        assert!(provider.taken().is_empty(), "{what}");
    }
}

#[test]
fn an_intermediate_certificate_that_is_sent_along_is_enough() {
    let authority = Authority::new();
    let below = authority.intermediate();
    let (certificate, key) = issued(&below, "localhost", VALID);
    let home = Home::new();
    home.write("authority.pem", authority.pem());
    home.write("provider.password", "s3cret-of-provider");
    let provider = provider(home.path(), &(certificate + &below.pem(), key));
    let port = provider.address().port();
    let upstream = format!(
        "[upstreams.provider]\nhost = \"localhost\"\nport = {port}\nca_file = \"authority.pem\"\n\
         user = \"relay\"\npassword_file = \"provider.password\"\n"
    );
    let client = client("app", "category = \"password-reset\"");
    let relay = home.start(&format!("{LISTENER}{client}{NO_REPLY}{upstream}"));
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&id, "handed-over");
}
