//! Reload: another configuration for the running relay, all of it or nothing.

use serde_json::Value;

use super::configuration::wrong_ones;
use crate::harness::config::{LISTENER, NO_REPLY, client, client_with_password, small, upstream};
use crate::harness::dialogue::Dialogue;
use crate::harness::look_until;
use crate::harness::mail::password_reset;
use crate::harness::pki::{Authority, Pki};
use crate::harness::relay::{Home, Relay};
use crate::harness::texts::{ANNA as PHONE, CODE, Shop, asking, shop};
use crate::harness::upstream::{Answer, Moment, Upstream};

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna@customer.example";
const BERT: &str = "bert@customer.example";

pub fn status(relay: &Relay) -> Value {
    relay.cli(&["status", "--json"]).json()
}

#[test]
fn a_wrong_configuration_changes_nothing_and_is_told_everywhere() {
    let provider = Upstream::accepting();
    let right = small(provider.address(), "", "");
    let relay = Relay::start(&right);
    let mut refused = 0;
    for (name, text, words) in wrong_ones() {
        relay.configure(&text);
        let ran = relay.cli(&["reload"]);
        refused += 1;
        assert_eq!(ran.status.code(), Some(78), "{name}: {ran:?}");
        assert!(ran.stderr.contains("nothing was changed"), "{name}: {}", ran.stderr);
        // Where it stands depends on what the harness writes before it.
        let words = words.iter().filter(|word| !word.starts_with(':'));
        for word in words {
            assert!(ran.stderr.contains(word), "{name} lacks {word}: {}", ran.stderr);
        }
        assert!(!ran.stderr.contains("pw-never-shown") && !relay.log().contains("pw-never-shown"), "{name}");
        assert_eq!(status(&relay)["reloads"]["failed"], refused, "{name}");
    }
    let told = |line: &Value| line["message"] == "reload refused: nothing was changed";
    let line = relay.wait_line("the refusal", told);
    assert!(line["reason"].as_str().is_some_and(|reason| reason.contains("relay.toml:")), "{line}");
    relay.wait_line("the problem itself", |line| {
        line["target"] == "authrelay::config" && line["level"] == "ERROR"
    });
    let reloads = status(&relay)["reloads"].clone();
    assert!(reloads["succeeded"] == 0 && reloads["refused"].is_string(), "{reloads}");
    assert!(relay.cli(&["status"]).ok().stdout.contains("was refused"), "status tells of it");

    // What is in force is what was.
    relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    provider.wait_taken(1);
    let done = relay.reload(&right);
    assert!(done.stdout.contains("relay.toml is in force since now"), "{done:?}");
    let reloads = status(&relay)["reloads"].clone();
    assert!(reloads["succeeded"] == 1 && reloads["refused"].is_null(), "{reloads}");
}

