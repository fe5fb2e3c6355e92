//! Whether the public part of a DKIM key is published, and is ours (RFC 6376 section 3.6.1).

use super::dns::{Dns, DnsTrouble, tags};
use crate::rewrite::DkimKey;

/// What stands in the DNS for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Published {
    /// Our public key.
    Ours,
    /// Ours, and receivers are asked to treat signatures as a test (`t=y`).
    OursInTest,
    /// No record.
    Missing,
    /// More than one: a verifier may take either.
    Several,
    /// Another key: every signature fails.
    Another,
    /// An empty `p=`: the key was withdrawn.
    Withdrawn,
    /// No key record at all, or for another algorithm or purpose.
    Unfit(&'static str),
    /// It is not known.
    Unknown(DnsTrouble),
}

/// Looks the key's record up.
pub(super) async fn look_up(dns: &Dns, key: &DkimKey) -> Published {
    let Ok(ours) = key.dns_record() else { return Published::Unfit("our own key can't be shown") };
    match dns.txt(&key.dns_name()).await {
        Ok(records) => compare(&records, &ours),
        Err(trouble) => Published::Unknown(trouble),
    }
}

fn compare(records: &[String], ours: &str) -> Published {
    let record = match records {
        [] => return Published::Missing,
        [record] => record,
        _ => return Published::Several,
    };
    let value = |wanted: &str| tags(record).find(|(name, _)| name == wanted).map(|(_, value)| value);
    let value_of_ours = |wanted: &str| tags(ours).find(|(name, _)| name == wanted).map(|(_, value)| value);
    if value("v").is_some_and(|version| version != "DKIM1") {
        return Published::Unfit("the record is not of DKIM1");
    }
    let Some(theirs) = value("p") else { return Published::Unfit("the record holds no key (p=)") };
    let theirs: String = theirs.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    if theirs.is_empty() {
        return Published::Withdrawn;
    }
    let kind = |record: Option<&str>| record.unwrap_or("rsa").to_ascii_lowercase();
    if kind(value("k")) != kind(value_of_ours("k")) {
        return Published::Unfit("the record is for another kind of key (k=)");
    }
    let lists = |tag: &str, wanted: &str| {
        value(tag).is_none_or(|list| list.split(':').any(|item| item.trim() == wanted || item.trim() == "*"))
    };
    if !lists("h", "sha256") {
        return Published::Unfit("the record does not allow SHA-256 (h=)");
    }
    if !lists("s", "email") {
        return Published::Unfit("the record is not for mail (s=)");
    }
    if Some(theirs.as_str()) != value_of_ours("p") {
        return Published::Another;
    }
    let in_test = value("t").is_some_and(|flags| flags.split(':').any(|flag| flag.trim() == "y"));
    if in_test { Published::OursInTest } else { Published::Ours }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_ours_only_where_a_verifier_would_take_our_signature() {
        let ours = "v=DKIM1; k=rsa; p=AbC+/=";
        for (records, expected) in [
            (&["v=DKIM1; k=rsa; p=AbC+/="][..], Published::Ours),
            (&["p=AbC +/="], Published::Ours),
            (&["v=DKIM1; h=sha1:sha256; s=email; t=s; p=AbC+/="], Published::Ours),
            (&["v=DKIM1; t=y:s; p=AbC+/="], Published::OursInTest),
            (&[], Published::Missing),
            (&["v=DKIM1; p=AbC+/=", "v=DKIM1; p=x"], Published::Several),
            (&["v=DKIM1; p=abc+/="], Published::Another),
            (&["v=DKIM1; p="], Published::Withdrawn),
            (
                &["v=DKIM1; k=ed25519; p=AbC+/="],
                Published::Unfit("the record is for another kind of key (k=)"),
            ),
            (&["v=DKIM1; h=sha1; p=AbC+/="], Published::Unfit("the record does not allow SHA-256 (h=)")),
            (&["v=DKIM1; s=tlsrpt; p=AbC+/="], Published::Unfit("the record is not for mail (s=)")),
            (&["hello"], Published::Unfit("the record holds no key (p=)")),
        ] {
            let records: Vec<String> = records.iter().map(|record| (*record).to_owned()).collect();
            assert_eq!(compare(&records, ours), expected, "{records:?}");
        }
    }
}
