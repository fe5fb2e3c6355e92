//! The command line beside a running relay, and beside one that is down.

use crate::harness::config::{LISTENER, NO_REPLY, client, small, upstream};
use crate::harness::mail::{message, password_reset};
use crate::harness::relay::{Home, Relay};
use crate::harness::upstream::{Answer, Moment, Upstream, unused_address};

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna.smith@customer.example";

#[test]
fn a_message_is_found_by_its_recipient_and_shown_masked() {
    let provider = Upstream::accepting();
    let relay = Relay::start(&small(provider.address(), "", ""));
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&id, "handed-over");
    let masked = relay.cli(&["trace", ANNA]).ok().stdout;
    assert!(masked.contains(&id) && masked.contains("HANDED-OVER"), "{masked}");
    assert!(masked.contains("a***@customer.example") && !masked.contains("smith"), "{masked}");
    assert!(masked.contains("queued as UP1"), "{masked}");
    let whole = relay.cli(&["trace", &id, "--full"]).ok().stdout;
    assert!(whole.contains(ANNA), "{whole}");
    // The domain of an address has no case, and neither has the way an operator types it.
    relay.cli(&["trace", "anna.smith@CUSTOMER.example"]).ok();
    let nobody = relay.cli(&["trace", "nobody@customer.example"]);
    assert!(!nobody.status.success(), "{nobody:?}");
    let nonsense = relay.cli(&["trace", "not an address"]);
    assert!(!nonsense.status.success(), "{nonsense:?}");
}

#[test]
fn the_queue_is_listed_while_the_relay_runs_and_while_it_is_down() {
    let home = Home::new();
    let client = client("app", "category = \"password-reset\"");
    let table = upstream("provider", unused_address(), "breaker = { longest = \"1s\" }");
    let mut relay = home.start(&format!("{LISTENER}{client}{NO_REPLY}{table}"));
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&id, "deferred");
    let list = relay.cli(&["queue", "list", "--json"]).json();
    assert_eq!(list["messages"][0]["submission"], *id, "{list}");
    assert_eq!(list["messages"][0]["to"], "a***@customer.example", "{list}");
    let table = relay.cli(&["queue", "list"]).ok().stdout;
    assert!(table.contains(&id) && table.contains("password-reset"), "{table}");
    let none = relay.cli(&["queue", "list", "--state", "failed", "--json"]).json();
    assert_eq!(none["messages"].as_array().map(Vec::len), Some(0), "{none}");

    assert!(relay.stop().success());
    let down = relay.cli(&["queue", "list"]);
    assert!(!down.status.success() && down.stderr.contains("--offline"), "{down:?}");
    let list = relay.cli(&["queue", "list", "--offline", "--json", "--full"]).json();
    assert_eq!(list["messages"][0]["submission"], *id, "{list}");
    assert_eq!(list["messages"][0]["to"], ANNA, "{list}");
    let shown = relay.cli(&["queue", "show", &id, "--offline"]).ok().stdout;
    assert!(shown.contains("QUEUED") && shown.contains("deferred"), "{shown}");
    relay.restart();
    assert_eq!(relay.traced(&id)["submission"], *id);
}

#[test]
fn a_waiting_message_is_held_released_retried_and_removed() {
    let address = unused_address();
    let provider = upstream("provider", address, "breaker = { longest = \"1s\" }");
    let client = client("app", "category = \"password-reset\"");
    let slow = "[categories.password-reset]\nretry = [\"10m\"]\n";
    let relay = Home::new().start(&format!("{LISTENER}{client}{NO_REPLY}{provider}{slow}"));
    let (to_hold, to_remove) = ("hold@customer.example", "remove@customer.example");
    let held = relay.accept(FROM, &[to_hold], &password_reset(to_hold));
    let removed = relay.accept(FROM, &[to_remove], &password_reset(to_remove));
    // While the upstream is down an attempt may be under way at any moment; a held message is one that is not.
    relay.wait_event(&held, "deferred");
    retry_until_ok(&relay, &["queue", "hold", &held]);
    retry_until_ok(&relay, &["queue", "remove", &removed]);
    assert_eq!(relay.traced(&held)["state"], "held");
    assert_eq!(relay.traced(&removed)["state"], "removed");
    let provider = Upstream::start_at(address, |_| Answer::Accept);
    let other = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&other, "handed-over");
    assert_eq!(relay.traced(&held)["state"], "held");
    let retried = relay.cli(&["queue", "retry", &held]);
    assert!(!retried.status.success(), "{retried:?}");
    assert!(
        ["held", "`release`", "`remove`"].iter().all(|word| retried.stderr.contains(word)),
        "{retried:?}"
    );
    assert_eq!(relay.cli(&["queue", "release", &held, "--json"]).json()["done"], 1);
    relay.wait_event(&held, "handed-over");
    assert_eq!(provider.seen().taken.len(), 2);
    let unknown = relay.cli(&["queue", "retry", "01890000-0000-7000-8000-000000000000"]);
    assert!(!unknown.status.success() && unknown.stderr.contains("no message"), "{unknown:?}");
}

