//! What an address means to the program that follows it, by the rules of browsers (the URL standard): white space in
//! it, backslashes, odd spellings of IP addresses, user names and encodings deceive a reader, and not the parser.

use url::{ParseError, Url};

use super::token::decoded;
use crate::policy::{Target, TargetKind, links_in_text};

/// What one address means.
#[derive(Debug)]
pub(super) enum Place {
    /// A place on the web.
    Web(Box<Url>),
    /// It runs something, or opens a file. The scheme.
    Script(String),
    /// An application of its own on the device. The scheme.
    App(String),
    /// It can't be followed as it stands, but some program may make something of it.
    Unreadable,
    /// No link at all: a mail address, a phone number, a relative address without a base.
    Nowhere,
}

/// Schemes that lead to a person, or to what is within the message.
const HARMLESS: [&str; 15] = [
    "mailto", "tel", "sms", "smsto", "callto", "facetime", "geo", "cid", "mid", "xmpp", "sip", "sips",
    "about", "maps", "whatsapp",
];

/// Schemes by which a program fetches or opens a page on the web: their host is the page's.
const BROWSERS: [&str; 16] = [
    "intent",
    "googlechrome",
    "googlechromes",
    "x-safari-http",
    "x-safari-https",
    "x-web-search",
    "opera-http",
    "opera-https",
    "touch-http",
    "touch-https",
    "brave",
    "firefox",
    "feed",
    "webcal",
    "webcals",
    "steam",
];

/// Schemes that run something, open a file, or show what the message brought along.
const SCRIPTS: [&str; 18] = [
    "javascript",
    "vbscript",
    "livescript",
    "mocha",
    "data",
    "file",
    "blob",
    "filesystem",
    "view-source",
    "jar",
    "mhtml",
    "res",
    "search",
    "search-ms",
    "ms-msdt",
    "ms-appinstaller",
    "smb",
    "its",
];

/// The most addresses inside an address that are looked at.
const NESTED_MAX: usize = 8;

/// What `target` means, in a part whose relative addresses start from `base`.
pub(super) fn place(target: &Target, base: Option<&Url>) -> Place {
    // Parsers pass over these; what is looked at here must not differ from what they see.
    let plain = target.address.replace(['\t', '\n', '\r'], "");
    let address = plain.as_str();
    if target.kind == TargetKind::Text && !address.contains("://") {
        return web(address).unwrap_or(Place::Nowhere);
    }
    match Url::parse(address) {
        Ok(url) => meaning(url, address),
        Err(_) if target.kind == TargetKind::Text => Place::Nowhere,
        Err(ParseError::RelativeUrlWithoutBase) => relative(address, base),
        Err(ParseError::EmptyHost) => Place::Nowhere,
        Err(_) => Place::Unreadable,
    }
}

fn web(address: &str) -> Option<Place> {
    Url::parse(&format!("https://{address}")).ok().map(|url| Place::Web(Box::new(url)))
}

fn relative(address: &str, base: Option<&Url>) -> Place {
    if address.starts_with(['/', '\\']) && address[1..].starts_with(['/', '\\']) {
        return web(address.trim_start_matches(['/', '\\'])).unwrap_or(Place::Unreadable);
    }
    if let Some(joined) = base.and_then(|base| base.join(address).ok()) {
        return meaning(joined, address);
    }
    // Some mail programs make a link of what browsers would take for a file beside the message.
    let name = address.split(['/', '?', '#']).next().unwrap_or(address);
    let mut whole = false;
    links_in_text(name, &mut |found| whole |= found.len() == name.len());
    if whole { web(address).unwrap_or(Place::Nowhere) } else { Place::Nowhere }
}

fn meaning(url: Url, written: &str) -> Place {
    let scheme = url.scheme();
    if matches!(scheme, "http" | "https" | "ftp" | "ws" | "wss") {
        return if url.host_str().is_some() { Place::Web(Box::new(url)) } else { Place::Unreadable };
    }
    if BROWSERS.contains(&scheme)
        && let Some(page) = on_the_web(&url)
    {
        return Place::Web(Box::new(page));
    }
    if SCRIPTS.contains(&scheme) {
        return Place::Script(scheme.to_owned());
    }
    if HARMLESS.contains(&scheme) {
        return Place::Nowhere;
    }
    if scheme.contains('.') {
        // `evil.example:8080/x` is no scheme to a reader.
        return web(written).unwrap_or(Place::Unreadable);
    }
    // `ms-word:ofe|u|https://evil.example/` and `intent://...;S.browser_fallback_url=https%3A...`
    match nested(&url).into_iter().next() {
        Some(inner) => Place::Web(Box::new(inner)),
        None => Place::App(scheme.to_owned()),
    }
}

/// The page that a browser's own scheme opens: the first inside the address, else its host.
fn on_the_web(url: &Url) -> Option<Url> {
    let inner = nested(url).into_iter().next();
    inner.or_else(|| Url::parse(&format!("https://{}{}", url.host_str()?, url.path())).ok())
}

