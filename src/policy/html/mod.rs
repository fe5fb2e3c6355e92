//! HTML to the text that a person sees, the text that is hidden from them, and the links.
//!
//! Trusts nothing: any text is HTML to it. One pass, linear in the input, with a bounded stack of open elements. It
//! follows what mail programs show rather than the letter of the standard: comments (Outlook's conditional ones among
//! them), scripts and styles are gone; elements hidden by attribute or inline style are kept apart, because what nobody
//! sees must not speak for a message.

mod attributes;

use mail_parser::decoders::html::add_html_token;

use super::text::{Body, Paragraph};
use attributes::Attributes;

/// Open elements that are kept track of; deeper ones count as visible.
const STACK_MAX: usize = 128;
/// Links and anchor texts that are kept.
const LINKS_MAX: usize = 500;
const ENTITY_MAX: usize = 32;

/// Reads `html`; stops with `incomplete` set when `text_bytes` of text were found.
pub(super) fn read(html: &str, text_bytes: usize) -> Body {
    let mut reader = Reader { left: text_bytes, ..Reader::default() };
    reader.run(html);
    reader.end_paragraph();
    reader.body
}

#[derive(Default)]
struct Reader {
    body: Body,
    left: usize,
    stack: Vec<Open>,
    line: String,
    hidden_line: String,
    paragraph: Paragraph,
    anchor: Option<String>,
}

struct Open {
    /// In lower case, as all names here.
    name: String,
    hidden: bool,
    zero_size: bool,
}

impl Reader {
    fn run(&mut self, html: &str) {
        let mut rest = html;
        while !rest.is_empty() && !self.body.incomplete {
            let text_end = rest.find('<').unwrap_or(rest.len());
            self.text(&rest[..text_end]);
            rest = &rest[text_end..];
            if !rest.is_empty() {
                rest = self.markup(rest);
            }
        }
    }

