//! Commands as peers write them, and as they should not.

use super::*;
use proptest::prelude::*;

const OFFER: Offer<'_> = Offer { hostname: "relay.example", smtputf8: false };
const UTF8: Offer<'_> = Offer { smtputf8: true, ..OFFER };

fn mail_of(line: &str, offer: Offer<'_>) -> Result<(String, Option<usize>), u16> {
    match parse(line.as_bytes(), offer) {
        Ok(Command::Mail(mail)) => Ok((mail.from.as_str().to_owned(), mail.size)),
        Ok(other) => panic!("{other:?}"),
        Err(reply) => Err(reply.code()),
    }
}

fn rcpt_of(line: &str, offer: Offer<'_>) -> Result<String, u16> {
    match parse(line.as_bytes(), offer) {
        Ok(Command::Rcpt(to)) => Ok(to.as_str().to_owned()),
        Ok(other) => panic!("{other:?}"),
        Err(reply) => Err(reply.code()),
    }
}

#[test]
fn mail_as_real_clients_write_it() {
    for (line, from, size) in [
        ("MAIL FROM:<a@b.example>", "a@b.example", None),
        ("mail from: <a@b.example> size=100 BODY=8BITMIME", "a@b.example", Some(100)),
        ("MAIL FROM:<>", "", None),
        ("MAIL FROM:<> SIZE=0 ", "", None),
        ("MAIL FROM:a@b.example SIZE=7", "a@b.example", Some(7)),
        ("MAIL FROM:<\"a > b\"@c.example>", "\"a > b\"@c.example", None),
        ("MAIL FROM:<\"a\\\" b\"@c.example> BODY=7BIT", "\"a\\\" b\"@c.example", None),
        ("MAIL FROM:<@hop.example,@hop2.example:a@b.example>", "a@b.example", None),
        ("MAIL FROM:<a@b.example> AUTH=<>", "a@b.example", None),
        ("MAIL FROM:<a@b.example.>", "a@b.example", None),
        ("MAIL FROM:<root>", "root@relay.example", None),
        ("MAIL FROM:www-data SIZE=7", "www-data@relay.example", Some(7)),
    ] {
        assert_eq!(mail_of(line, OFFER), Ok((from.to_owned(), size)), "{line}");
    }
    assert!(mail_of("MAIL FROM:<a@b.example> BODY=8BITMIME SMTPUTF8", UTF8).is_ok());
    assert!(mail_of("MAIL FROM:<jürgen@b.example> SMTPUTF8", UTF8).is_ok());
}

#[test]
fn mail_that_is_refused_says_why() {
    for (line, code) in [
        ("MAIL", 501),
        ("MAIL FROM", 501),
        ("MAIL FROM:", 501),
        ("MAIL TO:<a@b.example>", 501),
        ("MAIL FROM:<a@b.example", 501),
        ("MAIL FROM:<a@b.example>x", 501),
        ("MAIL FROM:<a@b.example> <c@d.example>", 501),
        ("MAIL FROM:<a b@c.example>", 501),
        ("MAIL FROM:<a@b@c.example>", 501),
        ("MAIL FROM:<@hop.example>", 501),
        ("MAIL FROM:<a b>", 501),
        ("MAIL FROM:<a..b>", 501),
        ("MAIL FROM:<a@>", 501),
        ("MAIL FROM:<a@b.example..>", 501),
        ("MAIL FROM:<a@b.example> SIZE=x", 501),
        ("MAIL FROM:<a@b.example> SIZE=", 501),
        ("MAIL FROM:<a@b.example> BODY=6BIT", 501),
        ("MAIL FROM:<a@b.example> BODY=BINARYMIME", 555),
        ("MAIL FROM:<a@b.example> SMTPUTF8", 555),
        ("MAIL FROM:<a@b.example> RET=FULL", 555),
        ("MAIL FROM:<a@b.example> ENVID=x", 555),
        ("MAIL FROM:<a@b.example> BY=120;R", 555),
        ("MAIL FROM:<a@b.example> REQUIRETLS", 555),
        ("MAIL FROM:<a@b.example> X-FOO=bar", 555),
        ("MAIL FROM:<jürgen@b.example>", 553),
    ] {
        assert_eq!(mail_of(line, OFFER), Err(code), "{line}");
    }
    assert_eq!(mail_of("MAIL FROM:<jürgen@b.example>", UTF8), Err(553));
    assert_eq!(parse(b"MAIL FROM:<j\xfcrgen@b.example>", UTF8).unwrap_err().code(), 501);
}

