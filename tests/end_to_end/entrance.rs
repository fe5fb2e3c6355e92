//! Who may hand in mail, and what is taken.

use crate::harness::config::{
    LISTENER, NO_REPLY, NO_REPLY_ADDRESS, PASSWORD, USER, client, client_with_password, small, upstream,
};
use crate::harness::dialogue::Dialogue;
use crate::harness::mail::{message, password_reset};
use crate::harness::relay::Relay;
use crate::harness::upstream::Upstream;

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna@customer.example";

#[test]
fn a_stranger_gets_no_further_than_mail() {
    let provider = Upstream::accepting();
    let elsewhere = "[clients.elsewhere]\nnetworks = [\"10.0.0.0/8\"]\n";
    let off = "[listeners.bare]\naddress = \"127.0.0.1:0\"\ntls = \"off\"\n";
    let provider_table = upstream("provider", provider.address(), "");
    let relay = Relay::start(&format!("{LISTENER}{off}{elsewhere}{NO_REPLY}{provider_table}"));
    for listener in ["smtp", "bare"] {
        let mut dialogue = Dialogue::hello(relay.listener(listener));
        let reply = dialogue.command(&format!("MAIL FROM:<{FROM}>")).expect(530);
        assert!(reply.text().starts_with("5.7.0"), "{reply}");
        dialogue.command(&format!("RCPT TO:<{ANNA}>")).expect(503);
        let data = dialogue.command("DATA");
        assert!((500..600).contains(&data.code), "{data}");
    }
    assert_eq!(provider.seen().connections, 0);
}

#[test]
fn a_password_is_taken_over_tls_only() {
    let provider = Upstream::accepting();
    let (client, upstream) = (client_with_password(""), upstream("provider", provider.address(), ""));
    let relay = Relay::start(&format!("{LISTENER}{client}{NO_REPLY}{upstream}"));

    let mut plain = Dialogue::connect(relay.address());
    let ehlo = plain.command("EHLO client.test").expect(250);
    assert!(!ehlo.text().contains("AUTH"), "{ehlo}");
    assert!(ehlo.text().contains("STARTTLS"), "{ehlo}");
    let refused = plain.auth_plain(USER, PASSWORD);
    assert!((500..600).contains(&refused.code), "{refused}");
    plain.command(&format!("MAIL FROM:<{FROM}>")).expect(530);

    let mut wrong = relay.encrypted();
    wrong.auth_plain(USER, "wrong").expect(535);
    wrong.auth_plain("nobody", PASSWORD).expect(535);
    wrong.command(&format!("MAIL FROM:<{FROM}>")).expect(530);

    let mut by_plain = relay.encrypted();
    by_plain.auth_plain(USER, PASSWORD).expect(235);
    by_plain.send(FROM, &[ANNA], &password_reset(ANNA)).expect(250);
    let mut by_login = relay.encrypted();
    by_login.auth_login(USER, PASSWORD).expect(235);
    by_login.send(FROM, &[ANNA], &password_reset(ANNA)).expect(250);
    provider.wait_taken(2);
}

#[test]
fn a_null_reverse_path_stays_null() {
    let provider = Upstream::accepting();
    let relay = Relay::start(&small(provider.address(), "", ""));
    relay.accept("", &[ANNA], &password_reset(ANNA));
    relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    let mut paths: Vec<String> = provider.wait_taken(2).into_iter().map(|mail| mail.reverse_path).collect();
    paths.sort();
    assert_eq!(paths, ["", NO_REPLY_ADDRESS]);
}

#[test]
fn a_refusal_names_category_rule_and_id_and_is_on_record() {
    let provider = Upstream::accepting();
    let rule = "[[rules]]\nname = \"the-newsletter\"\ncategory = \"marketing\"\nsubject = \"^autumn\"\n";
    let relay = Relay::start(&small(provider.address(), "", rule));
    let newsletter =
        message(&["From: a@legacy.example", "To: x@y.example", "Subject: Autumn news", "", "Hello"]);
    let reply = relay.hello().send(FROM, &[ANNA], &newsletter).expect(550);
    for word in ["5.7.1", "category marketing", "the-newsletter", "id "] {
        assert!(reply.text().contains(word), "{word} in {reply}");
    }
    let trace = relay.trace(&reply.id());
    assert_eq!(trace["events"][0]["event"], "refused", "{trace}");
    assert_eq!(trace["events"][0]["to"], ANNA);
    assert_eq!(provider.seen().connections, 0);
}

