//! Finds a text whose answer was lost in Twilio's list of those it sent to the number. Pure.
//!
//! To take another text for ours would be to say that it arrived when it did not. So what is found must be the only one
//! that fits; where two do, none is taken, and the text ends unknown unless a later look tells more.

use std::time::Duration;

use serde_json::Value;

use super::answer::text_of;
use crate::clock::Timestamp;

/// How far Twilio's clock may be from ours.
const CLOCKS: Duration = Duration::from_mins(1);

/// What is looked for.
pub(super) struct Sought<'a> {
    pub(super) to: &'a str,
    pub(super) body: &'a str,
    /// Created not before this,
    pub(super) from: Timestamp,
    /// and not after this.
    pub(super) until: Timestamp,
    /// Ids of texts that are others.
    pub(super) known: &'a [String],
    /// Whether Twilio keeps no text, so that an empty one may be ours.
    pub(super) content_is_discarded: bool,
    /// Whether Twilio keeps no number, so that it can't be compared: the list was filtered by it.
    pub(super) address_is_obfuscated: bool,
}

impl Sought<'_> {
    fn may_be(&self, message: &Value) -> bool {
        let to = text_of(message, "to").unwrap_or_default();
        let body = text_of(message, "body").unwrap_or_default();
        let outbound =
            text_of(message, "direction").is_none_or(|direction| direction.starts_with("outbound"));
        let known = text_of(message, "sid").is_none_or(|sid| self.known.iter().any(|known| known == sid));
        let created = text_of(message, "date_created").and_then(parse_date);
        outbound
            && !known
            && (to == self.to || self.address_is_obfuscated)
            && (body == self.body || (body.is_empty() && self.content_is_discarded))
            && created.is_some_and(|at| at >= self.from.minus(CLOCKS) && at <= self.until.plus(CLOCKS))
    }
}

/// The one text that fits.
pub(super) fn find<'a>(messages: &'a [Value], sought: &Sought<'_>) -> Option<&'a Value> {
    let mut fitting = messages.iter().filter(|message| sought.may_be(message));
    let found = fitting.next()?;
    fitting.next().is_none().then_some(found)
}

/// A date in the form of RFC 2822.
fn parse_date(text: &str) -> Option<Timestamp> {
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp::from_millis(date.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ACCEPTED: Timestamp = Timestamp::from_millis(1_795_440_360_000);
    const BODY: &str = "123456 is your one-time code";

    fn sought(known: &[String]) -> Sought<'_> {
        Sought {
            to: "+12025550100",
            body: BODY,
            from: ACCEPTED,
            until: ACCEPTED.plus(Duration::from_mins(10)),
            known,
            content_is_discarded: false,
            address_is_obfuscated: false,
        }
    }

    fn message(sid: &str, seconds: i64, changes: &Value) -> Value {
        let at = Timestamp::from_millis(ACCEPTED.as_millis() + seconds * 1000);
        let mut message = json!({
            "sid": sid, "to": "+12025550100", "body": BODY, "direction": "outbound-api",
            "date_created": at.to_rfc5322(),
        });
        for (name, value) in changes.as_object().into_iter().flatten() {
            message[name] = value.clone();
        }
        message
    }

    fn sid_of(messages: &[Value], sought: &Sought<'_>) -> Option<String> {
        find(messages, sought).and_then(|found| text_of(found, "sid")).map(str::to_owned)
    }

    #[test]
    fn the_only_text_that_fits_is_found() {
        let nothing = json!({});
        let others = [
            message("before", -61, &nothing),
            message("after", 10 * 60 + 61, &nothing),
            message("other-number", 1, &json!({ "to": "+12025550101" })),
            message("other-text", 1, &json!({ "body": "654321 is your one-time code" })),
            message("no-text", 1, &json!({ "body": "" })),
            message("inbound", 1, &json!({ "direction": "inbound" })),
            message("no-date", 1, &json!({ "date_created": null })),
            message("known", 1, &nothing),
            json!({ "sid": 7 }),
            json!("no object"),
        ];
        let known = ["known".to_owned()];
        assert_eq!(sid_of(&others, &sought(&known)), None);
        for seconds in [-59, 0, 5, 600] {
            let mut with_ours = others.to_vec();
            with_ours.push(message("ours", seconds, &nothing));
            assert_eq!(sid_of(&with_ours, &sought(&known)), Some("ours".to_owned()), "{seconds}");
        }
        let twice = [message("one", 1, &nothing), message("two", 2, &nothing)];
        assert_eq!(sid_of(&twice, &sought(&known)), None, "which of them it is can't be told");
    }

    #[test]
    fn what_twilio_does_not_keep_is_not_compared() {
        let kept_nothing = json!({ "to": "+1202555XXXX", "body": "" });
        let messages = [message("ours", 1, &kept_nothing)];
        assert_eq!(sid_of(&messages, &sought(&[])), None);
        let private = Sought { content_is_discarded: true, address_is_obfuscated: true, ..sought(&[]) };
        assert_eq!(sid_of(&messages, &private), Some("ours".to_owned()));
        let two = [messages[0].clone(), message("other", 2, &kept_nothing)];
        assert_eq!(sid_of(&two, &private), None);
    }
}
