//! How values are written for people: times, spans, and characters that must not act on the reader.
//!
//! Invariant: a finished page goes through [`harmless`], so that no control character and no character that changes the
//! direction or hides is in it, wherever it came from. What is escaped is the template's matter.

use std::fmt::Write as _;

use maud::{Markup, html};

use crate::clock::Timestamp;

/// Makes characters visible that show nothing themselves or move others: `[U+202E]`. To be called on finished HTML: what
/// it writes means nothing there.
pub(super) fn harmless(html: String) -> String {
    if !html.chars().any(is_sly) {
        return html;
    }
    let mut shown = String::with_capacity(html.len() + 64);
    for c in html.chars() {
        if is_sly(c) {
            // A string takes everything.
            let _ = write!(shown, "[U+{:04X}]", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    shown
}

fn is_sly(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        // Direction, width zero, line ends of Unicode, tags, and what only annotates.
        '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => true,
        other => other.is_control(),
    }
}

/// A moment, with how long ago it was or how long it is until then.
pub(super) fn moment(at: &str, now: Timestamp) -> Markup {
    let Some(then) = Timestamp::parse(at) else { return html! { "unknown" } };
    html! {
        span.moment {
            time datetime=(at) { (clock(at, now)) }
            " "
            span.quiet { (distance(then, now)) }
        }
    }
}

/// The time of day, with the date where that is not today. All times are UTC.
fn clock(at: &str, now: Timestamp) -> String {
    let (date, time) = at.split_once('T').unwrap_or((at, ""));
    let time = time.trim_end_matches('Z');
    if now.to_rfc3339().starts_with(date) { time.to_owned() } else { format!("{date} {time}") }
}

fn distance(then: Timestamp, now: Timestamp) -> String {
    // The forms that are read back hold no parts of a second.
    if then.as_millis() <= now.as_millis() {
        match now.since(then).as_secs() {
            0 | 1 => "just now".to_owned(),
            seconds => format!("{} ago", span(seconds)),
        }
    } else {
        format!("in {}", span(then.since(now).as_secs().max(1)))
    }
}

/// How long something is, in its two largest units.
pub(super) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: u64, unit: &str, small: u64, smaller: &str| match small {
        0 => format!("{large} {unit}"),
        small => format!("{large} {unit} {small} {smaller}"),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => two(minutes, "min", seconds % 60, "s"),
        3600..86_400 => two(hours, "h", minutes % 60, "min"),
        _ if days < 10 => two(days, if days == 1 { "day" } else { "days" }, hours % 24, "h"),
        _ if days < 730 => format!("{days} days"),
        _ => format!("{} years", days / 365),
    }
}

/// How long something took.
pub(super) fn millis(millis: u64) -> String {
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..60_000 => {
            let (whole, tenth) = (millis / 1000, millis % 1000 / 100);
            if tenth == 0 { format!("{whole} s") } else { format!("{whole}.{tenth} s") }
        }
        longer => span(longer / 1000),
    }
}

/// A sentence with commands in it, which stand between backticks.
pub(super) fn with_code(sentence: &str) -> Markup {
    html! {
        @for (index, part) in sentence.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// A number with its noun.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_or_hides_is_shown_and_the_rest_stays() {
        let text = "<p>a\u{202e}b\u{0}c\u{200b}d\u{85}e\nf שלום 日本 é</p>";
        assert_eq!(harmless(text.to_owned()), "<p>a[U+202E]b[U+0000]c[U+200B]d[U+0085]e\nf שלום 日本 é</p>");
        assert_eq!(harmless("plain".to_owned()), "plain");
    }

    #[test]
    fn spans_are_told_in_two_units_at_most() {
        let told = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (125, "2 min 5 s"),
            (3600, "1 h"),
            (7_260, "2 h 1 min"),
        ];
        for (seconds, text) in told {
            assert_eq!(span(seconds), text);
        }
        assert_eq!((span(86_400), span(90_000)), ("1 day".to_owned(), "1 day 1 h".to_owned()));
        assert_eq!((span(86_400 * 80), span(86_400 * 731)), ("80 days".to_owned(), "2 years".to_owned()));
        let took = [(7, "7 ms"), (1_000, "1 s"), (2_340, "2.3 s"), (61_000, "1 min 1 s")];
        for (given, text) in took {
            assert_eq!(millis(given), text);
        }
    }

    #[test]
    fn moments_are_told_with_their_distance_and_dates_only_where_they_differ() {
        let now = Timestamp::parse("2026-11-23T13:26:00Z").unwrap();
        let shown = |at| moment(at, now).into_string();
        let earlier = shown("2026-11-23T13:25:00Z");
        assert!(earlier.contains(">13:25:00</time>") && earlier.contains("1 min ago"), "{earlier}");
        let yesterday = shown("2026-11-22T13:26:00Z");
        assert!(yesterday.contains(">2026-11-22 13:26:00</time>") && yesterday.contains("1 day ago"));
        assert!(shown("2026-11-23T14:26:00Z").contains("in 1 h"));
        assert!(shown("2026-11-23T13:26:00Z").contains("just now"));
        assert_eq!(shown("<never>"), "unknown");
    }
}
