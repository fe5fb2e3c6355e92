//! What the octets of a part say: its transfer encoding undone, then its character set.
//!
//! Trusts nothing, and does what mail programs do, also where a sender is careless: what one of them shows must not stay
//! unread here. What programs read in different ways, or only some of them can read, is not guessed: it counts as not
//! looked at.

use std::borrow::Cow;

use mail_parser::decoders::charsets::map::charset_decoder;

/// A transfer encoding (RFC 2045 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// None: `7bit`, `8bit`, `binary`, and names that mean nothing to any program.
    Identity,
    Base64,
    QuotedPrintable,
    /// One that some programs know: uuencode and the like, and other names for the two.
    Foreign,
}

impl Encoding {
    /// The encoding that a header field declares. Comments and quotation marks are passed over.
    pub(super) fn of(declared: &str) -> Self {
        let lower = declared.to_ascii_lowercase();
        let plain = lower.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\''));
        let plain =
            if plain.starts_with('(') { plain.split_once(')').map_or("", |(_, rest)| rest) } else { plain };
        let plain = plain.trim();
        let end = plain.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(plain.len());
        let family = |name: &&str| lower.contains(*name);
        match &plain[..end] {
            "base64" => Self::Base64,
            "quoted-printable" => Self::QuotedPrintable,
            _ if ["base64", "quoted", "uu", "yenc", "binhex"].iter().any(family) => Self::Foreign,
            _ => Self::Identity,
        }
    }

    /// The octets that `encoded` stands for; nothing for an encoding that is not known here. It may be cut anywhere.
    pub(super) fn decode(self, encoded: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Self::Identity => Cow::Borrowed(encoded),
            Self::Base64 => Cow::Owned(base64(encoded)),
            Self::QuotedPrintable => Cow::Owned(quoted_printable(encoded)),
            Self::Foreign => Cow::Borrowed(&[]),
        }
    }
}

/// What is no letter of the alphabet is passed over, and what follows padding is read on, as mail programs do.
fn base64(encoded: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(encoded.len() / 4 * 3);
    let (mut bits, mut letters) = (0_u32, 0);
    for &byte in encoded {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                flush(&mut out, bits, letters);
                (bits, letters) = (0, 0);
                continue;
            }
            _ => continue,
        };
        bits = bits << 6 | u32::from(value);
        letters += 1;
        if letters == 4 {
            flush(&mut out, bits, letters);
            (bits, letters) = (0, 0);
        }
    }
    flush(&mut out, bits, letters);
    out
}

/// The whole octets in so many letters of base64.
fn flush(out: &mut Vec<u8>, bits: u32, letters: usize) {
    let octets = letters * 6 / 8;
    let aligned = bits << (32 - 6 * letters.max(1));
    out.extend_from_slice(&aligned.to_be_bytes()[..octets]);
}

/// What is no escape stands for itself.
fn quoted_printable(encoded: &[u8]) -> Vec<u8> {
    let digit = |at: usize| encoded.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::with_capacity(encoded.len());
    let mut at = 0;
    while at < encoded.len() {
        let plain = encoded[at..].iter().position(|&byte| byte == b'=').unwrap_or(encoded.len() - at);
        if plain > 0 {
            out.extend_from_slice(&encoded[at..at + plain]);
            at += plain;
            continue;
        }
        if let Some(value) =
            digit(at + 1).zip(digit(at + 2)).and_then(|(one, two)| u8::try_from(one * 16 + two).ok())
        {
            out.push(value);
            at += 3;
            continue;
        }
        let blanks = encoded[at + 1..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let end = &encoded[at + 1 + blanks..];
        if end.is_empty() || end.starts_with(b"\n") || end.starts_with(b"\r\n") {
            let line_end = end.iter().take(2).position(|&byte| byte == b'\n');
            at += 1 + blanks + line_end.map_or(end.len().min(2), |lf| lf + 1);
            continue;
        }
        out.push(b'=');
        at += 1;
    }
    out
}

/// The text that `bytes` are in a declared character set; `None` where programs that know the set would show something
/// that can't be known here. A byte order mark outweighs what is declared, as in browsers.
pub(super) fn text(bytes: &[u8], charset: Option<&str>) -> Option<String> {
    let text = if let Some(rest) = bytes.strip_prefix(b"\xef\xbb\xbf") {
        in_utf8(rest)
    } else if bytes.starts_with(b"\xff\xfe\0\0") || bytes.starts_with(b"\0\0\xfe\xff") {
        return None;
    } else if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        in_charset(bytes, "utf-16")?
    } else {
        let label =
            charset.unwrap_or_default().trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\''));
        if label.is_empty() { in_utf8(bytes) } else { in_charset(bytes, label)? }
    };
    Some(shown(text))
}

