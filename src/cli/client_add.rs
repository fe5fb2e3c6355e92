//! `authrelay client add`: a generated password for an application, and what to write into the configuration.

use std::io::Read as _;
use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;

use crate::client::hash_password;
use crate::secret::{Digest, Secret};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a password for an application and print what goes into the configuration.
    Add {
        /// The client's name; also its user name.
        name: String,
        /// Read a password that already exists from standard input, instead of making one.
        #[arg(long)]
        password_stdin: bool,
    },
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Command::Add { name, password_stdin } = &args.command;
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        bail!("a client's name has letters, digits, '-', '_' and '.' only");
    }
    let (setting, shown) = if *password_stdin { chosen()? } else { generated()? };
    say!("# For the configuration:\n[clients.{}]\n{setting}", quoted_key(name));
    say!("#business = \"...\"   # the business it sends for, where there are several");
    if let Some(password) = shown {
        say!("\n# For the application (this is the only time the password is shown):");
        say!("#   user name  {name}\n#   password   {}", password.reveal());
    }
    Ok(ExitCode::SUCCESS)
}

fn quoted_key(name: &str) -> String {
    if name.contains('.') { format!("\"{name}\"") } else { name.to_owned() }
}

/// A password of 256 random bits: SHA-256 is enough for it.
fn generated() -> anyhow::Result<(String, Option<Secret>)> {
    let password = Secret::generate()?;
    let digest = Digest::sha256(password.reveal().as_bytes());
    Ok((format!("password_sha256 = \"{}\"", digest.to_hex()), Some(password)))
}

/// A password that a person chose: argon2id.
fn chosen() -> anyhow::Result<(String, Option<Secret>)> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let password = Secret::new(text.trim_end_matches(['\r', '\n']));
    if password.reveal().is_empty() {
        bail!("standard input holds no password");
    }
    Ok((format!("password_argon2id = \"{}\"", hash_password(&password)?), None))
}
