//! Reads TOML tables with their places. Every key that is asked for is known; what was never asked for is reported as
//! unknown when the table is finished, with the nearest key that is. A wrong value is reported and read as missing.

mod wrong;

use std::cell::RefCell;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::problem::{Report, Span};
use super::value::{self, Parsed};
use super::words::{nearest, quote, quote_all};
use crate::clock::Timestamp;
use crate::secret::Secret;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

impl<T> At<T> {
    /// A value that stands in no file.
    pub(super) fn default(value: T) -> Self {
        Self { value, span: None }
    }

    pub(super) fn map<U>(self, f: impl FnOnce(T) -> U) -> At<U> {
        At { value: f(self.value), span: self.span }
    }
}

/// One table, of which keys are taken.
pub(super) struct Table<'t> {
    report: &'t Report,
    entries: &'t DeTable<'t>,
    /// How its keys are called in messages: empty, or the table's path and a dot.
    prefix: String,
    span: Span,
    asked: RefCell<Vec<String>>,
}

impl<'t> Table<'t> {
    /// The whole document.
    pub(super) fn root(report: &'t Report, entries: &'t DeTable<'t>) -> Self {
        Self::new(report, entries, String::new(), Some(0..0))
    }

    fn new(report: &'t Report, entries: &'t DeTable<'t>, prefix: String, span: Span) -> Self {
        Self { report, entries, prefix, span, asked: RefCell::default() }
    }

    /// Where the table stands: its header, or the whole of an inline table.
    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    /// A text.
    pub(super) fn text(&self, key: &str) -> Option<At<String>> {
        self.parsed(key, "a text in quotes", |text| Ok(text.to_owned()))
    }

    /// A text that must not be shown.
    pub(super) fn secret(&self, key: &str) -> Option<At<Secret>> {
        self.hidden(key, |text| Ok(Secret::new(text)))
    }

    /// A text that means something and must not be shown.
    pub(super) fn hidden<T>(&self, key: &str, parse: impl Fn(&str) -> Parsed<T>) -> Option<At<T>> {
        let spanned = self.get(key)?;
        self.report.hide(&span_of(spanned));
        self.parse_one(spanned, key, "a text in quotes", parse)
    }

    /// A text that means something.
    pub(super) fn parsed<T>(
        &self,
        key: &str,
        what: &str,
        parse: impl Fn(&str) -> Parsed<T>,
    ) -> Option<At<T>> {
        let spanned = self.get(key)?;
        self.parse_one(spanned, key, what, parse)
    }

    /// A list of texts that mean something. Wrong ones are reported and left out.
    pub(super) fn list<T>(&self, key: &str, parse: impl Fn(&str) -> Parsed<T>) -> Option<At<Vec<At<T>>>> {
        let spanned = self.get(key)?;
        let DeValue::Array(array) = spanned.get_ref() else {
            let found = spanned.get_ref();
            let entry = self.wrong_type(key, spanned, "a list of texts");
            entry.maybe(found.as_str().map(|text| format!("write {key} = [\"{}\"]", text.escape_debug())));
            return None;
        };
        let values =
            array.iter().filter_map(|item| self.parse_one(item, key, "a list of texts", &parse)).collect();
        Some(At { value: values, span: span_of(spanned) })
    }

