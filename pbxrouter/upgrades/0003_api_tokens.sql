-- Tokens for the HTTP API. schema.sql tells what is in the table.
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
    revoked_at        TEXT
);
CREATE UNIQUE INDEX api_tokens_by_name ON api_tokens (name) WHERE revoked_at IS NULL;
