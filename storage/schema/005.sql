-- What happened, for whoever asked: written in the transaction of what it tells of, and only while somebody subscribes to its kind. Ids rise in the
-- order of commits; the newest row is never removed, so that no id is given twice. `attempt`, `code`, `enhanced`, `mx_host`: as the delivery's row had them.
-- `detail`: the reply, a link, a reason.
CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    campaign_id INTEGER NOT NULL,
    recipient_id INTEGER NOT NULL,
    at INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    uncertain INTEGER NOT NULL,
    code INTEGER NOT NULL,
    enhanced TEXT NOT NULL,
    mx_host TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;

-- The first event that was written in each minute: where a replay begins and where the old ends, without an index over all events.
CREATE TABLE event_mark (
    minute INTEGER PRIMARY KEY,
    first_id INTEGER NOT NULL
) STRICT;

-- Events up to `position` were taken by the receiver. `batch_end`: where the batch ends that is being tried again (0 = none). `secret` is text that starts
-- with "whsec_"; `old_secret` signs beside it until `old_until`.
CREATE TABLE webhook (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    url TEXT NOT NULL,
    description TEXT NOT NULL,
    kinds INTEGER NOT NULL,
    batch INTEGER NOT NULL,
    secret TEXT NOT NULL,
    old_secret TEXT NOT NULL DEFAULT '',
    old_until INTEGER NOT NULL DEFAULT 0,
    created INTEGER NOT NULL,
    disabled INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    position INTEGER NOT NULL,
    batch_end INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    failing_since INTEGER NOT NULL DEFAULT 0,
    next_attempt INTEGER NOT NULL DEFAULT 0,
    last_success INTEGER NOT NULL DEFAULT 0,
    last_code INTEGER NOT NULL DEFAULT 0,
    last_error TEXT NOT NULL DEFAULT '',
    taken INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The kinds (1 << kind) that webhooks, and the server's own streams and log, want; the log has written up to `event_logged`.
ALTER TABLE meta ADD COLUMN event_hooks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN event_live INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN event_logged INTEGER NOT NULL DEFAULT 0;
