//! What is enclosed in a message, by its first octets: declared types and names are what the sender likes them to be.
//!
//! Authentication mail brings a text, perhaps pictures in it, perhaps a calendar entry. What can be run, what holds
//! other files, and what opens as a page or document with links that nobody looked at, is never part of it.

use std::fmt;

use crate::policy::{Enclosure, plain_letters};

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
    /// Octets of no kind that such mail has: neither a picture nor a text.
    Unknown,
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
            Self::Unknown => "a file of an unknown kind",
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
    (0, b"\xca\xfe\xba\xbf", Forbidden::Executable),
    (0, b"\0asm", Forbidden::Executable),
    (0, b"dex\n", Forbidden::Executable),
    // A shortcut of Windows.
    (0, b"L\0\0\0\x01\x14\x02\0", Forbidden::Executable),
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
    (0x8801, b"CD001", Forbidden::Archive),
    (0x8001, b"BEA01", Forbidden::Archive),
    (0, b"{\\rt", Forbidden::Document),
    // OneNote.
    (0, b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d", Forbidden::Document),
];

/// How texts begin that a program takes for instructions, in lower case.
const INSTRUCTIONS: [(&str, Forbidden); 12] = [
    ("#!", Forbidden::Executable),
    ("[internetshortcut]", Forbidden::Executable),
    ("[desktop entry]", Forbidden::Executable),
    ("windows registry editor", Forbidden::Executable),
    ("regedit4", Forbidden::Executable),
    ("@echo ", Forbidden::Executable),
    ("id;p", Forbidden::Executable),
    ("web\r\n1", Forbidden::Executable),
    ("web\n1", Forbidden::Executable),
    ("%!ps", Forbidden::Document),
    ("mime-version:", Forbidden::Page),
    ("(this file must be converted with binhex", Forbidden::Archive),
];

/// What makes a page of a text, wherever it stands near its beginning, in lower case.
const PAGE_PARTS: [&str; 6] = ["<script", "<html", "<form", "<a href", "<iframe", "<svg"];

/// How pictures begin, and where.
const PICTURES: &[(usize, &[u8])] = &[
    (0, b"\x89PNG\r\n\x1a\n"),
    (0, b"\xff\xd8\xff"),
    (0, b"GIF8"),
    (0, b"BM"),
    (8, b"WEBP"),
    (0, b"II*\0"),
    (0, b"MM\0*"),
    (0, b"\0\0\x01\0"),
    (4, b"ftypavif"),
    (4, b"ftyphei"),
    (4, b"ftypmif1"),
];

/// Signatures of the whole message, which are not opened.
const SIGNATURES: [&str; 3] =
    ["application/pkcs7-signature", "application/x-pkcs7-signature", "application/pgp-signature"];

/// Names by their ending, of what has no mark of its own or is meant by its name alone.
const NAMES: [(&str, Forbidden); 6] = [
    (
        "js jse vbs vbe vb wsf wsh wsc ws sct hta bat cmd com ps1 psm1 ps1xml scr pif url reg exe dll msi msp mst cpl msc \
         lnk jar jnlp application appref-ms settingcontent-ms library-ms searchconnector-ms applescript scpt command app \
         sh bash csh run py pyc pyw pl rb lua desktop xll wll iqy oqy slk inf ins isp job hlp chm gadget mde ade adp apk \
         ipa appx msix appinstaller deb rpm pkg swf workflow scptd webloc theme diagcab rdp",
        Forbidden::Executable,
    ),
    (
        "zip zipx rar 7z gz tgz xz txz bz2 tbz tbz2 zst tzst tar cab lzh lha arj ace z lz lzma lzo br iso img udf vhd vhdx \
         vmdk dmg wim egg alz zpaq zoo cpio sit sitx hqx crx xpi",
        Forbidden::Archive,
    ),
    ("html htm xhtml xht shtml mht mhtml svg svgz xml xsl xslt xps", Forbidden::Page),
    ("doc docm dot dotm xls xlsm xlsb xlam ppt pptm pub one mdb accdb", Forbidden::CompoundDocument),
    ("pdf rtf ps eps", Forbidden::Document),
    ("eml msg", Forbidden::Message),
];

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
    by_declaration(enclosure).or_else(|| by_content(enclosure))
}

/// `MZ`, and not the beginning of a text.
fn is_dos_program(head: &[u8]) -> bool {
    (head.starts_with(b"MZ") || head.starts_with(b"ZM"))
        && (head.len() < 3 || head[..head.len().min(128)].iter().any(|byte| *byte < 9))
}

