//! Webhooks: who is told of what, in which order, how often, and under which signature.

use serde_json::Value;

use crate::harness::config::{LISTENER, NO_REPLY, client, small, upstream};
use crate::harness::hook::{Hook, OLD_SECRET, Request, SECRET, recipient_hash};
use crate::harness::mail::{message, password_reset};
use crate::harness::pki::Authority;
use crate::harness::relay::{Home, Relay};
use crate::harness::texts::{ANNA as PHONE, CALLED_BACK, CODE, OPEN, Provider, Shop, texting};
use crate::harness::upstream::{Answer, Upstream, unused_address};
use crate::harness::{look_until, skipped};

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "Anna@Customer.example";

fn bulk_invitation(to: &str) -> Vec<u8> {
    message(&[
        "From: Wiki <wiki@legacy.example>",
        &format!("To: {to}"),
        "Subject: Join the Acme wiki",
        "Message-ID: <import-7.42@legacy.example>",
        "X-Authrelay-Category: invitation-bulk",
        "",
        "Carla has added you to her team.",
        "https://wiki.acme.example/join?t=s3cret-t0ken",
    ])
}

/// How an endpoint stands, as `webhook list` says.
fn standing(relay: &Relay, name: &str) -> Value {
    let list = relay.cli(&["webhook", "list", "--json"]).json();
    let webhooks = list["webhooks"].as_array().expect("a list").clone();
    webhooks.into_iter().find(|webhook| webhook["name"] == name).expect("the webhook")
}

fn kinds(requests: &[Request], id: &str) -> Vec<String> {
    let about = requests.iter().filter(|request| request.message() == id);
    about.map(Request::kind).collect()
}

#[test]
fn a_business_learns_what_became_of_its_messages_and_nothing_that_is_in_them() {
    let provider = Upstream::accepting();
    let (hashed, full) = (Hook::start(), Hook::start());
    let hooks = hashed.config("crm", "")
        + &full.config("ops", "recipient = \"full\"\nevents = [\"message.suppressed\"]");
    let relay = Relay::start(&small(provider.address(), "may_declare = true\n", &hooks));
    let suppressed = relay.accept(FROM, &[ANNA], &bulk_invitation(ANNA));
    let reset = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    hashed.wait_told("message.handed_over", &reset);
    let told = full.wait_told("message.suppressed", &suppressed);

    assert_eq!(told.path, "/hook");
    assert_eq!(told.field("content-type"), "application/json");
    assert!(told.is_signed_with(SECRET) && !told.is_signed_with(OLD_SECRET));
    assert!(told.id().starts_with("msg_") && !told.id().contains('.'));
    let body = told.body();
    let data = &body["data"];
    assert_eq!(data["recipient"], "Anna@customer.example");
    assert_eq!((&data["client"], &data["category"]), (&"app".into(), &"invitation-bulk".into()));
    assert_eq!(data["message_id"], "<import-7.42@legacy.example>");
    assert_eq!(kinds(&hashed.requests(), &reset), ["message.received", "message.handed_over"]);
    assert_eq!(kinds(&full.requests(), &reset), [""; 0]);

    let done = hashed.wait_told("message.handed_over", &reset).body();
    let hash = recipient_hash(SECRET, &lookup_form(&relay, &reset));
    assert_eq!(
        (&done["data"]["recipient_hash"], &done["data"]["upstream"]),
        (&hash.into(), &"provider".into())
    );
    for request in hashed.requests().iter().chain(&full.requests()) {
        let text = String::from_utf8(request.raw.clone()).expect("UTF-8");
        for secret in ["t0ken", "https://", "Reset your password", "Join the Acme", "X-Authrelay"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    assert!(hashed.requests().iter().all(|request| !request.raw.windows(9).any(|part| part == b"@customer")));
    // Nothing of it is in the log either.
    assert!(!relay.log().contains(SECRET) && !relay.log().contains("/hook"));
}

/// The recipient as everybody writes it who makes a hash of it: in lower case.
fn lookup_form(relay: &Relay, id: &str) -> String {
    relay.traced(id)["to"].as_str().expect("a recipient").to_lowercase()
}

#[test]
fn what_is_not_taken_is_told_again_under_the_same_id_and_before_what_came_after_it() {
    let provider = Upstream::accepting();
    let hook = Hook::start();
    hook.next(503, "");
    // A redirect is no answer, and nothing follows it.
    hook.next(307, &format!("location: {}\r\n", hook.url()));
    let relay = Relay::start(&small(provider.address(), "", &hook.config("crm", "max_connections = 1")));
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    let other = {
        hook.wait_for(1);
        relay.accept(FROM, &["bert@customer.example"], &password_reset("bert@customer.example"))
    };
    // The redirect meets the other message; both are told again.
    hook.wait_told("message.handed_over", &id);
    hook.wait_told("message.handed_over", &other);
    let requests = hook.requests();
    for id in [&id, &other] {
        let expected = ["message.received", "message.received", "message.handed_over"];
        assert_eq!(kinds(&requests, id), expected);
        let tries: Vec<&Request> = requests.iter().filter(|request| request.message() == **id).collect();
        assert_eq!((tries[0].id(), tries[0].body()), (tries[1].id(), tries[1].body()));
        assert_ne!(tries[0].field("webhook-timestamp"), tries[1].field("webhook-timestamp"));
    }
    assert!(requests.iter().all(|request| request.is_signed_with(SECRET)));
    let crm = look_until("the last one on record", || {
        Some(standing(&relay, "crm")).filter(|crm| crm["delivered"] == 4)
    });
    assert_eq!((&crm["waiting"], &crm["dropped"]), (&0.into(), &0.into()));
    assert_eq!(crm["last_error"], "HTTP 307");
}

#[test]
fn one_that_is_gone_is_left_alone_until_somebody_enables_it() {
    let provider = Upstream::accepting();
    let hook = Hook::answering(410);
    let mut relay = Relay::start(&small(provider.address(), "", &hook.config("crm", "max_connections = 1")));
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&id, "handed-over");
    look_until("the end of the webhook", || (standing(&relay, "crm")["state"] == "disabled").then_some(()));
    let so_far = hook.requests().len();
    hook.answer(204);
    assert!(relay.stop().success());
    relay.restart();
    let second = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&second, "handed-over");
    let crm = standing(&relay, "crm");
    assert_eq!((&crm["state"], &crm["waiting"]), (&"disabled".into(), &4.into()));
    assert_eq!(hook.requests().len(), so_far);
    let list = relay.cli(&["webhook", "list"]).ok().stdout;
    assert!(list.contains("it answered 410; `authrelay webhook enable crm`"), "{list}");

    // A test goes there all the same, and says what it answered.
    let tested = relay.cli(&["webhook", "test", "crm"]).ok().stdout;
    assert!(tested.starts_with("taken: HTTP 204"), "{tested}");
    assert!(hook.wait_for(so_far + 1)[so_far].is_signed_with(SECRET));
    relay.cli(&["webhook", "enable", "crm"]).ok();
    hook.wait_told("message.handed_over", &second);
    assert_eq!(kinds(&hook.requests()[so_far..], &id), ["message.received", "message.handed_over"]);
    let nobody = relay.cli(&["webhook", "enable", "x"]);
    assert!(nobody.stderr.contains("there is no webhook with this name"), "{}", nobody.stderr);
}