#[test]
fn files_that_cannot_be_used_and_a_missing_one_change_nothing() {
    let provider = Upstream::accepting();
    let home = Home::new();
    let pki = Pki::new(home.path());
    home.write("password", "right\n");
    let tls = "[tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n";
    let right = small(provider.address(), "", tls);
    let relay = home.start(&right);
    let wrong = [
        ("another key", right.replace("server.key", "authority.pem"), "there is no private key in"),
        ("a foreign key", right.replace("server.key", "foreign.key"), "does not belong to the certificate"),
        (
            "a folder of recognition that is not there",
            format!("{right}[recognition]\ndirectory = \"nowhere\"\n"),
            "nowhere",
        ),
        (
            "a password file that is not there",
            right.replace("tls = \"plain\"", "tls = \"plain\"\nuser = \"u\"\npassword_file = \"gone\""),
            "gone",
        ),
    ];
    relay.home.write("foreign.key", Authority::new().sign("localhost").key);
    for (name, text, word) in wrong {
        relay.configure(&text);
        let ran = relay.cli(&["reload"]);
        assert_eq!(ran.status.code(), Some(78), "{name}: {ran:?}");
        assert!(ran.stderr.contains(word), "{name}: {}", ran.stderr);
    }
    relay.configure(&right);
    let text = std::fs::read_to_string(relay.home.config()).expect("the file");
    // The state directory can't move while it is in use; here the socket is named, because that moves with it.
    relay.home.write("relay.toml", text.replace("\"state\"", "\"elsewhere\""));
    let ran = relay.cli(&["--socket", "state/control.sock", "reload"]);
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    assert!(ran.stderr.contains("state_directory can't change"), "{ran:?}");
    std::fs::remove_file(relay.home.config()).expect("removed");
    let ran = relay.cli(&["--socket", "state/control.sock", "reload"]);
    assert!(ran.status.code() == Some(78) && ran.stderr.contains("can't read"), "{ran:?}");

    assert_eq!(status_by_socket(&relay)["reloads"]["failed"], 6);
    let mut dialogue = Dialogue::encrypted(relay.address(), &pki.authority);
    dialogue.send(FROM, &[ANNA], &password_reset(ANNA)).expect(250);
    provider.wait_taken(1);
}

fn status_by_socket(relay: &Relay) -> Value {
    relay.cli(&["--socket", "state/control.sock", "status", "--json"]).json()
}

#[test]
fn without_a_daemon_the_command_fails_and_says_where_it_looked() {
    let home = Home::new();
    home.configure(&small("127.0.0.1:1".parse().expect("an address"), "", ""), "info");
    let ran = home.cli(&["reload"]);
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    assert!(
        ran.stderr.contains("no daemon answers at") && ran.stderr.contains("state/control.sock"),
        "{ran:?}"
    );
}

#[test]
fn each_transaction_keeps_what_it_began_with_and_the_next_has_the_new() {
    let provider = Upstream::accepting();
    let config = small(provider.address(), "", "[limits]\nmessage_size = \"100 KiB\"\n");
    let relay = Relay::start(&config);
    let mut open = relay.hello();
    open.command(&format!("MAIL FROM:<{FROM}>")).expect(250);
    open.command(&format!("RCPT TO:<{ANNA}>")).expect(250);
    // The client of this network is gone, and there is one that logs in.
    let other = config.replace(&client("app", ""), &client_with_password("")).replace("100 KiB", "200 KiB");
    relay.reload(&other);
    open.command("DATA").expect(354);
    open.write(&crate::harness::dialogue::dotted(&password_reset(ANNA)));
    open.reply().expect(250);
    open.command(&format!("MAIL FROM:<{FROM}>")).expect(530);
    // A session keeps its limits, a new one has those of the moment.
    let sizes = |mut dialogue: Dialogue| dialogue.command("EHLO client.test").expect(250).text();
    assert!(sizes(open).contains("SIZE 102400"));
    assert!(sizes(Dialogue::connect(relay.address())).contains("SIZE 204800"));
    provider.wait_taken(1);
}

