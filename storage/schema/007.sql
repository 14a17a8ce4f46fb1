-- Whom of its lists a campaign is for, as a program (storage/segment.c); most have none.
CREATE TABLE campaign_segment (
    campaign_id INTEGER PRIMARY KEY,
    program BLOB NOT NULL
) STRICT;
-- Who exactly was claimed, as the differences of their ids (storage/claims.c); NULL = the whole audience between lo and hi. Told where it cannot be
-- found out again: attributes may change before a crash.
ALTER TABLE claim ADD COLUMN members BLOB;
