//! What is said of a value that is of the wrong kind, out of its range, or not what its key asks for.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::{At, Table, span_of};
use crate::config::problem::{Entry, Span};
use crate::config::value::{self, Parsed, Wrong};
use crate::config::words::quote;

impl Table<'_> {
    pub(super) fn parse_one<T>(
        &self,
        spanned: &Spanned<DeValue<'_>>,
        key: &str,
        what: &str,
        parse: impl Fn(&str) -> Parsed<T>,
    ) -> Option<At<T>> {
        let Some(text) = spanned.get_ref().as_str() else {
            self.wrong_type(key, spanned, what);
            return None;
        };
        let span = span_of(spanned);
        match parse(text) {
            Ok(value) => Some(At { value, span }),
            Err(wrong) => {
                self.complain(&span, wrong);
                None
            }
        }
    }

    pub(super) fn within<T: TryFrom<u64>>(
        &self,
        key: &str,
        spanned: &Spanned<DeValue<'_>>,
        value: Option<u64>,
        range: RangeInclusive<u64>,
        show: &dyn Fn(u64) -> String,
    ) -> Option<At<T>> {
        let span = span_of(spanned);
        let fitting = value.filter(|value| range.contains(value)).and_then(|value| T::try_from(value).ok());
        if fitting.is_none() {
            self.out_of_range(key, &span, &show(*range.start()), &show(*range.end()));
        }
        fitting.map(|value| At { value, span })
    }

    pub(super) fn check_duration(
        &self,
        key: &str,
        read: &At<Duration>,
        least: Duration,
        most: Duration,
    ) -> bool {
        let fine = (least..=most).contains(&read.value);
        if !fine {
            self.out_of_range(key, &read.span, &value::show_duration(least), &value::show_duration(most));
        }
        fine
    }

    pub(super) fn out_of_range(&self, key: &str, span: &Span, least: &str, most: &str) {
        self.report.error(span, format!("{} must be between {least} and {most}", quote(key))).maybe(None);
    }

    pub(super) fn wrong_type(&self, key: &str, spanned: &Spanned<DeValue<'_>>, wanted: &str) -> Entry<'_> {
        let found = match spanned.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.report.error(&span_of(spanned), format!("{} must be {wanted}, not {found}", quote(key)))
    }

    pub(super) fn complain(&self, span: &Span, wrong: Wrong) {
        self.report.error(span, wrong.message).maybe(wrong.help);
    }
}
