//! HTML to the text that a person sees, the text that is hidden from them, and the links.
//!
//! Trusts nothing: any text is HTML to it. One pass, linear in the input, with a bounded stack of open elements. It
//! follows what mail programs show rather than the letter of the standard: comments (Outlook's conditional ones among
//! them), scripts and styles are gone; elements hidden by attribute, inline style or a simple rule of a style sheet are
//! kept apart, because what nobody sees must not speak for a message.
//!
//! Addresses are looked for in all of it, however long, hidden or conditional: some program shows it to somebody.

mod attributes;
mod css;
mod leads;

use std::borrow::Cow;

use mail_parser::decoders::html::add_html_token;

use super::target::{Targets, in_text};
use super::text::{Body, Paragraph};
use attributes::Attributes;
use css::Sheet;

/// Open elements that are kept track of; deeper ones count as visible.
const STACK_MAX: usize = 128;
/// Anchor texts that are kept, and links for recognition.
const LINKS_MAX: usize = 500;
const ENTITY_MAX: usize = 32;

/// Reads `html`; stops with `incomplete` set when `text_bytes` of text were found.
pub(super) fn read(html: &str, text_bytes: usize) -> Body {
    let mut reader = Reader { left: text_bytes, sheet: Sheet::of(html), ..Reader::default() };
    reader.run(html);
    reader.end_anchor();
    reader.end_paragraph();
    reader.body.crowded = reader.targets.crowded;
    reader.body.targets = reader.targets.list;
    reader.body
}

#[derive(Default)]
struct Reader<'a> {
    body: Body,
    left: usize,
    stack: Vec<Open<'a>>,
    line: String,
    hidden_line: String,
    paragraph: Paragraph,
    sheet: Sheet,
    targets: Targets,
    anchor: Option<Anchor>,
}

/// A link or button that is open.
#[derive(Default)]
struct Anchor {
    label: String,
    /// Where it leads, as places among the targets.
    leads: Vec<usize>,
}

struct Open<'a> {
    /// In lower case, as all names here.
    name: Cow<'a, str>,
    /// Whether a start tag inside it ends nothing outside.
    is_scope: bool,
    hidden: bool,
    zero_size: bool,
}

impl<'a> Reader<'a> {
    fn run(&mut self, html: &'a str) {
        let mut rest = html;
        while !rest.is_empty() {
            let text_end = rest.find('<').unwrap_or(rest.len());
            self.text(&rest[..text_end]);
            rest = &rest[text_end..];
            if !rest.is_empty() {
                rest = self.markup(rest);
            }
        }
    }

