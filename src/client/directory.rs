//! The clients of one configuration snapshot, and how a peer proves to be one of them.
//!
//! A generated password has 256 bits and is checked by one SHA-256. A password that a person chose is checked by
//! argon2id, which costs memory and time on purpose: a [`Gate`] bounds how many run at once, makes addresses that fail
//! wait, and remembers what was right. Tokens are always generated ones.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};

use super::{Access, Config, Gate, PasswordHash};
use crate::ident::{ClientName, ListenerName};
use crate::secret::{Digest, RandomError, Secret, random};

/// Why a login did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// Unknown user or wrong password: the two are never told apart.
    #[error("user name or password is wrong")]
    Wrong,
    /// Too many passwords are being checked at this moment.
    #[error("too many passwords are being checked at this moment")]
    Busy,
    /// This address failed too often; how long until it may try again.
    #[error("too many failed logins from this address")]
    BackOff(Duration),
}

/// The clients of one snapshot.
#[derive(Debug)]
pub struct Directory {
    clients: Vec<Access>,
    users: HashMap<String, usize>,
    chosen_passwords: bool,
}

impl Directory {
    /// The directory of a configuration.
    pub fn new(config: Config) -> Self {
        let user_of = |(index, access): (usize, &Access)| access.user.clone().map(|user| (user, index));
        let users = config.clients.iter().enumerate().filter_map(user_of).collect();
        let chosen = |access: &Access| matches!(access.password, Some(PasswordHash::Argon2id(_)));
        Self { users, chosen_passwords: config.clients.iter().any(chosen), clients: config.clients }
    }

    /// The client a peer is without logging in: by its certificate, its listener, or the narrowest network it is in.
    pub fn recognise(
        &self,
        listener: &ListenerName,
        address: Option<IpAddr>,
        certificate: Option<Digest>,
    ) -> Option<&ClientName> {
        let by_certificate =
            || certificate.and_then(|shown| self.find(|access| access.certificates.contains(&shown)));
        let by_listener = || self.find(|access| access.listeners.contains(listener));
        by_certificate().or_else(by_listener).or_else(|| self.by_network(address?))
    }

    /// The client whose token this is. Every token is compared, each in constant time, so that neither how much of one is
    /// right nor whose it is can be measured.
    pub fn client_of_token(&self, token: &Secret) -> Option<ClientName> {
        let shown = Digest::sha256(token.reveal().as_bytes());
        let mut found = None;
        for access in &self.clients {
            if access.token.is_some_and(|known| known == shown) {
                found = Some(&access.name);
            }
        }
        found.cloned()
    }

    fn find(&self, fits: impl Fn(&Access) -> bool) -> Option<&ClientName> {
        self.clients.iter().find(|access| fits(access)).map(|access| &access.name)
    }

    fn by_network(&self, address: IpAddr) -> Option<&ClientName> {
        let address = address.to_canonical();
        let narrowest = |access: &Access| {
            access.networks.iter().filter(|net| net.contains(&address)).map(ipnet::IpNet::prefix_len).max()
        };
        let with_length = self.clients.iter().filter_map(|access| Some((narrowest(access)?, access)));
        // The first of equals wins, as in the file.
        with_length.rev().max_by_key(|(length, _)| *length).map(|(_, access)| &access.name)
    }

    /// Checks a user's password.
    pub async fn log_in(
        &self,
        gate: &Gate,
        user: &str,
        password: &Secret,
        from: Option<IpAddr>,
    ) -> Result<ClientName, LoginError> {
        let access = self.users.get(user).and_then(|&index| self.clients.get(index));
        let hash = access.and_then(|access| access.password.as_ref());
        // For an unknown user too: the work must not tell who is known.
        let shown = Digest::sha256(password.reveal().as_bytes());
        if let (Some(access), Some(PasswordHash::Sha256(digest))) = (access, hash)
            && shown == *digest
        {
            return Ok(access.name.clone());
        }
        if !self.chosen_passwords {
            // A generated password can't be guessed, so there is nothing to slow down.
            return Err(LoginError::Wrong);
        }
        let stored = match hash {
            Some(PasswordHash::Argon2id(stored)) => Some(stored.as_str()),
            Some(PasswordHash::Sha256(_)) | None => None,
        };
        gate.check(from, user, stored, password).await?;
        access.map(|access| access.name.clone()).ok_or(LoginError::Wrong)
    }
}

/// The PHC string of a password that a person chose, with argon2id's recommended cost.
pub fn hash_password(password: &Secret) -> Result<String, RandomError> {
    let salt: [u8; 16] = random()?;
    Argon2::default()
        .hash_password_with_salt(password.reveal().as_bytes(), &salt)
        .map(|hash| hash.to_string())
        .map_err(|_| RandomError)
}

/// Whether a password belongs to a PHC string. Without one the same work is done, and the answer is no. Blocks.
pub(super) fn verify(stored: Option<&str>, password: &Secret) -> bool {
    const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$\
                          AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let fits =
        Argon2::default().verify_password(password.reveal().as_bytes(), stored.unwrap_or(NOBODY)).is_ok();
    fits && stored.is_some()
}

