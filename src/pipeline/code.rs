//! A one-time code for a phone on its way to the queue: what is asked for, why it is not taken, and the row that is made
//! of it. Pure.
//!
//! A code says itself what it is for, so nothing is recognised here, and a client that is only observed gets no further
//! than any other: there is nothing to learn about it, and a text costs money.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::About;
use crate::guard;
use crate::guard::sms::{Allowed, Limit, Refused, Smoother, Smoothing, Tally, What};
use crate::ident::{BusinessName, CategoryName, ClientName, MessageId};
use crate::mail::Recipient;
use crate::outcome::{Reason, ReasonClass};
use crate::phone::{Country, Dialled};
use crate::policy::{Action, Category, Policy};
use crate::queue::{Entry, Idempotency, Payload, State, StoreError};
use crate::secret::Secret;
use crate::sms::{self, Factor, TextError};

use super::Unfit;

/// What a code's country is told by in the row's `rule`, after its number is forgotten.
const COUNTRY: &str = "country:";

/// A request for a code: read, and from a client that is known.
#[derive(Debug)]
pub struct CodeRequest {
    /// The id it will have.
    pub id: MessageId,
    /// When it came.
    pub accepted: Timestamp,
    /// Whose it is.
    pub client: ClientName,
    /// On whose behalf it is sent; one that the client may speak for.
    pub business: Option<BusinessName>,
    /// The host that is named in the text.
    pub host: String,
    /// For whom.
    pub to: Dialled,
    /// The code, as the configuration wants codes.
    pub code: Secret,
    /// For which factor.
    pub factor: Factor,
    /// Whether the text is in the origin-bound form.
    pub origin_bound: bool,
    /// How long it is good; `None`: as long as its category says.
    pub expires_in: Option<Duration>,
    /// The application's own reference.
    pub reference: Option<String>,
    /// What the request is known by if it is repeated.
    pub idempotency: Option<Idempotency>,
}

/// A code that is not taken.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct CodeRefused {
    /// Why.
    pub why: CodeObjection,
    /// The id under which it is on record, where it is.
    pub recorded: Option<MessageId>,
}

/// Why a code is not taken.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CodeObjection {
    /// Its category is not relayed.
    #[error("codes of category {0} are not relayed")]
    Category(CategoryName),
    /// Its client may not send its category.
    #[error("this client may not send codes of category {0}")]
    ClientList(CategoryName),
    /// It is said to be good for longer than its category is of use.
    #[error("a code of category {category} is sent for {} s at most", most.as_secs())]
    Life {
        /// Its category.
        category: CategoryName,
        /// How long that is of use.
        most: Duration,
    },
    /// No code is taken out of the mail it came in.
    #[error("{0}")]
    Mail(#[from] Unfit),
    /// The text can't be made.
    #[error("{0}")]
    Text(#[from] TextError),
    /// The guard does not let its number pass.
    #[error("{0}")]
    Guard(#[from] guard::sms::Objection),
    /// Too many requests in this moment.
    #[error("too many requests {} in this moment", subject(.0.what))]
    Rate(LimitMet),
    /// Too many codes.
    #[error("too many codes {}", subject(.0.what))]
    Limit(LimitMet),
    /// Its idempotency key came with another request before.
    #[error("the idempotency key came with another request before")]
    Mismatch,
    /// The store can't take it now: our own fault.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// A limit that was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitMet {
    /// What it is about.
    pub what: What,
    /// The limit.
    pub limit: Limit,
    /// When it is worth trying again.
    pub retry_after: Duration,
}

impl CodeObjection {
    /// What goes on record as the rule; `None` for what is no decision of ours about the code.
    pub fn rule(&self) -> Option<&'static str> {
        match self {
            Self::Category(_) => Some("policy:category"),
            Self::ClientList(_) => Some("policy:client-list"),
            Self::Life { .. } => Some("policy:life"),
            Self::Mail(unfit) => Some(unfit.rule()),
            Self::Text(_) => Some("guard:text"),
            Self::Guard(guard::sms::Objection::Country(_)) => Some("guard:country"),
            Self::Guard(guard::sms::Objection::Range(_)) => Some("guard:range"),
            Self::Guard(guard::sms::Objection::Conversion(_)) => Some("guard:conversion"),
            Self::Rate(_) => Some("guard:rate"),
            Self::Limit(met) => Some(match met.what {
                What::Number => "guard:number-limit",
                What::Prefix => "guard:prefix-limit",
                What::Client => "guard:client-limit",
                What::Business => "guard:business-limit",
                What::All => "guard:total-limit",
            }),
            Self::Mismatch | Self::Store(_) => None,
        }
    }
}

fn subject(what: What) -> &'static str {
    match what {
        What::Number => "for this number",
        What::Prefix => "for numbers like this one",
        What::Client => "of this client",
        What::Business => "of this business",
        What::All => "in all",
    }
}

