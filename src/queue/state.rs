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
}

impl State {
    /// Every state, in the order of their stored numbers.
    pub const ALL: [Self; 10] = [
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
        }
    }

    /// Whether nothing can happen to it any more. A payload is kept only for states that are not final.
    pub fn is_final(self) -> bool {
        match self {
            Self::Queued | Self::Attempting | Self::Held | Self::Suppressed => false,
            Self::HandedOver
            | Self::Failed
            | Self::Expired
            | Self::Superseded
            | Self::Removed
            | Self::Unknown => true,
        }
    }

    /// Whether `next` may follow this state. The one table of transitions; the store refuses any other.
    pub fn may_become(self, next: Self) -> bool {
        use State::{
            Attempting, Expired, Failed, HandedOver, Held, Queued, Removed, Superseded, Suppressed, Unknown,
        };
        match self {
            // Unknown: its life ended after an attempt that got no answer.
            Queued => matches!(next, Attempting | Held | Expired | Superseded | Removed | Unknown),
            Attempting => matches!(next, Queued | HandedOver | Failed | Expired | Superseded | Unknown),
            // Released, or at the end of its life: a held message is suppressed.
            Held => matches!(next, Queued | Suppressed | Removed | Superseded),
            Suppressed => matches!(next, Queued | Removed),
            HandedOver | Failed | Expired | Superseded | Removed | Unknown => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_follows_a_final_state_and_something_follows_every_other() {
        for state in State::ALL {
            let goes_on = State::ALL.into_iter().any(|next| state.may_become(next));
            assert_eq!(goes_on, !state.is_final(), "{state:?}");
        }
    }
}
