//! The certificates that upstreams are verified by.

use std::cell::OnceCell;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use super::Context;
use super::server_tls::certificates;
use crate::config::problem::Span;
use crate::config::reader::At;

/// The certificates that this machine trusts, read when first needed and shared by all that trust them.
#[derive(Default)]
pub(super) struct Roots(OnceCell<Option<Arc<ClientConfig>>>);

impl Roots {
    /// A client that trusts what is in `ca_file`, or without one what this machine trusts. `None`: it has been reported,
    /// for the machine's at `span`.
    pub(super) fn client(
        &self,
        cx: &Context<'_>,
        ca_file: Option<&At<String>>,
        span: &Span,
    ) -> Option<Arc<ClientConfig>> {
        let Some(path) = ca_file else { return self.0.get_or_init(|| of_system(cx, span)).clone() };
        let mut store = RootCertStore::empty();
        let (added, _) = store.add_parsable_certificates(certificates(cx, path)?);
        if added == 0 {
            cx.report.error(&path.span, "none of these certificates can be used as a root").maybe(None);
            return None;
        }
        client_config(cx, store, &path.span)
    }
}

/// A client that trusts nobody: for what is reached without TLS.
pub(super) fn none(cx: &Context<'_>, span: &Span) -> Option<Arc<ClientConfig>> {
    client_config(cx, RootCertStore::empty(), span)
}

fn of_system(cx: &Context<'_>, span: &Span) -> Option<Arc<ClientConfig>> {
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        cx.report
            .error(span, "this machine trusts no certificates at all, so no upstream can be verified")
            .help("install the package ca-certificates, or set ca_file");
        return None;
    }
    client_config(cx, store, span)
}

fn client_config(cx: &Context<'_>, roots: RootCertStore, span: &Span) -> Option<Arc<ClientConfig>> {
    let make = |roots| {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok::<_, rustls::Error>(builder.with_root_certificates(roots).with_no_client_auth())
    };
    match cx.env.known.client(roots, make) {
        Ok(client) => Some(client),
        Err(problem) => {
            cx.report.error(span, format!("TLS can't be set up: {problem}"));
            None
        }
    }
}
