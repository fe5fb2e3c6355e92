//! The attributes of a start tag, and whether they hide the element.
//!
//! Any text is read as attributes. Styles are understood as far as mail hides text with them: inline, one property at a
//! time; rules of style sheets are not.

use super::decode_entities;

/// The attributes we look at, as written.
#[derive(Default)]
pub(super) struct Attributes<'a> {
    style: Option<String>,
    pub href: Option<&'a str>,
    pub alt: Option<&'a str>,
    hidden: bool,
}

impl<'a> Attributes<'a> {
    /// Reads up to the `>` that ends the tag and gives back what follows it.
    pub(super) fn read(mut rest: &'a str) -> (Self, &'a str) {
        let mut found = Self::default();
        loop {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
            if rest.is_empty() {
                return (found, rest);
            }
            if let Some(rest) = rest.strip_prefix('>') {
                return (found, rest);
            }
            // The first character belongs to the name, whatever it is.
            let name_end = rest
                .char_indices()
                .skip(1)
                .find(|&(_, c)| c.is_ascii_whitespace() || matches!(c, '=' | '>' | '/'))
                .map_or(rest.len(), |(at, _)| at);
            let (name, after_name) = rest.split_at(name_end);
            let (value, after_value) = attribute_value(after_name);
            found.note(name, value);
            rest = after_value;
        }
    }

    fn note(&mut self, name: &str, value: &'a str) {
        if name == "style" {
            let style = decode_entities(value);
            self.style =
                Some(style.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase());
        } else if name == "href" {
            self.href = Some(value);
        } else if name == "alt" {
            self.alt = Some(value);
        } else if name == "hidden" {
            self.hidden = true;
        }
    }

    /// Whether the element and all in it is not shown.
    pub(super) fn hide(&self) -> bool {
        self.hidden
            || self.style.as_deref().is_some_and(|style| {
                let clipped = style.contains("overflow:hidden");
                style.contains("display:none")
                    || style.contains("visibility:hidden")
                    || style.contains("text-indent:-")
                    || style.contains("left:-9")
                    || style.contains("top:-9")
                    || property_is_zero(style, "opacity:")
                    || property(style, "color:") == Some("transparent")
                    || clipped
                        && ["max-height:", "height:", "width:", "max-width:", "line-height:"]
                            .iter()
                            .any(|name| property_is_zero(style, name))
            })
    }

    /// Whether the element sets its text to no size at all; `None` when it sets no size.
    pub(super) fn zero_size(&self) -> Option<bool> {
        let style = self.style.as_deref()?;
        property(style, "font-size:").map(|_| property_is_zero(style, "font-size:"))
    }
}

/// The value of the property `name` (with its colon) in an inline style without white space.
fn property<'a>(style: &'a str, name: &str) -> Option<&'a str> {
    style
        .split(';')
        .filter_map(|declaration| declaration.strip_prefix(name))
        .next_back()
        .map(|value| value.trim_end_matches("!important"))
}

fn property_is_zero(style: &str, name: &str) -> bool {
    property(style, name).is_some_and(|value| {
        let number = value.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
        number.parse::<f64>().is_ok_and(|number| number.abs() < 0.05)
    })
}

fn attribute_value(rest: &str) -> (&str, &str) {
    let Some(rest) = rest.trim_ascii_start().strip_prefix('=') else {
        return ("", rest);
    };
    let rest = rest.trim_ascii_start();
    if let Some(quote @ (b'"' | b'\'')) = rest.as_bytes().first() {
        let inner = &rest[1..];
        return inner.split_once(char::from(*quote)).unwrap_or((inner, ""));
    }
    let end = rest.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(rest.len());
    rest.split_at(end)
}
