//! What a domain asks of mail in its name (DMARC), and which domains stand for it.
//!
//! The organizational domain is found by walking up the tree of names from record to record, as the DMARC revision does
//! (RFC 9989), so no list of public suffixes is needed.

use super::dns::{Dns, DnsTrouble, tags};

/// A name with more labels is walked from its last ones.
const LABELS_MOST: usize = 8;
const LABELS_THEN: usize = 7;

/// What is asked for mail that does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    None,
    Quarantine,
    Reject,
}

impl Wish {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }

    fn read(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "none" => Some(Self::None),
            "quarantine" => Some(Self::Quarantine),
            "reject" => Some(Self::Reject),
            _ => None,
        }
    }
}

/// How alike two domains must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alignment {
    /// Of one organization.
    Relaxed,
    /// The same.
    Strict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Suffix {
    Unsaid,
    /// `psd=y`: a registry, whose children are organizations.
    Public,
    /// `psd=n`: an organization.
    Private,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    wish: Wish,
    wish_for_children: Option<Wish>,
    dkim: Alignment,
    spf: Alignment,
    suffix: Suffix,
}

/// What is asked of mail from one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) wish: Wish,
    pub(super) dkim: Alignment,
    pub(super) spf: Alignment,
    /// Where the record stands.
    pub(super) found_at: String,
}

/// What a walk up from a domain showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tree {
    domain: String,
    /// The organizational domain.
    organization: String,
    /// What is asked of its mail; `None`: nothing is.
    pub(super) policy: Option<Policy>,
}

impl Tree {
    /// Walks up from `domain`.
    pub(super) async fn walk(dns: &Dns, domain: &str) -> Result<Self, DnsTrouble> {
        let domain = domain.trim_end_matches('.').to_ascii_lowercase();
        let mut found = Vec::new();
        for name in path(&domain) {
            let records = dns.txt(&format!("_dmarc.{name}")).await?;
            let Some(record) = read(&records) else { continue };
            let is_end = record.suffix != Suffix::Unsaid;
            found.push((name.to_owned(), record));
            if is_end {
                break;
            }
        }
        Ok(Self::of(domain.clone(), &found))
    }

    /// `found` goes from the domain up.
    fn of(domain: String, found: &[(String, Record)]) -> Self {
        let last = found.last();
        let organization = match last {
            Some((name, record)) if record.suffix == Suffix::Public => child_towards(&domain, name),
            Some((name, _)) => name.clone(),
            None => domain.clone(),
        };
        let at = |wanted: &str| found.iter().find(|(name, _)| name == wanted);
        let record = at(&domain).or_else(|| at(&organization)).or(last);
        let policy = record.map(|(name, record)| Policy {
            wish: if *name == domain { record.wish } else { record.wish_for_children.unwrap_or(record.wish) },
            dkim: record.dkim,
            spf: record.spf,
            found_at: name.clone(),
        });
        Self { domain, organization, policy }
    }

    /// Whether the other domain may speak for this one.
    pub(super) fn is_aligned(&self, other: &Self, how: Alignment) -> bool {
        let related = |a: &str, b: &str| a.strip_suffix(b).is_some_and(|rest| rest.ends_with('.'));
        match how {
            Alignment::Strict => self.domain == other.domain,
            Alignment::Relaxed => {
                self.organization == other.organization
                    // Without any record nothing tells where the organization begins.
                    || (self.policy.is_none()
                        && (related(&self.domain, &other.domain) || related(&other.domain, &self.domain)))
            }
        }
    }
}

/// The names that are asked for, from the domain up.
fn path(domain: &str) -> impl Iterator<Item = &str> {
    let labels = domain.split('.').count();
    let is_asked = move |at: usize| at == 0 || labels <= LABELS_MOST || at >= labels - LABELS_THEN;
    let starts = std::iter::once(0).chain(domain.match_indices('.').map(|(at, _)| at + 1));
    starts.enumerate().filter(move |(at, _)| is_asked(*at)).filter_map(|(_, start)| domain.get(start..))
}

/// The name one label below `suffix` on the way to `domain`.
fn child_towards(domain: &str, suffix: &str) -> String {
    let Some(rest) = domain.strip_suffix(suffix).and_then(|rest| rest.strip_suffix('.')) else {
        return domain.to_owned();
    };
    let label = rest.rsplit('.').next().unwrap_or(rest);
    format!("{label}.{suffix}")
}

