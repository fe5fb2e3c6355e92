//! Between the SMTP session and the pipeline: finds out which client a session is, and turns a finished
//! transaction into a [`Submission`].
//!
//! No client, no relaying: a peer that is nobody we know gets no further than MAIL.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::client::{Gate, LoginError};
use crate::clock::Clock;
use crate::conduct::{Conduct, Manner};
use crate::ident::{ClientName, MessageId};
use crate::mail::{Address, Envelope, Message, ReversePath};
use crate::outcome::{Detail, Reply};
use crate::pipeline::Pipeline;
use crate::policy::{Origin, Submission};
use crate::queue::Queue;
use crate::secret::Secret;
use crate::smtp::{BareLf, Handler, Peer, Service, SessionFacts};
use crate::snapshot::{Current, Snapshot};

use super::code_mail::{self, Aim};

/// Makes a handler for each SMTP connection.
#[derive(Clone)]
pub struct Reception {
    current: Current,
    pipeline: Pipeline,
    queue: Arc<Queue>,
    gate: Arc<Gate>,
    conduct: Arc<Conduct>,
    clock: Clock,
}

impl Reception {
    /// A reception in front of a pipeline into `queue`. What clients are seen to do is noted in `conduct`.
    pub fn new(
        current: Current,
        pipeline: Pipeline,
        queue: Arc<Queue>,
        gate: Arc<Gate>,
        conduct: Arc<Conduct>,
        clock: Clock,
    ) -> Self {
        Self { current, pipeline, queue, gate, conduct, clock }
    }
}

impl Service for Reception {
    fn connect(&self, peer: &Peer) -> Result<Box<dyn Handler>, Reply> {
        Ok(Box::new(Visitor {
            reception: self.clone(),
            peer: peer.clone(),
            logged_in: None,
            known: self.recognises(peer),
            transaction: None,
        }))
    }
}

impl Reception {
    fn recognises(&self, peer: &Peer) -> bool {
        self.current.get().directory.recognise(&peer.listener, peer.address, None).is_some()
    }
}

/// One SMTP session.
struct Visitor {
    reception: Reception,
    peer: Peer,
    logged_in: Option<ClientName>,
    known: bool,
    transaction: Option<Transaction>,
}

/// One transaction, with the snapshot it began under.
struct Transaction {
    snapshot: Arc<Snapshot>,
    client: ClientName,
    origin: Origin,
    reverse_path: ReversePath,
    aim: Aim,
    tls: Option<&'static str>,
    logged_in: bool,
    bare_lf: bool,
}

#[async_trait]
impl Handler for Visitor {
    async fn auth(&mut self, user: &str, password: Secret) -> Result<(), Reply> {
        let snapshot = self.reception.current.get();
        let gate = &self.reception.gate;
        let result = snapshot.directory.log_in(gate, user, &password, self.peer.address).await;
        match result {
            Ok(client) => {
                self.logged_in = Some(client);
                self.known = true;
                Ok(())
            }
            Err(error) => {
                if let Some(address) = self.peer.address {
                    let listener = self.peer.listener.as_str();
                    self.reception.conduct.login_failed(address, listener, self.reception.clock.now());
                }
                Err(login_reply(error))
            }
        }
    }

    async fn mail(&mut self, facts: &SessionFacts, from: &ReversePath) -> Result<(), Reply> {
        let snapshot = self.reception.current.get();
        let Some(client) = self.client(&snapshot, facts) else {
            self.known = false;
            if let Some(address) = self.peer.address {
                let (listener, now) = (self.peer.listener.as_str(), self.reception.clock.now());
                self.reception.conduct.stranger(address, listener, &facts.helo, now);
            }
            return Err(stranger(&self.peer));
        };
        self.known = true;
        let origin = Origin {
            listener: self.peer.listener.clone(),
            peer: self.peer.address,
            helo: facts.helo.clone(),
            protocol: protocol(facts),
        };
        self.transaction = Some(Transaction {
            snapshot,
            client,
            origin,
            reverse_path: from.clone(),
            aim: Aim::Open,
            tls: facts.tls,
            logged_in: self.logged_in.is_some(),
            bare_lf: false,
        });
        Ok(())
    }

