//! What peers may use up, and for how long. The clock is paused: it moves on when everybody waits.

use std::sync::Arc;
use std::time::Duration;

use authrelay::http::Limits;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::support::{Ask, Mood, Server};

const HEADER: Duration = Duration::from_secs(10);
const REQUEST: Duration = Duration::from_secs(15);

#[track_caller]
fn took(since: Instant, expected: Duration) {
    let took = since.elapsed();
    let fine = took >= expected && took < expected + Duration::from_millis(100);
    assert!(fine, "{took:?} instead of {expected:?}");
}

#[tokio::test(start_paused = true)]
async fn a_header_that_does_not_come_ends_the_connection() {
    let server = Server::start().await;
    for begun in ["", "P", "POST /v1/otp HTTP/1.1\r\nHost: x\r\nA: "] {
        let mut client = server.connect().await;
        let since = Instant::now();
        client.write(begun.as_bytes()).await;
        client.ended().await;
        took(since, HEADER);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_next_request_ends() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    assert_eq!(client.ask(&Ask::code()).await.status, 202);
    assert_eq!(client.ask(&Ask::code()).await.status, 202);
    let since = Instant::now();
    client.ended().await;
    took(since, HEADER);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_in_time_is_told_so() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let since = Instant::now();
    let whole = Ask::code().bytes();
    client.write(&whole[..whole.len() - 1]).await;
    let response = client.response("POST").await.unwrap();
    response.is_problem(408, "request-timeout");
    assert_eq!(response.field("connection"), Some("close"));
    took(since, REQUEST);
    client.ended().await;
    took(since, REQUEST);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_too_long_is_a_503() {
    let server = Server::start().await;
    server.desk.is(Mood::Waits(Arc::new(Notify::new())));
    let mut client = server.connect().await;
    let since = Instant::now();
    let response = client.ask(&Ask::code()).await;
    response.is_problem(503, "overloaded");
    assert_eq!(response.field("retry-after"), Some("1"));
    took(since, REQUEST);
    server.desk.is(Mood::Good);
    assert_eq!(client.ask(&Ask::code()).await.status, 202);
}

#[tokio::test]
async fn a_peer_that_stops_writing_still_gets_its_answer() {
    let server = Server::start().await;
    let word = Arc::new(Notify::new());
    server.desk.is(Mood::Waits(Arc::clone(&word)));
    let asked = async { server.raw(&Ask::code().with("Connection", "close").bytes()).await };
    let told = async {
        server.desk.begun.notified().await;
        word.notify_one();
    };
    let (answer, ()) = tokio::join!(asked, told);
    assert!(answer.starts_with(b"HTTP/1.1 202 "), "{}", answer.escape_ascii());
}

#[tokio::test]
async fn a_request_that_was_begun_is_done_though_the_peer_goes() {
    let server = Server::start().await;
    let word = Arc::new(Notify::new());
    server.desk.is(Mood::Waits(Arc::clone(&word)));
    let mut client = server.connect().await;
    client.write(&Ask::code().bytes()).await;
    server.desk.begun.notified().await;
    drop(client);
    // While others are answered, the end of that connection is seen too.
    for _ in 0..3 {
        server.ask(&Ask::new("GET", "/openapi.json")).await;
    }
    word.notify_one();
    // Ends when the last connection has.
    server.shutdown.cancel();
    server.task.await.unwrap();
    assert_eq!(server.desk.requests.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_loses_its_connection() {
    let server = Server::with(Limits { connections: 1, ..Limits::default() }).await;
    let client = server.connect().await;
    let request = Ask::new("GET", "/openapi.json").bytes().repeat(50);
    let mut written = 0;
    // Until both directions are full.
    let since = Instant::now();
    while tokio::time::timeout(Duration::from_secs(1), client.stream.writable()).await.is_ok() {
        match client.stream.try_write(&request) {
            Ok(count) => written += count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(written > 10_000, "{written}");
    server.ask(&Ask::code()).await.is_problem(503, "overloaded");
    tokio::time::sleep_until(since + HEADER + REQUEST + Duration::from_secs(10)).await;
    assert_eq!(server.ask(&Ask::code()).await.status, 202);
}

#[tokio::test]
async fn more_connections_than_there_is_place_for_are_told_so() {
    let server = Server::with(Limits { connections: 2, ..Limits::default() }).await;
    let (mut one, mut two) = (server.connect().await, server.connect().await);
    assert_eq!(one.ask(&Ask::code()).await.status, 202);
    assert_eq!(two.ask(&Ask::code()).await.status, 202);
    for _ in 0..3 {
        let mut three = server.connect().await;
        let response = three.ask(&Ask::code()).await;
        response.is_problem(503, "overloaded");
        assert_eq!(response.field("retry-after"), Some("1"));
        three.ended().await;
    }
    assert_eq!(one.ask(&Ask::code()).await.status, 202);
    drop(two);
    // The server sees the end of a connection a moment later than we do.
    let mut found = Vec::new();
    while found.last() != Some(&202) && found.len() < 1000 {
        found.push(server.ask(&Ask::code()).await.status);
    }
    assert_eq!(found.last(), Some(&202));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_answers_what_was_begun() {
    let server = Server::start().await;
    let word = Arc::new(Notify::new());
    let (mut idle, mut fresh) = (server.connect().await, server.connect().await);
    assert_eq!(idle.ask(&Ask::code()).await.status, 202);
    fresh.write(b"POST /v1").await;
    server.desk.is(Mood::Waits(Arc::clone(&word)));
    let mut busy = server.connect().await;
    busy.write(&Ask::code().bytes()).await;
    // The first word is that of the code before.
    server.desk.begun.notified().await;
    server.desk.begun.notified().await;
    let since = Instant::now();
    server.shutdown.cancel();
    idle.ended().await;
    took(since, Duration::ZERO);
    word.notify_one();
    let response = busy.response("POST").await.unwrap();
    assert_eq!((response.status, response.field("connection")), (202, Some("close")));
    busy.ended().await;
    fresh.ended().await;
    server.task.await.unwrap();
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_ever() {
    let server = Server::with(Limits { request: Duration::from_hours(1), ..Limits::default() }).await;
    server.desk.is(Mood::Waits(Arc::new(Notify::new())));
    let mut client = server.connect().await;
    client.write(&Ask::code().bytes()).await;
    server.desk.begun.notified().await;
    let since = Instant::now();
    server.shutdown.cancel();
    server.task.await.unwrap();
    took(since, Duration::from_secs(10));
    client.ended().await;
}
