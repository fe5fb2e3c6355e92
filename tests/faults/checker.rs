//! The invariant checker: it judges what clients were answered against what upstreams took. Pure, so that its own tests
//! can plant each breach and see it found.
//!
//! What it holds the relay to:
//! - answered `250` or `202`: handed over at least once with the bytes promised, or a recorded end that was told;
//! - refused (`5xx`): never handed over;
//! - put off (`4xx`): never handed over, but for commits whose fate stayed unknown, which are counted and bounded;
//! - repeats of mail only across a fault, at most the number of workers at each, or once after a copy that the upstream
//!   never answered; texts are never repeated;
//! - nothing arrives that was not sent whole.

use std::collections::BTreeMap;
use std::fmt;

use crate::harness::mail::{Mail, rewritten};

/// What a client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Mail over SMTP.
    Mail,
    /// A code over HTTP.
    Text,
}

/// What it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// `250` or `202`, with the id.
    Accepted(String),
    /// Not now: `4xx` over SMTP, `429` or `5xx` over HTTP.
    PutOff(u16),
    /// No: `5xx` over SMTP, another `4xx` over HTTP.
    Refused(u16),
    /// Sent whole, and the connection ended.
    None,
}

/// One message that was sent whole. Its recipient is nobody else's.
#[derive(Debug, Clone)]
pub struct Submission {
    pub way: Way,
    pub to: String,
    /// The message, or the code.
    pub bytes: Vec<u8>,
    pub answer: Answer,
}

/// A mail that an upstream took.
#[derive(Debug, Clone)]
pub struct Copy {
    pub mail: Mail,
    /// The upstream said that it took it.
    pub answered: bool,
}

/// How a message ended that was not handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The state it came to rest in; `None`: it is not known, or has not ended.
    pub state: Option<String>,
    /// An event of that name is recorded.
    pub told: bool,
}

/// All that was seen from outside.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    pub submissions: Vec<Submission>,
    /// In the order in which they were taken.
    pub mails: Vec<Copy>,
    /// Number and text, in the order in which they were posted.
    pub texts: Vec<(String, String)>,
    /// By id.
    pub ends: BTreeMap<String, End>,
    /// How many mails had been taken at each fault.
    pub faults: Vec<usize>,
}

/// What is allowed beside the plain promise.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// How many deliveries can be in flight at a fault.
    pub workers: usize,
    /// How many messages that were put off may arrive: their commits' fate stayed unknown.
    pub doubted: usize,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Breach {
    Lost { to: String, id: String },
    EndNotTold { to: String, id: String, state: String },
    Altered { to: String, how: String },
    RefusedArrived { to: String, code: u16 },
    PutOffArrived { count: usize, allowed: usize },
    RepeatedWithoutFault { to: String },
    RepeatedTooOften { fault: usize, count: usize, allowed: usize },
    TextRepeated { to: String },
    Stray { to: String },
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { to, id } => {
                write!(f, "LOST: {to} was accepted as {id}, did not arrive and has no end")
            }
            Self::EndNotTold { to, id, state } => {
                write!(f, "{to} ({id}) ended as {state}, and no event tells of it")
            }
            Self::Altered { to, how } => write!(f, "what arrived for {to} is not what was promised: {how}"),
            Self::RefusedArrived { to, code } => write!(f, "{to} was refused with {code}, and arrived"),
            Self::PutOffArrived { count, allowed } => {
                write!(f, "{count} that were put off arrived, {allowed} may have")
            }
            Self::RepeatedWithoutFault { to } => {
                write!(f, "{to} got two copies, and there was no fault between")
            }
            Self::RepeatedTooOften { fault, count, allowed } => {
                write!(f, "{count} were repeated over fault {fault}, {allowed} could be in flight")
            }
            Self::TextRepeated { to } => write!(f, "a text to {to} was posted twice"),
            Self::Stray { to } => write!(f, "something arrived for {to} that was never sent whole"),
        }
    }
}

/// What was found, and how much there was to find it in.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    pub breaches: Vec<Breach>,
    pub accepted: usize,
    pub put_off: usize,
    pub refused: usize,
    pub unanswered: usize,
    /// Put off, and arrived all the same.
    pub doubted: usize,
    /// Copies beyond the first.
    pub repeated: usize,
    /// Accepted, and ended otherwise than by arriving.
    pub ended: usize,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, put_off, refused, unanswered, doubted, repeated, ended, breaches } = self;
        write!(
            f,
            "{accepted} accepted ({ended} ended otherwise than by arriving), {put_off} put off ({doubted} arrived), \
             {refused} refused, {unanswered} unanswered, {repeated} repeated, {} breaches",
            breaches.len()
        )
    }
}

