//! One relay with an upstream and a provider of texts, the load on it, and all that was seen: what every campaign needs.
//!
//! A round is: start (under a fault), load, the end of the process, [`Scene::fault`], a start without faults. At the end
//! of a campaign [`Scene::judge`] waits until everything has come to rest and judges.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use super::cable::Unheard;
use super::checker::{Allowance, Answer, Copy, End, Observed, Submission, Verdict, Way, judge};
use crate::harness::config::{LISTENER, NO_REPLY, NO_REPLY_ADDRESS, client, sha256, upstream};
use crate::harness::dialogue::{Dialogue, Sent};
use crate::harness::mail::{Mail, password_reset};
use crate::harness::relay::{Home, Relay};
use crate::harness::texts::{OPEN, Provider, Shop, TOKEN, asking, id_of, twilio};
use crate::harness::upstream::{Answer as Taken, Upstream};
use crate::harness::{PATIENCE, Watched, look_until_within};

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
    /// What is added to each mail, in octets.
    pub padding: usize,
}

/// Enough to have several in every stage at once.
pub const USUAL: Load = Load { connections: 3, mails: 5, codes: 4, padding: 0 };

pub struct Scene {
    pub relay: Relay,
    pub upstream: Upstream,
    pub provider: Provider,
    /// Where the upstream's answers may have got lost.
    pub unheard: Unheard,
    submissions: Arc<Watched<Vec<Submission>>>,
    faults: Vec<usize>,
    /// Which texts were posted by a machine without power.
    unpowered: Vec<Range<usize>>,
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
const OF_CODES: &str = "[categories.signin]\nlife = \"30s\"\nretry = [\"300ms\"]\n";

/// What a campaign sets beside the usual: further settings of its mail's category, and of the queue.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings {
    pub of_mail: &'static str,
    pub of_queue: &'static str,
}

fn configuration(address: SocketAddr, provider: &Provider, settings: Settings) -> String {
    let digest = sha256(TOKEN);
    let http = "[http.http]\naddress = \"127.0.0.1:0\"\nserves = [\"otp\"]\n";
    let app = client("app", "category = \"password-reset\"");
    let shop = format!(
        "[clients.shop]\nbusiness = \"acme\"\ntoken_sha256 = \"{digest}\"\n\
         [businesses.acme]\nurl = \"https://acme.example\"\n"
    );
    let mail = upstream("provider", address, OF_UPSTREAM);
    let phones = twilio("phones", &provider.fake.base_url(), OF_PROVIDER);
    let Settings { of_mail, of_queue } = settings;
    let mails = format!("[categories.password-reset]\nretry = [\"300ms\"]\n{of_mail}\n");
    let queue = format!("[queue]\nworkers = {WORKERS}\n{of_queue}\n");
    format!("{LISTENER}{http}{app}{shop}{NO_REPLY}{mail}{phones}[otp]\n{OPEN}{mails}{OF_CODES}{queue}")
}

impl Scene {
    pub fn start() -> Self {
        Self::start_in(Home::new(), Upstream::accepting())
    }

    /// The same in a folder, before an upstream.
    pub fn start_in(home: Home, upstream: Upstream) -> Self {
        Self::start_with(home, upstream, Settings::default())
    }

    /// The same with further settings.
    pub fn start_with(home: Home, upstream: Upstream, settings: Settings) -> Self {
        let address = upstream.address();
        Self::behind(home, upstream, address, settings)
    }

    /// The same where the upstream is reached by another address.
    pub fn behind(home: Home, upstream: Upstream, address: SocketAddr, settings: Settings) -> Self {
        let provider = Provider::start();
        let relay = home.start_at_level(&configuration(address, &provider, settings), "info");
        Self {
            relay,
            upstream,
            provider,
            unheard: Arc::default(),
            submissions: Arc::default(),
            faults: Vec::new(),
            unpowered: Vec::new(),
            doubted: 0,
            sent: 0,
        }
    }

    /// Sends, until all is sent or the relay is gone.
    pub fn load(&mut self, load: Load) {
        self.begin(load).into_iter().for_each(finish);
    }

