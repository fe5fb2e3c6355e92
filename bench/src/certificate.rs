//! Certificates for `localhost`, signed by an authority that only this run knows.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;

use crate::relay::Certificates;

/// Both sides of TLS, and the files for servers.
pub struct Tls {
    pub client: Arc<rustls::ClientConfig>,
    pub server: Arc<rustls::ServerConfig>,
    pub files: Certificates,
}

/// Makes them, with the files in `folder`.
pub fn make(folder: &Path) -> anyhow::Result<Tls> {
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::new())?;
    // OpenSSL takes a certificate for self-signed whose subject is its issuer's.
    authority.distinguished_name.push(DnType::CommonName, "authrelay-bench authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = authority.self_signed(&authority_key)?;
    let key = KeyPair::generate()?;
    let issuer = Issuer::new(authority, authority_key);
    let mut leaf = CertificateParams::new(vec!["localhost".to_owned()])?;
    leaf.distinguished_name.push(DnType::CommonName, "localhost");
    let leaf = leaf.signed_by(&key, &issuer)?;

    let file = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).map(|()| path)
    };
    let files = Certificates {
        authority: file("authority.pem", root.pem())?,
        certificate: file("certificate.pem", leaf.pem())?,
        key: file("key.pem", key.serialize_pem())?,
    };
    // Exim reads them as a user of its own; they are worth nothing outside of this run.
    for path in [&files.authority, &files.certificate, &files.key] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    }
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone())?;
    let client = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let private = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    let server = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], private)?;
    Ok(Tls { client: Arc::new(client), server: Arc::new(server), files })
}