#[test]
fn recipients() {
    for (line, to) in [
        ("RCPT TO:<a@b.example>", "a@b.example"),
        ("rcpt  to : <a@B.example> ", "a@b.example"),
        ("RCPT TO:<PostMaster>", "postmaster@relay.example"),
        ("RCPT TO:<@hop.example:a@b.example>", "a@b.example"),
        ("RCPT TO:a@b.example", "a@b.example"),
        ("RCPT TO:<c@d.example.>", "c@d.example"),
    ] {
        assert_eq!(rcpt_of(line, OFFER), Ok(to.to_owned()), "{line}");
    }
    for (line, code) in [
        ("RCPT TO:<>", 501),
        ("RCPT TO:<root>", 501),
        ("RCPT TO:", 501),
        ("RCPT FROM:<a@b.example>", 501),
        ("RCPT TO:<a@b.example>, <c@d.example>", 501),
        ("RCPT TO:<a@b.example> NOTIFY=NEVER", 555),
        ("RCPT TO:<a@b.example> RCPT TO:<c@d.example>", 555),
        ("RCPT TO:<ä@b.example>", 553),
    ] {
        assert_eq!(rcpt_of(line, OFFER), Err(code), "{line}");
    }
    assert_eq!(rcpt_of("RCPT TO:<ä@b.example>", UTF8), Ok("ä@b.example".to_owned()));
}

#[test]
fn commands_without_arguments_take_none() {
    for (line, command) in [
        ("DATA", Command::Data),
        ("data ", Command::Data),
        ("RSET", Command::Rset),
        ("QUIT", Command::Quit),
        ("STARTTLS", Command::StartTls),
        ("NOOP x y", Command::Noop),
        ("VRFY a", Command::Vrfy),
        ("HELP", Command::Help),
        ("BDAT 10 LAST", Command::NotOffered),
        ("EXPN list", Command::NotOffered),
    ] {
        assert_eq!(parse(line.as_bytes(), OFFER), Ok(command), "{line}");
    }
    for (line, code) in [
        ("DATA x", 501),
        ("STARTTLS now", 501),
        ("QUIT QUIT", 501),
        ("", 500),
        ("FOO", 500),
        ("EHLO", 501),
        ("EHLOX y", 500),
        ("STARTTLSX", 500),
        ("AUTH", 501),
        ("AUTH CRAM-MD5", 504),
        ("AUTH NONE", 504),
        ("AUTH PLAIN AHg= AHk=", 501),
    ] {
        assert_eq!(parse(line.as_bytes(), OFFER).map_err(|reply| reply.code()), Err(code), "{line}");
    }
}

#[test]
fn what_a_peer_calls_itself_is_made_harmless() {
    for (line, name) in [
        (&b"EHLO [127.0.0.1]"[..], "[127.0.0.1]"),
        (b"EHLO my pc", "my?pc"),
        (b"EHLO M\xdcLLER", "M?LLER"),
        (b"EHLO x(\x1b[31m)\"", "x???31m??"),
    ] {
        assert!(matches!(parse(line, OFFER), Ok(Command::Ehlo(clean)) if clean.len() == name.len()));
    }
    assert_eq!(parse(b"HELO vm\t", OFFER), Ok(Command::Helo("vm".to_owned())));
}

#[test]
fn http_is_recognised() {
    assert!(is_http(b"GET / HTTP/1.1") && is_http(b"post / HTTP/1.1") && !is_http(b"GETTING"));
}

proptest! {
    #[test]
    fn no_line_makes_it_panic_or_lets_control_characters_through(
        verb in prop_oneof![Just("MAIL FROM:<"), Just("RCPT TO:<"), Just("EHLO "), Just("AUTH "), Just("")],
        rest in prop::collection::vec(any::<u8>().prop_filter("framing", |b| !matches!(b, b'\r' | b'\n' | 0)), 0..60),
    ) {
        let line = [verb.as_bytes(), &rest].concat();
        match parse(&line, UTF8) {
            Ok(Command::Mail(mail)) => prop_assert!(!mail.from.as_str().chars().any(char::is_control)),
            Ok(Command::Rcpt(to)) => prop_assert!(!to.as_str().chars().any(char::is_control)),
            Ok(Command::Ehlo(name)) => prop_assert!(name.bytes().all(|byte| byte.is_ascii_graphic())),
            Ok(_) => {}
            Err(reply) => prop_assert!(!reply.is_positive()),
        }
    }
}
