//! Web addresses: a business's, of which only the host matters, and those that requests go to or come from.

use std::net::IpAddr;

use reqwest::Url;

use super::{Parsed, Wrong, host_name};

/// An address that paths are added to: scheme, host, port and perhaps the beginning of a path, without `/` at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct BaseUrl {
    pub(in crate::config) text: String,
    /// Its host, in lower case and ASCII.
    pub(in crate::config) host: String,
    /// Whether it is `https`.
    pub(in crate::config) encrypted: bool,
}

impl BaseUrl {
    /// Whether what is sent there stays on this machine.
    pub(in crate::config) fn is_loopback(&self) -> bool {
        let address = self.host.trim_matches(['[', ']']).parse::<IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

/// A web address of which only the host matters; yields the text and its host as the DNS has it: in lower case, with
/// A-labels (RFC 5890, section 2.3.2.1) for what is not ASCII.
pub(in crate::config) fn url(text: &str) -> Parsed<(String, String)> {
    let wrong = || Wrong::not(text, "a web address").help("write it like \"https://example.com\"");
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or_else(wrong)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let (name, port) = authority.split_once(':').unwrap_or((authority, "443"));
    let ascii = if name.is_ascii() { Ok(name.to_owned()) } else { idna::domain_to_ascii_strict(name) };
    let name = host_name(&ascii.map_err(|_| Wrong::not(name, "a host name"))?)?;
    if port.parse::<u16>().is_err() || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(wrong());
    }
    Ok((text.to_owned(), name))
}

/// A domain that links may lead to, in ASCII: `acme.example`, `192.0.2.7`.
pub(in crate::config) fn link_domain(text: &str) -> Parsed<String> {
    let wrong = |text: &str| {
        Wrong::not(text, "a domain").help("write it like \"acme.example\"; subdomains are included")
    };
    if text.contains(['/', ':', '*', '@']) || text.starts_with('.') {
        return Err(wrong(text));
    }
    let ascii = if text.is_ascii() { Ok(text.to_owned()) } else { idna::domain_to_ascii_strict(text) };
    host_name(&ascii.map_err(|_| wrong(text))?).map_err(|_| wrong(text))
}

/// `https://relay.acme.example`, `http://127.0.0.1:4010/prefix`.
pub(in crate::config) fn base_url(text: &str) -> Parsed<BaseUrl> {
    let wrong = || Wrong::not(text, "a web address").help("write it like \"https://relay.acme.example\"");
    let written = text.starts_with("https://") || text.starts_with("http://");
    if !written || text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err(wrong());
    }
    let url = Url::parse(text).map_err(|_| wrong())?;
    let host = url.host_str().ok_or_else(wrong)?.to_owned();
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Wrong::from("a user name has no place in this address".to_owned()).help("remove it"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        let wrong = Wrong::from("paths are added to this address, so nothing follows its own".to_owned());
        return Err(wrong.help("remove what begins with ? or #"));
    }
    let encrypted = url.scheme() == "https";
    Ok(BaseUrl { text: url.as_str().trim_end_matches('/').to_owned(), host, encrypted })
}

/// Where a webhook goes, with all that belongs to the address.
#[derive(Debug, Clone)]
pub(in crate::config) struct HookUrl {
    pub(in crate::config) url: Url,
}

impl HookUrl {
    /// Whether what is sent there stays on this machine.
    pub(in crate::config) fn is_loopback(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default();
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

/// `https://hooks.acme.example/authrelay?team=7`. It may hold a secret, so no message quotes it.
pub(in crate::config) fn hook_url(text: &str) -> Parsed<HookUrl> {
    let wrong = || {
        Wrong::from("this is not a web address".to_owned())
            .help("write it like \"https://hooks.acme.example/authrelay\"")
    };
    let written = text.starts_with("https://") || text.starts_with("http://");
    if !written || text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err(wrong());
    }
    let url = Url::parse(text).map_err(|_| wrong())?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(wrong());
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        let wrong =
            Wrong::from("a user name and what begins with # have no place in this address".to_owned());
        return Err(wrong.help("remove them: requests are signed, a login is not needed"));
    }
    Ok(HookUrl { url })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_host_of_a_web_address_matters() {
        let host = |text: &str| url(text).unwrap().1;
        assert_eq!(host("https://App.Example.com:8443/x"), "app.example.com");
        assert_eq!(host("https://Müller.example/"), "xn--mller-kva.example");
        assert_eq!(host("https://例え.テスト"), "xn--r8jz45g.xn--zckzah");
        for text in [
            "example.com",
            "ftp://example.com",
            "https://",
            "https://a b",
            "https://a:b/",
            "https://user@a.example",
            "https://mü ller.example",
            "https://ü..example",
            "https://\u{202e}.example",
        ] {
            assert!(url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_link_domain_is_a_name_and_nothing_else() {
        assert_eq!(link_domain("Acme.Example").unwrap(), "acme.example");
        assert_eq!(link_domain("M\u{fc}ller.example").unwrap(), "xn--mller-kva.example");
        for text in
            ["https://acme.example", "*.acme.example", ".acme.example", "acme.example:443", "a b", "", "a@b"]
        {
            assert!(link_domain(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_base_is_written_in_one_way() {
        let base = |text: &str| base_url(text).unwrap().text;
        assert_eq!(base("https://Relay.Acme.Example:443/"), "https://relay.acme.example");
        assert_eq!(base("https://relay.acme.example/sms/"), "https://relay.acme.example/sms");
        assert_eq!(base("http://[::1]:8025"), "http://[::1]:8025");
        for text in [
            "relay.acme.example",
            "https:relay.acme.example",
            "https://",
            "https://a/?b",
            "https://a/#",
            "https://u:p@a.example",
            "https://a.example\\b",
            " https://a.example",
            "unix:/run/x",
        ] {
            assert!(base_url(text).is_err(), "{text}");
        }
        let secret = base_url("https://u:hunter2@a.example").unwrap_err();
        assert!(!secret.message.contains("hunter2"));
    }

    #[test]
    fn loopback_is_this_machine() {
        for (text, loopback) in [
            ("http://localhost:1", true),
            ("http://127.0.0.2", true),
            ("http://[::1]", true),
            ("http://localhost.example", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(base_url(text).unwrap().is_loopback(), loopback, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(https?://)?\\PC{0,40}") {
            let _ = (url(&text), base_url(&text));
        }

        #[test]
        fn a_host_is_always_lower_case_ascii(text in "https://\\PC{1,30}") {
            if let Ok((_, host)) = url(&text) {
                prop_assert!(host.is_ascii() && !host.bytes().any(|byte| byte.is_ascii_uppercase()), "{host}");
            }
        }
    }
}
