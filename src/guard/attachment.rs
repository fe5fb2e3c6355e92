//! What is enclosed in a message, by its first octets: declared types and names are what the sender likes them to be.
//!
//! Authentication mail brings a text, perhaps pictures in it, perhaps a calendar entry. What can be run, what holds
//! other files, and what opens as a page or document with links that nobody looked at, is never part of it.

use std::fmt;

use crate::policy::Enclosure;

/// What a message may not bring along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbidden {
    /// A program, a script, a shortcut.
    Executable,
    /// An archive or disk image; the zipped documents of office programs are archives too.
    Archive,
    /// A document of the older office programs, or an installer: they may hold programs.
    CompoundDocument,
    /// A web page or a picture that is one (SVG).
    Page,
    /// A PDF or RTF document.
    Document,
    /// Another message.
    Message,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Executable => "a program",
            Self::Archive => "an archive",
            Self::CompoundDocument => "an office document or installer",
            Self::Page => "a web page",
            Self::Document => "a document",
            Self::Message => "another message",
        })
    }
}

/// First octets, where they stand, and what they are the mark of.
const MARKS: &[(usize, &[u8], Forbidden)] = &[
    (0, b"\x7fELF", Forbidden::Executable),
    (0, b"\xfe\xed\xfa\xce", Forbidden::Executable),
    (0, b"\xfe\xed\xfa\xcf", Forbidden::Executable),
    (0, b"\xce\xfa\xed\xfe", Forbidden::Executable),
    (0, b"\xcf\xfa\xed\xfe", Forbidden::Executable),
    // Mach-O for several processors, and Java classes.
    (0, b"\xca\xfe\xba\xbe", Forbidden::Executable),
    (0, b"#!", Forbidden::Executable),
    (0, b"\0asm", Forbidden::Executable),
    (0, b"dex\n", Forbidden::Executable),
    // A shortcut of Windows.
    (0, b"L\0\0\0\x01\x14\x02\0", Forbidden::Executable),
    (0, b"[InternetShortcut]", Forbidden::Executable),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Forbidden::CompoundDocument),
    // Compiled help of Windows.
    (0, b"ITSF", Forbidden::Executable),
    (0, b"PK\x03\x04", Forbidden::Archive),
    (0, b"PK\x05\x06", Forbidden::Archive),
    (0, b"PK\x07\x08", Forbidden::Archive),
    (0, b"\x1f\x8b", Forbidden::Archive),
    (0, b"\x1f\x9d", Forbidden::Archive),
    (0, b"BZh", Forbidden::Archive),
    (0, b"\xfd7zXZ\0", Forbidden::Archive),
    (0, b"7z\xbc\xaf\x27\x1c", Forbidden::Archive),
    (0, b"Rar!\x1a\x07", Forbidden::Archive),
    (0, b"\x28\xb5\x2f\xfd", Forbidden::Archive),
    (0, b"\x04\x22\x4d\x18", Forbidden::Archive),
    (0, b"LZIP", Forbidden::Archive),
    (0, b"MSCF", Forbidden::Archive),
    (0, b"ISc(", Forbidden::Archive),
    (0, b"xar!", Forbidden::Archive),
    (0, b"!<arch>\n", Forbidden::Archive),
    (0, b"\xed\xab\xee\xdb", Forbidden::Archive),
    (0, b"\x60\xea", Forbidden::Archive),
    (0, b"vhdxfile", Forbidden::Archive),
    (0, b"conectix", Forbidden::Archive),
    // The envelope in which Outlook wraps attachments.
    (0, b"\x78\x9f\x3e\x22", Forbidden::Archive),
    (2, b"-lh", Forbidden::Archive),
    (7, b"**ACE**", Forbidden::Archive),
    (257, b"ustar", Forbidden::Archive),
    (0x8001, b"CD001", Forbidden::Archive),
    (0, b"{\\rtf", Forbidden::Document),
    // OneNote.
    (0, b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d", Forbidden::Document),
];

/// How a file begins that a browser shows as a page, in lower case.
const PAGES: [&str; 13] = [
    "<?xml",
    "<!doctype html",
    "<html",
    "<head",
    "<body",
    "<script",
    "<svg",
    "<iframe",
    "<meta",
    "<table",
    "<div",
    "<!doctype svg",
    "<!--",
];

/// Names of scripts that have no mark, and of pages, by their ending.
const SCRIPT_NAMES: [&str; 16] = [
    "js", "jse", "vbs", "vbe", "wsf", "wsh", "hta", "bat", "cmd", "com", "ps1", "psm1", "scr", "pif", "url",
    "reg",
];
const PAGE_NAMES: [&str; 8] = ["html", "htm", "xhtml", "shtml", "mht", "mhtml", "svg", "svgz"];

/// What `enclosure` is that a message may not bring along; `None` where it may.
pub fn forbidden(enclosure: &Enclosure) -> Option<Forbidden> {
    let head = enclosure.head.as_slice();
    let marked = |&&(at, mark, _): &&(usize, &[u8], Forbidden)| {
        head.get(at..).is_some_and(|from| from.starts_with(mark))
    };
    if let Some((_, _, what)) = MARKS.iter().find(marked) {
        return Some(*what);
    }
    if is_dos_program(head) {
        return Some(Forbidden::Executable);
    }
    // Readers of PDF look for its mark in the first kilobyte.
    if head[..head.len().min(1024)].windows(5).any(|five| five == b"%PDF-") {
        return Some(Forbidden::Document);
    }
    by_declaration(enclosure).or_else(|| is_page(head).then_some(Forbidden::Page))
}

