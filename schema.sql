-- The database of pbxrouter: rules, call counts, history, console. Schema version 11.
--
-- `pbxrouter init` creates a database from this file. It can be read and changed with
-- any SQLite tool while the gateway runs; a change reaches the next call within a
-- second. For example, with `sqlite3 pbxrouter.sqlite`:
--
--   INSERT INTO applications_mappings(application_name, application_data, pattern)
--          VALUES ('dial', 'SIP', '2X');
--   INSERT INTO extensions(extension_number) VALUES ('33');
--   INSERT INTO extensions_mappings(extension_id, map_id) VALUES (1, 1);
--
-- now extension 33 dials 20 to 29 without a PIN. Write numbers and patterns in quotes:
-- SQL drops the leading zero of an unquoted 033.
--
-- The first five tables are those of the 2006 workshop, under their own names and with
-- their own columns, so that the workshop's own INSERTs work too (but for the PIN in
-- clear, see users). Everything else is in tables of its own, further down.
--
-- AUTOINCREMENT: the number of a deleted row never comes back, so a grant that was left
-- behind can never refer to another mapping, extension or user. The sqlite3 shell
-- leaves such grants behind unless you type `PRAGMA foreign_keys = ON;` first. They
-- have no effect, and the gateway names them in its log.

-- What can be dialled, and what it leads to.
CREATE TABLE applications_mappings (
    map_id            INTEGER PRIMARY KEY AUTOINCREMENT,
    -- What runs: dial, voicemail, conference, playback, saydigits, hangup, changepin, or
    -- a driver of your own. Upper and lower case are the same.
    application_name  TEXT NOT NULL
                      CONSTRAINT application_name_is_not_empty CHECK (trim(application_name) <> ''),
    -- What the application is told: for dial a technology such as SIP or IAX2, a phone
    -- such as PJSIP/21, or a template such as PJSIP/{number:1}@trunk, with settings
    -- such as timeout=30 behind; for playback the sound. May be empty.
    application_data  TEXT NOT NULL DEFAULT '',
    -- A dial pattern with Asterisk's meaning (2X, NXXXXXX, 0[1-3]., 911). When several
    -- match, the one that Asterisk would choose is taken; of equal ones the lowest map_id.
    pattern           TEXT NOT NULL
                      CONSTRAINT pattern_is_not_empty CHECK (trim(pattern) <> '')
);

-- Phones that are known by their number (the caller ID). One that belongs to one of several
-- Asterisks has that one's name in the settings in front: madrid:33.
CREATE TABLE extensions (
    extension_id      INTEGER PRIMARY KEY AUTOINCREMENT,
    -- As Asterisk shows it: text, so 033 stays 033.
    extension_number  TEXT NOT NULL
                      CONSTRAINT extension_number_is_there_once UNIQUE
                      CONSTRAINT extension_number_is_not_empty CHECK (trim(extension_number) <> '')
);

-- Grants to extensions: this extension may use this mapping, without a PIN.
CREATE TABLE extensions_mappings (
    ext_map_id        INTEGER PRIMARY KEY,
    extension_id      INTEGER NOT NULL
                      CONSTRAINT grant_to_an_extension
                      REFERENCES extensions (extension_id) ON DELETE CASCADE,
    map_id            INTEGER NOT NULL
                      CONSTRAINT extension_may_use_a_mapping
                      REFERENCES applications_mappings (map_id) ON DELETE CASCADE,
    CONSTRAINT extension_has_the_grant_already UNIQUE (extension_id, map_id)
);
CREATE INDEX extensions_mappings_by_map ON extensions_mappings (map_id);

-- People who are identified by a PIN, on any phone.
CREATE TABLE users (
    user_id           INTEGER PRIMARY KEY AUTOINCREMENT,
    user_name         TEXT NOT NULL
                      CONSTRAINT user_name_is_not_empty CHECK (trim(user_name) <> ''),
    -- Never the PIN itself, but its HMAC-SHA256 under the key in the file
    -- pbxrouter.sqlite.pinkey, as 64 hex digits. Leave it out, or NULL: the user has no
    -- PIN. Then set it with: pbxrouter pin USER
    -- No two users have one PIN: the PIN is all that tells who they are.
    user_pin          TEXT
                      CONSTRAINT user_pin_is_another_users UNIQUE
                      CONSTRAINT user_pin_must_be_set_with_pbxrouter_pin
                      CHECK (user_pin IS NULL OR length(user_pin) = 64 AND user_pin NOT GLOB '*[^0-9a-f]*')
);
CREATE INDEX users_by_name ON users (user_name);