/// Nearly all of it is as it should be, which is known much sooner than what to put in place of what is not.
fn in_utf8(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn in_charset(bytes: &[u8], label: &str) -> Option<String> {
    let lower = label.to_ascii_lowercase();
    let is = |family: &str| lower.contains(family);
    // Much of what is declared to be ASCII is not, and then it is UTF-8.
    if is("utf-8") || is("utf8") || is("ascii") && std::str::from_utf8(bytes).is_ok() {
        return Some(in_utf8(bytes));
    }
    let known = if is("utf-7") { "utf-7" } else { &*lower };
    match charset_decoder(known.as_bytes()) {
        // Of a set that browsers refuse to decode, one replacement character is left.
        Some(decoder) => Some(decoder(bytes)).filter(|text| bytes.len() < 2 || text != "\u{fffd}"),
        None => in_unknown(bytes),
    }
}

/// In a set of an unknown name: ASCII and UTF-8 are told by themselves, a text that is mostly ASCII is taken for Latin.
/// Control characters are the mark of sets in which the same octets say something else.
fn in_unknown(bytes: &[u8]) -> Option<String> {
    if bytes.iter().any(|byte| matches!(byte, 0 | 0x0e | 0x1b)) {
        return None;
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Some(text.to_owned());
    }
    let ascii = bytes.iter().filter(|byte| byte.is_ascii()).count();
    let latin = charset_decoder(b"windows-1252").filter(|_| ascii * 3 >= bytes.len() * 2)?;
    Some(latin(bytes))
}

/// Without control characters, for which nothing is shown: they would part words.
fn shown(text: String) -> String {
    let nothing = |c: char| c.is_control() && !c.is_whitespace();
    // Without a branch, so that many octets are looked at in one step.
    let may_be = |byte: u8| {
        u8::from(byte < b'\t')
            | u8::from(byte.wrapping_sub(0x0e) < 0x12)
            | u8::from(byte == 0x7f)
            | u8::from(byte == 0xc2)
    };
    if text.bytes().fold(0, |any, byte| any | may_be(byte)) == 0 {
        return text;
    }
    if text.contains(nothing) { text.replace(nothing, "") } else { text }
}

/// Files inside a text that are looked at.
const FILES_MAX: usize = 16;
/// Their lines that are decoded: enough for the mark of an archive that stands furthest in.
const FILE_LINES: usize = 12;

/// The files inside a text, as `uuencode` writes them and some mail programs take them out: name and first octets.
pub(super) fn uuencoded(text: &str) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("begin ").filter(|_| found.len() < FILES_MAX) {
        let begin = &rest[at..];
        rest = &begin["begin ".len()..];
        // First of all: a line is looked at once, however often the word stands in it.
        if !begins_line(text, begin) {
            continue;
        }
        let (line, after) = begin.split_once('\n').unwrap_or((begin, ""));
        let (mode, name) = line["begin ".len()..].trim_end().split_once(' ').unwrap_or_default();
        let is_mode = (3..=5).contains(&mode.len()) && mode.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        if is_mode && !name.is_empty() {
            let head = after.lines().take(FILE_LINES).map_while(uu_line).flatten().collect::<Vec<u8>>();
            found.extend((!head.is_empty()).then(|| (name.to_owned(), head)));
        }
    }
    found
}

/// Whether `begin`, an end of `text`, stands at the beginning of a line.
fn begins_line(text: &str, begin: &str) -> bool {
    let before = &text[..text.len() - begin.len()];
    before.is_empty() || before.ends_with('\n')
}

