//! An SMTP upstream that misbehaves at every step, and what the delivery makes of it.

#[path = "support/hand_over.rs"]
mod hand_over;
mod support;

use std::time::Duration;

use authrelay::deliver::HandOver;
use authrelay::outcome::ReasonClass;
use hand_over::{class, kind};
use support::scripted_upstream::{ALL_OFFERS, Act, ScriptedUpstream, Step, Tls};
use support::{PLAIN, send, send_to, smtp, upstream};

#[tokio::test]
async fn every_act_at_every_step_means_one_thing() {
    let hangs_and_drops = [
        (Step::Greeting, "unavailable at once"),
        (Step::Ehlo, "unavailable at once"),
        (Step::Mail, "unavailable"),
        (Step::Rcpt, "unavailable"),
        (Step::Data, "unavailable"),
        (Step::Dot, "in doubt"),
    ];
    let mut table: Vec<(Step, Act, &str)> = Vec::new();
    for (step, expected) in hangs_and_drops {
        table.push((step, Act::Hang, expected));
        table.push((step, Act::Close, expected));
        table.push((step, Act::Say("neither code nor sense"), expected));
    }
    table.push((Step::Body, Act::Close, "in doubt"));
    for (step, reply, expected) in [
        (Step::Greeting, "554 5.3.2 not today", "unavailable at once"),
        (Step::Greeting, "421 4.3.2 busy", "unavailable at once"),
        (Step::Ehlo, "550 5.7.1 go away", "unavailable at once"),
        (Step::Mail, "421 4.3.2 closing", "unavailable"),
        (Step::Mail, "451 4.3.0 disk", "unavailable"),
        (Step::Mail, "450 4.1.8 odd sender", "deferred"),
        (Step::Mail, "550 5.7.1 sender not verified", "sender refused"),
        (Step::Mail, "530 5.7.0 log in", "unavailable at once"),
        (Step::Rcpt, "450 4.2.1 busy mailbox", "deferred"),
        (Step::Rcpt, "454 4.7.0 slow down", "unavailable"),
        (Step::Rcpt, "550 5.1.1 nobody", "refused"),
        (Step::Data, "451 4.2.0 later", "deferred"),
        (Step::Data, "554 5.5.1 no", "refused"),
        (Step::Dot, "421 4.7.0 closing", "unavailable"),
        (Step::Dot, "451 4.3.0 disk", "unavailable"),
        (Step::Dot, "450 4.2.0 later", "deferred"),
        (Step::Dot, "550 5.7.1 content", "refused"),
        (Step::Dot, "354 what", "in doubt"),
    ] {
        table.push((step, Act::Say(reply), expected));
    }
    let pipelining: Vec<&'static str> = ALL_OFFERS.into_iter().chain(["PIPELINING"]).collect();
    let table = table.iter().flat_map(|row| [(row, ALL_OFFERS.to_vec()), (row, pipelining.clone())]);
    for ((step, act, expected), offers) in table {
        let (step, expected) = (*step, *expected);
        let server = ScriptedUpstream::start_with(&offers, Tls::None, None).await;
        server.always(step, act.clone());
        let mut config = smtp(server.address);
        if matches!(act, Act::Hang) {
            let short = Duration::from_millis(100);
            (config.timeouts.connect, config.timeouts.command, config.timeouts.data) =
                (short * 3, short, short);
        }
        let done = send(&upstream(config), PLAIN).await;
        // A connection that ends in the middle of the message may be noticed while writing or while waiting.
        if step == Step::Body {
            assert!(matches!(kind(&done), "in doubt" | "unavailable"), "{done:?}");
            continue;
        }
        assert_eq!(kind(&done), expected, "{step:?} {act:?} {done:?}");
        if matches!(act, Act::Hang) {
            assert_eq!(class(&done), Some(ReasonClass::Timeout), "{step:?}");
        }
    }
}

#[tokio::test]
async fn commands_go_out_at_once_where_the_upstream_offers_that() {
    let server = ScriptedUpstream::start_with(&["PIPELINING"], Tls::None, None).await;
    let upstream = upstream(smtp(server.address));
    // The replies come in one piece or each by itself; the upstream hears the same commands as ever.
    for _ in 0..2 {
        let done = send(&upstream, PLAIN).await;
        assert_eq!(kind(&done), "accepted", "{done:?}");
    }
    server.refuse("gone@example.com", "550 5.1.1 no such user");
    let refused = send_to(&upstream, PLAIN, "gone@example.com").await;
    assert_eq!(kind(&refused), "refused", "what was refused first counts, not the 503 to DATA: {refused:?}");
    let done = send(&upstream, PLAIN).await;
    assert_eq!(kind(&done), "accepted", "{done:?}");
    let seen = server.seen();
    assert_eq!(
        (seen.messages.len(), seen.connections),
        (3, 1),
        "the connection goes on: {:?}",
        seen.commands
    );
    let verbs: Vec<&str> = seen.commands.iter().filter_map(|line| line.get(..4)).collect();
    let expected = "EHLO MAIL RCPT DATA MAIL RCPT DATA MAIL RCPT DATA RSET MAIL RCPT DATA"
        .split(' ')
        .collect::<Vec<_>>();
    assert_eq!(verbs, expected);
}

