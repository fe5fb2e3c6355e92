//! What is read from a request's header: who asks (RFC 6750), what the body is, and the idempotency key.
//!
//! No error quotes what was sent.

use axum::http::{HeaderMap, HeaderValue, header};

use crate::http::{Kind, Problem};
use crate::secret::Secret;

/// The most characters of a token. Ours have 43.
const LONGEST_TOKEN: usize = 512;

/// The most characters of an idempotency key.
const LONGEST_KEY: usize = 255;

/// The bearer token (RFC 6750, section 2.1).
pub(super) fn bearer_token(headers: &HeaderMap) -> Result<Secret, Problem> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = given.next() else { return Err(missing_token()) };
    if given.next().is_some() {
        return Err(Problem::of(Kind::InvalidRequest, "there is more than one Authorization field"));
    }
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(missing_token());
    }
    let token = token.trim_matches(' ');
    if is_token(token) { Ok(Secret::new(token)) } else { Err(invalid_token()) }
}

/// `401` for a token that is nobody's (RFC 6750, section 3.1).
pub(super) fn invalid_token() -> Problem {
    let challenge = "Bearer realm=\"authrelay\", error=\"invalid_token\"";
    Problem::of(Kind::InvalidToken, "this bearer token is not known here")
        .with_field(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

/// Whoever has not tried to authenticate is told no error code (RFC 6750, section 3.1).
fn missing_token() -> Problem {
    let challenge = HeaderValue::from_static("Bearer realm=\"authrelay\"");
    Problem::of(Kind::MissingToken, "an Authorization field with a bearer token is needed")
        .with_field(header::WWW_AUTHENTICATE, challenge)
}

/// `b64token` (RFC 6750, section 2.1).
fn is_token(text: &str) -> bool {
    let letters = text.trim_end_matches('=');
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !letters.is_empty() && text.len() <= LONGEST_TOKEN && letters.bytes().all(fine)
}

/// The body has to be JSON, and in clear.
pub(super) fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let problem = |detail: &str| Err(Problem::of(Kind::UnsupportedMediaType, detail));
    let mut given = headers.get_all(header::CONTENT_TYPE).iter();
    let value = given.next().and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    if given.next().is_some() || !essence.eq_ignore_ascii_case("application/json") {
        return problem("the body has to be application/json, and Content-Type has to say so");
    }
    if headers.get_all(header::CONTENT_ENCODING).iter().any(|coding| coding != "identity") {
        return problem("the body has to come without a Content-Encoding");
    }
    Ok(())
}

/// The idempotency key, bare or as a string (RFC 9651, section 3.3.3; draft-ietf-httpapi-idempotency-key-header).
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<Secret>, Problem> {
    let mut given = headers.get_all("idempotency-key").iter();
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(Problem::of(Kind::InvalidRequest, "there is more than one Idempotency-Key field"));
    }
    let key = value.to_str().ok().and_then(|text| unquoted(text.trim_matches([' ', '\t'])));
    match key.filter(|key| (1..=LONGEST_KEY).contains(&key.len())) {
        Some(key) => Ok(Some(Secret::new(key))),
        None => Err(Problem::of(
            Kind::InvalidRequest,
            format!("Idempotency-Key has to be 1 to {LONGEST_KEY} visible ASCII characters"),
        )),
    }
}

fn unquoted(text: &str) -> Option<String> {
    let Some(rest) = text.strip_prefix('"') else {
        return text.bytes().all(|byte| byte.is_ascii_graphic()).then(|| text.to_owned());
    };
    let mut key = String::new();
    let mut rest = rest.strip_suffix('"')?.chars();
    while let Some(character) = rest.next() {
        match character {
            '"' => return None,
            '\\' => key.push(rest.next().filter(|escaped| ['"', '\\'].contains(escaped))?),
            ' '..='~' => key.push(character),
            _ => return None,
        }
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn a_token_is_read_as_rfc_6750_says() {
        let read = |value: &str| bearer_token(&headers(&[("authorization", value)]));
        for good in ["Bearer abc-._~+/9==", "bearer abc-._~+/9==", "BEARER   abc-._~+/9=="] {
            assert_eq!(read(good).unwrap().reveal(), "abc-._~+/9==");
        }
        let long = format!("Bearer {}", "a".repeat(LONGEST_TOKEN + 1));
        for malformed in ["Bearer ", "Bearer a b", "Bearer =", "Bearer a=b", "Bearer a,b", &long] {
            let problem = read(malformed).unwrap_err();
            assert_eq!((problem.status, &*problem.title), (401, "invalid token"), "{malformed}");
        }
        for other in ["", "Basic YTpi", "Bearer", "abc", "Bearer\tabc", "Bearer é"] {
            let problem = read(other).unwrap_err();
            assert_eq!((problem.status, &*problem.title), (401, "missing token"), "{other}");
        }
        assert_eq!(bearer_token(&HeaderMap::new()).unwrap_err().title.as_ref(), "missing token");
        let two = headers(&[("authorization", "Bearer a"), ("authorization", "Bearer a")]);
        assert_eq!(bearer_token(&two).unwrap_err().status, 400);
    }

    #[test]
    fn only_json_in_clear_is_taken() {
        let check =
            |fields: &[(&'static str, &str)]| check_media_type(&headers(fields)).map_err(|p| p.status);
        for good in ["application/json", "Application/JSON;charset=utf-8", "application/json ; a=\"b\""] {
            assert_eq!(check(&[("content-type", good)]), Ok(()), "{good}");
        }
        for bad in ["", "text/json", "application/json-seq", "application/x-www-form-urlencoded", "json"] {
            assert_eq!(check(&[("content-type", bad)]), Err(415), "{bad}");
        }
        assert_eq!(check(&[]), Err(415));
        let json = ("content-type", "application/json");
        assert_eq!(check(&[json, json]), Err(415));
        assert_eq!(check(&[json, ("content-encoding", "identity")]), Ok(()));
        assert_eq!(check(&[json, ("content-encoding", "gzip")]), Err(415));
    }

    #[test]
    fn an_idempotency_key_is_read_bare_and_as_a_string() {
        let read = |value: &str| match idempotency_key(&headers(&[("idempotency-key", value)])) {
            Ok(key) => key.map(|key| key.reveal().to_owned()),
            Err(problem) => Some(format!("{}", problem.status)),
        };
        let longest = "k".repeat(LONGEST_KEY);
        for (written, meant) in [
            ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
            ("\"8e03978e\"", "8e03978e"),
            (r#""a \"b\" \\ c""#, r#"a "b" \ c"#),
            ("a\"b", "a\"b"),
            (&longest, &longest),
            (&format!("\"{longest}\""), &longest),
        ] {
            assert_eq!(read(written).as_deref(), Some(meant), "{written}");
        }
        let too_long = "k".repeat(LONGEST_KEY + 1);
        for bad in ["", "\"\"", "\"", "\"a", r#""a\""#, r#""a\b""#, "\"a\"b\"", "a b", "é", &too_long] {
            assert_eq!(read(bad).as_deref(), Some("400"), "{bad}");
        }
        assert_eq!(idempotency_key(&HeaderMap::new()).unwrap(), None);
        let twice = headers(&[("idempotency-key", "a"), ("idempotency-key", "a")]);
        assert_eq!(idempotency_key(&twice).unwrap_err().status, 400);
    }
}