    /// Reads what begins with `<` and gives back what follows it.
    fn markup(&mut self, rest: &'a str) -> &'a str {
        if let Some(comment) = rest.strip_prefix("<!--") {
            let (comment, rest) = after_comment(comment);
            if comment.trim_start().get(..3).is_some_and(|start| start.eq_ignore_ascii_case("[if")) {
                self.conditional(comment);
            }
            return rest;
        }
        match rest.as_bytes().get(1) {
            Some(b'!' | b'?') => after(rest, ">"),
            Some(b'/') => {
                let (name, rest) = element_name(&rest[2..]);
                self.close(&in_lower_case(name));
                after(rest, ">")
            }
            Some(letter) if letter.is_ascii_alphabetic() => self.start_tag(&rest[1..]),
            _ => {
                self.text("<");
                &rest[1..]
            }
        }
    }

    fn start_tag(&mut self, rest: &'a str) -> &'a str {
        let (name, rest) = element_name(rest);
        let name = in_lower_case(name);
        let (mut attributes, rest) = Attributes::read(rest);
        if may_be_raw_text(&name) && is_raw_text(&name) {
            self.lead(&name, &attributes);
            let following = after_closing(rest, &name);
            self.raw_text(&name, &attributes, &rest[..rest.len() - following.len()]);
            return following;
        }
        attributes.styled(&name, &self.sheet);
        if is_block(&name) {
            self.imply_ends(&name);
            self.end_paragraph();
        }
        self.before_element(&name, &attributes);
        if !is_void(&name) && self.stack.len() < STACK_MAX {
            let parent = self.stack.last();
            let hidden = parent.is_some_and(|open| open.hidden) || attributes.hide();
            let zero_size =
                attributes.zero_size().unwrap_or_else(|| parent.is_some_and(|open| open.zero_size));
            let is_scope = matches!(&*name, "table" | "ul" | "ol" | "div");
            self.stack.push(Open { name, is_scope, hidden, zero_size });
        }
        rest
    }

    fn before_element(&mut self, name: &str, attributes: &Attributes<'_>) {
        if name == "br" {
            self.end_line();
        }
        let leads = self.lead(name, attributes);
        if (name == "a" || name == "button") && !attributes.hide() && !self.is_hidden() {
            self.end_anchor();
            self.anchor = Some(Anchor { label: String::new(), leads });
            let target = attributes.href.map(decode_entities).unwrap_or_default();
            if target.contains("://") && self.body.links.len() < LINKS_MAX && !self.body.incomplete {
                self.body.links.push(target.trim().to_owned());
            }
        }
        if let Some(alt) = attributes.alt
            && !attributes.hide()
        {
            self.text(alt);
        }
    }

    fn close(&mut self, name: &str) {
        if name == "a" || name == "button" {
            self.end_anchor();
        }
        if is_block(name) {
            self.end_paragraph();
        }
        if let Some(at) = self.stack.iter().rposition(|open| open.name == name) {
            self.stack.truncate(at);
        }
    }

    /// Ends the elements that the start tag of a block ends without an end tag, so that one `<p hidden>` does not hide all that
    /// follows it.
    fn imply_ends(&mut self, name: &str) {
        let ended: &[&str] = match name {
            "li" => &["li"],
            "tr" => &["tr", "td", "th"],
            "td" | "th" => &["td", "th"],
            _ => &["p"],
        };
        let scope = self.stack.iter().rposition(|open| open.is_scope);
        let from = scope.map_or(0, |at| at + 1);
        let first = self.stack[from..].iter().position(|open| ended.contains(&&*open.name));
        if let Some(at) = first {
            self.stack.truncate(from + at);
        }
    }

    fn is_hidden(&self) -> bool {
        self.stack.last().is_some_and(|open| open.hidden || open.zero_size)
    }

    fn text(&mut self, raw: &str) {
        if raw.is_empty() {
            return;
        }
        let text = decode_entities(raw);
        if self.body.incomplete {
            // Nothing more is kept, but where it leads is still asked.
            return self.targets.add_text(&text);
        }
        let hidden = self.is_hidden();
        let line = if hidden { &mut self.hidden_line } else { &mut self.line };
        let before = line.len();
        push_folded(line, &text);
        self.body.incomplete |= line.len() - before > self.left;
        self.left = self.left.saturating_sub(line.len() - before);
        if let Some(anchor) = self.anchor.as_mut().filter(|_| !hidden) {
            push_folded(&mut anchor.label, &text);
        }
    }

    fn end_anchor(&mut self) {
        if let Some(Anchor { label, leads }) = self.anchor.take() {
            let label = label.trim();
            for place in leads {
                self.targets.label(place, label);
            }
            if !label.is_empty() && self.body.buttons.len() < LINKS_MAX {
                self.body.buttons.push(label.to_owned());
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.targets.add_text(&line);
        self.paragraph.lines.extend(trimmed(line));
        let hidden = std::mem::take(&mut self.hidden_line);
        self.targets.add_text(&hidden);
        self.body.hidden.extend(trimmed(hidden));
    }

    fn end_paragraph(&mut self) {
        self.end_line();
        if !self.paragraph.lines.is_empty() {
            self.body.paragraphs.push(std::mem::take(&mut self.paragraph));
        }
    }
}

/// The line without white space around it, unless there is nothing else.
fn trimmed(line: String) -> Option<String> {
    let trimmed = line.trim();
    match trimmed.len() {
        0 => None,
        len if len == line.len() => Some(line),
        _ => Some(trimmed.to_owned()),
    }
}

fn element_name(rest: &str) -> (&str, &str) {
    let ends = |octet: u8| octet.is_ascii_whitespace() || matches!(octet, b'>' | b'/' | b'<');
    rest.split_at(rest.bytes().position(ends).unwrap_or(rest.len()))
}

fn after<'a>(text: &'a str, end: &str) -> &'a str {
    let rest = match end.as_bytes() {
        // One octet is found much faster than a string of one.
        [octet] if octet.is_ascii() => text.split_once(char::from(*octet)),
        _ => text.split_once(end),
    };
    rest.map_or("", |(_, rest)| rest)
}

/// Nearly every name is written so.
fn in_lower_case(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|octet| octet.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// A comment, and what follows it: it ends with `-->`, `--!>`, or at once.
fn after_comment(text: &str) -> (&str, &str) {
    if let Some(rest) = text.strip_prefix('>').or_else(|| text.strip_prefix("->")) {
        return ("", rest);
    }
    let mut from = 0;
    while let Some(at) = text[from..].find("--").map(|at| from + at) {
        let end = &text[at + 2..];
        if let Some(rest) = end.strip_prefix('>').or_else(|| end.strip_prefix("!>")) {
            return (&text[..at], rest);
        }
        from = at + 1;
    }
    (text, "")
}

/// What follows `</name>`; nothing where it is missing, as browsers have it.
fn after_closing<'a>(text: &'a str, name: &str) -> &'a str {
    let mut rest = text;
    while let Some((_, candidate)) = rest.split_once("</") {
        if candidate.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name)) {
            return after(candidate, ">");
        }
        rest = candidate;
    }
    ""
}

