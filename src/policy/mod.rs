//! What a message is, and what is to be done with it. Pure: no clock, no log, no network, no disk.
//!
//! [`classify`] walks DESIGN order: the client's binding, a declared category, the operator's rules, the shipped
//! recognition, unknown. The first that decides wins; then the category's action, the client's list of categories and
//! its `observe` say what happens.

mod category;
mod classify;
mod code;
pub mod evaluation;
mod html;
mod limit;
mod mime;
mod normalize;
mod recognition;
mod rule;
mod shape;
mod submission;
mod target;
#[cfg(test)]
mod testing;
mod text;
mod transfer;
mod verdict;

pub use category::{Action, Category, SenderPolicy, shipped_categories};
pub use classify::{Classified, classify};
pub use limit::{BurstLimit, Limit};
pub use mime::Enclosure;
pub use normalize::plain_letters;
pub use recognition::{
    Examination, NoCode, OperatingPoint, Recognition, RecognitionError, Recognized, Said, Standing,
    Strictness,
};
pub use rule::{Condition, Field, Rule};
pub use shape::{Shape, shape, shape_of};
pub use submission::{Origin, Submission};
pub use target::{Target, TargetKind, in_text as links_in_text};
pub use text::{Body, Paragraph, Text, TextLimits};
pub use verdict::{DecidedBy, Evidence, Verdict};

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::ident::{BusinessName, CategoryName, Class, ClientName};

/// Everything [`classify`] decides by. Immutable; a reload makes a new one.
#[derive(Debug, Clone)]
pub struct Policy {
    /// All categories, by name. Always holds every shipped one, `unknown` among them.
    pub categories: BTreeMap<CategoryName, Arc<Category>>,
    /// All clients, by name.
    pub clients: BTreeMap<ClientName, Arc<Client>>,
    /// Mail domains in lower case and the business each belongs to; a subdomain belongs where its parent does.
    pub business_domains: BTreeMap<String, BusinessName>,
    /// The operator's rules, in the order of the file.
    pub rules: Vec<Rule>,
    /// The shipped recognition.
    pub recognition: Arc<Recognition>,
    /// The header field in which trusted clients declare a category, such as `X-Authrelay-Category`.
    pub declared_header: String,
}

impl Policy {
    /// The pauses between attempts of a category; of its lane, where the category is no longer configured.
    pub fn retry_clock(&self, category: &CategoryName, class: Class) -> Vec<Duration> {
        match self.categories.get(category) {
            // An observed message travels in another lane than its category.
            Some(category) if category.class == class => category.retry.clone(),
            Some(_) | None => Category::default_retry(class),
        }
    }
}

/// What policy knows of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its name.
    pub name: ClientName,
    /// The businesses it may speak for. One: that one. Several: found by the domain of the header From.
    pub businesses: Vec<BusinessName>,
    /// The categories it may send; `None` means all.
    pub categories: Option<Vec<CategoryName>>,
    /// The category everything it sends has, where it is bound to one.
    pub bound_to: Option<CategoryName>,
    /// Whether its declared categories are believed.
    pub may_declare: bool,
    /// The domains whose addresses may get a failure report about mail they are the envelope sender of.
    pub reports_to: Vec<String>,
    /// Until when it is only observed: what enforcement would refuse is relayed from no-reply, and recorded.
    pub observe_until: Option<Timestamp>,
    /// From when on what settles is a burst; `None`: never.
    pub burst: Option<BurstLimit>,
    /// The most messages of the normal lane a minute; what is beyond is delayed.
    pub per_minute: Option<NonZeroU32>,
}
