//! From a line to a command.
//!
//! smtp-proto reads the verb and the parameters. The path between the angle brackets is read here, because smtp-proto
//! takes the quotes out of a quoted local part, and becomes an [`Address`] at once. What is not understood to its end is
//! refused; nothing that was not offered is accepted.

use smtp_proto::{
    AUTH_LOGIN, AUTH_PLAIN, Error, MAIL_BODY_7BIT, MAIL_BODY_8BITMIME, MAIL_SMTPUTF8, MailFrom, Request,
};

use crate::mail::{Address, ReversePath};
use crate::outcome::{Detail, Reply};
use crate::secret::Secret;

use super::sasl::Mechanism;

/// What a command may make use of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer<'a> {
    /// Our name: `RCPT TO:<postmaster>` needs no domain (RFC 5321 section 4.5.1), and a bare local part as sender, such
    /// as `root`, is somebody here.
    pub hostname: &'a str,
    /// Whether SMTPUTF8 was offered.
    pub smtputf8: bool,
}

/// A command that is well formed by itself. Whether it may be given now is the session's business.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Ehlo(String),
    Helo(String),
    Mail(Mail),
    Rcpt(Address),
    Data,
    Auth {
        mechanism: Mechanism,
        /// `None`: no initial response; `=` is an empty one and stays as it is.
        initial: Option<Secret>,
    },
    StartTls,
    Rset,
    Noop,
    Quit,
    Vrfy,
    Help,
    /// A command of SMTP, or of one of its extensions, that is not offered here.
    NotOffered,
}

/// MAIL with its parameters.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mail {
    pub from: ReversePath,
    /// The size that was announced.
    pub size: Option<usize>,
    pub smtputf8: bool,
}

/// Reads one line, without its CR LF.
pub(super) fn parse(line: &[u8], offer: Offer<'_>) -> Result<Command, Reply> {
    if let Some(rest) = after_keywords(line, "MAIL", "FROM") {
        return mail(rest, offer).map(Command::Mail);
    }
    if let Some(rest) = after_keywords(line, "RCPT", "TO") {
        return rcpt(rest, offer).map(Command::Rcpt);
    }
    let wire = [line, b"\r\n"].concat();
    let request = Request::parse(&mut wire.iter()).map_err(|error| refusal(&error))?;
    let alone = !line.trim_ascii().iter().any(u8::is_ascii_whitespace);
    match request {
        Request::Ehlo { .. } => Ok(Command::Ehlo(peer_name(line))),
        Request::Helo { .. } => Ok(Command::Helo(peer_name(line))),
        Request::Auth { mechanism, initial_response } => auth(line, mechanism, &initial_response),
        Request::Noop { .. } => Ok(Command::Noop),
        Request::Vrfy { .. } => Ok(Command::Vrfy),
        Request::Help { .. } => Ok(Command::Help),
        Request::Data if alone => Ok(Command::Data),
        Request::StartTls if alone => Ok(Command::StartTls),
        Request::Rset if alone => Ok(Command::Rset),
        Request::Quit if alone => Ok(Command::Quit),
        Request::Data | Request::StartTls | Request::Rset | Request::Quit => {
            Err(Reply::new(501, Detail(5, 4), "this command takes no argument"))
        }
        Request::Mail { .. } | Request::Rcpt { .. } => Err(bad_syntax()),
        Request::Lhlo { .. }
        | Request::Bdat { .. }
        | Request::Expn { .. }
        | Request::Etrn { .. }
        | Request::Atrn { .. }
        | Request::Burl { .. } => Ok(Command::NotOffered),
    }
}

/// Whether a line is the beginning of an HTTP request: a browser was led here (a cross-protocol attack), or a program
/// has the wrong port.
pub(super) fn is_http(line: &[u8]) -> bool {
    const VERBS: [&[u8]; 8] =
        [b"GET ", b"POST ", b"PUT ", b"HEAD ", b"CONNECT ", b"OPTIONS ", b"DELETE ", b"PATCH "];
    VERBS.iter().any(|verb| line.get(..verb.len()).is_some_and(|start| start.eq_ignore_ascii_case(verb)))
}

