-- What names a call in the gateway's journal, so that none is written twice.
ALTER TABLE calls ADD COLUMN call_key TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX calls_by_key ON calls (call_key) WHERE call_key <> '';
