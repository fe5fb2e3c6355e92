//! `authrelay keygen`

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;

use crate::rewrite::{KeyKind, generate_key};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The domain that signs: the sender's.
    domain: String,
    /// The selector: any word, new for every key.
    #[arg(long, short)]
    selector: String,
    /// The kind of key. For both signatures make one of each, with two selectors.
    #[arg(long, short, value_enum, default_value_t = Kind::Rsa)]
    kind: Kind,
    /// Where to write the private key; never over a file that is there. Without it the key goes to standard output.
    #[arg(long, short)]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// RSA with 2048 bits: every verifier knows it.
    Rsa,
    /// Ed25519 (RFC 8463): small and fast; for verifiers that know it, beside RSA.
    Ed25519,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let kind = match args.kind {
        Kind::Rsa => KeyKind::Rsa2048,
        Kind::Ed25519 => KeyKind::Ed25519,
    };
    let key = generate_key(kind, &args.domain, &args.selector)?;
    let key_file = if let Some(path) = &args.output {
        let path = std::path::absolute(path)?;
        write_key(&path, key.pem.reveal())?;
        path.display().to_string()
    } else {
        say!("{}", key.pem.reveal());
        "...".to_owned()
    };
    say!("; For the DNS zone of {}:\n{}", args.domain, key.zone_record());
    if args.output.is_some() {
        let file = quoted_for_shell(&key_file);
        say!("\n# For the service, which has to read it:");
        say!("#   chown root:authrelay {file}\n#   chmod 0640 {file}");
    }
    say!("\n# For the sender in the configuration:");
    say!(
        "dkim = [{{ domain = \"{}\", selector = \"{}\", key_file = {} }}]",
        args.domain,
        args.selector,
        toml::Value::String(key_file)
    );
    Ok(ExitCode::SUCCESS)
}

fn quoted_for_shell(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@".contains(c);
    if path.chars().all(plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

fn write_key(path: &Path, pem: &str) -> anyhow::Result<()> {
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(
            || format!("{} can't be made (an existing file is never overwritten)", path.display()),
        )?;
    file.write_all(pem.as_bytes())?;
    Ok(file.sync_all()?)
}