/// Judges.
pub fn judge(seen: &Observed, allowance: Allowance, sender: &str) -> Verdict {
    let mut verdict = Verdict::default();
    let copies = by_recipient(seen);
    for submission in &seen.submissions {
        let arrived = copies.get(submission.to.as_str()).map_or(0, Vec::len);
        judge_answer(&mut verdict, seen, submission, arrived);
    }
    if verdict.doubted > allowance.doubted {
        let (count, allowed) = (verdict.doubted, allowance.doubted);
        verdict.breaches.push(Breach::PutOffArrived { count, allowed });
    }
    judge_content(&mut verdict, seen, sender);
    judge_repeats(&mut verdict, seen, allowance);
    for (to, places) in copies {
        if !seen.submissions.iter().any(|one| one.to == to) {
            verdict.breaches.push(Breach::Stray { to: to.to_owned() });
        }
        verdict.repeated += places.len() - 1;
    }
    verdict
}

/// Where among the mails, or among the texts, something arrived for each recipient.
fn by_recipient(seen: &Observed) -> BTreeMap<&str, Vec<usize>> {
    let mut copies: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, copy) in seen.mails.iter().enumerate() {
        for to in &copy.mail.recipients {
            copies.entry(to).or_default().push(place);
        }
    }
    for (place, (to, _)) in seen.texts.iter().enumerate() {
        copies.entry(to).or_default().push(place);
    }
    copies
}

fn judge_answer(verdict: &mut Verdict, seen: &Observed, submission: &Submission, arrived: usize) {
    let to = submission.to.clone();
    match &submission.answer {
        Answer::Accepted(id) => {
            verdict.accepted += 1;
            if arrived > 0 {
                return;
            }
            verdict.ended += 1;
            let id = id.clone();
            match seen.ends.get(&id) {
                Some(End { state: Some(_), told: true }) => {}
                Some(End { state: Some(state), told: false }) => {
                    verdict.breaches.push(Breach::EndNotTold { to, id, state: state.clone() });
                }
                Some(End { state: None, .. }) | None => verdict.breaches.push(Breach::Lost { to, id }),
            }
        }
        Answer::PutOff(_) => {
            verdict.put_off += 1;
            verdict.doubted += usize::from(arrived > 0);
        }
        Answer::Refused(code) => {
            verdict.refused += 1;
            if arrived > 0 {
                verdict.breaches.push(Breach::RefusedArrived { to, code: *code });
            }
        }
        Answer::None => verdict.unanswered += 1,
    }
}

fn judge_content(verdict: &mut Verdict, seen: &Observed, sender: &str) {
    let sent: BTreeMap<&str, &Submission> =
        seen.submissions.iter().map(|one| (one.to.as_str(), one)).collect();
    for copy in &seen.mails {
        for to in &copy.mail.recipients {
            let Some(submission) = sent.get(to.as_str()) else { continue };
            if let Err(how) = rewritten(&submission.bytes, &copy.mail, sender) {
                verdict.breaches.push(Breach::Altered { to: to.clone(), how });
            }
        }
    }
    for (to, text) in &seen.texts {
        let Some(submission) = sent.get(to.as_str()) else { continue };
        let promised = crate::harness::texts::text_of(&String::from_utf8_lossy(&submission.bytes));
        if *text != promised {
            verdict.breaches.push(Breach::Altered { to: to.clone(), how: format!("{text:?}") });
        }
    }
}

fn judge_repeats(verdict: &mut Verdict, seen: &Observed, allowance: Allowance) {
    let mut over: BTreeMap<usize, usize> = BTreeMap::new();
    for (to, places) in by_recipient(seen) {
        if seen.texts.iter().any(|(number, _)| number == to) {
            if places.len() > 1 {
                verdict.breaches.push(Breach::TextRepeated { to: to.to_owned() });
            }
            continue;
        }
        // A copy that was never answered is repeated once at most.
        let mut unanswered = 1;
        for pair in places.windows(2) {
            let fault = seen.faults.iter().position(|mark| (pair[0] + 1..=pair[1]).contains(mark));
            match fault {
                Some(fault) => *over.entry(fault).or_default() += 1,
                None if !seen.mails[pair[0]].answered && unanswered > 0 => unanswered -= 1,
                None => verdict.breaches.push(Breach::RepeatedWithoutFault { to: to.to_owned() }),
            }
        }
    }
    for (fault, count) in over {
        if count > allowance.workers {
            let allowed = allowance.workers;
            verdict.breaches.push(Breach::RepeatedTooOften { fault, count, allowed });
        }
    }
}
