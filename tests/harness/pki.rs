//! A certificate authority for one test.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// A private authority and a certificate of `localhost` that it signed, as files.
#[derive(Debug, Clone)]
pub struct Pki {
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Pki {
    /// Makes both in `folder`.
    pub fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Strict verifiers ask for these (RFC 5280 section 4.2.1).
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "A test's authority");
        let authority_key = KeyPair::generate().expect("a key");
        let authority = params.self_signed(&authority_key).expect("an authority");
        let issuer = Issuer::new(params, authority_key);
        let key = KeyPair::generate().expect("a key");
        let mut names = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        names.use_authority_key_identifier_extension = true;
        let certificate = names.signed_by(&key, &issuer).expect("a certificate");
        let file = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).expect("a file in the test's folder");
            path
        };
        Self {
            authority: file("authority.pem", authority.pem()),
            certificate: file("server.pem", certificate.pem()),
            key: file("server.key", key.serialize_pem()),
        }
    }
}
