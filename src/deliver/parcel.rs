//! What is handed over: a mail, or a text for a phone. Attempts, tickets and breakers are the same for both.

use super::route::Letter;
use crate::clock::Timestamp;
use crate::ident::MessageId;
use crate::mail::PhoneNumber;
use crate::secret::Secret;

/// One thing to hand over.
#[derive(Debug, Clone, Copy)]
pub enum Parcel<'a> {
    /// A mail.
    Letter(Letter<'a>),
    /// A text.
    Text(Text<'a>),
}

/// A one-time code and the phone it is for: all that an upstream needs to write and send the text.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    /// The message.
    pub id: MessageId,
    /// Which attempt at it this is, counted from one.
    pub attempt: u32,
    /// The phone.
    pub to: &'a PhoneNumber,
    /// The code.
    pub code: &'a Secret,
    /// The host named in the text.
    pub host: &'a str,
    /// Whether the text is in the origin-bound form.
    pub origin_bound: bool,
    /// After this it is of no use.
    pub expires: Timestamp,
}

/// Which of the two an upstream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carries {
    /// Mail.
    Letters,
    /// Texts.
    Texts,
}

impl<'a> From<Letter<'a>> for Parcel<'a> {
    fn from(letter: Letter<'a>) -> Self {
        Self::Letter(letter)
    }
}

impl<'a> From<Text<'a>> for Parcel<'a> {
    fn from(text: Text<'a>) -> Self {
        Self::Text(text)
    }
}
