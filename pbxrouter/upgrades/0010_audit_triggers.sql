-- The rows of the audit log in a table, written by triggers. schema.sql tells what is in the tables.
-- The rows that each entry of audit_log changed, in that order. They go with the entry.
CREATE TABLE audit_rows (
    row_id            INTEGER PRIMARY KEY,
    audit_id          INTEGER NOT NULL,
    table_name        TEXT NOT NULL,
    -- The row as JSON, an object of its columns; NULL where there was, or is, none. A text that is
    -- not plain ASCII is {"text": hex}, a BLOB or REAL {"sql": literal}, a secret {"hidden": true}.
    before            TEXT,
    after             TEXT,
    -- What it is about, if it is about these.
    map_id            INTEGER,
    extension_id      INTEGER,
    user_id           INTEGER
);
CREATE INDEX audit_rows_by_entry ON audit_rows (audit_id);
CREATE INDEX audit_rows_by_mapping ON audit_rows (map_id, audit_id) WHERE map_id IS NOT NULL;
CREATE INDEX audit_rows_by_extension ON audit_rows (extension_id, audit_id) WHERE extension_id IS NOT NULL;
CREATE INDEX audit_rows_by_user ON audit_rows (user_id, audit_id) WHERE user_id IS NOT NULL;

-- The entry that changes are added to now. A transaction of pbxrouter puts its author here and takes
-- the row away before it commits; else the triggers put SQL here, and leave it for the next row.
CREATE TABLE audit_writing (
    writing_id        INTEGER PRIMARY KEY CONSTRAINT one_entry_at_a_time CHECK (writing_id = 1),
    changed_at        REAL NOT NULL,
    who               TEXT NOT NULL,
    via               TEXT NOT NULL,
    -- NULL until the first row is changed.
    audit_id          INTEGER,
    -- By these two the triggers know which rows are of one statement.
    held              INTEGER NOT NULL DEFAULT 0,
    counter           INTEGER,
    -- Of the last row.
    action            TEXT,
    label             TEXT
);

-- Rows as they were before the statement in progress changes or replaces them, for the triggers.
CREATE TABLE audit_before (
    table_name        TEXT NOT NULL,
    row_id            INTEGER NOT NULL,
    label             TEXT NOT NULL,
    row               TEXT NOT NULL,
    map_id            INTEGER,
    extension_id      INTEGER,
    user_id           INTEGER,
    PRIMARY KEY (table_name, row_id)
) WITHOUT ROWID;
