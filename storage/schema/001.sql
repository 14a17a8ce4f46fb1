-- The first schema. Times are wall-clock milliseconds, 0 = never; enumerations are those of storage/*.h.
-- No foreign keys: the one writer keeps the references, and each check would cost a look-up per delivery.

-- `epoch` counts launches; see member. The two counts spare the dashboard a scan.
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    epoch INTEGER NOT NULL,
    recipients INTEGER NOT NULL,
    suppressions INTEGER NOT NULL
) STRICT;
INSERT INTO meta VALUES (1, 1, 0, 0);

-- `lane`: where new recipients of the domain go: 0..3 shared by the tail, 16 + id its own. `recipients` is brought up to date at the end of an
-- import; it only decides about lanes.
CREATE TABLE domain (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    lane INTEGER NOT NULL,
    recipients INTEGER NOT NULL
) STRICT;

-- `lane` is fixed for life when the row is made, so that (list, lane, recipient) names a member for ever.
CREATE TABLE recipient (
    id INTEGER PRIMARY KEY,
    email TEXT NOT NULL UNIQUE,
    domain_id INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL
) STRICT;

CREATE TABLE list (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT;

-- The present status began at `epoch`; the present or the last active time began at `since`. A launch takes the current epoch and
-- raises it, so "was active when campaign C was launched" is: since <= C.epoch and (active or epoch > C.epoch).
CREATE TABLE member (
    list_id INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    recipient_id INTEGER NOT NULL,
    status INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    since INTEGER NOT NULL,
    joined INTEGER NOT NULL,
    PRIMARY KEY (list_id, lane, recipient_id)
) STRICT, WITHOUT ROWID;

-- n = active members, total = those that were not removed.
CREATE TABLE list_lane (
    list_id INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    n INTEGER NOT NULL,
    total INTEGER NOT NULL,
    PRIMARY KEY (list_id, lane)
) STRICT, WITHOUT ROWID;

-- The counters change in the transaction of the state that they count. Short rows: each commit rewrites one, so the specification lies elsewhere.
CREATE TABLE campaign (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    status INTEGER NOT NULL,
    epoch INTEGER NOT NULL DEFAULT 0,
    created INTEGER NOT NULL,
    scheduled INTEGER NOT NULL,
    launched INTEGER NOT NULL DEFAULT 0,
    finished INTEGER NOT NULL DEFAULT 0,
    expires_after INTEGER NOT NULL,
    audience INTEGER NOT NULL DEFAULT 0,
    sending INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0,
    deferred INTEGER NOT NULL DEFAULT 0,
    bounced INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    suppressed INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    uncertain INTEGER NOT NULL DEFAULT 0,
    opened INTEGER NOT NULL DEFAULT 0,
    clicked INTEGER NOT NULL DEFAULT 0,
    unsubscribed INTEGER NOT NULL DEFAULT 0,
    complained INTEGER NOT NULL DEFAULT 0,
    missing_attributes INTEGER NOT NULL DEFAULT 0,
    first_delivery INTEGER NOT NULL DEFAULT 0,
    last_delivery INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE campaign_spec (
    campaign_id INTEGER PRIMARY KEY,
    spec TEXT NOT NULL
) STRICT;

CREATE TABLE campaign_list (
    campaign_id INTEGER NOT NULL,
    excluded INTEGER NOT NULL,
    list_id INTEGER NOT NULL,
    PRIMARY KEY (campaign_id, excluded, list_id)
) STRICT, WITHOUT ROWID;

-- Made at the launch for every lane with somebody in it; recipients up to `cursor` have been claimed.
CREATE TABLE campaign_lane (
    campaign_id INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    cursor INTEGER NOT NULL,
    done INTEGER NOT NULL,
    PRIMARY KEY (campaign_id, lane)
) STRICT, WITHOUT ROWID;

-- Recipients lo..hi of a lane are in flight, save those that have a delivery row. Gone with its last outcome.
CREATE TABLE claim (
    id INTEGER PRIMARY KEY,
    campaign_id INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    lo INTEGER NOT NULL,
    hi INTEGER NOT NULL
) STRICT;

-- Written once, with the outcome. `stage` NULL: no attempt is recorded in the row. `uncertain`: its end-of-data was once out without a reply.
CREATE TABLE delivery (
    id INTEGER PRIMARY KEY,
    campaign_id INTEGER NOT NULL,
    recipient_id INTEGER NOT NULL,
    state INTEGER NOT NULL,
    uncertain INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    code INTEGER NOT NULL,
    stage INTEGER,
    tls INTEGER NOT NULL,
    duration INTEGER NOT NULL,
    enhanced TEXT NOT NULL,
    reply TEXT NOT NULL,
    mx_host TEXT NOT NULL,
    source TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX delivery_pair ON delivery (recipient_id, campaign_id);
-- Each of these ends in the row's id, which is what makes a page of a campaign (or of one of its states) come out in order without a sort.
-- Delivered rows, nearly all, stay out of the second: they are found through the first.
CREATE INDEX delivery_campaign ON delivery (campaign_id);
CREATE INDEX delivery_state ON delivery (campaign_id, state) WHERE state <> 2;
CREATE INDEX delivery_due ON delivery (campaign_id, next_attempt) WHERE state = 3;

-- Attempts that a later one has superseded; the last one is in the delivery's row.
CREATE TABLE attempt (
    id INTEGER PRIMARY KEY,
    delivery_id INTEGER NOT NULL,
    state INTEGER NOT NULL,
    uncertain INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    code INTEGER NOT NULL,
    stage INTEGER,
    tls INTEGER NOT NULL,
    duration INTEGER NOT NULL,
    enhanced TEXT NOT NULL,
    reply TEXT NOT NULL,
    mx_host TEXT NOT NULL,
    source TEXT NOT NULL
) STRICT;
CREATE INDEX attempt_delivery ON attempt (delivery_id);

-- One-click unsubscribes; the pair is the key, so that each is counted once even when it comes before the delivery's row.
CREATE TABLE unsubscribe (
    campaign_id INTEGER NOT NULL,
    recipient_id INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (recipient_id, campaign_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE suppression (
    email TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    origin TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Minute totals of attempts by what they led to; campaign 0 = all campaigns.
CREATE TABLE tally (
    campaign_id INTEGER NOT NULL,
    minute INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    deferred INTEGER NOT NULL,
    bounced INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    PRIMARY KEY (campaign_id, minute)
) STRICT, WITHOUT ROWID;

CREATE TABLE token (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    scope INTEGER NOT NULL,
    sha256 BLOB NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    last_used INTEGER NOT NULL DEFAULT 0,
    revoked INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE sending_domain (
    name TEXT PRIMARY KEY,
    selector TEXT NOT NULL,
    key_file TEXT NOT NULL,
    dkim_record TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE secret (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