    /// A list of names.
    pub(super) fn names(&self, key: &str) -> Option<At<Vec<At<String>>>> {
        self.list(key, |text| Ok(text.to_owned()))
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Option<At<T>> {
        let text = self.text(key)?;
        let found = choices.iter().find(|(name, _)| *name == text.value).map(|(_, value)| *value);
        if found.is_none() {
            let message = format!("{} can't be {}", quote(key), quote(&text.value));
            let names = || choices.iter().map(|(name, _)| *name);
            self.report.error(&text.span, message).help(format!("write one of {}", quote_all(names())));
        }
        found.map(|value| At { value, span: text.span })
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, key: &str) -> Option<At<bool>> {
        let spanned = self.get(key)?;
        let value = spanned.get_ref().as_bool();
        if value.is_none() {
            self.wrong_type(key, spanned, "true or false");
        }
        value.map(|value| At { value, span: span_of(spanned) })
    }

    /// A whole number between two others.
    pub(super) fn integer<T: TryFrom<u64>>(&self, key: &str, least: u64, most: u64) -> Option<At<T>> {
        let spanned = self.get(key)?;
        let DeValue::Integer(number) = spanned.get_ref() else {
            self.wrong_type(key, spanned, "a whole number");
            return None;
        };
        let value = u64::from_str_radix(number.as_str(), number.radix()).ok();
        self.within(key, spanned, value, least..=most, &|bound| bound.to_string())
    }

    /// A size in octets, as a text with a unit or a number.
    pub(super) fn size(&self, key: &str, least: u64, most: u64) -> Option<At<usize>> {
        let spanned = self.get(key)?;
        let value = match spanned.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            DeValue::String(_) => Some(self.parse_one(spanned, key, "", value::size)?.value),
            DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                self.wrong_type(key, spanned, "a size such as \"1 MiB\"");
                return None;
            }
        };
        let show = |bound: u64| value::show_size(usize::try_from(bound).unwrap_or(usize::MAX));
        self.within(key, spanned, value, least..=most, &show)
    }

    /// A duration between two others.
    pub(super) fn duration(&self, key: &str, least: Duration, most: Duration) -> Option<At<Duration>> {
        let spanned = self.get(key)?;
        let read = self.parse_one(spanned, key, "a duration such as \"10m\"", value::duration)?;
        self.check_duration(key, &read, least, most).then_some(read)
    }

    /// A list of durations, each between two others.
    pub(super) fn durations(&self, key: &str, least: Duration, most: Duration) -> Option<At<Vec<Duration>>> {
        let list = self.list(key, value::duration)?;
        let mut fine = true;
        for item in &list.value {
            fine &= self.check_duration(key, item, least, most);
        }
        fine.then(|| list.map(|items| items.into_iter().map(|item| item.value).collect()))
    }

    /// Until when: a date or a date with a time.
    pub(super) fn until(&self, key: &str) -> Option<At<Timestamp>> {
        let spanned = self.get(key)?;
        let span = span_of(spanned);
        let DeValue::Datetime(date) = spanned.get_ref() else {
            self.wrong_type(key, spanned, "a date").help("write it without quotes, like 2027-01-31");
            return None;
        };
        match value::until(date) {
            Ok(value) => Some(At { value, span }),
            Err(problem) => {
                self.complain(&span, problem);
                None
            }
        }
    }

    /// A table below this one.
    pub(super) fn table(&self, key: &str) -> Option<Table<'t>> {
        let spanned = self.get(key)?;
        let DeValue::Table(entries) = spanned.get_ref() else {
            self.wrong_type(key, spanned, &format!("a table: [{}]", self.path(key)));
            return None;
        };
        Some(self.child(key, entries, span_of(spanned)))
    }

    /// The tables below this one that the administrator names, in the order of the file.
    pub(super) fn named_tables(&self) -> Vec<(At<String>, Table<'t>)> {
        let mut found = Vec::new();
        for (key, spanned) in self.entries {
            let name = At { value: key.get_ref().to_string(), span: Some(key.span()) };
            self.asked.borrow_mut().push(name.value.clone());
            if let Err(problem) = value::name(&name.value) {
                self.complain(&name.span, problem);
            }
            match spanned.get_ref() {
                DeValue::Table(entries) => {
                    let table = self.child(&name.value, entries, name.span.clone());
                    found.push((name, table));
                }
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_) => {
                    let section = self.prefix.trim_end_matches('.');
                    let message = format!(
                        "[{section}] holds only tables with a name, and {} is none",
                        quote(&name.value)
                    );
                    self.report.error(&name.span, message).help(format!("begin one with [{section}.NAME]"));
                }
            }
        }
        found.sort_by_key(|(name, _)| name.span.as_ref().map(|span| span.start));
        found
    }

    /// A list of tables: `[[key]]`, or inline.
    pub(super) fn tables(&self, key: &str) -> Vec<Table<'t>> {
        let Some(spanned) = self.get(key) else { return Vec::new() };
        let wanted = format!("a list of tables: [[{}]]", self.path(key));
        let DeValue::Array(array) = spanned.get_ref() else {
            self.wrong_type(key, spanned, &wanted);
            return Vec::new();
        };
        let each = |item: &'t Spanned<DeValue<'t>>| match item.get_ref() {
            DeValue::Table(entries) => Some(self.child(key, entries, span_of(item))),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => {
                self.wrong_type(key, item, &wanted);
                None
            }
        };
        let array: &'t DeArray<'t> = array;
        array.iter().filter_map(each).collect()
    }

    /// The keys of this table, as they stand.
    pub(super) fn keys(&self) -> Vec<At<String>> {
        let key = |key: &Spanned<std::borrow::Cow<'_, str>>| At {
            value: key.get_ref().to_string(),
            span: Some(key.span()),
        };
        self.entries.iter().map(|(name, _)| key(name)).collect()
    }

    /// A text, or a list of which any may stand.
    pub(super) fn text_or_list(&self, key: &str) -> Vec<At<String>> {
        let Some(spanned) = self.get(key) else { return Vec::new() };
        match spanned.get_ref() {
            DeValue::Array(_) => self.names(key).map(|list| list.value).unwrap_or_default(),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Table(_) => self.text(key).into_iter().collect(),
        }
    }

    /// Whether the key is there, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Reports a key that must be there and is not.
    pub(super) fn require(&self, key: &str, help: &str) {
        if !self.has(key) {
            let path = self.prefix.trim_end_matches('.');
            self.report.error(&self.span, format!("[{path}] needs {}", quote(key))).help(help);
        }
    }

    /// Reports that none of these keys is there, where one must be; `named` are the ones to name.
    pub(super) fn require_any(&self, keys: &[&str], named: &[&str], help: &str) {
        if !keys.iter().any(|key| self.has(key)) {
            let path = self.prefix.trim_end_matches('.');
            let named: Vec<String> = named.iter().map(|key| quote(key)).collect();
            self.report.error(&self.span, format!("[{path}] needs {}", named.join(" or "))).help(help);
        }
    }

    /// Reports every key that was not asked for.
    pub(super) fn finish(self) {
        let asked = self.asked.take();
        for (key, value) in self.entries {
            let name = key.get_ref();
            if asked.iter().any(|asked| asked == name) {
                continue;
            }
            // A misspelt `password` is still a password, and so may be the value of a key that is like none.
            let known: Vec<&str> = asked.iter().map(String::as_str).collect();
            if nearest(name, &known).is_none_or(is_secret) && !is_header(key, value) {
                self.report.hide(&span_of(value));
            }
            let place = match self.prefix.trim_end_matches('.') {
                "" => "at the top of the file".to_owned(),
                path => format!("in [{path}]"),
            };
            let message = format!("unknown key {} {place}", quote(name));
            self.report.unknown(&Some(key.span()), message, name, known);
        }
    }

    fn get(&self, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        let mut asked = self.asked.borrow_mut();
        if !asked.iter().any(|asked| asked == key) {
            asked.push(key.to_owned());
        }
        self.entries.get(key)
    }

    fn child(&self, key: &str, entries: &'t DeTable<'t>, span: Span) -> Table<'t> {
        Table::new(self.report, entries, format!("{}.", self.path(key)), span)
    }

    fn path(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

/// Whether what stands under this key is a secret, or says where one is.
fn is_secret(key: &str) -> bool {
    ["password", "auth_token", "api_key", "account_sid", "token"].iter().any(|start| key.starts_with(start))
}

/// Whether the value is a table that begins with a header: its place is the header, which says nothing.
fn is_header(key: &Spanned<std::borrow::Cow<'_, str>>, value: &Spanned<DeValue<'_>>) -> bool {
    value.span().start < key.span().end
}

#[expect(clippy::unnecessary_wraps, reason = "a place that is in the file, among those that may be in none")]
fn span_of<T>(spanned: &Spanned<T>) -> Span {
    Some(spanned.span())
}
