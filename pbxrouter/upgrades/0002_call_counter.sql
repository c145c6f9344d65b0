-- The call counter's tables. schema.sql tells what is in them.

-- What the call counter keeps, one row for each Asterisk. Times are seconds since 1970.
CREATE TABLE counter_asterisks (
    asterisk          TEXT PRIMARY KEY,
    -- Since when calls are counted, and until when they have been. Between the two every
    -- minute without a row below had no calls, unless a gap lies over it. After last_seen
    -- nothing is known.
    first_seen        REAL NOT NULL,
    last_seen         REAL NOT NULL,
    -- When this Asterisk was started, in its own words.
    started_up        TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;

-- Calls by the minute. Of kind 'all' there is one row for a minute; of the kinds 'mapping',
-- 'user' and 'extension' one for each pattern, user name and number that the gateway routed
-- calls for. A call is in the minute in which the thing happened: it may start in one,
-- be answered in the next and be finished an hour later.
CREATE TABLE counter_minutes (
    -- The minute's first second.
    minute            INTEGER NOT NULL,
    asterisk          TEXT NOT NULL,
    kind              TEXT NOT NULL,
    name              TEXT NOT NULL,
    started           INTEGER NOT NULL DEFAULT 0,
    answered          INTEGER NOT NULL DEFAULT 0,
    -- Each finished call was talked, or served by the PBX itself (voicemail, a prompt), or
    -- it failed: finished - talked - served have rows in counter_failures.
    finished          INTEGER NOT NULL DEFAULT 0,
    talked            INTEGER NOT NULL DEFAULT 0,
    served            INTEGER NOT NULL DEFAULT 0,
    -- Of the calls finished in this minute, from their answers to their ends.
    talk_seconds      REAL NOT NULL DEFAULT 0,
    -- Most calls in progress at a time; of kind 'all' only.
    peak              INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (minute, asterisk, kind, name)
) WITHOUT ROWID;

-- Why calls failed: busy, noanswer, cancelled, ... (docs/counter.md has all of them).
CREATE TABLE counter_failures (
    minute            INTEGER NOT NULL,
    asterisk          TEXT NOT NULL,
    kind              TEXT NOT NULL,
    name              TEXT NOT NULL,
    reason            TEXT NOT NULL,
    calls             INTEGER NOT NULL,
    PRIMARY KEY (minute, asterisk, kind, name, reason)
) WITHOUT ROWID;

-- Times in which calls were not counted: the gateway was down, or had no connection to that
-- Asterisk. Minutes under a gap are unknown, not zero.
CREATE TABLE counter_gaps (
    asterisk          TEXT NOT NULL,
    began             REAL NOT NULL,
    ended             REAL NOT NULL,
    PRIMARY KEY (asterisk, began)
) WITHOUT ROWID;
CREATE INDEX counter_gaps_by_end ON counter_gaps (ended);

-- Calls in progress, so that a restart counts none of them twice and forgets none.
CREATE TABLE counter_live (
    asterisk          TEXT NOT NULL,
    linkedid          TEXT NOT NULL,
    started           REAL NOT NULL,
    answered          REAL,
    -- Uniqueids of its channels, with blanks between.
    channels          TEXT NOT NULL,
    caller            TEXT NOT NULL,
    number            TEXT NOT NULL,
    -- How its last Dial ended, and how the gateway's own part of it.
    dial_status       TEXT NOT NULL,
    outcome           TEXT NOT NULL,
    -- What it is counted under besides 'all': a JSON list of [kind, name].
    labels            TEXT NOT NULL,
    certain           INTEGER NOT NULL,
    PRIMARY KEY (asterisk, linkedid)
) WITHOUT ROWID;
