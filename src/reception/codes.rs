//! Between the HTTP endpoint and the pipeline: finds out whose token it is, and turns a request for a code into a
//! [`CodeRequest`].
//!
//! What is refused here is refused before anything is known that a record could be about; its log line is all that is
//! told of it, and a client has only so many of those.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::seldom::Seldom;
use crate::clock::Clock;
use crate::deliver::Monitor;
use crate::guard;
use crate::guard::ration::{Ration, Share};
use crate::guard::sms::What;
use crate::ident::{BusinessName, ClientName, MessageId};
use crate::mail::PhoneNumber;
use crate::otp::{Accepted, Handler, LimitMet, Refusal, RefusalKind, Request, Status, View};
use crate::phone;
use crate::pipeline::{self, CodeFeedback, CodeObjection, CodeRefused, CodeRequest, Pipeline};
use crate::policy::Client;
use crate::queue::{Entry, Idempotency, Queue, State, StoreError};
use crate::secret::{Digest, Secret};
use crate::sms::{self, TextError};
use crate::snapshot::{Current, Snapshot};

/// How long a repeated request is known.
pub(super) const REMEMBERED: Duration = Duration::from_hours(24);

/// The host in a text where no business is configured at all, which is so only for trying out.
const NO_BUSINESS: &str = "localhost";

/// Takes codes for phones.
pub struct Codes {
    current: Current,
    pipeline: Pipeline,
    queue: Arc<Queue>,
    providers: Monitor,
    clock: Clock,
    ration: Ration,
    strangers: Seldom,
}

impl Codes {
    /// A reception in front of a pipeline into `queue`. `providers` are told which codes were used.
    pub fn new(
        current: Current,
        pipeline: Pipeline,
        queue: Arc<Queue>,
        providers: Monitor,
        clock: Clock,
    ) -> Self {
        Self {
            current,
            pipeline,
            queue,
            providers,
            clock,
            ration: Ration::default(),
            strangers: Seldom::default(),
        }
    }
}

#[async_trait]
impl Handler for Codes {
    fn client_of(&self, token: &Secret) -> Option<ClientName> {
        let snapshot = self.current.get();
        let known = snapshot.directory.client_of_token(token);
        let known = known.filter(|client| snapshot.pipeline.policy.clients.contains_key(client));
        if known.is_none()
            && let Some(so_far) = self.strangers.one_more()
        {
            tracing::warn!(
                target: "authrelay::otp",
                so_far,
                "requests came with a token that is no client's; if they are an application's, compare its token with \
                 token_sha256"
            );
        }
        known
    }

    async fn submit(&self, client: &ClientName, request: Request) -> Result<Accepted, Refusal> {
        let snapshot = self.current.get();
        let read = self.read(&snapshot, client, request).inspect_err(|refusal| self.tell(client, refusal))?;
        let taken = self.pipeline.accept_code(&snapshot.pipeline, read).await;
        taken.map(|entry| accepted(&entry)).map_err(|refused| refusal(&refused))
    }

    async fn status(&self, client: &ClientName, id: MessageId) -> Result<View, Refusal> {
        let found = self.pipeline.code_of(client, id).await.map_err(|error| our_fault(&error))?;
        found.map(|entry| view(&entry)).ok_or_else(not_found)
    }

    async fn feedback(&self, client: &ClientName, id: MessageId, used: bool) -> Result<(), Refusal> {
        let snapshot = self.current.get();
        let told = self.pipeline.code_was_used(&snapshot.pipeline, client, id, used).await;
        match told.map_err(|error| our_fault(&error))? {
            CodeFeedback::First(entry) => {
                if let (Some(upstream), Some(reference)) = (&entry.upstream, &entry.reference) {
                    self.providers.feedback(upstream, reference, used).await;
                }
                Ok(())
            }
            CodeFeedback::Known => Ok(()),
            CodeFeedback::NotFound => Err(not_found()),
        }
    }
}