#[test]
fn nothing_is_lost_by_a_crash_and_a_changed_configuration_counts_for_what_waits() {
    let provider = Upstream::accepting();
    let hook = Hook::start();
    let nowhere = unused_address();
    let away = format!("[webhooks.crm]\nurl = \"http://{nowhere}/\"\nsecret = \"{OLD_SECRET}\"\n");
    let mut relay = Relay::start(&small(provider.address(), "", &away));
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&id, "handed-over");
    relay.wait_line("a try in vain", |line| line["message"] == "webhook not taken");
    relay.kill9();
    // While a key is replaced both sign.
    relay.home.write("keys", format!("{SECRET}\n{OLD_SECRET}\n"));
    let here = format!("[webhooks.crm]\nurl = \"{}\"\nsecret_file = \"keys\"\n", hook.url());
    let config = std::fs::read_to_string(relay.home.config()).expect("its configuration");
    relay.home.write("relay.toml", config.replace(&away, &here));
    relay.restart();
    let told = hook.wait_told("message.handed_over", &id);
    assert!(told.is_signed_with(SECRET) && told.is_signed_with(OLD_SECRET));
    assert_eq!(kinds(&hook.requests(), &id), ["message.received", "message.handed_over"]);
}

#[test]
fn a_certificate_that_nobody_trusts_is_not_told_anything() {
    let provider = Upstream::accepting();
    let authority = Authority::new();
    let (good, wrong) =
        (Hook::secure(&authority.sign("localhost")), Hook::secure(&authority.sign("other.example")));
    let home = Home::new();
    home.write("ca.pem", authority.pem());
    let endpoint = |name: &str, hook: &Hook, more: &str| {
        let port = hook.port();
        format!("[webhooks.{name}]\nurl = \"https://localhost:{port}/\"\nsecret = \"{SECRET}\"\n{more}\n")
    };
    let ca = "ca_file = \"ca.pem\"";
    let hooks = endpoint("good", &good, ca) + &endpoint("wrong", &wrong, ca);
    let relay = home.start(&small(provider.address(), "", &hooks));
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    assert!(good.wait_told("message.handed_over", &id).is_signed_with(SECRET));
    let tested = relay.cli(&["webhook", "test", "wrong"]);
    assert!(!tested.status.success() && tested.stdout.starts_with("not taken: TLS: "), "{tested:?}");
    assert!(wrong.requests().is_empty());
}