/// `MZ`, and not the beginning of a text.
fn is_dos_program(head: &[u8]) -> bool {
    (head.starts_with(b"MZ") || head.starts_with(b"ZM"))
        && head[..head.len().min(128)].iter().any(|byte| *byte < 9)
}

fn by_declaration(enclosure: &Enclosure) -> Option<Forbidden> {
    match enclosure.media_type.as_str() {
        message if message.starts_with("message/") => return Some(Forbidden::Message),
        "text/html" | "application/xhtml+xml" | "image/svg+xml" => return Some(Forbidden::Page),
        _ => {}
    }
    let name =
        enclosure.name.as_deref().unwrap_or_default().trim_end_matches(['.', ' ']).to_ascii_lowercase();
    let (_, ending) = name.rsplit_once('.')?;
    if SCRIPT_NAMES.contains(&ending) {
        return Some(Forbidden::Executable);
    }
    PAGE_NAMES.contains(&ending).then_some(Forbidden::Page)
}

fn is_page(head: &[u8]) -> bool {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let start = String::from_utf8_lossy(&text[..text.len().min(512)]).to_ascii_lowercase();
    PAGES.iter().any(|page| start.starts_with(page))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Message;
    use crate::policy::{Text, TextLimits};

    fn of(media_type: &str, name: &str, head: &[u8]) -> Option<Forbidden> {
        let name = (!name.is_empty()).then(|| name.to_owned());
        forbidden(&Enclosure { media_type: media_type.to_owned(), name, head: head.to_vec() })
    }

    #[test]
    fn first_octets_count_and_declarations_do_not_excuse() {
        let mut tar = vec![0; 257];
        tar.extend_from_slice(b"ustar");
        let mut image = vec![0; 0x8001];
        image.extend_from_slice(b"CD001");
        for (head, what) in [
            (&b"MZ\x90\0\x03"[..], Forbidden::Executable),
            (b"#!/bin/sh\n", Forbidden::Executable),
            (b"PK\x03\x04\x14", Forbidden::Archive),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Forbidden::CompoundDocument),
            (&tar, Forbidden::Archive),
            (&image, Forbidden::Archive),
            (b"\r\n%PDF-1.7", Forbidden::Document),
            (b"\xef\xbb\xbf <!DOCTYPE HTML>", Forbidden::Page),
            (b"<?xml version='1.0'?><svg>", Forbidden::Page),
        ] {
            for media_type in ["application/octet-stream", "image/png", "text/calendar"] {
                assert_eq!(of(media_type, "a.png", head), Some(what), "{media_type} {}", head.escape_ascii());
            }
        }
        assert_eq!(of("application/octet-stream", "run.JS ", b"x"), Some(Forbidden::Executable));
        assert_eq!(of("application/octet-stream", "a.svg", b"x"), Some(Forbidden::Page));
    }

    #[test]
    fn pictures_and_plain_files_may_come_along() {
        for head in [
            &b"\x89PNG\r\n\x1a\n"[..],
            b"\xff\xd8\xff\xe0",
            b"GIF89a",
            b"RIFF\0\0\0\0WEBP",
            b"a,b\n1,2",
            b"MZ Consulting\n",
            b"",
        ] {
            assert_eq!(of("image/png", "a.png", head), None, "{}", head.escape_ascii());
        }
        assert_eq!(of("text/vcard", "anna.vcf", b"BEGIN:VCARD"), None);
    }

    #[test]
    fn what_a_message_brings_along_is_seen_in_every_encoding() {
        let part = |fields: &str, body: &str| {
            let raw = format!(
                "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHello\r\n--b\r\n{fields}\r\n\r\n{body}\r\n--b--\r\n"
            );
            let text = Text::of(&Message::new(raw.into_bytes()), &TextLimits::default());
            text.enclosures.iter().find_map(forbidden)
        };
        let base64 = "Content-Transfer-Encoding: base64";
        let program = "TVqQAAMAAAAEAAAA//8AALgAAAAAAAAAQAAAAAAAAAA";
        assert_eq!(
            part(&format!("Content-Type: image/png\r\n{base64}"), program),
            Some(Forbidden::Executable)
        );
        let cut = program
            .as_bytes()
            .chunks(3)
            .map(|three| String::from_utf8_lossy(three).into_owned() + "\r\n")
            .collect::<String>();
        assert_eq!(part(&format!("Content-Type: a/b\r\n{base64}"), &cut), Some(Forbidden::Executable));
        let quoted = "Content-Type: a/b\r\nContent-Transfer-Encoding: quoted-printable";
        assert_eq!(part(quoted, "=50K=03=04"), Some(Forbidden::Archive));
        assert_eq!(part("Content-Type: text/plain; name=a.txt", "#!/bin/sh"), Some(Forbidden::Executable));
        assert_eq!(
            part("Content-Type: text/html\r\nContent-Disposition: attachment", "x"),
            Some(Forbidden::Page)
        );
        assert_eq!(part("Content-Type: message/rfc822", "Subject: x\r\n\r\ny"), Some(Forbidden::Message));
        assert_eq!(part("Content-Type: text/calendar; name=invite.ics", "BEGIN:VCALENDAR"), None);
        assert_eq!(part(&format!("Content-Type: image/png; name=a.png\r\n{base64}"), "iVBORw0KGgo="), None);
    }
}
