//! `authrelay explain`: every step of the decision about one message, and what would be sent. Nothing is sent.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use mail_parser::{HeaderName, HeaderValue, MessageParser};
use serde::Serialize;

use super::links::Links;
use super::mend;
use super::onward::Onward;
use super::steps::{self, Step};
use super::{Place, block_on, intake, plural, print_json};
use crate::clock::Clock;
use crate::config::Config;
use crate::ident::{ClientName, ListenerName, MessageId};
use crate::mail::{Address, Envelope, Message, ReversePath};
use crate::pipeline::judge;
use crate::policy::{Classified, Evidence, Origin, Submission, classify};
use crate::reception::{ExplainedCodeMail, explain_code_mail};
use crate::rewrite::{Planned, render};
use crate::snapshot::Snapshot;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The message, as a file; `-` reads standard input.
    file: PathBuf,
    /// As if this client had sent it. Not needed where there is only one.
    #[arg(long)]
    client: Option<String>,
    /// The envelope recipients. Without this, every address in the header fields To, Cc and Bcc.
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
    /// What is answered to it.
    reply: String,
    /// Whether it is mail for a phone, of which nothing is sent but its code.
    for_phone: bool,
    /// The site that its text would name, where one would be sent.
    text_for_site: Option<String>,
    /// `None`: it is for a phone, or is refused by a limit, before it is looked at.
    #[serde(flatten)]
    decision: Option<Decision>,
}

#[derive(Debug, Serialize)]
struct Decision {
    recipients: usize,
    business: Option<String>,
    category: String,
    decided_by: String,
    rule: String,
    steps: Vec<Step>,
    evidence: Vec<Evidence>,
    /// How near it was to another decision.
    standing: Vec<String>,
    /// The rule that mends it, where the decision is wrong.
    mend: String,
    category_action: String,
    action: String,
    overridden_by: Option<&'static str>,
    links: Links,
    onward: Onward,
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
    let config = place.load()?.config;
    let client = client(&config, args.client.as_deref())?;
    let explanation = explain(&Snapshot::new(config), &client, args)?;
    if args.json {
        print_json(&explanation)?;
    } else {
        print(&explanation);
    }
    Ok(ExitCode::SUCCESS)
}

fn explain(snapshot: &Snapshot, client: &ClientName, args: &Args) -> anyhow::Result<Explanation> {
    let raw = read(args)?;
    let explanation = |octets, reply, decision| Explanation {
        octets,
        client: client.to_string(),
        reply,
        for_phone: false,
        text_for_site: None,
        decision,
    };
    match block_on(intake::take(&snapshot.config.smtp, &raw))? {
        Ok(message) => {
            let octets = message.len();
            let submission = submission(args, client.clone(), Message::new(message))?;
            if let Some(ExplainedCodeMail { reply, site }) = explain_code_mail(snapshot, &submission) {
                let explained = explanation(octets, reply.to_string(), None);
                return Ok(Explanation { for_phone: true, text_for_site: site, ..explained });
            }
            let (reply, decision) = decide(snapshot, submission)?;
            Ok(explanation(octets, reply, Some(decision)))
        }
        Err(reply) => Ok(explanation(raw.len(), reply, None)),
    }
}

fn decide(snapshot: &Snapshot, submission: Submission) -> anyhow::Result<(String, Decision)> {
    let recipients = submission.envelope.recipients.len();
    let (config, stages) = (&snapshot.config, &snapshot.pipeline);
    // Twice the same pure function: once for the verdict of a message that is refused, once for the whole way.
    let classified: Classified = classify(&stages.policy, submission.clone());
    let verdict = classified.verdict();
    let (reply, plan) = match judge(stages, submission) {
        Ok(planned) => ("250 2.0.0 Ok".to_owned(), Some(plan_view(config, &planned)?)),
        Err(refused) => (refused.reply.to_string(), None),
    };
    let decision = Decision {
        recipients,
        business: verdict.business.as_ref().map(ToString::to_string),
        category: verdict.category.name.to_string(),
        decided_by: word(&verdict.decided_by)?,
        rule: verdict.rule.clone(),
        steps: steps::of(&stages.policy, classified.submission(), verdict),
        evidence: verdict.evidence.clone(),
        standing: mend::standing(&stages.policy, classified.submission(), verdict),
        mend: mend::rule(&stages.policy, classified.submission(), verdict),
        category_action: word(&verdict.category.action)?,
        action: word(&verdict.action)?,
        overridden_by: verdict.overridden_by,
        links: Links::of(stages, &classified),
        onward: Onward::of(stages, &classified, plan.is_some()),
        plan,
    };
    Ok((reply, decision))
}

/// The kebab-case word that an enum is written as in JSON.
fn word(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_value(value)?.as_str().unwrap_or_default().to_owned())
}

fn read(args: &Args) -> anyhow::Result<Vec<u8>> {
    if args.file.as_os_str() == "-" {
        let mut raw = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut raw)?;
        return Ok(raw);
    }
    std::fs::read(&args.file).with_context(|| format!("{} can't be read", args.file.display()))
}