/// A message that is being attempted at this moment refuses an operation, and says so.
fn retry_until_ok(relay: &Relay, arguments: &[&str]) {
    let mut attempting = 0;
    loop {
        let ran = relay.cli(arguments);
        if ran.status.success() {
            return;
        }
        attempting += 1;
        assert!(ran.stderr.contains("attempting") && attempting < 50, "{attempting} times: {ran:?}");
    }
}

#[test]
fn explain_shows_the_decision_and_sends_nothing() {
    let provider = Upstream::accepting();
    let home = Home::new();
    home.write("reset.eml", String::from_utf8_lossy(&password_reset(ANNA)).replace("\r\n", "\n"));
    home.write(
        "sale.eml",
        "From: a@legacy.example\nSubject: Our big autumn sale: 20% off\n\nShop now and save!\n",
    );
    let relay = home.start(&small(provider.address(), "", ""));
    let explained = relay.cli(&["explain", "reset.eml", "--json"]).json();
    assert_eq!(explained["category"], "password-reset", "{explained}");
    assert_eq!(explained["action"], "relay");
    let steps: Vec<_> =
        explained["steps"].as_array().expect("steps").iter().map(|step| &step["step"]).collect();
    let all = ["client binding", "declared category", "rules", "recognition", "client's list", "observation"];
    assert_eq!(steps, all, "{explained}");
    assert!(explained["evidence"].as_array().is_some_and(|evidence| !evidence.is_empty()), "{explained}");
    let header = |key: &str| explained["plan"][key].to_string();
    assert!(header("header_before").contains("shop@legacy.example"), "{explained}");
    assert!(header("header_after").contains("no-reply@acme.example"), "{explained}");
    assert_eq!(explained["plan"]["life_seconds"], 3600);
    assert_eq!(explained["plan"]["routes"][0]["upstreams"][0], "provider");
    let text = relay.cli(&["explain", "reset.eml"]).ok().stdout;
    assert!(
        text.contains("password-reset") && text.contains("- From:") && text.contains("+ From:"),
        "{text}"
    );
    let sale = relay.cli(&["explain", "sale.eml", "--client", "app", "--json"]).json();
    assert_eq!(sale["action"], "refuse", "{sale}");
    assert!(sale["reply"].as_str().is_some_and(|reply| reply.starts_with("550 5.7.1")), "{sale}");
    let nobody = relay.cli(&["explain", "sale.eml", "--client", "nobody"]);
    assert!(!nobody.status.success() && nobody.stderr.contains("app"), "{nobody:?}");
    assert_eq!(relay.cli(&["queue", "list", "--json"]).json()["messages"].as_array().map(Vec::len), Some(0));
    assert_eq!(provider.seen().connections, 0);
}

#[test]
fn a_test_message_goes_the_whole_way() {
    let provider = Upstream::accepting();
    let business = "[senders.shop]\nfrom = \"accounts@acme.example\"\n[businesses.acme]\nurl = \"https://acme.example\"\nsender = \"shop\"\n[businesses.bolt]\nurl = \"https://bolt.example\"\n";
    let relay = Relay::start(&small(provider.address(), "business = \"acme\"", business));
    let sent = relay.cli(&["send-test", "--to", ANNA, "--json"]).json();
    assert_eq!(sent["accepted"], true, "{sent}");
    let id = sent["id"].as_str().expect("an id").to_owned();
    relay.wait_event(&id, "handed-over");
    let mail = &provider.wait_taken(1)[0];
    assert_eq!(mail.recipients, [ANNA]);
    assert_eq!(mail.header("To").as_deref().map(|to| to.contains(ANNA)), Some(true), "{mail:?}");
    relay.cli(&["send-test", "--to", ANNA, "--business", "acme"]).ok();
    let mail = provider.wait_taken(2).pop().expect("the second");
    assert!(mail.header("From").is_some_and(|from| from.contains("accounts@acme.example")), "{mail:?}");
    let refused = relay.cli(&["send-test", "--to", ANNA, "--category", "marketing"]);
    assert!(!refused.status.success() && refused.stdout.contains("550 5.7.1"), "{refused:?}");
    for (option, wrong, near) in [("--category", "sign-in", "signin"), ("--business", "acne", "acme")] {
        let unknown = relay.cli(&["send-test", "--to", ANNA, option, wrong]);
        assert!(!unknown.status.success(), "{unknown:?}");
        assert!(unknown.stderr.contains(wrong) && unknown.stderr.contains(near), "{unknown:?}");
    }
    let unknown = relay.cli(&["send-test", "--to", ANNA, "--category", "authrelay:report"]);
    assert!(!unknown.status.success() && unknown.stderr.contains("no category"), "{unknown:?}");
    assert_eq!(provider.seen().taken.len(), 2);
}

