//! What an upstream's reply, or the lack of one, says about the message and about the upstream. Pure tables.

use std::time::Duration;

use mail_send::Error;
use smtp_proto::Response;

use crate::outcome::{Reason, ReasonClass, scrub_reference};

/// What one upstream made of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandOver {
    /// It took responsibility.
    Accepted {
        /// Its own words.
        reference: String,
    },
    /// The provider took it, and will tell by and by whether it arrived.
    Taken {
        /// The provider's own id of it.
        reference: String,
    },
    /// It refused this message or this recipient for good.
    Refused(Reason),
    /// Not now, and it is about this message or this recipient.
    Deferred(Reason),
    /// Everything was sent and no answer came.
    InDoubt(Reason),
    /// It failed as a whole, and does not have the message.
    Unavailable(Reason, Trip),
    /// It can't carry what this message needs. Another upstream may.
    Unfit(Reason),
    /// It does not let us use this sender. Another sender may do; else an operator has to mend it, over there or here.
    SenderRefused(Reason),
}

impl HandOver {
    /// Why it was not handed over; `None` where it was.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Accepted { .. } | Self::Taken { .. } => None,
            Self::Refused(reason)
            | Self::Deferred(reason)
            | Self::InDoubt(reason)
            | Self::Unavailable(reason, _)
            | Self::Unfit(reason)
            | Self::SenderRefused(reason) => Some(reason),
        }
    }
}

/// What a failure of the upstream means for its breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trip {
    /// It opens at once.
    AtOnce,
    /// It opens after several in a row.
    Counted,
    /// It opens at once, for at least so long.
    For(Duration),
}

/// Where in the conversation something went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Connecting and the greeting.
    Greeting,
    /// EHLO.
    Ehlo,
    /// STARTTLS and the handshake.
    Tls,
    /// AUTH.
    Auth,
    /// MAIL, or RSET before it.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA, and the message up to its final dot.
    Data,
    /// After the final dot.
    Dot,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Greeting => "connecting",
            Self::Ehlo => "EHLO",
            Self::Tls => "TLS",
            Self::Auth => "AUTH",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::Dot => "the final dot",
        }
    }

    fn is_transaction(self) -> bool {
        match self {
            Self::Mail | Self::Rcpt | Self::Data | Self::Dot => true,
            Self::Greeting | Self::Ehlo | Self::Tls | Self::Auth => false,
        }
    }
}

/// What the positive reply to the final dot becomes: the upstream's own words, with addresses and links masked.
pub(super) fn accepted(reply: &Response<String>) -> HandOver {
    HandOver::Accepted { reference: scrub_reference(&text_of(reply)) }
}

/// What a reply other than the expected one means at `step`.
///
/// A 5xx to MAIL speaks of nothing but the sender and our parameters. 530 and the authentication codes are about our
/// account, so about the upstream. Sizes, syntax and content (5.2.x to 5.6.x) are about the message. What is left is the
/// sender itself: an identity that is not verified over there, or a policy against it. That is a matter of configuration,
/// which can be mended within the life of the message, so it is never the end of it.
pub(super) fn judge(step: Step, reply: &Response<String>) -> HandOver {
    let code = reply.code;
    let [class, subject, _] = reply.esc;
    let reason = Reason::reply(code, text_of(reply));
    if step == Step::Auth || is_about_our_login(code, reply.esc) {
        return HandOver::Unavailable(Reason { class: ReasonClass::Auth, ..reason }, Trip::AtOnce);
    }
    if !step.is_transaction() {
        return HandOver::Unavailable(reason, Trip::AtOnce);
    }
    match code {
        421 => HandOver::Unavailable(reason, Trip::Counted),
        400..=499 if class == 4 && (subject == 3 || subject == 7) => {
            HandOver::Unavailable(reason, Trip::Counted)
        }
        400..=499 => HandOver::Deferred(reason),
        // Bad sequence: the two ends do not agree on where they are, and nothing was sent yet.
        503 if step != Step::Dot => HandOver::Unavailable(reason, Trip::Counted),
        500..=599 if step == Step::Mail => {
            let about_message =
                code == 552 || (code <= 504 && subject != 1) || (class == 5 && (2..=6).contains(&subject));
            if about_message { HandOver::Refused(reason) } else { HandOver::SenderRefused(reason) }
        }
        500..=599 => HandOver::Refused(reason),
        // A positive reply in the wrong place: the two ends do not agree on where they are.
        _ if step == Step::Dot => HandOver::InDoubt(reason),
        _ => HandOver::Unavailable(reason, Trip::Counted),
    }
}