    /// Begins to send; what is given ends when all is sent or the relay is gone.
    pub fn begin(&mut self, load: Load) -> Vec<JoinHandle<()>> {
        let first = self.sent;
        self.sent += load.connections * load.mails + load.codes;
        let smtp = self.relay.address();
        let mut senders = Vec::new();
        for connection in 0..load.connections {
            let (seen, from) = (Arc::clone(&self.submissions), first + connection * load.mails);
            senders.push(std::thread::spawn(move || {
                let Some(mut dialogue) = Dialogue::try_hello(smtp) else { return };
                for number in from..from + load.mails {
                    if !send_mail(&mut dialogue, number, load.padding, &seen) {
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
        senders
    }

    /// Waits until so many were answered, since the beginning.
    pub fn wait_answered(&self, count: usize) {
        let answered = |seen: &Vec<Submission>| (seen.len() >= count).then_some(());
        self.submissions.wait(PATIENCE, answered).expect("answers of the relay");
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

    /// How many were answered and how many texts posted so far.
    pub fn done(&self) -> (usize, usize) {
        (self.submissions.get().len(), self.provider.fake.posts().len())
    }

    /// To be called when the process is gone: what was answered and posted from there on came from a machine without
    /// power, which can't have done it.
    pub fn unpowered(&mut self, (answers, posts): (usize, usize)) {
        for one in self.submissions.get().iter_mut().skip(answers) {
            if matches!(one.answer, Answer::Accepted(_)) {
                one.answer = Answer::None;
            }
        }
        self.unpowered.push(posts..self.provider.fake.posts().len());
    }

    /// The texts that the provider got. One that was posted without power is no repeat of another.
    fn texts(&self) -> Vec<(String, String)> {
        let post = |post: crate::harness::fake_twilio::Seen| {
            let field = |name: &str| post.field(name).unwrap_or_default().to_owned();
            (field("To"), field("Body"))
        };
        let all: Vec<_> = self.provider.fake.posts().into_iter().map(post).collect();
        let powered = |place: usize| !self.unpowered.iter().any(|without| without.contains(&place));
        let counts = |place: usize, to: &str| {
            let again = |(other, (number, _)): (usize, &(String, String))| {
                other != place && number == to && powered(other)
            };
            powered(place) || !all.iter().enumerate().any(again)
        };
        let kept = all.iter().enumerate().filter(|(place, (to, _))| counts(*place, to));
        kept.map(|(_, text)| text.clone()).collect()
    }

    /// To be called when the process is gone: what is taken from here on is taken after the fault.
    pub fn fault(&mut self) {
        self.upstream.wait_seen("the end of its connections", |seen| seen.ended == seen.connections);
        let taken = self.copies().len();
        self.faults.push(taken);
    }

    fn copies(&self) -> Vec<Copy> {
        let seen = self.upstream.seen();
        let unheard = self.unheard.get();
        let all =
            seen.dots.iter().zip(&seen.answers).zip(&seen.peers).filter(|((_, answer), _)| answer.takes());
        let copy = |((mail, answer), peer): ((&Mail, &Taken), _)| Copy {
            mail: Mail::clone(mail),
            answered: answer.tells() && !unheard.contains(peer),
        };
        all.map(copy).collect()
    }

    /// Waits until nothing is under way.
    pub fn rest(&self) {
        self.rest_within(REST);
    }

    pub fn rest_within(&self, patience: Duration) {
        look_until_within(patience, "the queue to be empty", || self.is_at_rest().then_some(()));
    }

    /// Waits until nothing is under way, or it is clear that this does not come.
    pub fn rest_or_not(&self, patience: Duration) {
        let deadline = crate::harness::deadline(patience);
        while !self.is_at_rest() && crate::harness::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }

    /// Whether nothing is under way; a relay that can't say is not at rest.
    pub fn is_at_rest(&self) -> bool {
        let status = self.relay.cli(&["status", "--json"]);
        if !status.status.success() {
            return false;
        }
        let status = status.json();
        let depth = |lane: &str| status["queue"][lane].as_u64();
        depth("urgent") == Some(0) && depth("normal") == Some(0)
    }

    /// Waits until everything has come to rest, and gives all that was seen.
    pub fn observe(&self) -> Observed {
        self.rest();
        self.look(|id| self.end(id))
    }

    /// The same as it is now.
    pub fn observe_now(&self) -> Observed {
        self.look(|id| self.traced(id).map_or(End { state: None, told: false }, |trace| end_in(&trace)))
    }

    fn look(&self, end: impl Fn(&str) -> End) -> Observed {
        let mut seen = Observed {
            submissions: self.submissions(),
            mails: self.copies(),
            texts: self.texts(),
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
                seen.ends.insert(id.clone(), end(id));
            }
        }
        seen
    }

    fn end(&self, id: &str) -> End {
        look_until_within(REST, "the end of a message", || {
            let Some(trace) = self.traced(id) else { return Some(End { state: None, told: false }) };
            let end = end_in(&trace);
            end.state.is_some().then_some(end)
        })
    }

    /// What the relay knows of a message.
    fn traced(&self, id: &str) -> Option<Value> {
        let trace = self.relay.cli(&["trace", id, "--json", "--full"]);
        trace.status.success().then(|| trace.json())
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
        self.verdict_on(&self.observe())
    }

    /// The same on what was seen at another time.
    pub fn verdict_on(&self, seen: &Observed) -> Verdict {
        let allowance = Allowance { workers: WORKERS, doubted: self.doubted };
        judge(seen, allowance, NO_REPLY_ADDRESS)
    }

    /// Judges after a round, and fails at any breach with what was done in it.
    pub fn judge_round(&self, done: &str) -> Verdict {
        let verdict = self.verdict();
        let found: Vec<String> = verdict.breaches.iter().map(ToString::to_string).collect();
        assert!(found.is_empty(), "after {done}: {}", found.join("; "));
        verdict
    }

    /// The same, and everything that was sent was fit to be accepted: a fault of ours is never a `5xx`.
    pub fn judge_fit(&self) -> Verdict {
        let verdict = self.judge();
        assert_eq!(verdict.refused, 0, "refused for a fault that was not theirs: {verdict}");
        verdict
    }
}

/// The end that a trace tells of; no state where it has not come.
fn end_in(trace: &Value) -> End {
    let state = trace["messages"][0]["state"].as_str().unwrap_or_default();
    if matches!(state, "" | "queued" | "attempting" | "awaiting-report") {
        return End { state: None, told: false };
    }
    let events = trace["events"].as_array().cloned().unwrap_or_default();
    let told = events.iter().any(|event| event["event"] == state);
    End { state: Some(state.to_owned()), told }
}

/// Waits for a sender.
pub fn finish(sender: JoinHandle<()>) {
    sender.join().expect("a sender whose relay answered or hung up");
}

/// Sends one mail, and notes what was answered. False when the connection is over.
fn send_mail(
    dialogue: &mut Dialogue,
    number: usize,
    padding: usize,
    seen: &Watched<Vec<Submission>>,
) -> bool {
    let to = format!("user{number}@customer.example");
    let mut bytes = password_reset(&to);
    while padding > 0 && bytes.len() < padding {
        bytes.extend_from_slice(b"Please keep this message for as long as you need it, and no longer.\r\n");
    }
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
