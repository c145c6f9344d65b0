-- The console's tables. schema.sql tells what is in them.

ALTER TABLE api_tokens RENAME TO api_tokens_before;
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
INSERT INTO api_tokens (token_id, name, token_hash, created_at, last_used_at, revoked_at)
       SELECT token_id, name, token_hash, created_at, last_used_at, revoked_at FROM api_tokens_before;
DROP TABLE api_tokens_before;
CREATE UNIQUE INDEX api_tokens_by_name ON api_tokens (name) WHERE revoked_at IS NULL;
CREATE INDEX calls_by_outcome ON calls (outcome, began);

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

-- Who changed what: in the console, by the HTTP API, with a command, or by phone.
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

-- Click-to-dial for visitors: a page that rings one of the PBX's phones and connects it with theirs.
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