impl Codes {
    fn read(
        &self,
        snapshot: &Snapshot,
        client: &ClientName,
        request: Request,
    ) -> Result<CodeRequest, Refusal> {
        let otp = &snapshot.config.otp;
        if !otp.takes(request.factor) {
            let detail = format!("codes for the {} factor are switched off here", request.factor.as_str());
            return Err(refused(RefusalKind::FactorOff, Some("/factor"), detail));
        }
        let (business, host) = business(snapshot, policy_of(snapshot, client)?, request.business.as_deref())?;
        let to = phone::parse(request.to.reveal(), otp.default_country)
            .map_err(|error| refused(RefusalKind::Number, Some("/to"), error.to_string()))?;
        sms::check_code(&request.code, otp.code)
            .map_err(|error| refused(RefusalKind::Code, Some("/code"), error.to_string()))?;
        let accepted = self.clock.now();
        let idempotency = request.idempotency_key.as_ref().map(|key| Idempotency {
            key: self.queue.digest("otp-key", &[client.as_str().as_bytes(), key.reveal().as_bytes()]),
            fingerprint: fingerprint(&self.queue, &request, &to.number),
            until: accepted.plus(REMEMBERED),
        });
        Ok(CodeRequest {
            id: MessageId::generate(),
            accepted,
            client: client.clone(),
            business,
            host,
            to,
            code: request.code,
            factor: request.factor,
            origin_bound: otp.origin_bound,
            expires_in: request.expires_in,
            reference: request.reference,
            idempotency,
        })
    }

    fn tell(&self, client: &ClientName, refusal: &Refusal) {
        let kind = refusal.kind.as_str();
        if let Share::Told { left_out } = self.ration.take(client, kind, self.clock.now()) {
            let left_out = (left_out > 0).then_some(left_out);
            tracing::info!(target: "authrelay::otp", %client, kind, detail = refusal.detail, left_out, "refused");
        }
    }
}

/// Everything in a request but its key, so that equal requests are equal, and others never are.
fn fingerprint(queue: &Queue, request: &Request, number: &PhoneNumber) -> Digest {
    let optional = |text: Option<&str>| text.map(|text| format!("={text}")).unwrap_or_default();
    let expires_in = request.expires_in.map(|life| life.as_millis().to_string());
    let [business, expires_in, reference] =
        [request.business.as_deref(), expires_in.as_deref(), request.reference.as_deref()].map(optional);
    let parts =
        [number.as_str(), request.code.reveal(), request.factor.as_str(), &business, &expires_in, &reference];
    queue.digest("otp-request", &parts.map(str::as_bytes))
}

fn policy_of<'s>(snapshot: &'s Snapshot, client: &ClientName) -> Result<&'s Client, Refusal> {
    let gone = || refused(RefusalKind::CategoryNotAllowed, None, "this client is no longer configured");
    snapshot.pipeline.policy.clients.get(client).map(AsRef::as_ref).ok_or_else(gone)
}

/// For which business a code is sent, and the host that its text names. A business that there is not and one that is
/// another client's are answered alike.
pub(super) fn business(
    snapshot: &Snapshot,
    client: &Client,
    named: Option<&str>,
) -> Result<(Option<BusinessName>, String), Refusal> {
    let config = &snapshot.config;
    let objection = |detail: &str| refused(RefusalKind::Business, Some("/business"), detail);
    let found = match (named, client.businesses.as_slice()) {
        (Some(name), own) => own
            .iter()
            .find(|business| business.as_str() == name)
            .ok_or_else(|| objection("this client sends for no business of this name"))?,
        (None, [only]) => only,
        (None, []) if config.rewrite.businesses.is_empty() && !config.sms_guard.costs_money => {
            return Ok((None, NO_BUSINESS.to_owned()));
        }
        (None, []) => {
            return Err(objection("this client has no business in the configuration, and a text names one"));
        }
        (None, _) => {
            return Err(objection("this client has several businesses: name the one that this code is for"));
        }
    };
    let url = config.business_urls.get(found);
    let url = url.ok_or_else(|| {
        objection("this business has no url in the configuration, and a text names its host")
    })?;
    Ok((Some(found.clone()), url.host.clone()))
}

fn accepted(entry: &Entry) -> Accepted {
    Accepted { id: entry.id, status: status(entry), expires: entry.expires }
}

fn view(entry: &Entry) -> View {
    View {
        id: entry.id,
        status: status(entry),
        created: entry.accepted,
        expires: entry.expires,
        reference: entry.application_id.clone(),
        reason: entry.reason.as_ref().map(ToString::to_string),
    }
}

