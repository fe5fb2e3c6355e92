//! Secrets of the configuration: wherever one may stand, no command shows it, right or wrong.

use crate::harness::config::{LISTENER, NO_REPLY, small};
use crate::harness::relay::Home;
use crate::harness::search::assert_absent;
use crate::harness::upstream::Upstream;

/// A mark in each secret, and the secrets in every place where one may stand.
const MARK: &str = "wombat7mark";

/// `whsec_` and base64 of what holds the mark.
const SIGNING: &str = "whsec_d29tYmF0N21hcmt3b21iYXQ3bWFya3dvbWJhdDdtYXJr";

fn everywhere() -> String {
    let login = format!("user = \"relay\"\npassword = \"{MARK}-inline\"");
    let file = "user = \"relay\"\npassword_file = \"password\"";
    let env = "user = \"relay\"\npassword_env = \"PASSWORD\"";
    let upstream = |name: &str, login: &str| {
        format!("[upstreams.{name}]\nkind = \"smtp\"\nhost = \"{name}.example\"\n{login}\n")
    };
    let twilio = format!(
        "[upstreams.twilio]\nkind = \"twilio\"\naccount_sid = \"AC00000000000000000000000000000000\"\n\
         auth_token = \"{MARK}-token\"\napi_key_sid = \"SK00000000000000000000000000000000\"\n\
         api_key_secret = \"{MARK}-api\"\nfrom = \"+12025550100\"\n"
    );
    let hook = format!(
        "[webhooks.crm]\nurl = \"https://crm.example/hook/{MARK}\"\nsecret = \"{SIGNING}\"\n\
         [webhooks.old]\nurl = \"https://old.example/hook\"\nsecret_file = \"signing\"\n"
    );
    [
        LISTENER,
        NO_REPLY,
        "[businesses.acme]\nurl = \"https://acme.example\"\n[clients.app]\nnetworks = [\"127.0.0.0/8\"]\n",
        &upstream("inline", &login),
        &upstream("file", file),
        &upstream("env", env),
        &twilio,
        &hook,
    ]
    .concat()
}

fn home() -> Home {
    let home = Home::new();
    home.write("password", format!("{MARK}-file\n"));
    home.write("signing", SIGNING);
    home
}

fn run(home: &Home, arguments: &[&str]) -> (String, Vec<u8>) {
    let mut command = home.command();
    command.env("PASSWORD", format!("{MARK}-env")).arg("--config").arg(home.config()).args(arguments);
    let ran = home.run(command, "From: a@acme.example\r\nSubject: x\r\n\r\nx\r\n");
    (arguments.join(" "), format!("{}{}", ran.stdout, ran.stderr).into_bytes())
}

/// Every command that reads the configuration.
const COMMANDS: [&[&str]; 12] = [
    &["check"],
    &["check", "--json"],
    &["check", "--live", "--dns", "127.0.0.1:9"],
    &["check", "--live", "--json", "--dns", "127.0.0.1:9"],
    &["explain", "message.eml"],
    &["explain", "message.eml", "--json"],
    &["status"],
    &["queue", "list", "--offline"],
    &["key", "list"],
    &["webhook", "list"],
    &["reload"],
    &["audit", "export", "--offline"],
];

fn marks() -> [(&'static str, &'static str); 2] {
    [("a secret of the configuration", MARK), ("a signing secret", "d29tYmF0N21hcmt3")]
}

#[test]
fn no_command_shows_a_secret_of_the_configuration() {
    let home = home();
    home.configure(&everywhere(), "trace");
    home.write("message.eml", "From: a@acme.example\r\nTo: anna@c.example\r\nSubject: x\r\n\r\nx\r\n");
    let shown: Vec<_> = COMMANDS.iter().map(|arguments| run(&home, arguments)).collect();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let described = text(&shown[0].1);
    assert!(described.contains("valid") && described.contains("[upstreams.inline]"), "{described}");
    assert_absent(&marks(), &shown);
}

/// A mistake beside a secret, or in it: the place is shown, the secret is not.
#[test]
fn no_error_shows_a_secret_of_the_configuration() {
    let home = home();
    let right = everywhere();
    home.write("message.eml", "x");
    let wrong = [
        // Not closed, and closed too early.
        right.replace("password = \"wombat7mark-inline\"", "password = \"wombat7mark-inline"),
        right.replace("auth_token = \"wombat7mark-token\"", "auth_token = wombat7mark-token"),
        right.replace("api_key_secret = \"wombat7mark-api\"", "api_key_secret = \"wombat7mark\"-api\""),
        // Of a wrong kind, of a wrong form, twice, under a wrong name.
        right.replace("password = \"wombat7mark-inline\"", "password = [\"wombat7mark-inline\"]"),
        right.replace("auth_token = \"wombat7mark-token\"", "auth_token = { of = \"wombat7mark-token\" }"),
        right.replace("wombat7mark-inline\"", "wombat7mark\\u0007inline\""),
        right.replace(
            "password = \"wombat7mark-inline\"",
            "password = \"wombat7mark-inline\"\npassword_file = \"password\"",
        ),
        right.replace("password = \"wombat7mark-inline\"", "pasword = \"wombat7mark-inline\""),
        right.replace("password = \"wombat7mark-inline\"", "secret = \"wombat7mark-inline\""),
        right.replace(
            "password = \"wombat7mark-inline\"",
            "password_file = \"password\" password = \"wombat7mark\"",
        ),
        right.replace(SIGNING, "whsec_d29tYmF0N21hcmt3!"),
        right.replace("https://crm.example/hook", "https://crm:wombat7mark@crm.example/hook"),
        // An address with what opens a door.
        right.replace("https://crm.example/hook", "ftp://crm.example/wombat7mark"),
    ];
    for (number, text) in wrong.iter().enumerate() {
        assert_ne!(*text, right, "{number}");
        home.configure(text, "trace");
        let shown: Vec<_> = [&["check"][..], &["check", "--json"], &["run"], &["explain", "message.eml"]]
            .iter()
            .map(|arguments| {
                let (name, text) = run(&home, arguments);
                (format!("{number}: {name}"), text)
            })
            .collect();
        let told = String::from_utf8_lossy(&shown[0].1).into_owned();
        assert!(told.contains("relay.toml:"), "{number} is no error, or has no place: {told}");
        assert_absent(&marks(), &shown);
    }
}

/// A reload that is refused tells it to the log as well.
#[test]
fn a_refused_reload_logs_no_secret() {
    let provider = Upstream::accepting();
    let relay = home().start_at_level(&small(provider.address(), "", ""), "trace");
    relay.configure(
        &everywhere().replace("password = \"wombat7mark-inline\"", "password = [\"wombat7mark-inline\"]"),
    );
    let refused = relay.cli(&["reload"]);
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    let places = vec![
        ("reload".to_owned(), refused.stderr.into_bytes()),
        ("the log".to_owned(), relay.log().into_bytes()),
    ];
    assert_absent(&marks(), &places);
}
