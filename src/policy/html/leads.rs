//! Which attributes of which elements lead somewhere.

use super::attributes::{Attributes, Leads};
use super::{Reader, decode_entities, element_name, in_text};
use crate::policy::target::TargetKind;

impl Reader {
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
                    self.body.base.get_or_insert_with(|| address.trim().to_owned());
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
                Leads::Href | Leads::Action | Leads::Shown => {
                    let place = self.targets.add(kind(leads, name, attributes), &address);
                    places.extend(place.filter(|_| leads == Leads::Href));
                }
            }
        }
        if let Some(style) = attributes.style().filter(|style| style.contains("url(")) {
            for address in style.split("url(").skip(1).filter_map(|rest| rest.split(')').next()) {
                self.targets.add(TargetKind::Embedded, address.trim_matches(['"', '\'']));
            }
        }
        places
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

fn kind(leads: Leads, name: &str, attributes: &Attributes<'_>) -> TargetKind {
    match leads {
        Leads::Action => TargetKind::Form,
        Leads::Shown | Leads::ShownSet => TargetKind::Embedded,
        Leads::Href if matches!(name, "link" | "image" | "use" | "pattern") => TargetKind::Embedded,
        Leads::Href if name.ends_with("rect") || looks_like_a_button(attributes) => TargetKind::Button,
        Leads::Href | Leads::Page => TargetKind::Link,
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
