//! `authrelay explain`: every step of the decision about one message, and what would be sent. Nothing is sent.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::{Place, print_json};
use crate::clock::Clock;
use crate::config::Config;
use crate::ident::{ClientName, ListenerName, MessageId};
use crate::mail::{Address, Envelope, Message, ReversePath};
use crate::pipeline::{self, judge};
use crate::policy::{Classified, Evidence, Origin, Submission, classify};
use crate::rewrite::{Planned, render};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The message, as a file; `-` reads standard input.
    file: PathBuf,
    /// As if this client had sent it. Not needed where there is only one.
    #[arg(long)]
    client: Option<String>,
    /// The envelope recipient, instead of the header's.
    #[arg(long, value_name = "ADDRESS")]
    to: Vec<String>,
    /// The envelope sender; empty for the null reverse-path.
    #[arg(long, value_name = "ADDRESS", default_value = "app@localhost")]
    from: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What `explain` found out.
#[derive(Debug, Serialize)]
struct Explanation {
    octets: usize,
    client: String,
    business: Option<String>,
    category: String,
    decided_by: String,
    rule: String,
    evidence: Vec<Evidence>,
    category_action: String,
    action: String,
    overridden_by: Option<&'static str>,
    reply: String,
    plan: Option<PlanView>,
}

#[derive(Debug, Serialize)]
struct PlanView {
    class: String,
    life_seconds: u64,
    expires: String,
    routes: Vec<RouteView>,
    header_before: Vec<String>,
    header_after: Vec<String>,
}

#[derive(Debug, Serialize)]
struct RouteView {
    sender: String,
    from: String,
    reverse_path: String,
    upstreams: Vec<String>,
}

pub(super) fn run(place: &Place, args: &Args) -> anyhow::Result<ExitCode> {
    let config = match place.load_or_exit() {
        Ok(loaded) => loaded.config,
        Err(code) => return Ok(code),
    };
    let explanation = explain(&config, args)?;
    if args.json {
        print_json(&explanation)?;
    } else {
        print(&explanation);
    }
    Ok(ExitCode::SUCCESS)
}

fn explain(config: &Config, args: &Args) -> anyhow::Result<Explanation> {
    let submission = submission(config, args)?;
    let octets = submission.message.raw().len();
    let stages = pipeline::Config { policy: config.policy.clone(), rewrite: config.rewrite.clone() };
    // Twice the same pure function: once for the verdict of a message that is refused, once for the whole way.
    let classified: Classified = classify(&stages.policy, submission.clone());
    let verdict = classified.verdict();
    let (reply, plan) = match judge(&stages, submission) {
        Ok(planned) => ("250 2.0.0 Ok".to_owned(), Some(plan_view(config, &planned)?)),
        Err(refused) => (format!("{:?}", refused.reply), None),
    };
    Ok(Explanation {
        octets,
        client: classified.submission().client.to_string(),
        business: verdict.business.as_ref().map(ToString::to_string),
        category: verdict.category.name.to_string(),
        decided_by: word(&verdict.decided_by)?,
        rule: verdict.rule.clone(),
        evidence: verdict.evidence.clone(),
        category_action: word(&verdict.category.action)?,
        action: word(&verdict.action)?,
        overridden_by: verdict.overridden_by,
        reply,
        plan,
    })
}

/// The kebab-case word that an enum is written as in JSON.
fn word(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_value(value)?.as_str().unwrap_or_default().to_owned())
}

fn submission(config: &Config, args: &Args) -> anyhow::Result<Submission> {
    let raw = if args.file.as_os_str() == "-" {
        let mut raw = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut raw)?;
        raw
    } else {
        std::fs::read(&args.file).with_context(|| format!("{} can't be read", args.file.display()))?
    };
    let message = Message::new(crlf(&raw));
    let reverse_path = match args.from.as_str() {
        "" => ReversePath::Null,
        text => ReversePath::Address(Address::parse(text).context("--from is not a mail address")?),
    };
    let recipients: Vec<Address> = if args.to.is_empty() {
        vec![header_recipient(&message)]
    } else {
        let parsed: Result<_, _> = args.to.iter().map(|text| Address::parse(text)).collect();
        parsed.context("--to is not a mail address")?
    };
    Ok(Submission {
        id: MessageId::generate(),
        accepted: Clock::System.now(),
        client: client(config, args.client.as_deref())?,
        origin: Origin {
            listener: ListenerName::new("explain"),
            peer: None,
            helo: "explain".to_owned(),
            protocol: "ESMTP",
        },
        envelope: Envelope { reverse_path, recipients },
        message,
    })
}

