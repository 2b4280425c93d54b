-- When each village last showed that it cosigns a log: with its newest cosignature on that log, which
-- may be one anew on a checkpoint that has one already.
CREATE TABLE freshness (
    log      INTEGER NOT NULL,
    village  TEXT NOT NULL,    -- who cosigned
    size     INTEGER NOT NULL,
    line     TEXT NOT NULL,    -- C2SP cosignature/v1 line
    signed_s INTEGER NOT NULL, -- the time in it
    fresh_ms INTEGER NOT NULL, -- when that was, by the clock here
    PRIMARY KEY (log, village)
) STRICT, WITHOUT ROWID;
