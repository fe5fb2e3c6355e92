//! What is asked and told of a code after it was taken: how it stands, and whether it was used.

use super::{Config, Pipeline, code, counts};
use crate::ident::{ClientName, MessageId};
use crate::mail::Recipient;
use crate::queue::{Effect, Entry, Query, StoreError};

/// What became of the word on whether a code was used.
#[derive(Debug)]
pub enum CodeFeedback {
    /// It was the first.
    First(Box<Entry>),
    /// It was known before.
    Known,
    /// There is no such code of this client.
    NotFound,
}

impl Pipeline {
    /// A client's code as it stands.
    pub async fn code_of(&self, client: &ClientName, id: MessageId) -> Result<Option<Entry>, StoreError> {
        let rows = self.queue.find(Query { id: Some(id), limit: 1, ..Query::default() }).await?;
        let is_its_code = |row: &Entry| {
            row.id == id
                && row.client == *client
                && matches!(row.recipient, Recipient::Phone(_) | Recipient::Forgotten)
        };
        Ok(rows.into_iter().find(is_its_code))
    }

    /// Notes whether a client's code was used. The first word on it counts: for that its row is given back.
    pub async fn code_was_used(
        &self,
        config: &Config,
        client: &ClientName,
        id: MessageId,
        used: bool,
    ) -> Result<CodeFeedback, StoreError> {
        let Some(row) = self.code_of(client, id).await? else { return Ok(CodeFeedback::NotFound) };
        let country = code::country_of(&row).filter(|_| used);
        let counters = counts::used(&self.queue, &config.sms, country, row.accepted);
        match self.queue.feedback(id, client.clone(), used, counters).await? {
            Effect::Done => Ok(CodeFeedback::First(Box::new(row))),
            Effect::NotFound => Ok(CodeFeedback::NotFound),
            Effect::Stale
            | Effect::Waiting(_)
            | Effect::Held(_)
            | Effect::Rows(_)
            | Effect::Duplicate(_)
            | Effect::OverLimit(_)
            | Effect::Repeated(_)
            | Effect::Mismatch
            | Effect::LostLease
            | Effect::NotAllowed(_) => Ok(CodeFeedback::Known),
        }
    }
}
