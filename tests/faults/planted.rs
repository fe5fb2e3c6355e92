//! The checker's own tests: each breach is planted in what was seen, and must be found, alone.

use super::checker::{Allowance, Answer, Breach, Copy, End, Observed, Submission, Way, judge};
use crate::harness::config::NO_REPLY_ADDRESS;
use crate::harness::mail::{Mail, message, password_reset};
use crate::harness::texts::text_of;

const ALLOWED: Allowance = Allowance { workers: 1, doubted: 0 };

fn to(number: usize) -> String {
    format!("user{number}@customer.example")
}

fn mail(number: usize, answer: Answer) -> Submission {
    Submission { way: Way::Mail, to: to(number), bytes: password_reset(&to(number)), answer }
}

fn accepted(number: usize) -> Submission {
    mail(number, Answer::Accepted(format!("id{number}")))
}

fn text(answer: Answer) -> Submission {
    Submission { way: Way::Text, to: "+12125550100".to_owned(), bytes: b"739182".to_vec(), answer }
}

/// What an honest relay makes of a message.
fn copy(of: &Submission) -> Copy {
    let text = String::from_utf8(of.bytes.clone()).expect("ASCII");
    let (_, rest) = text.split_once("\r\n").expect("a From in the first line");
    let added = message(&[
        "Received: by relay.test; Mon, 5 Jan 2026 10:00:00 +0000",
        &format!("From: Acme <{NO_REPLY_ADDRESS}>"),
        "Date: Mon, 5 Jan 2026 10:00:00 +0000",
        "Message-ID: <1@relay.test>",
        "Auto-Submitted: auto-generated",
    ]);
    let raw = [added.as_slice(), rest.as_bytes()].concat();
    let mail = Mail { reverse_path: NO_REPLY_ADDRESS.to_owned(), recipients: vec![of.to.clone()], raw };
    Copy { mail, answered: true }
}

fn posted() -> (String, String) {
    ("+12125550100".to_owned(), text_of("739182"))
}

/// Three messages and a text that went as promised.
fn honest() -> Observed {
    let submissions: Vec<Submission> = (0..3).map(accepted).collect();
    let mails = submissions.iter().map(copy).collect();
    let mut seen = Observed { submissions, mails, texts: vec![posted()], ..Observed::default() };
    seen.submissions.push(text(Answer::Accepted("text".to_owned())));
    seen
}

#[track_caller]
fn assert_found(what: &str, seen: &Observed, expected: impl Fn(&Breach) -> bool) {
    let verdict = judge(seen, ALLOWED, NO_REPLY_ADDRESS);
    assert!(verdict.breaches.len() == 1 && expected(&verdict.breaches[0]), "{what}: {:?}", verdict.breaches);
}

#[track_caller]
fn assert_clean(what: &str, seen: &Observed) {
    let verdict = judge(seen, ALLOWED, NO_REPLY_ADDRESS);
    assert!(verdict.breaches.is_empty(), "{what}: {:?}", verdict.breaches);
}

/// Every promise, broken once.
pub fn each_planted_breach_is_found() {
    assert_clean("nothing is wrong", &honest());

    let mut seen = honest();
    seen.mails.pop();
    assert_found("lost", &seen, |breach| matches!(breach, Breach::Lost { .. }));
    seen.ends.insert("id2".to_owned(), End { state: None, told: false });
    assert_found("still waiting", &seen, |breach| matches!(breach, Breach::Lost { .. }));
    seen.ends.insert("id2".to_owned(), End { state: Some("expired".to_owned()), told: false });
    assert_found("not told", &seen, |breach| matches!(breach, Breach::EndNotTold { .. }));

    let mut seen = honest();
    seen.texts.clear();
    assert_found("a text lost", &seen, |breach| matches!(breach, Breach::Lost { .. }));

    let mut seen = honest();
    let last = seen.mails[0].mail.raw.len() - 5;
    seen.mails[0].mail.raw[last] ^= 1;
    assert_found("altered", &seen, |breach| matches!(breach, Breach::Altered { .. }));
    let mut seen = honest();
    seen.texts[0].1.push('!');
    assert_found("a text altered", &seen, |breach| matches!(breach, Breach::Altered { .. }));

    let mut seen = honest();
    seen.submissions[1].answer = Answer::Refused(550);
    assert_found("refused", &seen, |breach| matches!(breach, Breach::RefusedArrived { code: 550, .. }));
    let mut seen = honest();
    seen.submissions[1].answer = Answer::PutOff(451);
    assert_found("put off", &seen, |breach| matches!(breach, Breach::PutOffArrived { count: 1, .. }));

    let mut seen = honest();
    seen.submissions.remove(0);
    assert_found("a stray", &seen, |breach| matches!(breach, Breach::Stray { .. }));
    let mut seen = honest();
    seen.texts.push(posted());
    assert_found("a text twice", &seen, |breach| matches!(breach, Breach::TextRepeated { .. }));
}

/// Repeats, within and beyond what is allowed.
pub fn repeats_are_judged_by_the_fault_between() {
    let mut seen = honest();
    seen.mails.push(copy(&seen.submissions[0]));
    assert_found("no fault", &seen, |breach| matches!(breach, Breach::RepeatedWithoutFault { .. }));
    seen.faults = vec![0];
    assert_found("a fault before", &seen, |breach| matches!(breach, Breach::RepeatedWithoutFault { .. }));
    seen.faults = vec![4];
    assert_found("a fault after", &seen, |breach| matches!(breach, Breach::RepeatedWithoutFault { .. }));
    seen.faults = vec![3];
    assert_clean("a fault between", &seen);
    seen.mails.push(copy(&seen.submissions[1]));
    assert_found("more than workers", &seen, |breach| {
        matches!(breach, Breach::RepeatedTooOften { count: 2, .. })
    });

    let mut seen = honest();
    seen.mails[0].answered = false;
    seen.mails.push(copy(&seen.submissions[0]));
    assert_clean("never answered", &seen);
    seen.mails[3].answered = false;
    seen.mails.push(copy(&seen.submissions[0]));
    assert_found("again and again", &seen, |breach| matches!(breach, Breach::RepeatedWithoutFault { .. }));
}

/// What is no breach.
pub fn an_end_that_was_told_and_silence_are_no_breach() {
    let mut seen = honest();
    seen.mails.pop();
    seen.ends.insert("id2".to_owned(), End { state: Some("expired".to_owned()), told: true });
    assert_clean("told", &seen);
    seen.submissions.push(mail(7, Answer::None));
    assert_clean("unanswered, not stored", &seen);
    seen.mails.push(copy(&seen.submissions[4]));
    assert_clean("unanswered, stored", &seen);
    seen.submissions.push(mail(8, Answer::PutOff(451)));
    seen.submissions.push(mail(9, Answer::Refused(550)));
    assert_clean("put off and refused, not stored", &seen);
    seen.mails.push(copy(&seen.submissions[5]));
    let verdict = judge(&seen, Allowance { workers: 1, doubted: 1 }, NO_REPLY_ADDRESS);
    assert!(verdict.breaches.is_empty() && verdict.doubted == 1, "{:?}", verdict.breaches);
}
