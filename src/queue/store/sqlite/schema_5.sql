-- Schema version 5: the bytes of a mail are kept compressed where that makes them smaller.

ALTER TABLE payload ADD COLUMN packed INTEGER NOT NULL DEFAULT 0; -- 1: body is sealed as `payload.packed`, see pack.rs
