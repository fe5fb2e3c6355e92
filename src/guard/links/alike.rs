//! Hosts that are made to look like another.
//!
//! A skeleton is what is left of a name when letters that look alike are made one. The table holds what can be told
//! from Latin letters by nobody: Cyrillic, Greek and a few others, and digits. Accents are left out of account.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// Whether `host` passes for one of these domains or something below it, and is not.
pub(super) fn looks_like<'a>(host: &str, mut domains: impl Iterator<Item = &'a str>) -> bool {
    let host_skeleton = skeleton(host);
    domains.any(|domain| looks_like_one((host, &host_skeleton), domain))
}

fn looks_like_one((host, host_skeleton): (&str, &str), domain: &str) -> bool {
    let domain_skeleton = skeleton(domain);
    let below = host_skeleton
        .strip_suffix(domain_skeleton.as_str())
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let begins = |start: &str| host.strip_prefix(start).is_some_and(|rest| rest.starts_with(['.', '-']));
    below
        || begins(domain)
        || host.contains(domain) && host.contains(&format!(".{domain}."))
        || domain.contains('.') && begins(&domain.replace('.', "-"))
}

fn skeleton(host: &str) -> String {
    let (shown, _) = idna::domain_to_unicode(host);
    let letters = if shown.is_ascii() {
        shown.chars().map(|c| alike(c.to_ascii_lowercase())).collect()
    } else {
        shown.nfkd().filter(|&c| !is_combining_mark(c)).flat_map(char::to_lowercase).map(alike).collect()
    };
    joined(letters)
}

/// Two letters that look like one are made one.
fn joined(letters: String) -> String {
    const PAIRS: [(&str, &str); 3] = [("rn", "m"), ("vv", "w"), ("cl", "d")];
    PAIRS.iter().fold(letters, |letters, (two, one)| {
        let is_there = letters.as_bytes().windows(2).any(|both| both == two.as_bytes());
        if is_there { letters.replace(two, one) } else { letters }
    })
}

/// The Latin letter that `c` is taken for.
fn alike(c: char) -> char {
    match c {
        'а' | 'α' | 'ɑ' | 'ａ' => 'a',
        'в' | 'ʙ' | 'β' | 'ƅ' | 'ь' => 'b',
        'с' | 'ϲ' | 'ᴄ' => 'c',
        'ԁ' | 'ɗ' | 'đ' => 'd',
        'е' | 'є' | 'ε' | 'ҽ' | '3' => 'e',
        'ғ' | 'ƒ' => 'f',
        'ɡ' | 'ց' => 'g',
        'һ' | 'н' | 'ћ' | 'ħ' => 'h',
        'і' | 'ι' | 'ı' | 'ӏ' | 'ɩ' | 'i' | '1' | 'ł' | 'ⅼ' | '|' => 'l',
        'ј' | 'ʝ' => 'j',
        'к' | 'κ' => 'k',
        'м' => 'm',
        'ո' | 'п' | 'η' | 'ɴ' => 'n',
        'о' | 'ο' | 'σ' | 'օ' | '0' | 'ø' | 'ө' => 'o',
        'р' | 'ρ' | 'ϱ' => 'p',
        'ԛ' => 'q',
        'г' | 'ɾ' => 'r',
        'ѕ' | 'ꜱ' | '5' => 's',
        'т' | 'τ' => 't',
        'υ' | 'ս' | 'ц' => 'u',
        'ν' | 'ѵ' => 'v',
        'ѡ' | 'ω' | 'ԝ' | 'ш' => 'w',
        'х' | 'χ' => 'x',
        'у' | 'ү' | 'γ' => 'y',
        'ᴢ' => 'z',
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_alike(host: &str, domain: &str) -> bool {
        looks_like(host, ["another.example", domain].into_iter())
    }

    fn ascii(host: &str) -> String {
        idna::domain_to_ascii(host).unwrap()
    }

    #[test]
    fn look_alikes_are_seen() {
        for host in [
            "аcme.example",
            "login.acmе.example",
            "acmé.example",
            "acrne.example",
            "acme.example.evil.test",
            "acme-example.evil.test",
            "acme.example-login.test",
            "login.acme.example.evil.test",
        ] {
            assert!(is_alike(&ascii(host), "acme.example"), "{host}");
        }
        assert!(is_alike("g00gle.test", "google.test") && is_alike("paypa1.test", "paypal.test"));
        for host in ["other.example", "acme.test", "acmeexample.test", "help.example"] {
            assert!(!is_alike(host, "acme.example"), "{host}");
        }
    }
}
