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
    let [by_file, by_env, by_credential, _] = kind.keys;
    if let Some(inline) = &raw.inline {
        cx.report
            .warning(&inline.span, format!("this {} is in the configuration itself", kind.noun))
            .help(format!("keep it in a file of its own: {by_file}, {by_env} or {by_credential}"));
    }
    let of_file = |read: Option<Read>, at: &At<String>| {
        let read = read?;
        let text = std::str::from_utf8(&read.bytes).ok().map(|text| text.trim_end_matches(['\r', '\n']));
        check(cx, text.map(Secret::new), kind, &at.span)
    };
    if let Some(at) = &raw.file {
        of_file(cx.read_secret(at), at)
    } else if let Some(at) = &raw.credential {
        of_file(cx.read_credential(at), at)
    } else if let Some(at) = &raw.env {
        let value = cx.env.variable(&at.value);
        if value.is_none() {
            cx.report
                .error(&at.span, format!("the variable {} is not set", quote(&at.value)))
                .help(format!("set it in the unit with EnvironmentFile=, or use {by_credential}"));
        }
        check(cx, Some(value?), kind, &at.span)
    } else {
        let at = raw.inline.as_ref()?;
        check(cx, Some(at.value.clone()), kind, &at.span)
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
