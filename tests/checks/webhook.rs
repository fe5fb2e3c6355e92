//! The signature of webhooks.

use authrelay::webhook::{SigningKey, sign};
use aws_lc_rs::digest::{Algorithm, SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A key is 24 to 64 bytes and never shows itself; what it signs is what RFC 2104 and Standard Webhooks say.
pub fn webhook_signing(octets: &[u8]) {
    let _ = SigningKey::parse(&String::from_utf8_lossy(octets));
    let Some((length, rest)) = octets.split_first() else { return };
    let (bytes, body) = rest.split_at(usize::from(*length).min(rest.len()));
    let written = STANDARD.encode(bytes);
    let Ok(key) = SigningKey::parse(&format!("whsec_{written}")) else {
        assert!(!(24..=64).contains(&bytes.len()), "a good key was refused");
        return;
    };
    assert!((24..=64).contains(&bytes.len()), "a key of {} bytes", bytes.len());
    assert!(!format!("{key:?}").contains(&written));
    let signed = [b"msg_1.1795440360.".as_slice(), body].concat();
    let expected = format!("v1,{}", STANDARD.encode(slow_hmac(&SHA256, bytes, &signed)));
    assert_eq!(sign(std::slice::from_ref(&key), "msg_1", "1795440360", body), expected);
    assert_eq!(sign(&[key.clone(), key], "msg_1", "1795440360", body), format!("{expected} {expected}"));
}

/// RFC 2104 section 2, word for word, for hashes with blocks of 64 octets.
pub(super) fn slow_hmac(hash: &'static Algorithm, key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    let key = if key.len() > 64 { digest(hash, key).as_ref().to_vec() } else { key.to_vec() };
    block[..key.len()].copy_from_slice(&key);
    let inner = digest(hash, &[&block.map(|byte| byte ^ 0x36), text].concat());
    digest(hash, &[&block.map(|byte| byte ^ 0x5c), inner.as_ref()].concat()).as_ref().to_vec()
}
