//! DKIM keys: read from PEM, made anew, and shown as a DNS record. The private part never shows itself.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

use super::SignError;
use crate::secret::Secret;

/// The longest string in a DNS TXT record (RFC 1035 section 3.3).
const TXT_STRING_MAX: usize = 255;

/// Which kind of key to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA of 2048 bits: what every verifier knows.
    Rsa2048,
    /// Ed25519 (RFC 8463): short and fast, not known to every verifier yet. Use it beside RSA.
    Ed25519,
}

/// Why a key can't be used or made. Never repeats the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DkimKeyError {
    /// The domain or the selector is no host name in ASCII.
    #[error("the domain and the selector of a DKIM key are written as host names, in ASCII")]
    Name,
    /// No unencrypted private key was found in the text.
    #[error("this holds no unencrypted private key in PEM (PKCS #8, or PKCS #1 for RSA)")]
    Pem,
    /// A key of another kind, or a damaged one.
    #[error("a DKIM key is an intact RSA or Ed25519 key")]
    Kind,
    /// An RSA key of less than 2048 bits (RFC 8301).
    #[error("an RSA key for DKIM has at least 2048 bits")]
    TooShort,
    /// The cryptographic library could not make a key.
    #[error("a key could not be made")]
    Generate,
}

/// A private key with the domain and selector under which its public part is published. Cheap to clone.
#[derive(Clone)]
pub struct DkimKey {
    domain: Arc<str>,
    selector: Arc<str>,
    pair: Arc<Pair>,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl DkimKey {
    /// Reads a private key: PKCS #8 for both kinds, PKCS #1 for RSA too.
    pub fn from_pem(domain: &str, selector: &str, pem: &str) -> Result<Self, DkimKeyError> {
        let (domain, selector) = (host_name(domain)?, host_name(selector)?);
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| DkimKeyError::Pem)?;
        let pair = match &der {
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der())
                .map(Pair::Rsa)
                .map_err(|error| rejected(&error))?,
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                match Ed25519KeyPair::from_pkcs8(der) {
                    Ok(pair) => Pair::Ed25519(pair),
                    Err(_) => RsaKeyPair::from_pkcs8(der).map(Pair::Rsa).map_err(|error| rejected(&error))?,
                }
            }
            _ => return Err(DkimKeyError::Kind),
        };
        Ok(Self { domain, selector, pair: Arc::new(pair) })
    }

    /// The signing domain, in lower case: the `d=` of the signature.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The selector, in lower case: the `s=` of the signature.
    pub fn selector(&self) -> &str {
        &self.selector
    }

    /// The algorithm it signs with: the `a=` of the signature.
    pub fn algorithm(&self) -> &'static str {
        match &*self.pair {
            Pair::Rsa(_) => "rsa-sha256",
            Pair::Ed25519(_) => "ed25519-sha256",
        }
    }

    /// The name of the DNS record that verifiers ask for.
    pub fn dns_name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }

    /// The text of that record.
    pub fn dns_record(&self) -> Result<String, DkimKeyError> {
        let (kind, public) = match &*self.pair {
            Pair::Rsa(pair) => {
                let der: PublicKeyX509Der = pair.public_key().as_der().map_err(|_| DkimKeyError::Kind)?;
                ("rsa", STANDARD.encode(der.as_ref()))
            }
            Pair::Ed25519(pair) => ("ed25519", STANDARD.encode(pair.public_key().as_ref())),
        };
        Ok(format!("v=DKIM1; k={kind}; p={public}"))
    }

    /// Signs the canonical form of a header.
    pub(super) fn sign(&self, data: &[u8]) -> Result<Vec<u8>, SignError> {
        match &*self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), data, &mut signature)
                    .map_err(|_| SignError)?;
                Ok(signature)
            }
            // What is signed is the digest (RFC 8463 section 3).
            Pair::Ed25519(pair) => {
                let signature = pair.try_sign(digest(&SHA256, data).as_ref()).map_err(|_| SignError)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

impl fmt::Debug for DkimKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DkimKey({}, {})", self.algorithm(), self.dns_name())
    }
}

/// A new key, and what is to be published for it.
#[derive(Debug)]
pub struct GeneratedKey {
    /// The private key: PKCS #8 in PEM.
    pub pem: Secret,
    /// The name of the TXT record.
    pub dns_name: String,
    /// The text of the TXT record.
    pub dns_record: String,
}

