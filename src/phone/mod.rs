//! Phone numbers as people write them, and what the numbering plans say about them.
//!
//! A number is read with the data of a maintained library (that of libphonenumber), never by a pattern of our own; what
//! comes out is E.164. The text is not trusted: it is short, and holds digits and the marks that people write between
//! them, or it is refused. Letters, extensions and parameters are refused too: no code can be sent to those.
//!
//! Invariant: a valid number in E.164 is read as itself, whatever the default country.

mod pattern;
mod plan;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::mail::PhoneNumber;
use plan::Plan;

/// The most octets of a number as written.
const LONGEST: usize = 64;

/// The zeros of the decimal digits that phones and forms write: ASCII, Arabic-Indic, Persian, Devanagari, Bengali, Thai
/// and full-width. The other nine follow each of them.
const ZEROS: [char; 7] = ['0', '\u{660}', '\u{6F0}', '\u{966}', '\u{9E6}', '\u{E50}', '\u{FF10}'];

/// A country or territory, by its ISO 3166-1 alpha-2 code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Country([u8; 2]);

/// What kind of range of its numbering plan a number is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Range {
    /// Mobile phones.
    Mobile,
    /// Fixed lines.
    FixedLine,
    /// The plan does not tell the two apart, as in North America.
    FixedLineOrMobile,
    /// Internet telephony.
    Voip,
    /// A personal number that follows its owner; often charged like a premium one.
    Personal,
    /// Free to the caller.
    TollFree,
    /// Premium rate.
    Premium,
    /// The cost is shared between caller and called.
    SharedCost,
    /// Pagers.
    Pager,
    /// A company's universal access number.
    UniversalAccess,
    /// Voice mail boxes.
    Voicemail,
    /// No range that the plan knows, or a number that is not valid in it.
    Unknown,
}

/// A number that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialled {
    /// In E.164.
    pub number: PhoneNumber,
    /// Where it belongs; `None` for numbers of no country, such as satellite phones.
    pub country: Option<Country>,
    /// What kind of number it is.
    pub range: Range,
}

/// Why a text is no phone number. Never quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhoneError {
    /// Not the form of a phone number.
    #[error("not a phone number")]
    Shape,
    /// A national number, and no default country to read it by.
    #[error("a number without a country code: write it in E.164, like +12025550100")]
    NoCountry,
}

/// Reads a number: international, or national where there is a default country. A number that its plan does not know is
/// read too, and its range is [`Range::Unknown`].
pub fn parse(text: &str, default: Option<Country>) -> Result<Dialled, PhoneError> {
    match Written::read(text)? {
        Written::International(digits) => international(&digits),
        Written::National(digits) => national(&digits, default.ok_or(PhoneError::NoCountry)?),
    }
}

/// Loads the data of the numbering plans, which takes some tenths of a second. Otherwise the first number pays for it.
pub fn load() {
    plan::load();
}

/// What was written, without the marks between the digits.
enum Written {
    /// After a `+`.
    International(String),
    /// Without one.
    National(String),
}

impl Written {
    fn read(text: &str) -> Result<Self, PhoneError> {
        if text.len() > LONGEST {
            return Err(PhoneError::Shape);
        }
        let (mut digits, mut plus) = (String::with_capacity(text.len()), false);
        for character in without_scheme(text.trim()).chars() {
            match character {
                '+' | '\u{FF0B}' if digits.is_empty() && !plus => plus = true,
                mark if is_mark(mark) => {}
                other => digits.push(digit(other).ok_or(PhoneError::Shape)?),
            }
        }
        match (digits.is_empty(), plus) {
            (true, _) => Err(PhoneError::Shape),
            (false, true) => Ok(Self::International(digits)),
            (false, false) => Ok(Self::National(digits)),
        }
    }
}

/// Without the scheme of a `tel` URI (RFC 3966). Its parameters hold a `;` and letters, and are refused as such.
fn without_scheme(text: &str) -> &str {
    match text.split_at_checked(4) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("tel:") => rest,
        _ => text,
    }
}

