//! Log lines for systemd's journal, in its native protocol: every field is one of the journal's, so that it can be searched
//! by it, and the message holds the same as one line of text, so that `journalctl` shows it.
//!
//! What the journal does not take is written to standard error as text: no line is lost because of it.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::os::unix::net::UnixDatagram;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::plain::is_plain;

/// Where the journal listens (systemd, Native Journal Protocol).
const SOCKET: &str = "/run/systemd/journal/socket";

/// A longer value is cut: an entry has to fit into one datagram.
const LONGEST_VALUE: usize = 16 << 10;

/// Writes what is logged into the journal.
pub(super) struct Journal(UnixDatagram);

impl Journal {
    /// Finds the journal.
    pub(super) fn open() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        // An empty datagram is no entry, and tells whether somebody listens.
        socket.send_to(&[], SOCKET)?;
        Ok(Self(socket))
    }
}

impl<S> Layer<S> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.join(of_span);
            }
        }
        let metadata = event.metadata();
        let text = fields.line();
        let entry = fields.entry(*metadata.level(), metadata.target(), &text);
        if self.0.send_to(&entry, SOCKET).is_err() {
            // There is nobody else to tell.
            let _ = writeln!(io::stderr(), "{} {}: {text}", metadata.level(), metadata.target());
        }
    }
}

/// The fields of a line, each as it is, and as it stands in the text.
#[derive(Debug, Default)]
struct Fields {
    message: String,
    named: Vec<(&'static str, String, String)>,
}

impl Fields {
    fn add(&mut self, field: &Field, plain: String, shown: String) {
        match field.name() {
            "message" => self.message = plain,
            name => self.named.push((name, plain, shown)),
        }
    }

    /// What a line inside says of itself comes first, and is not said twice.
    fn join(&mut self, outer: &Self) {
        for field in &outer.named {
            if self.named.iter().all(|(name, ..)| *name != field.0) {
                self.named.push(field.clone());
            }
        }
    }

    fn line(&self) -> String {
        let mut line = self.message.clone();
        for (name, _, shown) in &self.named {
            // A string takes everything.
            let _ = write!(line, " {name}={shown}");
        }
        line.replace(|c: char| !is_plain(c), " ")
    }

    fn entry(&self, level: Level, target: &str, text: &str) -> Vec<u8> {
        let mut entry = Vec::with_capacity(512);
        put(&mut entry, "PRIORITY", priority(level));
        put(&mut entry, "SYSLOG_IDENTIFIER", "authrelay");
        put(&mut entry, "TARGET", target);
        put(&mut entry, "MESSAGE", text);
        for (name, plain, _) in &self.named {
            put(&mut entry, &journal_name(name), plain);
        }
        entry
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned(), format!("{value:?}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        self.add(field, value.clone(), value);
    }
}

/// The name, the length in eight octets, and the value, which may then hold anything.
fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    let mut end = value.len().min(LONGEST_VALUE);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    let value = &value.as_bytes()[..end];
    entry.extend_from_slice(name.as_bytes());
    entry.push(b'\n');
    entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    entry.extend_from_slice(value);
    entry.push(b'\n');
}

/// Capitals, digits and `_`; the journal keeps names that begin with `_` to itself.
fn journal_name(name: &str) -> String {
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    name.trim_start_matches('_').to_owned()
}

/// The levels of syslog (RFC 5424, section 6.2.1).
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_with_line_ends_stays_one_value_and_the_text_one_line() {
        let mut fields = Fields { message: "handed-over".to_owned(), named: Vec::new() };
        fields.named.push(("upstream.name", "a\nPRIORITY=0".to_owned(), "a\nPRIORITY=0".to_owned()));
        let text = fields.line();
        assert_eq!(text, "handed-over upstream.name=a PRIORITY=0");
        fields.named.push(("x", String::new(), "\u{1b}[2J\u{9b}\u{202e}\u{2028}\u{85}".to_owned()));
        assert!(fields.line().chars().all(is_plain));
        fields.named.pop();
        let entry = fields.entry(Level::INFO, "authrelay::event", &text);
        let mut expected = b"UPSTREAM_NAME\n".to_vec();
        expected.extend_from_slice(&12_u64.to_le_bytes());
        expected.extend_from_slice(b"a\nPRIORITY=0\n");
        assert!(entry.ends_with(&expected) && entry.starts_with(b"PRIORITY\n\x01\0\0\0\0\0\0\x006\n"));
        assert_eq!(journal_name("_to-key"), "TO_KEY");
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        let mut entry = Vec::new();
        put(&mut entry, "A", &"ü".repeat(LONGEST_VALUE));
        assert_eq!(entry.len(), 2 + 8 + LONGEST_VALUE + 1);
        assert!(std::str::from_utf8(&entry[10..entry.len() - 1]).is_ok());
    }
}