fn mail(rest: &[u8], offer: Offer<'_>) -> Result<Mail, Reply> {
    let (path, parameters) = split_path(rest).ok_or_else(bad_syntax)?;
    let size = announced_size(parameters);
    let parameters = mail_parameters(parameters)?;
    let smtputf8 = parameters.flags & MAIL_SMTPUTF8 != 0;
    let offered = MAIL_BODY_7BIT | MAIL_BODY_8BITMIME | if offer.smtputf8 { MAIL_SMTPUTF8 } else { 0 };
    // AUTH= says whom the client vouches for; it may be ignored by whoever does not trust it (RFC 4954 section 5).
    let kept = MailFrom { flags: parameters.flags, size: parameters.size, ..MailFrom::default() };
    if parameters.flags & !offered != 0 || (MailFrom { auth: None, ..parameters }) != kept {
        return Err(unknown_parameter());
    }
    let from = match path.trim_ascii() {
        b"" => ReversePath::Null,
        path => {
            let qualified = if path.contains(&b'@') {
                path.to_vec()
            } else {
                [path, b"@", offer.hostname.as_bytes()].concat()
            };
            let bad = || Reply::new(501, Detail(1, 7), "bad sender address");
            ReversePath::Address(address(&qualified, smtputf8)?.ok_or_else(bad)?)
        }
    };
    Ok(Mail { from, size, smtputf8 })
}

/// The value of SIZE, which smtp-proto found to be a number. Read again, because smtp-proto makes a small one of a number
/// that is too large for it.
fn announced_size(parameters: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(parameters).ok()?;
    let value = |word: &str| {
        let (key, value) = word.split_once('=')?;
        key.eq_ignore_ascii_case("SIZE").then(|| value.parse().unwrap_or(usize::MAX))
    };
    text.split_ascii_whitespace().filter_map(value).max().filter(|&size| size > 0)
}

fn mail_parameters(text: &[u8]) -> Result<MailFrom<String>, Reply> {
    let wire = [b"MAIL FROM:<>", text, b"\r\n"].concat();
    match Request::parse(&mut wire.iter()).map_err(|error| refusal(&error))? {
        Request::Mail { from } => Ok(from.into_owned()),
        _ => Err(bad_syntax()),
    }
}

fn rcpt(rest: &[u8], offer: Offer<'_>) -> Result<Address, Reply> {
    let (path, parameters) = split_path(rest).ok_or_else(bad_syntax)?;
    if !parameters.trim_ascii().is_empty() {
        return Err(unknown_parameter());
    }
    let bad = || Reply::new(501, Detail(1, 3), "bad recipient address");
    let path = path.trim_ascii();
    if path.eq_ignore_ascii_case(b"postmaster") {
        return Address::parse(&format!("postmaster@{}", offer.hostname)).map_err(|_| bad());
    }
    // Whether MAIL said SMTPUTF8 is known to the session, which asks again.
    address(path, offer.smtputf8)?.ok_or_else(bad)
}

/// The address in a path. `None`: there is none. A source route is left out (RFC 5321 section 4.1.1.3).
fn address(path: &[u8], utf8: bool) -> Result<Option<Address>, Reply> {
    let Ok(path) = std::str::from_utf8(path) else { return Ok(None) };
    let mailbox = match path.strip_prefix('@') {
        Some(route) => route.split_once(':').map_or("", |(_, mailbox)| mailbox),
        None => path,
    };
    match Address::parse(mailbox) {
        Ok(address) if !address.is_ascii() && !utf8 => Err(needs_smtputf8()),
        parsed => Ok(parsed.ok()),
    }
}

/// The answer to a non-ASCII address without SMTPUTF8 (RFC 6531 section 3.5).
pub(super) fn needs_smtputf8() -> Reply {
    Reply::new(553, Detail(6, 7), "a non-ASCII address needs SMTPUTF8")
}

