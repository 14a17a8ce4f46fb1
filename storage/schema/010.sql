-- What a launch freezes besides the audience: the snippets that the content shows (a JSON object of names and texts), and the links that it tracks.
-- `token_key`: which of the secrets made the campaign's tokens.
CREATE TABLE campaign_frozen (
    campaign_id INTEGER PRIMARY KEY,
    partials TEXT NOT NULL,
    token_key INTEGER NOT NULL
) STRICT;

-- `number` is in the tokens. `people`: recipients who followed it; `hits`: how often they did; `machines`: scanners and prefetchers.
CREATE TABLE campaign_link (
    campaign_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    url TEXT NOT NULL,
    people INTEGER NOT NULL DEFAULT 0,
    hits INTEGER NOT NULL DEFAULT 0,
    machines INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (campaign_id, number)
) STRICT, WITHOUT ROWID;

-- `link` 0 = the open pixel. `first`: when a person came first (0 = only machines did), `last`: when anybody came last.
CREATE TABLE hit (
    recipient_id INTEGER NOT NULL,
    campaign_id INTEGER NOT NULL,
    link INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    people INTEGER NOT NULL,
    machines INTEGER NOT NULL,
    PRIMARY KEY (recipient_id, campaign_id, link)
) STRICT, WITHOUT ROWID;

-- Stored partials of templates.
CREATE TABLE snippet (
    name TEXT PRIMARY KEY,
    text TEXT NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
