-- Sessions for TLS reports (RFC 8460) by day (days since 1970, UTC) and recipient domain. `kind`: 0 = no policy found, 1 = MTA-STS, 2 = TLSA; `result` as in
-- base/tls_result.h; `policy`: as published, a line each. Successes are added up without hosts. Gone when the day's report has been delivered, or is too old.
CREATE TABLE tls_tally (
    day INTEGER NOT NULL,
    domain TEXT NOT NULL,
    kind INTEGER NOT NULL,
    result INTEGER NOT NULL,
    mx_host TEXT NOT NULL,
    address TEXT NOT NULL,
    source TEXT NOT NULL,
    sessions INTEGER NOT NULL,
    policy TEXT NOT NULL,
    PRIMARY KEY (day, domain, kind, result, mx_host, address, source)
) STRICT, WITHOUT ROWID;
