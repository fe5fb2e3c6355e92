//! `authrelay keygen`

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
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
        write_key(path, key.pem.reveal())?;
        path.display().to_string()
    } else {
        println!("{}", key.pem.reveal());
        "...".to_owned()
    };
    println!("; For the DNS zone of {}:\n{}", args.domain, key.zone_record());
    println!("\n# For the sender in the configuration:");
    println!(
        "dkim = [{{ domain = \"{}\", selector = \"{}\", key_file = \"{key_file}\" }}]",
        args.domain, args.selector
    );
    Ok(ExitCode::SUCCESS)
}

fn write_key(path: &PathBuf, pem: &str) -> anyhow::Result<()> {
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(
            || format!("{} can't be made (an existing file is never overwritten)", path.display()),
        )?;
    file.write_all(pem.as_bytes())?;
    Ok(file.sync_all()?)
}
