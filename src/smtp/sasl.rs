//! The AUTH exchange (RFC 4954) for PLAIN (RFC 4616) and LOGIN, as a state machine that is fed lines.
//!
//! It finds out what the peer presents and judges nothing. Nothing in here shows itself in a log or an error.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use crate::outcome::{Detail, Reply};
use crate::secret::Secret;

/// Some old clients leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const USER_MAX: usize = 255;

/// The mechanisms that are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mechanism {
    Plain,
    Login,
}

/// An exchange that waits for the peer's next line.
#[derive(Debug)]
pub(super) enum Exchange {
    Plain,
    LoginUser,
    LoginPassword { user: String },
}

/// A name and a password, as presented.
#[derive(Debug)]
pub(super) struct Credentials {
    pub user: String,
    pub password: Secret,
}

/// How an exchange goes on.
#[derive(Debug)]
pub(super) enum Step {
    /// Send this `334`, then [`Exchange::answer`] with the line that comes.
    Ask(Reply, Exchange),
    /// The peer presented these.
    Presented(Credentials),
    /// The exchange is over without a result; tell the peer.
    Failed(Reply),
}

/// Begins an exchange, with the initial response where the AUTH command had one.
pub(super) fn begin(mechanism: Mechanism, initial: Option<&str>) -> Step {
    let exchange = match mechanism {
        Mechanism::Plain => Exchange::Plain,
        Mechanism::Login => Exchange::LoginUser,
    };
    match initial {
        Some("=") => exchange.take(&[]),
        Some(response) => exchange.answer(response.as_bytes()),
        None => exchange.ask(),
    }
}

impl Exchange {
    /// Takes the peer's line: base64, or `*` to cancel.
    pub(super) fn answer(self, line: &[u8]) -> Step {
        if line == b"*" {
            return Step::Failed(Reply::new(501, Detail(7, 0), "authentication cancelled"));
        }
        match BASE64.decode(line).map(Zeroizing::new) {
            Ok(response) => self.take(&response),
            Err(_) => Step::Failed(Reply::new(501, Detail(5, 2), "this is not base64")),
        }
    }

    fn ask(self) -> Step {
        let challenge = match self {
            Self::Plain => "",
            Self::LoginUser => "VXNlcm5hbWU6",
            Self::LoginPassword { .. } => "UGFzc3dvcmQ6",
        };
        Step::Ask(Reply::plain(334, [challenge]), self)
    }

    fn take(self, response: &[u8]) -> Step {
        match self {
            Self::Plain => plain(response),
            Self::LoginUser => match user_name(response) {
                Some(user) => Self::LoginPassword { user }.ask(),
                None => refused(),
            },
            Self::LoginPassword { user } => presented(user, response),
        }
    }
}

/// `[authzid] NUL authcid NUL passwd`. Acting for somebody else is not offered.
fn plain(response: &[u8]) -> Step {
    let parts: Vec<&[u8]> = response.split(|&byte| byte == 0).collect();
    let &[identity, user, password] = parts.as_slice() else {
        return Step::Failed(Reply::new(501, Detail(5, 2), "this is not a PLAIN response"));
    };
    match user_name(user) {
        Some(name) if identity.is_empty() || identity == user => presented(name, password),
        _ => refused(),
    }
}

fn presented(user: String, password: &[u8]) -> Step {
    match std::str::from_utf8(password) {
        Ok(password) if !password.is_empty() => {
            Step::Presented(Credentials { user, password: Secret::new(password) })
        }
        _ => refused(),
    }
}

fn user_name(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    let fine = (1..=USER_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
    fine.then(|| name.to_owned())
}

/// The same words as for a wrong password.
fn refused() -> Step {
    Step::Failed(Reply::new(535, Detail(7, 8), "authentication failed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays the lines and says what came of it: the challenges, then the credentials or the code.
    fn played(mechanism: Mechanism, initial: Option<&str>, lines: &[&str]) -> String {
        let mut said = String::new();
        let mut step = begin(mechanism, initial);
        let mut lines = lines.iter();
        loop {
            match step {
                Step::Ask(reply, exchange) => {
                    said = format!("{said}{:?}; ", reply.lines()[0]);
                    step = exchange.answer(lines.next().unwrap().as_bytes());
                }
                Step::Presented(found) => return format!("{said}{} {}", found.user, found.password.reveal()),
                Step::Failed(reply) => {
                    return format!("{said}{} {}", reply.code(), reply.enhanced().unwrap());
                }
            }
        }
    }

    #[test]
    fn plain_and_login_with_and_without_initial_response() {
        use Mechanism::{Login, Plain};
        for (mechanism, initial, lines, result) in [
            (Plain, Some("AHUAcA=="), &[][..], "u p"),
            (Plain, Some("AHUAcA"), &[], "u p"),
            (Plain, None, &["dQB1AHA="], "\"\"; u p"),
            (Plain, None, &["eAB1AHA="], "\"\"; 535 5.7.8"),
            (Plain, None, &["*"], "\"\"; 501 5.7.0"),
            (Plain, None, &["!!"], "\"\"; 501 5.5.2"),
            (Plain, None, &["dQBw"], "\"\"; 501 5.5.2"),
            (Plain, Some("="), &[], "501 5.5.2"),
            (Plain, Some("AAA="), &[], "535 5.7.8"),
            (Login, None, &["dQ==", "cA=="], "\"VXNlcm5hbWU6\"; \"UGFzc3dvcmQ6\"; u p"),
            (Login, Some("dQ=="), &["cA=="], "\"UGFzc3dvcmQ6\"; u p"),
            (Login, Some("dQ=="), &["*"], "\"UGFzc3dvcmQ6\"; 501 5.7.0"),
            (Login, Some("="), &[], "535 5.7.8"),
            (Login, None, &[""], "\"VXNlcm5hbWU6\"; 535 5.7.8"),
            (Login, None, &["G1szMW0="], "\"VXNlcm5hbWU6\"; 535 5.7.8"),
        ] {
            assert_eq!(played(mechanism, initial, lines), result, "{mechanism:?} {initial:?} {lines:?}");
        }
    }

    #[test]
    fn credentials_do_not_show_the_password() {
        let Step::Presented(found) = begin(Mechanism::Plain, Some("AHUAcHc=")) else { panic!() };
        assert!(!format!("{found:?}").contains("pw"));
    }
}
