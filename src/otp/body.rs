//! What a body says: read member by member, so that every error names the member at fault and what is expected of it.
//!
//! No error quotes a value, nor the name of an unknown member: both are whatever somebody sent.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;

use crate::http::{Kind, Problem};
use crate::secret::Secret;
use crate::sms::Factor;

use super::Request;

/// How long a code's life may be asked to be, in seconds.
const LIFE: std::ops::RangeInclusive<f64> = 30.0..=86_400.0;

/// Reads the body of `POST /v1/otp`.
pub(super) fn request(body: &[u8], idempotency_key: Option<Secret>) -> Result<Request, Problem> {
    let known = ["to", "code", "business", "factor", "expires_in", "reference"];
    let mut members = Members::read(body, &known)?;
    Ok(Request {
        to: Secret::new(members.required("to", |value| text(value, 64))?),
        code: Secret::new(members.required("code", |value| text(value, 64))?),
        business: members.optional("business", |value| text(value, 64))?,
        factor: members.required("factor", |value| factor(&value))?,
        expires_in: members.optional("expires_in", |value| life(&value))?,
        reference: members.optional("reference", reference)?,
        idempotency_key,
    })
}

/// Reads the body of `POST /v1/otp/{id}/feedback`.
pub(super) fn feedback(body: &[u8]) -> Result<bool, Problem> {
    let mut members = Members::read(body, &["used"])?;
    members.required("used", |value| value.as_bool().ok_or("true or false".to_owned()))
}

/// What a reader says is expected, when a value is something else.
type Expected = String;

fn text(value: Value, most: usize) -> Result<String, Expected> {
    match value {
        Value::String(text) if (1..=most).contains(&text.chars().count()) => Ok(text),
        _ => Err(format!("a string of 1 to {most} characters")),
    }
}

fn reference(value: Value) -> Result<String, Expected> {
    let expected = |of| format!("{of} without control characters");
    let text = text(value, 128).map_err(expected)?;
    if text.chars().any(char::is_control) { Err(expected("a string".to_owned())) } else { Ok(text) }
}

fn factor(value: &Value) -> Result<Factor, Expected> {
    match value.as_str() {
        Some("primary") => Ok(Factor::Primary),
        Some("secondary") => Ok(Factor::Secondary),
        _ => Err("\"primary\" or \"secondary\"".to_owned()),
    }
}

/// A number without a fraction is an integer, however it is written (JSON Schema, section 6.1.1).
fn life(value: &Value) -> Result<Duration, Expected> {
    let seconds = value.as_f64().filter(|seconds| LIFE.contains(seconds) && seconds.fract() == 0.0);
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("a whole number of seconds from {} to {}", LIFE.start(), LIFE.end()))
}

/// The members of a JSON object, in their order.
struct Members(Vec<(String, Value)>);

impl Members {
    fn read(body: &[u8], known: &[&str]) -> Result<Self, Problem> {
        let members: Self = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
        for (index, (name, _)) in members.0.iter().enumerate() {
            let Some(name) = known.iter().find(|known| *known == name) else {
                return Err(unknown(index, name, known));
            };
            if members.0[..index].iter().any(|(before, _)| before == name) {
                let detail = format!("`{name}` is there more than once");
                return Err(Problem::of(Kind::MalformedJson, detail).at(pointer(name)));
            }
        }
        Ok(members)
    }

    fn optional<T>(
        &mut self,
        name: &str,
        reader: impl FnOnce(Value) -> Result<T, Expected>,
    ) -> Result<Option<T>, Problem> {
        let Some(at) = self.0.iter().position(|(member, _)| member == name) else { return Ok(None) };
        let (_, value) = self.0.swap_remove(at);
        let null = if value.is_null() { "; leave it out instead of null" } else { "" };
        match reader(value) {
            Ok(read) => Ok(Some(read)),
            Err(expected) => {
                let detail = format!("`{name}` has to be {expected}{null}");
                Err(Problem::of(Kind::InvalidField, detail).at(pointer(name)))
            }
        }
    }

    fn required<T>(
        &mut self,
        name: &str,
        reader: impl FnOnce(Value) -> Result<T, Expected>,
    ) -> Result<T, Problem> {
        self.optional(name, reader)?.ok_or_else(|| {
            Problem::of(Kind::MissingField, format!("`{name}` has to be there")).at(pointer(name))
        })
    }
}

fn pointer(name: &str) -> String {
    format!("/{name}")
}

fn malformed(error: &serde_json::Error) -> Problem {
    let detail = match error.classify() {
        Category::Data => "the body has to be one JSON object".to_owned(),
        Category::Io | Category::Syntax | Category::Eof => {
            format!("the body is not JSON: line {}, column {}", error.line(), error.column())
        }
    };
    Problem::of(Kind::MalformedJson, detail).at("")
}

