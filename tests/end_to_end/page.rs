//! The status page, as a browser gets it: where a message is, what waits, and that nothing anybody sends acts on the reader.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::default_provider;

use crate::harness::config::{LISTENER, NO_REPLY, client, sha256, upstream};
use crate::harness::mail::{message, password_reset};
use crate::harness::pki::{Authority, Identity};
use crate::harness::relay::{Home, Relay};
use crate::harness::search::assert_absent;
use crate::harness::skipped;
use crate::harness::upstream::{Answer, Moment, Upstream, unused_address};
use crate::harness::web::{self, Connection};

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna.searched@customer.example";
const ADMIN: &str = "[http.admin]\naddress = \"127.0.0.1:0\"\nserves = [\"admin\"]\n";

/// What a provider may answer that means no good.
const EVIL: &str =
    "552 5.2.2 <script>document.title=1</script> <img src=x onerror=alert(2)> \u{202e}full\u{200b} '\"&amp;";

fn config(provider: SocketAddr, of_client: &str, more: &str) -> String {
    let (client, upstream) = (client("app", of_client), upstream("provider", provider, ""));
    format!("{LISTENER}{ADMIN}{client}{NO_REPLY}{upstream}{more}")
}

fn ask(relay: &Relay, method: &str, path: &str, body: &str) -> web::Answer {
    let connection = Connection::open(relay.listener("admin"));
    connection.and_then(|mut connection| connection.ask(method, path, &[], body)).expect("an answer")
}

fn page(relay: &Relay, path: &str) -> String {
    ask(relay, "GET", path, "").expect(200).body
}

/// Searches as the form does, and gives where it leads.
fn search(relay: &Relay, typed: &str) -> String {
    let body: String = form_urlencoded::Serializer::new(String::new()).append_pair("q", typed).finish();
    let answer = ask(relay, "POST", "/search", &body).expect(303);
    format!("/{}", answer.field("location").expect("a place"))
}

#[track_caller]
fn assert_shows(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(page.contains(text), "{text:?} is not in\n{page}");
    }
}

fn advertisement() -> Vec<u8> {
    message(&[
        "From: shop@legacy.example",
        "To: anna.searched@customer.example",
        "Subject: Our autumn sale: wombats for everybody",
        "",
        "Only this week. Shop now and save! Everything must go.",
        "Unsubscribe: https://legacy.example/unsubscribe",
    ])
}

#[test]
fn it_says_where_a_message_is_and_no_address_gets_into_an_address_or_a_log() {
    let provider = Upstream::accepting();
    let relay = Relay::start(&config(provider.address(), "", ""));
    assert_shows(&page(&relay, "/"), &["All is well", "authrelay send-test", "no message has come"]);

    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&id, "handed-over");
    relay.hello().send(FROM, &[ANNA], &advertisement()).expect(550);
    let place = search(&relay, &format!("  {ANNA} "));
    assert!(place.starts_with("/recipient/") && !place.contains("anna"), "{place}");
    let found = page(&relay, &place);
    let to_key = relay.trace(ANNA)["to_key"].as_str().expect("a key").to_owned();
    let reference = relay.traced(&id)["reference"].as_str().expect("a reference").to_owned();
    assert_shows(
        &found,
        &["a***@customer.example", "2 messages", "Handed over", "Refused", &to_key, &reference],
    );
    assert_shows(&found, &["marketing", "What to do:", "authrelay explain FILE.eml --client app"]);

    // An id may be in an address: it says nothing of a person.
    assert_eq!(search(&relay, &id), format!("/message/{id}"));
    assert_shows(&page(&relay, &format!("/message/{id}")), &["Handed over", "password-reset", &reference]);
    let overview = page(&relay, "/");
    assert_shows(
        &overview,
        &["password-reset", "marketing", "The latest decisions", &format!("message/{id}")],
    );
    assert_shows(&page(&relay, "/decisions?show=trouble"), &["Refused", "category marketing is not relayed"]);

    let hidden = [("an address", "anna.searched"), ("a subject", "wombats"), ("a sender", "shop@legacy")];
    assert_absent(&hidden, &vec![("the pages".to_owned(), (overview + &found).into_bytes())]);
    assert_absent(
        &[("an address", "anna.searched")],
        &vec![("the log".to_owned(), relay.log().into_bytes())],
    );
}

