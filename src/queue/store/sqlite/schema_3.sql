-- Schema version 3: bursts.

ALTER TABLE message ADD COLUMN shape BLOB;                           -- client, category and shape, as a keyed digest; NULL: never part of a burst
ALTER TABLE message ADD COLUMN counted INTEGER NOT NULL DEFAULT 0;   -- 1: the first of its shape to this recipient for a while
ALTER TABLE message ADD COLUMN burst INTEGER;                        -- burst.number, of which it is or was a part

CREATE INDEX message_shape ON message (shape, recipient_key, accepted) WHERE shape IS NOT NULL;
CREATE INDEX message_counted ON message (shape, accepted) WHERE counted = 1;
CREATE INDEX message_settling ON message (shape, accepted) WHERE shape IS NOT NULL AND state = 0;
CREATE INDEX message_burst ON message (burst, state, expires) WHERE burst IS NOT NULL;

CREATE TABLE burst (
    number   INTEGER PRIMARY KEY,
    id       TEXT NOT NULL UNIQUE,  -- as operators type it
    shape    BLOB NOT NULL,
    client   TEXT NOT NULL,
    category TEXT NOT NULL,
    began    INTEGER NOT NULL,      -- when its first message was accepted
    last     INTEGER NOT NULL,      -- when its last one was
    over     INTEGER NOT NULL       -- it goes on if another comes before this
) STRICT;

CREATE INDEX burst_shape ON burst (shape, over);
CREATE INDEX burst_over ON burst (over);
