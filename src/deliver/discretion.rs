//! What an upstream says of a message may quote its subject. That is taken out before anybody else sees the answer: it would
//! outlast the message in the queue, and stand in logs.
//!
//! Addresses, links and long numbers are taken out of every answer (`outcome::scrub`); the subject is known only here. A
//! single word that happens to stand in it is not taken for a quotation.

use mail_parser::{HeaderName, MessageParser};

use super::parcel::Parcel;
use super::reply::HandOver;
use crate::outcome::{Reason, scrub};

/// What stands for a quotation.
const QUOTED: &str = "[subject]";

/// More words of a subject are not looked for.
const WORDS_MOST: usize = 60;

/// The answer without the subject of what was handed over.
pub(super) fn without_subject(handed: HandOver, parcel: Parcel<'_>) -> HandOver {
    let Parcel::Letter(letter) = parcel else { return handed };
    let parser = MessageParser::new().header_text(HeaderName::Subject);
    let parsed = parser.parse_headers(letter.outgoing.raw.as_ref());
    let Some(subject) = parsed.as_ref().and_then(|message| message.subject()) else { return handed };
    let subject = words(&scrub(subject));
    let clean = |reason: Reason| Reason { text: without(&reason.text, &subject), ..reason };
    match handed {
        HandOver::Accepted { reference } => HandOver::Accepted { reference: without(&reference, &subject) },
        HandOver::Taken { reference } => HandOver::Taken { reference },
        HandOver::Refused(reason) => HandOver::Refused(clean(reason)),
        HandOver::Deferred(reason) => HandOver::Deferred(clean(reason)),
        HandOver::InDoubt(reason) => HandOver::InDoubt(clean(reason)),
        HandOver::Unavailable(reason, trip) => HandOver::Unavailable(clean(reason), trip),
        HandOver::Unfit(reason) => HandOver::Unfit(clean(reason)),
        HandOver::SenderRefused(reason) => HandOver::SenderRefused(clean(reason)),
    }
}

/// The words of a text as they are compared: without what stands around them, in lower case.
fn words(text: &str) -> Vec<String> {
    text.split(' ').map(bare).filter(|word| !word.is_empty()).take(WORDS_MOST).collect()
}

fn bare(word: &str) -> String {
    word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase()
}

/// Replaces whatever quotes two or more words of the subject in their order, or all of it.
fn without(text: &str, subject: &[String]) -> String {
    let spoken: Vec<&str> = text.split(' ').collect();
    let compared: Vec<String> = spoken.iter().map(|word| bare(word)).collect();
    let mut kept: Vec<&str> = Vec::with_capacity(spoken.len());
    let mut at = 0;
    while at < spoken.len() {
        let run = longest_run(&compared[at..], subject);
        if run >= 2 || (run == 1 && subject.len() == 1) {
            kept.push(QUOTED);
            at += run;
        } else {
            kept.push(spoken[at]);
            at += 1;
        }
    }
    kept.join(" ")
}

/// How many of the first words stand in the subject in this order.
fn longest_run(words: &[String], subject: &[String]) -> usize {
    let from =
        |start: usize| words.iter().zip(&subject[start..]).take_while(|(word, other)| word == other).count();
    (0..subject.len()).map(from).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_subject_is_taken_out_and_nothing_else() {
        let subject = words(&scrub("Reset your password, Pangolin: 739182"));
        for (said, kept) in [
            ("5.7.1 \"Reset your password, Pangolin: [digits]\" is spam", "5.7.1 [subject] is spam"),
            ("5.7.1 spam: RESET YOUR PASSWORD", "5.7.1 spam: [subject]"),
            ("5.7.1 your password is wrong", "5.7.1 [subject] is wrong"),
            ("4.2.1 the mailbox of your customer is full", "4.2.1 the mailbox of your customer is full"),
            ("", ""),
        ] {
            assert_eq!(without(said, &subject), kept);
        }
        assert_eq!(without("5.7.1 Pangolin! was refused", &words("Pangolin")), "5.7.1 [subject] was refused");
        assert_eq!(without("5.7.1 as it is", &[]), "5.7.1 as it is");
    }
}
