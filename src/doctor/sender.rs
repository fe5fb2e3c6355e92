//! One sender in the DNS: its DKIM keys, SPF, DMARC, and whether its mail would pass at the receivers.

use super::dkim::{self, Published};
use super::dmarc::{Alignment, Policy, Tree, Wish};
use super::dns::{Dns, DnsTrouble};
use super::spf::{self, Spf};
use super::{Area, Finding, Severity};
use crate::deliver::{Config, UpstreamKind};
use crate::rewrite::{DkimKey, Sender};

/// Names that are nobody's in the DNS (RFC 6761).
const LOCAL: [&str; 4] = ["localhost", "test", "invalid", "local"];

/// Looks up everything that receivers look up for its mail.
pub(super) async fn examine(deliver: &Config, sender: &Sender, dns: &Dns) -> Vec<Finding> {
    let from = sender.from.address.domain();
    let last_label = from.rsplit('.').next().unwrap_or(from).to_ascii_lowercase();
    if LOCAL.contains(&last_label.as_str()) {
        let text = format!("its domain {from} is this machine's alone: no receiver takes mail from there");
        let advice = format!("give [senders.{}] a `from` in a domain of yours", sender.name);
        return vec![Finding::error(Area::Sender, &sender.name, text).advise(advice)];
    }
    let Ok(from) = ascii(from) else {
        let text = format!("its domain {from} is no name of the DNS");
        return vec![Finding::error(Area::Sender, &sender.name, text).advise("see to its spelling")];
    };
    let keys = published(sender, dns).await;
    let mut findings: Vec<Finding> =
        keys.iter().map(|(key, published)| key_finding(sender, key, published)).collect();
    match Chances::of(sender, &from, &keys, dns).await {
        Ok(chances) => {
            findings.extend(spf_findings(deliver, sender, &chances));
            findings.push(chances.verdict(sender, &from, &carriers(deliver, sender)));
        }
        Err(trouble) => findings.push(
            Finding::warning(Area::Sender, &sender.name, trouble.to_string())
                .advise("try again; if it stays so, see to the domain's name servers"),
        ),
    }
    findings
}

fn ascii(domain: &str) -> Result<String, idna::Errors> {
    idna::domain_to_ascii(domain)
}

async fn published<'s>(sender: &'s Sender, dns: &Dns) -> Vec<(&'s DkimKey, Published)> {
    let mut keys = Vec::new();
    for key in &sender.dkim {
        keys.push((key, dkim::look_up(dns, key).await));
    }
    keys
}

/// The upstreams its mail goes over, for people.
fn carriers(deliver: &Config, sender: &Sender) -> String {
    let names: Vec<&str> = deliver.carriers(&sender.name).map(|upstream| upstream.name.as_str()).collect();
    names.join(", ")
}

fn key_finding(sender: &Sender, key: &DkimKey, published: &Published) -> Finding {
    let name = key.dns_name();
    let error = |text: String| Finding::error(Area::Sender, &sender.name, text);
    let publish = || {
        let record = key.dns_record().unwrap_or_default();
        format!("publish this TXT record at {name}: {record}")
    };
    match published {
        Published::Ours => {
            let text = format!("DKIM key {name} is published ({})", key.algorithm());
            Finding::ok(Area::Sender, &sender.name, text)
        }
        Published::OursInTest => {
            let text = format!("DKIM key {name} is published as a test (t=y)");
            Finding::warning(Area::Sender, &sender.name, text).advise("take t=y out of the record")
        }
        Published::Missing => error(format!("DKIM key {name} is not published")).advise(publish()),
        Published::Several => error(format!("DKIM key {name} has several records"))
            .advise("leave one of them, the one with our key"),
        Published::Another => {
            error(format!("DKIM key {name}: another key is published there, so every signature fails"))
                .advise(publish())
        }
        Published::Withdrawn => error(format!("DKIM key {name} was withdrawn (empty p=)"))
            .advise("sign with a new key under a new selector: `authrelay keygen`"),
        Published::Unfit(why) => error(format!("DKIM key {name}: {why}")).advise(publish()),
        Published::Unknown(trouble) => {
            Finding::warning(Area::Sender, &sender.name, trouble.to_string()).advise("try again")
        }
    }
}

/// Which of the ways to pass DMARC are open to a sender.
struct Chances {
    policy: Option<Policy>,
    /// The `d=` of a key that is published and aligned.
    dkim: Option<String>,
    return_path: String,
    spf: Spf,
    return_path_is_aligned: bool,
}

