-- Keys of sending domains. `state`: 0 = made, to be published; 1 = signs; 2 = signed until `changed`, its record is still looked up; 3 = retired.
-- The row of sending_domain shows the RSA key that signs.
CREATE TABLE dkim_key (
    domain TEXT NOT NULL,
    selector TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    key_file TEXT NOT NULL,
    record TEXT NOT NULL,
    state INTEGER NOT NULL,
    created INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    PRIMARY KEY (domain, selector)
) STRICT, WITHOUT ROWID;
INSERT INTO dkim_key SELECT name, selector, 'rsa', key_file, dkim_record, 1, created, created FROM sending_domain;
