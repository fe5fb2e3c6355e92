//! The attributes of a start tag, whether they hide the element, and where they lead.
//!
//! Any text is read as attributes. Styles are understood as far as mail hides text with them: one property at a time,
//! inline and from the simple rules that `css` knows.

use super::css::Sheet;
use super::decode_entities;

/// The attributes we look at, as written. Of one that stands there twice, the first counts, as in browsers; but
/// addresses are kept all.
#[derive(Default)]
pub(super) struct Attributes<'a> {
    style: Option<String>,
    /// What is known of the style, by one look at it.
    glance: Glance,
    pub href: Option<&'a str>,
    pub alt: Option<&'a str>,
    /// Where the element leads, and by which attribute.
    pub addresses: Vec<(Leads, &'a str)>,
    pub content: Option<&'a str>,
    pub role: Option<&'a str>,
    pub class: Option<&'a str>,
    /// The `type` of a script.
    pub kind: Option<&'a str>,
    /// It is an item of structured data, from which some programs make buttons.
    pub is_item: bool,
    id: Option<&'a str>,
    refreshes: bool,
    hidden: bool,
}

/// An attribute that holds an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leads {
    /// `href`, `xlink:href`
    Href,
    /// `action`, `formaction`, `ping`
    Action,
    /// `to`, `values` and the like: what an animation makes of another attribute
    Animated,
    /// `src`, `background` and the like
    Shown,
    /// `srcset`: several
    ShownSet,
    /// `srcdoc`: a whole page
    Page,
}

impl<'a> Attributes<'a> {
    /// Reads up to the `>` that ends the tag and gives back what follows it.
    pub(super) fn read(mut rest: &'a str) -> (Self, &'a str) {
        let mut found = Self::default();
        loop {
            let is_between = |octet: &u8| octet.is_ascii_whitespace() || *octet == b'/';
            let between = rest.as_bytes().iter().take_while(|octet| is_between(octet)).count();
            rest = &rest[between..];
            if rest.is_empty() {
                return (found, rest);
            }
            if let Some(rest) = rest.strip_prefix('>') {
                return (found, rest);
            }
            // The first character belongs to the name, whatever it is.
            let ends = |octet: u8| octet.is_ascii_whitespace() || matches!(octet, b'=' | b'>' | b'/');
            let name_end = rest.bytes().skip(1).position(ends).map_or(rest.len(), |at| at + 1);
            let (name, after_name) = rest.split_at(name_end);
            let (value, after_value) = attribute_value(after_name);
            found.note(name, value);
            rest = after_value;
        }
    }

    fn note(&mut self, name: &str, value: &'a str) {
        // In lower case without allocating: a long message has tens of thousands of attributes.
        let mut lower = [0; 16];
        let Some(lower) = lower.get_mut(..name.len()) else { return };
        lower.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        match &*lower {
            b"style" if self.style.is_none() => self.set_style(declarations(&decode_entities(value))),
            b"href" => {
                self.href.get_or_insert(value);
                self.addresses.push((Leads::Href, value));
            }
            b"alt" => self.alt = self.alt.or(Some(value)),
            b"hidden" => self.hidden = true,
            b"class" => self.class = self.class.or(Some(value)),
            b"id" => self.id = self.id.or(Some(value)),
            b"role" => self.role = self.role.or(Some(value)),
            b"content" => self.content = self.content.or(Some(value)),
            b"http-equiv" => self.refreshes |= decode_entities(value).trim().eq_ignore_ascii_case("refresh"),
            b"type" => self.kind = self.kind.or(Some(value)),
            b"itemprop" => self.is_item = true,
            // Whatever the name space is called: `xlink:href`.
            name if name.ends_with(b":href") => self.addresses.push((Leads::Href, value)),
            b"action" | b"formaction" | b"action-xhr" | b"ping" => {
                self.addresses.push((Leads::Action, value));
            }
            b"to" | b"by" | b"from" | b"values" => self.addresses.push((Leads::Animated, value)),
            b"srcdoc" => self.addresses.push((Leads::Page, value)),
            b"srcset" | b"imagesrcset" => self.addresses.push((Leads::ShownSet, value)),
            b"src" | b"background" | b"poster" | b"data" | b"lowsrc" | b"dynsrc" => {
                self.addresses.push((Leads::Shown, value));
            }
            _ => {}
        }
    }

    /// The address of `<meta http-equiv=refresh content="0; url=...">`.
    pub(super) fn refresh(&self) -> Option<String> {
        let content = decode_entities(self.content.filter(|_| self.refreshes)?);
        // As browsers read it: a time, then white space, a comma or a semicolon, then the address.
        let after_time = content.trim_start().trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let address = after_time.trim_start().trim_start_matches([';', ',']).trim_start();
        let after_name = address
            .get(..3)
            .filter(|name| name.eq_ignore_ascii_case("url"))
            .and_then(|_| address[3..].trim_start().strip_prefix('='));
        let address = after_name.map_or(address, str::trim_start);
        Some(address.trim_matches(['"', '\'']).to_owned())
    }