fn unknown(index: usize, name: &str, known: &[&str]) -> Problem {
    let plain = |name: &str| name.replace(['_', '-'], "").to_ascii_lowercase();
    let close = |known: &&&str| strsim::damerau_levenshtein(&plain(name), &plain(known)) <= 1;
    let help = match known.iter().find(close) {
        Some(meant) => format!("is `{meant}` meant?"),
        None => format!("known are: {}", known.join(", ")),
    };
    let detail = format!("member {} of the object is not known here; {help}", index + 1);
    Problem::of(Kind::UnknownField, detail).at("")
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: &str = "+12025550100";
    const CODE: &str = "739182";

    fn good() -> serde_json::Map<String, Value> {
        let body = serde_json::json!({ "to": NUMBER, "code": CODE, "factor": "primary" });
        body.as_object().unwrap().clone()
    }

    fn with(name: &str, value: &Value) -> Result<Request, Problem> {
        let mut body = good();
        body.insert(name.to_owned(), value.clone());
        request(&serde_json::to_vec(&body).unwrap(), None)
    }

    #[test]
    fn a_whole_body_is_read() {
        let body = r#" {"reference": "Bestellung 7 \u00e4", "to": "+12025550100", "code": "739182",
            "business": "acme", "factor": "secondary", "expires_in": 6e2} "#;
        let read = request(body.as_bytes(), Some(Secret::new("key"))).unwrap();
        assert_eq!((read.to.reveal(), read.code.reveal()), (NUMBER, CODE));
        assert_eq!((read.business.as_deref(), read.factor), (Some("acme"), Factor::Secondary));
        assert_eq!(read.expires_in, Some(Duration::from_mins(10)));
        assert_eq!(read.reference.as_deref(), Some("Bestellung 7 ä"));
        assert_eq!(read.idempotency_key.unwrap().reveal(), "key");
        let read = request(&serde_json::to_vec(&good()).unwrap(), None).unwrap();
        assert!(read.business.is_none() && read.expires_in.is_none() && read.reference.is_none());
    }

    #[test]
    fn bounds_are_bounds() {
        let long = |length: usize| Value::from("é".repeat(length));
        for (name, value, fine) in [
            ("to", long(64), true),
            ("to", long(65), false),
            ("to", long(0), false),
            ("to", 12_025_550_100_u64.into(), false),
            ("code", long(64), true),
            ("code", long(65), false),
            ("code", 739_182.into(), false),
            ("business", long(64), true),
            ("business", long(65), false),
            ("business", Value::Null, false),
            ("reference", long(128), true),
            ("reference", long(129), false),
            ("reference", "a\nb".into(), false),
            ("reference", "a\u{85}b".into(), false),
            ("factor", "primary ".into(), false),
            ("factor", "Primary".into(), false),
            ("expires_in", 30.into(), true),
            ("expires_in", 29.into(), false),
            ("expires_in", 86_400.into(), true),
            ("expires_in", 86_401.into(), false),
            ("expires_in", (-60).into(), false),
            ("expires_in", 60.0.into(), true),
            ("expires_in", 60.5.into(), false),
            ("expires_in", u64::MAX.into(), false),
            ("expires_in", "60".into(), false),
        ] {
            let read = with(name, &value);
            assert_eq!(read.is_ok(), fine, "{name}: {value}");
            if let Err(problem) = read {
                assert_eq!(
                    (problem.status, problem.pointer.as_deref()),
                    (422, Some(&*format!("/{name}"))),
                    "{value}"
                );
                assert!(problem.detail.starts_with(&format!("`{name}` has to be ")), "{}", problem.detail);
            }
        }
    }

    #[test]
    fn what_is_missing_unknown_or_there_twice_is_named() {
        for name in ["to", "code", "factor"] {
            let mut body = good();
            body.remove(name);
            let problem = request(&serde_json::to_vec(&body).unwrap(), None).unwrap_err();
            assert_eq!((problem.status, &*problem.title), (422, "missing field"));
            assert_eq!(problem.pointer.as_deref(), Some(&*format!("/{name}")));
        }
        for (name, help) in [
            ("expiresIn", "member 3 of the object is not known here; is `expires_in` meant?"),
            ("text", "known are: to, code, business, factor, expires_in, reference"),
            (CODE, "known are: to, code"),
        ] {
            // serde_json's map is sorted: these stand behind `code` and `factor`, or before them.
            let problem = with(name, &"x".into()).unwrap_err();
            assert_eq!((problem.status, &*problem.title), (422, "unknown field"));
            assert!(!problem.detail.contains(CODE), "{}", problem.detail);
            let shown = problem.detail.split_once(' ').unwrap().1;
            assert!(shown.contains(help.split_once("member 3 ").map_or(help, |help| help.1)), "{shown}");
        }
        let twice = format!(r#"{{"to":"{NUMBER}","code":"{CODE}","factor":"primary","code":"x"}}"#);
        let problem = request(twice.as_bytes(), None).unwrap_err();
        assert_eq!((problem.status, problem.pointer.as_deref()), (400, Some("/code")));
    }

    #[test]
    fn what_is_no_object_is_refused_without_being_quoted() {
        for (body, detail) in [
            ("", "the body is not JSON: line 1, column 0"),
            ("{\"code\":739182,}", "the body is not JSON: line 1, column 16"),
            ("\u{feff}{}", "the body is not JSON: line 1, column 1"),
            ("{} {}", "the body is not JSON: line 1, column 4"),
            ("739182", "the body has to be one JSON object"),
            ("[\"739182\"]", "the body has to be one JSON object"),
            ("null", "the body has to be one JSON object"),
        ] {
            let problem = request(body.as_bytes(), None).unwrap_err();
            assert_eq!((problem.status, &*problem.detail), (400, detail), "{body}");
        }
        let deep = format!("{{\"to\":{}", "[".repeat(4000));
        assert_eq!(request(deep.as_bytes(), None).unwrap_err().status, 400);
        assert_eq!(request(b"{\"to\":\"\xff\"}", None).unwrap_err().status, 400);
    }

    #[test]
    fn feedback_is_one_truth_value() {
        for used in [true, false] {
            let body = serde_json::json!({ "used": used }).to_string();
            assert_eq!(feedback(body.as_bytes()).unwrap(), used);
        }
        for bad in ["{}", "{\"used\":1}", "{\"used\":null}", "{\"used\":true,\"x\":1}"] {
            assert_eq!(feedback(bad.as_bytes()).unwrap_err().status, 422, "{bad}");
        }
    }
}
