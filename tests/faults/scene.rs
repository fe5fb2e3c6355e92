//! One relay with an upstream and a provider of texts, the load on it, and all that was seen: what every campaign needs.
//!
//! A round is: start (under a fault), load, the end of the process, [`Scene::fault`], a start without faults. At the end
//! of a campaign [`Scene::judge`] waits until everything has come to rest and judges.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::checker::{Allowance, Answer, Copy, End, Observed, Submission, Verdict, Way, judge};
use crate::harness::config::{LISTENER, NO_REPLY, NO_REPLY_ADDRESS, client, sha256, upstream};
use crate::harness::dialogue::{Dialogue, Sent};
use crate::harness::mail::password_reset;
use crate::harness::relay::{Home, Relay};
use crate::harness::texts::{OPEN, Provider, Shop, TOKEN, asking, id_of, twilio};
use crate::harness::upstream::Upstream;
use crate::harness::{Watched, look_until_within};

const FROM: &str = "shop@legacy.example";

/// How many deliveries can be in flight at once: handed over, and not yet recorded as that.
pub const WORKERS: usize = 4;

/// How long everything may take to come to rest: a text in doubt is told of at its expiry.
const REST: Duration = Duration::from_mins(3);

/// How much is sent in a round: connections, mails over each, codes.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub connections: usize,
    pub mails: usize,
    pub codes: usize,
}

/// Enough to have several in every stage at once.
pub const USUAL: Load = Load { connections: 3, mails: 5, codes: 4 };

pub struct Scene {
    pub relay: Relay,
    pub upstream: Upstream,
    pub provider: Provider,
    submissions: Arc<Watched<Vec<Submission>>>,
    faults: Vec<usize>,
    /// How many may arrive though they were put off.
    doubted: usize,
    sent: usize,
}

/// The settings of a campaign's upstream: quick to give up, and no breaker that stops the flow.
const OF_UPSTREAM: &str = "max_connections = 4\nbreaker = { failures = 1000, longest = \"1s\" }\n\
    timeouts = { connect = \"2s\", command = \"2s\", data = \"2s\" }\n";

const OF_PROVIDER: &str = "max_connections = 2\nbreaker = { failures = 1000, longest = \"1s\" }\n\
    timeouts = { connect = \"2s\", answer = \"2s\" }\n";

/// Quick retries, and codes whose doubt is over soon.
const CATEGORIES: &str = "[categories.password-reset]\nretry = [\"300ms\"]\n[categories.signin]\nlife = \"30s\"\nretry = [\"300ms\"]\n";

fn configuration(upstream_: &Upstream, provider: &Provider) -> String {
    let digest = sha256(TOKEN);
    let http = "[http.http]\naddress = \"127.0.0.1:0\"\nserves = [\"otp\"]\n";
    let app = client("app", "category = \"password-reset\"");
    let shop = format!(
        "[clients.shop]\nbusiness = \"acme\"\ntoken_sha256 = \"{digest}\"\n\
         [businesses.acme]\nurl = \"https://acme.example\"\n"
    );
    let mail = upstream("provider", upstream_.address(), OF_UPSTREAM);
    let phones = twilio("phones", &provider.fake.base_url(), OF_PROVIDER);
    format!(
        "{LISTENER}{http}{app}{shop}{NO_REPLY}{mail}{phones}[otp]\n{OPEN}{CATEGORIES}[queue]\nworkers = {WORKERS}\n"
    )
}

impl Scene {
    pub fn start() -> Self {
        Self::start_in(Home::new(), Upstream::accepting())
    }

    /// The same in a folder, before an upstream.
    pub fn start_in(home: Home, upstream: Upstream) -> Self {
        let provider = Provider::start();
        let relay = home.start_at_level(&configuration(&upstream, &provider), "info");
        Self {
            relay,
            upstream,
            provider,
            submissions: Arc::default(),
            faults: Vec::new(),
            doubted: 0,
            sent: 0,
        }
    }

    /// Sends, until all is sent or the relay is gone.
    pub fn load(&mut self, load: Load) {
        let first = self.sent;
        self.sent += load.connections * load.mails + load.codes;
        let smtp = self.relay.address();
        let mut senders = Vec::new();
        for connection in 0..load.connections {
            let (seen, from) = (Arc::clone(&self.submissions), first + connection * load.mails);
            senders.push(std::thread::spawn(move || {
                let Some(mut dialogue) = Dialogue::try_hello(smtp) else { return };
                for number in from..from + load.mails {
                    if !send_mail(&mut dialogue, number, &seen) {
                        return;
                    }
                }
            }));
        }
        let (seen, http) = (Arc::clone(&self.submissions), self.relay.http());
        let from = first + load.connections * load.mails;
        senders.push(std::thread::spawn(move || {
            let Ok(mut shop) = Shop::at(http, TOKEN) else { return };
            for number in from..from + load.codes {
                if !ask_code(&mut shop, number, &seen) {
                    return;
                }
            }
        }));
        for sender in senders {
            sender.join().expect("a sender whose relay answered or hung up");
        }
    }

    /// What was answered so far.
    pub fn submissions(&self) -> Vec<Submission> {
        self.submissions.get().clone()
    }

    /// How many were put off so far.
    pub fn put_off(&self) -> usize {
        let put_off = |one: &&Submission| matches!(one.answer, Answer::PutOff(_));
        self.submissions.get().iter().filter(put_off).count()
    }

