//! From one upstream to the next: only where it carries a sender that the category allows, and with one copy.

use crate::harness::config::{LISTENER, NO_REPLY, NO_REPLY_ADDRESS, client, upstream};
use crate::harness::mail::{Mail, password_reset};
use crate::harness::relay::{Home, Relay};
use crate::harness::upstream::{Answer, Moment, Upstream, unused_address};

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna@customer.example";

const SENDERS: &str = "[senders.shop]
from = \"Acme Shop <accounts@acme.example>\"
[senders.other]
from = \"other@acme.example\"
[businesses.acme]
url = \"https://acme.example\"
sender = \"shop\"
";

fn relay(category: &str, upstreams: &[String]) -> Relay {
    let client = client("app", &format!("business = \"acme\"\ncategory = \"{category}\""));
    Home::new().start(&format!("{LISTENER}{client}{NO_REPLY}{SENDERS}{}", upstreams.concat()))
}

fn from(mail: &Mail) -> String {
    mail.header("From").unwrap_or_default()
}

#[test]
fn to_the_next_upstream_of_the_same_sender() {
    let second = Upstream::accepting();
    let relay = relay(
        "password-reset",
        &[upstream("first", unused_address(), ""), upstream("second", second.address(), "")],
    );
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    let event = relay.wait_event(&id, "handed-over");
    assert_eq!(event["upstream"], "second");
    assert!(from(&second.wait_taken(1)[0]).contains("accounts@acme.example"));
}

#[test]
fn from_the_business_to_no_reply_where_only_that_is_carried() {
    let second = Upstream::accepting();
    let relay = relay(
        "password-reset",
        &[
            upstream("own", unused_address(), "senders = [\"shop\", \"other\"]"),
            upstream("shared", second.address(), "senders = [\"no-reply\"]"),
        ],
    );
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&id, "handed-over");
    let taken = second.wait_taken(1);
    assert!(from(&taken[0]).contains(NO_REPLY_ADDRESS), "{taken:?}");
    assert_eq!(taken[0].reverse_path, NO_REPLY_ADDRESS);
    // The step is on record: whoever asks where the mail is, learns under which name it went.
    let shown = relay.cli(&["trace", &id]).ok().stdout;
    assert!(shown.contains("no-reply"), "{shown}");
}

#[test]
fn not_to_an_upstream_that_carries_none_of_its_senders() {
    let second = Upstream::accepting();
    let address = unused_address();
    let relay = relay(
        "password-reset",
        &[
            upstream("first", address, "senders = [\"shop\", \"no-reply\"]\nbreaker = { longest = \"1s\" }"),
            upstream("second", second.address(), "senders = [\"other\"]"),
        ],
    );
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&id, "deferred");
    let first = Upstream::start_at(address, |_| Answer::Accept);
    relay.wait_event(&id, "handed-over");
    assert_eq!(first.seen().taken.len(), 1);
    assert_eq!(second.seen().connections, 0);
}

#[test]
fn an_invitation_never_goes_out_under_the_name_of_the_business() {
    let own = Upstream::accepting();
    let shared = Upstream::accepting();
    let relay = relay(
        "invitation",
        &[
            upstream("own", own.address(), "senders = [\"shop\", \"other\"]"),
            upstream("shared", shared.address(), "senders = [\"no-reply\"]"),
            "[categories.invitation]\nsettle = \"0s\"\n".to_owned(),
        ],
    );
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    assert_eq!(relay.wait_event(&id, "handed-over")["upstream"], "shared");
    assert!(from(&shared.wait_taken(1)[0]).contains(NO_REPLY_ADDRESS));
    assert_eq!(own.seen().connections, 0);
}

#[test]
fn one_copy_when_the_first_upstream_gives_up_at_any_point() {
    for (at, answer) in [
        ("connect", Answer::Reply("421 4.3.2 Closing")),
        ("connect", Answer::Reply("554 5.3.2 No service")),
        ("connect", Answer::Drop),
        ("mail", Answer::Reply("451 4.3.0 Out of order")),
        ("rcpt", Answer::Reply("421 4.7.0 Too much")),
        ("data", Answer::Reply("451 4.3.0 Out of order")),
        ("dot", Answer::Reply("452 4.3.1 Disk full")),
    ] {
        let first = Upstream::start(move |moment| {
            let now = match moment {
                Moment::Connect => "connect",
                Moment::Mail(_) => "mail",
                Moment::Rcpt(_) => "rcpt",
                Moment::Data => "data",
                Moment::Dot(_) => "dot",
            };
            if now == at { answer } else { Answer::Accept }
        });
        let second = Upstream::accepting();
        let upstreams = [upstream("first", first.address(), ""), upstream("second", second.address(), "")];
        let relay = relay("password-reset", &upstreams);
        let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
        let event = relay.wait_event(&id, "handed-over");
        assert_eq!(event["upstream"], "second", "{at} {answer:?}");
        assert_eq!((first.seen().taken.len(), second.seen().taken.len()), (0, 1), "{at} {answer:?}");
    }
}

#[test]
fn what_the_first_upstream_refuses_for_good_is_not_tried_elsewhere() {
    let first = Upstream::start(|moment| match moment {
        Moment::Rcpt(_) => Answer::Reply("550 5.1.1 No such user"),
        _ => Answer::Accept,
    });
    let second = Upstream::accepting();
    let upstreams = [upstream("first", first.address(), ""), upstream("second", second.address(), "")];
    let relay = relay("password-reset", &upstreams);
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&id, "failed");
    assert_eq!(second.seen().connections, 0);
}