/// The category of a code, and how long it is of use; or why it is not sent at all.
pub(super) fn admit<'p>(
    policy: &'p Policy,
    request: &CodeRequest,
) -> Result<(&'p Category, Duration), CodeObjection> {
    let name = || CategoryName::new(request.factor.category());
    let category = policy.categories.get(request.factor.category());
    let category = category.filter(|category| category.action == Action::Relay);
    let category = category.ok_or_else(|| CodeObjection::Category(name()))?;
    let may_send = policy.clients.get(&request.client).is_some_and(|client| {
        let bound_elsewhere = client.bound_to.as_ref().is_some_and(|bound| *bound != category.name);
        let listed = client.categories.as_ref().is_none_or(|names| names.contains(&category.name));
        listed && !bound_elsewhere
    });
    if !may_send {
        return Err(CodeObjection::ClientList(name()));
    }
    let life = request.expires_in.unwrap_or(category.life);
    if life > category.life {
        return Err(CodeObjection::Life { category: name(), most: category.life });
    }
    // What can't be written is refused now, and not when it is to be sent.
    sms::text(&request.code, &request.host, request.origin_bound)?;
    Ok((category, life))
}

/// What becomes of a code that its number lets on, and what is counted of it.
pub(super) fn allow(
    config: &guard::sms::Config,
    request: &CodeRequest,
) -> Result<(State, Vec<Tally>), CodeObjection> {
    let business = request.business.as_ref();
    Ok(match guard::sms::allow(config, &request.to, &request.client, business)? {
        Allowed::Send(tallies) => (State::Queued, tallies),
        Allowed::Test(tallies) => (State::Suppressed, tallies),
    })
}

/// Keeps bursts away from the store. A test number may be asked for as often as an application's tests like.
pub(super) fn smooth(
    smoother: &Smoother,
    smoothing: &Smoothing,
    request: &CodeRequest,
    state: State,
) -> Result<(), CodeObjection> {
    let number = (state == State::Queued).then_some(&request.to.number);
    smoother.check(smoothing, &request.client, number).map_err(|refused| {
        let Refused { what, retry_after, quota: limit } = refused;
        CodeObjection::Rate(LimitMet { what, limit, retry_after })
    })
}

impl CodeRequest {
    /// The row of a code that is let on.
    pub(super) fn entry(&self, category: &Category, life: Duration, state: State) -> Entry {
        let by_policy = |text| Reason::new(ReasonClass::Policy, text);
        Entry {
            id: self.id,
            submission: self.id,
            client: self.client.clone(),
            business: self.business.clone(),
            category: category.name.clone(),
            rule: rule(self.factor, self.to.country),
            class: category.class,
            recipient: Recipient::Phone(self.to.number.clone()),
            application_id: self.reference.clone(),
            report_to: None,
            accepted: self.accepted,
            expires: self.accepted.plus(life),
            next_attempt: self.accepted,
            attempts: 0,
            in_doubt: 0,
            state,
            reason: (state == State::Suppressed).then(|| by_policy("a test number")),
            upstream: None,
            reference: None,
        }
    }

    pub(super) fn payload(&self) -> Payload {
        Payload::Sms {
            code: self.code.clone(),
            host: self.host.clone(),
            factor: self.factor,
            origin_bound: self.origin_bound,
        }
    }

    /// What the record of its refusal tells; its rule is still to be found.
    pub(super) fn about(&self) -> About {
        About {
            message: self.id,
            submission: self.id,
            client: self.client.clone(),
            business: self.business.clone(),
            category: CategoryName::new(self.factor.category()),
            rule: String::new(),
            recipient: Recipient::Phone(self.to.number.clone()),
            application_id: self.reference.clone(),
            report_to: None,
            accepted: self.accepted,
        }
    }
}

/// What decided on a code: its factor. The country stands beside it, because the number is forgotten with the end.
fn rule(factor: Factor, country: Option<Country>) -> String {
    let factor = factor.as_str();
    country
        .map_or_else(|| format!("factor:{factor}"), |country| format!("factor:{factor} {COUNTRY}{country}"))
}

/// The country that a code was for.
pub(super) fn country_of(entry: &Entry) -> Option<Country> {
    entry.rule.split(' ').find_map(|word| word.strip_prefix(COUNTRY)).and_then(Country::parse)
}
