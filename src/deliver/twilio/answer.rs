//! What Twilio's answers mean for the text and for the upstream, and what its reports say. Pure tables.
//!
//! Whether there may be a copy is decided here: only an answer that says that nothing was made of the request lets it be
//! made again. A server's error and an answer that can't be read say nothing of the kind.

use std::time::Duration;

use serde_json::Value;

use super::super::reply::{HandOver, Trip};
use super::codes::{Meaning, Treat, known, meaning};
use crate::outcome::{Reason, ReasonClass};
use crate::queue::News;

/// The longest `Retry-After` that is followed.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// How long an account over its limit is left alone before one text finds out.
const EXHAUSTED_PAUSE: Duration = Duration::from_mins(15);

/// An answer to the request that creates a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer<'a> {
    /// The HTTP status.
    pub(super) status: u16,
    /// `Retry-After` in seconds, where it was given so.
    pub(super) retry_after: Option<Duration>,
    /// The body; `None` where it is too long or no JSON.
    pub(super) body: Option<&'a Value>,
    /// Whether this was the first attempt.
    pub(super) first: bool,
}

/// What the answer makes of the text.
pub(super) fn judge(answer: Answer<'_>) -> HandOver {
    match answer.status {
        200..=299 => taken(answer),
        // A redirect that leaves the request undone: the address is not that of the API.
        status @ (301 | 302 | 307 | 308) => HandOver::Unavailable(
            Reason::new(
                ReasonClass::Reply,
                format!("answered with a redirect (HTTP {status}): base_url is wrong"),
            ),
            Trip::AtOnce,
        ),
        status @ (400..=407 | 409..=499) => refused(answer, status),
        status => HandOver::InDoubt(Reason::new(
            ReasonClass::Reply,
            format!("an answer that leaves open whether it was taken (HTTP {status})"),
        )),
    }
}

fn taken(answer: Answer<'_>) -> HandOver {
    let sid = answer.body.and_then(|body| text_of(body, "sid")).filter(|sid| is_reference(sid));
    let (Some(body), Some(sid)) = (answer.body, sid) else {
        let text = format!("taken, but the answer can't be read (HTTP {})", answer.status);
        return HandOver::InDoubt(Reason::new(ReasonClass::Reply, text));
    };
    match text_of(body, "status") {
        // It ended before it was begun, and no report will tell.
        Some(status @ ("failed" | "undelivered" | "canceled")) => {
            let code = code_of(body, "error_code");
            act(treatment(code, status), reason_for(code, status), answer)
        }
        Some(_) | None => HandOver::Taken { reference: sid.to_owned() },
    }
}

fn refused(answer: Answer<'_>, status: u16) -> HandOver {
    let code = answer.body.and_then(|body| code_of(body, "code"));
    // What the code says is more exact than the status, where it is known.
    let Meaning { treat, words } = match (code.and_then(known), status) {
        (Some(meaning), _) => meaning,
        (None, 429) => Meaning { treat: Treat::Later, words: "too many requests" },
        // A code outside of 20xxx is about this text: it must not stop those of others.
        (None, 401 | 403 | 404) if code.is_none_or(|code| (20_000..21_000).contains(&code)) => {
            Meaning { treat: Treat::Account, words: "the account or the login was not accepted" }
        }
        (None, _) => code.map_or(Meaning { treat: Treat::Refuse, words: "refused" }, meaning),
    };
    let reason = match code.and_then(|code| u16::try_from(code).ok()) {
        Some(code) => Reason::reply(code, words),
        None => Reason::new(ReasonClass::Reply, format!("{words} (HTTP {status})")),
    };
    act(treat, reason, answer)
}

fn act(treat: Treat, reason: Reason, answer: Answer<'_>) -> HandOver {
    match treat {
        Treat::Once if answer.first => HandOver::Deferred(reason),
        Treat::Refuse | Treat::Once => HandOver::Refused(reason),
        Treat::Unroutable => HandOver::Unfit(reason),
        Treat::Account => HandOver::Unavailable(Reason { class: ReasonClass::Auth, ..reason }, Trip::AtOnce),
        Treat::Later => {
            let pause = answer.retry_after.map(|pause| Trip::For(pause.min(LONGEST_PAUSE)));
            HandOver::Unavailable(reason, pause.unwrap_or(Trip::Counted))
        }
        Treat::Exhausted => HandOver::Unavailable(reason, Trip::For(EXHAUSTED_PAUSE)),
    }
}

/// What a status, and the error code beside it, say became of a text: from a status callback, or from asking. `None` for
/// the statuses of texts that others send to us. A status that we do not know is one on the way.
pub fn news(status: &str, error_code: Option<u32>) -> Option<News> {
    match status {
        "receiving" | "received" => None,
        "delivered" | "read" => Some(News::Delivered),
        "undelivered" | "failed" | "canceled" => {
            let reason = reason_for(error_code, status);
            Some(match treatment(error_code, status) {
                Treat::Once | Treat::Later => News::Retry(reason),
                Treat::Refuse | Treat::Unroutable | Treat::Account | Treat::Exhausted => News::Failed(reason),
            })
        }
        // accepted, scheduled, queued, sending, sent
        _ => Some(News::Underway),
    }
}

