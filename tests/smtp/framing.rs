//! What ends a line and a message, and what does not: smuggling, bare line ends, broken command lines.

use std::sync::Arc;

use authrelay::smtp::BareLf;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;

use crate::false_ends::FALSE_ENDS;
use crate::support::{Desk, Setup};

const SMUGGLED: &[u8] =
    b"MAIL FROM:<evil@evil.example>\r\nRCPT TO:<evil@evil.example>\r\nDATA\r\nSubject: evil\r\n\r\nevil\r\n.\r\n";

/// Sends a message with a false end and a smuggled one behind it in two pieces; gives how many were taken in.
async fn smuggle(bare_lf: BareLf, octets: &[u8], cut: usize) -> usize {
    let mut setup = Setup::new();
    setup.listener.bare_lf = Some(bare_lf);
    let mut talk = setup.greeted().await;
    talk.open_message().await;
    talk.send(&octets[..cut]).await;
    talk.settle().await;
    // A server that has closed already is as good.
    let _ = talk.stream.write_all(&octets[cut..]).await;
    let first = talk.reply().await;
    assert!(
        first.as_deref().is_some_and(|reply| {
            ["250 ", "521 5.5.2", "554 5.6.0"].iter().any(|start| reply.starts_with(start))
        }),
        "{first:?}"
    );
    if first.is_some_and(|reply| reply.starts_with("521")) {
        talk.over().await;
    }
    assert!(!setup.desk.recipients.lock().unwrap().iter().any(|to| to.starts_with("evil")));
    for taken in setup.desk.taken() {
        assert_eq!(taken.to, ["anna@mail.example"]);
    }
    setup.desk.taken().len()
}