fn submission(args: &Args, client: ClientName, message: Message) -> anyhow::Result<Submission> {
    let reverse_path = match args.from.as_str() {
        "" => ReversePath::Null,
        text => ReversePath::Address(Address::parse(text).context("--from is not a mail address")?),
    };
    let recipients: Vec<Address> = if args.to.is_empty() {
        header_recipients(message.raw())
    } else {
        let parsed: Result<_, _> = args.to.iter().map(|text| Address::parse(text)).collect();
        parsed.context("--to is not a mail address")?
    };
    Ok(Submission {
        id: MessageId::generate(),
        accepted: Clock::System.now(),
        client,
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

/// The recipients for the envelope that the file does not have: those of the header. Without any, one that only a rule
/// about recipients could tell from another.
fn header_recipients(raw: &[u8]) -> Vec<Address> {
    let parser = MessageParser::new()
        .header_address(HeaderName::To)
        .header_address(HeaderName::Cc)
        .header_address(HeaderName::Bcc);
    let parsed = parser.parse_headers(raw);
    let fields = parsed.iter().flat_map(|parsed| {
        [HeaderName::To, HeaderName::Cc, HeaderName::Bcc]
            .into_iter()
            .flat_map(|name| parsed.header_values(name))
            .filter_map(HeaderValue::as_address)
    });
    let mut found: Vec<Address> = Vec::new();
    for mailbox in fields.flat_map(|field| field.iter()) {
        if let Some(address) = mailbox.address().and_then(|text| Address::parse(text).ok())
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    if found.is_empty() {
        found.extend(Address::parse("recipient@example.com"));
    }
    found
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
    let Explanation { octets, client, reply, for_phone, text_for_site, decision } = explanation;
    let Some(decision) = decision else {
        say!("message    {octets} octets, from client {client}");
        say!("answer     {}", indented(reply));
        let said = match text_for_site {
            Some(site) => format!(
                "text       its one code, to sign in to {site}; how many there were is not asked here"
            ),
            None if *for_phone => "           it is for a phone, and no text is sent".to_owned(),
            None => "           it is refused by a limit (see [limits]), before it is looked at".to_owned(),
        };
        say!("{said}");
        return;
    };
    let business = decision.business.as_deref().map(|name| format!(", for business {name}"));
    let recipients = plural(decision.recipients, "recipient");
    let business = business.unwrap_or_default();
    say!("message    {octets} octets, {recipients}, from client {client}{business}");
    for (index, Step { step, said }) in decision.steps.iter().enumerate() {
        let heading = if index == 0 { "decision" } else { "" };
        say!("{heading:10} {step:18} {said}");
    }
    say!("category   {} (decided by {}: {})", decision.category, decision.decided_by, decision.rule);
    for evidence in &decision.evidence {
        let Evidence { name, category, place, matched, weight } = evidence;
        say!("           {weight:+6.1}  {category:20} {name:28} {place:10} {matched:?}");
    }
    for said in &decision.standing {
        say!("           {said}");
    }
    match decision.overridden_by {
        Some(by) => {
            say!("action     {} ({by}; its category's is {})", decision.action, decision.category_action);
        }
        None => say!("action     {}", decision.action),
    }
    decision.links.print();
    decision.onward.print();
    say!("answer     {}", indented(reply));
    if let Some(plan) = &decision.plan {
        print_plan(plan);
    }
    // Where a guard objects, the category is right; where a rule or a client's binding decided, its author knows where.
    if !reply.contains("(rule guard:") && (decision.plan.is_none() || decision.decided_by == "recognition") {
        print_mend(&decision.mend);
    }
    decision.links.print_mend();
    decision.onward.print_mend();
}

/// A reply of several lines, under its first one.
fn indented(reply: &str) -> String {
    reply.replace('\n', "\n           ")
}

fn print_plan(plan: &PlanView) {
    say!("life       {} s, until {}, class {}", plan.life_seconds, plan.expires, plan.class);
    for (index, route) in plan.routes.iter().enumerate() {
        let by = if route.upstreams.is_empty() {
            "no upstream".to_owned()
        } else {
            route.upstreams.join(", then ")
        };
        let place = if index == 0 { "route     " } else { "then      " };
        say!("{place} from {} (reverse-path {}) by {by}", route.from, route.reverse_path);
    }
    say!("header");
    for line in plan.header_before.iter().filter(|line| !plan.header_after.contains(line)) {
        say!("  - {line}");
    }
    for line in &plan.header_after {
        say!("  {} {line}", if plan.header_before.contains(line) { ' ' } else { '+' });
    }
}

/// What to write into the configuration where the decision is wrong.
fn print_mend(rule: &str) {
    say!("mend       if that is wrong, put this before other rules, with the category it should have:");
    for line in rule.lines() {
        say!("             {line}");
    }
}
