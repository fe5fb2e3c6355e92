//! Endpoints of webhooks: what is found of those that are well, and of each way to be ill. None is ever sent a request.

use super::check;
use super::dns::Dns;
use super::harness::config::LISTENER;
use super::harness::hook::{Hook, SECRET};
use super::harness::pki::Authority;
use super::harness::relay::Home;
use super::harness::upstream::unused_address;

fn config(url: &str, more: &str) -> String {
    format!(
        "{LISTENER}[upstreams.box]\nkind = \"maildir\"\n[webhooks.crm]\nurl = \"{url}\"\nsecret = \"{SECRET}\"\n{more}\n"
    )
}

#[test]
fn an_endpoint_that_is_well_is_told_and_not_sent_anything() {
    let (home, authority) = (Home::new(), Authority::new());
    home.write("ca.pem", authority.pem());
    let secure = Hook::secure(&authority.sign("localhost"));
    let url = format!("https://localhost:{}/t0ken-in-the-path", secure.port());
    let checked = check(&home, &config(&url, "ca_file = \"ca.pem\""), &Dns::start());
    let (severity, advice) = checked.find("connected with TLS 1.3, certificate until ");
    assert!(severity == "ok" && advice.contains("authrelay webhook test crm"), "{advice}");
    assert!(checked.healthy && !checked.tells("t0ken-in-the-path"), "{}", checked.said);
    assert_eq!(secure.requests().len(), 0);

    let plain = Hook::start();
    let checked = check(&home, &config(&plain.url(), ""), &Dns::start());
    assert_eq!(checked.find("connected, on this machine").0, "ok");
    assert_eq!(plain.requests().len(), 0);
}

#[test]
fn an_endpoint_that_can_not_be_reached_or_trusted_is_told_with_what_to_do() {
    let (home, authority) = (Home::new(), Authority::new());
    home.write("ca.pem", authority.pem());
    let secure = |name: &str| Hook::secure(&authority.sign(name));
    let (other, own, plain) = (secure("other.example"), secure("localhost"), Hook::start());
    let trusted = "ca_file = \"ca.pem\"";
    for (port, more, words, advice) in [
        (other.port(), trusted, "is for other.example, not for localhost", "into `url`"),
        (own.port(), "", "whom this machine does not trust", "ca_file"),
        (plain.port(), trusted, "failed to begin TLS", "does not speak TLS"),
        (unused_address().port(), trusted, "can't be reached: nobody listens there", "does it run there"),
    ] {
        let checked = check(&home, &config(&format!("https://localhost:{port}/"), more), &Dns::start());
        let (severity, said) = checked.find(words);
        assert!(severity == "error" && said.contains(advice), "{words}: {said}");
        assert!(!checked.succeeded);
    }
    assert!([other, own, plain].iter().all(|hook| hook.requests().is_empty()));
    let checked = check(&home, &config("https://no-such-host.invalid/", ""), &Dns::start());
    let (severity, advice) = checked.find("https://no-such-host.invalid can't be found: ");
    assert!(severity == "error" && advice.contains("/etc/resolv.conf"), "{advice}");
}
