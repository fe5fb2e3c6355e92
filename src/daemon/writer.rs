//! Puts `rewrite` behind what `deliver` needs of it, with the configuration of the moment.

use crate::deliver::{Outgoing, Renderer};
use crate::ident::SenderName;
use crate::mail::Message;
use crate::outcome::{Reason, ReasonClass};
use crate::rewrite::{Plan, render};
use crate::snapshot::Current;

/// Renders by the snapshot in force at each attempt.
pub(super) struct Writer {
    current: Current,
}

impl Writer {
    pub(super) fn new(current: Current) -> Self {
        Self { current }
    }
}

impl Renderer for Writer {
    fn senders(&self, plan: &Plan) -> Vec<SenderName> {
        let snapshot = self.current.get();
        snapshot.config.rewrite.senders_for(plan).into_iter().map(|sender| sender.name.clone()).collect()
    }

    fn render(&self, message: &Message, plan: &Plan, sender: &SenderName) -> Result<Outgoing, Reason> {
        let snapshot = self.current.get();
        let rewrite = &snapshot.config.rewrite;
        let gone = || Reason::new(ReasonClass::Local, "its sender is no longer configured");
        let sender = rewrite.senders.get(sender).ok_or_else(gone)?;
        let rendered = render(message, plan, sender, rewrite)
            .map_err(|error| Reason::new(ReasonClass::Local, error.to_string()))?;
        Ok(Outgoing { reverse_path: rendered.reverse_path, raw: rendered.raw, need: rendered.need })
    }
}