fn by_declaration(enclosure: &Enclosure) -> Option<Forbidden> {
    match enclosure.media_type.as_str() {
        // A text for programs, which our own failure reports have.
        "message/delivery-status" => {}
        message if message.starts_with("message/") => return Some(Forbidden::Message),
        "text/html" | "application/xhtml+xml" | "image/svg+xml" => return Some(Forbidden::Page),
        _ => {}
    }
    // What stands behind a colon names a stream of a file.
    let name = plain_letters(enclosure.name.as_deref().unwrap_or_default()).to_ascii_lowercase();
    let name = name.split(':').next().unwrap_or_default().trim_end_matches(['.', ' ']);
    let (_, ending) = name.rsplit_once('.')?;
    let named = |(endings, _): &&(&str, Forbidden)| endings.split_ascii_whitespace().any(|one| one == ending);
    NAMES.iter().find(named).map(|(_, what)| *what)
}

/// What has no mark is a picture, a text that is no page and gives no instructions, or nothing that such mail has.
fn by_content(enclosure: &Enclosure) -> Option<Forbidden> {
    let head = enclosure.head.as_slice();
    let is_picture =
        PICTURES.iter().any(|(at, mark)| head.get(*at..).is_some_and(|from| from.starts_with(mark)));
    if is_picture || SIGNATURES.contains(&enclosure.media_type.as_str()) {
        return None;
    }
    let start = &head[..head.len().min(1024)];
    let text = match start {
        [0xff, 0xfe, pairs @ ..] => wide(pairs, u16::from_le_bytes),
        [0xfe, 0xff, pairs @ ..] => wide(pairs, u16::from_be_bytes),
        bytes if bytes.iter().any(|byte| matches!(byte, 0..=8 | 14..=26 | 28..=31)) => {
            return Some(Forbidden::Unknown);
        }
        bytes => String::from_utf8_lossy(bytes).into_owned(),
    };
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}').to_ascii_lowercase();
    if let Some((_, what)) = INSTRUCTIONS.iter().find(|(begin, _)| text.starts_with(begin)) {
        return Some(*what);
    }
    let is_tag = |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '!' | '?'));
    let is_page =
        text.strip_prefix('<').is_some_and(is_tag) || PAGE_PARTS.iter().any(|part| text.contains(part));
    is_page.then_some(Forbidden::Page)
}

fn wide(pairs: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units: Vec<u16> = pairs.as_chunks().0.iter().map(|&pair| unit(pair)).collect();
    String::from_utf16_lossy(&units)
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
            (b"<HTA:APPLICATION>", Forbidden::Page),
            (b"Dear you <script>x</script>", Forbidden::Page),
            (b"\xff\xfe<\0h\0t\0m\0l\0>\0", Forbidden::Page),
            (b"\xef\xbb\xbf#!/bin/sh", Forbidden::Executable),
            (b"\r\n[InternetShortcut]\r\nURL=x", Forbidden::Executable),
            (b"@ECHO off\r\n", Forbidden::Executable),
            (b"\x5d\0\0\x80\0", Forbidden::Unknown),
            (b"hsqs\x01\0", Forbidden::Unknown),
            (b"CWS\x08", Forbidden::Unknown),
        ] {
            for media_type in ["application/octet-stream", "image/png", "text/calendar"] {
                assert_eq!(of(media_type, "a.png", head), Some(what), "{media_type} {}", head.escape_ascii());
            }
        }
        assert_eq!(of("application/octet-stream", "run.JS ", b"x"), Some(Forbidden::Executable));
        for (name, what) in [
            ("a.svg", Forbidden::Page),
            ("a.js::$DATA", Forbidden::Executable),
            ("a\u{202e}gpj.exe", Forbidden::Executable),
            ("invoice.pdf.lnk", Forbidden::Executable),
            ("a.DOCM", Forbidden::CompoundDocument),
            ("a.tar.zst", Forbidden::Archive),
            ("a.eml", Forbidden::Message),
        ] {
            assert_eq!(of("application/octet-stream", name, b"x"), Some(what), "{name}");
        }
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
        assert_eq!(of("application/pkcs7-signature", "smime.p7s", b"0\x80\x06\x09"), None);
        assert_eq!(of("text/plain", "notes.txt", b"\xff\xfeH\0i\0"), None);
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
        assert_eq!(part("Content-Type: message/delivery-status", "Action: failed"), None);
        assert_eq!(part("Content-Type: message/delivery-status", "MZ\x01"), Some(Forbidden::Executable));
        assert_eq!(part("Content-Type: text/calendar; name=invite.ics", "BEGIN:VCALENDAR"), None);
        assert_eq!(part(&format!("Content-Type: image/png; name=a.png\r\n{base64}"), "iVBORw0KGgo="), None);
    }
}
