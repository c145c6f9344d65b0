-- Wrong PINs, and how many calls one PIN may have at once. schema.sql tells what is in the tables.
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
CREATE TABLE users_limits (
    user_id           INTEGER PRIMARY KEY
                      CONSTRAINT limit_of_a_user
                      REFERENCES users (user_id) ON DELETE CASCADE,
    -- Calls that the user's PIN may have at once; two without a row here.
    max_calls         INTEGER NOT NULL
                      CONSTRAINT max_calls_is_one_or_more CHECK (max_calls >= 1)
);