#[test]
fn an_urgent_message_has_one_recipient() {
    let provider = Upstream::accepting();
    let relay = Relay::start(&small(provider.address(), "", ""));
    let reply = relay.hello().send(FROM, &[ANNA, "bert@customer.example"], &password_reset(ANNA)).expect(550);
    assert!(reply.text().contains("recipient"), "{reply}");
}

#[test]
fn what_is_suppressed_is_answered_kept_and_released_by_hand_only() {
    let provider = Upstream::accepting();
    let relay = Relay::start(&small(provider.address(), "category = \"invitation-bulk\"", ""));
    let invitation =
        message(&["From: a@legacy.example", "Subject: Join us", "", "https://acme.example/join?t=1"]);
    let id = relay.accept(FROM, &[ANNA], &invitation);
    relay.wait_event(&id, "suppressed");
    assert_eq!(relay.traced(&id)["state"], "suppressed");
    assert_eq!(relay.traced(&id)["attempts"], 0);
    assert_eq!(provider.seen().connections, 0);
    relay.cli(&["queue", "release", &id]).ok();
    relay.wait_event(&id, "handed-over");
    assert_eq!(provider.wait_taken(1)[0].recipients, [ANNA]);
    // Once it is handed over there is nothing to release.
    assert!(!relay.cli(&["queue", "release", &id]).status.success());
}

#[test]
fn what_is_held_waits_for_an_operator() {
    let provider = Upstream::accepting();
    let category = "[categories.invitation]\naction = \"hold\"\n";
    let relay = Relay::start(&small(provider.address(), "category = \"invitation\"", category));
    let invitation =
        |n: u8| message(&["From: a@legacy.example", &format!("Subject: Join {n}"), "", "Join us."]);
    let kept = relay.accept(FROM, &[ANNA], &invitation(1));
    let dropped = relay.accept(FROM, &[ANNA], &invitation(2));
    relay.wait_event(&kept, "held");
    relay.wait_event(&dropped, "held");
    relay.cli(&["queue", "remove", &dropped]).ok();
    assert_eq!(relay.traced(&dropped)["state"], "removed");
    relay.cli(&["queue", "release", &kept]).ok();
    relay.wait_event(&kept, "handed-over");
    assert_eq!(provider.wait_taken(1)[0].header("Subject").as_deref(), Some("Join 1"));
    assert!(!relay.cli(&["queue", "release", &dropped]).status.success());
}

#[test]
fn a_client_sends_only_its_categories_unless_it_is_observed() {
    let provider = Upstream::accepting();
    let listed = "categories = [\"signin\", \"mfa\"]";
    let relay = Relay::start(&small(provider.address(), listed, ""));
    let reply = relay.hello().send(FROM, &[ANNA], &password_reset(ANNA)).expect(550);
    assert!(reply.text().contains("category password-reset is not relayed for this client"), "{reply}");
    assert_eq!(provider.seen().connections, 0);
    drop(relay);

    let observed = "observe_until = 2999-01-31";
    let relay = Relay::start(&small(provider.address(), observed, ""));
    let chat = message(&["From: a@legacy.example", "Subject: Lunch", "", "Shall we?"]);
    let id = relay.accept(FROM, &[ANNA], &chat);
    relay.wait_event(&id, "handed-over");
    let taken = provider.wait_taken(1);
    assert!(taken[0].header("From").is_some_and(|from| from.contains(NO_REPLY_ADDRESS)), "{taken:?}");
    let status = relay.cli(&["status"]).ok().stdout;
    assert!(status.contains("app") && status.contains("2999-01-31"), "{status}");
}

#[test]
fn two_clients_are_told_apart_by_login_and_network() {
    let provider = Upstream::accepting();
    let tables = [
        LISTENER,
        &client("app", "category = \"marketing\""),
        &client_with_password("category = \"signin\""),
        NO_REPLY,
        &upstream("provider", provider.address(), ""),
    ];
    let relay = Relay::start(&tables.concat());
    relay.hello().send(FROM, &[ANNA], &password_reset(ANNA)).expect(550);
    let mut dialogue = relay.encrypted();
    dialogue.auth_plain(USER, PASSWORD).expect(235);
    let id = dialogue.send(FROM, &[ANNA], &password_reset(ANNA)).expect(250).id();
    relay.wait_event(&id, "handed-over");
    let traced = relay.traced(&id);
    assert_eq!((traced["client"].as_str(), traced["category"].as_str()), (Some(USER), Some("signin")));
}