impl Chances {
    async fn of(
        sender: &Sender,
        from: &str,
        keys: &[(&DkimKey, Published)],
        dns: &Dns,
    ) -> Result<Self, DnsTrouble> {
        let tree = Tree::walk(dns, from).await?;
        let (dkim_how, spf_how) = match &tree.policy {
            Some(policy) => (policy.dkim, policy.spf),
            None => (Alignment::Relaxed, Alignment::Relaxed),
        };
        let mut dkim = None;
        for (key, published) in keys {
            let is_good = matches!(published, Published::Ours | Published::OursInTest);
            if is_good && dkim.is_none() && tree.is_aligned(&Tree::walk(dns, key.domain()).await?, dkim_how) {
                dkim = Some(key.domain().to_owned());
            }
        }
        let domain = sender.return_path.domain();
        let return_path = ascii(domain).unwrap_or_else(|_| domain.to_owned());
        let return_path_is_aligned = tree.is_aligned(&Tree::walk(dns, &return_path).await?, spf_how);
        let spf = spf::look_up(dns, &return_path).await;
        Ok(Self { policy: tree.policy, dkim, return_path, spf, return_path_is_aligned })
    }

    /// Whether its mail passes DMARC, and by what.
    fn verdict(&self, sender: &Sender, from: &str, over: &str) -> Finding {
        let by_spf = self.return_path_is_aligned && matches!(self.spf, Spf::One(_));
        let ways = match (&self.dkim, by_spf) {
            (Some(domain), true) => format!("DKIM (d={domain}) and SPF ({}) are aligned", self.return_path),
            (Some(domain), false) => {
                format!("DKIM (d={domain}) is aligned, SPF ({}) is not", self.return_path)
            }
            (None, true) if sender.dkim.is_empty() => format!(
                "SPF ({}) is aligned; DKIM is the provider's: it has to sign with d={from}",
                self.return_path
            ),
            (None, true) => format!("only SPF ({}) is aligned", self.return_path),
            (None, false) if sender.dkim.is_empty() => {
                format!("all depends on the provider's own signature: it has to sign with d={from}")
            }
            (None, false) => "neither DKIM nor SPF is aligned".to_owned(),
        };
        let asked = match &self.policy {
            Some(policy) => format!("DMARC of {from}: p={} at {}", policy.wish.as_str(), policy.found_at),
            None => format!("DMARC of {from}: no record"),
        };
        let text = format!("{asked}; over {over}: {ways}");
        let finding = |severity| Finding::new(Area::Sender, &sender.name, severity, text.clone());
        let wish = self.policy.as_ref().map(|policy| policy.wish);
        match (&self.dkim, by_spf, wish) {
            (None, false, Some(Wish::Quarantine | Wish::Reject)) if !sender.dkim.is_empty() => {
                finding(Severity::Error).advise("receivers put it away or refuse it: publish the DKIM key, with the domain of `from`")
            }
            (None, false, _) => finding(Severity::Warning)
                .advise("see at the provider that it signs with the domain of `from`, or sign here: `authrelay keygen`"),
            (None, true, _) if !sender.dkim.is_empty() => {
                finding(Severity::Warning).advise("SPF alone is lost where mail is forwarded: publish the DKIM key")
            }
            (_, _, None) => finding(Severity::Warning).advise(format!(
                "publish this TXT record at _dmarc.{from}, with an address of yours for reports: v=DMARC1; p=none"
            )),
            (Some(_), _, Some(_)) | (None, true, Some(_)) => finding(Severity::Ok),
        }
    }
}

/// The record of the return path, and for every upstream whether it is named there.
fn spf_findings(deliver: &Config, sender: &Sender, chances: &Chances) -> Vec<Finding> {
    let domain = &chances.return_path;
    let warning = |text: String, advice: String| {
        vec![Finding::warning(Area::Sender, &sender.name, text).advise(advice)]
    };
    let record = match &chances.spf {
        Spf::One(record) => record,
        Spf::Missing => {
            return warning(
                format!("SPF of {domain}: no record"),
                "publish the TXT record that your provider names for it; many receivers distrust a domain without"
                    .to_owned(),
            );
        }
        Spf::Several => {
            return vec![
                Finding::error(Area::Sender, &sender.name, format!("SPF of {domain}: several records"))
                    .advise("make one of them: with several every check fails"),
            ];
        }
        Spf::Unknown(trouble) => return warning(trouble.to_string(), "try again".to_owned()),
    };
    if record.allows_everybody {
        return warning(
            format!("SPF of {domain} lets everybody send (+all)"),
            "end it with -all or ~all".to_owned(),
        );
    }
    let named = record.named();
    let over = deliver.carriers(&sender.name).filter_map(|upstream| match &upstream.kind {
        UpstreamKind::Smtp(smtp) => Some((upstream, &smtp.host)),
        UpstreamKind::Maildir { .. } | UpstreamKind::Outbox { .. } | UpstreamKind::Twilio(_) => None,
    });
    over.map(|(upstream, host)| {
        let name = &upstream.name;
        if record.names_domain_of(host) {
            let text = format!("SPF of {domain} names the domain of {host} (upstream {name})");
            return Finding::ok(Area::Sender, &sender.name, text);
        }
        let text = format!(
            "SPF of {domain} names {named}; whether {name} ({host}) sends from there can't be told here"
        );
        Finding::note(Area::Sender, &sender.name, text)
            .advise("compare it with what the provider says belongs there")
    })
    .collect()
}
