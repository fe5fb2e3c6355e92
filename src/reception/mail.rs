//! Between the SMTP session and the pipeline: finds out which client a session is, and turns a finished
//! transaction into a [`Submission`].
//!
//! No client, no relaying: a peer that is nobody we know gets no further than MAIL.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::client::{Gate, LoginError};
use crate::clock::Clock;
use crate::ident::{ClientName, MessageId};
use crate::mail::{Address, Envelope, Message, ReversePath};
use crate::outcome::{Detail, Reply};
use crate::pipeline::Pipeline;
use crate::policy::{Origin, Submission};
use crate::secret::Secret;
use crate::smtp::{Handler, Peer, Service, SessionFacts};
use crate::snapshot::{Current, Snapshot};

/// Makes a handler for each SMTP connection.
#[derive(Clone)]
pub struct Reception {
    current: Current,
    pipeline: Pipeline,
    gate: Arc<Gate>,
    clock: Clock,
}

impl Reception {
    /// A reception in front of a pipeline.
    pub fn new(current: Current, pipeline: Pipeline, gate: Arc<Gate>, clock: Clock) -> Self {
        Self { current, pipeline, gate, clock }
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
                let peer = self.peer.address.map_or_else(|| "-".to_owned(), |address| address.to_string());
                tracing::warn!(target: "authrelay::auth", peer, listener = %self.peer.listener, %error, "login failed");
                Err(login_reply(error))
            }
        }
    }

    async fn mail(&mut self, facts: &SessionFacts, from: &ReversePath) -> Result<(), Reply> {
        let snapshot = self.reception.current.get();
        let Some(client) = self.client(&snapshot, facts) else {
            self.known = false;
            return Err(stranger(&self.peer));
        };
        self.known = true;
        let origin = Origin {
            listener: self.peer.listener.clone(),
            peer: self.peer.address,
            helo: facts.helo.clone(),
            protocol: protocol(facts),
        };
        self.transaction = Some(Transaction { snapshot, client, origin, reverse_path: from.clone() });
        Ok(())
    }

    async fn rcpt(&mut self, _to: &Address) -> Result<(), Reply> {
        // Who may get what depends on what it is, and that is not known before DATA.
        self.transaction.is_some().then_some(()).ok_or_else(out_of_step)
    }

    async fn data(&mut self, recipients: Vec<Address>, message: Bytes) -> Reply {
        let Some(transaction) = self.transaction.take() else {
            return out_of_step();
        };
        let submission = Submission {
            id: MessageId::generate(),
            accepted: self.reception.clock.now(),
            client: transaction.client,
            origin: transaction.origin,
            envelope: Envelope { reverse_path: transaction.reverse_path, recipients },
            message: Message::new(message),
        };
        self.reception.pipeline.accept(&transaction.snapshot.pipeline, submission).await
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
