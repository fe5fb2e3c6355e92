//! TLS to an upstream: verified, or nothing is sent. Never in the clear, never without the login.

mod support;

use std::sync::Arc;

use authrelay::deliver::{HandOver, SmtpConfig, Trip, UpstreamTls};
use authrelay::outcome::ReasonClass;
use authrelay::secret::Secret;
use rcgen::KeyPair;
use support::certificates::{Authority, VALID, params, server_config};
use support::scripted_upstream::{Act, ScriptedUpstream, Step, Tls};
use support::{PLAIN, send, smtp, upstream};

const LOGIN: Option<(&str, &str)> = Some(("relay", "s3cret"));

fn with_login(server: &ScriptedUpstream, tls: UpstreamTls) -> SmtpConfig {
    let credentials = Some(("relay".to_owned(), Secret::new("s3cret")));
    SmtpConfig { tls, credentials, ..smtp(server.address) }
}

#[tokio::test]
async fn a_message_goes_out_over_verified_tls_only() {
    let authority = Authority::new();
    let config = authority.server("localhost", VALID);
    for implicit in [false, true] {
        let (tls, client) = if implicit {
            (Tls::Implicit(Arc::clone(&config)), UpstreamTls::Implicit(authority.client()))
        } else {
            (Tls::StartTls(Arc::clone(&config)), UpstreamTls::StartTls(authority.client()))
        };
        let server = ScriptedUpstream::start_with(&["AUTH PLAIN", "SIZE"], tls, LOGIN).await;
        let upstream = upstream(with_login(&server, client));
        for _ in 0..2 {
            let done = send(&upstream, PLAIN).await;
            assert!(matches!(done, HandOver::Accepted { .. }), "{done:?}");
        }
        let seen = server.seen();
        assert!(seen.messages.iter().all(|message| message.encrypted && message.bytes == PLAIN));
        assert_eq!(seen.connections, 1);
        let clear: &[&str] = if implicit { &[] } else { &["EHLO relay.example", "STARTTLS"] };
        assert_eq!(seen.clear, clear);
        let hellos = seen.commands.iter().filter(|line| line.starts_with("EHLO")).count();
        assert_eq!(hellos, if implicit { 1 } else { 2 }, "EHLO again after STARTTLS");
    }
}

#[tokio::test]
async fn a_certificate_that_proves_nothing_gets_nothing() {
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap();
    let own = params("localhost", VALID).self_signed(&key).unwrap();
    for (what, config) in [
        ("another authority", Authority::new().server("localhost", VALID)),
        ("another name", authority.server("mail.example.com", VALID)),
        ("expired", authority.server("localhost", (2020, 2021))),
        ("not yet valid", authority.server("localhost", (2119, 2120))),
        ("self-signed", server_config(own.der().clone(), &key)),
    ] {
        for implicit in [false, true] {
            let (tls, client) = if implicit {
                (Tls::Implicit(Arc::clone(&config)), UpstreamTls::Implicit(authority.client()))
            } else {
                (Tls::StartTls(Arc::clone(&config)), UpstreamTls::StartTls(authority.client()))
            };
            let server = ScriptedUpstream::start_with(&["AUTH PLAIN"], tls, LOGIN).await;
            let done = send(&upstream(with_login(&server, client)), PLAIN).await;
            let HandOver::Unavailable(reason, Trip::AtOnce) = done else { panic!("{what}: {done:?}") };
            assert_eq!(reason.class, ReasonClass::Tls, "{what}: {reason}");
            let seen = server.until(|seen| seen.open == 0).await;
            assert_eq!((seen.connections, seen.messages.len()), (1, 0), "{what}");
            let spoken = seen.commands.iter().filter(|line| !line.starts_with("EHLO"));
            assert!(spoken.clone().all(|line| line == "STARTTLS"), "{what}: {:?}", seen.commands);
        }
    }
}

#[tokio::test]
async fn without_starttls_nothing_is_sent() {
    let authority = Authority::new();
    for (offered, reply) in
        [(false, None), (true, Some("454 4.7.0 not now")), (true, Some("502 5.5.1 what is that"))]
    {
        let tls = if offered { Tls::StartTls(authority.server("localhost", VALID)) } else { Tls::None };
        let server = ScriptedUpstream::start_with(&["AUTH PLAIN"], tls, LOGIN).await;
        if let Some(reply) = reply {
            server.always(Step::StartTls, Act::Say(reply));
        }
        let config = with_login(&server, UpstreamTls::StartTls(authority.client()));
        let done = send(&upstream(config), PLAIN).await;
        assert!(matches!(done, HandOver::Unavailable(_, Trip::AtOnce)), "{done:?}");
        let seen = server.seen();
        assert!(!seen.commands.iter().any(|line| line.starts_with("AUTH") || line.starts_with("MAIL")));
    }
}

#[tokio::test]
async fn what_is_slipped_in_before_tls_counts_for_nothing() {
    // The offer to log in is added to the reply to STARTTLS, before the handshake.
    let authority = Authority::new();
    let tls = Tls::StartTls(authority.server("localhost", VALID));
    let server = ScriptedUpstream::start_with(&["SIZE"], tls, None).await;
    server.always(Step::Greeting, Act::Say("220 scripted.example\r\n250-injected\r\n250 AUTH PLAIN"));
    let config = with_login(&server, UpstreamTls::StartTls(authority.client()));
    let done = send(&upstream(config), PLAIN).await;
    let HandOver::Unavailable(reason, Trip::AtOnce) = done else { panic!("{done:?}") };
    assert!(matches!(reason.class, ReasonClass::Auth | ReasonClass::Tls), "{reason}");
    assert!(!server.seen().commands.iter().any(|line| line.starts_with("AUTH")));
}