-- Grants to users: a caller who keys this user's PIN may use this mapping.
CREATE TABLE users_mappings (
    usr_map_id        INTEGER PRIMARY KEY,
    user_id           INTEGER NOT NULL
                      CONSTRAINT grant_to_a_user
                      REFERENCES users (user_id) ON DELETE CASCADE,
    map_id            INTEGER NOT NULL
                      CONSTRAINT user_may_use_a_mapping
                      REFERENCES applications_mappings (map_id) ON DELETE CASCADE,
    CONSTRAINT user_has_the_grant_already UNIQUE (user_id, map_id)
);
CREATE INDEX users_mappings_by_map ON users_mappings (map_id);

-- Mappings that are switched off for now, with their grants kept for later:
--   INSERT INTO mappings_disabled(map_id) VALUES (4);      -- off
--   DELETE FROM mappings_disabled WHERE map_id = 2;        -- on again
CREATE TABLE mappings_disabled (
    map_id            INTEGER PRIMARY KEY
                      CONSTRAINT mapping_to_switch_off
                      REFERENCES applications_mappings (map_id) ON DELETE CASCADE,
    disabled_at       TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
);

-- What `pbxrouter import` has imported, so that the same content is imported once.
CREATE TABLE imports (
    import_id         INTEGER PRIMARY KEY,
    -- HMAC-SHA256 of the content, under the PIN key, since the content holds PINs.
    digest            TEXT NOT NULL CONSTRAINT import_is_there_once UNIQUE,
    -- The file's name.
    source            TEXT NOT NULL,
    imported_at       TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
);

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

-- Calls in progress, so that a restart counts none of them twice and forgets none. The column
-- talks is a call's talk so far, and that of its channels, as JSON; '' in a row from before schema
-- version 9.
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
    certain           INTEGER NOT NULL, talks TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (asterisk, linkedid)
) WITHOUT ROWID;

-- Every call that the gateway has had, kept for a while ([history] keep_days).
-- The last three columns stand where an upgrade adds them without copying the history.
-- forwarded_by is who forwarded the call, by a forward or a transfer: a number or an endpoint such
-- as PJSIP/21, proven or claimed (the trace tells which); '' if it was not forwarded. call_key names
-- the call in the gateway's journal, so that none is written twice; '' for calls from before schema
-- version 8. asterisk is the [[asterisk]] that the call came from, by its name in the settings; '' if
-- that is not known, as for calls from before schema version 11. answered_s is how long two people
-- talked: 0 if none did, NULL if that is not known.
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
, forwarded_by TEXT NOT NULL DEFAULT '', call_key TEXT NOT NULL DEFAULT '', asterisk TEXT NOT NULL DEFAULT '');
CREATE INDEX calls_by_time ON calls (began);
CREATE INDEX calls_by_caller ON calls (caller, began);
CREATE INDEX calls_by_number ON calls (number, began);
CREATE INDEX calls_by_outcome ON calls (outcome, began);
CREATE INDEX calls_sent_on ON calls (began, forwarded_by) WHERE forwarded_by <> '';
CREATE UNIQUE INDEX calls_by_key ON calls (call_key) WHERE call_key <> '';
CREATE INDEX calls_by_asterisk ON calls (asterisk, began) WHERE asterisk <> '';

-- Tokens for the HTTP API, made with `pbxrouter token create`.
CREATE TABLE api_tokens (
    token_id          INTEGER PRIMARY KEY AUTOINCREMENT,
    -- What people call it; no two at a time.
    name              TEXT NOT NULL,
    -- Hex SHA-256 of the token, which is 32 random bytes and kept nowhere.
    token_hash        TEXT NOT NULL UNIQUE,
    created_at        TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    -- By the minute; NULL if never.
    last_used_at      TEXT,
    -- NULL while it is valid.
    revoked_at        TEXT,
    -- What it is good for, with blanks between: read, rules, dial, admin.
    scopes            TEXT NOT NULL DEFAULT 'dial'
);
CREATE UNIQUE INDEX api_tokens_by_name ON api_tokens (name) WHERE revoked_at IS NULL;

