//! What is read out of a message: its header, its text, its links; and the addresses it travels by.

use std::sync::LazyLock;

use authrelay::guard::links::{Domains, survey};
use authrelay::mail::{Address, HeaderFields, Mailbox, Message};
use authrelay::policy::{Recognition, Text, TextLimits, links_in_text, shape};

pub(super) static RECOGNITION: LazyLock<Recognition> = LazyLock::new(|| Recognition::shipped().unwrap());

/// A link that nobody may overlook.
const PLANTED: &str = "https://planted.example/reset?token=8f14e45fceea167a5a36dedd4bea2543";

/// The fields cover the header block to the octet, each is what its name says, and it ends at the first empty line.
pub fn header_scanner(octets: &[u8]) {
    let header = HeaderFields::scan(octets);
    let mut at = 0;
    for field in header.fields() {
        assert_eq!(field.whole.start, at);
        at = field.whole.end;
        let whole = &octets[field.whole.clone()];
        let name = &octets[field.name.clone()];
        assert!(field.whole.start <= field.value.start && field.value.start <= field.value.end);
        assert!(field.value.end <= field.whole.end);
        assert!(!whole.windows(4).any(|window| window == b"\r\n\r\n"), "an empty line inside a field");
        assert!(at == octets.len() || whole.ends_with(b"\r\n"), "a field without its end");
        // Behind every line end inside a field stands a fold.
        for (end, _) in whole.windows(2).enumerate().filter(|(_, pair)| pair == b"\r\n") {
            assert!(matches!(whole.get(end + 2), None | Some(b' ' | b'\t')), "two lines taken for one");
        }
        if !name.is_empty() {
            assert!(name.iter().all(|byte| (33..=126).contains(byte) && *byte != b':'));
            let colon = &octets[field.name.end..field.value.start];
            assert_eq!(colon.trim_ascii(), b":", "between name and value");
        }
    }
    assert_eq!(at, header.end());
    let first_empty = if octets.starts_with(b"\r\n") {
        Some(0)
    } else {
        octets.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 2)
    };
    match (header.fields().is_empty(), first_empty) {
        (true, _) => assert!(header.end() == 0 && matches!(header.body(), 0 | 2)),
        (false, Some(empty)) => assert_eq!((header.end(), header.body()), (empty, empty + 2)),
        (false, None) => assert_eq!((header.end(), header.body()), (octets.len(), octets.len())),
    }
}

/// Reading is bounded and always comes to the same; nothing in a message is too strange to be recognized or compared.
pub fn mime_to_text(octets: &[u8]) {
    let message = Message::new(octets.to_vec());
    let limits = TextLimits::default();
    let text = Text::of(&message, &limits);
    let again = Text::of(&message, &limits);
    assert_eq!((&text.subject, text.visible()), (&again.subject, again.visible()));
    assert_eq!(text.links(), again.links());
    assert_eq!(
        RECOGNITION.recognize(&text).map(|found| found.category),
        RECOGNITION.recognize(&again).map(|found| found.category)
    );
    let _ = shape(&message, &[]);
    let few = TextLimits { parts: 2, depth: 1, header_bytes: 64, encoded_bytes: 512, text_bytes: 128 };
    let little = Text::of(&message, &few);
    assert!(little.bodies.len() <= few.parts, "{} parts", little.bodies.len());
    // A character can become several when it is brought into its plain form, but not many.
    assert!(little.visible().len() <= few.parts * few.text_bytes * 20, "{}", little.visible().len());
}

/// No text hides a link that stands beside it, and what is shown of a host can be written into a log.
pub fn link_finder(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    for line in text.lines() {
        links_in_text(line, &mut |link| {
            assert!(!link.is_empty() && !link.contains(char::is_whitespace), "{link:?}");
        });
    }
    let behind = format!("{text}\r\n\r\n{PLANTED}\r\n");
    let before = format!("<p><a href=\"{PLANTED}\">x</a></p>{text}");
    for (kind, body) in [("plain", behind), ("html", before)] {
        let raw = format!("Subject: x\r\nContent-Type: text/{kind}; charset=utf-8\r\n\r\n{body}\r\n");
        let text = Text::of(&Message::new(raw.into_bytes()), &TextLimits::default());
        let domains = Domains { allowed: vec!["acme.example".to_owned()], ..Domains::default() };
        let survey = survey(&text, Some(&domains), &RECOGNITION);
        let planted = survey.links.iter().find(|seen| seen.host == "planted.example");
        // A message that was not read to its end is told apart and is judged by that.
        assert!(text.unread || planted.is_some_and(|seen| seen.taken.is_foreign()), "{kind}: overlooked");
        for seen in &survey.links {
            assert!(!seen.host.chars().any(|c| c.is_control() || c.is_whitespace()), "{:?}", seen.host);
        }
    }
}

/// What is an address can be written into a command and read again; masked it does not tell who it is.
pub fn addresses(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    if let Ok(mailbox) = Mailbox::parse(&text) {
        assert!(Address::parse(mailbox.address.as_str()).is_ok());
    }
    let Ok(address) = Address::parse(&text) else { return };
    let whole = address.as_str();
    assert!(!whole.chars().any(char::is_control), "{whole:?}");
    assert!(Address::parse(whole).is_ok_and(|again| again == address), "{whole:?}");
    assert_eq!(format!("{}@{}", address.local_part(), address.domain()), whole);
    let masked = address.masked();
    let shown = masked.strip_suffix(address.domain()).and_then(|rest| rest.strip_suffix("***@"));
    assert!(shown.is_some_and(|first| first.chars().count() <= 1), "{masked}");
}
