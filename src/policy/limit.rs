//! How much of something is let through: the forms in which limits are configured.

use std::time::Duration;

/// At most so many messages within a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The most messages.
    pub most: u32,
    /// Within this time: windows of this length, one after the other, aligned to 1970-01-01 UTC.
    pub within: Duration,
}

/// From when on messages of one shape are a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BurstLimit {
    /// So many different new recipients.
    pub recipients: u32,
    /// Within this time, wherever it begins. Also how long a shape has to be quiet for its burst to be over.
    pub within: Duration,
}

/// Nobody invites twenty people by hand within a minute.
impl Default for BurstLimit {
    fn default() -> Self {
        Self { recipients: 20, within: Duration::from_mins(1) }
    }
}