/// What a line names as sender or recipient, between its angle brackets where it has them. It may be anything.
pub(super) fn envelope_path(line: &[u8]) -> Option<&[u8]> {
    let rest = after_keywords(line, "MAIL", "FROM").or_else(|| after_keywords(line, "RCPT", "TO"))?;
    split_path(rest).map(|(path, _)| path)
}

/// What stands after `first`, spaces, `second`, a colon and spaces.
fn after_keywords<'a>(line: &'a [u8], first: &str, second: &str) -> Option<&'a [u8]> {
    let keyword = |text: &'a [u8], word: &str| {
        let (start, rest) = text.split_at_checked(word.len())?;
        start.eq_ignore_ascii_case(word.as_bytes()).then_some(rest)
    };
    let rest = keyword(line, first)?.strip_prefix(b" ")?.trim_ascii_start();
    let rest = keyword(rest, second)?.trim_ascii_start().strip_prefix(b":")?;
    Some(rest.trim_ascii_start())
}

/// A path and what follows it. Old programs leave out the angle brackets; then the path goes to the first space.
fn split_path(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let Some(inner) = text.strip_prefix(b"<") else {
        let end = text.iter().position(|&byte| byte == b' ').unwrap_or(text.len());
        let (path, rest) = text.split_at(end);
        let plain = !path.is_empty() && !path.iter().any(|byte| matches!(byte, b'<' | b'>' | b'"'));
        return plain.then_some((path, rest));
    };
    let end = closing_bracket(inner)?;
    let rest = &inner[end + 1..];
    (rest.is_empty() || rest.starts_with(b" ")).then_some((&inner[..end], rest))
}

/// Where the `>` stands that is not inside a quoted string.
fn closing_bracket(text: &[u8]) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    text.iter().position(|&byte| {
        let ends = byte == b'>' && !quoted;
        let was_escaped = std::mem::take(&mut escaped);
        match byte {
            b'\\' if quoted && !was_escaped => escaped = true,
            b'"' if !was_escaped => quoted = !quoted,
            _ => {}
        }
        ends
    })
}

fn auth(line: &[u8], mechanism: u64, initial: &str) -> Result<Command, Reply> {
    if line.trim_ascii().split(|&byte| byte == b' ').filter(|word| !word.is_empty()).count() > 3 {
        return Err(Reply::new(501, Detail(5, 4), "AUTH takes a mechanism and an initial response"));
    }
    let mechanism = match mechanism {
        AUTH_PLAIN => Mechanism::Plain,
        AUTH_LOGIN => Mechanism::Login,
        _ => return Err(Reply::new(504, Detail(5, 4), "this mechanism is not offered")),
    };
    Ok(Command::Auth { mechanism, initial: (!initial.is_empty()).then(|| Secret::new(initial)) })
}

/// What the peer calls itself, fit for a header field and a log line. Old programs send all sorts of things here.
fn peer_name(line: &[u8]) -> String {
    let name = line.get(5..).unwrap_or_default().trim_ascii();
    let clean = |&byte: &u8| match byte {
        b if b.is_ascii_alphanumeric() || b"-._:[]".contains(&b) => char::from(b),
        _ => '?',
    };
    name.iter().take(255).map(clean).collect()
}

fn refusal(error: &Error) -> Reply {
    match error {
        Error::UnknownCommand => Reply::new(500, Detail(5, 1), "unknown command"),
        Error::InvalidParameter { param } => Reply::new(501, Detail(5, 4), format!("bad value for {param}")),
        Error::UnsupportedParameter { .. } => unknown_parameter(),
        Error::SyntaxError { syntax } => Reply::new(501, Detail(5, 4), format!("syntax: {syntax}")),
        Error::NeedsMoreData { .. }
        | Error::InvalidSenderAddress
        | Error::InvalidRecipientAddress
        | Error::ResponseTooLong
        | Error::InvalidResponse { .. } => bad_syntax(),
    }
}

fn bad_syntax() -> Reply {
    Reply::new(501, Detail(5, 2), "syntax error")
}

fn unknown_parameter() -> Reply {
    Reply::new(555, Detail(5, 4), "unknown or unsupported parameter")
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
