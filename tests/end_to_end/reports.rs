//! Failure reports by mail: who gets one, what is in it, and what is not.

use crate::harness::config::small;
use crate::harness::mail::password_reset;
use crate::harness::relay::Relay;
use crate::harness::upstream::{Answer, Moment, Upstream};

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna@customer.example";
const RESET: &str = "category = \"password-reset\"";

/// Knows nobody called Anna, and takes everything else.
fn without_anna() -> Upstream {
    Upstream::start(|moment| match moment {
        Moment::Rcpt(ANNA) => Answer::Reply("550 5.1.1 No such user here"),
        _ => Answer::Accept,
    })
}

#[test]
fn a_failure_is_reported_to_the_configured_address() {
    let provider = without_anna();
    let tables = "[queue]\nbounces = \"postmaster@acme.example\"\n";
    let relay = Relay::start(&small(provider.address(), RESET, tables));
    let message = password_reset(ANNA);
    let id = relay.accept(FROM, &[ANNA], &message);
    relay.wait_event(&id, "failed");
    let reports = provider.wait_taken(1);
    let report = &reports[0];
    assert_eq!(report.reverse_path, "");
    assert_eq!(report.recipients, ["postmaster@acme.example"]);
    assert_eq!(report.header("Auto-Submitted").as_deref(), Some("auto-replied"));
    let kind = report.header("Content-Type").expect("a Content-Type");
    assert!(kind.starts_with("multipart/report") && kind.contains("delivery-status"), "{kind}");
    let text = String::from_utf8_lossy(&report.raw);
    for said in ["Action: failed", "Status: 5.1.1", &id, ANNA] {
        assert!(text.contains(said), "{said} is missing: {text}");
    }
    let original = String::from_utf8_lossy(&message);
    let subject = original.lines().find(|line| line.starts_with("Subject:")).expect("a subject");
    let link = original.lines().find(|line| line.contains("https://")).expect("a link");
    for secret in [subject, link] {
        assert!(!text.contains(secret), "the report repeats {secret:?}");
    }
}

#[test]
fn a_client_may_have_reports_sent_to_its_own_domain_and_no_other() {
    let provider = without_anna();
    let client = format!("{RESET}\nreports_to = [\"legacy.example\"]");
    let relay = Relay::start(&small(provider.address(), &client, ""));
    let elsewhere = relay.accept("shop@elsewhere.example", &[ANNA], &password_reset(ANNA));
    relay.wait_event(&elsewhere, "failed");
    let own = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&own, "failed");
    let reports = provider.wait_taken(1);
    assert_eq!(reports[0].recipients, [FROM]);
    assert!(String::from_utf8_lossy(&reports[0].raw).contains(&own));
    assert_eq!(provider.seen().taken.len(), 1);
}