#[tokio::test]
async fn an_upstream_that_asks_for_a_message_it_refused_gets_none() {
    let server = ScriptedUpstream::start_with(&["PIPELINING"], Tls::None, None).await;
    server.once(Step::Rcpt, Act::Say("550 5.1.1 no such user"));
    server.once(Step::Data, Act::Say("354 go ahead"));
    let upstream = upstream(smtp(server.address));
    let refused = send(&upstream, PLAIN).await;
    assert_eq!(kind(&refused), "refused", "{refused:?}");
    assert_eq!(kind(&send(&upstream, PLAIN).await), "accepted");
    let seen = server.seen();
    assert_eq!((seen.messages.len(), seen.connections), (1, 2), "over a new connection: {:?}", seen.commands);
}

#[tokio::test]
async fn the_upstreams_own_words_are_kept_and_a_refused_recipient_stops_no_other() {
    let server = ScriptedUpstream::start().await;
    server.refuse("gone@example.com", "550 5.1.1 <gone@example.com> no such user");
    let upstream = upstream(smtp(server.address));
    let mut ends = Vec::new();
    for to in ["anna@example.com", "gone@example.com", "ben@example.com"] {
        ends.push(send_to(&upstream, PLAIN, to).await);
    }
    assert_eq!(ends[0], HandOver::Accepted { reference: "2.0.0 Ok: queued as TEST0001".to_owned() });
    let HandOver::Refused(reason) = &ends[1] else { panic!("{:?}", ends[1]) };
    assert_eq!(reason.to_string(), "550 5.1.1 <g***@example.com> no such user");
    assert_eq!(kind(&ends[2]), "accepted");
    let seen = server.seen();
    assert_eq!(seen.connections, 1, "one connection carried all");
    let to: Vec<_> = seen.messages.iter().flat_map(|message| &message.rcpt).collect();
    assert_eq!(to, ["RCPT TO:<anna@example.com>", "RCPT TO:<ben@example.com>"]);
    assert_eq!(seen.commands.iter().filter(|line| *line == "RSET").count(), 1);
}

#[tokio::test]
async fn connections_are_reused_up_to_their_number_of_messages() {
    let server = ScriptedUpstream::start().await;
    let mut config = smtp(server.address);
    config.messages_per_connection = 3;
    let upstream = upstream(config);
    for _ in 0..7 {
        assert_eq!(kind(&send(&upstream, PLAIN).await), "accepted");
    }
    let seen = server.until(|seen| seen.open <= 1).await;
    let connections: Vec<_> = seen.messages.iter().map(|message| message.connection).collect();
    assert_eq!(connections, [1, 1, 1, 2, 2, 2, 3]);
    assert_eq!(upstream.status().connections, 1);
}

#[tokio::test]
async fn a_connection_that_went_stale_is_replaced_silently_but_only_once() {
    for act in [Act::Close, Act::SayAndClose("421 4.4.2 idle for too long")] {
        let server = ScriptedUpstream::start().await;
        let upstream = upstream(smtp(server.address));
        assert_eq!(kind(&send(&upstream, PLAIN).await), "accepted");
        server.once(Step::Mail, act.clone());
        assert_eq!(kind(&send(&upstream, PLAIN).await), "accepted");
        assert_eq!(server.seen().connections, 2);

        server.once(Step::Rcpt, act.clone());
        server.once(Step::Rcpt, act);
        assert_eq!(kind(&send(&upstream, PLAIN).await), "unavailable");
        assert_eq!(server.seen().connections, 3);
        assert_eq!(server.seen().messages.len(), 2);
    }
}

#[tokio::test]
async fn a_message_that_was_sent_is_never_sent_again_over_another_connection() {
    let server = ScriptedUpstream::start().await;
    let upstream = upstream(smtp(server.address));
    assert_eq!(kind(&send(&upstream, PLAIN).await), "accepted");
    server.once(Step::Dot, Act::Close);
    assert_eq!(kind(&send(&upstream, PLAIN).await), "in doubt");
    let seen = server.seen();
    assert_eq!((seen.connections, seen.messages.len()), (1, 2));
}

