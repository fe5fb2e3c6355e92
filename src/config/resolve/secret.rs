//! Secrets, from where the file says that they are. One kind of secret comes from one place.

use super::Context;
use super::files::Read;
use crate::config::problem::Span;
use crate::config::raw::{RawSecret, SecretKind};
use crate::config::reader::At;
use crate::config::words::quote;
use crate::secret::Secret;

/// Where the secret is said to be, reporting a second place. `Err` where there are several.
pub(super) fn place<'r>(
    cx: &Context<'_>,
    raw: &'r RawSecret,
    kind: &SecretKind,
) -> Result<Option<&'r Span>, ()> {
    match raw.spans().as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(only)),
        [_, second, ..] => {
            cx.report
                .error(second, format!("there are two {}", kind.plural))
                .help(format!("keep one of {}", kind.keys.join(", ")));
            Err(())
        }
    }
}

/// The secret; `None` where there is none, or where it can't be had, which has been reported.
pub(super) fn read(cx: &Context<'_>, raw: &RawSecret, kind: &SecretKind) -> Option<Secret> {
    let (text, span) = text(cx, raw, kind)?;
    check(cx, text, kind, span)
}

/// Several secrets of one kind, one a line, with the place they were said to be at; `None` where there is none, or where
/// they can't be had, which has been reported.
pub(super) fn read_lines<'r>(
    cx: &Context<'_>,
    raw: &'r RawSecret,
    kind: &SecretKind,
) -> Option<(Vec<Secret>, &'r Span)> {
    let (text, span) = text(cx, raw, kind)?;
    let words = text.as_ref().map(Secret::reveal).unwrap_or_default().split_ascii_whitespace();
    let lines: Vec<Secret> = words.map(Secret::new).collect();
    if lines.is_empty() {
        // Says what is wrong with it.
        check(cx, None, kind, span);
        return None;
    }
    Some((lines, span))
}

/// What stands where the secret is said to be, and the place where that is said. The inner `None`: it is no text.
fn text<'r>(cx: &Context<'_>, raw: &'r RawSecret, kind: &SecretKind) -> Option<(Option<Secret>, &'r Span)> {
    let [by_file, by_env, by_credential, _] = kind.keys;
    if let Some(inline) = &raw.inline {
        cx.report
            .warning(&inline.span, format!("this {} is in the configuration itself", kind.noun))
            .help(format!("keep it in a file of its own: {by_file}, {by_env} or {by_credential}"));
    }
    let of_file = |read: Option<Read>, at: &'r At<String>| {
        let read = read?;
        let text = std::str::from_utf8(&read.bytes).ok().map(|text| text.trim_end_matches(['\r', '\n']));
        Some((text.map(Secret::new), &at.span))
    };
    if let Some(at) = &raw.file {
        of_file(cx.read_secret(at), at)
    } else if let Some(at) = &raw.credential {
        cx.is_fixed(by_credential, at);
        of_file(cx.read_credential(at), at)
    } else if let Some(at) = &raw.env {
        cx.is_fixed(by_env, at);
        let value = cx.env.variable(&at.value);
        if value.is_none() {
            cx.report
                .error(&at.span, format!("the variable {} is not set", quote(&at.value)))
                .help(format!("set it in the unit with EnvironmentFile=, or use {by_credential}"));
        }
        Some((Some(value?), &at.span))
    } else {
        let at = raw.inline.as_ref()?;
        Some((Some(at.value.clone()), &at.span))
    }
}

fn check(cx: &Context<'_>, secret: Option<Secret>, kind: &SecretKind, span: &Span) -> Option<Secret> {
    let fine =
        |secret: &Secret| !secret.reveal().is_empty() && !secret.reveal().chars().any(char::is_control);
    let secret = secret.filter(fine);
    if secret.is_none() {
        let noun = kind.noun;
        cx.report
            .error(span, format!("this {noun} is empty, has more than one line or is not UTF-8"))
            .help(format!("put the {noun} alone into it, on one line"));
    }
    secret
}
