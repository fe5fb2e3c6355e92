//! Twilio's error codes: what each means and what is to be done about it. Data, and the rule for codes that are not in it.
//!
//! Codes are split now and then, and new ones come without notice, so nothing stands on a code being known. The words
//! are ours: Twilio's may quote the number.

/// What is to be done about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Treat {
    /// It is about this number or this text, for good.
    Refuse,
    /// This account or sender can't reach this number; another upstream may.
    Unroutable,
    /// The account has to be mended: nothing can be sent until then.
    Account,
    /// Twilio has too much to do.
    Later,
    /// It may work if tried once more.
    Once,
    /// The account may send nothing more for hours.
    Exhausted,
}

/// One error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) words: &'static str,
    pub(super) treat: Treat,
}

/// <https://www.twilio.com/docs/api/errors>
const CODES: &[(u32, Treat, &str)] = &[
    (20003, Treat::Account, "the login was not accepted"),
    (20404, Treat::Account, "there is no such account"),
    (20429, Treat::Later, "too many requests at once"),
    (21211, Treat::Refuse, "not a valid number"),
    (21212, Treat::Unroutable, "the sender is not valid"),
    (21266, Treat::Refuse, "sender and recipient are the same number"),
    (21408, Treat::Unroutable, "the account may not send to this country"),
    (21606, Treat::Unroutable, "the sender can't send to this number"),
    (21608, Treat::Unroutable, "a trial account sends to verified numbers only"),
    (21610, Treat::Refuse, "the recipient sent STOP"),
    (21611, Treat::Later, "the sender's queue is full"),
    (21612, Treat::Unroutable, "no route from this sender to this number"),
    (21614, Treat::Refuse, "not a mobile number"),
    (30001, Treat::Later, "the queue is full"),
    (30002, Treat::Account, "the account is suspended"),
    (30003, Treat::Once, "the handset can't be reached"),
    (30004, Treat::Refuse, "the recipient blocks messages"),
    (30005, Treat::Refuse, "unknown or inactive handset"),
    (30006, Treat::Refuse, "a landline, or a carrier that can't be reached"),
    (30007, Treat::Refuse, "filtered by the carrier"),
    (30008, Treat::Once, "not delivered, for no reason that is known"),
    (30030, Treat::Account, "AddressRetention or ContentRetention is not enabled for the account"),
    (30034, Treat::Unroutable, "the sender is not registered for A2P 10DLC"),
    (30036, Treat::Refuse, "its validity period ended first"),
    (30450, Treat::Refuse, "blocked as SMS pumping"),
    (30453, Treat::Refuse, "blocked as SMS pumping"),
    (63038, Treat::Exhausted, "the account is over its daily limit"),
];

/// What a code means; a code that is not in the table is judged by its range.
pub(super) fn meaning(code: u32) -> Meaning {
    known(code).unwrap_or(match code {
        30000..=30999 => Meaning { words: "not delivered", treat: Treat::Once },
        _ => Meaning { words: "refused", treat: Treat::Refuse },
    })
}

/// What the table says of a code.
pub(super) fn known(code: u32) -> Option<Meaning> {
    let (_, treat, words) = CODES.iter().find(|(known, _, _)| *known == code)?;
    Some(Meaning { words, treat: *treat })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_meaning_that_quotes_nothing() {
        assert!(CODES.is_sorted_by(|(one, ..), (next, ..)| one < next), "in order, and none twice");
        for (code, treat, words) in CODES {
            assert_eq!(meaning(*code), Meaning { words, treat: *treat });
            assert_eq!(crate::outcome::scrub(words), *words, "{code}");
            assert!(u16::try_from(*code).is_ok(), "{code}: a reason holds no larger one");
        }
    }

    #[test]
    fn unknown_codes_are_judged_by_their_range() {
        assert_eq!(meaning(21999).treat, Treat::Refuse);
        assert_eq!(meaning(30999).treat, Treat::Once);
        assert_eq!(meaning(12345).treat, Treat::Refuse);
        assert_eq!(meaning(4_000_000_000).treat, Treat::Refuse);
    }
}
