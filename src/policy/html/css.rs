//! The rules of style sheets that hide text, as far as mail hides text with them.
//!
//! Simple selectors alone are understood: an element, a class, an id, an element with a class. Rules that depend on
//! something (`@media`) are left out, since they say what other screens show. Bounded in size and number.

use std::collections::HashMap;

use super::attributes::declarations;
use super::{after, after_closing, after_comment, element_name, is_raw_text, may_be_raw_text};

/// Octets of style sheets that are read.
const SHEET_MAX: usize = 128 * 1024;
/// Octets of declarations that are kept for one selector, but for the last ones.
const RULE_MAX: usize = 512;
/// Rules that are kept.
const RULES_MAX: usize = 2_000;
/// Classes of one element that are looked up.
const CLASSES_MAX: usize = 20;

/// What has to stand in a rule for it to hide something, or to show it again.
const SHOWN_BY: [&str; 9] = [
    "display:",
    "visibility:",
    "font-size:",
    "opacity:",
    "overflow:hidden",
    "text-indent:-",
    "left:-9",
    "top:-9",
    "background",
];

/// What a message's style sheets say of what is shown.
#[derive(Default)]
pub(super) struct Sheet {
    /// Declarations by selector: `p`, `.class`, `p.class`, `#id`.
    rules: HashMap<String, String>,
}

impl Sheet {
    /// Reads the style sheets of `html`, wherever they stand: they count for all of it.
    pub(super) fn of(html: &str) -> Self {
        let mut sheet = Self::default();
        let mut left = SHEET_MAX;
        let mut rest = html;
        while let Some(at) = rest.find('<') {
            rest = &rest[at + 1..];
            // Nearly every tag is passed over by its first letter.
            if !may_be_raw_text(rest) && !rest.starts_with('!') {
                continue;
            }
            if let Some(comment) = rest.strip_prefix("!--") {
                rest = after_comment(comment).1;
                continue;
            }
            let (name, after_name) = element_name(rest);
            if name.eq_ignore_ascii_case("style") {
                let content = after(after_name, ">");
                let following = after_closing(content, "style");
                let css = &content[..content.len() - following.len()];
                let end = css.floor_char_boundary(left);
                left -= end;
                sheet.read(&css[..end]);
                rest = following;
            } else if name.len() > 2 && is_raw_text(&name.to_ascii_lowercase()) {
                rest = after_closing(after_name, name);
            }
        }
        sheet
    }

    fn read(&mut self, css: &str) {
        let mut rest = css;
        while let Some(open) = rest.find(['{', ';']) {
            let (selectors, block) = (without_comments(&rest[..open]), &rest[open..]);
            let selectors = selectors.trim().trim_start_matches("<!--").trim();
            if selectors.starts_with('@') {
                rest = block.strip_prefix(';').unwrap_or_else(|| after_block(block));
                continue;
            }
            let end = block.find('}').unwrap_or(block.len());
            if block.starts_with('{') {
                self.rule(selectors, &block[1..end]);
            }
            rest = block.get(end + 1..).unwrap_or_default();
        }
    }

    fn rule(&mut self, selectors: &str, block: &str) {
        let mut block = declarations(&without_comments(block));
        block.truncate(block.floor_char_boundary(RULE_MAX));
        if !SHOWN_BY.iter().any(|property| block.contains(property)) {
            return;
        }
        for selector in selectors.split(',').map(|selector| selector.trim().to_ascii_lowercase()) {
            let simple = selector.strip_prefix('*').unwrap_or(&selector);
            let plain = simple.trim_start_matches(['.', '#']);
            let is_simple = !plain.is_empty()
                && plain.matches('.').count() <= 1
                && plain.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'));
            // An element's size is mended by rules that are not understood here.
            let is_element = !simple.contains(['.', '#']);
            if !is_simple || is_element && block.contains("font-size:") {
                continue;
            }
            if self.rules.len() < RULES_MAX || self.rules.contains_key(simple) {
                let known = self.rules.entry(simple.to_owned()).or_default();
                if known.len() + block.len() > RULE_MAX {
                    // What comes last weighs more.
                    known.clear();
                }
                known.push_str(&block);
                known.push(';');
            }
        }
    }

    /// The declarations for an element, those that weigh more last.
    pub(super) fn rules_for(&self, name: &str, class: Option<&str>, id: Option<&str>) -> Option<String> {
        if self.rules.is_empty() {
            return None;
        }
        let mut all = self.rules.get(name).cloned().unwrap_or_default();
        let mut key = String::new();
        for class in class.into_iter().flat_map(str::split_ascii_whitespace).take(CLASSES_MAX) {
            key.clear();
            key.push_str(name);
            key.push('.');
            key.push_str(class);
            key[name.len()..].make_ascii_lowercase();
            let (by_class, by_both) = (self.rules.get(&key[name.len()..]), self.rules.get(&key));
            all.extend(by_class.into_iter().chain(by_both).map(String::as_str));
        }
        let id = id.and_then(|id| self.rules.get(&format!("#{}", id.trim().to_ascii_lowercase())));
        all.extend(id.map(String::as_str));
        (!all.is_empty()).then_some(all)
    }
}

/// What follows the block that `text` begins with, inner blocks and all.
fn after_block(text: &str) -> &str {
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return &text[at + 1..];
                }
            }
            _ => {}
        }
    }
    ""
}

fn without_comments(css: &str) -> String {
    let mut kept = String::with_capacity(css.len());
    let mut rest = css;
    while let Some((before, comment)) = rest.split_once("/*") {
        kept.push_str(before);
        rest = after(comment, "*/");
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_hide_are_found_by_class_id_and_element() {
        let sheet = Sheet::of(
            "<STYLE type=text/css><!-- .a, div.b , p { Display : none /* x */ } @media (max-width:9px) { .c { display:none } }\
             @import url(x); #d{opacity:0}.e .f{display:none} .g{margin:0} td{font-size:0} --></style>\
             <!-- <style>.h{display:none}</style> --><style>.a{display:block}</style>",
        );
        let has = |name: &str, class: &str, id: &str| {
            sheet
                .rules_for(name, Some(class), Some(id))
                .is_some_and(|rules| rules.contains("none") || rules.contains('0'))
        };
        assert!(has("span", "x A", "") && has("div", "b", "") && has("p", "", "") && has("b", "", "D"));
        assert!(!has("span", "b", ""));
        for class in ["c", "e", "f", "g", "h"] {
            assert!(!has("span", class, ""), "{class}");
        }
        assert!(!has("td", "", ""));
        assert!(sheet.rules_for("b", Some("a"), None).unwrap().ends_with("display:block;"));
    }

    #[test]
    fn much_of_it_is_bounded() {
        let many: Vec<String> = (0..100_000).map(|number| format!(".c{number}{{display:none}}")).collect();
        let many = many.concat();
        assert!(Sheet::of(&format!("<style>{many}</style>")).rules.len() <= RULES_MAX);
        assert!(Sheet::of(&"<style>".repeat(100_000)).rules.is_empty());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(html in "(<style>|</style>|<!--|-->|\\{|\\}|@media|;|/\\*|\\*/|\\.a|#|,|display:none|\u{e9}| ){0,60}") {
            Sheet::of(&html);
        }
    }
}