#[tokio::test]
async fn an_upstream_without_a_capability_gets_nothing_that_needs_it() {
    let eight_bit = "From: a@example.com\r\nSubject: x\r\n\r\ngr\u{fc}\u{df}e\r\n".as_bytes();
    let server = ScriptedUpstream::start_with(&["SIZE 60"], Tls::None, None).await;
    let upstream_ = upstream(smtp(server.address));
    for (raw, to) in [
        (eight_bit, "anna@example.com"),
        (PLAIN, "\u{e4}nna@example.com"),
        (&[PLAIN, PLAIN].concat()[..], "anna@example.com"),
    ] {
        let done = send_to(&upstream_, raw, to).await;
        assert_eq!((kind(&done), class(&done)), ("unfit", Some(ReasonClass::Capability)));
    }
    assert_eq!(kind(&send(&upstream_, PLAIN).await), "accepted");
    let seen = server.seen();
    assert_eq!(seen.messages.len(), 1);
    assert_eq!(seen.messages[0].mail, "MAIL FROM:<sender@example.com> SIZE=42");

    let able = ScriptedUpstream::start().await;
    let upstream = upstream(smtp(able.address));
    assert_eq!(kind(&send(&upstream, eight_bit).await), "accepted");
    assert_eq!(kind(&send_to(&upstream, PLAIN, "\u{e4}nna@example.com").await), "accepted");
    let seen = able.seen();
    assert!(seen.messages[0].mail.ends_with(" BODY=8BITMIME"), "{}", seen.messages[0].mail);
    assert!(seen.messages[1].mail.ends_with(" SMTPUTF8"), "{}", seen.messages[1].mail);
    assert_eq!(seen.messages[0].bytes, eight_bit);
}

#[tokio::test]
async fn a_bare_line_end_never_reaches_an_upstream() {
    let server = ScriptedUpstream::start().await;
    let upstream = upstream(smtp(server.address));
    for raw in [
        &b"Subject: x\r\n\r\nhi\n.\r\nMAIL FROM:<x@example.com>\r\n"[..],
        b"Subject: x\r\n\r\nhi\r.\r\n",
        b"Subject: x\n\nhi\n",
    ] {
        let done = send(&upstream, raw).await;
        assert_eq!((kind(&done), class(&done)), ("refused", Some(ReasonClass::Local)));
    }
    assert_eq!(server.seen().connections, 0);
}

#[tokio::test]
async fn a_login_that_is_configured_is_required() {
    use authrelay::secret::Secret;
    let login = Some(("relay", "s3cret"));
    let credentials = |password: &str| Some(("relay".to_owned(), Secret::new(password)));

    for offer in ["AUTH PLAIN LOGIN", "AUTH LOGIN", "AUTH CRAM-MD5 PLAIN"] {
        let server = ScriptedUpstream::start_with(&[offer], Tls::None, login).await;
        let mut config = smtp(server.address);
        config.credentials = credentials("s3cret");
        assert_eq!(kind(&send(&upstream(config), PLAIN).await), "accepted", "{offer}");
        assert_eq!(server.seen().messages[0].user.as_deref(), Some("relay"));
    }

    let server = ScriptedUpstream::start_with(&["AUTH PLAIN LOGIN"], Tls::None, login).await;
    let mut config = smtp(server.address);
    config.credentials = credentials("wrong");
    let done = send(&upstream(config), PLAIN).await;
    assert_eq!((kind(&done), class(&done)), ("unavailable at once", Some(ReasonClass::Auth)));
    assert_eq!(server.seen().commands.iter().filter(|line| line.starts_with("AUTH")).count(), 1, "one try");

    for offers in [&ALL_OFFERS[..], &["AUTH CRAM-MD5"]] {
        let server = ScriptedUpstream::start_with(offers, Tls::None, None).await;
        let mut config = smtp(server.address);
        config.credentials = credentials("s3cret");
        let done = send(&upstream(config), PLAIN).await;
        assert_eq!((kind(&done), class(&done)), ("unavailable at once", Some(ReasonClass::Auth)));
        assert!(!server.seen().commands.iter().any(|line| line.starts_with("MAIL")), "never without it");
    }
}

#[tokio::test]
async fn a_closed_port_is_unavailable_at_once() {
    let server = ScriptedUpstream::start().await;
    let config = smtp(server.address);
    drop(server);
    let done = send(&upstream(config), PLAIN).await;
    assert_eq!((kind(&done), class(&done)), ("unavailable at once", Some(ReasonClass::Connect)));
}