impl GeneratedKey {
    /// The text of the record in strings of at most 255 octets, as DNS keeps it.
    pub fn dns_strings(&self) -> Vec<&str> {
        let mut strings = Vec::new();
        let mut rest = self.dns_record.as_str();
        while !rest.is_empty() {
            // The record is ASCII, so every index is a character's.
            let (string, tail) = rest.split_at(rest.len().min(TXT_STRING_MAX));
            strings.push(string);
            rest = tail;
        }
        strings
    }

    /// The record as it is written in a zone file.
    pub fn zone_record(&self) -> String {
        let strings: Vec<String> = self.dns_strings().iter().map(|string| format!("\"{string}\"")).collect();
        format!("{}. IN TXT ( {} )", self.dns_name, strings.join("\n    "))
    }
}

/// Makes a new key for `authrelay keygen`.
pub fn generate_key(kind: KeyKind, domain: &str, selector: &str) -> Result<GeneratedKey, DkimKeyError> {
    host_name(domain)?;
    host_name(selector)?;
    let der: Pkcs8V1Der<'static> = match kind {
        KeyKind::Rsa2048 => RsaKeyPair::generate(KeySize::Rsa2048)
            .and_then(|pair| pair.as_der())
            .map_err(|_| DkimKeyError::Generate)?,
        KeyKind::Ed25519 => {
            Ed25519KeyPair::generate().and_then(|pair| pair.as_der()).map_err(|_| DkimKeyError::Generate)?
        }
    };
    let pem = Secret::new(to_pem(der.as_ref()));
    let key = DkimKey::from_pem(domain, selector, pem.reveal())?;
    Ok(GeneratedKey { dns_name: key.dns_name(), dns_record: key.dns_record()?, pem })
}

fn to_pem(der: &[u8]) -> String {
    let base64 = zeroize::Zeroizing::new(STANDARD.encode(der));
    let mut pem = String::with_capacity(base64.len() * 66 / 64 + 64);
    pem.push_str("-----BEGIN PRIVATE KEY-----\n");
    for (index, c) in base64.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            pem.push('\n');
        }
        pem.push(c);
    }
    pem.push_str("\n-----END PRIVATE KEY-----\n");
    pem
}

fn rejected(error: &KeyRejected) -> DkimKeyError {
    if error.description_() == "TooSmall" { DkimKeyError::TooShort } else { DkimKeyError::Kind }
}

/// A host name in lower case. Both names stand unquoted in a header field and in DNS.
fn host_name(text: &str) -> Result<Arc<str>, DkimKeyError> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if text.len() > 253 || !text.split('.').all(is_label) {
        return Err(DkimKeyError::Name);
    }
    Ok(Arc::from(text.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_keys_are_read_back_and_publish_what_dns_holds() {
        for (kind, algorithm, start) in [
            (KeyKind::Rsa2048, "rsa-sha256", "v=DKIM1; k=rsa; p=MIIB"),
            (KeyKind::Ed25519, "ed25519-sha256", "v=DKIM1; k=ed25519; p="),
        ] {
            let made = generate_key(kind, "Acme.example", "s2026").unwrap();
            assert_eq!(made.dns_name, "s2026._domainkey.acme.example");
            assert!(made.dns_record.starts_with(start), "{}", made.dns_record);
            assert_eq!(made.dns_strings().concat(), made.dns_record);
            assert!(made.dns_strings().iter().all(|string| string.len() <= 255));
            assert!(made.zone_record().starts_with("s2026._domainkey.acme.example. IN TXT ( \"v=DKIM1; "));
            let key = DkimKey::from_pem("acme.example", "s2026", made.pem.reveal()).unwrap();
            assert_eq!(key.algorithm(), algorithm);
            assert_eq!(key.dns_record().unwrap(), made.dns_record);
            assert_eq!(format!("{key:?}"), format!("DkimKey({algorithm}, s2026._domainkey.acme.example)"));
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let made = generate_key(KeyKind::Ed25519, "a.example", "s").unwrap();
        let pem = made.pem.reveal();
        assert_eq!(DkimKey::from_pem("a b.example", "s", pem).err(), Some(DkimKeyError::Name));
        assert_eq!(DkimKey::from_pem("a.example", "s; x", pem).err(), Some(DkimKeyError::Name));
        assert_eq!(DkimKey::from_pem("a.example", "", pem).err(), Some(DkimKeyError::Name));
        assert_eq!(DkimKey::from_pem("a.example", "s", "no key").err(), Some(DkimKeyError::Pem));
        let damaged = to_pem(&[0x30, 3, 2, 1, 0]);
        assert_eq!(DkimKey::from_pem("a.example", "s", &damaged).err(), Some(DkimKeyError::Kind));
    }
}