#[test]
fn what_is_not_there_and_what_cannot_be_read_is_told_in_words() {
    let provider = Upstream::accepting();
    let relay = Relay::start(&config(provider.address(), "", ""));
    for place in
        [search(&relay, "nobody@customer.example"), search(&relay, "019a9e4c-5d6e-7f80-9a1b-2c3d4e5f6071")]
    {
        let nothing = ask(&relay, "GET", &place, "").expect(404).body;
        assert_shows(&nothing, &["Nothing is known of this", "journalctl -u authrelay", "forgotten"]);
    }
    for (body, why) in
        [("q=anna", "not a message id"), ("q=a%20b@@c", "not a mail address"), ("", "not a message id")]
    {
        let told = ask(&relay, "POST", "/search", body).expect(400).body;
        assert_shows(&told, &["be searched for", why]);
    }
    assert_shows(&ask(&relay, "GET", "/message/x", "").expect(400).body, &["not a message id"]);
    assert_shows(&ask(&relay, "GET", "/recipient/x", "").expect(400).body, &["not the key of a recipient"]);
    // What an address asks for and nobody understands is as if it had not been asked for.
    for odd in ["/?refresh=x", "/queue?state=x", "/decisions?show=x", "/?x=y"] {
        assert!(!page(&relay, odd).contains("http-equiv"), "{odd}");
    }
    assert_shows(&page(&relay, "/?refresh=1"), &["http-equiv=\"refresh\" content=\"5\""]);
    assert_shows(&page(&relay, "/observed"), &["every decision is enforced"]);
    assert_shows(&page(&relay, "/queue?state=held"), &["There is none now"]);
    assert_eq!(ask(&relay, "GET", "/search", "").expect(303).field("location"), Some("./"));
    ask(&relay, "DELETE", "/", "").expect(405);
}

#[test]
fn nothing_that_anybody_sends_acts_on_the_reader() {
    let provider = Upstream::start(|moment| match moment {
        Moment::Dot(_) => Answer::Reply(EVIL),
        _ => Answer::Accept,
    });
    let relay = Relay::start(&config(provider.address(), "", ""));
    let mut raw = b"Message-ID: <<script>alert(3)</script>@x>\r\nX-Mailer: <b>bold</b>\r\n".to_vec();
    raw.extend(password_reset(ANNA));
    let to = "\"<script>x\"@customer.example";
    let id = relay.accept(FROM, &[to], &raw);
    relay.wait_event(&id, "failed");
    let recipient = search(&relay, to);
    for path in ["/", "/decisions", "/decisions?show=trouble", &format!("/message/{id}"), &recipient] {
        let answer = ask(&relay, "GET", path, "");
        let shown = answer.body.replace("<style>", "");
        for sly in ["<script", "<img", "<b>", "\u{202e}", "\u{200b}"] {
            assert!(!shown.contains(sly), "{sly:?} is in {path}:\n{shown}");
        }
    }
    let told = page(&relay, &format!("/message/{id}"));
    // Signs that hide or turn others were taken out before it was kept.
    assert_shows(&told, &["&lt;script&gt;document.title=1&lt;/script&gt;", "full"]);

    let policy = ask(&relay, "GET", "/", "");
    let policy = policy.field("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    for part in ["base-uri 'none'", "form-action 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part) && !policy.contains("unsafe"), "{policy}");
    }
    for path in ["/", "/queue", "/message/x", &recipient] {
        let answer = ask(&relay, "GET", path, "");
        for (field, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("content-type", "text/html; charset=utf-8"),
            ("content-security-policy", policy),
        ] {
            assert_eq!(answer.field(field), Some(value), "{field} of {path}");
        }
    }
}

