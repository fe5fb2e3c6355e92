//! DKIM, SPF and DMARC of senders, asked of a DNS server of the test's own.

use super::check;
use super::dns::Dns;
use super::harness::config::LISTENER;
use super::harness::relay::Home;
use super::harness::upstream::Upstream;

/// A key of the sender's, and its record.
struct Key {
    name: String,
    record: String,
}

/// Makes a key file in the folder, as an operator does.
fn keygen(home: &Home, domain: &str, selector: &str, kind: &str) -> Key {
    let file = format!("{selector}.pem");
    let arguments = ["keygen", domain, "--selector", selector, "--kind", kind, "--output", &file];
    home.cli(&arguments).ok();
    let pem = std::fs::read_to_string(home.file(&file)).expect("the key");
    let key = authrelay::rewrite::DkimKey::from_pem(domain, selector, &pem).expect("a key");
    Key { name: key.dns_name(), record: key.dns_record().expect("a record") }
}

fn config(upstream: &Upstream, sender: &str) -> String {
    let address = upstream.address();
    format!(
        "{LISTENER}[senders.no-reply]\n{sender}\n[upstreams.provider]\nhost = \"{}\"\nport = {}\ntls = \"plain\"\n",
        address.ip(),
        address.port()
    )
}

const SENDER: &str = "from = \"no-reply@acme.example\"\nreturn_path = \"bounces@mail.acme.example\"\n";
const SIGNED: &str = "dkim = [{ selector = \"s1\", key_file = \"s1.pem\" }]\n";

#[test]
fn a_sender_with_everything_published_passes_by_dkim_and_spf() {
    let (home, dns, upstream) = (Home::new(), Dns::start(), Upstream::accepting());
    let rsa = keygen(&home, "acme.example", "s1", "rsa");
    // Too long for UDP, as records of RSA keys often are.
    dns.long_txt(&rsa.name, &rsa.record);
    dns.txt("_dmarc.acme.example", &["v=DMARC1; p=reject"]);
    dns.txt("mail.acme.example", &["v=spf1 include:_spf.provider.example -all"]);
    let checked = check(&home, &config(&upstream, &format!("{SENDER}{SIGNED}")), &dns);
    assert_eq!(checked.find("DKIM key s1._domainkey.acme.example is published (rsa-sha256)").0, "ok");
    let words = "DMARC of acme.example: p=reject at acme.example; over provider: \
                 DKIM (d=acme.example) and SPF (mail.acme.example) are aligned";
    assert_eq!(checked.find(words).0, "ok");
    assert_eq!(checked.find("SPF of mail.acme.example names _spf.provider.example").0, "note");
    assert!(checked.succeeded && checked.healthy, "{}", checked.said);
}

#[test]
fn a_key_that_is_missing_or_another_is_told_with_the_record_to_publish() {
    let (home, dns, upstream) = (Home::new(), Dns::start(), Upstream::accepting());
    let key = keygen(&home, "acme.example", "s1", "ed25519");
    dns.txt("_dmarc.acme.example", &["v=DMARC1; p=quarantine; aspf=s"]);
    dns.txt("mail.acme.example", &["v=spf1 include:_spf.provider.example -all"]);
    let config = config(&upstream, &format!("{SENDER}{SIGNED}"));
    let checked = check(&home, &config, &dns);
    let (severity, advice) = checked.find("DKIM key s1._domainkey.acme.example is not published");
    assert!(severity == "error" && advice.contains(&key.record) && advice.contains(&key.name), "{advice}");
    // SPF would do, but for the strict wish.
    assert_eq!(checked.find("neither DKIM nor SPF is aligned").0, "error");
    assert!(!checked.succeeded);

    dns.txt(&key.name, &["v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="]);
    let checked = check(&home, &config, &dns);
    assert_eq!(checked.find("another key is published there").0, "error");
    dns.txt("_dmarc.acme.example", &["v=DMARC1; p=quarantine"]);
    let (severity, advice) = check(&home, &config, &dns).find("only SPF (mail.acme.example) is aligned");
    assert!(severity == "warning" && advice.contains("forwarded"), "{advice}");
}

#[test]
fn a_sender_of_a_domain_without_records_is_warned_of() {
    let (home, dns, upstream) = (Home::new(), Dns::start(), Upstream::accepting());
    let checked = check(&home, &config(&upstream, SENDER), &dns);
    assert_eq!(checked.find("SPF of mail.acme.example: no record").0, "warning");
    let (severity, advice) = checked.find("all depends on the provider's own signature");
    assert!(severity == "warning" && advice.contains("keygen"), "{advice}");
    assert!(checked.tells("DMARC of acme.example: no record"));
    dns.txt("mail.acme.example", &["v=spf1 -all", "v=spf1 +all"]);
    assert_eq!(check(&home, &config(&upstream, SENDER), &dns).find("several records").0, "error");
    // The record is there, and no DMARC record of the domain.
    dns.txt("mail.acme.example", &["v=spf1 ip4:192.0.2.1 -all"]);
    let (severity, advice) =
        check(&home, &config(&upstream, SENDER), &dns).find("SPF (mail.acme.example) is aligned");
    assert!(severity == "warning" && advice.contains("_dmarc.acme.example"), "{advice}");
}

#[test]
fn a_dns_that_fails_is_told_and_is_no_verdict() {
    let (home, dns, upstream) = (Home::new(), Dns::start(), Upstream::accepting());
    dns.fail("_dmarc.acme.example");
    let checked = check(&home, &config(&upstream, SENDER), &dns);
    assert_eq!(checked.find("no answer from the DNS for _dmarc.acme.example").0, "warning");
    assert!(!checked.tells("aligned"), "{}", checked.said);
}

#[test]
fn a_sender_of_this_machine_alone_is_told() {
    let (home, dns, upstream) = (Home::new(), Dns::start(), Upstream::accepting());
    let checked = check(&home, &config(&upstream, "from = \"no-reply@acme.test\"\n"), &dns);
    assert_eq!(checked.find("acme.test is this machine's alone").0, "error");
}

#[test]
fn what_stays_here_is_asked_for_nowhere_and_only_trouble_is_told_where_that_is_asked_for() {
    let (home, dns) = (Home::new(), Dns::start());
    let config = format!(
        "{LISTENER}[senders.no-reply]\nfrom = \"no-reply@localhost\"\n[upstreams.box]\nkind = \"maildir\"\n"
    );
    let checked = check(&home, &config, &dns);
    assert_eq!(checked.find("mail stays on this machine").0, "ok");
    assert_eq!(checked.find("free for messages").0, "ok");
    assert!(checked.healthy, "{}", checked.said);
    let lines = super::run(&home, &config, &dns, &[]).ok().stdout;
    assert!(lines.contains("ok       upstream box: mail stays on this machine"), "{lines}");
    assert!(lines.contains("         -> ") && lines.contains("# nothing was sent; 0 errors"), "{lines}");
    let quiet = super::run(&home, &config, &dns, &["--quiet"]).ok();
    assert!(!quiet.stdout.contains("ok  ") && !quiet.stdout.contains("nothing was sent"), "{quiet:?}");
    let bad = super::run(&home, "nonsense = 1\n", &dns, &[]);
    assert_eq!(bad.status.code(), Some(78), "{bad:?}");
    let without = home.cli(&["check", "--dns", "192.0.2.1"]);
    assert!(!without.status.success() && without.stderr.contains("--live"), "{without:?}");
}
