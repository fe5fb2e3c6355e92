//! What is asked of a message after its category is known and before anything is kept of it. Pure.

use crate::policy::{Action, Classified};

/// Why a message does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objection {
    /// Its category is refused, or is not in the client's list.
    Category,
    /// More recipients than its category may have.
    Recipients {
        /// How many it may have.
        most: usize,
    },
}

/// Lets a classified message on, or objects. The message comes back with the objection, to be told about.
pub fn allow(classified: Classified) -> Result<Classified, (Box<Classified>, Objection)> {
    let verdict = classified.verdict();
    let most = verdict.max_recipients();
    if verdict.action == Action::Refuse {
        return Err((Box::new(classified), Objection::Category));
    }
    if classified.submission().envelope.recipients.len() > most {
        return Err((Box::new(classified), Objection::Recipients { most }));
    }
    Ok(classified)
}
