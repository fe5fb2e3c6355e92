//! The operator's rules.

use super::Context;
use super::category::Categories;
use crate::config::raw::{RawCondition, RawPart, RawRule};
use crate::config::reader::At;
use crate::config::words::quote;
use crate::ident::CategoryName;
use crate::policy::{Condition, Field, Rule};

/// The rules, in the order of the file.
pub(super) fn rules(cx: &Context<'_>, raw: Vec<RawRule>, categories: &Categories) -> Vec<Rule> {
    let mut names: Vec<String> = Vec::new();
    let mut rules = Vec::new();
    for raw in raw {
        let when = all(cx, &raw.when);
        if raw.when.parts.is_empty() {
            cx.report
                .error(&raw.span, "a rule without a condition matches every message")
                .help("add one, such as subject = \"reset your wiki\"");
        }
        if let Some(name) = &raw.name {
            if names.contains(&name.value) {
                let message = format!("there is a rule {} already", quote(&name.value));
                cx.report
                    .error(&name.span, message)
                    .help("its name stands in refusals and logs, so it must be its own");
            }
            names.push(name.value.clone());
        }
        let category = raw.category.as_ref().filter(|at| known(cx, at, categories));
        if let (Some(name), Some(category)) = (raw.name, category) {
            rules.push(Rule { name: name.value, category: CategoryName::new(&category.value), when });
        }
    }
    rules
}

/// Whether the category exists; reports it where it does not.
pub(super) fn known(cx: &Context<'_>, at: &At<String>, categories: &Categories) -> bool {
    let known = categories.contains_key(at.value.as_str());
    if !known {
        let message = format!("there is no category {}", quote(&at.value));
        cx.report.unknown(&at.span, message, &at.value, categories.keys().map(CategoryName::as_str));
    }
    known
}

fn all(cx: &Context<'_>, raw: &RawCondition) -> Condition {
    let mut conditions: Vec<Condition> = raw.parts.iter().map(|part| condition(cx, part)).collect();
    match conditions.pop() {
        Some(only) if conditions.is_empty() => only,
        last => {
            conditions.extend(last);
            Condition::All(conditions)
        }
    }
}

fn condition(cx: &Context<'_>, part: &RawPart) -> Condition {
    let each = |raw: &[RawCondition]| raw.iter().map(|raw| nested(cx, raw)).collect();
    match part {
        RawPart::Matches(field, patterns) => any_pattern(cx, field, patterns),
        RawPart::All(raw) => Condition::All(each(raw)),
        RawPart::Any(raw) => Condition::Any(each(raw)),
        RawPart::Not(raw) => Condition::Not(Box::new(nested(cx, raw))),
    }
}

fn nested(cx: &Context<'_>, raw: &RawCondition) -> Condition {
    if raw.parts.is_empty() {
        cx.report
            .error(&raw.span, "an empty condition matches every message")
            .help("write a field and a pattern, such as { subject = \"reset\" }");
    }
    all(cx, raw)
}

fn any_pattern(cx: &Context<'_>, field: &Field, patterns: &[At<String>]) -> Condition {
    let mut conditions: Vec<Condition> =
        patterns.iter().filter_map(|pattern| one_pattern(cx, field.clone(), pattern)).collect();
    match conditions.pop() {
        Some(only) if conditions.is_empty() => only,
        last => {
            conditions.extend(last);
            Condition::Any(conditions)
        }
    }
}

fn one_pattern(cx: &Context<'_>, field: Field, pattern: &At<String>) -> Option<Condition> {
    if pattern.value.is_empty() {
        cx.report.error(&pattern.span, "an empty pattern matches everything").help("remove it");
        return None;
    }
    match Condition::pattern(field, &pattern.value) {
        Ok(condition) => Some(condition),
        Err(problem) => {
            cx.report
                .error(&pattern.span, format!("this pattern can't be used: {}", reason(&problem)))
                .help("it is a regular expression without look-around or back-references; write \\\\ before a character that is meant as it stands, and use '...' quotes");
            None
        }
    }
}

/// What is wrong with a pattern, without the drawing that regex makes of it over several lines.
fn reason(problem: &regex::Error) -> String {
    match problem {
        regex::Error::CompiledTooBig(limit) => format!("it needs more than {} KiB", limit >> 10),
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.trim_start_matches("error: ").to_owned()
        }
    }
}