#[tokio::test(start_paused = true)]
async fn no_false_end_lets_a_second_message_in() {
    for bare_lf in [BareLf::Normalize, BareLf::Refuse] {
        for end in FALSE_ENDS {
            let octets = [b"Subject: x\r\n\r\nbody", end, SMUGGLED].concat();
            let whole = smuggle(bare_lf, &octets, octets.len()).await;
            // Only what is wrong without a bare CR or LF is taken in, as one message; and no dot behind a NUL.
            let bare_cr = |text: &[u8]| text.windows(2).any(|w| w[0] == b'\r' && w[1] != b'\n');
            let bare_feed = |text: &[u8]| text.windows(2).any(|w| w[0] != b'\r' && w[1] == b'\n');
            let disguised = end.starts_with(b"\r\n\0");
            let refused = disguised || bare_cr(&octets) || (bare_lf == BareLf::Refuse && bare_feed(&octets));
            assert_eq!(whole, usize::from(!refused), "{end:?} {bare_lf:?}");
            for cut in 14..octets.len() {
                assert_eq!(smuggle(bare_lf, &octets, cut).await, whole, "{end:?} {bare_lf:?} cut at {cut}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_true_end_is_found_wherever_it_is_cut() {
    let octets = b"Subject: x\r\n\r\n..\r\n\r\n.\r\n";
    for cut in 0..=octets.len() {
        assert_eq!(smuggle(BareLf::Refuse, octets, cut).await, 1, "{cut}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bare_line_feed_is_normalised_for_those_we_know_and_refused_for_others() {
    let mut setup = Setup::new();
    setup.listener.bare_lf = None;
    let mut talk = setup.greeted().await;
    talk.open_message().await;
    talk.send("Subject: x\nTo: y\n\n..one\ntwo\n\r\n.\r\n").await;
    talk.expect("250 ").await;
    assert_eq!(setup.desk.only().text, "Subject: x\r\nTo: y\r\n\r\n.one\r\ntwo\r\n\r\n");

    setup.desk = Arc::new(Desk { strangers: true, ..Desk::default() });
    let mut talk = setup.greeted().await;
    talk.open_message().await;
    talk.send("Subject: x\nTo: y\n").await;
    talk.expect("521 5.5.2").await;
    // It still reads for a moment, so that a client in the middle of its message gets to see the reply.
    talk.send("more\r\n.\r\n").await;
    talk.over().await;
    assert!(setup.desk.taken().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_finished_is_not_taken_in() {
    let setup = Setup::new();
    let mut talk = setup.greeted().await;
    talk.open_message().await;
    talk.send("Subject: x\r\n\r\nhalf a message\r\n.\r").await;
    talk.settle().await;
    drop(talk);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(setup.desk.taken().is_empty());
}

#[tokio::test(start_paused = true)]
async fn eight_bits_nuls_and_long_lines_pass_unchanged() {
    let setup = Setup::new();
    let mut talk = setup.greeted().await;
    for text in [
        b"\0\x01\xff\xfe\x80 \t\r\n".to_vec(),
        [vec![b'x'; 64 << 10], b"\r\n".to_vec()].concat(),
        (0..=255).filter(|byte| !matches!(byte, b'\r' | b'\n')).chain(*b"\r\n").collect(),
        b"\r\n\r\n\r\n".to_vec(),
    ] {
        talk.open_message().await;
        talk.send([&text[..], b".\r\n"].concat()).await;
        talk.expect("250 ").await;
        assert_eq!(setup.desk.taken().last().unwrap().text, text);
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_line_ends_at_cr_lf_only() {
    let setup = Setup::new();
    let mut talk = setup.greeted().await;
    for line in ["NOOP\rRSET", "NOOP\0", "MAIL FROM:<a@b.example>\r"] {
        talk.say(line, "500 5.5.2").await;
    }
    talk.say("RCPT TO:<c@d.example>", "503 5.5.1").await;
    talk.say(&"x".repeat(100_000), "500 5.5.2").await;
    talk.say("NOOP", "250 ").await;
}

#[tokio::test(start_paused = true)]
async fn a_bare_line_feed_among_commands_is_told_at_once_and_nothing_with_it_is_done() {
    for octets in [
        &b"NOOP\n"[..],
        b"MAIL FROM:<a@b.example>\nRCPT TO:<c@d.example>\nDATA\n",
        b"MAIL FROM:<a\n@b.example>\r\nNOOP\r\n",
        b"NOOP\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nx\r\n.\r\n",
        b"AUTH LOGIN\r\nYW5uYQ==\nc2VjcmV0\r\n",
    ] {
        for cut in 0..octets.len() {
            let setup = Setup::new();
            let mut talk = setup.greeted().await;
            let begun = tokio::time::Instant::now();
            talk.send(&octets[..cut]).await;
            talk.settle().await;
            let _ = talk.stream.write_all(&octets[cut..]).await;
            if octets.starts_with(b"AUTH") {
                talk.expect("334 ").await;
            }
            talk.expect("500 5.5.2 lines end in CR LF").await;
            assert!(begun.elapsed().as_millis() < 10, "{:?}", begun.elapsed());
            talk.over().await;
            assert!(setup.desk.recipients.lock().unwrap().is_empty());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_without_end_is_cut_off() {
    let setup = Setup::new();
    let mut talk = setup.connect();
    talk.expect("220 ").await;
    talk.send(vec![b'x'; 200 << 10]).await;
    talk.expect("500 5.5.2").await;
    talk.over().await;
}

#[tokio::test(start_paused = true)]
async fn other_protocols_are_shown_the_door() {
    let setup = Setup::new();
    for octets in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"POST / HTTP/1.1\r\n\r\nEHLO x\r\nMAIL FROM:<a@b.example>\r\n",
        b"CONNECT x:25 HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    ] {
        let mut talk = setup.connect();
        talk.expect("220 ").await;
        talk.send(octets).await;
        talk.expect("421 4.7.0").await;
        talk.over().await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_talks_before_the_greeting_is_still_served() {
    let setup = Setup::new();
    let mut talk = setup.connect();
    talk.send("HELO early\r\n").await;
    talk.expect("220 ").await;
    talk.expect("250 ").await;
}

/// What is thrown at a session: commands whole and broken, in any order.
const SHARDS: [&[u8]; 22] = [
    b"EHLO x\r\n",
    b"HELO x\r\n",
    b"MAIL FROM:<a@b.example>\r\n",
    b"MAIL FROM:<> SIZE=5\r\n",
    b"RCPT TO:<c@d.example>\r\n",
    b"RCPT TO:<refused@d.example>\r\n",
    b"DATA\r\n",
    b"Subject: x\r\n\r\nbody\r\n.\r\n",
    b"unwanted\r\n.\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"AUTH PLAIN AGFubmEAc2VjcmV0\r\n",
    b"AUTH LOGIN\r\n",
    b"YW5uYQ==\r\n",
    b"*\r\n",
    b"STARTTLS\r\n",
    b"QUIT\r\n",
    b".\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"\0\xff<>:\"@",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// However the commands come, every reply is well formed, the session comes to its end, and what is taken in has
    /// an envelope that was said and a body that was ended.
    #[test]
    fn any_dialogue_stays_a_dialogue(shards in prop::collection::vec(0..SHARDS.len(), 0..40), cut in 1..200_usize) {
        let octets: Vec<u8> = shards.iter().flat_map(|&shard| SHARDS[shard]).copied().collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let setup = Setup::new();
            let mut talk = setup.greeted().await;
            for piece in octets.chunks(cut) {
                let _ = talk.stream.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            let _ = talk.stream.shutdown().await;
            while let Some(reply) = talk.reply().await {
                assert!(matches!(reply.as_bytes()[0], b'2'..=b'5'), "{reply}");
            }
            let ends = octets.windows(3).filter(|window| window == b".\r\n").count();
            let taken = setup.desk.taken();
            assert!(taken.len() <= ends);
            for taken in taken {
                assert!(["", "a@b.example"].contains(&taken.from.as_str()));
                assert_eq!(taken.to, ["c@d.example"]);
            }
        });
    }
}
