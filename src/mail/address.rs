//! Mail addresses (RFC 5321 section 4.1.2, RFC 6531 for non-ASCII) and phone numbers (E.164).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

const LOCAL_PART_MAX: usize = 64;
const DOMAIN_MAX: usize = 255;

/// Why a text is not an address. Never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no `@`, or nothing on one side of it.
    #[error("an address has the form local-part@domain")]
    Shape,
    /// The part before the `@` is longer than 64 octets or holds a character that needs quoting.
    #[error("the part before the @ is longer than 64 octets or holds a character that is not allowed there")]
    LocalPart,
    /// The part after the `@` is no domain name and no address literal.
    #[error("the part after the @ is not a domain name")]
    Domain,
    /// Not `+` and 7 to 15 digits.
    #[error("a phone number is written in E.164: + and 7 to 15 digits")]
    Phone,
}

/// One mail address: `local-part@domain`. The local part is kept as given, the domain in lower case.
///
/// It has no `Display`: write [`Address::as_str`] where the whole address is meant, [`Address::masked`] everywhere else.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    text: Arc<str>,
    at: usize,
}

impl Address {
    /// Parses `local-part@domain`. The dot that some write behind a domain to say that it is whole is left out.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let at = text.rfind('@').ok_or(AddressError::Shape)?;
        let (local, domain) = (&text[..at], &text[at + 1..]);
        let domain = domain.strip_suffix('.').filter(|whole| is_domain(whole)).unwrap_or(domain);
        if local.is_empty() || domain.is_empty() {
            return Err(AddressError::Shape);
        }
        if local.len() > LOCAL_PART_MAX || !(is_dot_string(local) || is_quoted_string(local)) {
            return Err(AddressError::LocalPart);
        }
        // Checked as it is kept: some small letters are longer than their capitals.
        let domain = domain.to_lowercase();
        if !is_domain(&domain) && !is_address_literal(&domain) {
            return Err(AddressError::Domain);
        }
        let text = format!("{local}@{domain}");
        Ok(Self { text: Arc::from(text), at })
    }

    /// The whole address. For envelopes and headers only.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part before the last `@`, as given.
    pub fn local_part(&self) -> &str {
        &self.text[..self.at]
    }

    /// The part after the last `@`, in lower case.
    pub fn domain(&self) -> &str {
        &self.text[self.at + 1..]
    }

    /// The form for logs and screens: `a***@example.com`.
    pub fn masked(&self) -> String {
        mask(&self.text)
    }

    /// Whether the address can be sent without SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }

    /// The form in which two spellings of one mailbox compare equal for look-ups: all in lower case.
    pub fn lookup_form(&self) -> String {
        self.text.to_lowercase()
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// The form of an address for logs and screens: its first character, three stars and the domain. Text that is no
/// address becomes three stars.
pub fn mask(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((local, domain)) => match local.chars().next() {
            Some(first) if first.is_alphanumeric() => format!("{first}***@{domain}"),
            _ => format!("***@{domain}"),
        },
        None => "***".to_owned(),
    }
}

fn is_atom_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || is_plain_non_ascii(c)
}

/// Non-ASCII that may stand in an address: no control character, no space, no line or paragraph separator, nothing
/// that turns the direction of writing around.
fn is_plain_non_ascii(c: char) -> bool {
    !c.is_ascii()
        && !c.is_control()
        && !c.is_whitespace()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn is_dot_string(local: &str) -> bool {
    local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atom_char))
}

fn is_quoted_string(local: &str) -> bool {
    let Some(inner) = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return false;
    };
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        let fine = match c {
            '\\' => chars.next().is_some_and(|next| (' '..='~').contains(&next)),
            '"' => false,
            c => (' '..='~').contains(&c) || is_plain_non_ascii(c),
        };
        if !fine {
            return false;
        }
    }
    true
}

fn is_domain(domain: &str) -> bool {
    domain.len() <= DOMAIN_MAX
        && domain.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_' || is_plain_non_ascii(c))
        })
}

