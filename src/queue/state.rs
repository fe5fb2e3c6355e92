//! The states a message can be in.

use serde::{Deserialize, Serialize};

/// Where a message stands. One word an operator can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Waits for its next attempt.
    Queued,
    /// A worker holds it and may be talking to an upstream.
    Attempting,
    /// Waits for an operator; suppressed at the end of its life.
    Held,
    /// Not handed over by policy; can be released within its life.
    Suppressed,
    /// The upstream took it.
    HandedOver,
    /// The upstream refused it for good.
    Failed,
    /// Its life ended first.
    Expired,
    /// A newer one took its place.
    Superseded,
    /// An operator removed it.
    Removed,
    /// It was sent, no answer came, and it won't be sent again.
    Unknown,
    /// The provider took a text, or may have it; its word on what became of it is awaited.
    AwaitingReport,
    /// The provider says that it arrived.
    Delivered,
}

impl State {
    /// Every state, in the order of their stored numbers.
    pub const ALL: [Self; 12] = [
        Self::Queued,
        Self::Attempting,
        Self::Held,
        Self::Suppressed,
        Self::HandedOver,
        Self::Failed,
        Self::Expired,
        Self::Superseded,
        Self::Removed,
        Self::Unknown,
        Self::AwaitingReport,
        Self::Delivered,
    ];

    /// The state's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Attempting => "attempting",
            Self::Held => "held",
            Self::Suppressed => "suppressed",
            Self::HandedOver => "handed-over",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
            Self::Removed => "removed",
            Self::Unknown => "unknown",
            Self::AwaitingReport => "awaiting-report",
            Self::Delivered => "delivered",
        }
    }

    /// Whether we do nothing more with it: its payload is erased. A provider's late word may still say more of a text
    /// that was handed over or whose end is unknown.
    pub fn is_final(self) -> bool {
        match self {
            Self::Queued | Self::Attempting | Self::Held | Self::Suppressed | Self::AwaitingReport => false,
            Self::HandedOver
            | Self::Failed
            | Self::Expired
            | Self::Superseded
            | Self::Removed
            | Self::Unknown
            | Self::Delivered => true,
        }
    }

    /// Whether `next` may follow this state. The one table of transitions; the store refuses any other.
    pub fn may_become(self, next: Self) -> bool {
        use State::{
            Attempting, AwaitingReport, Delivered, Expired, Failed, HandedOver, Held, Queued, Removed,
            Superseded, Suppressed, Unknown,
        };
        match self {
            // Unknown: its life ended after an attempt that got no answer.
            Queued => matches!(next, Attempting | Held | Expired | Superseded | Removed | Unknown),
            Attempting => matches!(
                next,
                Queued | HandedOver | Failed | Expired | Superseded | Unknown | AwaitingReport | Delivered
            ),
            // Queued: it certainly did not arrive, and is sent once more. HandedOver: no word came in its life.
            AwaitingReport => {
                matches!(next, Queued | HandedOver | Delivered | Failed | Superseded | Removed | Unknown)
            }
            // Released, or at the end of its life: a held message is suppressed.
            Held => matches!(next, Queued | Suppressed | Removed | Superseded),
            Suppressed => matches!(next, Queued | Removed),
            // The provider's word may come after its life.
            HandedOver => matches!(next, Delivered | Failed),
            Unknown => matches!(next, HandedOver | Delivered | Failed),
            Failed | Expired | Superseded | Removed | Delivered => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(state: State) -> Vec<State> {
        State::ALL.into_iter().filter(|next| state.may_become(*next)).collect()
    }

    #[test]
    fn what_is_not_final_goes_on() {
        for state in State::ALL.into_iter().filter(|state| !state.is_final()) {
            assert!(!next(state).is_empty(), "{state:?}");
        }
    }

    #[test]
    fn only_a_late_word_follows_a_final_state_and_nothing_is_sent_again() {
        for state in State::ALL.into_iter().filter(|state| state.is_final()) {
            let expected: &[State] = match state {
                State::HandedOver => &[State::Failed, State::Delivered],
                State::Unknown => &[State::HandedOver, State::Failed, State::Delivered],
                _ => &[],
            };
            assert_eq!(next(state), expected, "{state:?}");
        }
    }

    #[test]
    fn stored_numbers_stay() {
        let names: Vec<_> = State::ALL.into_iter().map(State::as_str).collect();
        let expected = "queued attempting held suppressed handed-over failed expired superseded removed unknown \
                        awaiting-report delivered";
        assert_eq!(names.join(" "), expected);
    }
}
