//! The SPF record of a domain (RFC 7208): whether there is exactly one, what it says of everybody else, and whom it names.
//! Which machines an upstream sends from is known to nobody here, so whether they pass is not decided.

use super::dns::{Dns, DnsTrouble};

/// What a domain says of who may send for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Spf {
    /// One record.
    One(Record),
    /// No record.
    Missing,
    /// Several: every check is a permanent error.
    Several,
    /// It is not known.
    Unknown(DnsTrouble),
}

/// The record, as far as it is of use here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// It lets everybody send (`+all`).
    pub(super) allows_everybody: bool,
    /// The domains it takes others' words from, and hosts it names.
    names: Vec<String>,
    /// It names addresses itself.
    has_addresses: bool,
}

impl Record {
    /// Whether it names something in the domain of `host`, going by the last two labels.
    pub(super) fn names_domain_of(&self, host: &str) -> bool {
        let last_two = |name: &str| {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            let mut labels: Vec<String> = name.rsplit('.').take(2).map(ToOwned::to_owned).collect();
            labels.reverse();
            labels.join(".")
        };
        self.names.iter().any(|name| last_two(name) == last_two(host))
    }

    /// Whom it names, for people.
    pub(super) fn named(&self) -> String {
        let mut parts: Vec<String> = self.names.iter().take(6).map(|name| super::clean(name)).collect();
        if self.has_addresses {
            parts.push("addresses".to_owned());
        }
        if parts.is_empty() { "nobody".to_owned() } else { parts.join(", ") }
    }
}

/// Looks the record of `domain` up.
pub(super) async fn look_up(dns: &Dns, domain: &str) -> Spf {
    match dns.txt(domain).await {
        Ok(records) => read(&records, domain),
        Err(trouble) => Spf::Unknown(trouble),
    }
}

fn read(records: &[String], domain: &str) -> Spf {
    let is_spf = |record: &&String| {
        record.split(' ').next().is_some_and(|version| version.eq_ignore_ascii_case("v=spf1"))
    };
    let mut all = records.iter().filter(is_spf);
    let Some(one) = all.next() else { return Spf::Missing };
    if all.next().is_some() {
        return Spf::Several;
    }
    let mut record = Record { allows_everybody: false, names: Vec::new(), has_addresses: false };
    for term in one.split_ascii_whitespace().skip(1) {
        let term = term.to_ascii_lowercase();
        let mechanism = term.trim_start_matches('+');
        let (name, value) = mechanism.split_once([':', '=']).unwrap_or((mechanism, ""));
        let name = name.split('/').next().unwrap_or(name);
        let value = value.split('/').next().unwrap_or(value);
        match name {
            "all" => record.allows_everybody = true,
            "include" | "redirect" | "exists" => record.names.push(value.to_owned()),
            "a" | "mx" => record.names.push(if value.is_empty() { domain } else { value }.to_owned()),
            "ip4" | "ip6" => record.has_addresses = true,
            _ => {}
        }
    }
    Spf::One(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(records: &[&str]) -> Spf {
        let records: Vec<String> = records.iter().map(|record| (*record).to_owned()).collect();
        read(&records, "acme.example")
    }

    #[test]
    fn a_record_is_read_as_far_as_it_is_of_use() {
        assert_eq!(of(&["google-site-verification=x", "v=spf10 -all"]), Spf::Missing);
        assert_eq!(of(&["v=spf1 -all", "V=SPF1 ~all"]), Spf::Several);
        let Spf::One(record) = of(&["v=spf1 a/24 ip4:192.0.2.0/24 include:_spf.provider.example -all"])
        else {
            panic!("one record")
        };
        assert!(!record.allows_everybody);
        assert_eq!(record.named(), "acme.example, _spf.provider.example, addresses");
        assert!(
            record.names_domain_of("smtp.eu.provider.example") && record.names_domain_of("mail.acme.example")
        );
        assert!(!record.names_domain_of("smtp.other.example"));
        for (text, everybody) in [("v=spf1 +all", true), ("v=spf1 all", true), ("v=spf1 ?all", false)] {
            assert!(
                matches!(of(&[text]), Spf::One(record) if record.allows_everybody == everybody),
                "{text}"
            );
        }
    }
}
