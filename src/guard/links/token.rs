//! Whether an address carries a secret: what lets somebody in who follows it.

use std::borrow::Cow;

use url::Url;

/// The shortest run of letters and digits that counts as made by chance.
const TOKEN_LEAST: usize = 16;
/// How deep percent-encoding is undone.
const DECODE_MAX: usize = 3;

/// Names of parameters whose values let somebody in, however short they are.
const NAMES: [&str; 22] = [
    "token",
    "code",
    "key",
    "otp",
    "ticket",
    "sig",
    "signature",
    "hash",
    "auth",
    "confirm",
    "confirmation",
    "verify",
    "verification",
    "reset",
    "invite",
    "invitation",
    "nonce",
    "secret",
    "pin",
    "magic",
    "activation",
    "hmac",
];

/// Whether something in the address looks like a token: in its path, query, fragment or user name.
pub(super) fn has_token(url: &Url) -> bool {
    if is_public(url) {
        return false;
    }
    let fragment = url.fragment().unwrap_or_default();
    let pairs = url.query_pairs().chain(url::form_urlencoded::parse(fragment.as_bytes()));
    let named = pairs.into_iter().any(|(name, value)| is_named(&name, &value));
    let parts = [
        url.path(),
        url.query().unwrap_or_default(),
        fragment,
        url.username(),
        url.password().unwrap_or_default(),
    ];
    named || parts.into_iter().any(|part| runs(&decoded(part)).any(is_token))
}

/// The name of a channel on `YouTube` is as random as a token, public, and in many a footer.
fn is_public(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let is_there = host == "youtube.com" || host == "www.youtube.com";
    is_there && url.path().starts_with("/channel/") && url.query().is_none() && url.fragment().is_none()
}

fn is_named(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_known = name.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| {
        NAMES.contains(&word) || word.strip_suffix("token").is_some() || word.strip_suffix("code").is_some()
    });
    is_known && value.len() >= 4 && value.contains(|c: char| c.is_ascii_digit())
}

fn runs(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_')
}

/// Whether a run of letters, digits, `-` and `_` was made by chance rather than of words: long, and with a piece in it
/// that mixes digits with letters, or capitals into the middle.
pub(super) fn is_token(run: &str) -> bool {
    run.len() >= TOKEN_LEAST
        && run.split(['-', '_']).any(|piece| piece.len() >= 6 && (is_mixed(piece) || is_number(piece)))
        || run.len() >= 2 * TOKEN_LEAST && run.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

fn is_number(piece: &str) -> bool {
    piece.len() >= TOKEN_LEAST && piece.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_mixed(piece: &str) -> bool {
    let bytes = piece.as_bytes();
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    let changes =
        |kind: fn(&u8) -> bool| bytes.windows(2).filter(|two| kind(&two[0]) != kind(&two[1])).count();
    // `iphone15` and `ResetPassword` are words; a token goes to and fro.
    let numbers = digits >= 1 && digits < bytes.len() && changes(u8::is_ascii_digit) >= 2;
    let capitals = bytes.len() >= TOKEN_LEAST && changes(u8::is_ascii_uppercase) * 5 >= bytes.len() * 2;
    numbers || capitals
}

/// Percent-encoding undone, also where it was done twice.
pub(super) fn decoded(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for _ in 0..DECODE_MAX {
        if !text.contains('%') {
            break;
        }
        text = Cow::Owned(decoded_once(&text));
    }
    text
}

fn decoded_once(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 3).and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits.filter(|_| bytes[at] == b'%').and_then(|two| u8::from_str_radix(two, 16).ok());
        out.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_told_from_words() {
        for (path, yes) in [
            ("/reset/8f14e45fceea167a5a36dedd4bea2543", true),
            ("/r?t=1a79a4d6-0de7-18e8-9bf4-3f2d1c0b9a88", true),
            ("/verify?code=123456", true),
            ("/x#access_token=ab12cd", true),
            ("/%61%62%63%31%32%33%64%65%66%34%35%36%67%68%69%37%38%39", true),
            ("/a/QWxhZGRpbjpvcGVuIHNlc2FtZQ", true),
            ("/reset?resetToken=z9y8", true),
            ("/how-to-reset-your-password-in-2024", false),
            ("/us/app/kestrel/id1234567890", false),
            ("/answer/185833?hl=en&ref_topic=7189123", false),
            ("/channel/UCq8Zx9fJ2kLw3TnVb5RtYpA", true),
            ("/ResetPasswordHelpCenter", false),
            ("/", false),
        ] {
            let url = Url::parse(&format!("https://a.example{path}")).unwrap();
            assert_eq!(has_token(&url), yes, "{path}");
        }
    }
}
