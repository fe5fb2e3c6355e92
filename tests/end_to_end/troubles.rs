//! Something is broken: what an operator reads, and whether it says where to look.

use std::net::TcpListener;

use crate::harness::config::{LISTENER, NO_REPLY, client, upstream};
use crate::harness::hook::Hook;
use crate::harness::mail::password_reset;
use crate::harness::pki::Authority;
use crate::harness::relay::{Home, Relay};
use crate::harness::upstream::Upstream;

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna@customer.example";

/// A relay whose mail can't be handed over, once it has met that.
fn stuck(home: Home, provider: &str) -> Relay {
    let config = format!("{LISTENER}{}{NO_REPLY}[upstreams.provider]\n{provider}", client("app", ""));
    let relay = home.start(&config);
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&id, "deferred");
    relay
}

#[track_caller]
fn says(relay: &Relay, words: &str) {
    let status = relay.cli(&["status"]).ok().stdout;
    assert!(status.contains(words) && status.contains("authrelay check --live"), "{words}: {status}");
    let ready: Vec<&str> = status.lines().filter(|line| line.starts_with("NOT READY: upstreams: ")).collect();
    assert!(ready.iter().any(|line| line.contains(words)), "{words}: {status}");
}

#[test]
fn a_name_that_is_not_in_the_dns_is_named() {
    let provider = "host = \"no-such-host.invalid\"\nport = 587\n\
                    breaker = { shortest = \"10m\", longest = \"10m\" }\n";
    let relay = stuck(Home::new(), provider);
    says(&relay, "no-such-host.invalid can't be found in the DNS: ");
}

#[test]
fn a_certificate_that_is_not_trusted_is_told_in_words() {
    let (trusted, foreign) = (Authority::new(), Authority::new());
    for (identity, words) in [
        (trusted.sign("other.example"), "its certificate is for another name (at TLS)"),
        (foreign.sign("localhost"), "its certificate is signed by no authority that is trusted here"),
    ] {
        let home = Home::new();
        home.write("ca.pem", trusted.pem());
        let shown = Hook::secure(&identity);
        let provider = format!(
            "host = \"localhost\"\nport = {}\ntls = \"implicit\"\nca_file = \"ca.pem\"\n\
             breaker = {{ shortest = \"10m\", longest = \"10m\" }}\n",
            shown.port()
        );
        says(&stuck(home, &provider), words);
    }
}

#[test]
fn too_little_room_is_the_first_thing_that_status_says() {
    let provider = Upstream::accepting();
    let upstream = upstream("provider", provider.address(), "");
    let reserve = "[queue]\ndisk_reserve = 1125899906842624\n";
    let relay = Relay::start(&format!("{LISTENER}{}{NO_REPLY}{upstream}{reserve}", client("app", "")));
    let status = relay.cli(&["status"]).ok().stdout;
    let second = status.lines().nth(1).unwrap_or_default();
    assert!(second.starts_with("NOT READY: disk: ") && second.contains("make room there"), "{status}");
    let troubles = relay.cli(&["status", "--json"]).json()["troubles"].clone();
    assert_eq!(troubles.as_array().map(Vec::len), Some(1), "{troubles}");
}

#[test]
fn an_address_that_another_program_has_is_told_by_the_start_and_by_check_live() {
    let provider = Upstream::accepting();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let home = Home::new();
    let config =
        format!("{LISTENER}{}{NO_REPLY}{}", client("app", ""), upstream("provider", provider.address(), ""));
    home.configure(&config.replace("127.0.0.1:0", &address), "info");
    let ran = home.cli(&["run"]);
    assert_eq!(ran.status.code(), Some(1), "it may be gone the next time: {ran:?}");
    assert!(ran.stderr.contains(&address) && ran.stderr.contains("ss -ltnp"), "{ran:?}");
    let checked = home.cli(&["check", "--live", "--dns", "127.0.0.1:9"]);
    let told = format!("another program listens on {address}");
    assert!(!checked.status.success() && checked.stdout.contains(&told), "{checked:?}");
    drop(taken);
    let checked = home.cli(&["check", "--live", "--dns", "127.0.0.1:9"]);
    assert!(!checked.stdout.contains("another program"), "{checked:?}");
}

#[test]
fn the_form_of_the_log_follows_the_variable_and_a_wrong_one_is_refused() {
    let home = Home::new();
    home.write("relay.toml", "hostname = \"relay.test\"\nstate_directory = \"/dev/null/nowhere\"\n");
    let mut run = home.command();
    run.args(["--config", "relay.toml", "run"]).env("AUTHRELAY_LOG_FORMAT", "json");
    let ran = home.run(run, "");
    let line = ran.stderr.lines().last().unwrap_or_default();
    assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{ran:?}");
    let mut run = home.command();
    run.args(["--config", "relay.toml", "run", "--log-format", "text"]).env("AUTHRELAY_LOG_FORMAT", "json");
    let ran = home.run(run, "");
    assert!(ran.stderr.contains("ERROR") && !ran.stderr.contains("{\""), "{ran:?}");
    let ran = home.cli(&["run", "--log-format", "xml"]);
    assert!(ran.status.code() == Some(2) && ran.stderr.contains("journald"), "{ran:?}");
}
