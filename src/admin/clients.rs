//! What clients were seen to do, as the control interface shows it.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::Control;
use crate::conduct::{Advice, Client, Habit, Record, advise};
use crate::ident::ClientName;

/// All clients that are configured, and everybody else who tried to send.
#[derive(Debug, Serialize, Deserialize)]
pub struct ClientsView {
    /// By name.
    pub clients: Vec<ClientView>,
    /// The latest first.
    pub strangers: Vec<StrangerView>,
}

/// One client.
#[derive(Debug, Serialize, Deserialize)]
pub struct ClientView {
    /// Its name.
    pub name: String,
    /// When it last sent; `None`: it was never seen.
    pub last_seen: Option<String>,
    /// When it was first seen.
    pub first_seen: Option<String>,
    /// Messages it handed us.
    pub messages: u64,
    /// TLS versions, or `none`, with the number of messages.
    pub tls: Vec<(String, u64)>,
    /// What it called itself, the latest last.
    pub ehlo: Vec<String>,
    /// From where it came, the latest last.
    pub addresses: Vec<String>,
    /// What it is in the habit of, with the number of messages.
    pub habits: Vec<(Habit, u64)>,
    /// What it was refused, by code and rule, with how often; the most frequent first.
    pub refusals: Vec<(String, u64)>,
    /// What to change.
    pub advice: Vec<Advice>,
}

/// Somebody who is no client.
#[derive(Debug, Serialize, Deserialize)]
pub struct StrangerView {
    /// Its address.
    pub address: String,
    /// What it called itself.
    pub ehlo: String,
    /// The listener it came to.
    pub listener: String,
    /// How often it tried to send or to log in.
    pub attempts: u64,
    /// Whether it tried to log in.
    pub tried_login: bool,
    /// When last.
    pub last_seen: String,
}

impl ClientsView {
    /// Shows the record, with every client that is configured.
    pub fn of(mut record: Record, configured: impl Iterator<Item = ClientName>) -> Self {
        let clients = configured.map(|name| match record.clients.remove(&name) {
            Some(seen) => ClientView::of(&name, &seen),
            None => ClientView::never(&name),
        });
        let clients = clients.collect();
        let mut strangers: Vec<_> = record.strangers.into_iter().collect();
        strangers.sort_by_key(|(_, seen)| std::cmp::Reverse(seen.attempts.last));
        let strangers = strangers.into_iter().map(|(address, seen)| StrangerView {
            address: address.to_string(),
            ehlo: seen.name,
            listener: seen.listener,
            attempts: seen.attempts.times,
            tried_login: seen.tried_login,
            last_seen: seen.attempts.last.to_rfc3339(),
        });
        Self { clients, strangers: strangers.collect() }
    }
}

impl ClientView {
    fn of(name: &ClientName, seen: &Client) -> Self {
        let mut refusals: Vec<_> =
            seen.refusals.iter().map(|(kind, count)| (kind.clone(), count.times)).collect();
        refusals.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
        Self {
            name: name.to_string(),
            last_seen: Some(seen.last.to_rfc3339()),
            first_seen: Some(seen.first.to_rfc3339()),
            messages: seen.messages,
            tls: seen.tls.iter().map(|(version, count)| (version.clone(), count.times)).collect(),
            ehlo: seen.names.clone(),
            addresses: seen.addresses.iter().map(ToString::to_string).collect(),
            habits: seen.habits.iter().map(|(habit, count)| (*habit, count.times)).collect(),
            refusals,
            advice: advise(seen),
        }
    }

    fn never(name: &ClientName) -> Self {
        Self { last_seen: None, first_seen: None, ..Self::of(name, &Client::default()) }
    }
}

pub(super) async fn handle(State(control): State<Control>) -> Json<ClientsView> {
    Json(control.daemon.clients())
}
