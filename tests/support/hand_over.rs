//! Short names of what an upstream made of a message, for tables of tests.

use authrelay::deliver::{HandOver, Trip};
use authrelay::outcome::ReasonClass;

pub fn kind(hand_over: &HandOver) -> &'static str {
    match hand_over {
        HandOver::Accepted { .. } => "accepted",
        HandOver::Taken { .. } => "taken",
        HandOver::Refused(_) => "refused",
        HandOver::Deferred(_) => "deferred",
        HandOver::InDoubt(_) => "in doubt",
        HandOver::Unavailable(_, Trip::AtOnce) => "unavailable at once",
        HandOver::Unavailable(_, Trip::Counted) => "unavailable",
        HandOver::Unavailable(_, Trip::For(_)) => "unavailable for a while",
        HandOver::Unfit(_) => "unfit",
        HandOver::SenderRefused(_) => "sender refused",
    }
}

pub fn class(hand_over: &HandOver) -> Option<ReasonClass> {
    hand_over.reason().map(|reason| reason.class)
}
