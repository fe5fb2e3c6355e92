//! The signature of Standard Webhooks 1.0: HMAC-SHA256 over `{id}.{timestamp}.{body}`, once for every key.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// What a key begins with when it is written down.
const PREFIX: &str = "whsec_";

/// A key that requests are signed with. Never shows itself.
#[derive(Clone)]
pub struct SigningKey(Zeroizing<Vec<u8>>);

/// Why a text is no key. Quotes nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It does not begin as keys do.
    #[error("a key begins with whsec_")]
    Prefix,
    /// What follows is not base64.
    #[error("what follows whsec_ is not base64")]
    Encoding,
    /// It is too short or too long.
    #[error("a key has 24 to 64 bytes, this one has {0}")]
    Length(usize),
}

impl SigningKey {
    /// The key from `whsec_` and base64.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(KeyError::Prefix)?;
        let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| KeyError::Encoding)?);
        match bytes.len() {
            24..=64 => Ok(Self(bytes)),
            length => Err(KeyError::Length(length)),
        }
    }

    /// The key's bytes, for telling whether it is still the same one.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// What stands for a recipient whose address is not told: whoever has the key can make it of addresses it knows.
    pub(super) fn recipient_hash(&self, recipient: &str) -> String {
        use std::fmt::Write as _;
        let tag = self.sign(&[b"recipient:", recipient.as_bytes()]);
        tag.as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    fn sign(&self, parts: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        for part in parts {
            context.update(part);
        }
        context.sign()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[key]")
    }
}

/// The value of `webhook-signature`: one signature for each key, so that a receiver may have any of them.
pub fn sign(keys: &[SigningKey], id: &str, timestamp: &str, body: &[u8]) -> String {
    let one = |key: &SigningKey| {
        let tag = key.sign(&[id.as_bytes(), b".", timestamp.as_bytes(), b".", body]);
        format!("v1,{}", STANDARD.encode(tag.as_ref()))
    };
    keys.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_standard() {
        // The example of the reference libraries.
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signed = sign(std::slice::from_ref(&key), "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let other = SigningKey::parse(&format!("whsec_{}", STANDARD.encode([7; 24]))).unwrap();
        let both = sign(&[other, key], "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body);
        assert!(both.starts_with("v1,") && both.ends_with(&format!(" {signed}")), "{both}");
    }

    #[test]
    fn a_key_is_written_in_one_way() {
        let encoded = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![1; bytes]));
        assert_eq!(SigningKey::parse("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap_err(), KeyError::Prefix);
        assert_eq!(SigningKey::parse("whsec_!").unwrap_err(), KeyError::Encoding);
        assert_eq!(SigningKey::parse(&encoded(23)).unwrap_err(), KeyError::Length(23));
        assert_eq!(SigningKey::parse(&encoded(65)).unwrap_err(), KeyError::Length(65));
        assert!(SigningKey::parse(&encoded(24)).is_ok() && SigningKey::parse(&encoded(64)).is_ok());
        assert_eq!(format!("{:?}", SigningKey::parse(&encoded(32)).unwrap()), "[key]");
    }
}