#[test]
fn without_a_password_it_answers_under_names_of_this_machine_only() {
    let provider = Upstream::accepting();
    let relay = Relay::start(&config(provider.address(), "", ""));
    let under = |name: &str, path: &str| {
        let address = relay.listener("admin");
        let stream = std::net::TcpStream::connect(address).expect("a connection");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        let mut answer = String::new();
        std::io::Write::write_all(&mut &stream, request.as_bytes()).expect("sent");
        std::io::Read::read_to_string(&mut &stream, &mut answer).expect("an answer");
        answer
    };
    for path in ["/", "/decisions", "/message/x"] {
        let answer = under("rebound.example:8026", path);
        assert!(answer.starts_with("HTTP/1.1 421") && answer.contains("Not under this name"), "{answer}");
    }
    for name in ["127.0.0.1:8026", "localhost", "[::1]:8026", "relay.test"] {
        assert!(under(name, "/").starts_with("HTTP/1.1 200"), "{name}");
    }
    // Metrics have nothing of a person in them, and are asked for under any name.
    assert!(under("metrics.example", "/metrics").starts_with("HTTP/1.1 200"));
}

#[test]
fn it_says_what_status_says() {
    let relay = Relay::start(&config(unused_address(), "", "[otp]\n"));
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&id, "deferred");
    let status = relay.cli(&["status", "--json"]).json();
    assert_eq!(status["queue"]["urgent"], 1, "{status}");
    let hour = &status["last_hour"][0];
    assert_eq!((&hour["category"], &hour["received"]), (&"password-reset".into(), &1.into()), "{status}");
    assert!(relay.cli(&["status"]).ok().stdout.contains("last hour, password-reset: 1 accepted"));
    let shown = page(&relay, "/queue?state=queued");
    assert_shows(&shown, &["a***@customer.example", "password-reset", &format!("message/{id}")]);
    let story = page(&relay, &format!("/message/{id}"));
    assert_shows(&story, &["Waiting", "Because:", "Not yet", &format!("authrelay queue retry {id}")]);
    // However often it failed by now, the page says of the provider what status says.
    let down = relay.cli(&["status", "--json"]).json()["upstreams"][0]["state"] == "down";
    assert!(!down || page(&relay, "/").contains("is not asked for a while"));
}

#[test]
fn what_observation_lets_pass_is_reported() {
    let provider = Upstream::accepting();
    let relay = Relay::start(&config(provider.address(), "observe_until = 2036-01-01", ""));
    assert_shows(&page(&relay, "/observed"), &["Client <bdi>app</bdi>", "would have been refused"]);
    let id = relay.accept(FROM, &[ANNA], &advertisement());
    relay.wait_event(&id, "handed-over");
    let shown = page(&relay, "/observed");
    assert_shows(&shown, &["marketing", &format!("message/{id}"), "authrelay explain FILE.eml --client app"]);
    assert_shows(&page(&relay, "/"), &["The client app is only observed"]);
    let told = relay.cli(&["status", "--json"]).json();
    let would = &told["observed"][0]["would_refuse"][0];
    assert_eq!((&would["category"], &would["messages"]), (&"marketing".into(), &1.into()), "{told}");
}

