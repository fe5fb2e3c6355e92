//! The bytes of a mail as they are kept: compressed where that makes them smaller, then sealed.
//!
//! Mail is mostly markup, and compresses to a third or less. What is written for a message is what a commit costs: 8 KiB
//! take three pages of the file and of its log, and three more when they are erased; compressed they fit into a part of
//! one. LZ4, because it costs less time than the pages it saves.
//!
//! The form is authenticated with the bytes: each has a name of its own under which it is sealed, so a flag that was
//! changed in the file opens nothing.

use bytes::Bytes;
use lz4_flex::block;
use zeroize::Zeroizing;

use super::row::{not_sealed, sealed};
use crate::queue::keyring::{Keyring, SealError};
use crate::queue::store::StoreError;

/// Below this there is nothing to gain.
const WORTH_IT: usize = 512;

/// No block of LZ4 grows by more than this when it is decompressed.
const LARGEST_RATIO: usize = 255;

/// A mail's bytes, ready to be stored.
pub(super) struct Body {
    pub(super) sealed: Vec<u8>,
    pub(super) packed: bool,
}

/// Seals the bytes of a submission, in their smaller form.
pub(super) fn seal(keyring: &Keyring, submission: &[u8], message: &[u8]) -> Result<Body, StoreError> {
    let compressed = (message.len() >= WORTH_IT)
        .then(|| Zeroizing::new(block::compress_prepend_size(message)))
        .filter(|compressed| compressed.len() < message.len() - message.len() / 8);
    let (column, plain) = match &compressed {
        Some(compressed) => (sealed::PACKED, compressed.as_slice()),
        None => (sealed::BODY, message),
    };
    let sealed = keyring.seal(column, submission, plain).map_err(not_sealed)?;
    Ok(Body { sealed, packed: compressed.is_some() })
}

/// Opens what [`seal`] made.
pub(super) fn open(
    keyring: &Keyring,
    submission: &[u8],
    sealed: &[u8],
    packed: bool,
) -> Result<Bytes, SealError> {
    if !packed {
        let mut plain = keyring.open(sealed::BODY, submission, sealed)?;
        return Ok(Bytes::from(std::mem::take(&mut *plain)));
    }
    let compressed = keyring.open(sealed::PACKED, submission, sealed)?;
    let (size, block) = block::uncompressed_size(&compressed).map_err(|_| SealError::Damaged)?;
    if size > block.len().saturating_mul(LARGEST_RATIO) {
        return Err(SealError::Damaged);
    }
    block::decompress(block, size).map(Bytes::from).map_err(|_| SealError::Damaged)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keyring() -> Keyring {
        let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        Keyring::parse(&format!("lookup {key}\nseal 1 {key}\n"), "a test").expect("a keyring")
    }

    fn round(message: &[u8]) -> (Body, Bytes) {
        let body = seal(&keyring(), b"one", message).expect("sealed");
        let opened = open(&keyring(), b"one", &body.sealed, body.packed).expect("opened");
        (body, opened)
    }

    #[test]
    fn markup_is_kept_in_a_third() {
        let message = "<td style=\"padding: 0 12px; font-family: sans-serif\">Your code</td>\r\n".repeat(100);
        let (body, opened) = round(message.as_bytes());
        assert!(body.packed && body.sealed.len() < message.len() / 3);
        assert_eq!(opened, message.as_bytes());
    }

    #[test]
    fn what_does_not_get_smaller_is_kept_as_it_is() {
        let mut noise = 1_u64;
        let random = |_| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (noise >> 56) as u8
        };
        let message: Vec<u8> = (0..9_000).map(random).collect();
        let (body, opened) = round(&message);
        assert!(!body.packed);
        assert_eq!(opened, message);
    }

    #[test]
    fn the_form_can_not_be_changed_in_the_file() {
        let body = seal(&keyring(), b"one", &[b'a'; 4096]).expect("sealed");
        assert!(body.packed);
        assert_eq!(open(&keyring(), b"one", &body.sealed, false), Err(SealError::Damaged));
        let body = seal(&keyring(), b"one", b"short").expect("sealed");
        assert_eq!(open(&keyring(), b"one", &body.sealed, true), Err(SealError::Damaged));
    }

    proptest! {
        #[test]
        fn every_message_comes_back(message in proptest::collection::vec("[a-z<> =\\r\\n]{0,9}", 0..700)) {
            let message = message.concat();
            prop_assert_eq!(&round(message.as_bytes()).1[..], message.as_bytes());
        }
    }
}
