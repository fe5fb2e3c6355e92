//! The endpoint: codes in, and how they stand.

use std::time::Duration;

use authrelay::ident::MessageId;
use authrelay::otp::{LimitMet, Refusal, RefusalKind};
use authrelay::sms::Factor;

use crate::support::{Ask, CODE, Mood, NUMBER, OTHER_TOKEN, Server, code_body, refusal};

#[tokio::test]
async fn a_code_is_taken_and_can_be_asked_for() {
    let server = Server::start().await;
    let body = format!(
        r#"{{"to":"{NUMBER}","code":"{CODE}","factor":"secondary","business":"acme","expires_in":60,"reference":"r 1"}}"#
    );
    let ask = Ask::post("/v1/otp", body).with("Idempotency-Key", "\"key 1\"");
    let taken = server.ask(&ask).await;
    assert_eq!(taken.status, 202);
    assert_eq!(taken.field("content-type"), Some("application/json"));
    assert_eq!(taken.field("cache-control"), Some("no-store"));
    let json = taken.json();
    let location = taken.field("location").unwrap().to_owned();
    assert_eq!(location, format!("/v1/otp/{}", json["id"].as_str().unwrap()));
    let expected = serde_json::json!({
        "id": json["id"], "status": "queued", "expires_at": "2026-11-23T13:27:00Z",
    });
    assert_eq!(json, expected);
    {
        let requests = server.desk.requests.lock().unwrap();
        let [request] = &requests[..] else { panic!("{requests:?}") };
        assert_eq!((request.to.reveal(), request.code.reveal()), (NUMBER, CODE));
        assert_eq!((request.factor, request.business.as_deref()), (Factor::Secondary, Some("acme")));
        assert_eq!(request.expires_in, Some(Duration::from_mins(1)));
        assert_eq!(request.idempotency_key.as_ref().unwrap().reveal(), "key 1");
    }
    let shown = server.ask(&Ask::get(&location)).await;
    assert_eq!((shown.status, shown.field("cache-control")), (200, Some("no-store")));
    let expected = serde_json::json!({
        "id": json["id"], "status": "queued", "reference": "r 1",
        "created_at": "2026-11-23T13:26:00Z", "expires_at": "2026-11-23T13:27:00Z",
    });
    assert_eq!(shown.json(), expected);
    let noted = server.ask(&Ask::post(&format!("{location}/feedback"), r#"{"used":true}"#)).await;
    assert_eq!((noted.status, noted.body.len()), (204, 0));
    let id: MessageId = json["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(*server.desk.feedback.lock().unwrap(), [(id, true)]);
}

#[tokio::test]
async fn a_code_is_its_clients_only() {
    let server = Server::start().await;
    let location = server.ask(&Ask::code()).await.field("location").unwrap().to_owned();
    let other = format!("Bearer {OTHER_TOKEN}");
    for ask in [Ask::get(&location), Ask::post(&format!("{location}/feedback"), "{\"used\":true}")] {
        server.ask(&ask.instead("Authorization", &other)).await.is_problem(404, "not-found");
    }
    for id in ["1", "x%ff", "%2e%2e", &"9".repeat(36), "019a8f3c5b7e7d109c412f6f0a9b1c3d"] {
        server.ask(&Ask::get(&format!("/v1/otp/{id}"))).await.is_problem(404, "not-found");
    }
    let upper = location.replace("/v1/otp/", "").to_uppercase();
    assert_eq!(server.ask(&Ask::get(&format!("/v1/otp/{upper}"))).await.status, 200);
}

#[tokio::test]
async fn whoever_is_not_known_is_asked_who_they_are() {
    let server = Server::start().await;
    let id = "/v1/otp/019a8f3c-5b7e-7d10-9c41-2f6f0a9b1c3d";
    let feedback = format!("{id}/feedback");
    for ask in [Ask::code(), Ask::get(id), Ask::post(&feedback, "{}"), Ask::post("/v1/otp", "garbage")] {
        let nobody = server.ask(&ask.clone().without("Authorization")).await;
        nobody.is_problem(401, "missing-token");
        assert_eq!(nobody.field("www-authenticate"), Some("Bearer realm=\"authrelay\""));
        let stranger = server.ask(&ask.clone().instead("Authorization", "Bearer stranger")).await;
        stranger.is_problem(401, "invalid-token");
        let challenge = "Bearer realm=\"authrelay\", error=\"invalid_token\"";
        assert_eq!(stranger.field("www-authenticate"), Some(challenge));
        let two = server.ask(&ask.with("Authorization", "Bearer app-token")).await;
        two.is_problem(400, "invalid-request");
    }
    let basic = Ask::code().instead("Authorization", "Basic YXBwOmFwcC10b2tlbg==");
    server.ask(&basic).await.is_problem(401, "missing-token");
    let lower = Ask::code().instead("Authorization", "bearer app-token");
    assert_eq!(server.ask(&lower).await.status, 202);
}

#[tokio::test]
async fn what_the_body_lacks_is_named() {
    let server = Server::start().await;
    let whole = code_body();
    for (body, status, name, pointer) in [
        (whole.replace("\"to\"", "\"too\""), 422, "unknown-field", ""),
        (whole.replace("factor", "Factor"), 422, "unknown-field", ""),
        (whole.replace(&format!("\"to\":\"{NUMBER}\","), ""), 422, "missing-field", "/to"),
        (whole.replace("primary", "third"), 422, "invalid-field", "/factor"),
        (whole.replace('}', ",\"expires_in\":5}"), 422, "invalid-field", "/expires_in"),
        (whole.replace('}', ",\"reference\":\"a\\nb\"}"), 422, "invalid-field", "/reference"),
        (whole.replace('}', &format!(",\"code\":\"{CODE}\"}}")), 400, "malformed-json", "/code"),
        (whole.replace('}', ""), 400, "malformed-json", ""),
        (format!("[{whole}]"), 400, "malformed-json", ""),
    ] {
        let problem = server.ask(&Ask::post("/v1/otp", &body)).await.is_problem(status, name);
        assert_eq!(problem["pointer"], pointer, "{body}");
    }
    let nothing = server.ask(&Ask::post("/v1/otp", "")).await;
    nothing.is_problem(400, "malformed-json");
    assert!(server.desk.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn bodies_of_other_types_sizes_and_codings_are_refused() {
    let server = Server::start().await;
    for ask in [
        Ask::code().without("Content-Type"),
        Ask::code().instead("Content-Type", "text/plain"),
        Ask::code().with("Content-Type", "application/json"),
        Ask::code().with("Content-Encoding", "gzip"),
    ] {
        server.ask(&ask).await.is_problem(415, "unsupported-media-type");
    }
    let charset = Ask::code().instead("Content-Type", "application/json; charset=UTF-8");
    assert_eq!(server.ask(&charset).await.status, 202);
    let padded = |length: usize| format!("{}{}", code_body(), " ".repeat(length - code_body().len()));
    assert_eq!(server.ask(&Ask::post("/v1/otp", padded(4096))).await.status, 202);
    for length in [4097, 16_384, 16_385, 65_537, 1_000_000] {
        let problem = server.ask(&Ask::post("/v1/otp", padded(length))).await;
        problem.is_problem(413, "content-too-large");
    }
    for key in ["", "a b", "\"a"] {
        let ask = Ask::code().with("Idempotency-Key", key);
        server.ask(&ask).await.is_problem(400, "invalid-request");
    }
}

#[tokio::test]
async fn every_refusal_has_its_document() {
    let server = Server::start().await;
    for kind in RefusalKind::ALL {
        let id = MessageId::generate();
        let refused = Refusal { pointer: Some("/to"), id: Some(id), ..refusal(kind, "not this one") };
        server.desk.is(Mood::Refuses(refused));
        let response = server.ask(&Ask::code()).await;
        let problem = response.is_problem(kind.status().as_u16(), kind.as_str());
        assert_eq!((&problem["pointer"], &problem["detail"]), (&"/to".into(), &"not this one".into()));
        assert_eq!(problem["instance"], format!("urn:uuid:{id}"));
        let waits = [429, 503].contains(&response.status);
        assert_eq!(response.field("retry-after"), waits.then_some("1"));
        assert_eq!(problem.get("retry_after").is_some(), waits);
    }
}

#[tokio::test]
async fn a_limit_says_when_to_come_again() {
    let server = Server::start().await;
    let limit = LimitMet {
        name: "number",
        quota: 5,
        window: Duration::from_hours(1),
        retry_after: Duration::from_millis(90_001),
    };
    let refused = Refusal { limit: Some(limit), ..refusal(RefusalKind::NumberLimit, "enough") };
    server.desk.is(Mood::Refuses(refused));
    let response = server.ask(&Ask::code()).await;
    assert_eq!(response.is_problem(429, "number-limit")["retry_after"], 91);
    assert_eq!(response.field("retry-after"), Some("91"));
    assert_eq!(response.field("ratelimit-policy"), Some("\"number\";q=5;w=3600"));
    assert_eq!(response.field("ratelimit"), Some("\"number\";r=0;t=91"));
}

#[tokio::test]
async fn a_refusal_that_quotes_the_code_or_the_number_is_not_passed_on() {
    let server = Server::start().await;
    for quoted in [CODE, NUMBER] {
        server.desk.is(Mood::Refuses(refusal(RefusalKind::Number, &format!("{quoted} is not fine"))));
        let problem = server.ask(&Ask::code()).await.is_problem(422, "invalid-number");
        assert_eq!(problem["detail"], "the request is refused");
    }
}

#[tokio::test]
async fn a_defect_costs_one_request_and_no_connection() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    server.desk.is(Mood::Panics);
    client.ask(&Ask::code()).await.is_problem(500, "internal-error");
    server.desk.is(Mood::Good);
    assert_eq!(client.ask(&Ask::code()).await.status, 202);
}
