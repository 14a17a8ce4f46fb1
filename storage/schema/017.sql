-- Blocks of 256 ids: a quarter of the entries, and a commit seldom has to make one.
ALTER TABLE delivery_block RENAME TO delivery_block_64;
CREATE TABLE delivery_block (
    campaign_id INTEGER NOT NULL,
    block INTEGER NOT NULL,
    PRIMARY KEY (campaign_id, block)
) STRICT, WITHOUT ROWID;
INSERT INTO delivery_block SELECT DISTINCT campaign_id, block >> 2 FROM delivery_block_64;
DROP TABLE delivery_block_64;
