//! A row of `message` as the rest of the store works with it, and the small conversions between columns and meaning.
//!
//! A row whose sealed columns don't open is a value like any other, marked as damaged: one bad row never stands in the
//! way of the others.

use std::sync::LazyLock;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row};
use serde::{Deserialize, Serialize};

use super::sound::WAY_OUT;
use crate::clock::Timestamp;
use crate::ident::{BusinessName, CategoryName, Class, ClientName, MessageId, UpstreamName};
use crate::mail::{Address, Recipient};
use crate::outcome::Reason;
use crate::queue::keyring::{Keyring, SealError};
use crate::queue::store::StoreError;
use crate::queue::{Entry, State};

/// The columns [`Stored::read`] expects first, in order.
///
/// The number of a text stands beside its code, in `payload`, whose rows leave nothing behind (see `erase`).
pub(super) const COLUMNS: &str = "m.number, m.id, m.submission, m.client, m.business, m.category, m.rule, m.class, \
     CASE WHEN m.recipient <> X'' THEN m.recipient \
     ELSE (SELECT body FROM payload WHERE payload.number = m.payload) END, \
     m.application_id, m.accepted, m.expires, m.next_attempt, m.attempts, m.in_doubt, m.state, \
     m.outcome, m.upstream, m.lease, m.marked, m.payload, m.superseded_by, m.report_to, m.kind, m.resent, m.polls, \
     m.next_poll";

/// How many they are.
pub(super) const COLUMN_COUNT: usize = 27;

/// The names of the sealed columns, as authenticated with what is in them.
pub(super) mod sealed {
    pub(in super::super) const RECIPIENT: &str = "message.recipient";
    pub(in super::super) const APPLICATION_ID: &str = "message.application_id";
    pub(in super::super) const REPORT_TO: &str = "message.report_to";
    pub(in super::super) const OUTCOME: &str = "message.outcome";
    pub(in super::super) const PLAN: &str = "payload.plan";
    pub(in super::super) const BODY: &str = "payload.body";
    pub(in super::super) const PACKED: &str = "payload.packed";
    pub(in super::super) const DETAIL: &str = "event.detail";
    pub(in super::super) const NOTICE: &str = "outbox.notice";
    pub(in super::super) const DECISION: &str = "archive.decision";
}

/// What kind of message a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Medium {
    Mail,
    Text,
}

impl Medium {
    /// Its number in the table.
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Mail => 0,
            Self::Text => 1,
        }
    }

    /// What a number in the table means.
    pub(super) fn from(number: i64) -> Self {
        if number == 0 { Self::Mail } else { Self::Text }
    }
}

/// One row of `message`.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    /// Its number in the table.
    pub(super) number: i64,
    /// What the rest of the crate knows of it.
    pub(super) entry: Entry,
    /// When its lease ends, while it is attempted.
    pub(super) lease: Option<Timestamp>,
    /// An attempt is being made that must not be repeated after a crash.
    pub(super) marked: bool,
    /// Its payload, while it is kept.
    pub(super) payload: Option<i64>,
    /// The newer message that waits for the end of this attempt, or because of which a text is not sent again.
    pub(super) superseded_by: Option<MessageId>,
    pub(super) medium: Medium,
    /// How often a report had it sent again.
    pub(super) resent: u32,
    /// How often its provider was asked what became of it.
    pub(super) polls: u32,
    /// When its provider is asked next.
    pub(super) next_poll: Option<Timestamp>,
    /// Its recipient could not be opened; the entry names a stand-in.
    pub(super) damaged: bool,
}

/// What a row keeps sealed of its last attempt.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) reason: Option<Reason>,
    pub(super) reference: Option<String>,
}

