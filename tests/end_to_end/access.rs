//! How a client is known, what it may then send, and who may look.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::config::{LISTENER, NO_REPLY, NO_REPLY_ADDRESS, client, upstream};
use crate::harness::dialogue::Dialogue;
use crate::harness::mail::{message, password_reset};
use crate::harness::pki::{Authority, Identity};
use crate::harness::relay::{BINARY, Home, Ran, Relay};
use crate::harness::skipped;
use crate::harness::upstream::Upstream;

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna@customer.example";

fn provided(provider: &Upstream) -> String {
    format!("{NO_REPLY}{}", upstream("provider", provider.address(), ""))
}

/// Hands in a password reset, waits until it is handed over, and gives the client that it was taken from.
#[track_caller]
fn sent_as(relay: &Relay, dialogue: &mut Dialogue) -> String {
    let id = dialogue.send(FROM, &[ANNA], &password_reset(ANNA)).expect(250).id();
    relay.wait_event(&id, "handed-over")["client"].as_str().expect("a client").to_owned()
}

#[test]
fn a_certificate_is_known_by_its_fingerprint_alone() {
    let provider = Upstream::accepting();
    let (known, unknown) = (Identity::self_signed("portal"), Identity::self_signed("portal"));
    let fingerprint = known.fingerprint();
    let portal = format!("[clients.portal]\ncertificates_sha256 = [\"{fingerprint}\"]\n");
    let relay = Relay::start(&format!("{LISTENER}{portal}{}", provided(&provider)));
    let (address, certificate) = (relay.address(), relay.home.certificate());

    let mut portal = Dialogue::identified(address, &certificate, &known).expect("a connection");
    assert_eq!(sent_as(&relay, &mut portal), "portal");
    let mail = format!("MAIL FROM:<{FROM}>");
    let mut stranger = Dialogue::identified(address, &certificate, &unknown).expect("a connection");
    let reply = stranger.command(&mail).expect(530);
    assert!(reply.text().starts_with("5.7.0"), "{reply}");
    // Nobody has to show one, and who shows none is nobody.
    relay.encrypted().command(&mail).expect(530);
    relay.hello().command(&mail).expect(530);
    assert_eq!(provider.seen().dots.len(), 1);
}

#[test]
fn with_an_authority_a_certificate_must_be_signed_and_named() {
    let provider = Upstream::accepting();
    let home = Home::new();
    let authority = Authority::new();
    let (known, unnamed) = (authority.sign("portal"), authority.sign("portal"));
    let forged = Identity::self_signed("portal");
    let server = authority.sign("localhost");
    let ca = home.write("authority.pem", authority.pem());
    home.write("server.pem", &server.certificate);
    home.write("server.key", &server.key);
    let tls = "[tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\nclient_ca = \"authority.pem\"\n";
    // The forged one is even listed: without the authority's name under it, that does not help.
    let listed = format!("\"{}\", \"{}\"", known.fingerprint(), forged.fingerprint().to_lowercase());
    let portal = format!("[clients.portal]\ncertificates_sha256 = [{listed}]\n");
    let relay = home.start(&format!("{LISTENER}{tls}{portal}{}", provided(&provider)));
    let address = relay.address();

    let mut portal = Dialogue::identified(address, &ca, &known).expect("a connection");
    assert_eq!(sent_as(&relay, &mut portal), "portal");
    let mut stranger = Dialogue::identified(address, &ca, &unnamed).expect("a connection");
    stranger.command(&format!("MAIL FROM:<{FROM}>")).expect(530);
    assert!(Dialogue::identified(address, &ca, &forged).is_none());
    // The others are served as before.
    assert_eq!(sent_as(&relay, &mut portal), "portal");
    let mut none = Dialogue::encrypted(address, &ca);
    none.command(&format!("MAIL FROM:<{FROM}>")).expect(530);
    assert_eq!(provider.seen().dots.len(), 2);
}

#[test]
fn a_listener_of_its_own_is_enough_to_be_known() {
    let provider = Upstream::accepting();
    let own = "[listeners.legacy]\naddress = \"127.0.0.1:0\"\n[clients.legacy]\nlisteners = [\"legacy\"]\n";
    let relay = Relay::start(&format!("{LISTENER}{own}{}", provided(&provider)));
    let mut there = Dialogue::hello(relay.listener("legacy"));
    assert_eq!(sent_as(&relay, &mut there), "legacy");
    relay.hello().command(&format!("MAIL FROM:<{FROM}>")).expect(530);
}

