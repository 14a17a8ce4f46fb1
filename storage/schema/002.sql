-- The run of the server whose claims are open, as it stands in the head of its flight journal; empty = none.
ALTER TABLE meta ADD COLUMN run BLOB NOT NULL DEFAULT x'';
-- 0: `audience` is an upper bound still, counted beside the writer.
ALTER TABLE campaign ADD COLUMN audience_exact INTEGER NOT NULL DEFAULT 1;
