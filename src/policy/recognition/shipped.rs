//! The data files that come with the program.

macro_rules! files {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../../config/recognition/", $name)))),*]
    };
}

/// Name and text of each.
#[rustfmt::skip]
pub(super) const SHIPPED: &[(&str, &str)] = files!(
    "categories.toml" "structure.toml"
    "en.toml" "de.toml" "fr.toml" "es.toml" "pt.toml" "it.toml" "nl.toml" "pl.toml" "cs.toml" "sk.toml" "hu.toml" "ro.toml"
    "sv.toml" "da.toml" "nb.toml" "fi.toml" "el.toml" "ru.toml" "uk.toml" "tr.toml" "ar.toml" "fa.toml" "he.toml" "hi.toml"
    "bn.toml" "th.toml" "vi.toml" "id.toml" "ja.toml" "ko.toml" "zh-Hans.toml" "zh-Hant.toml"
);
