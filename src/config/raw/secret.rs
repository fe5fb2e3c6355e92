//! Where a secret comes from: a file, a variable, a systemd credential, or the configuration itself.

use crate::config::problem::Span;
use crate::config::reader::{At, Table};
use crate::secret::Secret;

/// A kind of secret, and the keys it stands under.
#[derive(Debug)]
pub(in crate::config) struct SecretKind {
    /// What it is called.
    pub(in crate::config) noun: &'static str,
    /// Several of it.
    pub(in crate::config) plural: &'static str,
    /// The keys of a file, a variable and a credential that hold it, and that of the secret itself.
    pub(in crate::config) keys: [&'static str; 4],
}

/// The password of an SMTP upstream.
pub(in crate::config) const PASSWORD: SecretKind = SecretKind {
    noun: "password",
    plural: "passwords",
    keys: ["password_file", "password_env", "password_credential", "password"],
};

/// The auth token of a Twilio account.
pub(in crate::config) const AUTH_TOKEN: SecretKind = SecretKind {
    noun: "auth token",
    plural: "auth tokens",
    keys: ["auth_token_file", "auth_token_env", "auth_token_credential", "auth_token"],
};

/// The secret of a Twilio API key.
pub(in crate::config) const API_KEY_SECRET: SecretKind = SecretKind {
    noun: "API key secret",
    plural: "API key secrets",
    keys: ["api_key_secret_file", "api_key_secret_env", "api_key_secret_credential", "api_key_secret"],
};

/// What the requests of a webhook are signed with; several of it, one a line, while it is being replaced.
pub(in crate::config) const SIGNING_SECRET: SecretKind = SecretKind {
    noun: "signing secret",
    plural: "places for signing secrets",
    keys: ["secret_file", "secret_env", "secret_credential", "secret"],
};

/// Where a secret comes from.
#[derive(Debug, Default)]
pub(in crate::config) struct RawSecret {
    pub(in crate::config) file: Option<At<String>>,
    pub(in crate::config) env: Option<At<String>>,
    pub(in crate::config) credential: Option<At<String>>,
    pub(in crate::config) inline: Option<At<Secret>>,
}

impl RawSecret {
    pub(super) fn read(table: &Table<'_>, kind: &SecretKind) -> Self {
        let [file, env, credential, inline] = kind.keys;
        Self {
            file: table.text(file),
            env: table.text(env),
            credential: table.text(credential),
            inline: table.secret(inline),
        }
    }

    /// Where it is said, in the order of the keys.
    pub(in crate::config) fn spans(&self) -> Vec<&Span> {
        let texts = [self.file.as_ref(), self.env.as_ref(), self.credential.as_ref()];
        let texts = texts.into_iter().flatten().map(|at| &at.span);
        texts.chain(self.inline.as_ref().map(|at| &at.span)).collect()
    }
}
