//! Which code a message is about.
//!
//! Numbers of all kinds stand in mail: postcodes, order numbers, years. A wrong one in place of a code helps nobody and
//! looks like the right one, so what is not certain is not given.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::super::Text;
use super::Recognition;
use super::knowledge::Group;
use super::score::in_spoken_languages;
use super::view::{Code, Stretch, View};

/// Why a message gives no code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCode {
    /// It shows none.
    #[error("there is no code in the message")]
    Missing,
    /// It shows several, and only one of them can be meant.
    #[error("there is more than one code in the message")]
    Several,
}

impl Recognition {
    /// The code that the text shows a person, where there is exactly one: near words that say what codes are for, or,
    /// where nothing does, anywhere. It may stand there more than once, as in the two alternatives of a message. What is
    /// shorter or longer than `lengths` is no code.
    pub fn only_code(&self, text: &Text, lengths: &RangeInclusive<usize>) -> Result<String, NoCode> {
        let knowledge = &self.compiled.knowledge;
        let view = View::of(text);
        let states_purpose =
            |group: Group| knowledge.weights_of(group).code > 0.0 && knowledge.speaks_for_guarded(group);
        let found = in_spoken_languages(knowledge, &view, &self.compiled.scan(&view));
        let purposes = found.iter().filter(|hit| {
            !matches!(hit.stretch, Stretch::Header | Stretch::Hidden(_))
                && states_purpose(knowledge.groups[hit.group])
        });
        let near = purposes.flat_map(|hit| view.codes_near(hit.start, hit.end));
        let counts = |code: &&Code| code.is_shown && lengths.contains(&code.value.len());
        let near: BTreeSet<&str> = near.filter(counts).map(|code| code.value.as_str()).collect();
        match one_of(&near) {
            Err(NoCode::Missing) => {
                one_of(&view.codes().iter().filter(counts).map(|code| code.value.as_str()).collect())
            }
            found => found,
        }
    }
}

fn one_of(codes: &BTreeSet<&str>) -> Result<String, NoCode> {
    let mut codes = codes.iter();
    match (codes.next(), codes.next()) {
        (None, _) => Err(NoCode::Missing),
        (Some(only), None) => Ok((*only).to_owned()),
        (Some(_), Some(_)) => Err(NoCode::Several),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Message;
    use crate::policy::TextLimits;

    fn code_in(message: &str) -> Result<String, NoCode> {
        let message = Message::new(message.replace('\n', "\r\n").into_bytes());
        let text = Text::of(&message, &TextLimits::default());
        Recognition::shipped().unwrap().only_code(&text, &(4..=10))
    }

    #[test]
    fn the_code_of_a_message_is_found() {
        for (message, code) in [
            ("Subject: Your code\n\n123456\n", "123456"),
            ("Subject: 481516 is your sign-in code\n\nYour sign-in code is 481516.\n", "481516"),
            ("Subject: Code\n\nYour verification code is: 123 456\n", "123456"),
            ("Subject: Code\n\nYour verification code is: 12-34-56\n", "123456"),
            (
                "Subject: =?utf-8?B?6aqM6K+B56CB?=\nContent-Type: text/plain; charset=utf-8\n\n您的验证码是482913，请勿泄露\n",
                "482913",
            ),
        ] {
            assert_eq!(code_in(message).as_deref(), Ok(code), "{message}");
        }
    }

    #[test]
    fn of_several_numbers_the_one_beside_its_purpose_is_meant() {
        let filler = "We keep this place for words that say nothing at all about it. ".repeat(8);
        let message = |more: &str| {
            format!(
                "Subject: Sign in\n\nYour sign-in code is 481516.\n\n{filler}\n\nAcme, Main Street, CA 94103\n{more}"
            )
        };
        assert_eq!(code_in(&message("")).as_deref(), Ok("481516"));
        let two = message("\nYour sign-in code is 234242.\n");
        assert_eq!(code_in(&two), Err(NoCode::Several));
        // As close to the words as the code: nobody can tell.
        let beside = "Subject: x\n\nOrder 48151623: your sign-in code is 123456\n";
        assert_eq!(code_in(beside), Err(NoCode::Several));
        // Alternatives that say different things.
        let alternatives = "Subject: x\nContent-Type: multipart/alternative; boundary=b\n\n--b\n\nYour code is 481516\n\
            --b\nContent-Type: text/html\n\n<p>Your code is</p><p>234242</p>\n--b--\n";
        assert_eq!(code_in(alternatives), Err(NoCode::Several));
        let equal = alternatives.replace("234242", "<b>481 516</b>");
        assert_eq!(code_in(&equal).as_deref(), Ok("481516"));
    }

    #[test]
    fn what_nobody_sees_and_what_is_no_code_is_none() {
        let hidden = "Subject: x\nContent-Type: text/html\n\n<p>Your code is <span style='display:none'>999111</span>481516</p>\n";
        assert_eq!(code_in(hidden).as_deref(), Ok("481516"));
        for nothing in [
            "Subject: x\n\nYour code is on its way.\n",
            "Subject: x\n\n\n",
            "Subject: x\n\nCall +12025550100\n",
        ] {
            assert_eq!(code_in(nothing), Err(NoCode::Missing), "{nothing}");
        }
    }

    #[test]
    fn lengths_tell_codes_from_other_numbers() {
        let text = Text::of(
            &Message::new(&b"Subject: x\r\n\r\nYour code is 481516, CA 94103\r\n"[..]),
            &TextLimits::default(),
        );
        let shipped = Recognition::shipped().unwrap();
        assert_eq!(shipped.only_code(&text, &(4..=10)), Err(NoCode::Several));
        assert_eq!(shipped.only_code(&text, &(6..=6)).as_deref(), Ok("481516"));
    }
}
