//! What stands in the `OpenAPI` document, and what the routes do.

use serde_json::Value;

use crate::support::{Ask, Server};

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];
const ID: &str = "019a8f3c-5b7e-7d10-9c41-2f6f0a9b1c3d";

async fn document(server: &Server) -> Value {
    let response = server.ask(&Ask::new("GET", "/openapi.json")).await;
    assert_eq!((response.status, response.field("content-type")), (200, Some("application/json")));
    assert_eq!(response.field("cache-control"), Some("no-store"));
    response.json()
}

#[tokio::test]
async fn each_path_knows_the_methods_that_are_described_and_no_others() {
    let server = Server::start().await;
    let document = document(&server).await;
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 4);
    for (path, operations) in paths {
        let target = path.replace("{id}", ID);
        for method in METHODS {
            let described = operations.get(method.to_lowercase()).is_some();
            let response = server.ask(&Ask::new(method, &target)).await;
            assert_eq!(response.status != 405, described, "{method} {path}: {}", response.status);
            if described {
                assert_ne!(response.status, 404, "{method} {path}");
                let responses = &operations[method.to_lowercase()]["responses"];
                assert!(responses[response.status.to_string()].is_object(), "{method} {path}");
                continue;
            }
            response.is_problem(405, "method-not-allowed");
            let allowed: Vec<&str> = response.field("allow").unwrap().split(',').collect();
            for method in METHODS {
                let described = operations.get(method.to_lowercase()).is_some();
                assert_eq!(allowed.contains(&method), described, "{method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_nowhere_is_not_found() {
    let server = Server::start().await;
    for target in ["/", "/v1", "/v1/otp/", "/v1/otp/1/feedback/", "/V1/OTP", "//v1/otp", "/v1/otp/%00/x", "*"]
    {
        for method in ["GET", "POST", "OPTIONS"] {
            server.ask(&Ask::new(method, target)).await.is_problem(404, "not-found");
        }
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let server = Server::start().await;
    let got = server.ask(&Ask::new("GET", "/openapi.json")).await;
    let mut client = server.connect().await;
    let head = client.ask(&Ask::new("HEAD", "/openapi.json")).await;
    assert_eq!((head.status, head.field("content-length")), (200, got.field("content-length")));
    // Nothing more has come: the next answer is that of the next request.
    let head = client.ask(&Ask::new("HEAD", &format!("/v1/otp/{ID}"))).await;
    assert_eq!((head.status, head.body.len()), (401, 0));
    assert_eq!(client.ask(&Ask::code()).await.status, 202);
}
