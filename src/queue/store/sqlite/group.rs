//! One transaction of the writer, but for its commit: the jobs of a group.
//!
//! Jobs are made together: a savepoint for each would keep a copy of every page that it changes, only to throw it away.
//! Where one fails, which is rare, all is undone and made once more, each in a savepoint of its own, so that the one that
//! fails is undone alone.

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

/// What the jobs of a group stand to each other as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bond {
    /// One that fails takes all with it.
    Together,
    /// One that fails is undone alone.
    Apart,
}

/// What jobs are made with.
pub(super) struct Bench<'a> {
    pub(super) conn: &'a Connection,
    pub(super) keyring: &'a Keyring,
    pub(super) audience: Arc<Audience>,
    pub(super) now: Timestamp,
}

/// What was made of a group, to be committed.
#[derive(Default)]
pub(super) struct Group {
    /// The answers, a job each.
    pub(super) made: Vec<Made>,
    /// What to look for should the commit's fate not be known.
    pub(super) doubtful: Doubtful,
    /// Something was erased.
    pub(super) erased: bool,
    /// Who else has something to do afterwards.
    pub(super) stirs: Stirs,
}

/// What has to be taken out again if a commit of unknown fate turns out to have been made.
#[derive(Default)]
pub(super) struct Doubtful {
    puts: Vec<MessageId>,
    claims: Vec<Leased>,
}

impl Bench<'_> {
    /// Begins a transaction and makes the jobs in it. After an error nothing of it is left.
    pub(super) fn make(
        &self,
        jobs: &[Job],
        bond: Bond,
        turns: &mut Turns,
        mut beat: impl FnMut(),
    ) -> Result<Group, StoreError> {
        step(self.conn, "BEGIN IMMEDIATE")?;
        let mut group = Group::default();
        for job in jobs {
            let made = self.one(job, bond, turns, &mut group).inspect_err(|_| {
                if !self.conn.is_autocommit() {
                    let _ = step(self.conn, "ROLLBACK");
                }
            })?;
            group.made.push(made);
            beat();
        }
        Ok(group)
    }

    /// Makes one job. An error is the whole transaction's.
    fn one(&self, job: &Job, bond: Bond, turns: &mut Turns, group: &mut Group) -> Result<Made, StoreError> {
        Ok(match job {
            Job::Commit { changes, .. } => {
                let puts = group.doubtful.puts.len();
                let result = self.bound(bond, group, |group, work| self.apply(group, work, changes))?;
                if result.is_err() {
                    group.doubtful.puts.truncate(puts);
                }
                Made::Commit(result.map(|(applied, _)| applied))
            }
            Job::Claim { request, .. } => {
                let (result, events) = match self.bound(bond, group, |_, work| work.claim(request, turns))? {
                    Ok((leased, events)) => (Ok(leased), events),
                    Err(error) => (Err(error), Vec::new()),
                };
                group.doubtful.claims.extend(result.iter().flatten());
                Made::Claim(result, events)
            }
        })
    }

    /// Does the work of a job. The outer error is that of the transaction, the inner one the job's own.
    fn bound<T>(
        &self,
        bond: Bond,
        group: &mut Group,
        job: impl FnOnce(&mut Group, &mut Work<'_>) -> Result<T, StoreError>,
    ) -> Result<Result<(T, Vec<crate::event::Event>), StoreError>, StoreError> {
        let mut work = Work::new(self.conn, self.keyring, Arc::clone(&self.audience));
        let made = match bond {
            Bond::Together => Ok(job(group, &mut work)?),
            Bond::Apart => step(self.conn, "SAVEPOINT job")
                .and_then(|()| job(group, &mut work))
                .and_then(|made| step(self.conn, "RELEASE job").map(|()| made)),
        };
        match made {
            Ok(made) => {
                group.erased |= work.erased;
                group.stirs.add(work.stirs);
                Ok(Ok((made, work.events)))
            }
            Err(error) => {
                // A full disk or an I/O error has taken the whole transaction with it. What can't be undone alone must
                // not be committed either.
                let undone = self.conn.execute_batch("ROLLBACK TO job; RELEASE job");
                if undone.is_err() || self.conn.is_autocommit() { Err(error) } else { Ok(Err(error)) }
            }
        }
    }

    fn apply(
        &self,
        group: &mut Group,
        work: &mut Work<'_>,
        changes: &[Prepared],
    ) -> Result<Vec<Applied>, StoreError> {
        let mut applied = Vec::with_capacity(changes.len());
        for change in changes {
            let effect = match change {
                Prepared::Put(put) => {
                    group.doubtful.puts.extend(put.rows.iter().map(|row| row.new.entry.id));
                    work.put(put)?
                }
                Prepared::Settle(settle) => work.settle(settle.as_ref().clone())?,
                Prepared::Mark { id, lease, upstream } => work.mark(*id, *lease, upstream)?,
                Prepared::GiveBack { id, lease, next_attempt, reason } => {
                    work.give_back(*id, *lease, *next_attempt, reason.clone())?
                }
                Prepared::Operate { id, operation, at } => work.operate(*id, *operation, *at)?,
                Prepared::OperateBurst { burst, operation, at, limit } => {
                    work.operate_burst(burst, *operation, *at, *limit)?
                }
                Prepared::Report(report) => work.report(report)?,
                Prepared::Postpone { id, until } => work.postpone(*id, *until)?,
                Prepared::Feedback(feedback) => work.feedback(feedback)?,
                Prepared::Expire { now, limit } => work.expire(*now, *limit)?,
                Prepared::Record(events) => work.record_all(events)?,
                Prepared::Prune { before, archive, limit } => {
                    work.prune(*before, *archive, self.now, *limit)?
                }
                Prepared::Announce(news) => work.announce(news.as_ref().clone())?,
                Prepared::Outbox(change) => work.change_outbox(change)?,
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