-- --- the console -----------------------------------------------------------

-- People who may log in to the console.
CREATE TABLE console_users (
    console_user_id   INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Upper and lower case are the same.
    login             TEXT NOT NULL COLLATE NOCASE
                      CONSTRAINT login_is_there_once UNIQUE
                      CONSTRAINT login_is_not_empty CHECK (trim(login) <> ''),
    -- Argon2id, with its salt and parameters.
    password_hash     TEXT NOT NULL,
    -- viewer sees; operator changes rules too; admin changes everything.
    role              TEXT NOT NULL
                      CONSTRAINT role_is_known CHECK (role IN ('viewer', 'operator', 'admin')),
    -- The phone they dial from with a click, such as PJSIP/33; '' if none.
    phone             TEXT NOT NULL DEFAULT '',
    -- 'en' or 'es'; '' takes what the browser wishes.
    language          TEXT NOT NULL DEFAULT '',
    -- Seconds since 1970, as all times of the console.
    created_at        REAL NOT NULL,
    last_login_at     REAL,
    -- NULL while they may log in.
    disabled_at       REAL
);

-- Who is logged in. What the browser keeps is 32 random bytes; here is their SHA-256.
CREATE TABLE console_sessions (
    session_hash      TEXT PRIMARY KEY,
    console_user_id   INTEGER NOT NULL
                      REFERENCES console_users (console_user_id) ON DELETE CASCADE,
    created_at        REAL NOT NULL,
    -- By the minute.
    last_used_at      REAL NOT NULL,
    address           TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX console_sessions_by_user ON console_sessions (console_user_id);

-- The one-time link that makes the first admin, by the SHA-256 of what is in it.
CREATE TABLE console_setup (
    link_hash         TEXT PRIMARY KEY,
    expires_at        REAL NOT NULL
) WITHOUT ROWID;

-- Who changed what: in the console, by the HTTP API, with a command, by phone, or with SQL.
-- Triggers write it, which `pbxrouter init` creates for each table whose changes are in it
-- (pbxrouter/database/audit_triggers generates them). One statement is one entry.
CREATE TABLE audit_log (
    audit_id          INTEGER PRIMARY KEY AUTOINCREMENT,
    changed_at        REAL NOT NULL,
    -- The login, the token's name, the system's user, the user who keyed a PIN, or SQL.
    who               TEXT NOT NULL,
    -- console, api, command, phone or sql.
    via               TEXT NOT NULL,
    -- create, update, delete, enable, disable, grant, revoke, pin, endpoint, limit, password,
    -- void, lift, import or undo.
    action            TEXT NOT NULL,
    -- mapping, extension, user, grant, import, lockout, console_user, token, dial_link.
    kind              TEXT NOT NULL,
    -- What it was called then, for people.
    name              TEXT NOT NULL,
    -- The entry that this one takes back, and the one that took this one back.
    undoes            INTEGER REFERENCES audit_log (audit_id),
    undone_by         INTEGER REFERENCES audit_log (audit_id),
    -- '': the rows that changed are in audit_rows. In entries from before schema version 10 they are
    -- here, a JSON list of {table, key, before, after}. [] in an entry without rows.
    changes           TEXT NOT NULL
);
CREATE INDEX audit_log_by_who ON audit_log (who, audit_id);

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

-- Click-to-dial for visitors: a page that rings one of our phones and connects it with the visitor's.
-- Of several Asterisks, '' in the column asterisk is the one that has the phone.
CREATE TABLE dial_links (
    link_id           INTEGER PRIMARY KEY AUTOINCREMENT,
    -- What the page is headed with, such as Talk to sales.
    name              TEXT NOT NULL
                      CONSTRAINT dial_link_name_is_not_empty CHECK (trim(name) <> ''),
    -- The phone that rings first, such as PJSIP/33. Its grants say what may be dialled.
    phone             TEXT NOT NULL,
    -- The context where the visitor's number is dialled, and on which [[asterisk]];
    -- '' is the only one.
    context           TEXT NOT NULL,
    asterisk          TEXT NOT NULL DEFAULT '',
    -- Dial patterns with blanks between: the numbers that visitors may have called.
    destinations      TEXT NOT NULL,
    -- Such as mon-fri 09:00-18:00, in the PBX's time zone, with commas between; '' is always.
    hours             TEXT NOT NULL DEFAULT '',
    -- Most calls a day by all, and an hour by one address.
    calls_a_day       INTEGER NOT NULL DEFAULT 50,
    calls_an_hour     INTEGER NOT NULL DEFAULT 5,
    -- What a visitor agrees to, in both languages; '' asks nothing.
    consent_en        TEXT NOT NULL DEFAULT '',
    consent_es        TEXT NOT NULL DEFAULT '',
    -- Sites that may embed the page, such as https://example.org, with blanks between.
    sites             TEXT NOT NULL DEFAULT '',
    -- Part of what is signed: another one, and all links given out before are void.
    generation        INTEGER NOT NULL DEFAULT 1,
    -- NULL while it is in use.
    disabled_at       REAL
);

-- How many calls a link has begun on a day, written YYYY-MM-DD in the PBX's time zone.
CREATE TABLE dial_link_calls (
    link_id           INTEGER NOT NULL REFERENCES dial_links (link_id) ON DELETE CASCADE,
    day               TEXT NOT NULL,
    calls             INTEGER NOT NULL,
    PRIMARY KEY (link_id, day)
) WITHOUT ROWID;

-- Wrong PINs: who has guessed, and until when that is held against them. `pbxrouter lockouts` lists and lifts.
-- Further scopes: peer (calls that cannot be proven), unnamed (peer and mapping of callers without endpoint and number),
-- queue (of a trunk under attack), known (a caller who has keyed a right PIN, and when in last_at).
CREATE TABLE pin_guesses (
    -- endpoint, number, trunk (trunk and number), mapping, or gateway.
    scope             TEXT NOT NULL,
    name              TEXT NOT NULL,
    -- When all of its wrong guesses are forgiven, seconds since 1970.
    forgiven_at       REAL NOT NULL,
    -- Wrong PINs, and PINs that were not checked while it was locked.
    wrong             INTEGER NOT NULL DEFAULT 0,
    unchecked         INTEGER NOT NULL DEFAULT 0,
    last_at           REAL NOT NULL,
    PRIMARY KEY (scope, name)
) WITHOUT ROWID;

-- How many calls a user's PIN may have at once, where that is not two:
--   INSERT INTO users_limits(user_id, max_calls) VALUES (1, 5);
CREATE TABLE users_limits (
    user_id           INTEGER PRIMARY KEY
                      CONSTRAINT limit_of_a_user
                      REFERENCES users (user_id) ON DELETE CASCADE,
    -- Calls that the user's PIN may have at once; two without a row here.
    max_calls         INTEGER NOT NULL
                      CONSTRAINT max_calls_is_one_or_more CHECK (max_calls >= 1)
);

-- The endpoint that an extension is tied to: its number counts only on calls from there.
--   INSERT INTO extensions_endpoints(extension_id, endpoint) VALUES (1, 'PJSIP/33');
-- Without a row here any call that shows the number counts as the extension's, unless it
-- comes by one of the trunks in the settings.
CREATE TABLE extensions_endpoints (
    extension_id      INTEGER PRIMARY KEY
                      CONSTRAINT endpoint_of_an_extension
                      REFERENCES extensions (extension_id) ON DELETE CASCADE,
    -- As in the channel's name, which is this and a number behind a dash.
    endpoint          TEXT NOT NULL
                      CONSTRAINT endpoint_is_like_PJSIP_33 CHECK (endpoint GLOB '?*/?*' AND endpoint NOT GLOB '* *')
);

-- The calls in progress that PINs have opened, of each gateway on this database, written
-- every 20 seconds. A row of more than a minute ago is of a gateway that was killed, and does not count.
CREATE TABLE pin_calls (
    -- Names the gateway, until it stops.
    gateway           TEXT NOT NULL,
    user_name         TEXT NOT NULL,
    calls             INTEGER NOT NULL,
    -- Seconds since 1970.
    written_at        REAL NOT NULL,
    PRIMARY KEY (gateway, user_name)
) WITHOUT ROWID;

-- The versions of this schema that this database has been through; the highest counts.
CREATE TABLE schema_version (
    version           INTEGER PRIMARY KEY,
    applied_at        TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
);
INSERT INTO schema_version (version) VALUES (11);