/// The places on the web that stand inside an address, behind its host: where it may send on to.
pub(super) fn nested(url: &Url) -> Vec<Url> {
    let all = url.as_str();
    let text = decoded(&all[all.find(':').map_or(0, |at| at + 1)..]).to_ascii_lowercase();
    let mut found = Vec::new();
    let mut rest = text.trim_start_matches(['/', '\\']);
    while let Some(at) = rest.find("//").filter(|_| found.len() < NESTED_MAX) {
        let before = &rest[..at];
        let leads =
            before.ends_with("http:") || before.ends_with("https:") || before.ends_with(['=', ',', '|', '"']);
        rest = rest[at..].trim_start_matches(['/', '\\']);
        let end = rest.find(['&', '"', '\'', '<', '>', ' ', '|', ';', ')']).unwrap_or(rest.len());
        if leads {
            found.extend(Url::parse(&format!("https://{}", &rest[..end])).ok());
        }
    }
    found
}

/// The host as it is compared: no dot at its end.
pub(super) fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str) -> String {
        let target = Target { address: address.to_owned(), kind: TargetKind::Link, label: String::new() };
        match place(&target, None) {
            Place::Web(url) => host(&url),
            Place::Script(scheme) => format!("script {scheme}"),
            Place::App(scheme) => format!("app {scheme}"),
            Place::Unreadable => "unreadable".to_owned(),
            Place::Nowhere => "nowhere".to_owned(),
        }
    }

    #[test]
    fn hosts_are_those_that_a_browser_would_go_to() {
        for (address, expected) in [
            ("https://Acme.Example./x", "acme.example"),
            ("https://acme.example@evil.example/", "evil.example"),
            ("https://acme.example:443@evil.example:8443/", "evil.example"),
            ("https:\\\\evil.example\\@acme.example", "evil.example"),
            ("ht\ntps://ev\til.example/", "evil.example"),
            (" \u{1}https:evil.example", "evil.example"),
            ("//evil.example/x", "evil.example"),
            ("/\t/evil.example/x", "evil.example"),
            ("\\\n/evil.example/x", "evil.example"),
            ("/\\evil.example", "evil.example"),
            ("https://%65vil.example/", "evil.example"),
            ("https://evil\u{3002}example/", "evil.example"),
            ("https://\u{ff45}vil.example/", "evil.example"),
            ("https://\u{430}cme.example/", "xn--cme-5cd.example"),
            ("http://0x7f.1/", "127.0.0.1"),
            ("http://2130706433/", "127.0.0.1"),
            ("http://[::ffff:1.2.3.4]/", "[::ffff:102:304]"),
            ("www.evil.example/x", "www.evil.example"),
            ("evil.example:8080/x", "evil.example"),
            ("JavaScript:alert(1)", "script javascript"),
            ("java\nscript:alert(1)", "script javascript"),
            ("data:text/html,x", "script data"),
            ("file://evil.example/x", "script file"),
            ("acme://open", "app acme"),
            ("ms-word:ofe|u|https://evil.example/x", "evil.example"),
            ("intent://evil.example/x#Intent;scheme=https;end", "evil.example"),
            ("intent://open/#Intent;S.browser_fallback_url=https%3A%2F%2Fevil.example;end", "evil.example"),
            ("googlechrome://evil.example/x", "evil.example"),
            ("webcal://evil.example/x.ics", "evil.example"),
            ("firefox://open-url?url=https://evil.example", "evil.example"),
            ("mailto:a@b.example", "nowhere"),
            ("reset.php?x=1", "nowhere"),
            ("/reset", "nowhere"),
            ("https://", "nowhere"),
            ("https://a b/", "unreadable"),
        ] {
            assert_eq!(of(address), expected, "{address:?}");
        }
    }

    #[test]
    fn a_base_is_what_relative_addresses_start_from() {
        let base = Url::parse("https://evil.example/a/").unwrap();
        let target = Target { address: "reset?t=1".to_owned(), kind: TargetKind::Link, label: String::new() };
        let Place::Web(url) = place(&target, Some(&base)) else { panic!("a place on the web") };
        assert_eq!(url.as_str(), "https://evil.example/a/reset?t=1");
    }

    #[test]
    fn addresses_inside_addresses_are_found() {
        for address in [
            "https://a.example/go?url=https://evil.example/x",
            "https://a.example/go?url=https%3A%2F%2Fevil.example%2Fx&y=1",
            "https://a.example/go?url=https%253A%252F%252Fevil.example",
            "https://a.example/go?next=//evil.example",
            "https://a.example/https://evil.example/x",
            "https://a.example/#/http:\\\\evil.example",
        ] {
            let hosts: Vec<String> = nested(&Url::parse(address).unwrap()).iter().map(host).collect();
            let expected: &[&str] = if address.contains('\\') { &[] } else { &["evil.example"] };
            assert_eq!(hosts, expected, "{address}");
        }
        assert!(nested(&Url::parse("https://a.example//b//c?d=e//f").unwrap()).is_empty());
    }
}
