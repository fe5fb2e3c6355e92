//! The header of a message as byte ranges.
//!
//! The scanner reads, it never repairs: the ranges of all fields and of what is no field, put one after the other, are
//! the header block byte for byte. That is what lets `rewrite` replace one field and leave everything else as it came.

use std::ops::Range;

/// One header field, or a line that is no field at all (no colon, or a name with characters that names do not have).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Where the name stands; empty for a line that is no field.
    pub name: Range<usize>,
    /// Where the value stands: from after the colon to before the line end that closes the field, folds included.
    pub value: Range<usize>,
    /// The whole field, with its name, folds and closing line end.
    pub whole: Range<usize>,
}

/// The fields of a header block, in order, and where the block ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderFields {
    fields: Vec<Field>,
    end: usize,
    body: usize,
}

impl HeaderFields {
    /// Scans `raw` up to the empty line that ends the header, or to its end. Lines end in CR LF; a last line without
    /// its line end is taken as it stands.
    ///
    /// A message whose first line is no field has no header: all of it is body, as it is to Postfix, sendmail and most
    /// readers. The exception is the separator line of an mbox file in front of a field: it is kept as a line that is
    /// no field. A nameless first field is therefore always such a line.
    pub fn scan(raw: &[u8]) -> Self {
        if starts_without_header(raw) {
            return Self { fields: Vec::new(), end: 0, body: 0 };
        }
        let mut fields: Vec<Field> = Vec::new();
        let mut at = 0;
        while at < raw.len() {
            let next = line_end(raw, at);
            let line = &raw[at..next];
            if line == b"\r\n" {
                return Self { fields, end: at, body: next };
            }
            let folded = matches!(line.first(), Some(b' ' | b'\t'));
            match fields.last_mut() {
                Some(field) if folded => {
                    field.whole.end = next;
                    field.value.end = without_line_end(raw, field.value.start, next);
                }
                _ => fields.push(field_of_line(raw, at, next)),
            }
            at = next;
        }
        Self { fields, end: raw.len(), body: raw.len() }
    }

    /// The fields, in the order in which they stand.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Where the header block ends: the offset of the empty line, or the length of a message that has none.
    pub fn end(&self) -> usize {
        self.end
    }

    /// Where the body begins: after the empty line, or the length of a message that has none.
    pub fn body(&self) -> usize {
        self.body
    }

    /// The fields called `name`, upper and lower case alike.
    pub fn named<'a>(&'a self, raw: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a Field> {
        self.fields.iter().filter(move |field| raw[field.name.clone()].eq_ignore_ascii_case(name.as_bytes()))
    }
}

fn starts_without_header(raw: &[u8]) -> bool {
    let is_field = |from: usize, to: usize| !field_of_line(raw, from, to).name.is_empty();
    let first = line_end(raw, 0);
    if raw.starts_with(b"\r\n") || is_field(0, first) {
        return false;
    }
    let before_field = is_field(first, line_end(raw, first));
    !(before_field && is_mbox_separator(&raw[..first]))
}

/// `From someone Mon Nov 23 13:26:00 2026`, plain or quoted: told from a text that starts with "From" by its time.
fn is_mbox_separator(line: &[u8]) -> bool {
    let is_time =
        |part: &[u8]| part[2] == b':' && [part[0], part[1], part[3], part[4]].iter().all(u8::is_ascii_digit);
    (line.starts_with(b"From ") || line.starts_with(b">From ")) && line.windows(5).any(is_time)
}

fn line_end(raw: &[u8], from: usize) -> usize {
    raw[from..].windows(2).position(|pair| pair == b"\r\n").map_or(raw.len(), |offset| from + offset + 2)
}

fn without_line_end(raw: &[u8], start: usize, end: usize) -> usize {
    let trimmed = raw[start..end].strip_suffix(b"\r\n").map_or(end - start, <[u8]>::len);
    start + trimmed
}