/// What it means that no reply could be had at `step`.
pub(super) fn lost(step: Step, error: &Error) -> HandOver {
    if let Error::UnexpectedReply(reply) | Error::AuthenticationFailed(reply) = error {
        return judge(step, reply);
    }
    let (class, what) = match error {
        Error::Timeout => (ReasonClass::Timeout, "no answer in time".to_owned()),
        Error::Tls(error) => (ReasonClass::Tls, tls_words(error)),
        Error::InvalidTLSName => (ReasonClass::Tls, "the host name can't be in a certificate".to_owned()),
        Error::MissingStartTls => (ReasonClass::Tls, "STARTTLS is not offered".to_owned()),
        Error::Io(error) => (ReasonClass::Connect, error.kind().to_string()),
        Error::UnparseableReply => {
            (ReasonClass::Connect, "the connection ended or the reply is not SMTP".to_owned())
        }
        Error::UnsupportedAuthMechanism | Error::MissingCredentials | Error::Auth(_) | Error::Base64(_) => {
            (ReasonClass::Auth, "no way to log in".to_owned())
        }
        Error::UnexpectedReply(_)
        | Error::AuthenticationFailed(_)
        | Error::MissingMailFrom
        | Error::MissingRcptTo => (ReasonClass::Local, "an error of our own".to_owned()),
    };
    let class = if step == Step::Tls && class == ReasonClass::Connect { ReasonClass::Tls } else { class };
    let reason = Reason::new(class, format!("{what} (at {})", step.name()));
    match step {
        Step::Dot => HandOver::InDoubt(reason),
        Step::Mail | Step::Rcpt | Step::Data => HandOver::Unavailable(reason, Trip::Counted),
        Step::Greeting | Step::Ehlo | Step::Tls | Step::Auth => HandOver::Unavailable(reason, Trip::AtOnce),
    }
}

/// Why there is no TLS, in words that say what to look at. `check --live` says more, from the certificate itself.
fn tls_words(error: &rustls::Error) -> String {
    use rustls::CertificateError as Why;

    let rustls::Error::InvalidCertificate(why) = error else { return error.to_string() };
    let words = match why {
        Why::Expired | Why::ExpiredContext { .. } => {
            "its certificate expired, or this machine's clock is fast"
        }
        Why::NotValidYet | Why::NotValidYetContext { .. } => {
            "its certificate is not valid yet, or this machine's clock is slow"
        }
        Why::NotValidForName | Why::NotValidForNameContext { .. } => "its certificate is for another name",
        // An authority that is called like one of ours, and is another.
        Why::UnknownIssuer | Why::BadSignature => {
            "its certificate is signed by no authority that is trusted here, or came without its intermediate certificate"
        }
        Why::Revoked => "its certificate was revoked",
        other => return format!("its certificate is not accepted: {other:?}"),
    };
    words.to_owned()
}

/// 530, 535, 538 and 5.7.8 to 5.7.13 (RFC 4954 section 6), 534, and `5.7.0` beside them.
fn is_about_our_login(code: u16, esc: [u8; 3]) -> bool {
    matches!(code, 530 | 534 | 535 | 538) || (code >= 500 && matches!(esc, [5, 7, 8..=13]))
}

