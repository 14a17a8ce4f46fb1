-- What came back about mails after they were taken. The pairs are the keys, so that however often something is reported, it counts once.
CREATE TABLE complaint (
    campaign_id INTEGER NOT NULL,
    recipient_id INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (recipient_id, campaign_id)
) STRICT, WITHOUT ROWID;

-- Soft bounces that count against a recipient; those past their window go when the next one comes.
CREATE TABLE soft_bounce (
    campaign_id INTEGER NOT NULL,
    recipient_id INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (recipient_id, campaign_id)
) STRICT, WITHOUT ROWID;
