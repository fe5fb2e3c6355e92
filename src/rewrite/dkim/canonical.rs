//! The "relaxed" canonical form of RFC 6376 section 3.4, of fields and of bodies.
//!
//! White space is SP and HTAB, line ends are CR LF; every other octet, NUL and bare CR included, stands for itself.

use aws_lc_rs::digest::{Context, Digest, SHA256};

/// How many octets are collected before they are hashed.
const BLOCK: usize = 16 * 1024;

/// Appends one field in relaxed form, line end included. `value` is raw, with its folds.
pub(super) fn relaxed_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend(name.iter().map(u8::to_ascii_lowercase));
    out.push(b':');
    let start = out.len();
    let mut at = 0;
    let mut space = false;
    while at < value.len() {
        if value[at..].starts_with(b"\r\n") {
            at += 2;
            continue;
        }
        let byte = value[at];
        at += 1;
        if is_space(byte) {
            space = true;
            continue;
        }
        if space && out.len() > start {
            out.push(b' ');
        }
        space = false;
        out.push(byte);
    }
    out.extend_from_slice(b"\r\n");
}

/// The SHA-256 of a body in relaxed form.
pub(super) fn body_hash(body: &[u8]) -> Digest {
    let mut context = Context::new(&SHA256);
    relaxed_body(body, |block| context.update(block));
    context.finish()
}

/// Hands the relaxed form of a body to `sink`, in blocks.
fn relaxed_body(body: &[u8], mut sink: impl FnMut(&[u8])) {
    let mut block = Vec::with_capacity(BLOCK + 1024);
    let mut empty_lines = 0_usize;
    let mut rest = body;
    while !rest.is_empty() {
        let (line, next) = split_line(rest);
        rest = next;
        let content = without_trailing_spaces(line);
        if content.is_empty() {
            empty_lines += 1;
            continue;
        }
        for _ in 0..std::mem::take(&mut empty_lines) {
            block.extend_from_slice(b"\r\n");
            flush(&mut block, &mut sink);
        }
        for word in content.chunk_by(|a, b| is_space(*a) == is_space(*b)) {
            block.extend_from_slice(if is_space(word[0]) { b" " } else { word });
            flush(&mut block, &mut sink);
        }
        block.extend_from_slice(b"\r\n");
    }
    sink(&block);
}

fn flush(block: &mut Vec<u8>, sink: &mut impl FnMut(&[u8])) {
    if block.len() >= BLOCK {
        sink(block);
        block.clear();
    }
}

/// The first line without its line end, and what follows it.
fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    let mut from = 0;
    while let Some(offset) = text[from..].iter().position(|&byte| byte == b'\r') {
        let at = from + offset;
        if text.get(at + 1) == Some(&b'\n') {
            return (&text[..at], &text[at + 2..]);
        }
        from = at + 1;
    }
    (text, &[])
}

fn is_space(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn without_trailing_spaces(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|byte| !is_space(*byte)).map_or(0, |last| last + 1);
    &line[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, value: &str) -> String {
        let mut out = Vec::new();
        relaxed_field(name.as_bytes(), value.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    fn body(text: &str) -> String {
        let mut out = Vec::new();
        relaxed_body(text.as_bytes(), |block| out.extend_from_slice(block));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_are_written_as_the_standard_shows() {
        // RFC 6376 section 3.4.5.
        assert_eq!(field("A", " X"), "a:X\r\n");
        assert_eq!(field("B", " Y\t\r\n\tZ  "), "b:Y Z\r\n");
        assert_eq!(field("Subject", ""), "subject:\r\n");
        assert_eq!(field("x", "a\r\n b\0\u{fc} \t"), "x:a b\0\u{fc}\r\n");
    }

    #[test]
    fn bodies_are_written_as_the_standard_shows() {
        assert_eq!(body(" C \r\nD \t E\r\n\r\n\r\n"), " C\r\nD E\r\n");
        assert_eq!(body(""), "");
        assert_eq!(body("\r\n"), "");
        assert_eq!(body(" \r\n\t\r\n"), "");
        assert_eq!(body("no line end "), "no line end\r\n");
        assert_eq!(body("a\r\n\r\n \r\nb"), "a\r\n\r\n\r\nb\r\n");
        assert_eq!(body("a\nb\rc\r\n"), "a\nb\rc\r\n");
    }

    #[test]
    fn the_hash_of_an_empty_body_is_that_of_the_standard() {
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD;
        assert_eq!(STANDARD.encode(body_hash(b"\r\n")), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }

    #[test]
    fn blocks_change_nothing() {
        let text = "word and   more \r\n\r\n".repeat(5_000);
        assert_eq!(body(&text), "word and more\r\n\r\n".repeat(4_999) + "word and more\r\n");
    }
}
