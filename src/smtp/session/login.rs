//! AUTH in a session: when it may be given, and what comes of it (RFC 4954).
//!
//! Neither the name nor the password is ever logged.

use tracing::debug;

use crate::outcome::{Detail, Reply};
use crate::secret::Secret;
use crate::smtp::connection::{Busy, End};
use crate::smtp::line::{Expect, Line};
use crate::smtp::sasl::{self, Credentials, Mechanism, Step};

use super::{Session, bare_line_feed, closing, guarded, out_of_order};

impl Session {
    pub(super) async fn auth(&mut self, mechanism: Mechanism, initial: Option<Secret>) -> Result<(), End> {
        if !self.has_said_hello {
            return self.answer(&out_of_order("EHLO comes first"));
        }
        if self.facts.user.is_some() {
            return self.answer(&out_of_order("logged in already"));
        }
        if self.transaction.is_some() {
            return self.answer(&out_of_order("AUTH is not allowed inside a transaction"));
        }
        if !self.may_auth() {
            return self.answer(&Reply::new(538, Detail(7, 11), "encryption is required for authentication"));
        }
        let Credentials { user, password } = match self.exchange(mechanism, initial).await? {
            Ok(credentials) => credentials,
            Err(reply) => {
                if reply.code() != 535 {
                    self.record(&reply);
                }
                return self.auth_failed(&reply);
            }
        };
        match guarded(self.handler.auth(&user, password)).await? {
            Ok(()) => {
                debug!("logged in");
                self.setting.server.stats().logged_in.one();
                self.facts.user = Some(user);
                self.answer(&Reply::new(235, Detail(7, 0), "authentication succeeded"))
            }
            Err(reply) => self.auth_failed(&reply),
        }
    }

    /// The exchange of challenges and responses, to credentials or to the reply that ends it.
    async fn exchange(
        &mut self,
        mechanism: Mechanism,
        initial: Option<Secret>,
    ) -> Result<Result<Credentials, Reply>, End> {
        self.connection.begin_transaction();
        let mut step = sasl::begin(mechanism, initial.as_ref().map(Secret::reveal));
        loop {
            let (challenge, exchange) = match step {
                Step::Ask(challenge, exchange) => (challenge, exchange),
                Step::Presented(credentials) => return Ok(Ok(credentials)),
                Step::Failed(reply) => return Ok(Err(reply)),
            };
            self.connection.queue(&challenge);
            step = match self.connection.read_line(Expect::AuthResponse, Busy::InTransaction).await? {
                Line::Whole(line) => exchange.answer(&line),
                Line::Broken => Step::Failed(Reply::new(501, Detail(5, 2), "this is not base64")),
                Line::TooLong => Step::Failed(Reply::new(500, Detail(5, 6), "line too long")),
                Line::BareLf => return self.end_with(&bare_line_feed()),
                Line::Flood | Line::ClientHello => return Err(End::NotSmtp),
            };
        }
    }

    fn auth_failed(&mut self, reply: &Reply) -> Result<(), End> {
        // What was no credentials is told among the refusals.
        if matches!(reply.code(), 454 | 535) {
            self.setting.server.failed_logins().log_login(&self.setting.peer, reply);
        }
        self.tally.auth_failures += 1;
        self.setting.server.stats().not_logged_in.one();
        self.send(reply)?;
        closing(reply)?;
        if self.tally.auth_failures >= self.limits().auth_failures {
            return Err(End::TooManyAuthFailures);
        }
        Ok(())
    }
}
