//! Pieces of configurations.

use std::fmt::Write as _;
use std::net::SocketAddr;

/// A listener with STARTTLS.
pub const LISTENER: &str = "[listeners.smtp]\naddress = \"127.0.0.1:0\"\n";

/// The sender that is no-reply.
pub const NO_REPLY: &str = "[senders.no-reply]\nfrom = \"Acme <no-reply@acme.example>\"\n";

/// The address of that sender.
pub const NO_REPLY_ADDRESS: &str = "no-reply@acme.example";

/// The name and the password of a client that logs in, and the digest that stands in the configuration.
pub const USER: &str = "shop";
pub const PASSWORD: &str = "correct-horse-battery-staple";

/// An SMTP upstream without TLS, which is allowed on this machine. `more` are further settings.
pub fn upstream(name: &str, address: SocketAddr, more: &str) -> String {
    let (host, port) = (address.ip(), address.port());
    format!(
        "[upstreams.{name}]\nkind = \"smtp\"\nhost = \"{host}\"\nport = {port}\ntls = \"plain\"\n{more}\n"
    )
}

/// A client that is known by this machine's network. `more` are further settings.
pub fn client(name: &str, more: &str) -> String {
    format!("[clients.{name}]\nnetworks = [\"127.0.0.0/8\"]\n{more}\n")
}

/// A client that is known by [`USER`] and [`PASSWORD`]. `more` are further settings.
pub fn client_with_password(more: &str) -> String {
    let digest = sha256(PASSWORD);
    format!("[clients.{USER}]\npassword_sha256 = \"{digest}\"\n{more}\n")
}

/// The shortest configuration: one listener, one client of this machine, one upstream. `of_client` are settings of the
/// client, `tables` further tables.
pub fn small(address: SocketAddr, of_client: &str, tables: &str) -> String {
    let (client, upstream) = (client("app", of_client), upstream("provider", address, ""));
    format!("{LISTENER}{client}{NO_REPLY}{upstream}{tables}\n")
}

/// The SHA-256 digest of a text, as 64 hexadecimal digits.
pub fn sha256(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}