impl PasswordHash {
    /// Takes the PHC string of an argon2id password, checking its form.
    pub fn argon2id(phc: &str) -> Option<Self> {
        let parsed = argon2::PasswordHash::new(phc).ok()?;
        (parsed.algorithm.as_str() == "argon2id").then(|| Self::Argon2id(phc.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(name: &str) -> Access {
        Access {
            name: ClientName::new(name),
            networks: Vec::new(),
            listeners: Vec::new(),
            user: None,
            password: None,
            certificates: Vec::new(),
            token: None,
        }
    }

    fn directory(clients: Vec<Access>) -> Directory {
        Directory::new(Config { clients })
    }

    #[test]
    fn the_narrowest_network_wins_and_strangers_are_nobody() {
        let wide = Access { networks: vec!["10.0.0.0/8".parse().unwrap()], ..access("wide") };
        let narrow = Access { networks: vec!["10.1.0.0/16".parse().unwrap()], ..access("narrow") };
        let directory = directory(vec![wide, narrow]);
        let listener = ListenerName::new("smtp");
        let who = |ip: &str| directory.recognise(&listener, Some(ip.parse().unwrap()), None).cloned();
        assert_eq!(who("10.1.2.3"), Some(ClientName::new("narrow")));
        assert_eq!(who("::ffff:10.2.2.3"), Some(ClientName::new("wide")));
        assert_eq!(who("192.0.2.1"), None);
        assert_eq!(directory.recognise(&listener, None, None), None);
    }

    #[test]
    fn a_certificate_and_a_listener_are_believed_before_a_network() {
        let fingerprint = Digest::sha256(b"certificate");
        let by_net = Access { networks: vec!["10.0.0.0/8".parse().unwrap()], ..access("net") };
        let by_listener = Access { listeners: vec![ListenerName::new("legacy")], ..access("listener") };
        let by_certificate = Access { certificates: vec![fingerprint], ..access("certificate") };
        let directory = directory(vec![by_net, by_listener, by_certificate]);
        let ip = Some("10.0.0.1".parse().unwrap());
        let who =
            |listener: &str, shown| directory.recognise(&listener.into(), ip, shown).unwrap().to_string();
        assert_eq!(who("smtp", None), "net");
        assert_eq!(who("legacy", None), "listener");
        assert_eq!(who("legacy", Some(fingerprint)), "certificate");
    }

    #[tokio::test]
    async fn generated_passwords_open_and_nothing_else_does() {
        let password = Secret::generate().unwrap();
        let hash = PasswordHash::Sha256(Digest::sha256(password.reveal().as_bytes()));
        let shop = Access { user: Some("shop".into()), password: Some(hash), ..access("shop") };
        let directory = directory(vec![shop, Access { user: Some("nopass".into()), ..access("x") }]);
        let gate = Gate::new(2).unwrap();
        assert_eq!(directory.log_in(&gate, "shop", &password, None).await, Ok(ClientName::new("shop")));
        for (user, text) in [("shop", "wrong"), ("shop", ""), ("nobody", password.reveal()), ("nopass", "")] {
            let result = directory.log_in(&gate, user, &Secret::new(text), None).await;
            assert_eq!(result, Err(LoginError::Wrong), "{user}");
        }
    }

    #[test]
    fn a_token_is_its_clients_alone() {
        let (shop, wiki) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        let digest = |secret: &Secret| Some(Digest::sha256(secret.reveal().as_bytes()));
        let clients = vec![
            Access { token: digest(&shop), ..access("shop") },
            access("mail-only"),
            Access { token: digest(&wiki), ..access("wiki") },
        ];
        let directory = directory(clients);
        assert_eq!(directory.client_of_token(&shop), Some(ClientName::new("shop")));
        assert_eq!(directory.client_of_token(&wiki), Some(ClientName::new("wiki")));
        let shorter = &shop.reveal()[..42];
        for text in ["", shorter, &format!("{}x", shop.reveal()), &digest(&shop).unwrap().to_hex()] {
            assert_eq!(directory.client_of_token(&Secret::new(text)), None);
        }
    }

    #[tokio::test]
    async fn chosen_passwords_are_remembered_only_when_right() {
        let phc = hash_password(&Secret::new("correct horse")).unwrap();
        let client = |phc| {
            let password = Some(PasswordHash::Argon2id(phc));
            directory(vec![Access { user: Some("old".into()), password, ..access("old") }])
        };
        let directory = client(phc.clone());
        let gate = Gate::new(2).unwrap();
        let wrong = directory.log_in(&gate, "old", &Secret::new("incorrect"), None).await;
        assert_eq!(wrong, Err(LoginError::Wrong));
        assert_eq!(gate.remembered(), 0);
        let right = Secret::new("correct horse");
        assert_eq!(directory.log_in(&gate, "old", &right, None).await, Ok(ClientName::new("old")));
        assert_eq!(gate.remembered(), 1);
        // A remembered success needs no place in the gate, and a reload that leaves the password as it is forgets nothing.
        gate.shut();
        for directory in [directory, client(phc)] {
            assert_eq!(directory.log_in(&gate, "old", &right, None).await, Ok(ClientName::new("old")));
            let unknown = directory.log_in(&gate, "nobody", &right, None).await;
            assert_eq!(unknown, Err(LoginError::Busy));
        }
        let changed = client(hash_password(&Secret::new("correct horse")).unwrap());
        assert_eq!(changed.log_in(&gate, "old", &right, None).await, Err(LoginError::Busy));
    }
}
