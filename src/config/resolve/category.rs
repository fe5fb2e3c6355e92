//! Categories: the shipped ones, with what the file changes, and the operator's own.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::{Context, or};
use crate::config::raw::{RawCategory, Section};
use crate::config::reader::At;
use crate::config::words::quote;
use crate::ident::{CategoryName, Class};
use crate::policy::{Action, Category, SenderPolicy, shipped_categories};

/// All categories, by name.
pub(super) type Categories = BTreeMap<CategoryName, Arc<Category>>;

/// Categories that no configuration relays: that nothing else leaves is what the whole program is for.
const NEVER_RELAYED: [&str; 2] = ["unknown", "marketing"];

/// Categories that are relayed only with a word of warning: they are not part of signing in.
const RARELY_RELAYED: [&str; 2] = ["subscription", "admin-activity"];

/// The life of a category that is refused and says nothing else.
const LIFE_OF_REFUSED: Duration = Duration::from_hours(24);

/// The shipped categories as the file changes them, and those it adds.
pub(super) fn categories(
    cx: &Context<'_>,
    section: Option<&Section<RawCategory>>,
    recipients_most: usize,
) -> Categories {
    let shipped = shipped_categories();
    let mut all: Categories =
        shipped.iter().map(|category| (category.name.clone(), Arc::new(category.clone()))).collect();
    for (name, raw) in section.iter().flat_map(|section| &section.entries) {
        let base = match shipped.iter().find(|category| category.name.as_str() == name.value) {
            Some(shipped) => shipped.clone(),
            None => new(cx, name, raw),
        };
        let category = changed(base, raw);
        check(cx, name, raw, &category, recipients_most);
        all.insert(category.name.clone(), Arc::new(category));
    }
    all
}

fn new(cx: &Context<'_>, name: &At<String>, raw: &RawCategory) -> Category {
    let label = quote(&name.value);
    if !raw.has_action {
        let known = shipped_categories();
        let message = format!("{label} is a category of your own, and needs `action`");
        let nearest = known
            .iter()
            .map(|category| category.name.as_str())
            .min_by_key(|known| strsim::damerau_levenshtein(known, &name.value));
        let near = nearest.filter(|near| strsim::damerau_levenshtein(near, &name.value) <= 3);
        let help = "write action = \"relay\", \"refuse\", \"suppress\" or \"hold\"";
        let help = near.map_or_else(|| help.to_owned(), |near| format!("did you mean `{near}`?"));
        cx.report.error(&name.span, message).help(help);
    }
    let action = raw.action.as_ref().map_or(Action::Refuse, |at| at.value);
    if action != Action::Refuse && !raw.has_life {
        let message =
            format!("{label} is a category of your own, and needs `life`: how long such a message is of use");
        cx.report.error(&name.span, message).help("write life = \"10m\" for a code, \"1h\" for a link");
    }
    let class = or(raw.class.as_ref(), Class::Normal);
    Category::new(&name.value, action, SenderPolicy::NoReply, LIFE_OF_REFUSED, class)
}

fn changed(base: Category, raw: &RawCategory) -> Category {
    let class = or(raw.class.as_ref(), base.class);
    // A category moved to the other lane takes that lane's clock with it, unless it has its own.
    let base = if class == base.class {
        base
    } else {
        Category {
            retry: Category::default_retry(class),
            max_recipients: Category::default_max_recipients(class),
            per_recipient: Category::default_per_recipient(class),
            settle: Duration::ZERO,
            ..base
        }
    };
    Category {
        action: or(raw.action.as_ref(), base.action),
        sender: or(raw.sender.as_ref(), base.sender),
        life: or(raw.life.as_ref(), base.life),
        class,
        retry: raw
            .retry
            .as_ref()
            .map(|at| at.value.clone())
            .filter(|retry| !retry.is_empty())
            .unwrap_or(base.retry),
        max_recipients: or(raw.max_recipients.as_ref(), base.max_recipients),
        settle: or(raw.settle.as_ref(), base.settle),
        supersede: or(raw.supersede.as_ref(), base.supersede),
        per_recipient: match &raw.per_recipient {
            Some(limits) => limits.value.iter().map(|at| at.value).collect(),
            None => base.per_recipient,
        },
        per_minute: match &raw.per_minute {
            Some(at) => NonZeroU32::new(at.value),
            None => base.per_minute,
        },
        name: base.name,
    }
}

fn check(
    cx: &Context<'_>,
    name: &At<String>,
    raw: &RawCategory,
    category: &Category,
    recipients_most: usize,
) {
    if let Some(retry) = &raw.retry {
        if retry.value.is_empty() {
            cx.report
                .error(&retry.span, "`retry` is empty")
                .help("write at least one pause; the last one repeats");
        }
        if retry.value.iter().any(|pause| *pause >= category.life) {
            cx.report
                .warning(
                    &retry.span,
                    "a pause in `retry` is longer than `life`: there is no attempt after it",
                )
                .maybe(None);
        }
    }
    if let Some(most) = raw.max_recipients.as_ref().filter(|most| most.value > recipients_most) {
        cx.report
            .warning(&most.span, format!("no message has more than {recipients_most} recipients"))
            .help("raise `recipients` in [limits]");
    }
    check_waiting(cx, raw, category);
    let label = quote(&name.value);
    let action = raw.action.as_ref().filter(|action| action.value == Action::Relay);
    if let Some(action) = action.filter(|_| NEVER_RELAYED.contains(&name.value.as_str())) {
        let help =
            "add a category of your own, with a rule in [[rules]] that says which messages belong to it";
        cx.report.error(&action.span, format!("{label} is never relayed")).help(help);
    } else if let Some(action) = action.filter(|_| RARELY_RELAYED.contains(&name.value.as_str())) {
        cx.report
            .warning(&action.span, format!("{label} is not part of signing in, and is relayed"))
            .maybe(None);
    }
}

/// Urgent mail never waits for anything of ours.
fn check_waiting(cx: &Context<'_>, raw: &RawCategory, category: &Category) {
    let settle = raw.settle.as_ref().filter(|at| !at.value.is_zero());
    if category.class == Class::Urgent {
        let pace = raw.per_minute.as_ref().filter(|at| at.value > 0);
        let spans = [settle.map(|at| ("settle", &at.span)), pace.map(|at| ("per_minute", &at.span))];
        for (key, span) in spans.into_iter().flatten() {
            cx.report
                .error(span, format!("{} makes mail wait, and urgent mail never does", quote(key)))
                .help("write class = \"normal\", or remove it");
        }
    } else if let Some(settle) = settle.filter(|at| at.value >= category.life) {
        cx.report
            .error(&settle.span, "`settle` is not shorter than `life`: no message would ever be sent")
            .help("let it settle for half a minute");
    }
}