#[test]
fn what_waits_goes_to_the_new_upstream_and_an_unchanged_one_keeps_its_connection() {
    let down = Upstream::start(|moment| match moment {
        Moment::Connect => Answer::Reply("421 4.3.2 down"),
        _ => Answer::Accept,
    });
    let steady = Upstream::accepting();
    // Each carries one sender, so that what goes where is known.
    let config = |address| {
        let first = upstream("first", address, "senders = [\"no-reply\"]");
        let second = upstream("second", steady.address(), "senders = [\"acme\"]");
        let clients = client("app", "businesses = [\"acme\", \"other\"]");
        format!(
            "{LISTENER}{clients}{NO_REPLY}[senders.acme]\nfrom = \"mail@acme.example\"\n\
             [businesses.acme]\ndomains = [\"legacy.example\"]\nsender = \"acme\"\n\
             [businesses.other]\ndomains = [\"other.example\"]\n{first}{second}"
        )
    };
    let relay = Relay::start(&config(down.address()));
    let foreign = |to| {
        String::from_utf8(password_reset(to)).expect("text").replace("shop@legacy.example", "x@other.example")
    };
    relay.accept(FROM, &[BERT], &password_reset(BERT));
    steady.wait_taken(1);
    let id = relay.accept("x@other.example", &[ANNA], foreign(ANNA).as_bytes());
    relay.wait_event(&id, "deferred");
    let mended = Upstream::accepting();
    relay.reload(&config(mended.address()));
    assert_eq!(mended.wait_taken(1)[0].recipients, [ANNA]);
    assert_eq!(relay.wait_event(&id, "handed-over")["upstream"], "first");
    for _ in 0..5 {
        relay.reload(&config(mended.address()));
    }
    relay.accept(FROM, &[BERT], &password_reset(BERT));
    steady.wait_taken(2);
    assert_eq!(steady.seen().connections, 1, "the connection was used again after every reload");
    assert_eq!((down.seen().taken.len(), mended.seen().taken.len()), (0, 1));
}

#[test]
fn mail_whose_business_sender_and_upstream_were_removed_goes_out_from_no_reply() {
    let down = Upstream::start(|_| Answer::Reply("421 4.3.2 down"));
    let provider = Upstream::accepting();
    let before = format!(
        "{LISTENER}{}{NO_REPLY}[senders.acme]\nfrom = \"mail@acme.example\"\n\
         [businesses.acme]\ndomains = [\"legacy.example\"]\nsender = \"acme\"\n{}",
        client("app", "business = \"acme\""),
        upstream("own", down.address(), "")
    );
    let relay = Relay::start(&before);
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&id, "deferred");
    let nobody = format!(
        "{LISTENER}{}{NO_REPLY}[senders.other]\nfrom = \"mail@other.example\"\n{}",
        client("app", "categories = [\"mfa\"]"),
        upstream("shared", provider.address(), "")
    );
    relay.reload(&nobody);
    let mail = &provider.wait_taken(1)[0];
    assert!(mail.header("From").is_some_and(|from| from.contains("no-reply@acme.example")), "{mail:?}");
    relay.wait_event(&id, "handed-over");
    assert_eq!(relay.traced(&id)["attempts"].as_u64().map(|attempts| attempts > 0), Some(true));
    assert_eq!(provider.seen().dots.len(), 1, "one copy");
}

#[test]
fn what_waits_for_a_restart_is_said_and_stays() {
    let provider = Upstream::accepting();
    let config = small(provider.address(), "", "");
    let relay = Relay::start(&config);
    let other = config
        .replace(
            "127.0.0.1:0\"\n[clients",
            "127.0.0.2:0\"\n[listeners.more]\naddress = \"127.0.0.1:0\"\n[clients",
        )
        .replace("[listeners.smtp]\n", "[listeners.smtp]\ntls = \"off\"\n");
    let ran = relay
        .reload(&format!("{other}[queue]\nactive_messages = 5000\n[http.http]\naddress = \"127.0.0.2:0\"\n"));
    for words in [
        "waits for a restart: listener smtp stays at 127.0.0.1:0, not 127.0.0.2:0 yet",
        "listener more at 127.0.0.1:0 is not opened yet",
        "[http.http] stays as it was",
        "active_messages",
    ] {
        assert!(ran.stderr.contains(words), "{words} in {}", ran.stderr);
    }
    relay.wait_line("the warning", |line| line["message"] == "waits for a restart");
    // The address stays, the listener's settings are the new ones.
    let offers = relay.hello().command("EHLO client.test").expect(250).text();
    assert!(!offers.contains("STARTTLS"), "{offers}");
    relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    provider.wait_taken(1);
    let quiet = relay.cli(&["reload", "--quiet"]).ok();
    assert!(quiet.stdout.is_empty() && quiet.stderr.contains("waits for a restart"), "{quiet:?}");
    let json = relay.cli(&["reload", "--json"]).json();
    assert!(
        json["in_force"] == true && json["restart"].as_array().is_some_and(|all| all.len() == 4),
        "{json}"
    );
}

