-- The secrets of tokens and Message-IDs (storage/link_keys.h). `replaced`: when a newer one came (0 = it is the newest), `retired`: when it stopped to
-- count; its value is gone then.
CREATE TABLE link_key (
    id INTEGER PRIMARY KEY,
    value BLOB NOT NULL,
    created INTEGER NOT NULL,
    replaced INTEGER NOT NULL DEFAULT 0,
    retired INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO link_key (id, value, created) SELECT 0, value, 0 FROM secret WHERE name = 'message';
DELETE FROM secret WHERE name = 'message';