fn treatment(code: Option<u32>, status: &str) -> Treat {
    match code {
        Some(code) => meaning(code).treat,
        None if status == "canceled" => Treat::Refuse,
        // Without a code it is as 30008: no reason that is known.
        None => Treat::Once,
    }
}

fn reason_for(code: Option<u32>, status: &str) -> Reason {
    let words = code.map_or(status, |code| meaning(code).words);
    match code.and_then(|code| u16::try_from(code).ok()) {
        Some(code) => Reason::reply(code, words),
        None => Reason::new(ReasonClass::Reply, words),
    }
}

/// Whether a text can be known by it over there. Twilio's have two letters and 32 hexadecimal digits, those of proxies and
/// of other servers of its interface whatever they like: what was taken is not in doubt because of how its id is spelled.
pub(super) fn is_reference(text: &str) -> bool {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    visible && text.len() <= 64 && text.bytes().any(|byte| byte.is_ascii_alphanumeric())
}

pub(super) fn text_of<'a>(body: &'a Value, field: &str) -> Option<&'a str> {
    body.get(field).and_then(Value::as_str)
}

/// A code is a number; some proxies make it a text.
pub(super) fn code_of(body: &Value, field: &str) -> Option<u32> {
    let code = body.get(field)?;
    code.as_u64().and_then(|code| u32::try_from(code).ok()).or_else(|| code.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SID: &str = "SM0123456789abcdef0123456789abcdef";

    fn answer(status: u16, body: &Value) -> HandOver {
        judge(Answer { status, retry_after: None, body: Some(body), first: true })
    }

    fn kind(hand_over: &HandOver) -> &'static str {
        match hand_over {
            HandOver::Accepted { .. } => "accepted",
            HandOver::Taken { .. } => "taken",
            HandOver::Refused(_) => "refused",
            HandOver::Deferred(_) => "deferred",
            HandOver::InDoubt(_) => "in doubt",
            HandOver::Unavailable(reason, Trip::AtOnce) if reason.class == ReasonClass::Auth => "account",
            HandOver::Unavailable(_, Trip::AtOnce) => "unavailable at once",
            HandOver::Unavailable(_, Trip::Counted) => "unavailable",
            HandOver::Unavailable(_, Trip::For(_)) => "unavailable for long",
            HandOver::Unfit(_) => "unfit",
            HandOver::SenderRefused(_) => "sender",
        }
    }

    fn told(code: u32) -> &'static str {
        match news("undelivered", Some(code)) {
            Some(News::Retry(_)) => "retry",
            Some(News::Failed(_)) => "failed",
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_error_code_has_its_outcome_and_its_news() {
        for (status, code, outcome, report) in [
            (401, 20003, "account", "failed"),
            (404, 20404, "account", "failed"),
            (429, 20429, "unavailable", "retry"),
            (400, 21211, "refused", "failed"),
            (400, 21212, "unfit", "failed"),
            (400, 21266, "refused", "failed"),
            (400, 21408, "unfit", "failed"),
            (400, 21606, "unfit", "failed"),
            (400, 21608, "unfit", "failed"),
            (400, 21610, "refused", "failed"),
            (400, 21611, "unavailable", "retry"),
            (400, 21612, "unfit", "failed"),
            (400, 21614, "refused", "failed"),
            (400, 21777, "refused", "failed"),
            (400, 30001, "unavailable", "retry"),
            (403, 30002, "account", "failed"),
            (400, 30003, "deferred", "retry"),
            (400, 30004, "refused", "failed"),
            (400, 30005, "refused", "failed"),
            (400, 30006, "refused", "failed"),
            (400, 30007, "refused", "failed"),
            (400, 30008, "deferred", "retry"),
            (400, 30030, "account", "failed"),
            (400, 30034, "unfit", "failed"),
            (400, 30036, "refused", "failed"),
            (400, 30450, "refused", "failed"),
            (403, 30453, "refused", "failed"),
            (400, 30777, "deferred", "retry"),
            (429, 63038, "unavailable for long", "failed"),
            (400, 99999, "refused", "failed"),
        ] {
            let body = json!({ "code": code, "message": "+12025550100 is wrong", "status": status });
            let done = answer(status, &body);
            assert_eq!(kind(&done), outcome, "{code}");
            assert_eq!(told(code), report, "{code}");
            assert!(!format!("{done:?}").contains("2025550100"), "{done:?}");
            assert!(
                u16::try_from(code).is_err() || format!("{done:?}").contains(&code.to_string()),
                "{done:?}"
            );
        }
    }

    /// An unknown code about one number, told with 403, once had all texts wait.
    #[test]
    fn only_codes_of_the_account_stop_the_account() {
        for (status, code, outcome) in [
            (401, 20777, "account"),
            (403, 20005, "account"),
            (404, 20777, "account"),
            (403, 21777, "refused"),
            (403, 99999, "refused"),
            (404, 21777, "refused"),
            (403, 30777, "deferred"),
            (400, 20777, "refused"),
        ] {
            assert_eq!(kind(&answer(status, &json!({ "code": code }))), outcome, "{status} {code}");
        }
    }

    #[test]
    fn what_is_tried_once_more_is_not_tried_a_third_time() {
        let body = json!({ "code": 30008 });
        let again = judge(Answer { status: 400, retry_after: None, body: Some(&body), first: false });
        assert_eq!(kind(&again), "refused");
    }

    #[test]
    fn every_status_without_a_code_has_its_outcome() {
        let nothing = json!({});
        for (status, outcome) in [
            (201, "in doubt"),
            (204, "in doubt"),
            (301, "unavailable at once"),
            (303, "in doubt"),
            (308, "unavailable at once"),
            (400, "refused"),
            (401, "account"),
            (403, "account"),
            (404, "account"),
            (408, "in doubt"),
            (415, "refused"),
            (429, "unavailable"),
            (500, "in doubt"),
            (502, "in doubt"),
            (503, "in doubt"),
            (504, "in doubt"),
        ] {
            assert_eq!(kind(&answer(status, &nothing)), outcome, "{status}");
            let unreadable = judge(Answer { status, retry_after: None, body: None, first: true });
            assert_eq!(kind(&unreadable), outcome, "{status}");
        }
        // A server's error is in doubt whatever code it carries.
        assert_eq!(kind(&answer(500, &json!({ "code": 21211 }))), "in doubt");
    }

    #[test]
    fn a_pause_that_is_asked_for_is_kept_within_reason() {
        let body = json!({ "code": 20429 });
        for (seconds, expected) in [(2, 2), (86_400, 60)] {
            let retry_after = Some(Duration::from_secs(seconds));
            let done = judge(Answer { status: 429, retry_after, body: Some(&body), first: true });
            let HandOver::Unavailable(_, Trip::For(pause)) = done else { panic!("{done:?}") };
            assert_eq!(pause, Duration::from_secs(expected));
        }
    }

    #[test]
    fn a_text_is_taken_when_the_answer_names_it() {
        for status in ["accepted", "queued", "sending", "sent", "scheduled", "something-new"] {
            let body = json!({ "sid": SID, "status": status, "error_code": null });
            assert_eq!(answer(201, &body), HandOver::Taken { reference: SID.to_owned() });
        }
        assert_eq!(kind(&answer(200, &json!({ "sid": SID.replace("SM", "MM") }))), "taken");
        for sid in
            [&SID.to_uppercase(), "Sm0123456789abcdef0123456789ABCDEF", "SM1", "a/b?c", &"x".repeat(64)]
        {
            assert_eq!(kind(&answer(201, &json!({ "sid": sid, "status": "queued" }))), "taken", "{sid}");
        }
        for sid in ["", "..", "a b", "a\u{e4}", "a\r\nb", &"x".repeat(65)] {
            assert_eq!(kind(&answer(201, &json!({ "sid": sid, "status": "queued" }))), "in doubt", "{sid}");
        }
    }

    #[test]
    fn a_text_that_ended_before_it_was_begun_is_not_taken() {
        for (status, code, outcome) in [
            ("failed", json!(30005), "refused"),
            ("failed", json!("30008"), "deferred"),
            ("undelivered", json!(null), "deferred"),
            ("canceled", json!(null), "refused"),
            ("failed", json!(30002), "account"),
        ] {
            let body = json!({ "sid": SID, "status": status, "error_code": code });
            assert_eq!(kind(&answer(201, &body)), outcome, "{status} {code}");
        }
    }

    #[test]
    fn every_status_of_a_report_has_its_news() {
        for status in ["accepted", "scheduled", "queued", "sending", "sent", "something-new"] {
            assert_eq!(news(status, None), Some(News::Underway), "{status}");
        }
        for status in ["delivered", "read"] {
            assert_eq!(news(status, None), Some(News::Delivered), "{status}");
        }
        assert!(matches!(news("failed", None), Some(News::Retry(_))));
        assert!(matches!(news("undelivered", None), Some(News::Retry(_))));
        assert!(matches!(news("canceled", None), Some(News::Failed(_))));
        assert_eq!(news("received", None), None);
        let Some(News::Failed(reason)) = news("undelivered", Some(30005)) else { panic!("not failed") };
        assert_eq!(reason.to_string(), "30005 unknown or inactive handset");
    }
}
