//! What each word on the page means, for somebody who sees it for the first time, and what can be done. One place, so that
//! a word means the same everywhere.

use serde::de::DeserializeOwned;

use crate::event::Kind;
use crate::queue::State;

/// How something is shown: always beside its word, never by colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// It went as it should.
    Good,
    /// It is under way, or waits.
    Waiting,
    /// Somebody should look at it.
    Bad,
    /// It is as somebody wanted it.
    Quiet,
}

impl Tone {
    /// The class in the style sheet.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Waiting => "waiting",
            Self::Bad => "bad",
            Self::Quiet => "plain",
        }
    }
}

/// A state or an event in words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meaning {
    /// One or two words.
    pub(super) word: &'static str,
    /// How it is shown.
    pub(super) tone: Tone,
    /// What it means.
    pub(super) sentence: &'static str,
    /// What to do now; commands stand between backticks.
    pub(super) advice: &'static str,
}

/// What the name of a state or an event stands for.
pub(super) fn parse<T: DeserializeOwned>(name: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(name.to_owned())).ok()
}

/// What a state means.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn of_state(state: State) -> Meaning {
    let meaning = |word, tone, sentence, advice| Meaning { word, tone, sentence, advice };
    match state {
        State::Queued => meaning(
            "Waiting",
            Tone::Waiting,
            "It is stored safely, and waits for its next attempt.",
            "The overview shows how the provider does. To try it now: `authrelay queue retry ID`",
        ),
        State::Attempting => meaning(
            "Being handed over",
            Tone::Waiting,
            "It is being handed over to the provider at this moment.",
            "Load this page again in a few seconds.",
        ),
        State::Held => meaning(
            "Held",
            Tone::Bad,
            "It was accepted, and is kept for an operator to decide on. The application does not know that.",
            "To let it go: `authrelay queue release ID`. To end it: `authrelay queue remove ID`",
        ),
        State::Suppressed => meaning(
            "Suppressed",
            Tone::Quiet,
            "It was accepted, and by policy not sent. The application does not know that.",
            "Where it should have been sent, and its life is not over: `authrelay queue release ID`",
        ),
        State::HandedOver => meaning(
            "Handed over",
            Tone::Good,
            "The provider took it, and is responsible for it from there on.",
            "If it did not arrive, look for the reference below at the provider, then in the person's spam folder.",
        ),
        State::Failed => meaning(
            "Failed",
            Tone::Bad,
            "The provider refused it for good. It is not tried again.",
            "The reason says why: a full mailbox, a wrong address, a sender that the provider does not carry.",
        ),
        State::Expired => meaning(
            "Expired",
            Tone::Bad,
            "No provider took it while it was of use. It is not sent any more: an old code helps nobody.",
            "The reason of the last attempt says what stood in the way. The person has to ask for a new one.",
        ),
        State::Superseded => meaning(
            "Superseded",
            Tone::Quiet,
            "A newer message of the same kind to the same person took its place.",
            "Look at the newer one.",
        ),
        State::Removed => {
            meaning("Removed", Tone::Quiet, "An operator removed it.", "The application can send it anew.")
        }
        State::Unknown => meaning(
            "End unknown",
            Tone::Bad,
            "It was sent, and the connection broke before the answer: it may have arrived.",
            "Ask the provider. It is not sent again, so that nobody gets a second code.",
        ),
        State::AwaitingReport => meaning(
            "Sent, report awaited",
            Tone::Waiting,
            "The provider took it, or may have it, and has not said yet whether it arrived.",
            "Load this page again in a while, or look for the reference below at the provider.",
        ),
        State::Delivered => meaning(
            "Delivered",
            Tone::Good,
            "The provider says that it arrived.",
            "Nothing: the phone has it.",
        ),
    }
}

