//! Whom a message is for: a mail address or a phone number, shown masked.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Address, AddressError};

/// A phone number in E.164: `+` and 7 to 15 digits.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PhoneNumber(String);

impl PhoneNumber {
    /// Takes a number that is already in E.164.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let digits = text.strip_prefix('+').ok_or(AddressError::Phone)?;
        let fine = (7..=15).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0');
        if fine { Ok(Self(text.to_owned())) } else { Err(AddressError::Phone) }
    }

    /// The whole number. For the provider only.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form for logs and screens: the first three characters and the last two digits.
    pub fn masked(&self) -> String {
        format!("{}***{}", &self.0[..3], &self.0[self.0.len() - 2..])
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl TryFrom<String> for PhoneNumber {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<PhoneNumber> for String {
    fn from(number: PhoneNumber) -> Self {
        number.0
    }
}

/// Whom a message is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recipient {
    /// A mail address.
    Mail(Address),
    /// A phone, by SMS.
    Phone(PhoneNumber),
    /// A phone whose message has ended: its number is not kept, only the key by which it is found.
    Forgotten,
}

impl Recipient {
    /// The whole address or number. For envelopes and providers only.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Mail(address) => address.as_str(),
            Self::Phone(number) => number.as_str(),
            Self::Forgotten => "",
        }
    }

    /// The form for logs and screens.
    pub fn masked(&self) -> String {
        match self {
            Self::Mail(address) => address.masked(),
            Self::Phone(number) => number.masked(),
            Self::Forgotten => "(forgotten)".to_owned(),
        }
    }

    /// The form that is the same for every spelling of one recipient, from which look-up keys are made.
    pub fn lookup_form(&self) -> String {
        match self {
            Self::Mail(address) => address.lookup_form(),
            Self::Phone(number) => number.as_str().to_owned(),
            Self::Forgotten => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phone_numbers_are_e164_and_masked() {
        let number = PhoneNumber::parse("+12025550100").unwrap();
        assert_eq!(format!("{number:?}"), "+12***00");
        for text in ["12025550100", "+0123456789", "+12", "+1202555010012345", "+1202x550100"] {
            assert!(PhoneNumber::parse(text).is_err(), "{text}");
        }
    }
}