fn is_address_literal(domain: &str) -> bool {
    let Some(inner) = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
        return false;
    };
    let tagged = inner.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("IPv6:"));
    if tagged {
        inner[5..].parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        inner.parse::<std::net::Ipv4Addr>().is_ok()
    }
}

/// The envelope sender of RFC 5321 section 4.1.1.2: an address, or `<>` for mail that must not be answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReversePath {
    /// `<>`
    Null,
    /// `<local-part@domain>`
    Address(Address),
}

impl ReversePath {
    /// The text between the angle brackets.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Null => "",
            Self::Address(address) => address.as_str(),
        }
    }
}

/// An address with the name shown to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailbox {
    /// The display name, where there is one. Decoded text, without line ends or control characters.
    pub name: Option<String>,
    /// The address.
    pub address: Address,
}

impl Mailbox {
    /// Parses `Name <local-part@domain>`, `"Name" <local-part@domain>` or a bare address.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let Some((name, rest)) = text.rsplit_once('<') else {
            return Ok(Self { name: None, address: Address::parse(text)? });
        };
        let address = Address::parse(rest.strip_suffix('>').ok_or(AddressError::Shape)?)?;
        let name = name.trim().trim_matches('"').trim();
        if name.chars().any(char::is_control) {
            return Err(AddressError::Shape);
        }
        let name = (!name.is_empty()).then(|| name.to_owned());
        Ok(Self { name, address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_real_clients_send_are_accepted() {
        for text in [
            "a@example.com",
            "first.last+tag@sub.example.co.uk",
            "\"odd local\"@example.com",
            "\"a\\\"b\"@example.com",
            "root@localhost",
            "x@[127.0.0.1]",
            "x@[IPv6:::1]",
            "jürgen@müller.example",
            "o'brien@example.com",
            "under_score@my_host.example",
        ] {
            assert!(Address::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_domain_that_is_too_long_in_small_letters_is_refused() {
        let label = "\u{23a}".repeat(31);
        let outcome = Address::parse(&format!("anna@{label}.example"));
        assert_eq!(outcome, Err(AddressError::Domain));
    }

    #[test]
    fn addresses_that_could_inject_or_confuse_are_refused() {
        for text in [
            "",
            "@",
            "a@",
            "@b",
            "a",
            "a b@example.com",
            "a@exa mple.com",
            "a@example.com\r\nRCPT TO:<x@y.example>",
            "a\r\n@example.com",
            "a\u{2028}b@example.com",
            "a\0@example.com",
            "a..b@example.com",
            ".a@example.com",
            "a@example..com",
            "a@.",
            "a@example.com..",
            "a@[127.0.0.1].",
            "a@-example.com",
            "a<b@example.com",
            "a@[300.1.1.1]",
            "\"a\"b\"@example.com",
        ] {
            assert!(Address::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(Address::parse(&format!("{}@e.com", "x".repeat(65))), Err(AddressError::LocalPart));
    }

    #[test]
    fn a_dot_behind_the_domain_is_left_out() {
        let address = Address::parse("a@Example.com.").unwrap();
        assert_eq!((address.as_str(), address.domain()), ("a@example.com", "example.com"));
        assert_eq!(address, Address::parse("a@example.com").unwrap());
    }

    #[test]
    fn an_address_never_shows_itself_whole() {
        let address = Address::parse("anna.smith@Example.COM").unwrap();
        assert_eq!(format!("{address:?}"), "a***@example.com");
        assert_eq!(address.as_str(), "anna.smith@example.com");
        assert_eq!(mask("no address at all"), "***");
    }

    #[test]
    fn mailboxes_are_read_as_people_write_them() {
        let mailbox = Mailbox::parse("\"Acme, Inc.\" <no-reply@acme.example>").unwrap();
        assert_eq!(mailbox.name.as_deref(), Some("Acme, Inc."));
        assert_eq!(mailbox.address.domain(), "acme.example");
        assert_eq!(Mailbox::parse("no-reply@acme.example").unwrap().name, None);
        assert!(Mailbox::parse("Acme <no-reply@acme.example").is_err());
    }
}