#[test]
fn explain_shows_what_else_happens_and_the_lines_that_change_it() {
    let provider = Upstream::accepting();
    let home = Home::new();
    let invitation = |name: &str, category: &str| {
        message(&[
            "From: Wiki <wiki@legacy.example>",
            &format!("To: {name} <{name}@customer.example>"),
            &format!("Subject: {name}, join the wiki"),
            &format!("X-Authrelay-Category: {category}"),
            "",
            "Carla has added you to the wiki of her team, where everything is written down.",
            &format!("https://wiki.acme.example/join?t={name}"),
        ])
    };
    home.write("anna.eml", invitation("Anna", "invitation"));
    home.write("bert.eml", invitation("Bert", "invitation"));
    home.write("code.eml", invitation("Anna", "signin"));
    home.write("bulk.eml", invitation("Anna", "invitation-bulk"));
    home.write("sale.eml", invitation("Anna", "marketing"));
    let of_client = "may_declare = true\nper_minute = 30\nburst = { recipients = 7, within = \"2m\" }\n";
    let relay = home.start(&small(provider.address(), of_client, ""));
    let onward = |file: &str| relay.cli(&["explain", file, "--json"]).json()["onward"].clone();
    let (anna, bert) = (onward("anna.eml"), onward("bert.eml"));
    assert_eq!((&anna["shape"], &anna["shape"]["subject"]), (&bert["shape"], &"join the wiki".into()));
    let kept = &anna["kept"]["sent"];
    assert_eq!((&kept["settle_seconds"], &kept["burst"]["recipients"]), (&30.into(), &7.into()), "{anna}");
    assert_eq!((&kept["client_per_minute"], &kept["backlog"]), (&30.into(), &100_000.into()), "{anna}");
    assert_eq!((&kept["supersede"], &anna["kept"]["per_recipient"]), (&false.into(), &serde_json::json!([])));
    let code = onward("code.eml");
    assert_eq!(code["kept"]["per_recipient"], serde_json::json!(["10/10m", "30/1d"]), "{code}");
    let sent = &code["kept"]["sent"];
    assert_eq!((&sent["supersede"], &sent["settle_seconds"]), (&true.into(), &0.into()), "{code}");
    assert!(onward("bulk.eml")["kept"]["sent"].is_null() && onward("sale.eml")["kept"].is_null());

    let shown = relay.cli(&["explain", "anna.eml"]).ok().stdout;
    let told = [
        "waits 30 s",
        "7 new recipients within 120 s",
        "30 a minute for client app",
        "within 30 s is answered",
    ];
    assert!(told.iter().all(|told| shown.contains(told)), "{shown}");
    // What stands at the end can be pasted as it is, and is what holds already.
    let mended = shown.split("the values that hold now:\n").nth(1).expect("lines to paste");
    let (category, client) = mended.split_once("[clients.app]\n").expect("lines for the client");
    let before = std::fs::read_to_string(relay.home.config()).expect("the configuration");
    let mended = format!("{}{category}", before.replace(of_client, &format!("may_declare = true\n{client}")));
    assert_ne!(mended, before);
    relay.home.write("relay.toml", &mended);
    assert_eq!(onward("anna.eml"), anna);
    relay.home.write("relay.toml", mended.replace("\"30s\"", "\"0s\""));
    assert_eq!(onward("anna.eml")["kept"]["sent"]["settle_seconds"], 0);
}

