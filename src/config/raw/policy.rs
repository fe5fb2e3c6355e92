//! `[categories.NAME]` and `[[rules]]` as written.

use std::time::Duration;

use crate::config::problem::{Report, Span};
use crate::config::reader::{At, Table};
use crate::config::value;
use crate::config::words::quote;
use crate::ident::Class;
use crate::policy::{Action, Field, Limit, SenderPolicy, Strictness};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);

/// A pace that is faster than this is none.
pub(super) const PER_MINUTE_MOST: u64 = 60_000;

/// `[categories.NAME]`
#[derive(Debug)]
pub(in crate::config) struct RawCategory {
    pub(in crate::config) action: Option<At<Action>>,
    pub(in crate::config) sender: Option<At<SenderPolicy>>,
    pub(in crate::config) life: Option<At<Duration>>,
    pub(in crate::config) class: Option<At<Class>>,
    pub(in crate::config) retry: Option<At<Vec<Duration>>>,
    pub(in crate::config) max_recipients: Option<At<usize>>,
    pub(in crate::config) settle: Option<At<Duration>>,
    pub(in crate::config) supersede: Option<At<bool>>,
    pub(in crate::config) per_recipient: Option<At<Vec<At<Limit>>>>,
    pub(in crate::config) per_minute: Option<At<u32>>,
    /// Whether a missing action or life has been reported as wrong.
    pub(in crate::config) has_action: bool,
    pub(in crate::config) has_life: bool,
}

impl RawCategory {
    pub(super) fn read(table: Table<'_>) -> Self {
        let actions = [
            ("relay", Action::Relay),
            ("refuse", Action::Refuse),
            ("suppress", Action::Suppress),
            ("hold", Action::Hold),
        ];
        let senders = [("custom", SenderPolicy::CustomElseNoReply), ("no-reply", SenderPolicy::NoReply)];
        let classes = [("urgent", Class::Urgent), ("normal", Class::Normal)];
        let raw = Self {
            has_action: table.has("action"),
            has_life: table.has("life"),
            action: table.choice("action", &actions),
            sender: table.choice("sender", &senders),
            life: table.duration("life", SECOND * 10, DAY * 30),
            class: table.choice("class", &classes),
            retry: table.durations("retry", SECOND / 10, DAY),
            max_recipients: table.integer("max_recipients", 1, 1000),
            settle: table.duration("settle", Duration::ZERO, SECOND * 3600),
            supersede: table.boolean("supersede"),
            per_recipient: table.list("per_recipient", value::texts::limit),
            per_minute: table.integer("per_minute", 0, PER_MINUTE_MOST),
        };
        table.finish();
        raw
    }
}

/// `[recognition]`
#[derive(Debug, Default)]
pub(in crate::config) struct RawRecognition {
    pub(in crate::config) strictness: Option<At<Strictness>>,
    pub(in crate::config) directory: Option<At<String>>,
}

impl RawRecognition {
    pub(super) fn read(table: Table<'_>) -> Self {
        let strictness = Strictness::ALL.map(|strictness| (strictness.name(), strictness));
        let raw =
            Self { strictness: table.choice("strictness", &strictness), directory: table.text("directory") };
        table.finish();
        raw
    }
}

/// One of `[[rules]]`.
#[derive(Debug)]
pub(in crate::config) struct RawRule {
    pub(in crate::config) span: Span,
    pub(in crate::config) name: Option<At<String>>,
    pub(in crate::config) category: Option<At<String>>,
    pub(in crate::config) when: RawCondition,
}

/// What a rule asks: all of these.
#[derive(Debug)]
pub(in crate::config) struct RawCondition {
    pub(in crate::config) span: Span,
    pub(in crate::config) parts: Vec<RawPart>,
}

/// One thing that a rule asks.
#[derive(Debug)]
pub(in crate::config) enum RawPart {
    /// One of the patterns matches the field.
    Matches(Field, Vec<At<String>>),
    All(Vec<RawCondition>),
    Any(Vec<RawCondition>),
    Not(RawCondition),
}

impl RawRule {
    pub(super) fn read(report: &Report, table: Table<'_>) -> Self {
        let checked = |text: &str| value::name(text).map(|()| text.to_owned());
        table.require("name", "the name stands in refusals and logs");
        table.require("category", "the category of what it matches");
        let raw = Self {
            span: table.span().clone(),
            name: table.parsed("name", "a name", checked),
            category: table.text("category"),
            when: RawCondition::of(report, &table),
        };
        table.finish();
        raw
    }
}

impl RawCondition {
    fn read(report: &Report, table: Table<'_>) -> Self {
        let condition = Self::of(report, &table);
        table.finish();
        condition
    }

    /// The conditions among the keys of a table. The depth is bounded by what the TOML parser allows.
    fn of(report: &Report, table: &Table<'_>) -> Self {
        let fields = [
            ("client", Field::Client),
            ("reverse_path", Field::ReversePath),
            ("recipient", Field::Recipient),
            ("subject", Field::Subject),
            ("body", Field::Body),
        ];
        let mut parts = Vec::new();
        for (key, field) in fields {
            if table.has(key) {
                parts.push(RawPart::Matches(field, table.text_or_list(key)));
            }
        }
        if let Some(headers) = table.table("header") {
            parts.extend(headers.keys().into_iter().map(|name| header(report, &headers, &name)));
        }
        let nested =
            |key: &str| table.tables(key).into_iter().map(|table| Self::read(report, table)).collect();
        if table.has("all") {
            parts.push(RawPart::All(nested("all")));
        }
        if table.has("any") {
            parts.push(RawPart::Any(nested("any")));
        }
        parts.extend(table.table("not").map(|not| RawPart::Not(Self::read(report, not))));
        Self { span: table.span().clone(), parts }
    }
}

fn header(report: &Report, headers: &Table<'_>, name: &At<String>) -> RawPart {
    if value::header_name(&name.value).is_err() {
        report.error(&name.span, format!("{} is not the name of a header field", quote(&name.value)));
    }
    RawPart::Matches(Field::Header(name.value.clone()), headers.text_or_list(&name.value))
}
