//! Twilio: account, login, senders, clock. Nothing but GET is ever asked.

use super::check;
use super::dns::Dns;
use super::harness::fake_twilio::{ACCOUNT, API_KEY, API_SECRET, SERVICE};
use super::harness::relay::Home;
use super::harness::texts::{Provider, shop, twilio};

fn config(provider: &Provider, more: &str) -> String {
    format!(
        "{}{}[otp]\nprimary = true\ncountries = [\"US\"]\n",
        shop(),
        twilio("phones", &provider.fake.base_url(), more)
    )
}

#[track_caller]
fn assert_only_read(provider: &Provider) {
    let requests = provider.fake.requests();
    assert!(!requests.is_empty() && requests.iter().all(|seen| seen.method == "GET"), "{requests:?}");
    assert!(requests.iter().all(|seen| !seen.path.contains("Messages")), "{requests:?}");
}

#[test]
fn an_account_that_is_well_is_told_with_its_senders_and_the_clock() {
    let provider = Provider::start();
    let more = format!("from_by_prefix = {{ \"+44\" = \"{SERVICE}\", \"+49\" = \"Acme\" }}\n");
    let checked = check(&Home::new(), &config(&provider, &more), &Dns::start());
    assert_eq!(checked.find("the account is active").0, "ok");
    assert_eq!(checked.find("sender +15005550006 is there").0, "ok");
    assert_eq!(checked.find(&format!("messaging service {SERVICE} is there")).0, "ok");
    assert_eq!(checked.find("sender Acme: a name instead of a number").0, "note");
    assert_eq!(checked.find("agrees with Twilio").0, "ok");
    assert_only_read(&provider);
}

#[test]
fn an_account_that_is_ill_is_told() {
    let provider = Provider::start();
    provider.fake.account_is("suspended");
    let checked = check(&Home::new(), &config(&provider, ""), &Dns::start());
    let (severity, advice) = checked.find("the account is suspended");
    assert!(severity == "error" && advice.contains("balance"), "{advice}");
    assert!(!checked.succeeded);
    provider.fake.account_is("active");

    let wrong = config(&provider, "").replace("an-auth-token-of-a-test", "a-token-of-yesterday");
    let checked = check(&Home::new(), &wrong, &Dns::start());
    let (severity, advice) = checked.find("the login was not accepted (HTTP 401)");
    assert!(severity == "error" && advice.contains("auth token of [upstreams.phones]"), "{advice}");
    assert!(!checked.tells("a-token-of-yesterday"));

    let wrong = config(&provider, "").replace("+15005550006", "+15005550007");
    let checked = check(&Home::new(), &wrong, &Dns::start());
    assert_eq!(checked.find("sender +15005550007: the account has no such sender").0, "error");
    assert_only_read(&provider);
}

#[test]
fn a_key_that_may_not_look_at_the_account_is_no_error() {
    let provider = Provider::start();
    let token = "auth_token = \"an-auth-token-of-a-test\"\n";
    let key = format!("api_key_sid = \"{API_KEY}\"\napi_key_secret = \"{API_SECRET}\"\n");
    let config = config(&provider, "").replace(token, &key);
    assert!(config.contains(ACCOUNT) && config.contains(API_KEY));
    let checked = check(&Home::new(), &config, &Dns::start());
    assert_eq!(checked.find("the API key is accepted").0, "ok");
    assert_eq!(checked.find("sender +15005550006 is there").0, "ok");
}

#[test]
fn a_provider_that_is_not_there_is_told() {
    let provider = Provider::start();
    let gone = super::harness::upstream::unused_address();
    let config = config(&provider, "").replace(&provider.fake.base_url(), &format!("http://{gone}"));
    let checked = check(&Home::new(), &config, &Dns::start());
    let (severity, advice) = checked.find("no answer: no connection");
    assert!(severity == "error" && advice.contains("base_url"), "{advice}");
}
