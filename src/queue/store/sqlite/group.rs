//! One transaction of the writer: the jobs of a group, each in its own savepoint.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::change::{Stirs, Work};
use super::claim::{Leased, Turns};
use super::outbox;
use super::prepare::Prepared;
use super::row::failed;
use super::writer::{Job, Made};
use crate::clock::Timestamp;
use crate::ident::MessageId;
use crate::queue::keyring::Keyring;
use crate::queue::store::outbox::Audience;
use crate::queue::store::{Applied, StoreError};

/// A group under way.
pub(super) struct Group<'a> {
    conn: &'a Connection,
    keyring: &'a Keyring,
    audience: Arc<Audience>,
    now: Timestamp,
    /// What was made so far, with its answers.
    pub(super) made: Vec<Made>,
    /// What to look for should the commit's fate not be known.
    pub(super) doubtful: Doubtful,
    /// Something was erased.
    pub(super) erased: bool,
    /// Who else has something to do afterwards.
    pub(super) stirs: Stirs,
    /// The whole transaction is gone, and why.
    pub(super) lost: Option<StoreError>,
}

/// What has to be taken out again if a commit of unknown fate turns out to have been made.
#[derive(Default)]
pub(super) struct Doubtful {
    puts: Vec<MessageId>,
    claims: Vec<Leased>,
}

impl<'a> Group<'a> {
    /// A group in a transaction that was begun just now.
    pub(super) fn new(
        conn: &'a Connection,
        keyring: &'a Keyring,
        audience: Arc<Audience>,
        now: Timestamp,
    ) -> Self {
        Self {
            conn,
            keyring,
            audience,
            now,
            made: Vec::new(),
            doubtful: Doubtful::default(),
            erased: false,
            stirs: Stirs::default(),
            lost: None,
        }
    }

    /// Makes one job. Where it fails it is undone alone.
    pub(super) fn make(&mut self, job: Job, turns: &mut Turns) {
        if let Some(error) = &self.lost {
            return job.refuse(error.clone());
        }
        match job {
            Job::Commit { changes, answer, .. } => {
                let puts = self.doubtful.puts.len();
                let result =
                    self.savepoint(|group, work| group.apply(work, changes)).map(|(applied, _)| applied);
                if result.is_err() {
                    self.doubtful.puts.truncate(puts);
                }
                self.made.push(Made::Commit(answer, result));
            }
            Job::Claim { request, answer } => {
                let result = self.savepoint(|_, work| work.claim(&request, turns));
                let (result, events) = match result {
                    Ok((leased, events)) => (Ok(leased), events),
                    Err(error) => (Err(error), Vec::new()),
                };
                self.doubtful.claims.extend(result.iter().flatten());
                self.made.push(Made::Claim(answer, result, events));
            }
        }
    }

    fn savepoint<T>(
        &mut self,
        job: impl FnOnce(&mut Self, &mut Work<'a>) -> Result<T, StoreError>,
    ) -> Result<(T, Vec<crate::event::Event>), StoreError> {
        let mut work = Work::new(self.conn, self.keyring, Arc::clone(&self.audience));
        let made = step(self.conn, "SAVEPOINT job")
            .and_then(|()| job(self, &mut work))
            .and_then(|made| step(self.conn, "RELEASE job").map(|()| made));
        match made {
            Ok(made) => {
                self.erased |= work.erased;
                self.stirs.add(work.stirs);
                Ok((made, work.events))
            }
            Err(error) => {
                // A full disk or an I/O error has taken the whole transaction with it. What can't be undone alone must
                // not be committed either.
                let undone = self.conn.execute_batch("ROLLBACK TO job; RELEASE job");
                if undone.is_err() || self.conn.is_autocommit() {
                    let _ = step(self.conn, "ROLLBACK");
                    self.lost = Some(error.clone());
                }
                Err(error)
            }
        }
    }

    fn apply(&mut self, work: &mut Work<'a>, changes: Vec<Prepared>) -> Result<Vec<Applied>, StoreError> {
        let mut applied = Vec::with_capacity(changes.len());
        for change in changes {
            let effect = match change {
                Prepared::Put(put) => {
                    self.doubtful.puts.extend(put.rows.iter().map(|row| row.new.entry.id));
                    work.put(&put)?
                }
                Prepared::Settle(settle) => work.settle(*settle)?,
                Prepared::Mark { id, lease, upstream } => work.mark(id, lease, &upstream)?,
                Prepared::GiveBack { id, lease, next_attempt, reason } => {
                    work.give_back(id, lease, next_attempt, reason)?
                }
                Prepared::Operate { id, operation, at } => work.operate(id, operation, at)?,
                Prepared::OperateBurst { burst, operation, at, limit } => {
                    work.operate_burst(&burst, operation, at, limit)?
                }
                Prepared::Report(report) => work.report(&report)?,
                Prepared::Postpone { id, until } => work.postpone(id, until)?,
                Prepared::Feedback(feedback) => work.feedback(&feedback)?,
                Prepared::Expire { now, limit } => work.expire(now, limit)?,
                Prepared::Record(events) => work.record_all(events)?,
                Prepared::Prune { before, archive, limit } => work.prune(before, archive, self.now, limit)?,
                Prepared::Announce(news) => work.announce(*news)?,
                Prepared::Outbox(change) => work.change_outbox(&change)?,
            };
            applied.push(work.applied(effect));
        }
        Ok(applied)
    }
}

/// Takes out what a commit of unknown fate may have made, should it be there, and makes the transaction write
/// something in any case.
pub(super) fn take_out(conn: &Connection, doubtful: &Doubtful) -> Result<(), StoreError> {
    let count = "INSERT INTO meta (name, value) VALUES ('doubts', X'01') \
                 ON CONFLICT DO UPDATE SET value = randomblob(8)";
    conn.execute(count, []).map_err(failed)?;
    for id in &doubtful.puts {
        let sql = "SELECT number, payload FROM message WHERE id = ?1";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?));
        let found = conn.query_row(sql, [id.as_bytes()], read).optional().map_err(failed)?;
        let Some((number, payload)) = found else { continue };
        conn.execute("DELETE FROM event WHERE message = ?1", [number]).map_err(failed)?;
        conn.execute("DELETE FROM message WHERE number = ?1", [number]).map_err(failed)?;
        conn.execute("DELETE FROM idempotency WHERE message = ?1", [id.as_bytes()]).map_err(failed)?;
        outbox::take_out(conn, *id).map_err(failed)?;
        // All rows of its submission go, so no other row needs the payload.
        conn.execute("DELETE FROM payload_refs WHERE payload = ?1", [payload]).map_err(failed)?;
        conn.execute("UPDATE payload SET plan = NULL, body = NULL WHERE number = ?1", [payload])
            .map_err(failed)?;
    }
    for claim in &doubtful.claims {
        let sql = "UPDATE message SET state = 0, lease = NULL, ends = expires \
                   WHERE number = ?1 AND state = 1 AND lease = ?2";
        conn.execute(sql, params![claim.number, claim.lease.as_millis()]).map_err(failed)?;
    }
    Ok(())
}

/// Runs one statement without parameters.
pub(super) fn step(conn: &Connection, sql: &str) -> Result<(), StoreError> {
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    statement.execute([]).map(drop).map_err(failed)
}