/// A browser with this certificate, which trusts `authority`. `None`: it could not even shake hands.
fn with_certificate(
    address: SocketAddr,
    authority: &Authority,
    identity: Option<&Identity>,
    password: Option<&str>,
) -> Option<u16> {
    let mut roots = RootCertStore::empty();
    let der = rustls::pki_types::pem::PemObject::from_pem_slice(authority.pem().as_bytes());
    roots.add(der.expect("an authority")).expect("a root");
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder =
        builder.with_safe_default_protocol_versions().expect("versions").with_root_certificates(roots);
    let tls = match identity {
        Some(identity) => {
            builder.with_client_auth_cert(vec![identity.der()], identity.key_der()).expect("a key")
        }
        None => builder.with_no_client_auth(),
    };
    let client =
        reqwest::Client::builder().no_proxy().tls_backend_preconfigured(tls).build().expect("a client");
    let request = client.get(format!("https://localhost:{}/", address.port()));
    let request = match password {
        Some(password) => request.basic_auth("anybody", Some(password)),
        None => request,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(request.send()).ok().map(|answer| answer.status().as_u16())
}

#[test]
fn a_certificate_lets_in_as_a_password_does() {
    let provider = Upstream::accepting();
    let (servers, people, others) = (Authority::new(), Authority::new(), Authority::new());
    let home = Home::new();
    let server = servers.sign("localhost");
    home.write("server.pem", &server.certificate);
    home.write("server.key", &server.key);
    home.write("people.pem", people.pem());
    let tls = "[tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n";
    let listener = |name: &str, more: &str| {
        format!(
            "[http.{name}]\naddress = \"127.0.0.1:0\"\ntls = \"on\"\nserves = [\"admin\"]\nclient_ca = \"people.pem\"\n{more}\n"
        )
    };
    let digest = sha256("correct-horse");
    let both = listener("both", &format!("password_sha256 = \"{digest}\""));
    let more = format!("{tls}{}{both}", listener("certificates", ""));
    let relay = home.start(&config(provider.address(), "", &more));
    let (anna, mallory) = (people.sign("anna"), others.sign("mallory"));
    let only = relay.listener("certificates");
    assert_eq!(with_certificate(only, &servers, Some(&anna), None), Some(200));
    assert_eq!(with_certificate(only, &servers, None, None), Some(403));
    assert_eq!(with_certificate(only, &servers, None, Some("correct-horse")), Some(403));
    assert_eq!(with_certificate(only, &servers, Some(&mallory), None), None);
    let both = relay.listener("both");
    assert_eq!(with_certificate(both, &servers, Some(&anna), None), Some(200));
    assert_eq!(with_certificate(both, &servers, None, Some("correct-horse")), Some(200));
    assert_eq!(with_certificate(both, &servers, None, Some("wrong")), Some(401));
    assert_eq!(with_certificate(both, &servers, Some(&mallory), Some("correct-horse")), None);

    // Another authority counts from the reload on.
    relay.home.write("people.pem", others.pem());
    relay.cli(&["reload"]).ok();
    assert_eq!(with_certificate(only, &servers, Some(&mallory), None), Some(200));
    assert_eq!(with_certificate(only, &servers, Some(&anna), None), None);
}

/// In a real browser: the policy holds, it works without scripts, nothing overflows, and those who can't see it or have no
/// mouse can use it. Pictures of it are left in `target/full/page`.
#[test]
fn a_browser_shows_it_to_everybody() {
    let (Some(modules), Some(browser)) =
        (std::env::var_os("AUTHRELAY_PAGE_MODULES"), std::env::var_os("AUTHRELAY_CHROMIUM"))
    else {
        return skipped(
            "the status page in a browser: needs chromium, playwright-core and axe-core (tests/run --full)",
        );
    };
    let provider = Upstream::start(|moment| match moment {
        Moment::Rcpt("full@customer.example") => Answer::Reply(EVIL),
        _ => Answer::Accept,
    });
    let relay =
        Relay::start(&config(provider.address(), "observe_until = 2036-01-01\nmay_declare = true", ""));
    let id = relay.accept(FROM, &[ANNA], &password_reset(ANNA));
    relay.wait_event(&id, "handed-over");
    let full = relay.accept(FROM, &["full@customer.example"], &password_reset("full@customer.example"));
    relay.wait_event(&full, "failed");
    relay.accept(FROM, &[ANNA], &advertisement());
    for number in 0..22 {
        let to = format!("user{number}@customer.example");
        let mut raw = b"X-Authrelay-Category: invitation\r\n".to_vec();
        raw.extend(password_reset(&to));
        relay.accept(FROM, &[&to], &raw);
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/target/full/page");
    std::fs::create_dir_all(folder).expect("a folder for the pictures");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/page.mjs");
    let ran = Command::new("node")
        .arg(script)
        .args([&format!("http://{}", relay.listener("admin")), &full, ANNA, folder])
        .env("AUTHRELAY_PAGE_MODULES", modules)
        .env("AUTHRELAY_CHROMIUM", browser)
        .stdin(Stdio::null())
        .output()
        .expect("node runs");
    let told = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{told}");
    assert!(told.contains("pages were looked at"), "{told}");
}