fn client(config: &Config, named: Option<&str>) -> anyhow::Result<ClientName> {
    let clients = &config.policy.clients;
    let names = || clients.keys().map(ClientName::as_str).collect::<Vec<_>>().join(", ");
    match named {
        Some(name) if clients.contains_key(name) => Ok(ClientName::new(name)),
        Some(name) => bail!("there is no client {name}; there are: {}", names()),
        None => match clients.keys().next() {
            Some(only) if clients.len() == 1 => Ok(only.clone()),
            Some(_) => bail!("say with --client which client sends it: {}", names()),
            None => bail!("the configuration has no client"),
        },
    }
}

/// Files usually end their lines in LF; SMTP would have brought CR LF.
fn crlf(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() + raw.len() / 32);
    let mut last = 0;
    for &byte in raw {
        if byte == b'\n' && last != b'\r' {
            out.push(b'\r');
        }
        out.push(byte);
        last = byte;
    }
    out
}

/// A recipient for the envelope that the file does not have: only its domain could ever matter to a rule.
fn header_recipient(message: &Message) -> Address {
    let value = message.values("To").next().map(|value| String::from_utf8_lossy(value).into_owned());
    let inner = value.as_deref().map(|text| text.rsplit('<').next().unwrap_or(text));
    let text = inner.map(|text| text.trim().trim_end_matches('>'));
    text.and_then(|text| Address::parse(text).ok()).unwrap_or_else(|| {
        Address::parse("recipient@example.com").unwrap_or_else(|_| unreachable!("a constant address"))
    })
}

fn plan_view(config: &Config, planned: &Planned) -> anyhow::Result<PlanView> {
    let (submission, verdict, plan) = (planned.submission(), planned.verdict(), planned.plan());
    let senders = config.rewrite.senders_for(plan);
    let routes = senders.iter().map(|sender| RouteView {
        sender: sender.name.to_string(),
        from: sender.from.address.as_str().to_owned(),
        reverse_path: sender.return_path.as_str().to_owned(),
        upstreams: config.deliver.carriers(&sender.name).map(|upstream| upstream.name.to_string()).collect(),
    });
    let after = match senders.first() {
        Some(sender) => lines(render(&submission.message, plan, sender, &config.rewrite)?.header()),
        None => Vec::new(),
    };
    Ok(PlanView {
        class: verdict.class().to_string(),
        life_seconds: verdict.life().as_secs(),
        expires: submission.accepted.plus(verdict.life()).to_rfc3339(),
        routes: routes.collect(),
        header_before: lines(&submission.message.raw()[..submission.message.header().end()]),
        header_after: after,
    })
}

fn lines(header: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(header).lines().filter(|line| !line.is_empty()).map(ToOwned::to_owned).collect()
}

fn print(explanation: &Explanation) {
    let business = explanation.business.as_deref().map(|name| format!(", for business {name}"));
    println!(
        "message    {} octets, from client {}{}",
        explanation.octets,
        explanation.client,
        business.unwrap_or_default()
    );
    println!(
        "category   {} (decided by {}: {})",
        explanation.category, explanation.decided_by, explanation.rule
    );
    for evidence in &explanation.evidence {
        println!(
            "           {:+6.1}  {:28} {:10} {:?}",
            evidence.weight, evidence.name, evidence.place, evidence.matched
        );
    }
    match explanation.overridden_by {
        Some(by) => println!(
            "action     {} ({by}; its category's is {})",
            explanation.action, explanation.category_action
        ),
        None => println!("action     {}", explanation.action),
    }
    println!("answer     {}", explanation.reply);
    match &explanation.plan {
        Some(plan) => print_plan(plan),
        None => print_mend(explanation),
    }
}

fn print_plan(plan: &PlanView) {
    println!("life       {} s, until {}, class {}", plan.life_seconds, plan.expires, plan.class);
    for (index, route) in plan.routes.iter().enumerate() {
        let by = if route.upstreams.is_empty() {
            "no upstream".to_owned()
        } else {
            route.upstreams.join(", then ")
        };
        let place = if index == 0 { "route     " } else { "then      " };
        println!("{place} from {} (reverse-path {}) by {by}", route.from, route.reverse_path);
    }
    println!("header");
    for line in plan.header_before.iter().filter(|line| !plan.header_after.contains(line)) {
        println!("  - {line}");
    }
    for line in &plan.header_after {
        println!("  {} {line}", if plan.header_before.contains(line) { ' ' } else { '+' });
    }
}

/// What to write into the configuration where the decision is wrong.
fn print_mend(explanation: &Explanation) {
    println!("mend       if this is authentication mail, put a rule before others, for example:");
    println!("             [[rules]]");
    println!("             name = \"my-{}\"", explanation.client);
    println!(
        "             category = \"password-reset\"   # or signin, mfa, signup-verification, invitation, ..."
    );
    println!("             client = \"^{}$\"", explanation.client);
    println!("             subject = \"words of its subject\"");
}
