//! Which characters do no harm where people read them: in logs and on terminals.
//!
//! What a peer says may hold sequences that a terminal obeys, and characters that turn the direction of writing around or
//! are not seen at all. They must not reach an operator's screen, whichever way the text went.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character is seen and only seen. Line ends and tabs are not: whoever wants them says so.
///
/// The joiners U+200C and U+200D stay, because Persian and the languages of India are not written without them.
pub fn is_plain(c: char) -> bool {
    let unseen = matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    );
    !c.is_control() && !unseen
}

/// A text for a terminal, of one line or several: what is not plain is written out, like `\u{1b}`.
pub fn for_terminal(text: &str) -> Cow<'_, str> {
    written_out(text, |clean, c| write!(clean, "{}", c.escape_unicode()))
}

/// JSON for a terminal: the same value, with what is not plain as JSON's own escape.
pub fn json_for_terminal(json: &str) -> Cow<'_, str> {
    written_out(json, |clean, c| {
        let mut units = [0; 2];
        c.encode_utf16(&mut units).iter().try_for_each(|unit| write!(clean, "\\u{unit:04x}"))
    })
}

fn written_out(text: &str, write_out: impl Fn(&mut String, char) -> std::fmt::Result) -> Cow<'_, str> {
    let fine = |c: char| is_plain(c) || matches!(c, '\n' | '\t');
    if text.chars().all(fine) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if fine(c) {
            clean.push(c);
        } else {
            // A string takes everything.
            let _ = write_out(&mut clean, c);
        }
    }
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_or_hide_is_written_out() {
        assert_eq!(for_terminal("a\u{1b}[31m\r\u{7f}\u{9b}2J"), "a\\u{1b}[31m\\u{d}\\u{7f}\\u{9b}2J");
        assert_eq!(for_terminal("x\u{202e}y\u{2028}\u{e0041}"), "x\\u{202e}y\\u{2028}\\u{e0041}");
        for text in ["two\nlines\tand more", "grüße 漢字 می\u{200c}خواهم 👩\u{200d}💻", ""] {
            assert!(matches!(for_terminal(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn json_keeps_its_value() {
        let value = serde_json::json!({ "a": "\u{1b}[0m \u{9b}\u{7f}\u{202e}\u{e0041} ü\n" });
        let shown = json_for_terminal(&serde_json::to_string_pretty(&value).unwrap()).into_owned();
        assert!(shown.chars().all(|c| is_plain(c) || c == '\n'), "{shown:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
