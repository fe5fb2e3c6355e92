//! Names as they stand in messages, and the nearest to one that does not exist.

/// Text of the file as it may stand in a message: in backticks, short, without control characters.
pub(super) fn quote(text: &str) -> String {
    let mut quoted: String = text.chars().take(60).flat_map(escape).collect();
    if text.chars().nth(60).is_some() {
        quoted.push_str("...");
    }
    format!("`{quoted}`")
}

/// Names as they may stand in a message.
pub(super) fn quote_all<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    names.into_iter().map(quote).collect::<Vec<_>>().join(", ")
}

fn escape(c: char) -> impl Iterator<Item = char> {
    let plain = (!c.is_control()).then_some(c);
    plain.into_iter().chain(plain.is_none().then(|| c.escape_default()).into_iter().flatten())
}

/// "did you mean ...?", or the whole list where nothing is near.
pub(crate) fn help_with(name: &str, known: &[&str]) -> Option<String> {
    match nearest(name, known) {
        Some(best) => Some(format!("did you mean {}?", quote(best))),
        None if known.is_empty() => None,
        None => Some(format!("known: {}", quote_all(known.iter().copied()))),
    }
}

/// The known name that was probably meant.
pub(super) fn nearest<'n>(name: &str, known: &[&'n str]) -> Option<&'n str> {
    let plain = |text: &str| text.to_lowercase().replace('_', "-");
    let wanted = plain(name);
    let allowed = 1 + wanted.chars().count() / 4;
    let distance = |known: &str| strsim::damerau_levenshtein(&wanted, &plain(known));
    known
        .iter()
        .map(|known| (distance(known), *known))
        .filter(|(distance, known)| *distance <= allowed || contains_word(&plain(known), &wanted))
        .min()
        .map(|(_, known)| known)
}

fn contains_word(known: &str, wanted: &str) -> bool {
    wanted.len() >= 4 && known.split('-').any(|word| word == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_told() {
        let known = ["password-reset", "signin", "mfa"];
        assert_eq!(help_with("pasword_reset", &known).as_deref(), Some("did you mean `password-reset`?"));
        assert_eq!(help_with("zzz", &known).as_deref(), Some("known: `password-reset`, `signin`, `mfa`"));
        assert_eq!(help_with("zzz", &[]), None);
    }
}