#[test]
fn refusals_and_the_troubles_of_an_upstream_are_told() {
    let address = unused_address();
    let hook = Hook::start();
    let away = upstream("provider", address, "breaker.shortest = \"1s\"\nbreaker.longest = \"1s\"\n");
    let config = format!("{LISTENER}{}{NO_REPLY}{away}{}", client("app", ""), hook.config("ops", ""));
    let relay = Relay::start(&config);
    let mut dialogue = relay.hello();
    let sale = message(&["From: a@b.example", "To: anna@c.example", "Subject: Sale", "", "50% off today!"]);
    dialogue.send(FROM, &[ANNA], &sale).expect(550);
    let refused =
        hook.wait("the refusal", |all| all.iter().find(|one| one.kind() == "message.refused").cloned());
    assert_eq!(refused.body()["data"]["reason"]["class"], "policy");
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    let down = hook.wait("the upstream", |all| all.iter().find(|one| one.kind() == "upstream.down").cloned());
    assert_eq!(down.body()["data"]["upstream"], "provider");
    assert_eq!(down.body()["data"]["reason"]["class"], "connect");
    let provider = Upstream::start_at(address, |_| Answer::Accept);
    hook.wait("the upstream again", |all| all.iter().find(|one| one.kind() == "upstream.up").cloned());
    hook.wait_told("message.handed_over", &id);
    assert_eq!(provider.wait_taken(1).len(), 1);
}

#[test]
fn codes_are_told_of_with_the_number_and_the_name_the_application_gave() {
    let provider = Provider::start();
    let hook = Hook::start();
    let more = hook.config("crm", "recipient = \"full\"\nevents = [\"sms.*\"]\nbusinesses = [\"acme\"]");
    let relay = Relay::start(&format!("{}{more}", texting(&provider.fake.base_url(), CALLED_BACK, OPEN)));
    let id = Shop::of(&relay).code(PHONE, CODE);
    let sent = hook.wait_told("sms.sent", &id);
    assert_eq!(sent.body()["data"]["recipient"], PHONE);
    let [text] = provider.texts(1).try_into().expect("one text");
    provider.call_back(&text.sid, "delivered", None, crate::harness::fake_twilio::Call::Signed, &relay);
    let delivered = hook.wait_told("sms.delivered", &id);
    assert_eq!(delivered.body()["data"]["recipient"], PHONE);
    assert_eq!(kinds(&hook.requests(), &id), ["sms.accepted", "sms.sent", "sms.delivered"]);
    assert!(hook.requests().iter().all(|one| !String::from_utf8_lossy(&one.raw).contains(CODE)));
}