/// One line: how many octets, then four characters for each three of them. `None` where it is no such line, or the last.
fn uu_line(line: &str) -> Option<Vec<u8>> {
    let value = |byte: u8| (b' '..=b'`').contains(&byte).then(|| (byte - b' ') & 63);
    let (length, characters) = line.trim_end_matches('\r').as_bytes().split_first()?;
    let length = usize::from(value(*length).filter(|length| *length > 0)?);
    let mut out = Vec::with_capacity(length + 2);
    let characters = &characters[..characters.len().min(length.div_ceil(3) * 4)];
    for four in characters.chunks(4) {
        let mut bits = 0_u32;
        for at in 0..4 {
            bits = bits << 6 | u32::from(four.get(at).map_or(Some(0), |byte| value(*byte))?);
        }
        out.extend_from_slice(&bits.to_be_bytes()[1..]);
    }
    // Blanks at the end of a line may be lost on the way.
    out.resize(length, 0);
    (characters.len() + 8 >= length * 4 / 3).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(declared: &str, encoded: &str) -> String {
        String::from_utf8_lossy(&Encoding::of(declared).decode(encoded.as_bytes())).into_owned()
    }

    #[test]
    fn encodings_are_undone_as_mail_programs_undo_them() {
        for (declared, encoded, expected) in [
            ("base64", "SGVsbG8=", "Hello"),
            (" \"BASE64\"", "S-GV!s\r\nbG8", "Hello"),
            ("base64 (for you); x", "SGVsbG8=SGVsbG8=", "HelloHello"),
            ("(x) base64", "SGVsbG8gdGhlcmU", "Hello there"),
            ("base64", "SGVsb", "Hel"),
            ("base64", "S", ""),
            ("quoted-printable", "=48ello=ZZ=\r\n you=3d= \t\n=", "Hello=ZZ you="),
            ("Quoted-Printable", "a\r\n=4", "a\r\n=4"),
            ("8BIT", "=48", "=48"),
            ("utf-8", "=48", "=48"),
            ("x-uuencode", "hidden", ""),
            ("x-base64", "SGVsbG8=", ""),
        ] {
            assert_eq!(decoded(declared, encoded), expected, "{declared} {encoded:?}");
        }
    }

    #[test]
    fn character_sets_are_read_or_known_to_be_unread() {
        let cyrillic = Some("\u{43a}\u{43e}\u{434}");
        for (bytes, charset, expected) in [
            (&b"K\xf6ln"[..], Some("iso-8859-1"), Some("K\u{f6}ln")),
            (b"\xea\xee\xe4", Some("\"Windows-1251\""), cyrillic),
            (b"\xff\xfeH\0i\0", Some("utf-8"), Some("Hi")),
            (b"\xfe\xff\0H\0i", None, Some("Hi")),
            (b"\xef\xbb\xbfHi", Some("iso-8859-1"), Some("Hi")),
            (b"H\0i\x01!\r\n", Some("utf-8"), Some("Hi!\r\n")),
            ("K\u{f6}ln".as_bytes(), Some("us-ascii"), Some("K\u{f6}ln")),
            (b"+ADw-a", Some("UNICODE-1-1-UTF-7"), Some("<a")),
            (b"K\xf6ln ist sch\xf6n", Some("x-odd"), Some("K\u{f6}ln ist sch\u{f6}n")),
            ("K\u{f6}ln".as_bytes(), Some("utf8mb4"), Some("K\u{f6}ln")),
            (b"\xc8\x85\x93\x93\x96", Some("ibm037"), None),
            (b"\xff\xfe\0\0H\0\0\0", Some("utf-32"), None),
            (b"H\0\0\0i\0\0\0", Some("utf-32le"), None),
            (b"~{<:Ky~}", Some("hz-gb-2312"), None),
            (b"\x1b$)C\x0e!!", Some("iso-2022-kr"), None),
        ] {
            assert_eq!(text(bytes, charset).as_deref(), expected, "{} {charset:?}", bytes.escape_ascii());
        }
    }

    #[test]
    fn files_in_a_text_are_found() {
        let program = "Hello\r\n\r\nbegin 644 a.exe\r\n(35J0``,```  \r\n`\r\nend\r\n";
        let found = uuencoded(program);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].0.as_str(), &found[0].1[..4]), ("a.exe", &b"MZ\x90\0"[..]));
        for text in
            ["begin 10 minutes early", "To begin 644 people came\nand saw", "begin 644 a\n\nwords", ""]
        {
            assert_eq!(uuencoded(text), [], "{text}");
        }
        assert!(uuencoded(&"begin 644 a\n(35J0``,```\n".repeat(1000)).len() <= FILES_MAX);
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_decoded(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), label in "[a-z0-9-]{0,12}") {
            for encoding in [Encoding::Base64, Encoding::QuotedPrintable] {
                proptest::prop_assert!(encoding.decode(&bytes).len() <= bytes.len());
            }
            text(&bytes, Some(&label));
            uuencoded(&String::from_utf8_lossy(&[b"begin 644 a\n", &*bytes].concat()));
        }

        #[test]
        fn what_was_encoded_comes_back(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), cut in 1_usize..80) {
            use base64::Engine as _;
            let encoded = base64::engine::general_purpose::STANDARD.encode(&bytes);
            let lines: Vec<u8> = encoded.as_bytes().chunks(cut).flat_map(|line| [line, b"\r\n"].concat()).collect();
            proptest::prop_assert_eq!(&*Encoding::Base64.decode(&lines), &*bytes);
            let quoted: Vec<String> = bytes.iter().map(|byte| format!("={byte:02X}=\r\n")).collect();
            let quoted = quoted.concat();
            proptest::prop_assert_eq!(&*Encoding::QuotedPrintable.decode(quoted.as_bytes()), &*bytes);
        }
    }
}
