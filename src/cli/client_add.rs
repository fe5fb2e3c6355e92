//! `authrelay client add`: a generated password or token for an application, and what to write into the configuration.
//!
//! Everything that is printed can be pasted as it is: what is not for the configuration stands in comments.

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
    /// Make a password or a token for an application and print what goes into the configuration.
    Add(Add),
}

#[derive(Debug, clap::Args)]
struct Add {
    /// The client's name; also its user name.
    name: String,
    /// Make a token, with which the application asks for one-time codes over HTTP.
    #[arg(long)]
    otp: bool,
    /// Make a password, with which it sends mail over SMTP: what is made where nothing else is said. With --otp: both.
    #[arg(long)]
    smtp: bool,
    /// Read a password that already exists from standard input, instead of making one.
    #[arg(long)]
    password_stdin: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Command::Add(add) = &args.command;
    let name = &add.name;
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        bail!("a client's name has letters, digits, '-', '_' and '.' only");
    }
    let (mut settings, mut password, mut token) = (Vec::new(), None, None);
    if add.smtp || add.password_stdin || !add.otp {
        let (setting, shown) = if add.password_stdin { chosen()? } else { generated("password_sha256")? };
        settings.push(setting);
        password = shown;
    }
    if add.otp {
        let (setting, shown) = generated("token_sha256")?;
        settings.push(setting);
        token = shown;
    }
    say!("# For the configuration:\n[clients.{}]\n{}", quoted_key(name), settings.join("\n"));
    say!("#business = \"...\"   # the business it sends for, where there are several");
    if let Some(password) = password {
        say!("\n# For the application (this is the only time the password is shown):");
        say!("#   user name  {name}\n#   password   {}", password.reveal());
    }
    if let Some(token) = token {
        show_token(&token);
    }
    Ok(ExitCode::SUCCESS)
}

fn show_token(token: &Secret) {
    say!("\n# For the application (this is the only time the token is shown):");
    say!("#   token      {}", token.reveal());
    say!("#\n# Once the configuration is in force, this asks at the default address for a code to be sent:");
    say!("#   curl http://127.0.0.1:8025/v1/otp \\");
    say!("#     -H 'Authorization: Bearer {}' \\", token.reveal());
    say!("#     -H 'Content-Type: application/json' \\");
    say!("#     -d '{{\"to\": \"+12025550100\", \"code\": \"123456\", \"factor\": \"secondary\"}}'");
}

fn quoted_key(name: &str) -> String {
    if name.contains('.') { format!("\"{name}\"") } else { name.to_owned() }
}

/// A secret of 256 random bits, and its setting under `key`: SHA-256 is enough for it.
fn generated(key: &str) -> anyhow::Result<(String, Option<Secret>)> {
    let secret = Secret::generate()?;
    let digest = Digest::sha256(secret.reveal().as_bytes());
    Ok((format!("{key} = \"{}\"", digest.to_hex()), Some(secret)))
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
