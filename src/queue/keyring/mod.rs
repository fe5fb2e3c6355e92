//! The keys under which the queue is sealed at rest, and the file they live in.
//!
//! Everything of a message that is kept is sealed with AES-256-GCM-SIV (RFC 8452) under a random nonce. It was chosen
//! because a nonce that repeats by chance shows no more than that two equal texts were sealed for the same column of
//! the same row: no count of messages has to be watched, and no key has to be derived for each row. What a sealed
//! value belongs to (row, column, format version, key) is authenticated with it, so a value moved to another row or
//! column does not open.
//!
//! The newest key seals, older ones still open. Look-ups are keyed apart from sealing. The sealing keys can be replaced
//! while the keyring is in use ([`Keyring::adopt`]); the look-up key never changes. Nothing here ever shows a key: not in
//! Debug, not in an error. What is done with the file is in `file`.

mod file;

use std::fmt;
use std::io;
use std::path::PathBuf;

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::secret::{LookupKey, RandomError};

/// The format of a sealed value, its first byte.
const VERSION: u8 = 1;

/// Version, key id, nonce.
const HEAD: usize = 1 + 4 + NONCE_LEN;

/// The authentication tag.
const TAG: usize = 16;

/// A key of 256 bits, overwritten when it goes.
type KeyBytes = Zeroizing<[u8; 32]>;

/// Why a keyring can't be had. Names the file and the line, never what stands in it.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The file can't be read or written.
    #[error("key file {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A keyring is never overwritten: what was sealed with it would be lost.
    #[error("key file {} exists already", .0.display())]
    Exists(PathBuf),
    /// There is no such key, or it is the one that seals.
    #[error("{origin}: {problem}")]
    NotRemovable {
        /// The file.
        origin: String,
        /// Why it can't go.
        problem: String,
    },
    /// A line is not what it should be.
    #[error("{origin}, line {line}: {problem}")]
    Line {
        /// The file, or what the text was given as.
        origin: String,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Something is not there.
    #[error("{origin}: {missing} is missing")]
    Missing {
        /// The file, or what the text was given as.
        origin: String,
        /// What.
        missing: &'static str,
    },
    /// No random bytes for a new key.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// Why a value could not be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It can't be sealed: the system gave no random bytes.
    #[error("sealing failed")]
    Sealing,
    /// It was sealed with a key that is not on the keyring.
    #[error("sealed with key {0}, which is not on the keyring")]
    UnknownKey(u32),
    /// It is not what was sealed for this row and column.
    #[error("sealed data is damaged")]
    Damaged,
}

/// The sealing keys and the look-up key of a queue.
pub struct Keyring {
    lookup: LookupKey,
    /// Read anew by each use, so that what was sealed with a key is never opened by a ring from before that key.
    keys: ArcSwap<Ring>,
}

/// By ascending id; the last one seals. Never empty.
type Ring = Vec<(u32, RandomizedNonceKey)>;

