-- What the guard of a campaign looks at; `pause_reason`: why it paused by itself. The guard_* columns are what the counters were when a
-- person let it go on, for it judges what came since.
ALTER TABLE campaign ADD COLUMN hard_bounced INTEGER NOT NULL DEFAULT 0;
ALTER TABLE campaign ADD COLUMN pause_reason TEXT NOT NULL DEFAULT '';
ALTER TABLE campaign ADD COLUMN guard_delivered INTEGER NOT NULL DEFAULT 0;
ALTER TABLE campaign ADD COLUMN guard_bounced INTEGER NOT NULL DEFAULT 0;
ALTER TABLE campaign ADD COLUMN guard_hard INTEGER NOT NULL DEFAULT 0;
ALTER TABLE campaign ADD COLUMN guard_complained INTEGER NOT NULL DEFAULT 0;

-- Reports of dead addresses, so that each pair counts once, also when its suppression was taken back.
CREATE TABLE hard_bounce (
    campaign_id INTEGER NOT NULL,
    recipient_id INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (recipient_id, campaign_id)
) STRICT, WITHOUT ROWID;

-- `expires` 0 = never. An `email` of the form "sha256:HEX" is an address that is known by its digest only.
ALTER TABLE suppression ADD COLUMN expires INTEGER NOT NULL DEFAULT 0;

-- The same for campaigns that mail one list.
CREATE TABLE list_suppression (
    email TEXT NOT NULL,
    list_id INTEGER NOT NULL,
    reason TEXT NOT NULL,
    origin TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (email, list_id)
) STRICT, WITHOUT ROWID;