/// Marks that people write between digits, and invisible ones that come along when a number is copied.
fn is_mark(character: char) -> bool {
    matches!(
        character,
        ' ' | '-' | '.' | '(' | ')' | '/' | '\u{A0}' | '\u{AD}' | '\u{200B}' | '\u{200E}' | '\u{200F}'
            | '\u{2010}'..='\u{2015}' | '\u{202A}'..='\u{202C}' | '\u{202F}' | '\u{2060}' | '\u{2066}'..='\u{2069}'
            | '\u{2212}' | '\u{3000}' | '\u{FF08}' | '\u{FF09}' | '\u{FF0D}'
    )
}

fn digit(character: char) -> Option<char> {
    ZEROS.iter().find_map(|zero| {
        let value = u32::from(character).checked_sub(u32::from(*zero))?;
        char::from_digit(value, 10)
    })
}

fn international(digits: &str) -> Result<Dialled, PhoneError> {
    let (plan, national) = Plan::of(digits).ok_or(PhoneError::Shape)?;
    let as_written = in_plan(plan, national);
    // "+44 (0)20 ..." is written often. What is valid as it stands is never touched.
    let home = || in_plan(plan, &plan.main()?.without_prefix(national)?);
    valid(as_written.clone()).or_else(|| valid(home())).or(as_written).ok_or(PhoneError::Shape)
}

/// The ways of reading a national number, the likeliest first; the first that is valid is meant.
fn national(digits: &str, country: Country) -> Result<Dialled, PhoneError> {
    let (plan, territory) = Plan::of_country(country).ok_or(PhoneError::NoCountry)?;
    let as_written = in_plan(plan, digits);
    let home = territory.without_prefix(digits).and_then(|rest| in_plan(plan, &rest));
    let abroad = territory.dialled_abroad(digits).and_then(|rest| international(rest).ok());
    let plus_forgotten =
        || digits.strip_prefix(&plan.code().to_string()).and_then(|_| international(digits).ok());
    valid(as_written.clone())
        .or_else(|| valid(home.clone()))
        .or_else(|| valid(abroad.clone()))
        .or_else(|| valid(plus_forgotten()))
        .or(abroad)
        .or(home)
        .or(as_written)
        .ok_or(PhoneError::Shape)
}

fn in_plan(plan: &Plan, national: &str) -> Option<Dialled> {
    let number = PhoneNumber::parse(&format!("+{}{national}", plan.code())).ok()?;
    let (country, range) = plan.place(national);
    Some(Dialled { number, country, range })
}

fn valid(dialled: Option<Dialled>) -> Option<Dialled> {
    dialled.filter(|dialled| dialled.range != Range::Unknown)
}

impl Country {
    /// The country with this code, in any case; `None` where no numbering plan has it.
    pub fn parse(code: &str) -> Option<Self> {
        let code: [u8; 2] = code.to_ascii_uppercase().into_bytes().try_into().ok()?;
        std::str::from_utf8(&code).ok()?.parse::<phonenumber::country::Id>().ok()?;
        Some(Self(code))
    }

    /// Its code, in capitals.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for Country {
    type Error = PhoneError;

    fn try_from(code: String) -> Result<Self, Self::Error> {
        Self::parse(&code).ok_or(PhoneError::Shape)
    }
}

impl From<Country> for String {
    fn from(country: Country) -> Self {
        country.as_str().to_owned()
    }
}

impl Range {
    /// The range's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mobile => "mobile",
            Self::FixedLine => "fixed-line",
            Self::FixedLineOrMobile => "fixed-line-or-mobile",
            Self::Voip => "voip",
            Self::Personal => "personal",
            Self::TollFree => "toll-free",
            Self::Premium => "premium",
            Self::SharedCost => "shared-cost",
            Self::Pager => "pager",
            Self::UniversalAccess => "universal-access",
            Self::Voicemail => "voicemail",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
