//! A message as it was received: its bytes, which nobody changes, and where its header fields stand.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Address, Field, HeaderFields, ReversePath};

/// The bytes of a message with lines that end in CR LF, dot-stuffing removed, and its scanned header. Cheap to clone.
#[derive(Clone)]
pub struct Message {
    raw: Bytes,
    header: std::sync::Arc<HeaderFields>,
}

impl Message {
    /// Takes the bytes over and scans the header.
    pub fn new(raw: impl Into<Bytes>) -> Self {
        let raw = raw.into();
        let header = std::sync::Arc::new(HeaderFields::scan(&raw));
        Self { raw, header }
    }

    /// Every byte, as received.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The header fields.
    pub fn header(&self) -> &HeaderFields {
        &self.header
    }

    /// The bytes after the empty line that ends the header.
    pub fn body(&self) -> &[u8] {
        &self.raw[self.header.body()..]
    }

    /// The name of `field`, as written.
    pub fn name_of(&self, field: &Field) -> &[u8] {
        &self.raw[field.name.clone()]
    }

    /// The raw values of all fields called `name`, in order: folds and encoded words as they stand.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.header.named(&self.raw, name).map(|field| &self.raw[field.value.clone()])
    }

    /// What an upstream must be able to do to take this message unchanged.
    pub fn need(&self) -> Need {
        Need {
            eight_bit_header: !self.raw[..self.header.end()].is_ascii(),
            eight_bit_body: !self.body().is_ascii(),
        }
    }
}

/// Whether a line, without its line end, is a lone dot to a server that leaves NULs out, and so the end of the message. Dot-
/// stuffing does not help: the line does not begin with the dot. (Behind a leading dot it does.)
pub fn is_disguised_dot(line: &[u8]) -> bool {
    line.first() == Some(&0) && line.iter().filter(|&&byte| byte != 0).eq([&b'.'])
}

/// What a message needs of an upstream, judged by its bytes and never by what a client declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// A header field holds non-ASCII bytes: SMTPUTF8 (RFC 6531).
    pub eight_bit_header: bool,
    /// The body holds non-ASCII bytes: 8BITMIME (RFC 6152).
    pub eight_bit_body: bool,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({} octets)", self.raw.len())
    }
}

/// Who sends and who receives, as said in MAIL and RCPT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The envelope sender.
    pub reverse_path: ReversePath,
    /// The recipients, at least one, in the order of their RCPT commands, without repeats.
    pub recipients: Vec<Address>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_among_nuls_is_an_end_in_disguise() {
        for line in [&b"\0."[..], b"\0\0.", b"\0.\0", b"\0\0.\0\0"] {
            assert!(is_disguised_dot(line), "{line:?}");
        }
        for line in [&b""[..], b".", b".\0", b"\0", b"\0..", b"\0.a", b"a\0."] {
            assert!(!is_disguised_dot(line), "{line:?}");
        }
    }
}
