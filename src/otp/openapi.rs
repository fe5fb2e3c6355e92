//! The endpoint's `OpenAPI` document. The tests hold it to the code: kinds of problems, statuses, limits and routes.

use std::sync::LazyLock;

/// The `OpenAPI` 3.1 document, as it is served at `/openapi.json`.
pub fn document() -> &'static str {
    static DOCUMENT: LazyLock<String> =
        LazyLock::new(|| include_str!("openapi.json").replace("@VERSION@", env!("CARGO_PKG_VERSION")));
    &DOCUMENT
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::http::{Kind, TYPE_PREFIX};
    use crate::otp::{RefusalKind, Status};

    fn read() -> Value {
        serde_json::from_str(document()).unwrap()
    }

    fn set(value: &Value) -> BTreeSet<String> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    }

    /// Kinds that other interfaces have.
    const NOT_HERE: [Kind; 3] = [Kind::Forbidden, Kind::InvalidSignature, Kind::NotAllowedInThisState];

    #[test]
    fn every_kind_of_problem_and_every_status_is_in_the_document() {
        let document = read();
        let schemas = &document["components"]["schemas"];
        let common = Kind::ALL.iter().filter(|kind| !NOT_HERE.contains(kind)).map(|kind| kind.name());
        let own = RefusalKind::ALL.iter().map(|kind| kind.as_str());
        let kinds: BTreeSet<_> = common.chain(own).map(|name| format!("{TYPE_PREFIX}{name}")).collect();
        assert_eq!(set(&schemas["Problem"]["properties"]["type"]["enum"]), kinds);
        let statuses: BTreeSet<_> = Status::ALL.iter().map(|status| status.as_str().to_owned()).collect();
        assert_eq!(set(&schemas["Status"]["enum"]), statuses);
        assert_eq!(Status::ALL.len(), Status::Unknown as usize + 1);
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn every_kind_of_problem_is_described_under_its_status() {
        let document = read();
        let responses = document["components"]["responses"].as_object().unwrap();
        let submit = document["paths"]["/v1/otp"]["post"]["responses"].as_object().unwrap();
        let common = Kind::ALL.iter().filter(|kind| !NOT_HERE.contains(kind));
        let common = common.map(|kind| (kind.name(), kind.status()));
        let own = RefusalKind::ALL.iter().map(|kind| (kind.as_str(), kind.status()));
        for (name, status) in common.chain(own).filter(|(name, _)| *name != "not-found") {
            let reference = submit[status.as_str()]["$ref"].as_str().unwrap();
            let described = &responses[reference.rsplit('/').next().unwrap()]["description"];
            assert!(described.as_str().unwrap().contains(&format!("`{name}`")), "{status} {name}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn follow(document: &Value, value: &Value) {
            match value {
                Value::Object(members) => {
                    for (name, member) in members {
                        if let (Some(target), "$ref") = (member.as_str(), name.as_str()) {
                            let pointer = target.strip_prefix('#').unwrap();
                            assert!(document.pointer(pointer).is_some(), "{target}");
                        }
                        follow(document, member);
                    }
                }
                Value::Array(items) => items.iter().for_each(|item| follow(document, item)),
                _ => {}
            }
        }
        follow(&read(), &read());
    }
}