/// What an event means. Its advice is for messages of which there is nothing but events: refusals.
pub(super) fn of_event(kind: Kind) -> Meaning {
    let meaning = |word, tone, sentence| Meaning { word, tone, sentence, advice: "" };
    match kind {
        Kind::Received => meaning("Accepted", Tone::Good, "Taken from the application, and stored safely."),
        Kind::Refused => Meaning {
            advice: "If it should have passed: `authrelay explain FILE.eml --client NAME` says why it did not, and prints \
                     the lines that mend it.",
            ..meaning("Refused", Tone::Bad, "Not taken. The application was told so, and keeps it.")
        },
        Kind::Suppressed => meaning("Suppressed", Tone::Quiet, "Accepted, recorded, and by policy not sent."),
        Kind::Held => meaning("Held", Tone::Bad, "Accepted, and kept for an operator to decide on."),
        Kind::Released => meaning("Released", Tone::Good, "An operator let it go."),
        Kind::Deferred => {
            meaning("Not yet", Tone::Waiting, "An attempt did not succeed, and another one will be made.")
        }
        Kind::HandedOver => meaning("Handed over", Tone::Good, "The provider took it."),
        Kind::Failed => meaning("Failed", Tone::Bad, "The provider refused it for good."),
        Kind::Expired => meaning("Expired", Tone::Bad, "Its life was over before any provider took it."),
        Kind::Superseded => meaning("Superseded", Tone::Quiet, "A newer message took its place."),
        Kind::Removed => meaning("Removed", Tone::Quiet, "An operator removed it."),
        Kind::Unknown => {
            meaning("End unknown", Tone::Bad, "It was sent, no answer came, and it is not sent again.")
        }
        Kind::Delivered => meaning("Delivered", Tone::Good, "The provider says that it arrived."),
        Kind::BurstHeld => meaning("Burst held", Tone::Bad, "Many like it came at once, and all are held."),
    }
}

/// What a category is for; `None`: one of the operator's own.
pub(super) fn of_category(name: &str) -> Option<&'static str> {
    Some(match name {
        "signup-verification" => "confirms an address that the person just gave",
        "signin" => "lets the person in: a code or a link",
        "mfa" => "the code of a second factor",
        "password-reset" => "lets the person set a password",
        "invitation" => "a person was invited by hand",
        "invitation-api" | "invitation-bulk" => "invitations made by a program or in bulk",
        "export-warning" => "warns that data is being exported",
        "subscription" => "plans and bills",
        "admin-activity" => "what the team or its administrators did",
        "security-notice" => "tells of a change, such as a new password",
        "marketing" => "advertising and news",
        "unknown" => "nothing recognised it",
        _ => return None,
    })
}

/// What decided on a category, in words.
pub(super) fn of_rule(rule: &str) -> String {
    let (rule, observed) = match rule.strip_suffix(" (observe)") {
        Some(rule) => (rule, "; passed only because its client is observed"),
        None => (rule, ""),
    };
    let said = match rule.split_once(':') {
        Some(("recognition", _)) => format!("the shipped recognition ({rule})"),
        Some(("rule", name)) => format!("your rule {name}"),
        Some(("guard", what)) => format!("a guard ({what})"),
        Some(("limit", what)) => format!("a limit ({what})"),
        Some(("policy", what)) => format!("the policy ({what})"),
        Some(_) => rule.to_owned(),
        None => match rule {
            "client-binding" => "its client sends this category only".to_owned(),
            "declared" => "the application declared it".to_owned(),
            "none" => "nothing recognised it".to_owned(),
            // A refusal names an operator's rule without its prefix.
            other => other.to_owned(),
        },
    };
    format!("{said}{observed}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_and_event_is_found_by_the_name_that_it_is_told_by() {
        for state in State::ALL {
            assert_eq!(parse::<State>(state.as_str()), Some(state));
            let meaning = of_state(state);
            assert!(!meaning.sentence.is_empty() && !meaning.advice.is_empty(), "{meaning:?}");
        }
        for kind in ["received", "handed-over", "burst-held", "refused", "unknown"] {
            assert_eq!(parse::<Kind>(kind).map(Kind::as_str), Some(kind));
        }
        assert_eq!(parse::<Kind>("<b>"), None);
    }

    #[test]
    fn rules_are_told_in_words() {
        assert_eq!(of_rule("rule:codes"), "your rule codes");
        assert_eq!(
            of_rule("none (observe)"),
            "nothing recognised it; passed only because its client is observed"
        );
        assert_eq!(of_rule("guard:link"), "a guard (link)");
        assert_eq!(of_rule("something"), "something");
    }
}
