//! The server's certificate.

use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Context;
use crate::certificate;
use crate::config::TlsFiles;
use crate::config::problem::Span;
use crate::config::raw::RawServerTls;
use crate::config::reader::At;
use crate::config::words::quote;

/// The certificate's files; they are read and held against each other.
pub(super) fn files(cx: &Context<'_>, raw: &RawServerTls) -> Option<TlsFiles> {
    let client_ca = raw.client_ca.as_ref();
    if let Some(client_ca) = client_ca {
        authorities(cx, client_ca);
    }
    match (&raw.certificate, &raw.key) {
        (Some(certificate), Some(key)) => {
            pair(cx, certificate, key);
            Some(TlsFiles {
                certificate: cx.path(certificate),
                key: cx.path(key),
                client_ca: client_ca.map(|path| cx.path(path)),
            })
        }
        (None, None) if client_ca.is_none() => None,
        (certificate, key) => {
            let span = [certificate, key].into_iter().flatten().next().map_or(&raw.span, |at| &at.span);
            cx.report
                .error(span, "[tls] needs both `certificate` and `key`")
                .help("leave out both, and a self-signed certificate is made at first start");
            None
        }
    }
}

/// Looks at the authorities of clients.
pub(super) fn authorities(cx: &Context<'_>, path: &At<String>) {
    certificates(cx, path);
    warn_of_end(cx, path);
}

/// The certificates of a PEM file; at least one, or `None` and a report.
pub(super) fn certificates(cx: &Context<'_>, path: &At<String>) -> Option<Vec<CertificateDer<'static>>> {
    let file = cx.read(path)?;
    let found: Result<Vec<_>, PemError> = CertificateDer::pem_slice_iter(&file.bytes).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Some(certificates),
        Ok(_) | Err(_) => {
            cx.report
                .error(&path.span, format!("there is no certificate in {}", file.path.display()))
                .help("the file must hold certificates in PEM: -----BEGIN CERTIFICATE-----");
            None
        }
    }
}

fn pair(cx: &Context<'_>, certificate: &At<String>, key: &At<String>) {
    let chain = certificates(cx, certificate);
    warn_of_end(cx, certificate);
    let Some(file) = cx.read_secret(key) else { return };
    let Ok(private) = PrivateKeyDer::from_pem_slice(&file.bytes) else {
        cx.report
            .error(&key.span, format!("there is no private key in {}", file.path.display()))
            .help("the file must hold a key without a passphrase in PEM: -----BEGIN PRIVATE KEY-----");
        return;
    };
    let Some(chain) = chain else { return };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    if let Err(problem) = rustls::sign::CertifiedKey::from_der(chain, private, &provider) {
        told(cx, &key.span, &certificate.value, &problem);
    }
}

fn warn_of_end(cx: &Context<'_>, path: &At<String>) {
    // What can't be read has been told.
    let end = std::fs::read(cx.path(path)).ok().and_then(|pem| certificate::first_end(&pem));
    if let Some(warning) = end.and_then(|end| certificate::warning(end, cx.env.now)) {
        cx.report
            .warning(&path.span, format!("this certificate {warning}"))
            .help("see that what renews it still runs; a new one is picked up by itself");
    }
}

fn told(cx: &Context<'_>, span: &Span, certificate: &str, problem: &rustls::Error) {
    let message = match problem {
        rustls::Error::InconsistentKeys(_) => {
            format!("this key does not belong to the certificate in {}", quote(certificate))
        }
        other => format!("certificate and key can't be used: {other}"),
    };
    cx.report.error(span, message).maybe(None);
}
