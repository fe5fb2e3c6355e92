//! What is in force for the guards of content.

use super::Text;
use crate::guard::links::{Domains, LinkGuard};
use crate::guard::mail::{ClientGuards, Config, NameGuard};

fn word(guard: LinkGuard) -> &'static str {
    match guard {
        LinkGuard::On => "on",
        LinkGuard::Strict => "strict",
        LinkGuard::Off => "off",
    }
}

/// The keys above the first table.
pub(super) fn top(text: &mut Text, config: &Config) {
    text.text("link_guard", word(config.link_guard));
    if config.businesses.is_empty() {
        text.line("# links are compared with nothing: no business has a url or allowed_link_domains");
    }
}

/// `[clients.NAME]`
pub(super) fn client(text: &mut Text, guards: ClientGuards) {
    text.text("link_guard", word(guards.links));
    text.text("name_guard", if guards.names == NameGuard::On { "on" } else { "off" });
}

/// `[businesses.NAME]`
pub(super) fn business(text: &mut Text, domains: Option<&Domains>) {
    let Some(Domains { allowed, tracking, images }) = domains else {
        return text.line("# allowed_link_domains: not known without a url; links are not compared");
    };
    text.list("allowed_link_domains", allowed);
    text.list("tracking_domains", tracking);
    text.list("image_domains", images);
}
