//! A mail that is for a phone: the one code in it is taken out, and nothing else of it goes on. Pure.
//!
//! What the mail is, its client's binding says. Recognition is asked all the same, because a bound application may send
//! something else one day: what looks like another kind of message is refused, whatever numbers stand in it. What looks
//! like nothing known passes; a bound application may write as it likes.

use crate::event::About;
use crate::ident::CategoryName;
use crate::mail::{PhoneNumber, Recipient};
use crate::policy::{Classified, NoCode, Policy};
use crate::secret::Secret;
use crate::sms::{self, CodeRule, Factor, TextError};

/// What a mail with a code may look like. Codes that confirm an address are worded like the others. One that sets a
/// password is not among them: a text says that its code is for signing in.
const FIT: [&str; 4] = ["signin", "mfa", "signup-verification", "unknown"];

/// Why no code is taken out of a mail. Never quotes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It looks like a message of another kind.
    #[error("the message looks like category {0}, which is no text with a code")]
    Recognized(CategoryName),
    /// It is too long, or has too many parts, for the only code in it to be known.
    #[error("not all parts of the message can be looked at")]
    Unread,
    /// There is not exactly one code in it.
    #[error("{0}")]
    Code(#[from] NoCode),
    /// There is one, and it is not as configured.
    #[error("the code in the message is not as configured: {0}")]
    Form(TextError),
    /// Nobody knows whose site the text would name.
    #[error("the domain of From belongs to no business of this client, and a text names its site")]
    Business,
}

impl Unfit {
    /// What goes on record as the rule.
    pub(super) fn rule(&self) -> &'static str {
        match self {
            Self::Recognized(_) => "policy:recognized",
            Self::Unread => "guard:unread",
            Self::Code(NoCode::Missing) => "policy:no-code",
            Self::Code(NoCode::Several) => "policy:several-codes",
            Self::Form(_) => "policy:code-form",
            Self::Business => "policy:business",
        }
    }
}

/// The code that a mail of a bound client is about, as `rule` wants codes.
pub fn code_in(policy: &Policy, classified: &Classified, rule: CodeRule) -> Result<Secret, Unfit> {
    let text = classified.text();
    if text.incomplete || text.parts_left_out {
        return Err(Unfit::Unread);
    }
    if let Some(recognized) = policy.recognition.recognize(text)
        && !FIT.contains(&recognized.category.as_str())
    {
        return Err(Unfit::Recognized(recognized.category));
    }
    let code = Secret::new(policy.recognition.only_code(text, &(rule.shortest..=rule.longest))?);
    sms::check_code(&code, rule).map_err(Unfit::Form)?;
    Ok(code)
}

/// What the record of a mail tells that no code is taken out of; its rule is still to be found.
pub fn about_code_mail(classified: &Classified, number: &PhoneNumber, factor: Factor) -> About {
    let submission = classified.submission();
    About {
        message: submission.id,
        submission: submission.id,
        client: submission.client.clone(),
        business: classified.verdict().business.clone(),
        category: CategoryName::new(factor.category()),
        rule: String::new(),
        recipient: Recipient::Phone(number.clone()),
        application_id: submission.application_id(),
        report_to: None,
        accepted: submission.accepted,
    }
}
