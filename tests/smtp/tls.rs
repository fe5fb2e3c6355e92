//! STARTTLS, implicit TLS, client certificates.

use std::sync::Arc;

use authrelay::secret::Digest;
use authrelay::smtp::{ClientCertificates, ListenerTls, server_config};
use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::DuplexStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Setup, Talk};

fn certificate(name: &str) -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed([name.to_owned()]).unwrap()
}

struct Pair {
    setup: Setup,
    roots: Arc<RootCertStore>,
}

impl Pair {
    fn new(tls: ListenerTls, clients: ClientCertificates<'_>) -> Self {
        let own = certificate("localhost");
        let config =
            server_config(own.cert.pem().as_bytes(), own.signing_key.serialize_pem().as_bytes(), clients);
        let mut setup = Setup::new();
        setup.tls = Some(Arc::new(config.unwrap()));
        setup.listener.tls = tls;
        setup.listener.plaintext_auth.clear();
        let mut roots = RootCertStore::empty();
        roots.add(own.cert.der().clone()).unwrap();
        Self { setup, roots: Arc::new(roots) }
    }

    async fn shake(
        &self,
        stream: DuplexStream,
        versions: &[&'static rustls::SupportedProtocolVersion],
        own: Option<&CertifiedKey<KeyPair>>,
    ) -> std::io::Result<Talk<TlsStream<DuplexStream>>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(Arc::clone(&self.roots));
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = vec![CertificateDer::from_pem_slice(own.cert.pem().as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(own.signing_key.serialize_pem().as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.map(Talk::new)
    }
}

#[tokio::test(start_paused = true)]
async fn starttls_forgets_everything_and_then_allows_auth() {
    let pair = Pair::new(ListenerTls::Required, ClientCertificates::Ignored);
    for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
        let mut talk = pair.setup.connect();
        talk.expect("220 ").await;
        let offer = talk.say("EHLO before", "250-").await;
        assert!(offer.contains("STARTTLS") && !offer.contains("AUTH"));
        talk.say("STARTTLS now", "501 5.5.4").await;
        talk.say("STARTTLS", "220 2.0.0").await;
        let mut talk = pair.shake(talk.stream, versions, None).await.unwrap();
        talk.say("MAIL FROM:<a@b.example>", "503 5.5.1").await;
        let offer = talk.say("EHLO after", "250-").await;
        assert!(!offer.contains("STARTTLS") && offer.contains("AUTH PLAIN LOGIN"));
        talk.say("STARTTLS", "503 5.5.1").await;
        talk.say("AUTH PLAIN AGFubmEAc2VjcmV0", "235 2.7.0").await;
        talk.open_message().await;
        talk.say("x\r\n.", "250 ").await;
        talk.say("QUIT", "221 ").await;
        talk.over().await;
    }
    let facts: Vec<_> = pair.setup.desk.taken().into_iter().map(|taken| taken.facts).collect();
    assert_eq!((facts[0].tls, facts[1].tls), (Some("TLSv1.2"), Some("TLSv1.3")));
    assert!(
        facts
            .iter()
            .all(|f| f.helo == "after" && f.user.as_deref() == Some("anna") && f.certificate.is_none())
    );
}

/// CVE-2011-0411: what is pipelined behind STARTTLS in the clear must not be taken for something said under TLS.
#[tokio::test(start_paused = true)]
async fn plaintext_behind_starttls_is_thrown_away() {
    let pair = Pair::new(ListenerTls::StartTls, ClientCertificates::Ignored);
    let mut talk = pair.setup.connect();
    talk.expect("220 ").await;
    talk.say("EHLO x", "250-").await;
    talk.send("STARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@b.example>\r\nRCPT TO:<evil@b.example>\r\n").await;
    talk.expect("220 2.0.0").await;
    let mut talk = pair.shake(talk.stream, rustls::ALL_VERSIONS, None).await.unwrap();
    talk.say("NOOP", "250 2.0.0 ok").await;
    talk.say("RCPT TO:<c@d.example>", "503 5.5.1").await;
    talk.say("EHLO good", "250-").await;
    talk.open_message().await;
    talk.say("x\r\n.", "250 ").await;
    let taken = pair.setup.desk.only();
    assert_eq!((taken.from.as_str(), taken.to.len()), ("app@shop.example", 1));
}

#[tokio::test(start_paused = true)]
async fn a_login_in_the_clear_does_not_survive_starttls() {
    let mut pair = Pair::new(ListenerTls::StartTls, ClientCertificates::Ignored);
    pair.setup.listener.plaintext_auth = vec!["127.0.0.1/32".parse().unwrap()];
    let mut talk = pair.setup.greeted().await;
    talk.say("AUTH PLAIN AGFubmEAc2VjcmV0", "235 ").await;
    talk.say("MAIL FROM:<a@b.example>", "250 ").await;
    talk.say("STARTTLS", "220 ").await;
    let mut talk = pair.shake(talk.stream, rustls::ALL_VERSIONS, None).await.unwrap();
    talk.say("EHLO x", "250-").await;
    talk.say("RCPT TO:<a@b.example>", "503 ").await;
    talk.open_message().await;
    talk.say("x\r\n.", "250 ").await;
    assert_eq!(pair.setup.desk.only().facts.user, None);
    assert_eq!(*pair.setup.desk.connects.lock().unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn implicit_tls_speaks_tls_from_the_first_octet() {
    let pair = Pair::new(ListenerTls::Implicit, ClientCertificates::Ignored);
    let stream = pair.setup.connect().stream;
    let mut talk = pair.shake(stream, rustls::ALL_VERSIONS, None).await.unwrap();
    talk.expect("220 ").await;
    let offer = talk.say("EHLO x", "250-").await;
    assert!(offer.contains("AUTH") && !offer.contains("STARTTLS"));
    talk.say("STARTTLS", "503 5.5.1").await;
    talk.open_message().await;
    talk.send(vec![b'x'; 60_000]).await;
    talk.say("\r\n.", "250 ").await;
    assert_eq!(pair.setup.desk.only().text.len(), 60_002);
}

#[tokio::test(start_paused = true)]
async fn a_client_without_tls_on_an_implicit_port_is_closed_without_a_word() {
    let pair = Pair::new(ListenerTls::Implicit, ClientCertificates::Ignored);
    let mut talk = pair.setup.connect();
    talk.send("EHLO x\r\n").await;
    let mut answer = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut talk.stream, &mut answer).await.unwrap();
    assert!(!answer.windows(3).any(|window| window == b"220"));
    // And one that says nothing is not waited for.
    let begun = tokio::time::Instant::now();
    pair.setup.connect().over().await;
    assert_eq!(begun.elapsed().as_secs(), 30);
    assert_eq!(*pair.setup.desk.connects.lock().unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_is_known_by_the_fingerprint_of_its_certificate() {
    let authority = certificate("client.example");
    let pem = authority.cert.pem();
    let fingerprint = Digest::sha256(authority.cert.der());
    for clients in [ClientCertificates::ByFingerprint, ClientCertificates::SignedBy(pem.as_bytes())] {
        let pair = Pair::new(ListenerTls::Implicit, clients);
        for own in [Some(&authority), None] {
            for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
                let stream = pair.setup.connect().stream;
                let mut talk = pair.shake(stream, versions, own).await.unwrap();
                talk.expect("220 ").await;
                talk.say("EHLO x", "250-").await;
                talk.open_message().await;
                talk.say("x\r\n.", "250 ").await;
                let shown = pair.setup.desk.taken().last().unwrap().facts.certificate;
                assert_eq!(shown, own.map(|_| fingerprint));
            }
        }
    }
    let stranger = certificate("stranger.example");
    let pair = Pair::new(ListenerTls::Implicit, ClientCertificates::SignedBy(pem.as_bytes()));
    let stream = pair.setup.connect().stream;
    // In TLS 1.3 the client learns of it with its first read.
    if let Ok(mut talk) = pair.shake(stream, rustls::ALL_VERSIONS, Some(&stranger)).await {
        talk.over().await;
    }
    assert_eq!(*pair.setup.desk.connects.lock().unwrap(), 0);
}