impl Stored {
    /// Reads a row that starts with [`COLUMNS`].
    pub(super) fn read(row: &Row<'_>, keyring: &Keyring) -> rusqlite::Result<Self> {
        let id = MessageId::from_bytes(row.get(1)?);
        let open = |index: usize, column: &str| -> rusqlite::Result<Option<_>> {
            let sealed = row.get_ref(index)?.as_blob_or_null()?;
            Ok(sealed.map(|sealed| keyring.open(column, id.as_bytes(), sealed)))
        };
        let recipient = match open(8, sealed::RECIPIENT)? {
            Some(Ok(bytes)) => serde_json::from_slice::<Recipient>(&bytes).ok(),
            Some(Err(_)) | None => None,
        };
        let medium = Medium::from(row.get(23)?);
        let payload: Option<i64> = row.get(20)?;
        // What a text leaves behind is no number.
        let recipient =
            if medium == Medium::Text && payload.is_none() { Some(Recipient::Forgotten) } else { recipient };
        let application_id = match open(9, sealed::APPLICATION_ID)? {
            Some(Ok(bytes)) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Some(Err(_)) | None => None,
        };
        let report_to = match open(22, sealed::REPORT_TO)? {
            Some(Ok(bytes)) => std::str::from_utf8(&bytes).ok().and_then(|text| Address::parse(text).ok()),
            Some(Err(_)) | None => None,
        };
        let told: Told = match open(16, sealed::OUTCOME)? {
            Some(Ok(bytes)) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Some(Err(_)) | None => Told::default(),
        };
        let name = |index: usize| row.get_ref(index)?.as_str_or_null().map_err(rusqlite::Error::from);
        let entry = Entry {
            id,
            submission: MessageId::from_bytes(row.get(2)?),
            client: ClientName::new(name(3)?.unwrap_or_default()),
            business: name(4)?.map(BusinessName::new),
            category: CategoryName::new(name(5)?.unwrap_or_default()),
            rule: row.get(6)?,
            class: class_from(row.get(7)?),
            recipient: recipient.clone().unwrap_or_else(|| NOBODY.clone()),
            application_id,
            report_to,
            accepted: time(row.get(10)?),
            expires: time(row.get(11)?),
            next_attempt: time(row.get(12)?),
            attempts: row.get(13)?,
            in_doubt: row.get(14)?,
            state: state_from(row.get(15)?)?,
            reason: told.reason,
            upstream: name(17)?.map(UpstreamName::new),
            reference: told.reference,
        };
        Ok(Self {
            number: row.get(0)?,
            entry,
            lease: row.get::<_, Option<i64>>(18)?.map(time),
            marked: row.get(19)?,
            payload,
            superseded_by: row.get::<_, Option<[u8; 16]>>(21)?.map(MessageId::from_bytes),
            medium,
            resent: row.get(24)?,
            polls: row.get(25)?,
            next_poll: row.get::<_, Option<i64>>(26)?.map(time),
            damaged: recipient.is_none(),
        })
    }

    /// The row with this id.
    pub(super) fn by_id(
        conn: &Connection,
        keyring: &Keyring,
        id: MessageId,
    ) -> Result<Option<Self>, StoreError> {
        static SQL: LazyLock<String> =
            LazyLock::new(|| format!("SELECT {COLUMNS} FROM message m WHERE m.id = ?1"));
        let mut statement = conn.prepare_cached(&SQL).map_err(failed)?;
        statement.query_row([id.as_bytes()], |row| Self::read(row, keyring)).optional().map_err(failed)
    }
}

/// Stands in for a recipient that could not be opened, so that the row can still be shown, ended and told.
static NOBODY: LazyLock<Recipient> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "a constant that the parser's own tests would catch")]
    let address = Address::parse("unreadable@invalid.invalid").expect("a valid address");
    Recipient::Mail(address)
});

/// A state's number in the table.
pub(super) fn state_number(state: State) -> i64 {
    (0..).zip(State::ALL).find(|(_, other)| *other == state).map_or(-1, |(number, _)| number)
}

fn state_from(number: i64) -> rusqlite::Result<State> {
    let state = usize::try_from(number).ok().and_then(|index| State::ALL.get(index));
    state.copied().ok_or(rusqlite::Error::IntegralValueOutOfRange(15, number))
}

/// A lane's number in the table, which is its place in [`Class::ALL`].
pub(super) fn class_number(class: Class) -> i64 {
    match class {
        Class::Urgent => 0,
        Class::Normal => 1,
    }
}

fn class_from(number: i64) -> Class {
    if number == 0 { Class::Urgent } else { Class::Normal }
}

/// A time as stored.
pub(super) fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// Times, ids and texts that may be missing, for a parameter list.
pub(super) fn or_null<T: Into<Value>>(value: Option<T>) -> Value {
    value.map_or(Value::Null, Into::into)
}

/// What a failure of the database is to the caller.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn failed(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => StoreError::Full,
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
            StoreError::Failed(format!("{error}: {WAY_OUT}"))
        }
        _ => StoreError::Failed(error.to_string()),
    }
}

/// Sealing fails only without random bytes.
pub(super) fn not_sealed(error: SealError) -> StoreError {
    StoreError::Failed(error.to_string())
}

/// Our own types always have a JSON form.
pub(super) fn json<T: Serialize>(value: &T) -> Result<zeroize::Zeroizing<Vec<u8>>, StoreError> {
    serde_json::to_vec(value)
        .map(zeroize::Zeroizing::new)
        .map_err(|error| StoreError::Failed(error.to_string()))
}