#[test]
fn the_narrowest_network_says_who_it_is() {
    let provider = Upstream::accepting();
    let wide = "[clients.wide]\nnetworks = [\"127.0.0.0/8\"]\n";
    let narrow = "[clients.narrow]\nnetworks = [\"127.0.0.2/32\"]\n";
    for both in [[wide, narrow], [narrow, wide]] {
        let relay = Relay::start(&format!("{LISTENER}{}{}", both.concat(), provided(&provider)));
        for (source, name) in [([127, 0, 0, 1], "wide"), ([127, 0, 0, 2], "narrow"), ([127, 0, 0, 3], "wide")]
        {
            let mut dialogue = Dialogue::hello_from(source.into(), relay.address());
            assert_eq!(sent_as(&relay, &mut dialogue), name, "{source:?}");
        }
    }
}

#[test]
fn wrong_passwords_are_slowed_down_and_a_known_good_one_is_not() {
    let provider = Upstream::accepting();
    let home = Home::new();
    let mut add = home.command();
    add.args(["client", "add", "helpdesk", "--password-stdin"]);
    let pasted = home.run(add, "open sesame\n").ok().stdout;
    assert!(pasted.contains("$argon2id$") && !pasted.contains("sesame"), "{pasted}");
    // There is no business here to be named.
    let table: Vec<&str> = pasted.lines().filter(|line| !line.starts_with("business")).collect();
    let relay = home.start(&format!("{LISTENER}{}\n{}", table.join("\n"), provided(&provider)));

    let mut first = relay.encrypted();
    first.auth_plain("helpdesk", "open sesame").expect(235);
    assert_eq!(sent_as(&relay, &mut first), "helpdesk");
    // Some are free, for people mistype; then the address waits, whatever name it tries.
    let mut codes = Vec::new();
    while codes.last() != Some(&454) && codes.len() < 10 {
        let user = if codes.len() % 2 == 0 { "helpdesk" } else { "nobody" };
        codes.push(relay.encrypted().auth_plain(user, "open barley").code);
    }
    let (last, before) = codes.split_last().expect("codes");
    assert!(*last == 454 && before.len() >= 3 && before.iter().all(|code| *code == 535), "{codes:?}");
    relay.encrypted().auth_plain("helpdesk", "open sesame").expect(235);
    let mut again = relay.encrypted();
    again.auth_login("helpdesk", "open sesame").expect(235);
    assert_eq!(sent_as(&relay, &mut again), "helpdesk");
    let log = relay.log();
    assert!(!log.contains("sesame") && !log.contains("barley"));
}

#[test]
fn a_client_sends_what_its_list_allows() {
    let provider = Upstream::accepting();
    let list = client("app", "categories = [\"invitation\", \"password-reset\"]");
    let rules = "[[rules]]\nname = \"code\"\ncategory = \"signin\"\nsubject = \"sign-in code\"\n";
    let relay = Relay::start(&format!("{LISTENER}{list}{rules}{}", provided(&provider)));
    assert_eq!(sent_as(&relay, &mut relay.hello()), "app");
    let code = message(&["From: a@legacy.example", "Subject: Your sign-in code", "", "It is 424242."]);
    let reply = relay.hello().send(FROM, &[ANNA], &code).expect(550);
    assert!(reply.text().starts_with("5.7.1") && reply.text().contains("category signin"), "{reply}");
    assert_eq!(relay.trace(&reply.id())["events"][0]["event"], "refused");
    assert_eq!(provider.seen().dots.len(), 1);
}

#[test]
fn what_is_observed_goes_out_as_no_reply_and_is_on_record() {
    let provider = Upstream::accepting();
    let own = "[senders.shop]\nfrom = \"Acme Shop <accounts@acme.example>\"\n\
               [businesses.acme]\nurl = \"https://acme.example\"\nsender = \"shop\"\n";
    let settings = "business = \"acme\"\ncategories = [\"signin\"]\nobserve_until = 2999-12-31";
    let app = client("app", settings);
    let relay = Relay::start(&format!("{LISTENER}{app}{own}{}", provided(&provider)));
    relay.wait_line("a warning", |line| {
        line["level"] == "WARN" && line["client"] == "app" && line["until"].as_str().is_some()
    });

    let newsletter =
        message(&["From: a@legacy.example", "Subject: Autumn news", "", "Everything is cheaper now."]);
    for (what, raw) in [("unknown", newsletter), ("not in its list", password_reset(ANNA))] {
        let before = provider.seen().taken.len();
        let id = relay.accept(FROM, &[ANNA], &raw);
        relay.wait_event(&id, "handed-over");
        let arrived = provider.wait_taken(before + 1).remove(before);
        assert_eq!(arrived.reverse_path, NO_REPLY_ADDRESS, "{what}");
        let from = arrived.header("From").unwrap_or_default();
        assert!(from.contains(NO_REPLY_ADDRESS), "{what}: {from}");
        let traced = relay.traced(&id);
        let rule = traced["rule"].as_str().unwrap_or_default();
        assert!(rule.ends_with("(observe)") && traced["class"] == "normal", "{what}: {traced}");
    }
    let shown = relay.cli(&["status"]).ok().stdout;
    assert!(shown.contains("WARNING: client app is only observed until 2999-12-31"), "{shown}");
    assert_eq!(relay.cli(&["status", "--json"]).json()["observed"][0]["client"], "app");
}