/// The reply's text with its enhanced status code, in one line. A code with a part above 254 (`5.7.515`) does not fit
/// the parser's octets, so it is left out rather than told wrong.
fn text_of(reply: &Response<String>) -> String {
    let [class, subject, detail] = reply.esc;
    let text = reply.message.replace(['\r', '\n'], " ");
    if class == 0 || subject == u8::MAX || detail == u8::MAX {
        text
    } else {
        format!("{class}.{subject}.{detail} {text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16, esc: [u8; 3]) -> Response<String> {
        Response { code, esc, message: "words".to_owned() }
    }

    fn verdict(step: Step, code: u16, esc: [u8; 3]) -> &'static str {
        match judge(step, &reply(code, esc)) {
            HandOver::Accepted { .. } => "accepted",
            HandOver::Taken { .. } => "taken",
            HandOver::Refused(_) => "refused",
            HandOver::Deferred(_) => "deferred",
            HandOver::InDoubt(_) => "in doubt",
            HandOver::Unavailable(_, Trip::AtOnce) => "unavailable at once",
            HandOver::Unavailable(_, Trip::Counted) => "unavailable",
            HandOver::Unavailable(_, Trip::For(_)) => "unavailable for a while",
            HandOver::Unfit(_) => "unfit",
            HandOver::SenderRefused(_) => "sender",
        }
    }

    #[test]
    fn every_reply_has_one_meaning() {
        use Step::{Auth, Data, Dot, Ehlo, Greeting, Mail, Rcpt, Tls};
        for (step, code, esc, expected) in [
            (Greeting, 554, [0, 0, 0], "unavailable at once"),
            (Greeting, 421, [4, 3, 2], "unavailable at once"),
            (Ehlo, 502, [5, 5, 1], "unavailable at once"),
            (Tls, 454, [4, 7, 0], "unavailable at once"),
            (Auth, 535, [5, 7, 8], "unavailable at once"),
            (Auth, 454, [4, 7, 0], "unavailable at once"),
            (Mail, 421, [0, 0, 0], "unavailable"),
            (Mail, 451, [4, 3, 0], "unavailable"),
            (Mail, 454, [4, 7, 0], "unavailable"),
            (Mail, 450, [4, 1, 8], "deferred"),
            (Mail, 452, [0, 0, 0], "deferred"),
            (Mail, 530, [5, 7, 0], "unavailable at once"),
            (Mail, 550, [5, 7, 1], "sender"),
            (Mail, 553, [5, 7, 1], "sender"),
            (Mail, 554, [5, 1, 8], "sender"),
            (Mail, 550, [0, 0, 0], "sender"),
            (Mail, 550, [5, 7, 8], "unavailable at once"),
            (Mail, 552, [5, 3, 4], "refused"),
            (Mail, 552, [0, 0, 0], "refused"),
            (Mail, 501, [5, 5, 4], "refused"),
            (Mail, 501, [5, 1, 7], "sender"),
            (Mail, 503, [5, 5, 1], "unavailable"),
            (Mail, 550, [5, 6, 7], "refused"),
            (Rcpt, 550, [5, 1, 1], "refused"),
            (Rcpt, 554, [5, 7, 1], "refused"),
            (Rcpt, 450, [4, 2, 1], "deferred"),
            (Rcpt, 452, [4, 5, 3], "deferred"),
            (Rcpt, 451, [4, 7, 1], "unavailable"),
            (Rcpt, 530, [0, 0, 0], "unavailable at once"),
            (Data, 554, [5, 5, 1], "refused"),
            (Data, 250, [2, 0, 0], "unavailable"),
            (Dot, 421, [4, 4, 2], "unavailable"),
            (Dot, 451, [4, 3, 0], "unavailable"),
            (Dot, 450, [4, 2, 0], "deferred"),
            (Dot, 550, [5, 7, 1], "refused"),
            (Dot, 354, [0, 0, 0], "in doubt"),
        ] {
            assert_eq!(verdict(step, code, esc), expected, "{step:?} {code} {esc:?}");
        }
    }

    #[test]
    fn silence_is_in_doubt_only_after_the_final_dot() {
        assert!(matches!(lost(Step::Dot, &Error::Timeout), HandOver::InDoubt(_)));
        assert!(matches!(lost(Step::Dot, &Error::UnparseableReply), HandOver::InDoubt(_)));
        assert!(matches!(
            lost(Step::Data, &Error::UnparseableReply),
            HandOver::Unavailable(_, Trip::Counted)
        ));
        assert!(matches!(lost(Step::Greeting, &Error::Timeout), HandOver::Unavailable(_, Trip::AtOnce)));
    }

    #[test]
    fn references_keep_the_ids_by_which_an_operator_finds_the_message() {
        let reply = Response { code: 250, esc: [2, 0, 0], message: "Ok: queued as 4Xyz20260101".to_owned() };
        let HandOver::Accepted { reference } = accepted(&reply) else { panic!("not accepted") };
        assert_eq!(reference, "2.0.0 Ok: queued as 4Xyz20260101");
        let odd = Response { code: 550, esc: [5, 7, 255], message: "no".to_owned() };
        assert_eq!(text_of(&odd), "no");
    }
}
