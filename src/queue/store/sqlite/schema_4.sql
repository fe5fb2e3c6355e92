-- Schema version 4: the outbox of webhooks, and the archive of decisions.

-- How each endpoint stands. A row is made with the first notice for it.
CREATE TABLE endpoint (
    name           TEXT PRIMARY KEY,
    waiting        INTEGER NOT NULL DEFAULT 0, -- rows of outbox
    delivered      INTEGER NOT NULL DEFAULT 0,
    dropped        INTEGER NOT NULL DEFAULT 0, -- never to be told: no room, too old, or tried in vain
    last_delivered INTEGER,
    last_failed    INTEGER,
    last_error     TEXT,                       -- in our own words
    disabled       INTEGER,                    -- when it said that it is gone
    disabled_as    BLOB                        -- keyed digest of how it was configured then
) STRICT, WITHOUT ROWID;

-- What an endpoint is still to be told, in the order in which it happened. Its notice, sealed, is a payload's body: those
-- leave nothing behind when they are erased.
CREATE TABLE outbox (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint TEXT NOT NULL,
    id       BLOB NOT NULL,    -- of the notice
    subject  BLOB NOT NULL,    -- what it is about: told one after the other
    at       INTEGER NOT NULL, -- when it happened
    due      INTEGER,          -- NULL: an older one about the same goes first
    attempts INTEGER NOT NULL DEFAULT 0,
    payload  INTEGER NOT NULL  -- payload.number
) STRICT;

CREATE INDEX outbox_due ON outbox (endpoint, due, number) WHERE due IS NOT NULL;
CREATE INDEX outbox_subject ON outbox (subject, endpoint, number);
CREATE INDEX outbox_at ON outbox (endpoint, at);

-- What was decided of messages whose record is gone. No address is in it.
CREATE TABLE archive (
    number        INTEGER PRIMARY KEY AUTOINCREMENT,
    id            BLOB NOT NULL,    -- of the message
    at            INTEGER NOT NULL, -- when it was decided
    recipient_key BLOB NOT NULL,
    decision      BLOB NOT NULL     -- sealed
) STRICT;

CREATE INDEX archive_at ON archive (at, number);
CREATE INDEX archive_recipient ON archive (recipient_key);
