//! Which command may come when, and what it is answered.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use authrelay::smtp::ListenerTls;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use crate::support::{Desk, Setup, Talk};

/// Says each line and looks at how its reply begins.
async fn play(talk: &mut Talk<DuplexStream>, dialogue: &[(&str, &str)]) {
    for (line, reply) in dialogue {
        talk.say(line, reply).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_is_taken_in_and_the_connection_serves_the_next() {
    let setup = Setup::new();
    let mut talk = setup.connect();
    talk.expect("220 relay.example ESMTP").await;
    let offer = talk.say("EHLO [127.0.0.1]", "250-relay.example\r\n").await;
    assert_eq!(
        offer,
        "250-relay.example\r\n250-PIPELINING\r\n250-SIZE 1048576\r\n250-AUTH PLAIN LOGIN\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n"
    );
    for round in 0..3 {
        play(
            &mut talk,
            &[
                ("MAIL FROM:<app@shop.example> SIZE=40 BODY=8BITMIME", "250 2.1.0 "),
                ("RCPT TO:<anna@mail.example>", "250 2.1.5 "),
                ("RCPT TO:<ben@mail.example>", "250 2.1.5 "),
                ("DATA", "354 "),
                (&format!("Subject: {round}\r\n\r\n..dot\r\n."), "250 2.0.0 taken"),
            ],
        )
        .await;
    }
    talk.say("QUIT", "221 2.0.0 ").await;
    talk.over().await;
    let taken = setup.desk.taken();
    assert_eq!(taken.len(), 3);
    assert_eq!(taken[2].text, "Subject: 2\r\n\r\n.dot\r\n");
    assert_eq!(taken[2].from, "app@shop.example");
    assert_eq!(taken[2].to, ["anna@mail.example", "ben@mail.example"]);
    assert_eq!((taken[2].facts.helo.as_str(), taken[2].facts.extended), ("[127.0.0.1]", true));
}

#[tokio::test(start_paused = true)]
async fn commands_out_of_order_are_refused_and_change_nothing() {
    let setup = Setup::new();
    let mut talk = setup.connect();
    talk.expect("220 ").await;
    play(
        &mut talk,
        &[
            ("MAIL FROM:<a@b.example>", "503 5.5.1"),
            ("RCPT TO:<a@b.example>", "503 5.5.1"),
            ("DATA", "503 5.5.1"),
            ("AUTH PLAIN AGFubmEAc2VjcmV0", "503 5.5.1"),
            ("NOOP", "250 2.0.0"),
            ("RSET", "250 2.0.0"),
            ("HELO vm", "250 relay.example"),
            ("RCPT TO:<a@b.example>", "503 5.5.1"),
            ("MAIL FROM:<>", "250 2.1.0"),
            ("MAIL FROM:<a@b.example>", "503 5.5.1"),
            ("DATA", "554 5.5.1"),
            ("AUTH PLAIN AGFubmEAc2VjcmV0", "503 5.5.1"),
            ("RCPT TO:<refused@b.example>", "550 5.1.1"),
            ("DATA", "554 5.5.1"),
            ("RCPT TO:<a@b.example>", "250 2.1.5"),
            ("EHLO again", "250-"),
            ("DATA", "503 5.5.1"),
            ("MAIL FROM:<a@b.example>", "250 2.1.0"),
            ("RCPT TO:<a@b.example>", "250 2.1.5"),
            ("RSET", "250 2.0.0"),
            ("DATA", "503 5.5.1"),
        ],
    )
    .await;
    assert!(setup.desk.taken().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_smaller_commands_have_their_replies() {
    let setup = Setup::new();
    let mut talk = setup.greeted().await;
    play(
        &mut talk,
        &[
            ("VRFY anna", "252 2.5.0"),
            ("EXPN staff", "502 5.5.1"),
            ("HELP", "214 2.0.0"),
            ("help mail", "214 2.0.0"),
            ("BDAT 5 LAST", "502 5.5.1"),
            ("ETRN x", "502 5.5.1"),
            ("STARTTLS", "502 5.5.1"),
            ("WHAT", "500 5.5.1"),
            ("", "500 5.5.1"),
            ("RSET now", "501 5.5.4"),
            ("MAIL FROM:<a@b.example> SIZE=1048577", "552 5.3.4"),
            ("MAIL FROM:<a@b.example> SIZE=99999999999999999999999", "552 5.3.4"),
            ("MAIL FROM:<a@b.example> SMTPUTF8", "555 5.5.4"),
            ("MAIL FROM:<ä@b.example>", "553 5.6.7"),
            ("MAIL FROM:<a@b.example> SIZE=1048576", "250 2.1.0"),
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_message_leaves_a_clean_session_behind() {
    let setup = Setup::new();
    let mut talk = setup.greeted().await;
    talk.open_message().await;
    talk.send("Subject: unwanted\r\n\r\n.\r\n").await;
    talk.expect("550 5.7.1").await;
    talk.say("DATA", "503 5.5.1").await;
    talk.say("MAIL FROM:<second@shop.example>", "250 2.1.0").await;
    talk.say("RCPT TO:<other@mail.example>", "250 2.1.5").await;
    talk.say("DATA", "354 ").await;
    talk.say(".", "250 2.0.0").await;
    let taken = setup.desk.only();
    assert_eq!(
        (taken.from.as_str(), taken.to),
        ("second@shop.example", vec!["other@mail.example".to_owned()])
    );
    assert_eq!(taken.text, "");
}

#[tokio::test(start_paused = true)]
async fn a_recipient_named_twice_is_asked_about_and_stored_once() {
    let setup = Setup::new();
    let mut talk = setup.greeted().await;
    talk.open_message().await;
    talk.say("x\r\n.", "250 ").await;
    talk.say("MAIL FROM:<>", "250 ").await;
    for to in ["anna@mail.example", "anna@MAIL.example", "Anna@mail.example", "anna@mail.example."] {
        talk.say(&format!("RCPT TO:<{to}>"), "250 2.1.5").await;
    }
    talk.say("RCPT TO:<refused@mail.example>", "550 ").await;
    talk.say("DATA", "354 ").await;
    talk.say("x\r\n.", "250 ").await;
    assert_eq!(setup.desk.taken()[1].to, ["anna@mail.example", "Anna@mail.example"]);
    assert_eq!(setup.desk.recipients.lock().unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_local_user_as_sender_gets_our_domain() {
    let setup = Setup::new();
    let mut talk = setup.greeted().await;
    talk.say("MAIL FROM:<root>", "250 2.1.0").await;
    talk.say("RCPT TO:<root>", "501 5.1.3").await;
    talk.say("RCPT TO:<anna@mail.example.>", "250 2.1.5").await;
    talk.say("DATA", "354 ").await;
    talk.say("x\r\n.", "250 ").await;
    let taken = setup.desk.only();
    assert_eq!((taken.from.as_str(), taken.to), ("root@relay.example", vec!["anna@mail.example".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn logging_in_by_every_way_clients_know() {
    let wrong = "AGFubmEAd3Jvbmc=";
    for dialogue in [
        &[("AUTH PLAIN AGFubmEAc2VjcmV0", "235 2.7.0")][..],
        &[("AUTH PLAIN", "334 \r\n"), ("AGFubmEAc2VjcmV0", "235 2.7.0")],
        &[
            ("auth login", "334 VXNlcm5hbWU6\r\n"),
            ("YW5uYQ==", "334 UGFzc3dvcmQ6\r\n"),
            ("c2VjcmV0", "235 2.7.0"),
        ],
        &[("AUTH LOGIN YW5uYQ==", "334 UGFzc3dvcmQ6\r\n"), ("c2VjcmV0", "235 2.7.0")],
        &[("AUTH PLAIN", "334 "), ("*", "501 5.7.0"), ("AUTH PLAIN AGFubmEAc2VjcmV0", "235 2.7.0")],
        &[("AUTH PLAIN", "334 "), (wrong, "535 5.7.8"), ("AUTH PLAIN AGFubmEAc2VjcmV0", "235 2.7.0")],
        &[("AUTH PLAIN ???", "501 5.5.2"), ("AUTH PLAIN AGFubmEAc2VjcmV0", "235 2.7.0")],
        &[("AUTH CRAM-MD5", "504 5.5.4"), ("AUTH PLAIN AGFubmEAc2VjcmV0", "235 2.7.0")],
    ] {
        let setup = Setup::new();
        let mut talk = setup.greeted().await;
        play(&mut talk, dialogue).await;
        play(
            &mut talk,
            &[("AUTH PLAIN AGFubmEAc2VjcmV0", "503 5.5.1"), ("RSET", "250 "), ("EHLO x", "250-")],
        )
        .await;
        talk.open_message().await;
        talk.say("x\r\n.", "250 ").await;
        assert_eq!(setup.desk.only().facts.user.as_deref(), Some("anna"));
    }
}

#[tokio::test(start_paused = true)]
async fn too_many_wrong_passwords_end_the_session() {
    let setup = Setup::new();
    let mut talk = setup.greeted().await;
    for _ in 0..3 {
        talk.say("AUTH PLAIN AGFubmEAd3Jvbmc=", "535 5.7.8").await;
    }
    talk.expect("421 4.7.0").await;
    talk.over().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_logs_in_in_the_clear_but_from_the_networks_named() {
    let mut setup = Setup::new();
    setup.listener.plaintext_auth = vec!["192.0.2.0/24".parse().unwrap()];
    let mut talk = setup.connect();
    talk.expect("220 ").await;
    assert!(!talk.say("EHLO x", "250-").await.contains("AUTH"));
    talk.say("AUTH PLAIN AGFubmEAc2VjcmV0", "538 5.7.11").await;
    talk.say("AUTH LOGIN", "538 5.7.11").await;
}

#[tokio::test(start_paused = true)]
async fn where_tls_is_required_nothing_else_is_answered_before_it() {
    let mut setup = Setup::new();
    setup.listener.tls = ListenerTls::Required;
    let mut talk = setup.connect();
    talk.expect("220 ").await;
    assert!(!talk.say("EHLO x", "250-").await.contains("AUTH"));
    play(
        &mut talk,
        &[
            ("NOOP", "250 "),
            ("MAIL FROM:<a@b.example>", "530 5.7.0"),
            ("AUTH PLAIN AGFubmEAc2VjcmV0", "530 5.7.0"),
            ("HELO x", "530 5.7.0"),
            ("STARTTLS", "454 4.7.0"),
            ("QUIT", "221 "),
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_handlers_word_is_passed_on_as_it_stands() {
    let setup = Setup::new();
    let mut talk = setup.greeted().await;
    play(
        &mut talk,
        &[
            ("MAIL FROM:<refused@b.example>", "550 5.7.1 not from there"),
            ("RCPT TO:<a@b.example>", "503 5.5.1"),
            ("MAIL FROM:<a@b.example>", "250 "),
            ("RCPT TO:<later@b.example>", "451 4.7.1 later"),
            ("RCPT TO:<bye@b.example>", "421 4.3.0 bye"),
        ],
    )
    .await;
    talk.over().await;

    let mut setup = Setup::new();
    setup.desk = Arc::new(Desk { closed: true, ..Desk::default() });
    let mut talk = setup.connect();
    talk.expect("554 5.7.1 not you").await;
    talk.over().await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_costs_one_session_and_a_temporary_error() {
    let setup = Setup::new();
    let server = setup.server();
    let mut talk = setup.connect_to(server.clone());
    talk.expect("220 ").await;
    talk.say("EHLO x", "250-").await;
    talk.say("MAIL FROM:<a@b.example>", "250 ").await;
    talk.say("RCPT TO:<panic@b.example>", "421 4.3.0").await;
    talk.over().await;
    let mut talk = setup.connect_to(server);
    talk.expect("220 ").await;
}

#[tokio::test(start_paused = true)]
async fn a_group_of_commands_is_answered_in_one_write() {
    let setup = Setup::new();
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let writes = Arc::new(Mutex::new(Vec::new()));
    setup.spawn(setup.server(), Recorded { inner: theirs, writes: Arc::clone(&writes) });
    let mut talk = Talk::new(ours);
    talk.expect("220 ").await;
    talk.send("EHLO x\r\n").await;
    talk.expect("250-").await;
    talk.send("MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<refused@d.example>\r\nDATA\r\n")
        .await;
    talk.settle().await;
    talk.send("one\r\n.\r\nRSET\r\nMAIL FROM:<>\r\nRCPT TO:<e@f.example>\r\nDATA\r\ntwo\r\n.\r\nQUIT\r\n")
        .await;
    for reply in
        ["250 2.1.0", "250 2.1.5", "550 5.1.1", "354", "250", "250", "250", "250", "354", "250", "221"]
    {
        talk.expect(reply).await;
    }
    talk.over().await;
    let texts: Vec<_> = setup.desk.taken().into_iter().map(|taken| taken.text).collect();
    assert_eq!(texts, ["one\r\n", "two\r\n"]);
    let writes: Vec<_> = writes.lock().unwrap().iter().map(|write: &String| write.lines().count()).collect();
    assert_eq!(writes, [1, 6, 4, 7]);
}

#[tokio::test(start_paused = true)]
async fn replies_to_a_flood_of_commands_do_not_pile_up() {
    let setup = Setup::new();
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let writes = Arc::new(Mutex::new(Vec::new()));
    setup.spawn(setup.server(), Recorded { inner: theirs, writes: Arc::clone(&writes) });
    let (mut reader, mut writer) = tokio::io::split(ours);
    let flood = tokio::spawn(async move {
        tokio::io::AsyncWriteExt::write_all(&mut writer, "EHLO x\r\n".repeat(20_000).as_bytes())
            .await
            .unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut writer, b"QUIT\r\n").await.unwrap();
        writer
    });
    let mut all = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut all).await.unwrap();
    flood.await.unwrap();
    assert!(all.ends_with(b"221 2.0.0 bye\r\n"));
    let longest = writes.lock().unwrap().iter().map(String::len).max();
    assert!(longest.is_some_and(|longest| longest < 32 << 10), "{longest:?}");
}

/// A stream that remembers what was written to it in one piece.
struct Recorded {
    inner: DuplexStream,
    writes: Arc<Mutex<Vec<String>>>,
}

impl AsyncRead for Recorded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        if let Poll::Ready(Ok(count)) = &written {
            self.writes.lock().unwrap().push(String::from_utf8_lossy(&buf[..*count]).into_owned());
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
