//! Accepting connections on loopback TCP, and stopping.

use std::net::SocketAddr;
use std::time::Duration;

use authrelay::smtp::{ListenerTls, run};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::{Setup, Talk};

const SOON: Duration = Duration::from_secs(10);

async fn start(setup: &Setup) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let running = tokio::spawn(run(listener, setup.listener.clone(), setup.server(), setup.stop.clone()));
    (address, running)
}

async fn call(address: SocketAddr) -> Talk<TcpStream> {
    Talk::new(TcpStream::connect(address).await.unwrap())
}

#[tokio::test]
async fn connections_are_limited_from_one_address_and_places_come_back() {
    let mut setup = Setup::new();
    setup.limits.connections_per_address = 2;
    let (address, _running) = start(&setup).await;
    let mut one = call(address).await;
    one.expect("220 ").await;
    let mut two = call(address).await;
    two.expect("220 ").await;
    let mut three = call(address).await;
    three.expect("421 4.7.0").await;
    three.over().await;
    one.say("QUIT", "221 ").await;
    one.over().await;
    drop(one);
    // The place comes back when the session is through with closing, which is soon.
    let admitted = async {
        loop {
            let mut again = call(address).await;
            if again.reply().await.is_some_and(|reply| reply.starts_with("220 ")) {
                break;
            }
        }
    };
    timeout(SOON, admitted).await.unwrap();
}

#[tokio::test]
async fn connections_are_limited_in_all() {
    let mut setup = Setup::new();
    setup.limits.connections = 1;
    let (address, _running) = start(&setup).await;
    let mut one = call(address).await;
    one.expect("220 ").await;
    let mut two = call(address).await;
    two.expect("421 4.3.2").await;
    two.over().await;
    one.say("NOOP", "250 ").await;
}

#[tokio::test]
async fn stopping_takes_no_new_connections_and_waits_for_the_last_answer() {
    let setup = Setup::new();
    let (address, running) = start(&setup).await;
    let mut idle = call(address).await;
    idle.expect("220 ").await;
    let mut busy = call(address).await;
    busy.expect("220 ").await;
    busy.say("EHLO x", "250-").await;
    busy.open_message().await;
    busy.send("hang\r\n.\r\n").await;
    setup.desk.hanging.notified().await;

    setup.stop.cancel();
    idle.expect("421 4.3.2").await;
    idle.over().await;
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    timeout(SOON, refused).await.unwrap();
    assert!(!running.is_finished());
    setup.desk.go.notify_one();
    busy.expect("250 ").await;
    busy.expect("421 4.3.2").await;
    drop((idle, busy));
    timeout(SOON, running).await.unwrap().unwrap();
    assert_eq!(setup.desk.taken().len(), 1);
}

#[tokio::test]
async fn dropping_the_run_ends_its_sessions() {
    let setup = Setup::new();
    let (address, running) = start(&setup).await;
    let mut talk = call(address).await;
    talk.expect("220 ").await;
    running.abort();
    timeout(SOON, talk.over()).await.unwrap();
}

#[tokio::test]
async fn a_message_is_decided_upon_even_when_its_client_has_gone() {
    let setup = Setup::new();
    let (address, _running) = start(&setup).await;
    let mut talk = call(address).await;
    talk.expect("220 ").await;
    talk.say("EHLO x", "250-").await;
    talk.open_message().await;
    talk.send("hang\r\n.\r\n").await;
    setup.desk.hanging.notified().await;
    drop(talk);
    setup.desk.go.notify_one();
    let taken = async {
        while setup.desk.taken().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, taken).await.unwrap();
}

#[tokio::test]
async fn nothing_is_said_in_the_clear_where_tls_is_implicit() {
    let mut setup = Setup::new();
    setup.limits.connections = 0;
    setup.listener.tls = ListenerTls::Implicit;
    let (address, _running) = start(&setup).await;
    call(address).await.over().await;
}

/// A reply in many small writes, or one held back by Nagle's algorithm, costs 40 ms a command.
#[tokio::test]
async fn a_dialogue_over_tcp_is_not_slowed_down() {
    let setup = Setup::new();
    let (address, _running) = start(&setup).await;
    let mut talk = call(address).await;
    talk.expect("220 ").await;
    let begun = tokio::time::Instant::now();
    for _ in 0..200 {
        talk.say("EHLO x", "250-").await;
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}
