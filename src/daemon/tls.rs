//! The listeners' certificate: the configured one, or a self-signed one made at the first start. Every handshake asks for the
//! one of the moment.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use zeroize::Zeroizing;

use crate::certificate;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::http;
use crate::secret::Digest;
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

/// What the listeners show, and may be given another one while they run. Cheap to clone.
#[derive(Clone)]
pub(super) struct Certificates(Arc<ArcSwap<Shown>>);

/// One set of files, read and fit to be shown.
pub(super) struct Shown {
    spec: Spec,
    /// For SMTP, where clients may be known by their certificates.
    smtp: Option<Arc<ServerConfig>>,
    /// For HTTP, where they are known by their tokens.
    http: Option<Arc<ServerConfig>>,
    /// For HTTP listeners whose callers may be known by their certificates, by the file of the authorities.
    vouching: BTreeMap<PathBuf, Arc<ServerConfig>>,
    /// Of everything that went into it.
    content: Option<Digest>,
    files: Vec<CertificateStatus>,
}

/// How long a certificate file is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateStatus {
    /// The file.
    pub path: PathBuf,
    /// When the first certificate in it ends; `None` where that can't be read.
    pub expires: Option<Timestamp>,
}

/// Which files are shown, and what is asked of clients.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Spec {
    /// `None`: no listener speaks TLS.
    pair: Option<(PathBuf, PathBuf)>,
    client_ca: Option<PathBuf>,
    by_fingerprint: bool,
    /// The authorities of HTTP listeners.
    http_ca: BTreeSet<PathBuf>,
}

impl Shown {
    /// How long its files are good for.
    pub(super) fn status(&self) -> &[CertificateStatus] {
        &self.files
    }
}

impl Certificates {
    pub(super) fn new(shown: Shown) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(shown)))
    }

    /// Shows another one from the next handshake on. Whether it is another one: where nothing of it changed all stays as it
    /// is, sessions that peers may resume too.
    pub(super) fn show(&self, mut shown: Shown) -> bool {
        let before = self.0.load();
        let changed = before.content != shown.content;
        if !changed {
            (shown.smtp, shown.http) = (before.smtp.clone(), before.http.clone());
            shown.vouching = before.vouching.clone();
        }
        self.0.store(Arc::new(shown));
        changed
    }

    /// Reads the files in use again.
    pub(super) fn read_again(&self) -> Result<Shown, CertificateError> {
        load_spec(self.0.load().spec.clone())
    }

    /// The files in use.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let shown = self.0.load();
        let (certificate, key) = shown.spec.pair.clone().unzip();
        let of_all = [certificate, key, shown.spec.client_ca.clone()].into_iter().flatten();
        of_all.chain(shown.spec.http_ca.iter().cloned()).collect()
    }

    /// How long they are good for.
    pub(super) fn status(&self) -> Vec<CertificateStatus> {
        self.0.load().files.clone()
    }

    pub(super) fn for_smtp(&self) -> TlsSource {
        let shown = Arc::clone(&self.0);
        Arc::new(move || shown.load().smtp.clone())
    }

    /// For an HTTP listener with these authorities, or without any.
    pub(super) fn for_http(&self, client_ca: Option<PathBuf>) -> http::TlsSource {
        let shown = Arc::clone(&self.0);
        Arc::new(move || match &client_ca {
            None => shown.load().http.clone(),
            Some(path) => shown.load().vouching.get(path).cloned(),
        })
    }
}

/// Reads the files, where any listener speaks TLS. Where a certificate is named in the configuration it is used; else a
/// self-signed one in the state directory, made now if it is not there.
pub(super) fn load(config: &Config) -> Result<Shown, CertificateError> {
    let smtp_off = config.listeners.iter().all(|listener| listener.tls == ListenerTls::Off);
    let pair = match &config.tls {
        _ if smtp_off && config.http.iter().all(|listener| !listener.tls) => None,
        Some(files) => Some((files.certificate.clone(), files.key.clone())),
        None => Some(self_signed(&config.tls_directory(), &config.hostname)?),
    };
    load_spec(Spec {
        client_ca: config.tls.as_ref().and_then(|files| files.client_ca.clone()).filter(|_| pair.is_some()),
        by_fingerprint: config.clients.clients.iter().any(|access| !access.certificates.is_empty()),
        http_ca: config.http.iter().filter_map(|listener| listener.client_ca.clone()).collect(),
        pair,
    })
}

fn load_spec(spec: Spec) -> Result<Shown, CertificateError> {
    let Some((certificate, key_file)) = &spec.pair else {
        let vouching = BTreeMap::new();
        return Ok(Shown { spec, smtp: None, http: None, vouching, content: None, files: Vec::new() });
    };
    let authorities = spec.client_ca.as_deref().map(read).transpose()?;
    let vouchers: Vec<(&PathBuf, Vec<u8>)> =
        spec.http_ca.iter().map(|path| Ok((path, read(path)?))).collect::<Result<_, CertificateError>>()?;
    let clients = match &authorities {
        Some(authorities) => ClientCertificates::SignedBy(authorities),
        None if spec.by_fingerprint => ClientCertificates::ByFingerprint,
        None => ClientCertificates::Ignored,
    };
    let (chain, key) = (read(certificate)?, Zeroizing::new(read(key_file)?));
    let made = |clients| {
        let made = server_config(&chain, &key, clients);
        made.map(Arc::new).map_err(|error| CertificateError::Content { path: certificate.clone(), error })
    };
    let (smtp, http) = (made(clients)?, made(ClientCertificates::Ignored)?);
    let mut vouching = BTreeMap::new();
    for (path, pem) in &vouchers {
        vouching.insert((*path).clone(), made(ClientCertificates::SignedBy(pem))?);
    }
    let status = |path: &PathBuf, pem: &[u8]| CertificateStatus {
        path: path.clone(),
        expires: certificate::first_end(pem),
    };
    let mut files = vec![status(certificate, &chain)];
    files.extend(spec.client_ca.as_ref().zip(authorities.as_ref()).map(|(path, pem)| status(path, pem)));
    files.extend(vouchers.iter().map(|(path, pem)| status(path, pem)));
    let by_fingerprint = [u8::from(spec.by_fingerprint)];
    let mut parts: Vec<&[u8]> =
        vec![&chain, &key, authorities.as_deref().unwrap_or_default(), &by_fingerprint];
    for (path, pem) in &vouchers {
        parts.extend([path.as_os_str().as_encoded_bytes(), pem]);
    }
    let digests: Vec<[u8; 32]> = parts.iter().map(|part| *Digest::sha256(part).as_bytes()).collect();
    let content = Some(Digest::sha256(digests.as_flattened()));
    drop(vouchers);
    Ok(Shown { smtp: Some(smtp), http: Some(http), vouching, content, files, spec })
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
