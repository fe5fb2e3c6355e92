//! The configuration.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use authrelay::clock::Timestamp;
use authrelay::config::{Environment, Variables, describe, load};
use authrelay::secret::Secret;
use tempfile::TempDir;

/// A value that must be repeated nowhere.
const SECRET: &str = "s3cret-of-the-environment";

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(|| Environment {
    home: Some("/nowhere/home".into()),
    hostname: Some("box.acme.example".to_owned()),
    variables: Variables::Given(BTreeMap::from([("PASSWORD".to_owned(), Secret::new(SECRET))])),
    now: Timestamp::from_millis(1_795_440_360_000),
    ..Environment::default()
});

/// A file is read to a configuration that can be shown, or to errors that say where they are. Neither holds a secret,
/// and errors can be written to a terminal.
pub fn configuration(octets: &[u8]) {
    let path = FOLDER.path().join("authrelay.toml");
    std::fs::write(&path, octets).unwrap();
    match load(Some(&path), &ENVIRONMENT) {
        Ok(loaded) => assert!(!describe(&loaded.config).contains(SECRET)),
        Err(errors) => {
            let lines = octets.split(|byte| *byte == b'\n').count();
            assert!(!errors.errors.is_empty(), "refused without a reason");
            for problem in &errors.errors {
                assert!(!problem.message.is_empty());
                assert!(problem.place.as_ref().is_none_or(|place| (1..=lines).contains(&place.line)));
            }
            let shown = errors.to_string();
            assert!(!shown.contains(SECRET));
            assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
        }
    }
}
