//! The foreign hosts that mail led to lately, from which an administrator makes the list of those that are allowed.
//!
//! In memory only, bounded: a table for each business there is, so many hosts in each. When one is full, the host that
//! was seen least gives way, so that a flood of made-up hosts does not drive out those that come every day.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::links::{Seen, Taken};
use crate::ident::BusinessName;

/// Hosts that are remembered for each business.
pub const HOSTS_MAX: usize = 100;

/// One host that is not allowed, and how often mail led there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// On whose behalf the mail was sent; `None`: it was not known.
    pub business: Option<BusinessName>,
    /// The host, as it may be shown.
    pub host: String,
    /// What it was last taken for.
    pub taken: Taken,
    /// In how many messages.
    pub messages: u64,
}

type Hosts = BTreeMap<String, (Taken, u64)>;

/// The hosts seen since the process began.
#[derive(Debug, Default)]
pub struct ForeignHosts(Mutex<BTreeMap<Option<BusinessName>, Hosts>>);

impl ForeignHosts {
    /// Notes the foreign hosts of one message.
    pub fn note(&self, business: Option<&BusinessName>, foreign: &[Seen]) {
        if foreign.is_empty() {
            return;
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hosts = all.entry(business.cloned()).or_default();
        for seen in foreign {
            if hosts.len() >= HOSTS_MAX && !hosts.contains_key(&seen.host) {
                let least =
                    hosts.iter().min_by_key(|(_, (_, messages))| *messages).map(|(host, _)| host.clone());
                least.map(|host| hosts.remove(&host));
            }
            let (taken, messages) = hosts.entry(seen.host.clone()).or_insert((seen.taken, 0));
            *taken = seen.taken;
            *messages += 1;
        }
    }

    /// All of them, by business, the most frequent first.
    pub fn list(&self) -> Vec<Counted> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<Counted> = all
            .iter()
            .flat_map(|(business, hosts)| {
                hosts.iter().map(|(host, &(taken, messages))| Counted {
                    business: business.clone(),
                    host: host.clone(),
                    taken,
                    messages,
                })
            })
            .collect();
        list.sort_by(|one, two| {
            (&one.business, two.messages, &one.host).cmp(&(&two.business, one.messages, &two.host))
        });
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(host: &str) -> Seen {
        Seen { host: host.to_owned(), taken: Taken::Foreign, count: 3 }
    }

    #[test]
    fn hosts_are_counted_by_business_and_their_number_is_bounded() {
        let hosts = ForeignHosts::default();
        let acme = BusinessName::new("acme");
        for _ in 0..3 {
            hosts.note(Some(&acme), &[seen("help.example"), seen("cdn.example")]);
        }
        hosts.note(Some(&acme), &[seen("cdn.example")]);
        hosts.note(None, &[seen("help.example")]);
        for number in 0..10_000 {
            hosts.note(Some(&acme), &[seen(&format!("h{number}.example"))]);
        }
        let list = hosts.list();
        assert_eq!(list.len(), HOSTS_MAX + 1);
        let of_acme: Vec<_> = list.iter().filter(|counted| counted.business.is_some()).collect();
        assert_eq!((of_acme[0].host.as_str(), of_acme[0].messages), ("cdn.example", 4));
        assert_eq!((of_acme[1].host.as_str(), of_acme[1].messages), ("help.example", 3));
    }
}