fn status(entry: &Entry) -> Status {
    match entry.state {
        // What an operator holds back is still to be sent.
        State::Queued | State::Attempting | State::Held => Status::Queued,
        State::AwaitingReport if entry.reference.is_none() => Status::InDoubt,
        State::AwaitingReport | State::HandedOver => Status::HandedOver,
        State::Delivered => Status::Delivered,
        State::Failed => Status::Failed,
        State::Expired => Status::Expired,
        State::Superseded => Status::Superseded,
        State::Suppressed => Status::Suppressed,
        State::Removed => Status::Removed,
        State::Unknown => Status::Unknown,
    }
}

fn refused(kind: RefusalKind, pointer: Option<&'static str>, detail: impl Into<String>) -> Refusal {
    Refusal { kind, pointer, detail: detail.into(), limit: None, id: None }
}

fn not_found() -> Refusal {
    refused(RefusalKind::NotFound, None, "there is no code with this id")
}

fn our_fault(error: &StoreError) -> Refusal {
    tracing::error!(%error, "a client's code could not be looked up or noted; it was told to try again");
    refused(RefusalKind::Store, None, "the queue can't be used now, try again")
}

/// What the pipeline objected to, as the client is told.
fn refusal(refused: &CodeRefused) -> Refusal {
    let (kind, pointer) = match &refused.why {
        CodeObjection::Category(_) | CodeObjection::ClientList(_) => {
            (RefusalKind::CategoryNotAllowed, Some("/factor"))
        }
        CodeObjection::Life { .. } => (RefusalKind::Expiry, Some("/expires_in")),
        // Nothing comes as mail over HTTP.
        CodeObjection::Mail(_) => (RefusalKind::Code, None),
        CodeObjection::Text(TextError::Code { .. }) => (RefusalKind::Code, Some("/code")),
        CodeObjection::Text(TextError::TooLong { .. } | TextError::NotGsm7 | TextError::Host) => {
            (RefusalKind::Business, Some("/business"))
        }
        CodeObjection::Guard(guard::sms::Objection::Country(_)) => (RefusalKind::Country, Some("/to")),
        CodeObjection::Guard(guard::sms::Objection::Range(_)) => (RefusalKind::NumberRange, Some("/to")),
        CodeObjection::Guard(guard::sms::Objection::Conversion(_)) => (RefusalKind::Conversion, Some("/to")),
        CodeObjection::Rate(met) if met.what == What::Client => (RefusalKind::Rate, None),
        CodeObjection::Rate(met) | CodeObjection::Limit(met) => limit_kind(met.what),
        CodeObjection::Mismatch => (RefusalKind::IdempotencyMismatch, None),
        CodeObjection::Store(_) => (RefusalKind::Store, None),
    };
    let (detail, limit) = match &refused.why {
        CodeObjection::Rate(met) | CodeObjection::Limit(met) => {
            let seconds = met.retry_after.as_millis().div_ceil(1000).max(1);
            (format!("{}, try again in {seconds} s", refused.why), Some(limit(met)))
        }
        // What went wrong inside is for the log.
        CodeObjection::Store(_) => ("the code could not be stored, try again".to_owned(), None),
        CodeObjection::Category(_)
        | CodeObjection::ClientList(_)
        | CodeObjection::Life { .. }
        | CodeObjection::Mail(_)
        | CodeObjection::Text(_)
        | CodeObjection::Guard(_)
        | CodeObjection::Mismatch => (refused.why.to_string(), None),
    };
    Refusal { kind, pointer, detail, limit, id: refused.recorded }
}

fn limit_kind(what: What) -> (RefusalKind, Option<&'static str>) {
    match what {
        What::Number => (RefusalKind::NumberLimit, Some("/to")),
        What::Prefix => (RefusalKind::PrefixLimit, Some("/to")),
        What::Client => (RefusalKind::ClientLimit, None),
        What::Business => (RefusalKind::BusinessLimit, None),
        What::All => (RefusalKind::TotalLimit, None),
    }
}

fn limit(met: &pipeline::LimitMet) -> LimitMet {
    let name = met.what.as_str();
    LimitMet { name, quota: met.limit.most, window: met.limit.within, retry_after: met.retry_after }
}
