//! The keys under which the queue is sealed at rest, and the file they live in.
//!
//! Everything of a message that is kept is sealed with AES-256-GCM-SIV (RFC 8452) under a random nonce. It was chosen
//! because a nonce that repeats by chance shows no more than that two equal texts were sealed for the same column of
//! the same row: no count of messages has to be watched, and no key has to be derived for each row. What a sealed
//! value belongs to (row, column, format version, key) is authenticated with it, so a value moved to another row or
//! column does not open.
//!
//! The newest key seals, older ones still open. Look-ups are keyed apart from sealing. Nothing here ever shows a key:
//! not in Debug, not in an error.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::secret::{LookupKey, RandomError, random};

/// The format of a sealed value, its first byte.
const VERSION: u8 = 1;

/// Version, key id, nonce.
const HEAD: usize = 1 + 4 + NONCE_LEN;

/// The authentication tag.
const TAG: usize = 16;

/// No keyring is longer; anything longer is another file.
const LONGEST_FILE: u64 = 64 << 10;

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
    /// By ascending id; the last one seals. Never empty.
    keys: Vec<(u32, RandomizedNonceKey)>,
}

impl Keyring {
    /// Reads a keyring from its file.
    pub fn load(path: &Path) -> Result<Self, KeyringError> {
        let text = read(path)?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Makes a keyring with fresh keys and writes it to `path`, readable by its owner alone. When this returns, the
    /// file is on stable storage. An existing file is never overwritten.
    pub fn create(path: &Path) -> Result<Self, KeyringError> {
        let lookup = encode(&fresh_key()?);
        let seal = encode(&fresh_key()?);
        let text = Zeroizing::new(format!(
            "# Whoever has this file can read the queue; without it nobody can. Keep it secret, and keep a copy.\n\
             lookup {}\nseal 1 {}\n",
            *lookup, *seal
        ));
        let keyring = Self::parse(&text, &path.display().to_string())?;
        let draft = write_draft(path, &text)?;
        // A hard link, unlike a rename, fails where the name is taken.
        let linked = fs::hard_link(&draft, path);
        let removed = fs::remove_file(&draft);
        match linked {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(KeyringError::Exists(path.to_owned()));
            }
            Err(error) => return Err(file_error(path)(error)),
        }
        removed.and_then(|()| sync_directory(path)).map_err(file_error(path))?;
        Ok(keyring)
    }

    /// Reads the keyring, or makes one where there is none.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyringError> {
        if !path.try_exists().map_err(file_error(path))? {
            match Self::create(path) {
                // Somebody else made it in the meantime.
                Err(KeyringError::Exists(_)) => {}
                other => return other,
            }
        }
        Self::load(path)
    }

    /// Adds a new sealing key to the file and reads it again. What is sealed already stays readable, because the older
    /// keys stay.
    pub fn rotate(path: &Path) -> Result<Self, KeyringError> {
        let mut text = read(path)?;
        let origin = path.display().to_string();
        let newest = Self::parse(&text, &origin)?.newest();
        let key = encode(&fresh_key()?);
        let line = Zeroizing::new(format!("seal {} {}\n", newest.saturating_add(1), *key));
        // Made anew at its full length: growing a String would leave its old memory behind unwiped.
        let end = if text.ends_with('\n') { "" } else { "\n" };
        text = Zeroizing::new([text.as_str(), end, line.as_str()].concat());
        let keyring = Self::parse(&text, &origin)?;
        let draft = write_draft(path, &text)?;
        fs::rename(&draft, path).and_then(|()| sync_directory(path)).map_err(file_error(path))?;
        Ok(keyring)
    }

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
        Ok(Self { lookup: LookupKey::new(&lookup), keys })
    }

    /// The key under which look-up digests are made.
    pub fn lookup_key(&self) -> LookupKey {
        self.lookup.clone()
    }

    /// The id of the key that seals.
    pub fn newest(&self) -> u32 {
        self.keys.last().map_or(0, |(id, _)| *id)
    }

    /// Seals `plaintext` for one column of one row.
    pub fn seal(&self, column: &str, row: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        let (id, key) = self.keys.last().ok_or(SealError::Sealing)?;
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
        let (_, key) = self.keys.iter().find(|(other, _)| *other == id).ok_or(SealError::UnknownKey(id))?;
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
        write!(f, "Keyring({} sealing keys, newest {})", self.keys.len(), self.newest())
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

fn fresh_key() -> Result<KeyBytes, RandomError> {
    random::<32>().map(Zeroizing::new)
}

fn encode(key: &KeyBytes) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(key.as_slice()))
}

fn read(path: &Path) -> Result<Zeroizing<String>, KeyringError> {
    let mut text = Zeroizing::new(String::with_capacity(4096));
    let file = File::open(path).map_err(file_error(path))?;
    let length = file.take(LONGEST_FILE + 1).read_to_string(&mut text).map_err(file_error(path))?;
    if length as u64 > LONGEST_FILE {
        return Err(file_error(path)(io::Error::new(io::ErrorKind::InvalidData, "too long for a key file")));
    }
    Ok(text)
}

/// Writes `text` beside `path`, synced, under a name nobody else uses.
fn write_draft(path: &Path, text: &str) -> Result<PathBuf, KeyringError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", u64::from_be_bytes(random::<8>()?)));
    let draft = PathBuf::from(name);
    let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft);
    let mut file = open.map_err(file_error(&draft))?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Best effort: the error that counts is the first one.
        let _ = fs::remove_file(&draft);
        return Err(file_error(&draft)(error));
    }
    Ok(draft)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> KeyringError + use<'_> {
    move |error| KeyringError::File { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

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
    fn a_file_is_made_once_and_rotated() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let first = Keyring::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(Keyring::create(&path), Err(KeyringError::Exists(_))));
        let sealed = first.seal("c", b"r", b"old").unwrap();
        let rotated = Keyring::rotate(&path).unwrap();
        assert_eq!((first.newest(), rotated.newest()), (1, 2));
        assert_eq!(rotated.open("c", b"r", &sealed).unwrap().as_slice(), b"old");
        let newer = rotated.seal("c", b"r", b"new").unwrap();
        assert_eq!(first.open("c", b"r", &newer), Err(SealError::UnknownKey(2)));
        let again = Keyring::load(&path).unwrap();
        assert_eq!(again.open("c", b"r", &newer).unwrap().as_slice(), b"new");
        assert_eq!(again.lookup_key().digest("x", &[]), first.lookup_key().digest("x", &[]));
        // No draft stays behind.
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
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
