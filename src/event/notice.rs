//! What others are told of over webhooks: events about messages, and news of upstreams, each under a name that stays.

use serde::{Deserialize, Serialize};

use super::{Event, Kind};
use crate::clock::Timestamp;
use crate::ident::{BusinessName, MessageId, UpstreamName};
use crate::mail::Recipient;
use crate::outcome::Reason;

macro_rules! topics {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// The type of a notice, by which endpoints choose.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Topic {
            $($(#[$doc])* $variant,)+
        }

        impl Topic {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name, as in the configuration and in the `type` of a body.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

topics! {
    /// A mail was accepted.
    MessageReceived = "message.received",
    /// An upstream took a mail.
    MessageHandedOver = "message.handed_over",
    /// An upstream refused a mail for good.
    MessageFailed = "message.failed",
    /// The life of a mail ended before it could be handed over.
    MessageExpired = "message.expired",
    /// A mail was accepted, and by policy not handed over.
    MessageSuppressed = "message.suppressed",
    /// A mail was not accepted.
    MessageRefused = "message.refused",
    /// A mail is kept for an operator.
    MessageHeld = "message.held",
    /// An operator let a mail go.
    MessageReleased = "message.released",
    /// A newer mail took its place.
    MessageSuperseded = "message.superseded",
    /// An operator removed a mail.
    MessageRemoved = "message.removed",
    /// A mail was sent and no answer came.
    MessageUnknown = "message.unknown",
    /// A code was accepted.
    SmsAccepted = "sms.accepted",
    /// The provider took a code.
    SmsSent = "sms.sent",
    /// The provider says that a code arrived.
    SmsDelivered = "sms.delivered",
    /// A code did not arrive and will not.
    SmsFailed = "sms.failed",
    /// The life of a code ended before it could be sent.
    SmsExpired = "sms.expired",
    /// A code was accepted, and by policy not sent.
    SmsSuppressed = "sms.suppressed",
    /// A code was not accepted.
    SmsRefused = "sms.refused",
    /// A code is kept for an operator.
    SmsHeld = "sms.held",
    /// An operator let a code go.
    SmsReleased = "sms.released",
    /// A newer code took its place.
    SmsSuperseded = "sms.superseded",
    /// An operator removed a code.
    SmsRemoved = "sms.removed",
    /// A code was posted, and it is not known whether it went out.
    SmsUnknown = "sms.unknown",
    /// Many messages of one shape are held together.
    BurstHeld = "burst.held",
    /// An upstream is not asked for a while.
    UpstreamDown = "upstream.down",
    /// An upstream works again.
    UpstreamUp = "upstream.up",
}

impl Topic {
    /// The topic with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|topic| topic.as_str() == name)
    }

    /// What of this kind about such a recipient is called; `None` where nobody is told of it. A recipient that is
    /// forgotten was a phone.
    pub fn of(kind: Kind, recipient: &Recipient) -> Option<Self> {
        let is_mail = matches!(recipient, Recipient::Mail(_));
        let (mail, sms) = match kind {
            Kind::Received => (Self::MessageReceived, Self::SmsAccepted),
            Kind::Refused => (Self::MessageRefused, Self::SmsRefused),
            Kind::Suppressed => (Self::MessageSuppressed, Self::SmsSuppressed),
            Kind::Held => (Self::MessageHeld, Self::SmsHeld),
            Kind::Released => (Self::MessageReleased, Self::SmsReleased),
            Kind::HandedOver => (Self::MessageHandedOver, Self::SmsSent),
            Kind::Failed => (Self::MessageFailed, Self::SmsFailed),
            Kind::Expired => (Self::MessageExpired, Self::SmsExpired),
            Kind::Superseded => (Self::MessageSuperseded, Self::SmsSuperseded),
            Kind::Removed => (Self::MessageRemoved, Self::SmsRemoved),
            Kind::Unknown => (Self::MessageUnknown, Self::SmsUnknown),
            Kind::BurstHeld => return Some(Self::BurstHeld),
            Kind::Delivered => return (!is_mail).then_some(Self::SmsDelivered),
            // It is not over: there will be another attempt.
            Kind::Deferred => return None,
        };
        Some(if is_mail { mail } else { sms })
    }
}

/// Which way an upstream went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpstreamTurn {
    /// It is not asked for a while.
    Down,
    /// It works again.
    Up,
}

/// News of an upstream as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamNews {
    /// Stays the same however often it is told.
    pub id: MessageId,
    /// When.
    pub at: Timestamp,
    /// Which one.
    pub upstream: UpstreamName,
    /// Which way it went.
    pub turn: UpstreamTurn,
    /// What it failed with.
    pub reason: Option<Reason>,
}

/// One thing that others are told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// About a message.
    Event(Box<Event>),
    /// About an upstream.
    Upstream(UpstreamNews),
}

impl Notice {
    /// Its type; `None` where nobody is told of such a thing.
    pub fn topic(&self) -> Option<Topic> {
        match self {
            Self::Event(event) => Topic::of(event.kind, &event.subject.recipient),
            Self::Upstream(news) => Some(match news.turn {
                UpstreamTurn::Down => Topic::UpstreamDown,
                UpstreamTurn::Up => Topic::UpstreamUp,
            }),
        }
    }

    /// Its identifier.
    pub fn id(&self) -> MessageId {
        match self {
            Self::Event(event) => event.id,
            Self::Upstream(news) => news.id,
        }
    }

    /// When it happened.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Event(event) => event.at,
            Self::Upstream(news) => news.at,
        }
    }

    /// On whose behalf; an upstream is everybody's.
    pub fn business(&self) -> Option<&BusinessName> {
        match self {
            Self::Event(event) => event.subject.business.as_ref(),
            Self::Upstream(_) => None,
        }
    }

    /// What it is about: notices with the same key are told one after the other. An id has 16 bytes, a name is told from
    /// it by what stands before it.
    pub fn subject_key(&self) -> Vec<u8> {
        match self {
            Self::Event(event) => event.subject.message.as_bytes().to_vec(),
            Self::Upstream(news) => format!("upstream {}", news.upstream).into_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{Address, PhoneNumber};

    #[test]
    fn every_topic_has_a_name_of_its_own_by_which_it_is_found() {
        for topic in Topic::ALL {
            assert_eq!(Topic::parse(topic.as_str()), Some(*topic));
        }
        assert_eq!(Topic::parse("message.deferred"), None);
    }

    #[test]
    fn mail_and_codes_have_names_of_their_own() {
        let mail = Recipient::Mail(Address::parse("anna@example.com").unwrap());
        let phone = Recipient::Phone(PhoneNumber::parse("+12025550100").unwrap());
        let name = |kind, to: &Recipient| Topic::of(kind, to).map(Topic::as_str);
        assert_eq!(name(Kind::HandedOver, &mail), Some("message.handed_over"));
        assert_eq!(name(Kind::HandedOver, &phone), Some("sms.sent"));
        assert_eq!(name(Kind::Delivered, &Recipient::Forgotten), Some("sms.delivered"));
        assert_eq!(name(Kind::Deferred, &mail), None);
    }
}