    async fn rcpt(&mut self, to: &Address) -> Result<(), Reply> {
        // Which mailbox may get what depends on what it is, and that is not known before DATA.
        let transaction = self.transaction.as_mut().ok_or_else(out_of_step)?;
        transaction.aim.add(&transaction.snapshot, &transaction.client, to)
    }

    async fn data(&mut self, recipients: Vec<Address>, message: Bytes) -> Reply {
        let Some(transaction) = self.transaction.take() else {
            return out_of_step();
        };
        let (client, name) = (transaction.client.clone(), transaction.origin.helo.clone());
        let message = Message::new(message);
        let submission = Submission {
            id: MessageId::generate(),
            accepted: self.reception.clock.now(),
            client: transaction.client,
            origin: transaction.origin,
            envelope: Envelope { reverse_path: transaction.reverse_path, recipients },
            message: message.clone(),
        };
        let Reception { pipeline, queue, .. } = &self.reception;
        let reply = match transaction.aim {
            Aim::Open | Aim::Mailboxes => pipeline.accept(&transaction.snapshot.pipeline, submission).await,
            Aim::Phone(phone) => {
                code_mail::accept(&transaction.snapshot, (pipeline, queue), phone, submission).await
            }
        };
        let manner = Manner {
            tls: transaction.tls,
            logged_in: transaction.logged_in,
            bare_lf: transaction.bare_lf,
            name: &name,
            address: self.peer.address,
        };
        self.reception.conduct.message(&client, manner, &message, &reply, self.reception.clock.now());
        reply
    }

    fn saw_bare_lf(&mut self, treatment: BareLf) {
        let Some(transaction) = &mut self.transaction else { return };
        match treatment {
            BareLf::Normalize => transaction.bare_lf = true,
            BareLf::Refuse => {
                let now = self.reception.clock.now();
                self.reception.conduct.bare_lf_refused(&transaction.client, now);
            }
        }
    }

    fn reset(&mut self) {
        self.transaction = None;
    }

    fn is_known_client(&self) -> bool {
        self.known
    }
}

impl Visitor {
    /// Who it is. A login outweighs a network; a client that a reload took away is nobody any more.
    fn client(&self, snapshot: &Snapshot, facts: &SessionFacts) -> Option<ClientName> {
        let directory = &snapshot.directory;
        let recognised =
            || directory.recognise(&self.peer.listener, self.peer.address, facts.certificate).cloned();
        let client = self.logged_in.clone().or_else(recognised)?;
        snapshot.config.policy.clients.contains_key(&client).then_some(client)
    }
}

fn login_reply(error: LoginError) -> Reply {
    match error {
        LoginError::Wrong => Reply::new(535, Detail(7, 8), "user name or password is wrong"),
        LoginError::Busy => Reply::new(454, Detail(7, 0), "too many logins at this moment, try again"),
        LoginError::BackOff(wait) => {
            let seconds = wait.as_secs().max(1);
            Reply::new(454, Detail(7, 0), format!("too many failed logins, try again in {seconds} s"))
        }
    }
}

fn stranger(peer: &Peer) -> Reply {
    let from = peer.address.map_or_else(|| "this peer".to_owned(), |address| address.to_string());
    let text = format!("authentication required: {from} is no known client on listener {}", peer.listener);
    Reply::new(530, Detail(7, 0), text)
}

fn out_of_step() -> Reply {
    Reply::new(503, Detail(5, 1), "no transaction is open")
}

/// The protocol name for the Received field (RFC 3848).
fn protocol(facts: &SessionFacts) -> &'static str {
    match (facts.extended, facts.tls.is_some(), facts.user.is_some()) {
        (false, _, _) => "SMTP",
        (true, false, false) => "ESMTP",
        (true, true, false) => "ESMTPS",
        (true, false, true) => "ESMTPA",
        (true, true, true) => "ESMTPSA",
    }
}