#[test]
fn what_is_observed_no_longer_is_refused_again() {
    let provider = Upstream::accepting();
    let app = client("app", "observe_until = 2020-01-31");
    let relay = Relay::start(&format!("{LISTENER}{app}{}", provided(&provider)));
    let newsletter = message(&["From: a@legacy.example", "Subject: Autumn news", "", "All is cheaper."]);
    relay.hello().send(FROM, &[ANNA], &newsletter).expect(550);
    assert!(!relay.cli(&["status"]).ok().stdout.contains("WARNING"));
}

#[test]
fn whole_addresses_are_shown_to_the_owner_of_the_socket_only() {
    let provider = Upstream::accepting();
    let home = Home::new();
    let Some(other) = OtherUser::new(home.path()) else {
        skipped("whole addresses and another user: needs root, setpriv and a folder that others can enter");
        return;
    };
    std::fs::create_dir(home.file("run")).expect("a folder for the socket");
    std::fs::set_permissions(home.file("run"), Permissions::from_mode(0o755)).expect("open to others");
    let config = format!(
        "control_socket = \"run/control.sock\"\n{LISTENER}{}{}",
        client("app", "category = \"password-reset\""),
        provided(&provider)
    );
    let relay = home.start(&config);
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&id, "handed-over");
    let home = &relay.home;
    assert!(relay.cli(&["trace", ANNA, "--full"]).ok().stdout.contains(ANNA));

    // Who is in the socket's group may ask, and sees addresses masked.
    let masked = other.cli(home, Group::Sockets, &["trace", ANNA]).ok().stdout;
    assert!(masked.contains(&id) && masked.contains("a***@customer.example"), "{masked}");
    for full in
        [&["trace", ANNA, "--full"][..], &["queue", "list", "--full"], &["queue", "show", &id, "--full"]]
    {
        let refused = other.cli(home, Group::Sockets, full);
        assert!(!refused.status.success() && refused.stdout.is_empty(), "{full:?}: {refused:?}");
        assert!(refused.stderr.contains("socket's owner"), "{full:?}: {refused:?}");
    }
    // The queue's file is its owner's alone.
    let offline = other.cli(home, Group::Sockets, &["queue", "list", "--offline"]);
    assert!(!offline.status.success() && !offline.stdout.contains(&id), "{offline:?}");
    // Anybody else has no business there.
    let stranger = other.cli(home, Group::Nobodys, &["status"]);
    assert!(!stranger.status.success() && stranger.stdout.is_empty(), "{stranger:?}");
}

/// The user `nobody`, who can run the binary and read the configuration, and owns nothing.
struct OtherUser {
    binary: PathBuf,
}

#[derive(Clone, Copy)]
enum Group {
    /// The one that the control socket belongs to.
    Sockets,
    Nobodys,
}

impl OtherUser {
    /// Lets nobody into `folder`, with a copy of the binary that it can run: the folder that was built in may be closed
    /// to others. `None`: this machine or user can't do that.
    fn new(folder: &Path) -> Option<Self> {
        std::fs::set_permissions(folder, Permissions::from_mode(0o755)).expect("its own folder");
        let binary = folder.join("authrelay");
        std::fs::copy(BINARY, &binary).expect("a copy of the binary");
        let other = Self { binary };
        let ran = other.command(Group::Nobodys).arg("--version").output();
        ran.is_ok_and(|ran| ran.status.success()).then_some(other)
    }

    fn cli(&self, home: &Home, group: Group, arguments: &[&str]) -> Ran {
        std::fs::set_permissions(home.config(), Permissions::from_mode(0o644)).expect("a readable file");
        let mut command = self.command(group);
        command.arg("--config").arg(home.config()).args(arguments);
        home.run(command, "")
    }

    fn command(&self, group: Group) -> Command {
        let group = match group {
            Group::Sockets => "--regid=0",
            Group::Nobodys => "--regid=65534",
        };
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", group, "--clear-groups", "--"]).arg(&self.binary);
        command
    }
}
