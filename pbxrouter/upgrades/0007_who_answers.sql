-- Who sent a call on, and the endpoints that extensions are tied to. schema.sql tells what is in them.
ALTER TABLE calls ADD COLUMN forwarded_by TEXT NOT NULL DEFAULT '';
CREATE INDEX calls_sent_on ON calls (began, forwarded_by) WHERE forwarded_by <> '';
CREATE TABLE extensions_endpoints (
    extension_id      INTEGER PRIMARY KEY
                      CONSTRAINT endpoint_of_an_extension
                      REFERENCES extensions (extension_id) ON DELETE CASCADE,
    -- As in the channel's name, which is this and a number behind a dash.
    endpoint          TEXT NOT NULL
                      CONSTRAINT endpoint_is_like_PJSIP_33 CHECK (endpoint GLOB '?*/?*' AND endpoint NOT GLOB '* *')
);
CREATE TABLE pin_calls (
    -- Names the gateway, until it stops.
    gateway           TEXT NOT NULL,
    user_name         TEXT NOT NULL,
    calls             INTEGER NOT NULL,
    -- Seconds since 1970.
    written_at        REAL NOT NULL,
    PRIMARY KEY (gateway, user_name)
) WITHOUT ROWID;
