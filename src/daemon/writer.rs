//! Puts `rewrite` behind what `deliver` needs of it, by the same snapshot that its upstreams are of.

use std::sync::Arc;

use crate::deliver::{InForce, Outgoing, Renderer};
use crate::ident::SenderName;
use crate::mail::Message;
use crate::outcome::{Reason, ReasonClass};
use crate::rewrite::{Plan, render};
use crate::snapshot::Snapshot;

/// What the delivery sees of a snapshot.
pub(super) fn in_force(snapshot: Arc<Snapshot>) -> InForce {
    InForce { config: Arc::clone(&snapshot.config.deliver), renderer: Arc::new(Writer { snapshot }) }
}

/// Renders by one snapshot.
struct Writer {
    snapshot: Arc<Snapshot>,
}

impl Renderer for Writer {
    fn senders(&self, plan: &Plan) -> Vec<SenderName> {
        self.snapshot.config.rewrite.senders_for(plan).into_iter().map(|sender| sender.name.clone()).collect()
    }

    fn render(&self, message: &Message, plan: &Plan, sender: &SenderName) -> Result<Outgoing, Reason> {
        let rewrite = &self.snapshot.config.rewrite;
        let gone = || Reason::new(ReasonClass::Local, "its sender is no longer configured");
        let sender = rewrite.senders.get(sender).ok_or_else(gone)?;
        let rendered = render(message, plan, sender, rewrite)
            .map_err(|error| Reason::new(ReasonClass::Local, error.to_string()))?;
        Ok(Outgoing { reverse_path: rendered.reverse_path, raw: rendered.raw, need: rendered.need })
    }
}
