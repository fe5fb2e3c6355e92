-- Schema version 1. Times are milliseconds since 1970 UTC; ids are 16 bytes; "sealed" is AEAD, see queue::keyring.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- What is handed over, once a submission. Erased by setting both to NULL, never by deleting the row: see erase.rs.
CREATE TABLE payload (
    number INTEGER PRIMARY KEY,
    plan   BLOB, -- sealed: a mail's plan, or all of a text message
    body   BLOB  -- sealed: a mail's bytes
) STRICT;

-- How many rows still need a payload, where it is not one.
CREATE TABLE payload_refs (
    payload INTEGER PRIMARY KEY,
    refs    INTEGER NOT NULL
) STRICT;

-- One message to one recipient.
CREATE TABLE message (
    number         INTEGER PRIMARY KEY,
    id             BLOB NOT NULL UNIQUE,
    submission     BLOB NOT NULL,
    kind           INTEGER NOT NULL, -- 0 mail, 1 text message
    class          INTEGER NOT NULL, -- 0 urgent, 1 normal
    state          INTEGER NOT NULL, -- State::ALL
    client         TEXT NOT NULL,
    business       TEXT,
    category       TEXT NOT NULL,
    rule           TEXT NOT NULL,
    recipient      BLOB NOT NULL,    -- sealed
    recipient_key  BLOB NOT NULL,
    application_id BLOB,             -- sealed
    report_to      BLOB,             -- sealed: who gets a report if it fails
    supersede_key  BLOB,
    superseded_by  BLOB,             -- the newer message that waits for this attempt
    waits_for      BLOB,             -- the older message whose attempt has to end first
    dedupe_key     BLOB,
    accepted       INTEGER NOT NULL,
    expires        INTEGER NOT NULL,
    next_attempt   INTEGER NOT NULL,
    attempts       INTEGER NOT NULL,
    in_doubt       INTEGER NOT NULL,
    marked         INTEGER NOT NULL, -- 1: an attempt is being made that must not be repeated after a crash
    lease          INTEGER,          -- while attempting: when it ends; it also names the lease
    ends           INTEGER,          -- when its life is to be ended; NULL once that is done
    ended          INTEGER,          -- when it reached its end
    outcome        BLOB,             -- sealed: reason and reference
    upstream       TEXT,
    payload        INTEGER,          -- NULL once it can no longer be sent
    size           INTEGER NOT NULL  -- weight of the payload in memory
) STRICT;

-- A query uses a partial index only where it repeats its condition word for word. Each holds all that a count asks.
-- Claims: turns by client, then by time.
CREATE INDEX message_due ON message (class, client, next_attempt, expires, accepted, state, waits_for)
    WHERE state = 0 AND waits_for IS NULL;
CREATE INDEX message_waiting ON message (class, accepted, state, waits_for) WHERE state = 0 AND waits_for IS NOT NULL;
CREATE INDEX message_leased ON message (class, lease, accepted, state) WHERE state = 1;
CREATE INDEX message_held ON message (state) WHERE state = 2;
CREATE INDEX message_suppressed ON message (state) WHERE state = 3;
CREATE INDEX message_releasable ON message (state, ends) WHERE state = 3 AND ends IS NOT NULL;
CREATE INDEX message_ends ON message (ends) WHERE ends IS NOT NULL;
CREATE INDEX message_ended ON message (ended) WHERE ended IS NOT NULL;
CREATE INDEX message_submission ON message (submission) WHERE submission <> id;
CREATE INDEX message_recipient ON message (recipient_key);
CREATE INDEX message_supersede ON message (supersede_key) WHERE supersede_key IS NOT NULL AND ended IS NULL;
CREATE INDEX message_dedupe ON message (dedupe_key, accepted) WHERE dedupe_key IS NOT NULL;

-- What happened, and the outbox of webhooks: numbers only ever grow. An event about a stored message keeps only what
-- the message's row does not say.
CREATE TABLE event (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         BLOB NOT NULL,
    kind       INTEGER NOT NULL, -- see event.rs
    at         INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    message    INTEGER,          -- message.number
    message_id BLOB,             -- where there is no row: the ids it belongs to
    submission BLOB,
    recipient_key BLOB,
    detail     BLOB              -- sealed: reason, upstream, reference; without a row: the whole event
) STRICT;

CREATE INDEX event_message ON event (message) WHERE message IS NOT NULL;
CREATE INDEX event_message_id ON event (message_id) WHERE message IS NULL;
CREATE INDEX event_submission ON event (submission) WHERE message IS NULL;
CREATE INDEX event_recipient ON event (recipient_key) WHERE message IS NULL;
CREATE INDEX event_at ON event (at);

-- Counters that guard money or people.
CREATE TABLE counter (
    key          BLOB NOT NULL,
    window_start INTEGER NOT NULL,
    window_end   INTEGER NOT NULL,
    amount       INTEGER NOT NULL,
    PRIMARY KEY (key, window_start)
) STRICT, WITHOUT ROWID;

CREATE INDEX counter_end ON counter (window_end);
