//! Mail that is for a phone: `+12025550100@sms.relay.example`. Finds out whether a client may send it, and turns it into
//! the [`CodeRequest`] that the code in it is.
//!
//! Only a client that the configuration names may; what it may not is refused at RCPT, and what its mail is not fit for
//! after the dot, on record. Where no client is named the domain is like any other.

use crate::guard;
use crate::ident::{BusinessName, ClientName};
use crate::mail::Address;
use crate::outcome::{Detail, Reply};
use crate::phone::{self, Dialled};
use crate::pipeline::{
    CodeObjection, CodeRefused, CodeRequest, Pipeline, Unfit, about_code_mail, code_in, judge_code,
};
use crate::policy::{Classified, Submission, classify};
use crate::queue::{Entry, Idempotency, Queue, State, StoreError};
use crate::sms::Factor;
use crate::snapshot::Snapshot;

use super::codes::{REMEMBERED, business};

/// Whom a transaction is for. One reply answers all of it, so it is for mailboxes, or for one phone.
#[derive(Debug)]
pub(super) enum Aim {
    /// Nobody yet.
    Open,
    Mailboxes,
    Phone(Phone),
}

/// A phone as the recipient of a mail.
#[derive(Debug)]
pub(super) struct Phone {
    to: Dialled,
    factor: Factor,
}

impl Aim {
    /// Adds a recipient, or says why it can't be one.
    pub(super) fn add(
        &mut self,
        snapshot: &Snapshot,
        client: &ClientName,
        to: &Address,
    ) -> Result<(), Reply> {
        match (&self, phone(snapshot, client, to)?) {
            (Self::Open | Self::Mailboxes, None) => *self = Self::Mailboxes,
            (Self::Open, Some(phone)) => *self = Self::Phone(phone),
            (Self::Mailboxes, Some(_)) | (Self::Phone(_), _) => return Err(send_apart()),
        }
        Ok(())
    }
}

/// Takes the code in a mail, or says why not.
pub(super) async fn accept(
    snapshot: &Snapshot,
    (pipeline, queue): (&Pipeline, &Queue),
    phone: Phone,
    submission: Submission,
) -> Reply {
    let (id, category) = (submission.id, phone.factor.category());
    let classified = classify(&snapshot.pipeline.policy, submission);
    let about = about_code_mail(&classified, &phone.to.number, phone.factor);
    let taken = match read(snapshot, &classified, phone) {
        Ok(mut request) => {
            request.idempotency = idempotency(queue, &request);
            pipeline.accept_code(&snapshot.pipeline, request).await
        }
        Err(unfit) => Err(pipeline.refuse_code(about, unfit.into()).await),
    };
    match taken {
        Ok(entry) if entry.id == id => accepted(&entry),
        Ok(earlier) => repeated(&earlier),
        Err(refused) => refusal(&refused, category),
    }
}

/// What would become of a mail.
#[derive(Debug)]
pub struct ExplainedCodeMail {
    /// What is answered to it, at RCPT or after the dot.
    pub reply: Reply,
    /// The site that its text would name, where one would be sent.
    pub site: Option<String>,
}

/// What would become of a mail that is for a phone; `None` where it is for none. Nothing is stored, and nothing counted.
pub fn explain_code_mail(snapshot: &Snapshot, submission: &Submission) -> Option<ExplainedCodeMail> {
    let refused = |reply| Some(ExplainedCodeMail { reply, site: None });
    let mut aim = Aim::Open;
    for to in &submission.envelope.recipients {
        if let Err(reply) = aim.add(snapshot, &submission.client, to) {
            return refused(reply);
        }
    }
    let Aim::Phone(phone) = aim else { return None };
    let category = phone.factor.category();
    let classified = classify(&snapshot.pipeline.policy, submission.clone());
    let judged = read(snapshot, &classified, phone).map_err(CodeObjection::from).and_then(|request| {
        judge_code(&snapshot.pipeline, &request)?;
        Ok(request.host)
    });
    match judged {
        Ok(site) => Some(ExplainedCodeMail { reply: Reply::new(250, Detail(0, 0), "Ok"), site: Some(site) }),
        Err(why) => refused(refusal(&CodeRefused { why, recorded: Some(submission.id) }, category)),
    }
}

/// The phone that an address stands for; `None` where it is an address like any other.
fn phone(snapshot: &Snapshot, client: &ClientName, address: &Address) -> Result<Option<Phone>, Reply> {
    let otp = &snapshot.config.otp;
    let Some(by_mail) = otp.by_mail.as_ref().filter(|by_mail| by_mail.domain == address.domain()) else {
        return Ok(None);
    };
    let refused = |text: String| Err(Reply::new(550, Detail(7, 1), text));
    let Some(&factor) = by_mail.clients.get(client) else {
        return refused(format!("client {client} may not send texts by mail (sms_by_mail)"));
    };
    if !otp.takes(factor) {
        return refused(format!("codes for the {} factor are switched off here", factor.as_str()));
    }
    let to = phone::parse(address.local_part(), otp.default_country)
        .map_err(|error| Reply::new(550, Detail(1, 3), error.to_string()))?;
    Ok(Some(Phone { to, factor }))
}