    /// So many of those that were put off may arrive.
    pub fn doubt(&mut self, count: usize) {
        self.doubted += count;
    }

    /// To be called when the process is gone: what is taken from here on is taken after the fault.
    pub fn fault(&mut self) {
        self.upstream.wait_seen("the end of its connections", |seen| seen.ended == seen.connections);
        let taken = self.copies().len();
        self.faults.push(taken);
    }

    fn copies(&self) -> Vec<Copy> {
        let seen = self.upstream.seen();
        let all = seen.dots.iter().zip(&seen.answers).filter(|(_, answer)| answer.takes());
        all.map(|(mail, answer)| Copy { mail: mail.clone(), answered: answer.tells() }).collect()
    }

    /// Waits until nothing is under way.
    pub fn rest(&self) {
        look_until_within(REST, "the queue to be empty", || {
            let status = self.relay.cli(&["status", "--json"]).json();
            let depth = |lane: &str| status["queue"][lane].as_u64();
            (depth("urgent") == Some(0) && depth("normal") == Some(0)).then_some(())
        });
    }

    /// Waits until everything has come to rest, and gives all that was seen.
    pub fn observe(&self) -> Observed {
        self.rest();
        let post = |post: crate::harness::fake_twilio::Seen| {
            let field = |name: &str| post.field(name).unwrap_or_default().to_owned();
            (field("To"), field("Body"))
        };
        let mut seen = Observed {
            submissions: self.submissions(),
            mails: self.copies(),
            texts: self.provider.fake.posts().into_iter().map(post).collect(),
            ends: BTreeMap::new(),
            faults: self.faults.clone(),
        };
        for submission in &seen.submissions {
            let Answer::Accepted(id) = &submission.answer else { continue };
            let arrived = match submission.way {
                Way::Mail => seen.mails.iter().any(|copy| copy.mail.recipients.contains(&submission.to)),
                Way::Text => seen.texts.iter().any(|(to, _)| *to == submission.to),
            };
            if !arrived {
                seen.ends.insert(id.clone(), self.end(id));
            }
        }
        seen
    }

    fn end(&self, id: &str) -> End {
        let trace = look_until_within(REST, "the end of a message", || {
            let trace = self.relay.cli(&["trace", id, "--json", "--full"]);
            if !trace.status.success() {
                return Some(None);
            }
            let trace = trace.json();
            let state = trace["messages"][0]["state"].as_str().unwrap_or_default().to_owned();
            (!matches!(state.as_str(), "queued" | "attempting" | "awaiting-report")).then_some(Some(trace))
        });
        let Some(trace) = trace else { return End { state: None, told: false } };
        let state = trace["messages"][0]["state"].as_str().map(ToOwned::to_owned);
        let events = trace["events"].as_array().cloned().unwrap_or_default();
        let told = state.as_ref().is_some_and(|state| events.iter().any(|event| event["event"] == **state));
        End { state, told }
    }

    /// Waits for rest, and judges. Fails at any breach.
    pub fn judge(&self) -> Verdict {
        let verdict = self.verdict();
        let breaches: Vec<String> = verdict.breaches.iter().map(ToString::to_string).collect();
        assert!(breaches.is_empty(), "{verdict}\n  {}", breaches.join("\n  "));
        verdict
    }

    /// The same without failing.
    pub fn verdict(&self) -> Verdict {
        let allowance = Allowance { workers: WORKERS, doubted: self.doubted };
        judge(&self.observe(), allowance, NO_REPLY_ADDRESS)
    }

    /// The same, and everything that was sent was fit to be accepted: a fault of ours is never a `5xx`.
    pub fn judge_fit(&self) -> Verdict {
        let verdict = self.judge();
        assert_eq!(verdict.refused, 0, "refused for a fault that was not theirs: {verdict}");
        verdict
    }
}

/// Sends one mail, and notes what was answered. False when the connection is over.
fn send_mail(dialogue: &mut Dialogue, number: usize, seen: &Watched<Vec<Submission>>) -> bool {
    let to = format!("user{number}@customer.example");
    let bytes = password_reset(&to);
    let (answer, goes_on) = match dialogue.try_send(FROM, &[&to], &bytes) {
        Sent::Answered(reply) => match reply.code {
            250 => (Answer::Accepted(reply.id()), true),
            421 => (Answer::PutOff(421), false),
            400..500 => (Answer::PutOff(reply.code), true),
            _ => (Answer::Refused(reply.code), true),
        },
        Sent::ClosedBeforeDot => return false,
        Sent::ClosedAfterDot => (Answer::None, false),
    };
    seen.change(|seen| seen.push(Submission { way: Way::Mail, to, bytes, answer }));
    goes_on
}

fn ask_code(shop: &mut Shop, number: usize, seen: &Watched<Vec<Submission>>) -> bool {
    let to = format!("+121255{number:05}");
    let code = format!("{:06}", 100_000 + number);
    let bytes = code.clone().into_bytes();
    let (answer, goes_on) = match shop.try_post(&asking(&to, &code), None) {
        Ok(answer) => match answer.status {
            202 => (Answer::Accepted(id_of(&answer)), true),
            429 | 500.. => (Answer::PutOff(answer.status), true),
            status => (Answer::Refused(status), true),
        },
        // It may have been sent whole.
        Err(_) => (Answer::None, false),
    };
    seen.change(|seen| seen.push(Submission { way: Way::Text, to, bytes, answer }));
    goes_on
}
