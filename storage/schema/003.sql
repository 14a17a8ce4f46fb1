-- Answers to requests with an Idempotency-Key. `owner`: the token's id, 0 = the local one. `status`: 0 = running, 1 = interrupted, else HTTP's.
CREATE TABLE idempotency (
    id INTEGER PRIMARY KEY,
    owner INTEGER NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    created INTEGER NOT NULL,
    status INTEGER NOT NULL,
    location TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX idempotency_key ON idempotency (owner, key);
CREATE INDEX idempotency_created ON idempotency (created);
CREATE INDEX idempotency_running ON idempotency (status) WHERE status = 0;

-- How many there are, so that the bound costs no count.
CREATE TABLE idempotency_size (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;
INSERT INTO idempotency_size VALUES (1, 0, 0);