    /// Lets the rules of the style sheet count for the element called `name`: what stands inline outweighs them.
    pub(super) fn styled(&mut self, name: &str, sheet: &Sheet) {
        if let Some(mut rules) = sheet.rules_for(name, self.class, self.id) {
            rules.push_str(self.style.as_deref().unwrap_or_default());
            self.set_style(rules);
        }
    }

    fn set_style(&mut self, style: String) {
        self.glance = Glance::at(&style);
        self.style = Some(style);
    }

    /// The inline style and what the style sheet adds to it, in lower case and without white space.
    pub(super) fn style(&self) -> Option<&str> {
        self.style.as_deref()
    }

    /// Whether the element and all in it is not shown.
    pub(super) fn hide(&self) -> bool {
        self.hidden
            || self.style.as_deref().filter(|_| self.glance.hides).is_some_and(|style| {
                let clipped = style.contains("overflow:hidden");
                style.contains(":none") && property(style, "display:") == Some("none")
                    || style.contains(":hidden") && property(style, "visibility:") == Some("hidden")
                    || style.contains("text-indent:-")
                    || style.contains("left:-9")
                    || style.contains("top:-9")
                    || property_is_zero(style, "opacity:")
                    || style.contains(":transparent") && property(style, "color:") == Some("transparent")
                    || is_on_its_own_color(style)
                    || clipped
                        && ["max-height:", "height:", "width:", "max-width:", "line-height:"]
                            .iter()
                            .any(|name| property_is_zero(style, name))
            })
    }

    /// Whether the element sets its text to no size at all; `None` when it sets no size.
    pub(super) fn zero_size(&self) -> Option<bool> {
        let style = self.style.as_deref().filter(|_| self.glance.sizes)?;
        property(style, "font-size:").map(|_| property_is_zero(style, "font-size:"))
    }
}

/// What a style may say of what is shown. Most styles say nothing of it, and to ask them for one property after the other
/// takes longer than to read them.
#[derive(Clone, Copy, Default)]
struct Glance {
    /// It may hide the element.
    hides: bool,
    /// It may set the size of the text.
    sizes: bool,
}

impl Glance {
    /// Looks at each colon, before which a name ends and after which a value begins.
    fn at(style: &str) -> Self {
        let mut seen = Self::default();
        let (mut colors, mut grounds) = (false, false);
        let mut start = 0;
        while let Some(colon) = style[start..].find(':').map(|at| start + at) {
            let name = &style[start..colon];
            // `none`, `hidden`, `transparent`, `-9999px`.
            seen.hides |= matches!(style.as_bytes().get(colon + 1), Some(b'n' | b'h' | b't' | b'-'));
            seen.hides |= name.ends_with("opacity");
            colors |= name.ends_with("color");
            grounds |= name.ends_with("background") || name.ends_with("background-color");
            seen.sizes |= name.ends_with("font-size");
            start = colon + 1;
        }
        seen.hides |= colors && grounds;
        seen
    }
}

/// Declarations in one form: lower case, no white space.
pub(super) fn declarations(style: &str) -> String {
    let mut plain = String::with_capacity(style.len());
    // The vertical tab is white space, but not to the split that knows ASCII alone.
    if style.is_ascii() && !style.contains('\u{b}') {
        style.split_ascii_whitespace().for_each(|word| plain.push_str(word));
    } else {
        plain.extend(style.chars().filter(|c| !c.is_whitespace()));
    }
    plain.make_ascii_lowercase();
    plain
}

/// Text in the very color of the ground that the same element gives it.
fn is_on_its_own_color(style: &str) -> bool {
    if !style.contains("background") {
        return false;
    }
    let ground = property(style, "background-color:").or_else(|| property(style, "background:"));
    ground.is_some() && property(style, "color:") == ground
}

/// The value of the property `name` (with its colon) in an inline style without white space.
fn property<'a>(style: &'a str, name: &str) -> Option<&'a str> {
    if !style.contains(name) {
        return None;
    }
    let (mut last, mut important) = (None, None);
    for value in style.split(';').filter_map(|declaration| declaration.strip_prefix(name)) {
        last = Some(value);
        important = value.strip_suffix("!important").or(important);
    }
    important.or(last)
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

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_glance_misses_nothing_that_hides(
            style in "(display|visibility|opacity|text-indent|margin-left|left|top|color|background|background-color|overflow|height|max-width|font-size|:|:|:|;|;|none|hidden|transparent|-9|0|0.0|px|#fff|!important| |\u{b}|X|\u{e9}){0,14}",
        ) {
            let mut attributes = Attributes::default();
            attributes.set_style(declarations(&style));
            let (hides, size) = (attributes.hide(), attributes.zero_size());
            attributes.glance = Glance { hides: true, sizes: true };
            proptest::prop_assert_eq!((hides, size), (attributes.hide(), attributes.zero_size()));
        }

        #[test]
        fn declarations_have_one_form(style in "[a-cA-C:; \t\n\u{b}\u{a0}\u{e9}]{0,30}") {
            let plain: String = style.chars().filter(|c| !c.is_whitespace()).collect();
            proptest::prop_assert_eq!(declarations(&style), plain.to_ascii_lowercase());
        }
    }
}