impl Keyring {
    /// A keyring from its text, such as a credential handed over by the service manager. `origin` names it in errors.
    pub fn parse(text: &str, origin: &str) -> Result<Self, KeyringError> {
        let mut lookup = None;
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let problem =
                |problem| KeyringError::Line { origin: origin.to_owned(), line: index + 1, problem };
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                None => continue,
                Some(comment) if comment.starts_with('#') => continue,
                Some("lookup") if lookup.is_some() => return Err(problem("a second look-up key")),
                Some("lookup") => lookup = Some(key(words.next()).map_err(problem)?),
                Some("seal") => {
                    let id = words.next().and_then(|word| word.parse().ok()).filter(|id| *id > 0);
                    let id: u32 = id.ok_or_else(|| problem("a sealing key has a number from 1"))?;
                    if keys.iter().any(|(other, _)| *other == id) {
                        return Err(problem("a second sealing key with this number"));
                    }
                    let bytes = key(words.next()).map_err(problem)?;
                    let sealing = RandomizedNonceKey::new(&AES_256_GCM_SIV, bytes.as_slice());
                    keys.push((id, sealing.map_err(|_| problem("the key can't be used"))?));
                }
                Some(_) => return Err(problem("expected `lookup KEY` or `seal NUMBER KEY`")),
            }
            if words.next().is_some() {
                return Err(problem("something stands after the key"));
            }
        }
        let missing = |missing| KeyringError::Missing { origin: origin.to_owned(), missing };
        let lookup = lookup.ok_or_else(|| missing("the look-up key (`lookup KEY`)"))?;
        if keys.is_empty() {
            return Err(missing("a sealing key (`seal 1 KEY`)"));
        }
        keys.sort_by_key(|(id, _)| *id);
        Ok(Self { lookup: LookupKey::new(&lookup), keys: ArcSwap::from_pointee(keys) })
    }

    /// The key under which look-up digests are made.
    pub fn lookup_key(&self) -> LookupKey {
        self.lookup.clone()
    }

    /// The id of the key that seals.
    pub fn newest(&self) -> u32 {
        self.keys.load().last().map_or(0, |(id, _)| *id)
    }

    /// The ids of the sealing keys, ascending.
    pub fn ids(&self) -> Vec<u32> {
        self.keys.load().iter().map(|(id, _)| *id).collect()
    }

    /// Whether the look-ups of both are the same, so that one can take the place of the other.
    pub fn looks_up_like(&self, other: &Self) -> bool {
        let probe = |keyring: &Self| keyring.lookup.digest("same-key", &[]);
        probe(self) == probe(other)
    }

    /// Takes over the sealing keys of `other`, for everything that is sealed or opened from now on. The caller has seen
    /// that the look-up key is the same and that no key goes with which something is still sealed.
    pub fn adopt(&self, other: &Self) {
        self.keys.store(other.keys.load_full());
    }

    /// Seals `plaintext` for one column of one row.
    pub fn seal(&self, column: &str, row: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        let keys = self.keys.load();
        let (id, key) = keys.last().ok_or(SealError::Sealing)?;
        let mut sealed = Vec::with_capacity(HEAD + plaintext.len() + TAG);
        sealed.push(VERSION);
        sealed.extend_from_slice(&id.to_be_bytes());
        sealed.extend_from_slice(&[0; NONCE_LEN]);
        sealed.extend_from_slice(plaintext);
        let aad = Aad::from(binding(*id, column, row));
        let (nonce, tag) =
            key.seal_in_place_separate_tag(aad, &mut sealed[HEAD..]).map_err(|_| SealError::Sealing)?;
        sealed[HEAD - NONCE_LEN..HEAD].copy_from_slice(nonce.as_ref());
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Opens what was sealed for this column of this row.
    pub fn open(&self, column: &str, row: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let id = sealing_key(sealed).ok_or(SealError::Damaged)?;
        let keys = self.keys.load();
        let (_, key) = keys.iter().find(|(other, _)| *other == id).ok_or(SealError::UnknownKey(id))?;
        let (head, rest) = sealed.split_at_checked(HEAD).ok_or(SealError::Damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(&head[HEAD - NONCE_LEN..]);
        let nonce = nonce.map_err(|_| SealError::Damaged)?;
        let mut opened = Zeroizing::new(rest.to_vec());
        let aad = Aad::from(binding(id, column, row));
        let length = key.open_in_place(nonce, aad, &mut opened).map_err(|_| SealError::Damaged)?.len();
        opened.truncate(length);
        Ok(opened)
    }
}

/// The id of the key a value was sealed with, as it says itself; not authenticated before it is opened.
pub fn sealing_key(sealed: &[u8]) -> Option<u32> {
    match sealed {
        [VERSION, a, b, c, d, ..] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} sealing keys, newest {})", self.keys.load().len(), self.newest())
    }
}

/// What is authenticated with a sealed value: no two places have the same.
fn binding(key: u32, column: &str, row: &[u8]) -> Vec<u8> {
    let mut binding = Vec::with_capacity(64);
    binding.push(VERSION);
    binding.extend_from_slice(&key.to_be_bytes());
    binding.extend_from_slice(&(column.len() as u64).to_be_bytes());
    binding.extend_from_slice(column.as_bytes());
    binding.extend_from_slice(row);
    binding
}

