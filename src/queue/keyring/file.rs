//! The key file: made once, then a line more when a key is rotated in, and a line less when an old one goes.
//!
//! A file is never changed in place: it is written beside, synced, and put in its place whole, with the owner and the
//! permissions of the one before, so that the daemon can read it whoever made it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{KeyBytes, Keyring, KeyringError};
use crate::secret::{RandomError, random};

/// No keyring is longer; anything longer is another file.
const LONGEST_FILE: usize = 64 << 10;

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
        let draft = write_draft(path, &text, None)?;
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
        let text = read(path)?;
        let newest = Self::parse(&text, &path.display().to_string())?.newest();
        let key = encode(&fresh_key()?);
        let line = Zeroizing::new(format!("seal {} {}\n", newest.saturating_add(1), *key));
        // Made anew at its full length: growing a String would leave its old memory behind unwiped.
        let end = if text.ends_with('\n') { "" } else { "\n" };
        replace(path, &Zeroizing::new([text.as_str(), end, line.as_str()].concat()))
    }

    /// Takes a sealing key that is not the newest one out of the file. The caller has seen that nothing is sealed with it
    /// any more: what is would be lost.
    pub fn retire(path: &Path, id: u32) -> Result<Self, KeyringError> {
        let text = read(path)?;
        let origin = path.display().to_string();
        let keyring = Self::parse(&text, &origin)?;
        let refuse = |problem| Err(KeyringError::NotRemovable { origin: origin.clone(), problem });
        if !keyring.ids().contains(&id) {
            return refuse(format!("there is no key {id} in it"));
        }
        if keyring.newest() == id {
            return refuse(format!("key {id} is the one that seals: add a newer one first"));
        }
        let stays = |line: &&str| {
            let mut words = line.split_ascii_whitespace();
            let names = words.next() == Some("seal");
            !(names && words.next().and_then(|word| word.parse().ok()) == Some(id))
        };
        // As long as the old text, so that it never grows.
        let mut kept = Zeroizing::new(String::with_capacity(text.len() + 1));
        for line in text.lines().filter(stays) {
            kept.push_str(line);
            kept.push('\n');
        }
        replace(path, &kept)
    }
}

/// Puts a changed text in the place of the file.
fn replace(path: &Path, text: &str) -> Result<Keyring, KeyringError> {
    let keyring = Keyring::parse(text, &path.display().to_string())?;
    // Behind a link the file itself is replaced, where it lies.
    let target = fs::canonicalize(path).map_err(file_error(path))?;
    let before = fs::metadata(&target).map_err(file_error(path))?;
    let draft = write_draft(&target, text, Some(&before))?;
    fs::rename(&draft, &target).and_then(|()| sync_directory(&target)).map_err(file_error(path))?;
    Ok(keyring)
}

fn fresh_key() -> Result<KeyBytes, RandomError> {
    random::<32>().map(Zeroizing::new)
}

fn encode(key: &KeyBytes) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(key.as_slice()))
}

fn read(path: &Path) -> Result<Zeroizing<String>, KeyringError> {
    // Never grown, so that no copy of it stays behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST_FILE + 64));
    let file = File::open(path).map_err(file_error(path))?;
    let length = file.take(LONGEST_FILE as u64 + 1).read_to_end(&mut bytes).map_err(file_error(path))?;
    let invalid = |what| file_error(path)(io::Error::new(io::ErrorKind::InvalidData, what));
    if length > LONGEST_FILE {
        return Err(invalid("too long for a key file"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| invalid("it is not text"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Writes `text` beside `path`, synced, under a name nobody else uses, with the owner and permissions of `like`.
fn write_draft(path: &Path, text: &str, like: Option<&fs::Metadata>) -> Result<PathBuf, KeyringError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", u64::from_be_bytes(random::<8>()?)));
    let draft = PathBuf::from(name);
    let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft);
    let mut file = open.map_err(file_error(&draft))?;
    let written = match like {
        Some(like) => belong_like(&file, like),
        None => Ok(()),
    };
    let written = written.and_then(|()| file.write_all(text.as_bytes())).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Best effort: the error that counts is the first one.
        let _ = fs::remove_file(&draft);
        return Err(file_error(&draft)(error));
    }
    Ok(draft)
}

/// First the owner, then the permissions: nobody may read it who could not before.
fn belong_like(file: &File, like: &fs::Metadata) -> io::Result<()> {
    let mine = file.metadata()?;
    if (mine.uid(), mine.gid()) != (like.uid(), like.gid()) {
        fchown(file, Some(like.uid()), Some(like.gid()))?;
    }
    file.set_permissions(Permissions::from_mode(like.mode() & 0o777))
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
    use super::*;
    use crate::queue::SealError;

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
    fn a_changed_file_keeps_its_permissions_and_an_old_key_goes_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        Keyring::create(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        Keyring::rotate(&link).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);

        let problem = |id| Keyring::retire(&path, id).unwrap_err().to_string();
        assert!(problem(2).ends_with("key 2 is the one that seals: add a newer one first"));
        assert!(problem(9).ends_with("there is no key 9 in it"));
        let before = fs::read_to_string(&path).unwrap();
        assert_eq!(Keyring::retire(&path, 1).unwrap().ids(), [2]);
        let expected: Vec<&str> = before.lines().filter(|line| !line.starts_with("seal 1 ")).collect();
        assert_eq!(fs::read_to_string(&path).unwrap().lines().collect::<Vec<_>>(), expected);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
    }
}