fn field_of_line(raw: &[u8], at: usize, next: usize) -> Field {
    let line = &raw[at..next];
    let colon = line.iter().position(|&byte| byte == b':');
    // White space between name and colon is the obsolete syntax of RFC 5322 section 4.5; old software writes it.
    let name = colon
        .map(|colon| line[..colon].trim_ascii_end().len())
        .filter(|&len| len > 0 && line[..len].iter().all(|byte| byte.is_ascii_graphic() && *byte != b':'));
    let content_end = without_line_end(raw, at, next);
    match (name, colon) {
        (Some(len), Some(colon)) => Field {
            name: at..at + len,
            value: (at + colon + 1).min(content_end)..content_end,
            whole: at..next,
        },
        _ => Field { name: at..at, value: at..content_end, whole: at..next },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(raw: &[u8]) -> Vec<String> {
        HeaderFields::scan(raw)
            .fields()
            .iter()
            .map(|field| String::from_utf8_lossy(&raw[field.name.clone()]).into_owned())
            .collect()
    }

    #[test]
    fn folded_fields_are_one_field() {
        let raw = b"From: a@b.example\r\nSubject: one\r\n two\r\n\tthree\r\nTo : x\r\n\r\nbody";
        let header = HeaderFields::scan(raw);
        assert_eq!(names(raw), ["From", "Subject", "To"]);
        assert_eq!(&raw[header.fields()[1].value.clone()], b" one\r\n two\r\n\tthree");
        assert_eq!(&raw[header.body()..], b"body");
    }

    #[test]
    fn a_line_that_is_no_field_is_kept_as_one_without_a_name() {
        let raw = b"From someone Mon Nov 23 13:26:00 2026\r\nSubject: x\r\n\r\n";
        assert_eq!(names(raw), ["", "Subject"]);
        assert_eq!(names(b"Subject: x\r\nnot a field\r\n\r\n"), ["Subject", ""]);
    }

    #[test]
    fn a_message_that_does_not_start_with_a_field_is_all_body() {
        for raw in [
            &b"Your code is 123456.\r\n\r\nBye\r\n"[..],
            b"From the team\r\nCode: 123456\r\n",
            b"From 10:30 on it is\r\n123456\r\n",
            b" folded: start\r\nSubject: x\r\n",
            b"From a Mon Nov 23 13:26:00 2026\r\n",
        ] {
            let header = HeaderFields::scan(raw);
            assert_eq!((header.fields().len(), header.end(), header.body()), (0, 0, 0));
        }
        let header = HeaderFields::scan(b"\r\nSubject: x\r\n\r\n");
        assert_eq!((header.fields().len(), header.end(), header.body()), (0, 0, 2));
    }

    #[test]
    fn a_message_without_an_empty_line_is_all_header() {
        let header = HeaderFields::scan(b"Subject: x\r\nTo: y");
        assert_eq!((header.fields().len(), header.end(), header.body()), (2, 17, 17));
    }

    #[test]
    fn a_bare_line_feed_ends_nothing() {
        assert_eq!(names(b"Subject: a\nBcc: b\r\nTo: c\r\n\r\n"), ["Subject", "To"]);
    }

    proptest! {
        #[test]
        fn ranges_cover_the_header_block_exactly(raw in prop::collection::vec(
            prop_oneof![Just(b'\r'), Just(b'\n'), Just(b':'), Just(b' '), Just(b'A'), any::<u8>()], 0..300)) {
            let header = HeaderFields::scan(&raw);
            let mut at = 0;
            for field in header.fields() {
                prop_assert_eq!(field.whole.start, at);
                prop_assert!(field.value.start >= field.whole.start && field.value.end <= field.whole.end);
                prop_assert!(field.value.start <= field.value.end);
                at = field.whole.end;
            }
            prop_assert_eq!(at, header.end());
            prop_assert!(header.body() == header.end() || header.body() == header.end() + 2);
        }
    }
}
