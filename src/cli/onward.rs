//! What else is asked of a message when it is taken and kept: guards, shape, settling, limits; and the lines that change
//! it. For `explain`.

use std::time::Duration;

use serde::Serialize;

use crate::config::{show_duration, show_limit};
use crate::guard::{Content, limits};
use crate::ident::Class;
use crate::pipeline;
use crate::policy::{Action, BurstLimit, Classified, Verdict, shape};
use crate::secret::Digest;

/// The octets of the template's fingerprint that are shown: enough to see whether two messages have the same one.
const FINGERPRINT: usize = 4;

/// What would happen to a message beside its being sent.
#[derive(Debug, Serialize)]
pub(super) struct Onward {
    #[serde(skip)]
    client: String,
    #[serde(skip)]
    category: String,
    /// What the guards say to its content; also where its category is refused anyway, so that mending that is enough.
    guards: Option<Objected>,
    shape: ShapeView,
    /// `None` where nothing of it is kept.
    kept: Option<Kept>,
}

#[derive(Debug, Serialize)]
struct Objected {
    rule: &'static str,
    text: String,
}

/// Messages with the same two are one of many, or newer and older of one kind.
#[derive(Debug, Serialize)]
struct ShapeView {
    subject: String,
    template: String,
}

#[derive(Debug, Serialize)]
struct Kept {
    /// `None` where it is held or suppressed.
    sent: Option<Sending>,
    dedupe_seconds: u64,
    per_recipient: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Sending {
    urgent: bool,
    supersede: bool,
    settle_seconds: u64,
    burst: Option<BurstView>,
    client_per_minute: Option<u32>,
    category_per_minute: Option<u32>,
    backlog: Option<u64>,
}

#[derive(Debug, Serialize)]
struct BurstView {
    recipients: u32,
    within_seconds: u64,
}

impl Onward {
    pub(super) fn of(stages: &pipeline::Config, classified: &Classified, taken: bool) -> Self {
        let (submission, verdict) = (classified.submission(), classified.verdict());
        let shape = shape(&submission.message, &submission.envelope.recipients);
        let [subject, template] = shape.parts();
        let mut fingerprint = Digest::sha256(template).to_hex();
        fingerprint.truncate(2 * FINGERPRINT);
        let objected = pipeline::objection(stages, &Content::of(classified));
        Self {
            client: submission.client.to_string(),
            category: verdict.category.name.to_string(),
            guards: objected.map(|(rule, text)| Objected { rule, text }),
            shape: ShapeView {
                subject: String::from_utf8_lossy(subject).into_owned(),
                template: fingerprint,
            },
            kept: taken.then(|| Kept::of(stages, classified)),
        }
    }

    pub(super) fn print(&self) {
        match &self.guards {
            Some(Objected { rule, text }) => say!("guards     {rule}: {text}"),
            None => say!("guards     nothing against its links, names and attachments"),
        }
        let ShapeView { subject, template } = &self.shape;
        say!("shape      subject {subject:?}, template {template}");
        if let Some(kept) = &self.kept {
            kept.print(&self.client, &self.category);
        }
    }

    /// The lines with which what happens on the way is changed, at the values that hold now.
    pub(super) fn print_mend(&self) {
        let Self { client, category, .. } = self;
        if self.guards.as_ref().is_some_and(|objected| objected.rule == "guard:name") {
            say!("mend       if nobody but you can choose such names:");
            say!("             [clients.{client}]");
            say!("             name_guard = \"off\"");
        }
        let Some(kept) = &self.kept else { return };
        let (of_category, of_client) = (kept.lines_of_category(), kept.lines_of_client());
        if of_category.is_empty() && of_client.is_empty() {
            return;
        }
        say!("mend       to change what happens on the way; these are the values that hold now:");
        for (table, name, lines) in [("categories", category, of_category), ("clients", client, of_client)] {
            if !lines.is_empty() {
                say!("             [{table}.{name}]");
            }
            for line in lines {
                say!("             {line}");
            }
        }
    }
}

impl Kept {
    fn of(stages: &pipeline::Config, classified: &Classified) -> Self {
        let verdict = classified.verdict();
        Self {
            sent: (verdict.action == Action::Relay).then(|| Sending::of(stages, classified, verdict)),
            dedupe_seconds: stages.limits.dedupe.as_secs(),
            per_recipient: limits::per_recipient(verdict).iter().map(show_limit).collect(),
        }
    }

