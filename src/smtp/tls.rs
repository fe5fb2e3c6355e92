//! TLS for the listeners: a rustls configuration from PEM, and what is known of a finished handshake.
//!
//! TLS 1.2 and 1.3 only. A client's certificate may be asked for, never demanded: who shows none can still log in.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, ProtocolVersion, RootCertStore, ServerConfig,
    ServerConnection, SignatureScheme,
};

use crate::secret::Digest;

/// Which certificates of clients are taken notice of.
#[derive(Debug, Clone, Copy)]
pub enum ClientCertificates<'a> {
    /// None; they are not asked for.
    Ignored,
    /// Any, self-signed and expired ones too: the client proves that it has the key, and whoever knows the certificate
    /// knows it by its fingerprint.
    ByFingerprint,
    /// Those that one of these authorities (PEM) signed. A client that shows another one gets no connection.
    SignedBy(&'a [u8]),
}

/// Why there is no TLS configuration. Shows nothing of the key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate file.
    #[error("the certificate chain is not readable as PEM: {0}")]
    Chain(rustls::pki_types::pem::Error),
    /// The certificate file holds no certificate.
    #[error("the certificate chain holds no certificate")]
    NoCertificate,
    /// The key file.
    #[error("the private key is not readable as PEM (PKCS#8, PKCS#1 or SEC1, not encrypted)")]
    Key,
    /// The file of the authorities.
    #[error("the client authorities are not readable as PEM certificates")]
    ClientAuthorities,
    /// rustls took none of it: the key does not belong to the certificate, or is of a kind that is not supported.
    #[error("the certificate and the key cannot be used: {0}")]
    Unusable(#[from] Error),
}

/// The configuration of a listener: our certificate chain (leaf first) and its private key, both PEM.
pub fn server_config(
    chain: &[u8],
    key: &[u8],
    clients: ClientCertificates<'_>,
) -> Result<ServerConfig, TlsError> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(TlsError::Chain)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Key)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let builder = match clients {
        ClientCertificates::Ignored => builder.with_no_client_auth(),
        ClientCertificates::ByFingerprint => {
            builder.with_client_cert_verifier(Arc::new(AnyCertificate { provider }))
        }
        ClientCertificates::SignedBy(authorities) => {
            builder.with_client_cert_verifier(signed_by(authorities, provider)?)
        }
    };
    Ok(builder.with_single_cert(chain, key)?)
}

/// The TLS version and the fingerprint of the client's certificate.
pub(super) fn facts(connection: &ServerConnection) -> (&'static str, Option<Digest>) {
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLS",
    };
    let leaf = connection.peer_certificates().and_then(<[_]>::first);
    (version, leaf.map(|certificate| Digest::sha256(certificate)))
}

fn signed_by(
    authorities: &[u8],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(authorities) {
        let authority = authority.map_err(|_| TlsError::ClientAuthorities)?;
        roots.add(authority).map_err(|_| TlsError::ClientAuthorities)?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map_err(|_| TlsError::ClientAuthorities)
}

/// Takes every certificate whose key the client has. It vouches for nobody: only a fingerprint we know means anything.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_used_is_named() {
        let one = rcgen::generate_simple_self_signed(["relay.example".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["relay.example".to_owned()]).unwrap();
        let (chain, key) = (one.cert.pem(), one.signing_key.serialize_pem());
        let build = |chain: &str, key: &str, clients: ClientCertificates<'_>| {
            server_config(chain.as_bytes(), key.as_bytes(), clients)
        };
        assert!(build(&chain, &key, ClientCertificates::Ignored).is_ok());
        assert!(build(&chain, &key, ClientCertificates::ByFingerprint).is_ok());
        assert!(build(&chain, &key, ClientCertificates::SignedBy(chain.as_bytes())).is_ok());
        assert!(matches!(build(&key, &key, ClientCertificates::Ignored), Err(TlsError::NoCertificate)));
        assert!(matches!(build(&chain, &chain, ClientCertificates::Ignored), Err(TlsError::Key)));
        let foreign = other.signing_key.serialize_pem();
        assert!(matches!(build(&chain, &foreign, ClientCertificates::Ignored), Err(TlsError::Unusable(_))));
        let none = build(&chain, &key, ClientCertificates::SignedBy(b"nothing"));
        assert!(matches!(none, Err(TlsError::ClientAuthorities)));
    }
}
