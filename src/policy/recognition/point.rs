//! How sure recognition has to be before it lets a message pass.

use serde::{Deserialize, Serialize};

/// How sure recognition has to be before it lets a message pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strictness {
    /// Rather hold back ten than let one pass that should not.
    Strict,
    /// The measured middle.
    #[default]
    Balanced,
    /// Rather let one pass than hold one back.
    Lenient,
}

impl Strictness {
    /// All of them, the strictest first.
    pub const ALL: [Self; 3] = [Self::Strict, Self::Balanced, Self::Lenient];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Balanced => "balanced",
            Self::Lenient => "lenient",
        }
    }
}

/// How much evidence a guarded category needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatingPoint {
    /// The least score.
    pub threshold: f64,
    /// The least lead over every category that is not guarded.
    pub margin: f64,
}

/// The operating point of each strictness.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Points {
    strict: OperatingPoint,
    balanced: OperatingPoint,
    lenient: OperatingPoint,
}

impl Points {
    pub(super) fn of(&self, strictness: Strictness) -> OperatingPoint {
        match strictness {
            Strictness::Strict => self.strict,
            Strictness::Balanced => self.balanced,
            Strictness::Lenient => self.lenient,
        }
    }
}