    fn print(&self, client: &str, category: &str) {
        let Self { sent, dedupe_seconds, per_recipient } = self;
        let mut said = Vec::new();
        if let Some(sent) = sent {
            sent.say(client, category, &mut said);
        }
        if !per_recipient.is_empty() {
            let limits = per_recipient.join(", ");
            said.push(format!("limits   {limits} from client {client} to one recipient; beyond: 451"));
        }
        if *dedupe_seconds > 0 {
            said.push(format!("dedupe   the same again within {dedupe_seconds} s is answered, and not sent"));
        }
        for (index, line) in said.into_iter().enumerate() {
            say!("{:10} {line}", if index == 0 { "kept" } else { "" });
        }
    }

    fn lines_of_category(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(sent) = &self.sent {
            if sent.settle_seconds > 0 {
                let settle = show_duration(Duration::from_secs(sent.settle_seconds));
                lines
                    .push(format!("settle = {settle:?}   # \"0s\": sent at once, and never part of a burst"));
            }
            if sent.supersede {
                lines.push("supersede = true   # false: older ones go out too".to_owned());
            }
            lines.extend(sent.category_per_minute.map(|pace| format!("per_minute = {pace}   # 0: no limit")));
        }
        if !self.per_recipient.is_empty() {
            lines.push(format!("per_recipient = {:?}   # []: no limit", self.per_recipient));
        }
        lines
    }

    fn lines_of_client(&self) -> Vec<String> {
        let Some(sent) = &self.sent else { return Vec::new() };
        let mut lines = Vec::new();
        if let Some(BurstView { recipients, within_seconds }) =
            sent.burst.as_ref().filter(|_| sent.settle_seconds > 0)
        {
            let within = show_duration(Duration::from_secs(*within_seconds));
            let table = format!("{{ recipients = {recipients}, within = {within:?} }}");
            lines.push(format!("burst = {table}   # recipients = 0: never"));
        }
        lines.extend(sent.client_per_minute.map(|pace| format!("per_minute = {pace}   # 0: no limit")));
        lines
    }
}

impl Sending {
    fn of(stages: &pipeline::Config, classified: &Classified, verdict: &Verdict) -> Self {
        let client = stages.policy.clients.get(&classified.submission().client);
        let urgent = verdict.class() == Class::Urgent;
        let view =
            |BurstLimit { recipients, within }| BurstView { recipients, within_seconds: within.as_secs() };
        let paced = |pace: Option<std::num::NonZeroU32>| pace.filter(|_| !urgent).map(Into::into);
        Self {
            urgent,
            supersede: verdict.supersedes(),
            settle_seconds: verdict.settle().as_secs(),
            burst: client.and_then(|client| client.burst).map(view),
            client_per_minute: paced(client.and_then(|client| client.per_minute)),
            category_per_minute: paced(verdict.category.per_minute),
            backlog: (!urgent).then_some(stages.limits.backlog),
        }
    }

    fn say(&self, client: &str, category: &str, said: &mut Vec<String>) {
        match (self.settle_seconds, &self.burst) {
            (0, _) if self.urgent => said.push("settle   no: urgent mail goes at once".to_owned()),
            (0, _) => said.push("settle   no: it goes at once, and is never part of a burst".to_owned()),
            (settle, None) => said.push(format!(
                "settle   waits {settle} s before its first attempt; client {client} has no bursts"
            )),
            (settle, Some(BurstView { recipients, within_seconds })) => {
                said.push(format!(
                    "settle   waits {settle} s before its first attempt, in case it is one of many"
                ));
                said.push(format!(
                    "burst    {recipients} new recipients within {within_seconds} s, of this shape, category {category} and \
                     client {client}: all of it is held"
                ));
            }
        }
        if self.supersede {
            said.push(
                "newer    takes the place of an older one of this shape to the same recipient that waits"
                    .to_owned(),
            );
        }
        for (whose, pace) in [
            (format!("client {client}"), self.client_per_minute),
            (format!("category {category}"), self.category_per_minute),
        ] {
            said.extend(
                pace.map(|pace| format!("pace     {pace} a minute for {whose}; what is beyond waits")),
            );
        }
        if let Some(backlog) = self.backlog {
            said.push(format!("backlog  {backlog} of the normal lane may wait; beyond: 451"));
        }
    }
}