#[test]
fn explain_answers_what_smtp_would() {
    let provider = Upstream::accepting();
    let limits = "[limits]\nmessage_size = \"16 KiB\"\nheader_size = \"4 KiB\"\nline_length = \"1 KiB\"\n";
    let relay = Relay::start(&small(provider.address(), "category = \"password-reset\"", limits));
    let (long, wide) = ("x".repeat(70), "x".repeat(2000));
    let header: Vec<String> = (0..100).map(|number| format!("X-{number}: {long}")).collect();
    let head = ["Subject: s", ""];
    let size: Vec<&str> = head.into_iter().chain(std::iter::repeat_n(&*long, 400)).collect();
    let header: Vec<&str> = header.iter().map(String::as_str).chain(["", "body"]).collect();
    for lines in [&size[..], &header, &["Subject: s", "", &wide]] {
        let raw = message(lines);
        let answered = relay.hello().send(FROM, &[ANNA], &raw);
        relay.home.write("limit.eml", &raw);
        let explained = relay.cli(&["explain", "limit.eml", "--json"]).json();
        let reply = explained["reply"].as_str().expect("a reply");
        assert!(reply.starts_with('5') && answered.to_string().contains(&reply[4..]), "{reply}: {answered}");
        assert!(relay.cli(&["explain", "limit.eml"]).ok().stdout.contains(reply));
    }
}

#[test]
fn explain_takes_every_recipient_of_the_header() {
    let provider = Upstream::accepting();
    let relay = Relay::start(&small(
        provider.address(),
        "category = \"mfa\"",
        "[categories.mfa]\nmax_recipients = 3\n",
    ));
    let head = "From: a@b.example\nTo: \"Smith, Anna\" <anna@c.example>, Bob <bob@c.example>\n";
    relay
        .home
        .write("four.eml", format!("{head}Cc: g: eve@c.example, anna@c.example;\nBcc: x@c.example\n\nx\n"));
    let four = relay.cli(&["explain", "four.eml", "--json"]).json();
    assert_eq!(four["recipients"], 4, "{four}");
    assert!(four["reply"].as_str().is_some_and(|reply| reply.starts_with("550 5.5.3")), "{four}");
    let one = relay.cli(&["explain", "four.eml", "--to", ANNA, "--json"]).json();
    assert_eq!((&one["recipients"], &one["action"]), (&1.into(), &"relay".into()), "{one}");
}

#[test]
fn a_trace_names_the_upstream_once_and_tells_what_is_in_doubt() {
    let provider = Upstream::start(|moment| match moment {
        Moment::Rcpt(to) if to.contains("greylisted") => Answer::Reply("450 4.2.1 come again"),
        Moment::Dot(_) => Answer::Drop,
        Moment::Connect | Moment::Mail(_) | Moment::Rcpt(_) | Moment::Data => Answer::Accept,
    });
    let relay = Relay::start(&small(provider.address(), "category = \"password-reset\"", ""));
    let greylisted = "greylisted@customer.example";
    let deferred = relay.accept(FROM, &[greylisted], &password_reset(greylisted));
    let in_doubt = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&deferred, "deferred");
    relay.wait_event(&in_doubt, "deferred");
    let event = |id: &str| {
        let shown = relay.cli(&["trace", id]).ok().stdout;
        let at = shown.lines().position(|line| line.contains(" ms  deferred")).expect("the attempt");
        let lines: Vec<String> = shown.lines().skip(at).take(2).map(str::to_owned).collect();
        (shown, lines)
    };
    let (shown, lines) = event(&deferred);
    assert!(lines[0].contains("provider  450 ") && lines[0].matches("provider").count() == 1, "{shown}");
    assert!(!shown.contains("no answer"), "{shown}");
    let (shown, lines) = event(&in_doubt);
    assert!(lines[0].contains("provider  connect: ") && lines[1].contains("no answer"), "{shown}");
    assert!(shown.contains("in doubt: 1 attempt"), "{shown}");
}

#[test]
fn what_is_over_the_size_is_refused_and_says_so() {
    let provider = Upstream::accepting();
    let limits = "[limits]\nmessage_size = \"16 KiB\"\nheader_size = \"4 KiB\"\n";
    let relay = Relay::start(&small(provider.address(), "category = \"password-reset\"", limits));
    let mut dialogue = relay.hello();
    let declared = dialogue.command("MAIL FROM:<shop@legacy.example> SIZE=20000").expect(552);
    assert!(declared.text().starts_with("5.3.4"), "{declared}");
    let line = "x".repeat(70);
    let lines: Vec<&str> =
        ["Subject: long", ""].into_iter().chain(std::iter::repeat_n(&*line, 400)).collect();
    let reply = dialogue.send(FROM, &[ANNA], &message(&lines)).expect(552);
    assert!(reply.text().starts_with("5.3.4"), "{reply}");
    // The connection goes on, and so do the application's other messages.
    let id = dialogue.send(FROM, &[ANNA], &password_reset(ANNA)).expect(250).id();
    relay.wait_event(&id, "handed-over");
    assert_eq!(provider.seen().taken.len(), 1);
}
