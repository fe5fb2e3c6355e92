//! What every request of ours over HTTP has in common, whoever it goes to.
//!
//! Codes and keys go only to the host that was configured: no redirect is followed, no proxy of the environment is asked,
//! nothing is repeated by itself.

use std::fmt;
use std::sync::Arc;

use reqwest::{Client, ClientBuilder};

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
