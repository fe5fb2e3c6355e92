-- Schema version 2: texts whose provider reports what became of them, and requests that may be repeated.

-- The number of a text stands in `payload.body`, sealed, so that it is erased together with the code, and
-- `message.recipient` is empty. What an older version left of ended ones goes now.
UPDATE message SET recipient = X'' WHERE kind = 1 AND payload IS NULL;

ALTER TABLE message ADD COLUMN resent INTEGER NOT NULL DEFAULT 0; -- how often a report had it sent again
ALTER TABLE message ADD COLUMN polls INTEGER NOT NULL DEFAULT 0;  -- how often its provider was asked
ALTER TABLE message ADD COLUMN next_poll INTEGER;                 -- when it is asked next; NULL: not any more
ALTER TABLE message ADD COLUMN used INTEGER;                      -- whether the code was used: 0, 1, NULL not told

-- Few rows: what awaits a report, by when its provider is asked for it.
CREATE INDEX message_awaiting ON message (state, next_poll) WHERE state = 10;

-- Requests that may be repeated, by keyed digests.
CREATE TABLE idempotency (
    key         BLOB PRIMARY KEY,
    fingerprint BLOB NOT NULL,
    message     BLOB NOT NULL,    -- message.id
    until       INTEGER NOT NULL  -- from then on it is as if it had never been
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_message ON idempotency (message);
CREATE INDEX idempotency_until ON idempotency (until);
