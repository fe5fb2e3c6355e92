//! What every request of ours over HTTP has in common, whoever it goes to; and a look at certificates that are not
//! trusted.
//!
//! Codes and keys go only to the host that was configured: no redirect is followed, no proxy of the environment is asked,
//! nothing is repeated by itself.

mod onlooker;

pub(crate) use onlooker::Onlooker;

use std::fmt;
use std::sync::Arc;

use reqwest::{Client, ClientBuilder};
use rustls::pki_types::CertificateDer;

/// A TLS client configuration. Equal when it is the same one: two that were built apart may trust different certificates.
#[derive(Clone)]
pub struct TlsClient(pub Arc<rustls::ClientConfig>);

impl TlsClient {
    /// A client with this configuration. Whoever builds it adds its time-outs.
    pub(crate) fn http(&self) -> ClientBuilder {
        Client::builder()
            .tls_backend_preconfigured((*self.0).clone())
            .user_agent(concat!("authrelay/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .http1_only()
            .tcp_nodelay(true)
    }
}

impl PartialEq for TlsClient {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsClient")
    }
}

/// What a TLS handshake showed.
#[derive(Debug, Clone)]
pub struct TlsSeen {
    /// `TLS 1.3` or `TLS 1.2`.
    pub version: &'static str,
    /// The certificates that were shown, the server's own first.
    pub certificates: Vec<CertificateDer<'static>>,
}

impl TlsSeen {
    /// What this session, whose handshake is over, showed.
    pub(crate) fn of(session: &rustls::ClientConnection) -> Self {
        let version = match session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
            _ => "TLS 1.2",
        };
        let certificates = session.peer_certificates().unwrap_or_default();
        let certificates = certificates.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Self { version, certificates }
    }
}
