//! One mail transaction in a session: MAIL, RCPT, DATA (RFC 5321 section 4.1.1).

use std::sync::Arc;

use tracing::debug;

use crate::mail::{Address, ReversePath};
use crate::outcome::{Detail, Reply};
use crate::smtp::BareLf;
use crate::smtp::command::{Mail, needs_smtputf8};
use crate::smtp::connection::End;
use crate::smtp::receive::{LineEnds, Received, make_room, no_memory, receive, too_big};

use super::{Session, Transaction, guarded, out_of_order};

impl Session {
    pub(super) async fn mail(&mut self, mail: Mail) -> Result<(), End> {
        if !self.has_said_hello {
            return self.answer(&out_of_order("EHLO comes first"));
        }
        if self.transaction.is_some() {
            return self.answer(&out_of_order("MAIL was given already"));
        }
        let limit = self.limits().message_size;
        if mail.size.is_some_and(|size| size > limit) {
            return self.answer(&too_big(limit));
        }
        let from = match &mail.from {
            ReversePath::Null => "<>".to_owned(),
            ReversePath::Address(address) => address.masked(),
        };
        match guarded(self.handler.mail(&self.facts, &mail.from)).await? {
            Ok(()) => {
                debug!(from, "MAIL");
                self.connection.begin_transaction();
                self.transaction = Some(Transaction { smtputf8: mail.smtputf8, recipients: Vec::new() });
                self.answer(&Reply::new(250, Detail(1, 0), "sender ok"))
            }
            Err(reply) => {
                self.record(&reply);
                self.pass_on(&reply)
            }
        }
    }

    pub(super) async fn rcpt(&mut self, to: Address) -> Result<(), End> {
        let limit = self.limits().recipients;
        let Some(transaction) = &mut self.transaction else {
            return self.answer(&out_of_order("MAIL comes first"));
        };
        if !to.is_ascii() && !transaction.smtputf8 {
            return self.answer(&needs_smtputf8());
        }
        let welcome = Reply::new(250, Detail(1, 5), "recipient ok");
        if transaction.recipients.contains(&to) {
            return self.answer(&welcome);
        }
        if transaction.recipients.len() >= limit {
            // No error of the client's: RFC 5321 section 4.5.3.1.10 has it send the message to those it has.
            let reply = Reply::new(452, Detail(5, 3), "too many recipients");
            self.record(&reply);
            self.connection.queue(&reply);
            return Ok(());
        }
        match guarded(self.handler.rcpt(&to)).await? {
            Ok(()) => {
                debug!(to = to.masked(), "RCPT");
                transaction.recipients.push(to);
                self.answer(&welcome)
            }
            Err(reply) => {
                self.record(&reply);
                self.pass_on(&reply)
            }
        }
    }

    pub(super) async fn data(&mut self) -> Result<(), End> {
        match &self.transaction {
            None => return self.answer(&out_of_order("MAIL comes first")),
            Some(transaction) if transaction.recipients.is_empty() => {
                return self.answer(&Reply::new(554, Detail(5, 1), "no valid recipients"));
            }
            Some(transaction) => self.attempt.to(transaction.recipients.first()),
        }
        let bare_lf = self.setting.listener.bare_lf.unwrap_or_else(|| {
            if self.handler.is_known_client() { BareLf::Normalize } else { BareLf::Refuse }
        });
        // Clones of cheap handles, so that the message's room borrows nothing of the session.
        let (server, config) = (self.setting.server.clone(), Arc::clone(&self.setting.config));
        let Some(room) = make_room(server.budget(), &config.limits) else {
            self.reset();
            return self.answer(&no_memory());
        };
        self.connection.queue(&Reply::plain(354, ["end with <CR><LF>.<CR><LF>"]));
        let (received, line_ends) = receive(&mut self.connection, room, bare_lf).await?;
        if line_ends == LineEnds::BareLf {
            self.handler.saw_bare_lf(bare_lf);
        }
        match received {
            Received::Message(message, share) => {
                let octets = message.len();
                let recipients = self.transaction.take().map(|all| all.recipients).unwrap_or_default();
                let reply = guarded(self.handler.data(recipients, message)).await?;
                drop(share);
                debug!(octets, code = reply.code(), "DATA");
                if reply.is_temporary() {
                    self.record(&reply);
                }
                self.tally.messages += 1;
                if reply.is_positive() {
                    self.tally.errors = 0;
                }
                self.reset();
                self.pass_on(&reply)?;
                // Not at the next MAIL: a client that asks with NOOP whether the connection is good would lose that one.
                if self.tally.messages >= self.limits().messages_per_connection {
                    return Err(End::TooManyMessages);
                }
                Ok(())
            }
            Received::Refused(reply) => {
                self.reset();
                self.answer(&reply)
            }
            Received::Cut(reply) => self.end_with(&reply),
        }
    }
}
