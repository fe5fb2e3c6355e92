//! What is kept from one reading of the configuration to the next: what upstreams are verified by, and what the operator's
//! files of recognition were made into.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustls::{ClientConfig, RootCertStore};

use crate::policy::{Recognition, RecognitionError};
use crate::secret::Digest;

/// What earlier readings in this process came to. Cheap to clone.
///
/// Two readings that find the same certificates come to the same TLS client, and so to equal upstreams: a reload keeps
/// their connections. Two that find the same files of recognition do not compile them twice.
#[derive(Debug, Clone, Default)]
pub struct Known {
    clients: Arc<Mutex<HashMap<Digest, Weak<ClientConfig>>>>,
    recognition: Arc<Mutex<Option<(Digest, Recognition)>>>,
}

impl Known {
    /// The recognition with these files of the operator's own, by name and text: the one in use, or a new one.
    pub(super) fn recognition(&self, own: &[(String, String)]) -> Result<Recognition, RecognitionError> {
        let parts = own.iter().flat_map(|(name, text)| [name, text]);
        let digests = parts.flat_map(|part| *Digest::sha256(part.as_bytes()).as_bytes());
        let digest = Digest::sha256(&digests.collect::<Vec<u8>>());
        let mut known = self.recognition.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, recognition)) = known.as_ref().filter(|(known, _)| *known == digest) {
            return Ok(recognition.clone());
        }
        let made = Recognition::with_files(own)?;
        *known = Some((digest, made.clone()));
        Ok(made)
    }

    /// The client that trusts these: the one in use, or a new one.
    pub(super) fn client<E>(
        &self,
        roots: RootCertStore,
        make: impl FnOnce(RootCertStore) -> Result<ClientConfig, E>,
    ) -> Result<Arc<ClientConfig>, E> {
        let mut known = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, client| client.strong_count() > 0);
        let digest = digest_of(&roots);
        if let Some(client) = known.get(&digest).and_then(Weak::upgrade) {
            return Ok(client);
        }
        let made = Arc::new(make(roots)?);
        known.insert(digest, Arc::downgrade(&made));
        Ok(made)
    }
}

/// Of all that is looked at in a root, whatever the order they were found in.
fn digest_of(roots: &RootCertStore) -> Digest {
    let each = roots.roots.iter().map(|root| {
        let constraints = root.name_constraints.as_ref().map_or(&[][..], |der| der.as_ref());
        let parts = [root.subject.as_ref(), root.subject_public_key_info.as_ref(), constraints];
        let lengths = parts.iter().flat_map(|part| part.len().to_be_bytes());
        Digest::sha256(&lengths.chain(parts.concat()).collect::<Vec<u8>>())
    });
    let mut each: Vec<Digest> = each.collect();
    each.sort_unstable();
    let all: Vec<u8> = each.iter().flat_map(|digest| *digest.as_bytes()).collect();
    Digest::sha256(&all)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject as _;

    use super::*;
    use crate::config::{Environment, load};

    fn roots(pems: &[&str]) -> RootCertStore {
        let mut store = RootCertStore::empty();
        let ders =
            pems.iter().map(|pem| rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap());
        assert_eq!(store.add_parsable_certificates(ders).0, pems.len());
        store
    }

    fn client(known: &Known, pems: &[&str]) -> Arc<ClientConfig> {
        let make = |roots| {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let builder =
                ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
            Ok::<_, rustls::Error>(builder.with_root_certificates(roots).with_no_client_auth())
        };
        known.client(roots(pems), make).unwrap()
    }

    #[test]
    fn a_file_that_is_read_again_comes_to_equal_upstreams() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            folder.path().join(name)
        };
        let made = || rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap().cert.pem();
        file("ca.pem", &made());
        file("password", "one");
        let config = file(
            "relay.toml",
            "hostname = \"relay.example\"\n[senders.no-reply]\nfrom = \"no-reply@acme.example\"\n\
             [upstreams.mail]\nhost = \"mail.example\"\nuser = \"u\"\npassword_file = \"password\"\n\
             ca_file = \"ca.pem\"\n[upstreams.near]\nhost = \"127.0.0.1\"\nca_file = \"ca.pem\"\n",
        );
        let env = Environment::default();
        let read = || load(Some(&config), &env).unwrap().config.deliver;
        let first = read();
        assert_eq!(first.upstreams, read().upstreams);
        file("password", "two");
        let second = read();
        assert_ne!(first.upstreams[0], second.upstreams[0], "a password in a file is read again");
        assert_eq!(first.upstreams[1], second.upstreams[1]);
        file("ca.pem", &made());
        assert_ne!(second.upstreams[1], read().upstreams[1], "and so is a root");
    }

    #[test]
    fn files_of_recognition_are_compiled_again_only_where_they_changed() {
        let known = Known::default();
        let (categories, structure) = (shipped("categories.toml"), shipped("structure.toml"));
        let own = vec![
            ("categories.toml".to_owned(), categories.clone()),
            ("structure.toml".to_owned(), structure),
        ];
        let first = known.recognition(&own).unwrap();
        let is_kept = |recognition: &Recognition| {
            known.recognition.lock().unwrap().as_ref().is_some_and(|(_, kept)| kept.is_same(recognition))
        };
        assert!(is_kept(&first) && known.recognition(&own).unwrap().is_same(&first));
        let mut other = own.clone();
        other[0].1.push_str("\n# changed\n");
        assert!(!known.recognition(&other).unwrap().is_same(&first) && !is_kept(&first));
        other[0].1 = "broken = [".to_owned();
        known.recognition(&other).unwrap_err();
    }

    fn shipped(name: &str) -> String {
        let found = Recognition::shipped_files().iter().find(|(known, _)| *known == name);
        found.unwrap().1.to_owned()
    }

    #[test]
    fn the_same_certificates_are_one_client_and_others_are_another() {
        let made = || rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap().cert.pem();
        let (one, two) = (made(), made());
        let known = Known::default();
        let first = client(&known, &[&one, &two]);
        assert!(Arc::ptr_eq(&first, &client(&known, &[&two, &one])), "whatever the order");
        let other = client(&known, &[&one]);
        assert!(!Arc::ptr_eq(&first, &other));
        assert!(!Arc::ptr_eq(&other, &client(&known, &[])));
        drop(first);
        client(&known, &[&one]);
        assert_eq!(known.clients.lock().unwrap().len(), 1, "what nobody uses is forgotten");
    }
}
