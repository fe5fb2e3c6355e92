//! Limits, and time.

use std::sync::Arc;
use std::time::Duration;

use authrelay::smtp::BareLf;
use tokio::time::Instant;

use crate::support::{Desk, Setup};

#[tokio::test(start_paused = true)]
async fn a_message_over_a_limit_is_read_to_its_end_and_answered_there() {
    let mut setup = Setup::new();
    setup.limits.message_size = 10_000;
    setup.limits.header_size = 1_000;
    setup.limits.line_length = 2_000;
    let mut talk = setup.greeted().await;
    for (text, reply) in [
        ("\r\n".to_owned() + &"0123456789\r\n".repeat(900), "552 5.3.4 the message"),
        ("A: 0123456789\r\n".repeat(80), "552 5.3.4 the header"),
        ("\r\n".to_owned() + &"x".repeat(2_001) + "\r\n", "554 5.6.0"),
    ] {
        talk.open_message().await;
        talk.send(&text).await;
        talk.settle().await;
        talk.send("MAIL FROM:<x@y.example>\r\n.\r\n").await;
        talk.expect(reply).await;
        talk.say("DATA", "503 5.5.1").await;
    }
    talk.open_message().await;
    talk.send("\r\n".to_owned() + &"x".repeat(2_000) + "\r\n.\r\n").await;
    talk.expect("250 2.0.0").await;
    assert_eq!(setup.desk.only().text.len(), 2_004);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_never_ends_is_cut_off() {
    let mut setup = Setup::new();
    setup.limits.message_size = 10_000;
    let mut talk = setup.greeted().await;
    talk.open_message().await;
    talk.send("0123456789\r\n".repeat(20_000)).await;
    talk.expect("552 5.3.4").await;
    talk.over().await;
}

#[tokio::test(start_paused = true)]
async fn recipients_beyond_the_limit_wait_for_the_next_message() {
    let mut setup = Setup::new();
    setup.limits.recipients = 2;
    setup.limits.errors = 3;
    let mut talk = setup.greeted().await;
    talk.say("MAIL FROM:<>", "250 ").await;
    for (to, reply) in [("a", "250 "), ("b", "250 "), ("c", "452 4.5.3"), ("a", "250 ")] {
        talk.say(&format!("RCPT TO:<{to}@b.example>"), reply).await;
    }
    for _ in 0..10 {
        talk.say("RCPT TO:<d@b.example>", "452 4.5.3").await;
    }
    talk.say("DATA", "354 ").await;
    talk.say("x\r\n.", "250 ").await;
    assert_eq!(setup.desk.only().to, ["a@b.example", "b@b.example"]);
}

#[tokio::test(start_paused = true)]
async fn too_many_errors_end_the_session() {
    let mut setup = Setup::new();
    setup.limits.errors = 3;
    let mut talk = setup.greeted().await;
    talk.say("WHAT", "500 ").await;
    talk.say("RCPT TO:<>", "501 ").await;
    talk.say("DATA", "503 ").await;
    talk.expect("421 4.7.0").await;
    talk.over().await;
}

#[tokio::test(start_paused = true)]
async fn what_policy_refuses_is_an_error_of_strangers_only() {
    let mut setup = Setup::new();
    setup.limits.errors = 3;
    let mut talk = setup.greeted().await;
    for _ in 0..10 {
        talk.open_message().await;
        talk.say("unwanted\r\n.", "550 5.7.1").await;
    }
    talk.open_message().await;
    talk.say("x\r\n.", "250 ").await;

    setup.desk = Arc::new(Desk { strangers: true, ..Desk::default() });
    let mut talk = setup.greeted().await;
    for _ in 0..3 {
        talk.say("MAIL FROM:<refused@b.example>", "550 ").await;
    }
    talk.expect("421 4.7.0").await;
    talk.over().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_carries_so_many_messages() {
    let mut setup = Setup::new();
    setup.limits.messages_per_connection = 2;
    let mut talk = setup.greeted().await;
    for _ in 0..2 {
        talk.open_message().await;
        talk.say("x\r\n.", "250 ").await;
    }
    // At once: who asks with NOOP before the next message must not be told that all is well.
    talk.expect("421 4.7.0 too many messages").await;
    talk.over().await;
}

#[tokio::test(start_paused = true)]
async fn memory_is_one_budget_for_all_and_comes_back() {
    let mut setup = Setup::new();
    setup.limits.memory = 100 << 10;
    let server = setup.server();
    let greeted = async || {
        let mut talk = setup.connect_to(server.clone());
        talk.expect("220 ").await;
        talk.say("EHLO x", "250-").await;
        talk
    };
    let mut holder = greeted().await;
    holder.open_message().await;
    holder.send("x".repeat(40 << 10)).await;
    holder.settle().await;
    let mut other = greeted().await;
    other.open_message().await;
    other.send("y\r\n".repeat(14_000) + ".\r\n").await;
    other.expect("452 4.3.1").await;
    other.say("MAIL FROM:<>", "250 ").await;
    other.say("RCPT TO:<a@b.example>", "250 ").await;
    holder.send("\r\n\r\nhang\r\n.\r\n").await;
    setup.desk.hanging.notified().await;
    // Undecided messages count, too.
    other.say("DATA", "354 ").await;
    other.send("y\r\n".repeat(14_000) + ".\r\n").await;
    other.expect("452 4.3.1").await;
    setup.desk.go.notify_one();
    holder.expect("250 ").await;
    other.open_message().await;
    other.send("y\r\n".repeat(14_000) + ".\r\n").await;
    other.expect("250 ").await;

    setup.limits.memory = 100;
    let mut talk = setup.greeted().await;
    talk.say("MAIL FROM:<>", "250 ").await;
    talk.say("RCPT TO:<a@b.example>", "250 ").await;
    talk.say("DATA", "452 4.3.1").await;
    talk.say("DATA", "503 5.5.1").await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_told_and_sent_away() {
    let setup = Setup::new();
    let begun = Instant::now();
    let mut talk = setup.greeted().await;
    talk.expect("421 4.4.2").await;
    talk.over().await;
    assert_eq!(begun.elapsed().as_secs(), 300);
    let mut talk = setup.greeted().await;
    talk.open_message().await;
    let begun = Instant::now();
    talk.send(vec![b'x'; 60_000]).await;
    talk.expect("421 4.4.2").await;
    assert_eq!(begun.elapsed().as_secs(), 300);
}

#[tokio::test(start_paused = true)]
async fn one_octet_at_a_time_buys_no_time() {
    let setup = Setup::new();
    let mut talk = setup.greeted().await;
    let begun = Instant::now();
    for _ in 0..299 {
        talk.send("N").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    talk.expect("421 4.4.2 time-out").await;
    assert_eq!(begun.elapsed().as_secs(), 300);

    let mut talk = setup.greeted().await;
    talk.open_message().await;
    let begun = Instant::now();
    for _ in 0..9 {
        talk.send("x").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    talk.expect("421 4.4.2 the message came too slowly").await;
    assert_eq!(begun.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_slow_but_steady_message_gets_through() {
    let setup = Setup::new();
    let mut talk = setup.greeted().await;
    talk.open_message().await;
    for _ in 0..60 {
        talk.send([b'x'; 70]).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    talk.say("\r\n.", "250 ").await;
}

#[tokio::test(start_paused = true)]
async fn no_session_lasts_for_ever() {
    let mut setup = Setup::new();
    setup.listener.bare_lf = Some(BareLf::Normalize);
    let begun = Instant::now();
    let mut talk = setup.greeted().await;
    loop {
        tokio::time::sleep(Duration::from_mins(1)).await;
        if begun.elapsed() >= Duration::from_hours(1) {
            break;
        }
        talk.say("NOOP", "250 ").await;
    }
    talk.expect("421 4.4.2 the session lasted too long").await;
    talk.over().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_under_way_is_taken_in_though_the_session_is_over() {
    let mut setup = Setup::new();
    setup.limits.session = Duration::from_secs(30);
    let mut talk = setup.greeted().await;
    tokio::time::sleep(Duration::from_secs(25)).await;
    talk.say("MAIL FROM:<app@shop.example>", "250 ").await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    talk.say("RCPT TO:<anna@mail.example>", "250 ").await;
    talk.say("DATA", "354 ").await;
    for _ in 0..60 {
        talk.send([b'x'; 70]).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // The next message comes in the same piece, and is not begun.
    talk.send("\r\n.\r\nMAIL FROM:<app@shop.example>\r\n").await;
    talk.expect("250 ").await;
    talk.expect("421 4.4.2 the session lasted too long").await;
    talk.over().await;
    assert_eq!(setup.desk.only().text.len(), 60 * 70 + 2);
}

#[tokio::test(start_paused = true)]
async fn no_transaction_lasts_for_ever() {
    let mut setup = Setup::new();
    setup.limits.session = Duration::from_secs(30);
    let mut talk = setup.greeted().await;
    let begun = Instant::now();
    talk.say("MAIL FROM:<>", "250 ").await;
    while begun.elapsed() < Duration::from_hours(6) {
        talk.say("NOOP", "250 ").await;
        tokio::time::sleep(Duration::from_mins(4)).await;
    }
    talk.expect("421 4.4.2 the transaction lasted too long").await;
    talk.over().await;
    assert_eq!(begun.elapsed().as_secs(), 6 * 3600);
}

#[tokio::test(start_paused = true)]
async fn a_session_does_not_go_on_for_ever_from_one_transaction_to_the_next() {
    let mut setup = Setup::new();
    setup.limits.session = Duration::from_secs(30);
    let mut talk = setup.greeted().await;
    talk.say("MAIL FROM:<>", "250 ").await;
    tokio::time::sleep(Duration::from_secs(40)).await;
    talk.say("NOOP", "250 ").await;
    talk.send("RSET\r\nMAIL FROM:<>\r\n").await;
    talk.expect("250 2.0.0").await;
    talk.expect("421 4.4.2 the session lasted too long").await;
    talk.over().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_left() {
    let setup = Setup::new();
    let (ours, theirs) = tokio::io::duplex(64);
    setup.spawn(setup.server(), theirs);
    let mut talk = crate::support::Talk::new(ours);
    talk.expect("220 ").await;
    talk.send("EHLO x\r\n").await;
    tokio::time::sleep(Duration::from_secs(400)).await;
    assert!(tokio::io::AsyncWriteExt::write_all(&mut talk.stream, b"NOOP\r\n").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn when_told_to_stop_idle_peers_go_and_messages_get_their_answer() {
    let setup = Setup::new();
    let mut idle = setup.greeted().await;
    let mut sending = setup.greeted().await;
    sending.open_message().await;
    let mut deciding = setup.greeted().await;
    deciding.open_message().await;
    deciding.send("hang\r\n.\r\n").await;
    setup.desk.hanging.notified().await;
    let mut between = setup.greeted().await;
    between.say("MAIL FROM:<>", "250 ").await;
    let mut stalled = setup.greeted().await;
    stalled.say("MAIL FROM:<>", "250 ").await;
    let mut logging_in = setup.greeted().await;
    logging_in.say("AUTH LOGIN", "334 ").await;

    let begun = Instant::now();
    setup.stop.cancel();
    idle.expect("421 4.3.2").await;
    idle.over().await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    between.say("RCPT TO:<b@c.example>", "250 ").await;
    between.say("DATA", "354 ").await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    between.say("x\r\n.", "250 ").await;
    between.expect("421 4.3.2").await;
    stalled.expect("421 4.3.2").await;
    logging_in.expect("421 4.3.2").await;
    sending.say("x\r\n.", "250 ").await;
    sending.expect("421 4.3.2").await;
    setup.desk.go.notify_one();
    deciding.expect("250 ").await;
    deciding.expect("421 4.3.2").await;
    deciding.over().await;
    assert_eq!(setup.desk.taken().len(), 3);
}