/// The one record among those of a name. Several are as good as none.
fn read(records: &[String]) -> Option<Record> {
    let is_dmarc =
        |record: &&String| tags(record).next().is_some_and(|(name, value)| name == "v" && value == "DMARC1");
    let mut all = records.iter().filter(is_dmarc);
    let one = all.next().filter(|_| all.next().is_none())?;
    let value = |wanted: &str| tags(one).find(|(name, _)| name == wanted).map(|(_, value)| value);
    let alignment = |tag| match value(tag) {
        Some(how) if how.eq_ignore_ascii_case("s") => Alignment::Strict,
        Some(_) | None => Alignment::Relaxed,
    };
    Some(Record {
        wish: value("p").and_then(Wish::read).unwrap_or(Wish::None),
        wish_for_children: value("sp").and_then(Wish::read),
        dkim: alignment("adkim"),
        spf: alignment("aspf"),
        suffix: match value("psd").map(str::to_ascii_lowercase).as_deref() {
            Some("y") => Suffix::Public,
            Some("n") => Suffix::Private,
            Some(_) | None => Suffix::Unsaid,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> Record {
        read(&[text.to_owned()]).unwrap()
    }

    fn tree(domain: &str, found: &[(&str, &str)]) -> Tree {
        let found: Vec<_> = found.iter().map(|(name, text)| ((*name).to_owned(), record(text))).collect();
        Tree::of(domain.to_owned(), &found)
    }

    #[test]
    fn names_are_asked_for_from_the_domain_up() {
        let names: Vec<_> = path("a.mail.acme.example").collect();
        assert_eq!(names, ["a.mail.acme.example", "mail.acme.example", "acme.example", "example"]);
        let long: Vec<_> = path("1.2.3.4.5.6.7.8.acme.example").collect();
        assert_eq!(long[..2], ["1.2.3.4.5.6.7.8.acme.example", "4.5.6.7.8.acme.example"]);
        assert_eq!(long.len(), 8);
    }

    #[test]
    fn the_organization_is_where_the_uppermost_record_stands_unless_one_says_otherwise() {
        let plain = "v=DMARC1; p=reject";
        for (domain, found, organization) in [
            ("mail.acme.example", &[("acme.example", plain)][..], "acme.example"),
            ("mail.acme.example", &[("mail.acme.example", plain), ("acme.example", plain)], "acme.example"),
            ("mail.acme.example", &[("mail.acme.example", "v=DMARC1; psd=n")], "mail.acme.example"),
            ("a.b.acme.example", &[("example", "v=DMARC1; psd=y")], "acme.example"),
            ("acme.example", &[], "acme.example"),
        ] {
            assert_eq!(tree(domain, found).organization, organization, "{domain}");
        }
    }

    #[test]
    fn what_is_asked_comes_from_the_domain_or_its_organization() {
        let policy = |domain, found| tree(domain, found).policy.map(|policy| policy.wish);
        assert_eq!(
            policy("a.acme.example", &[("acme.example", "v=DMARC1; p=reject; sp=none")]),
            Some(Wish::None)
        );
        assert_eq!(policy("a.acme.example", &[("acme.example", "v=DMARC1; p=reject")]), Some(Wish::Reject));
        let both = [("a.acme.example", "v=DMARC1; p=quarantine"), ("acme.example", "v=DMARC1; p=reject")];
        assert_eq!(policy("a.acme.example", &both), Some(Wish::Quarantine));
        assert_eq!(policy("acme.example", &[]), None);
        assert_eq!(read(&["v=DMARC1; p=none".to_owned(), "v=DMARC1; p=none".to_owned()]), None);
        assert_eq!(read(&["p=none; v=DMARC1".to_owned()]), None);
    }

    #[test]
    fn relaxed_is_the_organization_and_strict_the_domain() {
        let found = &[("acme.example", "v=DMARC1; p=reject")];
        let (from, mail) = (tree("acme.example", found), tree("mail.acme.example", found));
        assert!(from.is_aligned(&mail, Alignment::Relaxed) && !from.is_aligned(&mail, Alignment::Strict));
        assert!(from.is_aligned(&from, Alignment::Strict));
        let other = tree("provider.example", &[]);
        assert!(!from.is_aligned(&other, Alignment::Relaxed));
        assert!(tree("a.bolt.example", &[]).is_aligned(&tree("bolt.example", &[]), Alignment::Relaxed));
        assert!(!tree("xbolt.example", &[]).is_aligned(&tree("bolt.example", &[]), Alignment::Relaxed));
    }
}