fn read(snapshot: &Snapshot, classified: &Classified, phone: Phone) -> Result<CodeRequest, Unfit> {
    let (submission, otp) = (classified.submission(), &snapshot.config.otp);
    let policy = &snapshot.pipeline.policy;
    let code = code_in(policy, classified, otp.code)?;
    let client = policy.clients.get(&submission.client).ok_or(Unfit::Business)?;
    let named = classified.verdict().business.as_ref();
    let (business, host) =
        business(snapshot, client, named.map(BusinessName::as_str)).map_err(|_| Unfit::Business)?;
    Ok(CodeRequest {
        id: submission.id,
        accepted: submission.accepted,
        client: submission.client.clone(),
        business,
        host,
        to: phone.to,
        code,
        factor: phone.factor,
        origin_bound: otp.origin_bound,
        expires_in: None,
        reference: submission.application_id(),
        idempotency: None,
    })
}

/// What the message is known by if it comes again: its Message-ID. The code is part of the key, so an application whose
/// Message-IDs are all the same still sends every code.
fn idempotency(queue: &Queue, request: &CodeRequest) -> Option<Idempotency> {
    let message_id = request.reference.as_deref()?;
    let (client, number) = (request.client.as_str(), request.to.number.as_str());
    let parts = [client, number, request.factor.as_str(), request.code.reveal(), message_id];
    let key = queue.digest("code-mail", &parts.map(str::as_bytes));
    Some(Idempotency { key, fingerprint: key, until: request.accepted.plus(REMEMBERED) })
}

/// RFC 5321 section 4.5.3.1.10 has the client send the message to those it has, and then to the others.
fn send_apart() -> Reply {
    Reply::new(
        452,
        Detail(5, 3),
        "a text goes to one phone and no mailbox: send this recipient a message apart",
    )
}

fn accepted(entry: &Entry) -> Reply {
    // What is not queued is a test number's.
    let what = if entry.state == State::Suppressed { "accepted" } else { "queued" };
    Reply::new(250, Detail(0, 0), format!("Ok: {what} as {}", entry.id))
}

/// A message that came before is not sent again; where nothing came of the first, that is told.
fn repeated(earlier: &Entry) -> Reply {
    let Entry { id, state, .. } = earlier;
    match state {
        State::Queued
        | State::Attempting
        | State::Held
        | State::AwaitingReport
        | State::HandedOver
        | State::Delivered
        | State::Superseded
        | State::Suppressed
        | State::Unknown => Reply::new(250, Detail(0, 0), format!("Ok: already queued as {id}")),
        State::Failed | State::Expired | State::Removed => {
            let text = format!("this message was queued before as {id}, which is {} now", state.as_str());
            Reply::new(550, Detail(7, 1), text)
        }
    }
}

/// What the pipeline objected to, as the client is told.
fn refusal(refused: &CodeRefused, category: &str) -> Reply {
    let why = &refused.why;
    let (code, detail, text) = match why {
        CodeObjection::Store(StoreError::Full) => {
            return Reply::new(452, Detail(3, 1), "no space left to store the code, try again later");
        }
        CodeObjection::Store(_) => {
            return Reply::local_error("the code could not be stored, try again later");
        }
        CodeObjection::Rate(met) | CodeObjection::Limit(met) => {
            let seconds = met.retry_after.as_millis().div_ceil(1000).max(1);
            (451, Detail(7, 1), format!("{why}, try again in {seconds} s"))
        }
        CodeObjection::Mail(Unfit::Unread | Unfit::Code(_) | Unfit::Form(_)) => {
            (550, Detail(6, 0), why.to_string())
        }
        CodeObjection::Category(_)
        | CodeObjection::ClientList(_)
        | CodeObjection::Life { .. }
        | CodeObjection::Mail(Unfit::Recognized(_) | Unfit::Business)
        | CodeObjection::Text(_)
        | CodeObjection::Guard(
            guard::sms::Objection::Country(_)
            | guard::sms::Objection::Range(_)
            | guard::sms::Objection::Conversion(_),
        )
        | CodeObjection::Mismatch => (550, Detail(7, 1), why.to_string()),
    };
    let rule = why.rule().unwrap_or("none");
    // What is only counted has no id that anything could be found by.
    let id = refused.recorded.map(|id| format!(", id {id}")).unwrap_or_default();
    Reply::new(code, detail, format!("{text} (category {category}, rule {rule}{id})"))
}
