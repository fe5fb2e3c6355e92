//! Looks whether an endpoint can be reached, the way a request would go there, without sending one: for an operator, outside
//! of any outbox.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::guard::Forbidden;
use super::{Endpoint, Target};
use crate::outbound::{Onlooker, TlsSeen};

/// Why an endpoint can't be reached.
#[derive(Debug)]
pub enum Obstacle {
    /// Its name has no address, or can't be looked up.
    Name(String),
    /// It has an address that requests must not go to.
    Forbidden(Forbidden),
    /// Nobody takes the connection.
    Connect(io::ErrorKind),
    /// It can be connected to, and TLS fails. With the certificates that it showed, its own first, where there were any.
    Tls(String, Vec<CertificateDer<'static>>),
    /// No answer within the time that a request has.
    Timeout,
}

/// Looks its name up, judges the addresses, connects, and makes the handshake; then goes. What it showed; `None` where it is
/// spoken to without TLS, on this machine.
pub async fn probe_endpoint(endpoint: &Endpoint) -> Result<Option<TlsSeen>, Obstacle> {
    match tokio::time::timeout(endpoint.timeout, reach(endpoint)).await {
        Ok(reached) => reached,
        Err(_) => Err(Obstacle::Timeout),
    }
}

async fn reach(endpoint: &Endpoint) -> Result<Option<TlsSeen>, Obstacle> {
    let addresses = addresses(&endpoint.target).await?;
    for address in &addresses {
        endpoint.guard.check(address.ip()).map_err(Obstacle::Forbidden)?;
    }
    let connect = async || TcpStream::connect(&addresses[..]).await.map_err(|e| Obstacle::Connect(e.kind()));
    let stream = connect().await?;
    if endpoint.target.url().scheme() == "http" {
        return Ok(None);
    }
    match handshake(stream, &endpoint.target, Arc::clone(&endpoint.tls.0)).await {
        Ok(seen) => Ok(Some(seen)),
        Err(error) => {
            let onlooker = Arc::new(Onlooker::default());
            if let Some(client) = onlooker.client() {
                // It fails, by design; what was shown until then is what is asked for.
                let _ = handshake(connect().await?, &endpoint.target, client).await;
            }
            Err(Obstacle::Tls(error.to_string(), onlooker.shown()))
        }
    }
}

async fn addresses(target: &Target) -> Result<Vec<SocketAddr>, Obstacle> {
    let host = target.host();
    let port = target.url().port_or_known_default().unwrap_or(443);
    if let Ok(literal) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(literal, port)]);
    }
    let found = tokio::net::lookup_host((host, port)).await;
    let found: Vec<SocketAddr> = found.map_err(|error| Obstacle::Name(error.to_string()))?.collect();
    if found.is_empty() { Err(Obstacle::Name("it has no address".to_owned())) } else { Ok(found) }
}

async fn handshake(
    stream: TcpStream,
    target: &Target,
    tls: Arc<rustls::ClientConfig>,
) -> io::Result<TlsSeen> {
    let name = ServerName::try_from(target.host().to_owned()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(tls).connect(name, stream).await?;
    Ok(TlsSeen::of(stream.get_ref().1))
}

#[cfg(test)]
mod tests {
    use super::super::Network;
    use super::super::post::tests::endpoint;
    use super::*;

    /// A look goes no further than a request would.
    #[tokio::test]
    async fn nothing_connects_to_an_address_that_requests_must_not_go_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["localhost", "127.0.0.1", "[::ffff:127.0.0.1]"] {
            let found = probe_endpoint(&endpoint(&format!("https://{host}:{port}/"), Network::Public)).await;
            assert!(matches!(found, Err(Obstacle::Forbidden(_))), "{host}: {found:?}");
        }
        tokio::select! {
            biased;
            _ = listener.accept() => panic!("somebody came"),
            () = tokio::task::yield_now() => {}
        }
        let local = endpoint(&format!("http://localhost:{port}/"), Network::Loopback);
        assert!(matches!(probe_endpoint(&local).await, Ok(None)));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_says_nothing_is_left_when_its_time_is_over() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let silent = endpoint(&format!("https://localhost:{port}/"), Network::Loopback);
        assert!(matches!(probe_endpoint(&silent).await, Err(Obstacle::Timeout)));
    }
}