fn decode_entities(raw: &str) -> Cow<'_, str> {
    if !raw.contains('&') {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('&') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some((c, after)) = numeric_reference(rest) {
            text.push(c);
            rest = after;
            continue;
        }
        let end = rest.bytes().take(ENTITY_MAX).position(|byte| byte == b';');
        match end.and_then(|end| rest.get(..=end)) {
            Some(entity) if !entity.contains(char::is_whitespace) => {
                match OF_ADDRESSES.iter().find(|(name, _)| *name == entity) {
                    Some((_, c)) => text.push(*c),
                    None => add_html_token(&mut text, entity.as_bytes(), false),
                }
                rest = &rest[entity.len()..];
            }
            _ => {
                text.push('&');
                rest = &rest[1..];
            }
        }
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// References to characters that addresses are made of, with which they are hidden.
const OF_ADDRESSES: [(&str, char); 12] = [
    ("&colon;", ':'),
    ("&sol;", '/'),
    ("&bsol;", '\\'),
    ("&period;", '.'),
    ("&commat;", '@'),
    ("&quest;", '?'),
    ("&equals;", '='),
    ("&num;", '#'),
    ("&percnt;", '%'),
    ("&lowbar;", '_'),
    ("&Tab;", '\t'),
    ("&NewLine;", '\n'),
];

/// `&#104;`, `&#x68;`, with any number of zeros and, as browsers have it, without the semicolon.
fn numeric_reference(text: &str) -> Option<(char, &str)> {
    let digits = text.strip_prefix("&#")?;
    let (digits, radix) = match digits.strip_prefix(['x', 'X']) {
        Some(digits) => (digits, 16),
        None => (digits, 10),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let (number, rest) = digits.split_at(end);
    let significant = number.trim_start_matches('0');
    if number.is_empty() {
        return None;
    }
    let value = u32::from_str_radix(if significant.is_empty() { "0" } else { significant }, radix).ok();
    let c = value.and_then(char::from_u32).filter(|&c| c != '\0').unwrap_or('\u{fffd}');
    Some((c, rest.strip_prefix(';').unwrap_or(rest)))
}

fn push_folded(line: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find(char::is_whitespace) {
        line.push_str(&rest[..at]);
        if !line.is_empty() && !line.ends_with(' ') {
            line.push(' ');
        }
        // As a rule it is one space, and a word follows.
        let after = &rest[at..];
        let word = after.strip_prefix(' ').filter(|word| word.starts_with(|c: char| c.is_ascii_graphic()));
        rest = word.unwrap_or_else(|| after.trim_start());
    }
    line.push_str(rest);
}

/// Whether the name that `text` begins with may be one of [`is_raw_text`].
fn may_be_raw_text(text: &str) -> bool {
    matches!(text.as_bytes().first(), Some(b's' | b'S' | b't' | b'T' | b'i' | b'I' | b'n' | b'N'))
}

/// Elements whose content is not shown. Mail programs run no scripts, so `noscript` is none of them; `xmp` shows what is
/// in it.
fn is_raw_text(name: &str) -> bool {
    matches!(name, "script" | "style" | "title" | "iframe" | "noembed" | "noframes" | "template")
}

fn is_void(name: &str) -> bool {
    matches!(
        name,
        "area"
            | "base"
            | "br"
            | "col"
            | "embed"
            | "hr"
            | "img"
            | "input"
            | "link"
            | "meta"
            | "param"
            | "source"
            | "track"
            | "wbr"
    )
}

#[rustfmt::skip]
fn is_block(name: &str) -> bool {
    matches!(
        name,
        "address" | "article" | "aside" | "blockquote" | "body" | "center" | "dd" | "div" | "dl" | "dt" | "fieldset"
            | "footer" | "form" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "header" | "hr" | "li" | "main" | "nav"
            | "ol" | "p" | "pre" | "section" | "table" | "tbody" | "td" | "tfoot" | "th" | "thead" | "tr" | "ul"
    )
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
