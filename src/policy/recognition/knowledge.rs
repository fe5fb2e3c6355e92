//! What the data files say, without their phrases: small enough to be read at every start, and to stay in memory.
//!
//! What many groups have in common stands here once, and groups name it by number. Names are put together only when
//! somebody asks for an explanation.

use serde::{Deserialize, Serialize};

use super::point::Points;

/// All that the files say of what phrases mean.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Knowledge {
    pub categories: Vec<Known>,
    /// What the files call their languages, by the number of the file.
    pub languages: Vec<String>,
    /// The names of what groups say, in the order in which the files first name them.
    pub concepts: Vec<String>,
    pub groups: Vec<Group>,
    /// The different lists of categories that groups speak for and against.
    pub sides: Vec<Vec<Side>>,
    /// The different weights that groups have.
    pub weights: Vec<Weights>,
    pub features: Vec<FeatureWeight>,
    pub alone: Vec<Alone>,
    pub spoilt: Vec<Spoilt>,
    pub points: Points,
    /// The least score of an open category.
    pub open_threshold: f64,
}

impl Knowledge {
    /// The categories a group speaks for and against.
    pub(super) fn sides_of(&self, group: Group) -> &[Side] {
        &self.sides[usize::from(group.sides)]
    }

    pub(super) fn weights_of(&self, group: Group) -> &Weights {
        &self.weights[usize::from(group.weights)]
    }

    /// `LANGUAGE.NAME`
    pub(super) fn name_of(&self, group: Group) -> String {
        format!("{}.{}", self.languages[usize::from(group.language)], self.concepts[group.concept()])
    }

    /// Whether a group speaks for a category that may pass.
    pub(super) fn speaks_for_guarded(&self, group: Group) -> bool {
        self.sides_of(group).iter().any(|side| side.factor > 0.0 && self.categories[side.category].guarded)
    }
}

/// A category recognition can decide on.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Known {
    pub name: String,
    /// How it is treated: guarded ones may pass and need more.
    pub guarded: bool,
    /// What a message of this category asks the person to act on.
    pub needs: Needs,
}

/// What a message must hold before it can be of a guarded category.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Needs {
    /// A link or a code.
    #[default]
    LinkOrCode,
    /// A code.
    Code,
    /// A link.
    Link,
    /// Nothing: it tells, and asks for nothing.
    Nothing,
}

/// Evidence that says too little where nothing else of its category stands beside it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Alone {
    /// The concepts that don't suffice, not even together.
    pub concepts: Vec<usize>,
    pub category: usize,
    /// What that weighs.
    pub weight: f64,
}

/// Evidence beside which nothing can be of a category.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Spoilt {
    /// All of these concepts together.
    pub by: Vec<usize>,
    /// Unless one of these is said as well.
    pub unless: Vec<usize>,
    pub category: usize,
    /// What that weighs.
    pub weight: f64,
}

/// Phrases that say the same thing, as numbers of what they share with others.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(from = "[u16; 4]", into = "[u16; 4]")]
pub(super) struct Group {
    /// What they say. The same in every language: a message that says one thing in two languages, or in words that two
    /// languages share, has said it once.
    pub concept: u16,
    /// The number of their file.
    pub language: u16,
    pub sides: u16,
    pub weights: u16,
}

impl Group {
    pub(super) fn concept(self) -> usize {
        usize::from(self.concept)
    }
}

impl From<[u16; 4]> for Group {
    fn from([concept, language, sides, weights]: [u16; 4]) -> Self {
        Self { concept, language, sides, weights }
    }
}

impl From<Group> for [u16; 4] {
    fn from(group: Group) -> Self {
        [group.concept, group.language, group.sides, group.weights]
    }
}

/// A category that a group speaks for or, with a negative factor, against.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Side {
    pub category: usize,
    pub factor: f64,
}

/// What a group weighs in each place; zero where it does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Weights {
    pub subject: f64,
    pub header: f64,
    pub button: f64,
    pub first: f64,
    pub code: f64,
    pub text: f64,
}

/// What a property of the message's shape weighs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FeatureWeight {
    pub feature: Feature,
    pub categories: Vec<usize>,
    pub weight: f64,
}

/// A property of a message's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Feature {
    /// Something that may be a code.
    Code,
    /// A link that carries a token.
    TokenLink,
    /// Fifteen different links or more.
    ManyLinks,
    /// Thirty different links or more.
    VeryManyLinks,
    /// More than 2,500 letters in one part.
    LongText,
    /// More than 6,000 letters in one part.
    VeryLongText,
    /// An amount of money.
    Price,
    /// Two or more amounts of money.
    Prices,
    /// `20 %`, `-20%`.
    Percent,
    /// A code, and nothing else, on a line.
    CodeAlone,
    /// Such a code stands in the subject too.
    CodeInSubject,
    /// A short message with a code, or with one link or two that carry tokens, and little else to follow; and next to
    /// nothing in it speaks for an open category.
    OneThing,
    /// No link carries a token.
    NoTokenLink,
    /// The subject answers or forwards: `Re:`, `AW:`, `Fwd:`.
    ReplySubject,
    /// `List-Unsubscribe`.
    ListUnsubscribe,
    /// `List-Id`.
    ListId,
    /// `List-Post`: people write to this list.
    ListPost,
    /// `Precedence: bulk`, `list` or `junk`.
    Bulk,
    /// `In-Reply-To`.
    Reply,
    /// `#42`, `[ABC-42]` or `(ticket 4711)` in the subject.
    TicketNumber,
    /// A calendar entry.
    Calendar,
    /// A message inside the message.
    EmbeddedMessage,
    /// An attachment.
    Attachment,
    /// Not all of the message could be looked at.
    Incomplete,
    /// Words that mix letters of scripts that look alike.
    MixedScript,
    /// A long text part in which nothing speaks for any guarded category.
    OtherAlternative,
    /// One of several text parts speaks, by itself, for an open category more than for any guarded one.
    RefusedPart,
}
