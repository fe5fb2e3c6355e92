//! Names and identifiers. A name that came out of the configuration has its own type, so that a client can't be handed
//! over where a business is meant.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The name from its text as configured.
            pub fn new(name: impl AsRef<str>) -> Self {
                Self(Arc::from(name.as_ref()))
            }

            /// The name as configured.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl From<&str> for $type {
            fn from(name: &str) -> Self {
                Self::new(name)
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// An application that hands us mail, as named in `[clients.NAME]`.
    ClientName
);
name!(
    /// A business on whose behalf mail is sent, as named in `[businesses.NAME]`.
    BusinessName
);
name!(
    /// A category of message, such as `password-reset`.
    CategoryName
);
name!(
    /// A sender identity, as named in `[senders.NAME]`.
    SenderName
);
name!(
    /// An upstream provider, as named in `[upstreams.NAME]`.
    UpstreamName
);
name!(
    /// A listening socket, as named in `[listeners.NAME]`.
    ListenerName
);

name!(
    /// Where events are told to, as named in `[webhooks.NAME]`.
    EndpointName
);

name!(
    /// A burst: many messages of one shape that are held together. Eight letters that an operator can type; no digits, so
    /// that it may stand in every log line.
    BurstId
);

impl BurstId {
    /// A fresh one. The store makes sure that no two are the same.
    pub fn generate() -> Self {
        // No vowels: it never says anything.
        const LETTERS: &[u8; 20] = b"bcdfghjklmnpqrstvwxz";
        let letter = |_| char::from(LETTERS[fastrand::usize(..LETTERS.len())]);
        Self::new((0..8).map(letter).collect::<String>())
    }
}

/// The identifier of one message to one recipient: a UUID version 7 (RFC 9562 section 5.7), so ids sort by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(Uuid);

impl MessageId {
    /// A fresh identifier.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// The identifier's 16 bytes, as stored.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The identifier from its 16 stored bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.as_hyphenated())
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MessageId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// Which lane a message travels in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Somebody is waiting in front of a screen.
    Urgent,
    /// It may take minutes.
    Normal,
}

impl Class {
    /// Both lanes, in the order in which they are served.
    pub const ALL: [Self; 2] = [Self::Urgent, Self::Normal];

    /// The lane's name as written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::Normal => "normal",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