#[test]
fn a_signal_reloads_too_and_the_logs_level_follows() {
    let provider = Upstream::accepting();
    let config = small(provider.address(), "", "");
    let relay = Home::new().start_at_level(&config, "info");
    relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    assert!(!relay.log().contains("\"level\":\"DEBUG\""));
    relay.configure(&config);
    relay.hang_up();
    let line = relay.wait_line("the reload", |line| line["message"] == "reloaded");
    assert_eq!(line["cause"], "signal");
    relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_line("a line of the new level", |line| line["level"] == "DEBUG");
    relay.home.write("relay.toml", "state_directory = \"state\"\nhostname = = 7\n");
    relay.hang_up();
    relay.wait_line("the refusal", |line| line["cause"] == "signal" && line["level"] == "ERROR");
    assert_eq!(status(&relay)["reloads"]["failed"], 1);
    relay.accept(FROM, &[ANNA], &password_reset(ANNA));
}

#[test]
fn limits_count_on_over_a_reload() {
    let home = Home::new();
    let config = format!(
        "{}[upstreams.phones]\nkind = \"outbox\"\n[otp]\nprimary = true\ncountries = [\"US\"]\n",
        shop()
    );
    let relay = home.start(&config);
    let mut shop = Shop::of(&relay);
    shop.code(PHONE, CODE);
    relay.reload(&config);
    shop.code(PHONE, CODE);
    relay.reload(&config.replace("primary = true", "primary = true\nsecondary = true"));
    // Two at once are let through, whatever was reloaded between them.
    let refused = shop.post(&asking(PHONE, CODE)).expect(429);
    assert!(refused.field("retry-after").is_some(), "{refused:?}");
}

#[test]
fn reports_recognition_and_the_number_of_connections_follow() {
    let provider = Upstream::accepting();
    let home = Home::new();
    let config = small(provider.address(), "", "");
    let relay = home.start(&config);
    let held: Vec<Dialogue> = (0..3).map(|_| relay.hello()).collect();
    relay.reload(&format!("{config}[limits]\nconnections = 3\n"));
    let crowded = Dialogue::connect_silent(relay.address()).reply();
    assert_eq!(crowded.code, 421, "{crowded}");
    relay.reload(&format!("{config}[limits]\nconnections = 5\n"));
    relay.hello();
    drop(held);

    let exported = relay.home.file("recognition");
    relay.cli(&["recognition", "export", exported.to_str().expect("a path")]).ok();
    let own = format!(
        "{config}[recognition]\ndirectory = \"recognition\"\n[queue]\nbounces = \"postmaster@acme.example\"\n"
    );
    relay.reload(&own);
    provider.become_(|moment| match moment {
        Moment::Rcpt(to) if to == ANNA => Answer::Reply("550 5.1.1 nobody of this name"),
        _ => Answer::Accept,
    });
    relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    let report = &provider.wait_taken(1)[0];
    assert_eq!(report.recipients, ["postmaster@acme.example"], "reports go where the new file says");
    // A file of recognition that says nothing any more: what was recognised is not.
    relay.home.write("recognition/en.toml", "language = \"en\"\n");
    let ran = relay.cli(&["reload"]);
    let reply = look_until("an answer", || Some(relay.hello().send(FROM, &[BERT], &password_reset(BERT))));
    // Whether such a file is refused or obeyed: never half of both.
    match ran.status.code() {
        Some(0) => assert_eq!(reply.code, 550, "{reply}"),
        Some(78) => assert_eq!(reply.code, 250, "{reply}"),
        other => panic!("{other:?}: {ran:?}"),
    }
}
