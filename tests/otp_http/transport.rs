//! TLS and unix sockets, with clients that people use.

use std::sync::Arc;

use authrelay::http::{Limits, RouterSource, Socket, TlsSource, serve, whole};
use authrelay::ident::ListenerName;
use authrelay::otp::{self, Handler};
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixListener};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::certificates::{Authority, VALID};
use crate::support::{Ask, Client, Desk, Server, TOKEN, code_body};

fn source(authority: &Authority) -> TlsSource {
    let config = authority.server("localhost", VALID);
    Arc::new(move || Some(Arc::clone(&config)))
}

#[tokio::test]
async fn codes_are_taken_over_tls() {
    let authority = Authority::new();
    let server = Server::with_tls(Limits::default(), Some(source(&authority))).await;
    let connector = TlsConnector::from(authority.client());
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = Client::new(connector.connect(name, stream).await.unwrap());
    assert_eq!(client.ask(&Ask::code()).await.status, 202);
    assert_eq!(client.ask(&Ask::code()).await.status, 202);

    let config = Arc::unwrap_or_clone(authority.client());
    let client = reqwest::Client::builder().no_proxy().tls_backend_preconfigured(config).build().unwrap();
    let url = format!("https://localhost:{}/v1/otp", server.address.port());
    let request = client.post(url).bearer_auth(TOKEN).header("content-type", "application/json");
    assert_eq!(request.body(code_body()).send().await.unwrap().status(), 202);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_said_in_clear_where_tls_is_spoken() {
    let authority = Authority::new();
    let server = Server::with_tls(Limits::default(), Some(source(&authority))).await;
    let answer = server.raw(&Ask::code().bytes()).await;
    assert!(!answer.starts_with(b"HTTP"), "{}", answer.escape_ascii());
    assert!(server.desk.requests.lock().unwrap().is_empty());
    let since = Instant::now();
    server.connect().await.ended().await;
    assert_eq!(since.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn without_a_certificate_nothing_is_answered() {
    let server = Server::with_tls(Limits::default(), Some(Arc::new(|| None))).await;
    assert_eq!(server.raw(&Ask::code().bytes()).await, b"");
}

#[tokio::test]
async fn codes_are_taken_over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("otp.sock");
    let (desk, shutdown) = (Arc::new(Desk::default()), CancellationToken::new());
    let socket = Socket::Unix(UnixListener::bind(&path).unwrap());
    let router = otp::router(Arc::clone(&desk) as Arc<dyn Handler>);
    let name = ListenerName::new("otp");
    let router = whole(router);
    let router: RouterSource = Arc::new(move || router.clone());
    let task = tokio::spawn(serve(socket, name, None, Limits::default(), router, shutdown.clone()));
    // reqwest asks for a provider even where it speaks no TLS.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().unix_socket(path.as_path()).build().unwrap();
    let request = client.post("http://localhost/v1/otp").bearer_auth(TOKEN);
    let response = request.header("content-type", "application/json").body(code_body()).send().await.unwrap();
    assert_eq!(response.status(), 202);
    assert_eq!(desk.requests.lock().unwrap().len(), 1);
    shutdown.cancel();
    task.await.unwrap();
}