#[test]
fn the_audit_trail_says_what_was_decided_by_which_rule_and_how_it_ended() {
    let provider = Upstream::accepting();
    let mut relay = Home::new().start(&small(provider.address(), "may_declare = true\n", ""));
    let suppressed = relay.accept(FROM, &[ANNA], &bulk_invitation(ANNA));
    let reset = relay.accept(FROM, &["bert@customer.example"], &password_reset("bert@customer.example"));
    relay.wait_event(&reset, "handed-over");
    let sale = message(&["From: a@b.example", "To: anna@c.example", "Subject: Sale", "", "50% off today!"]);
    relay.hello().send(FROM, &[ANNA], &sale).expect(550);
    relay.cli(&["queue", "release", &suppressed]).ok();
    relay.wait_event(&suppressed, "handed-over");

    let export = |relay: &Relay, arguments: &[&str]| -> Vec<Value> {
        let text = relay.cli(&[&["audit", "export"], arguments].concat()).ok().stdout;
        assert!(!text.to_lowercase().contains("@customer.example"), "{text}");
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
    };
    let all = export(&relay, &[]);
    let said: Vec<_> = all
        .iter()
        .map(|one| (one["decision"].as_str(), one["category"].as_str(), one["end"].as_str()))
        .collect();
    assert_eq!(
        said,
        [
            (Some("suppress"), Some("invitation-bulk"), Some("handed-over")),
            (Some("relay"), Some("password-reset"), Some("handed-over")),
            (Some("refuse"), Some("marketing"), Some("refused")),
        ]
    );
    assert_eq!((&all[0]["rule"], &all[1]["id"]), (&"declared".into(), &reset.clone().into()));
    let steps: Vec<_> = all[0]["steps"].as_array().expect("steps").iter().map(|step| &step["what"]).collect();
    assert_eq!(steps, ["suppressed", "released", "handed-over"]);
    assert_eq!(export(&relay, &["--to", "bert@customer.example"]), all[1..2]);
    assert_eq!(export(&relay, &["--since", "2100-01-01"]), [Value::Null; 0]);
    assert_eq!(export(&relay, &["--until", "2100-01-01"]).len(), 3);
    // With the daemon down its file says the same.
    assert!(relay.stop().success());
    assert!(!relay.cli(&["audit", "export"]).status.success());
    assert_eq!(export(&relay, &["--offline"]), all);
    assert_eq!(export(&relay, &["--offline", "--to", "bert@customer.example"]), all[1..2]);
    assert_eq!(export(&relay, &["--offline", "--since", "2100-01-01"]), [Value::Null; 0]);
}

/// What stands in the documentation as the `number`th example in `language`.
fn example(language: &str, number: usize) -> String {
    let page = include_str!("../../docs/webhooks.md");
    let fence = format!("```{language}\n");
    let blocks = page.split(&fence).skip(1);
    let block = blocks.map(|rest| rest.split("```").next().expect("an end").to_owned()).nth(number);
    block.expect("the example")
}

/// Has the program verify a request that came and one that was changed on the way.
fn verified_by(mut program: std::process::Command, file: &str, example: &str, driver: &str) {
    let provider = Upstream::accepting();
    let hook = Hook::start();
    let relay = Relay::start(&small(provider.address(), "", &hook.config("crm", "")));
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    let request = hook.wait_told("message.handed_over", &id);
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers: serde_json::Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), request.field(name).into())).collect();
    let input = serde_json::json!({ "secret": SECRET, "headers": headers, "body": String::from_utf8(request.raw).expect("UTF-8") });
    let script = relay.home.write(file, format!("{example}\n{driver}"));
    program.arg(script);
    let ran = relay.home.run(program, &input.to_string());
    assert_eq!(ran.stdout.trim(), format!("{id} message.handed_over; refused"), "{}", ran.stderr);
}

const PYTHON: &str = "
import json, sys
given = json.load(sys.stdin)
told = verify(given['secret'], given['headers'], given['body'].encode())
try:
    verify(given['secret'], given['headers'], given['body'].replace('handed_over', 'failed').encode())
    changed = 'taken'
except Exception:
    changed = 'refused'
print(told['data']['id'], told['type'] + ';', changed)
";

const NODE: &str = r#"
const given = JSON.parse(require("fs").readFileSync(0, "utf8"));
const told = verify(given.secret, given.headers, given.body);
let changed = "taken";
try {
  verify(given.secret, given.headers, given.body.replace("handed_over", "failed"));
} catch {
  changed = "refused";
}
console.log(`${told.data.id} ${told.type}; ${changed}`);
"#;

#[test]
fn the_example_without_a_library_verifies() {
    let python = std::process::Command::new("python3").arg("-V").output();
    if !python.is_ok_and(|output| output.status.success()) {
        return skipped("the example in Python was not tried: python3 is not installed");
    }
    verified_by(std::process::Command::new("python3"), "plain.py", &example("python", 1), PYTHON);
}

#[test]
fn the_reference_library_in_python_verifies() {
    let Some(python) = std::env::var_os("AUTHRELAY_STANDARD_WEBHOOKS") else {
        return skipped(
            "standardwebhooks was not tried: AUTHRELAY_STANDARD_WEBHOOKS names no Python that has it",
        );
    };
    verified_by(std::process::Command::new(python), "library.py", &example("python", 0), PYTHON);
}

#[test]
fn the_reference_library_in_node_verifies() {
    let Some(modules) = std::env::var_os("AUTHRELAY_NODE_WEBHOOKS") else {
        return skipped(
            "standardwebhooks was not tried: AUTHRELAY_NODE_WEBHOOKS names no folder that has it",
        );
    };
    let mut node = std::process::Command::new("node");
    node.env("NODE_PATH", modules);
    verified_by(node, "library.js", &example("js", 0), NODE);
}
