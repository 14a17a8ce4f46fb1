-- By which way an attempt went: address and port of the server, TLS version and cipher ("" = in clear text). Each combination once.
CREATE TABLE path (
    id INTEGER PRIMARY KEY,
    address TEXT NOT NULL,
    tls_version TEXT NOT NULL,
    tls_cipher TEXT NOT NULL,
    UNIQUE (address, tls_version, tls_cipher)
) STRICT;

-- `times`: when each reply had come, in ms: "mail:12 rcpt:12 content:40". NULL in both: not known.
ALTER TABLE delivery ADD COLUMN path_id INTEGER;
ALTER TABLE delivery ADD COLUMN times TEXT;
ALTER TABLE attempt ADD COLUMN path_id INTEGER;
ALTER TABLE attempt ADD COLUMN times TEXT;