    /// Reads what begins with `<` and gives back what follows it.
    fn markup<'a>(&mut self, rest: &'a str) -> &'a str {
        if let Some(comment) = rest.strip_prefix("<!--") {
            // `<!-->` is a whole comment.
            return comment.strip_prefix('>').unwrap_or_else(|| after(comment, "-->"));
        }
        match rest.as_bytes().get(1) {
            Some(b'!' | b'?') => after(rest, ">"),
            Some(b'/') => {
                let (name, rest) = element_name(&rest[2..]);
                self.close(&name.to_ascii_lowercase());
                after(rest, ">")
            }
            Some(letter) if letter.is_ascii_alphabetic() => self.start_tag(&rest[1..]),
            _ => {
                self.text("<");
                &rest[1..]
            }
        }
    }

    fn start_tag<'a>(&mut self, rest: &'a str) -> &'a str {
        let (name, rest) = element_name(rest);
        let name = name.to_ascii_lowercase();
        let (attributes, rest) = Attributes::read(rest);
        if is_raw_text(&name) {
            return after_closing(rest, &name);
        }
        self.imply_ends(&name);
        self.before_element(&name, &attributes);
        if !is_void(&name) && self.stack.len() < STACK_MAX {
            let parent = self.stack.last();
            let hidden = parent.is_some_and(|open| open.hidden) || attributes.hide();
            let zero_size =
                attributes.zero_size().unwrap_or_else(|| parent.is_some_and(|open| open.zero_size));
            self.stack.push(Open { name, hidden, zero_size });
        }
        rest
    }

    fn before_element(&mut self, name: &str, attributes: &Attributes<'_>) {
        if name == "br" {
            self.end_line();
        } else if is_block(name) {
            self.end_paragraph();
        }
        let is_anchor = name == "a" || name == "button";
        if is_anchor && !attributes.hide() && !self.is_hidden() {
            self.end_anchor();
            self.anchor = Some(String::new());
            let target = attributes.href.map(decode_entities).unwrap_or_default();
            if target.contains("://") && self.body.links.len() < LINKS_MAX {
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

    /// Ends the elements that a start tag ends without an end tag, so that one `<p hidden>` does not hide all that
    /// follows it.
    fn imply_ends(&mut self, name: &str) {
        let ended: &[&str] = match name {
            "li" => &["li"],
            "tr" => &["tr", "td", "th"],
            "td" | "th" => &["td", "th"],
            _ if is_block(name) => &["p"],
            _ => return,
        };
        let is_scope = |open: &Open| matches!(open.name.as_str(), "table" | "ul" | "ol" | "div");
        let scope = self.stack.iter().rposition(is_scope);
        let from = scope.map_or(0, |at| at + 1);
        let first = self.stack[from..].iter().position(|open| ended.contains(&open.name.as_str()));
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
        let hidden = self.is_hidden();
        let line = if hidden { &mut self.hidden_line } else { &mut self.line };
        let before = line.len();
        push_folded(line, &text);
        self.body.incomplete |= line.len() - before > self.left;
        self.left = self.left.saturating_sub(line.len() - before);
        if let Some(anchor) = self.anchor.as_mut().filter(|_| !hidden) {
            push_folded(anchor, &text);
        }
    }

    fn end_anchor(&mut self) {
        if let Some(anchor) = self.anchor.take() {
            let anchor = anchor.trim();
            if !anchor.is_empty() && self.body.buttons.len() < LINKS_MAX {
                self.body.buttons.push(anchor.to_owned());
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if !line.trim().is_empty() {
            self.paragraph.lines.push(line.trim().to_owned());
        }
        let hidden = std::mem::take(&mut self.hidden_line);
        if !hidden.trim().is_empty() {
            self.body.hidden.push(hidden.trim().to_owned());
        }
    }

    fn end_paragraph(&mut self) {
        self.end_line();
        if !self.paragraph.lines.is_empty() {
            self.body.paragraphs.push(std::mem::take(&mut self.paragraph));
        }
    }
}

fn element_name(rest: &str) -> (&str, &str) {
    let end =
        rest.find(|c: char| c.is_ascii_whitespace() || matches!(c, '>' | '/' | '<')).unwrap_or(rest.len());
    rest.split_at(end)
}

fn after<'a>(text: &'a str, end: &str) -> &'a str {
    text.split_once(end).map_or("", |(_, rest)| rest)
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

fn decode_entities(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('&') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.bytes().take(ENTITY_MAX).position(|byte| byte == b';');
        match end.and_then(|end| rest.get(..=end)) {
            Some(entity) if !entity.contains(char::is_whitespace) => {
                add_html_token(&mut text, entity.as_bytes(), false);
                rest = &rest[entity.len()..];
            }
            _ => {
                text.push('&');
                rest = &rest[1..];
            }
        }
    }
    text.push_str(rest);
    text
}

fn push_folded(line: &mut String, text: &str) {
    for c in text.chars() {
        if !c.is_whitespace() {
            line.push(c);
        } else if !line.is_empty() && !line.ends_with(' ') {
            line.push(' ');
        }
    }
}

fn is_raw_text(name: &str) -> bool {
    matches!(
        name,
        "script" | "style" | "title" | "iframe" | "noembed" | "noframes" | "template" | "noscript" | "xmp"
    )
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
mod tests {
    use super::*;

    fn seen(html: &str) -> Vec<String> {
        read(html, 10_000).paragraphs.into_iter().map(|paragraph| paragraph.lines.join("|")).collect()
    }

    #[test]
    fn text_is_read_as_a_person_sees_it() {
        assert_eq!(
            seen(
                "<head><title>T</title><style>p{}</style></head><body><p>Hello&nbsp;<b>A</b>nna,</p>\
                 <table><tr><td>one<td>two</table>a &lt; b &amp c<br/>d <!-- no --> e\
                 <!--[if mso]>outlook<![endif]--><!--[if !mso]><!-->shown<!--<![endif]--> 1 < 2<script>x</script>"
            ),
            ["Hello Anna,", "one", "two", "a < b &amp c|d eshown 1 < 2"],
        );
    }

    #[test]
    fn what_is_hidden_is_kept_apart() {
        for hidden in [
            "<div style='DISPLAY : none'>no</div>yes",
            "<div hidden><p>no</p></div>yes",
            "<p hidden>no<div>yes</div>",
            "<span style=\"font-size:0px\">no</span>yes",
            "<div style='max-height:0;overflow:hidden'><b>no</b></div>yes",
            "<span style='opacity:0 !important'>no</span>yes",
            "<td style='visibility&#58;hidden'>no<td>yes",
        ] {
            let body = read(hidden, 10_000);
            assert_eq!(body.hidden, ["no"], "{hidden}");
            assert_eq!(seen(hidden), ["yes"], "{hidden}");
        }
        assert_eq!(seen("<td style='font-size:0'><div style='font-size:13px'>yes</div>no</td>"), ["yes"]);
        assert_eq!(seen("<p style='opacity:0.9;font-size:0.9em'>yes</p>"), ["yes"]);
    }

    #[test]
    fn anchors_and_picture_texts_are_found() {
        let body = read(
            "<a href='https://a.example/?x=1&amp;y=2'> Reset <b>password</b></a><a href=mailto:x@y>mail us</a>\
             <img alt='Log in'>",
            10_000,
        );
        assert_eq!(body.links, ["https://a.example/?x=1&y=2"]);
        assert_eq!(body.buttons, ["Reset password", "mail us"]);
        assert_eq!(body.paragraphs[0].lines, ["Reset passwordmail usLog in"]);
    }

    #[test]
    fn text_is_bounded() {
        // Found by a property test: an attribute whose name begins with a character of several octets.
        read("<p \u{e9}=1>", 1_000);
        let body = read(&"<p>0123456789".repeat(10_000), 1_000);
        assert!(body.incomplete && body.paragraphs.len() <= 101);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(html in "(<|>|/|!--|-->|\"|'|=|&|;|#|p|a|style|hidden|\u{e9}|\u{4e2d}| ){0,60}") {
            read(&html, 1_000);
        }
    }
}
