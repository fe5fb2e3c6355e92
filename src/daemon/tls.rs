//! The listeners' certificate: the configured one, or a self-signed one made at the first start.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Config;
use crate::http;
use crate::smtp::{ClientCertificates, ListenerTls, TlsError, TlsSource, server_config};

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file can't be read or written.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Its content can't be used.
    #[error("the certificate {path} and its key can't be used: {error}")]
    Content {
        /// Which.
        path: PathBuf,
        /// Why.
        error: TlsError,
    },
    /// A self-signed one could not be made.
    #[error("a self-signed certificate could not be made: {0}")]
    SelfSigned(#[from] rcgen::Error),
}

/// The TLS configurations of the listeners.
pub(super) struct ListenersTls {
    /// For SMTP, where clients may be known by their certificates.
    pub smtp: TlsSource,
    /// For HTTP, where they are known by their tokens.
    pub http: http::TlsSource,
}

/// Where a certificate is named in the configuration it is used; else a self-signed one in the state directory, made
/// now if it is not there.
pub(super) fn load(config: &Config) -> Result<ListenersTls, CertificateError> {
    let smtp_off = config.listeners.iter().all(|listener| listener.tls == ListenerTls::Off);
    if smtp_off && config.http.iter().all(|listener| !listener.tls) {
        return Ok(ListenersTls { smtp: Arc::new(|| None), http: Arc::new(|| None) });
    }
    let (certificate, key) = match &config.tls {
        Some(files) => (files.certificate.clone(), files.key.clone()),
        None => self_signed(&config.tls_directory(), &config.hostname)?,
    };
    let authorities =
        config.tls.as_ref().and_then(|files| files.client_ca.as_deref()).map(read).transpose()?;
    let by_fingerprint = config.clients.clients.iter().any(|access| !access.certificates.is_empty());
    let clients = match &authorities {
        Some(authorities) => ClientCertificates::SignedBy(authorities),
        None if by_fingerprint => ClientCertificates::ByFingerprint,
        None => ClientCertificates::Ignored,
    };
    let (chain, key) = (read(&certificate)?, read(&key)?);
    let made = |clients| {
        let made = server_config(&chain, &key, clients);
        made.map(Arc::new).map_err(|error| CertificateError::Content { path: certificate.clone(), error })
    };
    let (smtp, http) = (made(clients)?, made(ClientCertificates::Ignored)?);
    Ok(ListenersTls {
        smtp: Arc::new(move || Some(Arc::clone(&smtp))),
        http: Arc::new(move || Some(Arc::clone(&http))),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|error| CertificateError::File { path: path.to_owned(), error })
}

fn self_signed(folder: &Path, hostname: &str) -> Result<(PathBuf, PathBuf), CertificateError> {
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    if certificate.exists() && key.exists() {
        return Ok((certificate, key));
    }
    let mut names = vec![hostname.to_owned(), "localhost".to_owned()];
    names.dedup();
    let made = rcgen::generate_simple_self_signed(names)?;
    let file = |path: &Path, error| CertificateError::File { path: path.to_owned(), error };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| file(folder, error))?;
    // The key first: a certificate without its key would not be made again.
    write(&key, &made.signing_key.serialize_pem()).map_err(|error| file(&key, error))?;
    write(&certificate, &made.cert.pem()).map_err(|error| file(&certificate, error))?;
    tracing::info!(path = %certificate.display(), "made a self-signed certificate");
    Ok((certificate, key))
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
