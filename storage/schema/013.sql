-- Single messages. A message stands where a campaign has a recipient: its id, from 2^40 on so that it is nobody else's and given once for ever, is the
-- `recipient_id` of its delivery, of its claim and of its tokens; `campaign_id` is the stream (a campaign that never ends) that counts it. `lane`: one of
-- four, by the domain. `attributes` go over those of the recipient. `labels`: {"tags", "metadata"} as they are shown.
CREATE TABLE message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    campaign_id INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    recipient_id INTEGER NOT NULL,
    content_id INTEGER NOT NULL,
    transactional INTEGER NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    labels TEXT NOT NULL
) STRICT;
INSERT INTO sqlite_sequence VALUES ('message', 1099511627775);
CREATE INDEX message_lane ON message (campaign_id, lane);
CREATE INDEX message_recipient ON message (recipient_id);
CREATE INDEX message_content_used ON message (content_id);

-- What messages say, each text once: {"spec", "partials"}, frozen when the message came.
CREATE TABLE message_content (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    content TEXT NOT NULL
) STRICT;

-- One stream for each domain of a From address.
CREATE TABLE message_stream (
    campaign_id INTEGER PRIMARY KEY,
    domain TEXT NOT NULL UNIQUE
) STRICT;
