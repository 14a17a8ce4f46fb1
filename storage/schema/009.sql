-- What the engine must not forget about its limits: quotas used, measures in force, learned rates, beginnings of warm-ups. The text is the engine's.
CREATE TABLE shaping (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    changed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
