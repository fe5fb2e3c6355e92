//! Which attributes of which elements lead somewhere.

use super::attributes::{Attributes, Leads};
use super::{Reader, decode_entities, element_name, in_text};
use crate::policy::target::TargetKind;

impl Reader<'_> {
    /// Takes the addresses of a start tag; the places of those that can be followed.
    pub(super) fn lead(&mut self, name: &str, attributes: &Attributes<'_>) -> Vec<usize> {
        let mut places = Vec::new();
        if let Some(address) = attributes.refresh() {
            self.targets.add(TargetKind::Refresh, &address);
        }
        for &(leads, value) in &attributes.addresses {
            let address = decode_entities(value);
            match leads {
                Leads::Href if name == "base" => {
                    // Programs take the first or the last.
                    if !address.trim().is_empty() && self.body.bases.len() < BASES_MAX {
                        self.body.bases.push(address.trim().to_owned());
                    }
                }
                Leads::ShownSet => {
                    for one in address.split(',').filter_map(|one| one.split_whitespace().next()) {
                        self.targets.add(TargetKind::Embedded, one);
                    }
                }
                // Few programs show it, and those make a link of every link in it.
                Leads::Page => in_text(&address, &mut |one| {
                    self.targets.add(TargetKind::Link, one);
                }),
                Leads::Animated
                    if matches!(name, "animate" | "set" | "animatemotion" | "animatetransform") =>
                {
                    for one in address.split(';') {
                        self.targets.add(TargetKind::Link, one);
                    }
                }
                Leads::Animated => {}
                Leads::Href | Leads::Action | Leads::Shown => {
                    let place = self.targets.add(kind(leads, name, attributes), &address);
                    places.extend(place.filter(|_| leads == Leads::Href));
                }
            }
        }
        if let Some(content) = attributes.content.filter(|_| attributes.is_item) {
            in_text(&decode_entities(content), &mut |one| {
                self.targets.add(TargetKind::Link, one);
            });
        }
        if let Some(style) = attributes.style().filter(|style| style.contains('(') && style.contains("url("))
        {
            for address in style.split("url(").skip(1).filter_map(|rest| rest.split(')').next()) {
                self.targets.add(TargetKind::Embedded, address.trim_matches(['"', '\'']));
            }
        }
        places
    }

    /// Looks for addresses in what is not shown by every program, or cut off where its end is missing. Of what is never
    /// shown, data that describes the message is looked into: some programs make buttons of it.
    pub(super) fn raw_text(&mut self, name: &str, attributes: &Attributes<'_>, content: &str) {
        let closing = content.rfind("</").map(|at| &content[at + 2..]);
        let is_closed =
            closing.and_then(|end| end.get(..name.len())).is_some_and(|end| end.eq_ignore_ascii_case(name));
        if !is_closed || !matches!(name, "script" | "style") {
            return self.conditional(content);
        }
        let kind = attributes.kind.map(decode_entities).unwrap_or_default();
        if name == "script" && kind.trim().to_ascii_lowercase().starts_with("application/ld+json") {
            let plain = unescaped(content);
            let address = |one: &str| !one.contains("://schema.org") && !one.contains("://www.schema.org");
            in_text(&plain, &mut |one| {
                if address(one) {
                    self.targets.add(TargetKind::Link, one);
                }
            });
        }
    }

    /// Looks for addresses in a conditional comment: Outlook shows what other programs do not.
    pub(super) fn conditional(&mut self, comment: &str) {
        let mut rest = comment;
        while let Some(at) = rest.find('<') {
            in_text(&decode_entities(&rest[..at]), &mut |address| {
                self.targets.add(TargetKind::Text, address);
            });
            rest = &rest[at + 1..];
            if rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
                let (name, after_name) = element_name(rest);
                let (attributes, after) = Attributes::read(after_name);
                self.lead(&name.to_ascii_lowercase(), &attributes);
                rest = after;
            }
        }
    }
}

/// JSON without its escapes, as far as addresses are written with them.
fn unescaped(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    let mut rest = json;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let hex = after.strip_prefix('u').and_then(|hex| hex.get(..4));
        rest = match hex.and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32) {
            Some(c) => {
                plain.push(c);
                &after[5..]
            }
            None => after,
        };
    }
    plain + rest
}

/// Bases that are kept.
const BASES_MAX: usize = 4;

fn kind(leads: Leads, name: &str, attributes: &Attributes<'_>) -> TargetKind {
    match leads {
        Leads::Action => TargetKind::Form,
        // A page in the page: it needs no click.
        Leads::Shown
            if matches!(
                name,
                "iframe" | "frame" | "object" | "embed" | "portal" | "amp-iframe" | "amp-list"
            ) =>
        {
            TargetKind::Refresh
        }
        Leads::Shown | Leads::ShownSet => TargetKind::Embedded,
        Leads::Href if name == "link" && attributes.is_item => TargetKind::Link,
        Leads::Href if matches!(name, "link" | "image" | "use" | "pattern") => TargetKind::Embedded,
        Leads::Href if name.ends_with("rect") || looks_like_a_button(attributes) => TargetKind::Button,
        Leads::Href | Leads::Page | Leads::Animated => TargetKind::Link,
    }
}

fn looks_like_a_button(attributes: &Attributes<'_>) -> bool {
    let class = attributes.class.unwrap_or_default().to_ascii_lowercase();
    let styled = attributes.style().is_some_and(|style| {
        style.contains("padding") && (style.contains("background:") || style.contains("background-color:"))
    });
    let by_class = class
        .split_ascii_whitespace()
        .any(|class| class.split(['-', '_']).any(|word| matches!(word, "btn" | "button" | "cta")));
    styled || by_class || attributes.role.is_some_and(|role| role.trim().eq_ignore_ascii_case("button"))
}
