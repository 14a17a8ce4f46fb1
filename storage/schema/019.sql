-- When the person unsubscribed whose row has a graver reason now: what it says again when that is removed. 0: did not.
ALTER TABLE suppression ADD COLUMN unsubscribed INTEGER NOT NULL DEFAULT 0;
