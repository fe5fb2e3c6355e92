//! What to change in an application, for each habit. Pure.

use serde::{Deserialize, Serialize};

use super::{Client, Habit};

/// One thing that was seen of a client, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// What was seen, with how often.
    pub seen: String,
    /// What to do; empty where nothing needs to be done.
    pub advice: String,
}

/// What to change in this client, the gravest first.
pub fn advise(client: &Client) -> Vec<Advice> {
    let all = client.messages;
    let of_habits = client.habits.iter().map(|(habit, count)| {
        let (what, advice) = words(*habit);
        Advice { seen: format!("{what}: {} of {all} messages", count.times), advice: advice.to_owned() }
    });
    let mut refusals: Vec<_> = client.refusals.iter().collect();
    refusals.sort_by_key(|(_, count)| std::cmp::Reverse(count.times));
    let of_refusals = refusals.into_iter().take(3).map(|(kind, count)| Advice {
        seen: format!("refused with {kind}: {} times", count.times),
        advice: refusal_advice(kind).to_owned(),
    });
    of_habits.chain(of_refusals).collect()
}

fn words(habit: Habit) -> (&'static str, &'static str) {
    match habit {
        Habit::NoTls => (
            "sent without TLS",
            "let it use STARTTLS; from another machine codes and links cross the network readable otherwise",
        ),
        Habit::NoAuth => (
            "sent without a login",
            "it is known by its address or certificate; give it a user and a password where others share that address",
        ),
        Habit::BareLf => (
            "lines that end in LF alone",
            "let its mail library write CR LF; a listener with bare_lf = \"refuse\" refuses it, one with \"normalize\" mends it",
        ),
        Habit::LongLines => (
            "lines of more than 998 octets",
            "let it encode the body as quoted-printable or base64: some providers refuse or cut such lines",
        ),
        Habit::NoDate => ("no Date field", "nothing needs to be done: one is added"),
        Habit::NoMessageId => (
            "no Message-ID field",
            "nothing needs to be done, one is added; with its own it would find its messages in events",
        ),
        Habit::EightBitBody => (
            "octets above 127 in the body",
            "fine where every upstream offers 8BITMIME; else let it encode the body as quoted-printable",
        ),
        Habit::EightBitHeader => (
            "octets above 127 in the header",
            "let it write encoded words (RFC 2047), or offer SMTPUTF8: many providers refuse it",
        ),
    }
}

fn refusal_advice(kind: &str) -> &'static str {
    if kind.contains("guard:link") {
        "see which links: `authrelay explain FILE.eml`; add the business's own to allowed_link_domains"
    } else if kind.contains("guard:") {
        "see what the guard found: `authrelay explain FILE.eml`"
    } else if kind.starts_with('4') {
        "it was told to try again; where it never does the message is lost: see the log for the reason"
    } else {
        "if these were authentication mail, see why not: `authrelay explain FILE.eml`"
    }
}