fn key(word: Option<&str>) -> Result<KeyBytes, &'static str> {
    const PROBLEM: &str = "expected a key: 32 bytes in base64";
    let bytes = Zeroizing::new(STANDARD.decode(word.ok_or(PROBLEM)?).map_err(|_| PROBLEM)?);
    <[u8; 32]>::try_from(bytes.as_slice()).map(Zeroizing::new).map_err(|_| PROBLEM)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "lookup AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\
                       seal 1 AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n";

    #[test]
    fn what_is_sealed_opens_only_in_its_place() {
        let keyring = Keyring::parse(ONE, "test").unwrap();
        let sealed = keyring.seal("body", b"row-1", b"hello").unwrap();
        assert_eq!(keyring.open("body", b"row-1", &sealed).unwrap().as_slice(), b"hello");
        assert_eq!(keyring.open("body", b"row-2", &sealed), Err(SealError::Damaged));
        assert_eq!(keyring.open("plan", b"row-1", &sealed), Err(SealError::Damaged));
        // The column can't run into the row.
        assert_eq!(keyring.open("bodyr", b"ow-1", &sealed), Err(SealError::Damaged));
        for index in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[index] ^= 1;
            assert!(keyring.open("body", b"row-1", &damaged).is_err(), "byte {index}");
            assert!(keyring.open("body", b"row-1", &sealed[..index]).is_err(), "cut at {index}");
        }
        assert_ne!(sealed, keyring.seal("body", b"row-1", b"hello").unwrap());
    }

    #[test]
    fn keys_are_replaced_while_the_ring_is_in_use() {
        const TWO: &str = "seal 2 AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\n";
        let keyring = Keyring::parse(ONE, "x").unwrap();
        let old = keyring.seal("c", b"r", b"old").unwrap();
        let both = Keyring::parse(&format!("{ONE}{TWO}"), "x").unwrap();
        assert!(keyring.looks_up_like(&both));
        keyring.adopt(&both);
        assert_eq!((keyring.newest(), keyring.ids()), (2, vec![1, 2]));
        let new = keyring.seal("c", b"r", b"new").unwrap();
        assert_eq!(keyring.open("c", b"r", &old).unwrap().as_slice(), b"old");
        let lookup = ONE.lines().next().unwrap();
        keyring.adopt(&Keyring::parse(&format!("{lookup}\n{TWO}"), "x").unwrap());
        assert_eq!(keyring.open("c", b"r", &new).unwrap().as_slice(), b"new");
        assert_eq!(keyring.open("c", b"r", &old), Err(SealError::UnknownKey(1)));
        let other = format!("lookup AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n{TWO}");
        assert!(!keyring.looks_up_like(&Keyring::parse(&other, "x").unwrap()));
    }

    #[test]
    fn mistakes_are_named_by_line_and_never_show_a_key() {
        let lookup = "lookup AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let table = [
            ("", "x: the look-up key (`lookup KEY`) is missing"),
            (lookup, "x: a sealing key (`seal 1 KEY`) is missing"),
            ("# c\n\nlookup c2hvcnQ=", "x, line 3: expected a key: 32 bytes in base64"),
            ("lookup hunter2!", "x, line 1: expected a key: 32 bytes in base64"),
            ("lookup", "x, line 1: expected a key: 32 bytes in base64"),
            ("seal AAAA", "x, line 1: a sealing key has a number from 1"),
            ("hunter2", "x, line 1: expected `lookup KEY` or `seal NUMBER KEY`"),
        ];
        for (text, message) in table {
            assert_eq!(Keyring::parse(text, "x").unwrap_err().to_string(), message);
        }
        let twice = format!("{ONE}{ONE}");
        assert_eq!(Keyring::parse(&twice, "x").unwrap_err().to_string(), "x, line 3: a second look-up key");
        assert_eq!(format!("{:?}", Keyring::parse(ONE, "x").unwrap()), "Keyring(1 sealing keys, newest 1)");
    }
}
