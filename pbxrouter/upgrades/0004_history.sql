-- The history of calls. schema.sql tells what is in the table.
CREATE TABLE calls (
    call_id           INTEGER PRIMARY KEY AUTOINCREMENT,
    -- When the gateway got the call and when it was done with it, seconds since 1970.
    began             REAL NOT NULL,
    ended             REAL NOT NULL,
    uniqueid          TEXT NOT NULL,
    -- '' if the call showed no number.
    caller            TEXT NOT NULL,
    caller_name       TEXT NOT NULL,
    number            TEXT NOT NULL,
    -- allow, pin, deny or invalid; '' if the call ended before a decision.
    verdict           TEXT NOT NULL,
    pattern           TEXT NOT NULL,
    application       TEXT NOT NULL,
    data              TEXT NOT NULL,
    -- The extension or user whose grant allowed it; '' if none did.
    granted_by        TEXT NOT NULL,
    outcome           TEXT NOT NULL,
    -- Q.850 cause where Asterisk gave one, and seconds of talk where known.
    cause             TEXT NOT NULL,
    answered_s        INTEGER,
    -- Why: a JSON list of [sentence, values].
    trace             TEXT NOT NULL
);
CREATE INDEX calls_by_time ON calls (began);
CREATE INDEX calls_by_caller ON calls (caller, began);
CREATE INDEX calls_by_number ON calls (number, began);
