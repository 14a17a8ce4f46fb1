-- A/B campaigns (storage/split.h). `share`: slots of the test; `rest`: the second walk of the lanes has begun; `upto`: no delivery of the test has a higher id.
CREATE TABLE campaign_split (
    campaign_id INTEGER PRIMARY KEY,
    share INTEGER NOT NULL,
    variants INTEGER NOT NULL,
    winner INTEGER NOT NULL DEFAULT -1,
    rest INTEGER NOT NULL DEFAULT 0,
    tested INTEGER NOT NULL DEFAULT 0,
    chosen INTEGER NOT NULL DEFAULT 0,
    upto INTEGER NOT NULL DEFAULT 9223372036854775807
) STRICT;
