-- The logs: this village's own (log 0) and copies of its neighbours'.
-- A position packs log, level and index into one integer, so that every log is one run of a b-tree:
-- log << 46 | level << 40 | index. Level 0 is an entry, level n the root of 2^n of them.

CREATE TABLE log (
    id         INTEGER PRIMARY KEY,
    village    TEXT NOT NULL UNIQUE,
    public_key BLOB NOT NULL CHECK (length(public_key) = 32)
) STRICT;

CREATE TABLE entry (
    position INTEGER PRIMARY KEY,
    leaf     BLOB NOT NULL CHECK (length(leaf) = 32),
    record   BLOB NOT NULL CHECK (length(record) <= 60000)
) STRICT;

CREATE TABLE node (
    position INTEGER PRIMARY KEY,
    hash     BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE TABLE checkpoint (
    log  INTEGER NOT NULL REFERENCES log (id),
    size INTEGER NOT NULL CHECK (size >= 0),
    root BLOB NOT NULL CHECK (length(root) = 32),
    note TEXT NOT NULL, -- signed by the log's village; cosignatures are kept apart
    PRIMARY KEY (log, size)
) STRICT, WITHOUT ROWID;

CREATE TABLE cosignature (
    log     INTEGER NOT NULL,
    size    INTEGER NOT NULL,
    village TEXT NOT NULL, -- who cosigned
    line    TEXT NOT NULL, -- C2SP cosignature/v1 line
    PRIMARY KEY (log, size, village),
    FOREIGN KEY (log, size) REFERENCES checkpoint (log, size)
) STRICT, WITHOUT ROWID;

-- Holds, no-holds, settles and releases of every log, found when the record is stored.
CREATE TABLE statement (
    subject BLOB NOT NULL CHECK (length(subject) = 32),
    log     INTEGER NOT NULL,
    idx     INTEGER NOT NULL,
    kind    TEXT NOT NULL CHECK (kind IN ('hold', 'no-hold', 'settle', 'release')),
    PRIMARY KEY (subject, log, idx)
) STRICT, WITHOUT ROWID;

-- Each log's catalogue: the assets that its steward approved.
CREATE TABLE asset (
    log      INTEGER NOT NULL,
    code     TEXT NOT NULL,
    kind     TEXT NOT NULL CHECK (kind IN ('token', 'resource')),
    decimals INTEGER NOT NULL CHECK (decimals BETWEEN 0 AND 6),
    PRIMARY KEY (log, code)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER entry_kept BEFORE DELETE ON entry BEGIN SELECT RAISE(ABORT, 'the log only grows'); END;
CREATE TRIGGER entry_fixed BEFORE UPDATE ON entry BEGIN SELECT RAISE(ABORT, 'the log only grows'); END;
CREATE TRIGGER node_kept BEFORE DELETE ON node BEGIN SELECT RAISE(ABORT, 'the log only grows'); END;
CREATE TRIGGER node_fixed BEFORE UPDATE ON node BEGIN SELECT RAISE(ABORT, 'the log only grows'); END;
CREATE TRIGGER checkpoint_kept BEFORE DELETE ON checkpoint BEGIN SELECT RAISE(ABORT, 'checkpoints are kept'); END;
CREATE TRIGGER checkpoint_fixed BEFORE UPDATE ON checkpoint BEGIN SELECT RAISE(ABORT, 'checkpoints are kept'); END;
CREATE TRIGGER cosignature_kept BEFORE DELETE ON cosignature BEGIN SELECT RAISE(ABORT, 'cosignatures are kept'); END;
CREATE TRIGGER cosignature_fixed BEFORE UPDATE ON cosignature BEGIN SELECT RAISE(ABORT, 'cosignatures are kept'); END;

-- The private rows that this village's sealed records commit to.
CREATE TABLE sealed (
    idx            INTEGER PRIMARY KEY, -- of the record in the own log
    posting_nonce  BLOB NOT NULL,
    posting        BLOB NOT NULL,
    personal_nonce BLOB,
    personal       BLOB
) STRICT;

-- What the log and the sealed rows add up to, in minor units; `audit` recomputes it.
CREATE TABLE balance (
    account        TEXT NOT NULL,
    asset          TEXT NOT NULL,
    debits_posted  INTEGER NOT NULL DEFAULT 0 CHECK (debits_posted BETWEEN 0 AND 9007199254740991),
    credits_posted INTEGER NOT NULL DEFAULT 0 CHECK (credits_posted BETWEEN 0 AND 9007199254740991),
    debits_pending INTEGER NOT NULL DEFAULT 0 CHECK (debits_pending BETWEEN 0 AND 9007199254740991),
    credits_pending INTEGER NOT NULL DEFAULT 0 CHECK (credits_pending BETWEEN 0 AND 9007199254740991),
    reserved       INTEGER NOT NULL DEFAULT 0 CHECK (reserved BETWEEN 0 AND 9007199254740991),
    debit_limit    INTEGER NOT NULL,
    PRIMARY KEY (account, asset),
    -- What is pending can always be posted.
    CHECK (debits_posted + debits_pending <= 9007199254740991),
    CHECK (credits_posted + credits_pending <= 9007199254740991)
) STRICT, WITHOUT ROWID;

CREATE TABLE member (
    id       INTEGER PRIMARY KEY,
    name     TEXT NOT NULL UNIQUE,
    folded   TEXT NOT NULL UNIQUE, -- the name without case, so that two look-alikes cannot exist
    pin_hash TEXT NOT NULL,
    session_epoch INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The answers already given to requests that carry an id.
CREATE TABLE request (
    scope  TEXT NOT NULL, -- who asked
    id     TEXT NOT NULL,
    digest BLOB NOT NULL, -- of what was asked
    answer BLOB NOT NULL,
    PRIMARY KEY (scope, id)
) STRICT;

CREATE TABLE charter (
    digest  BLOB PRIMARY KEY CHECK (length(digest) = 32),
    network BLOB NOT NULL CHECK (length(network) = 32),
    charter BLOB NOT NULL
) STRICT;

CREATE TABLE charter_signature (
    digest    BLOB NOT NULL REFERENCES charter (digest),
    village   TEXT NOT NULL,
    signature BLOB NOT NULL,
    PRIMARY KEY (digest, village)
) STRICT, WITHOUT ROWID;

CREATE TABLE neighbour (
    village         TEXT PRIMARY KEY,
    log             INTEGER NOT NULL UNIQUE REFERENCES log (id),
    public_key      BLOB NOT NULL CHECK (length(public_key) = 32),
    charter         BLOB NOT NULL REFERENCES charter (digest),
    entry           BLOB NOT NULL, -- its registry entry
    addresses       TEXT NOT NULL, -- JSON list of host:port, last good first
    has_size        INTEGER NOT NULL DEFAULT 0, -- how much of our log it says it holds
    knows_entry_ms  INTEGER NOT NULL DEFAULT 0, -- stamp of our registry entry that it says it holds
    last_contact_ms INTEGER NOT NULL DEFAULT 0,
    trouble         TEXT NOT NULL DEFAULT '' -- why it cannot be trusted or reached, in one sentence
) STRICT;

CREATE TABLE invitation (
    secret_digest  BLOB PRIMARY KEY,
    expires_minute INTEGER NOT NULL,
    used_by        TEXT, -- village id
    charter        BLOB  -- digest of the charter that it made
) STRICT, WITHOUT ROWID;

-- A charter signed here and sent with an invitation that has not been answered yet.
CREATE TABLE joining (
    invited_digest BLOB PRIMARY KEY, -- of the invitation's secret and who invites
    charter        BLOB NOT NULL
) STRICT;

CREATE TABLE candidate (
    village TEXT PRIMARY KEY,
    entry   BLOB NOT NULL,
    source  TEXT NOT NULL,
    seen_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE trade (
    subject        BLOB PRIMARY KEY CHECK (length(subject) = 32),
    trade_id       TEXT NOT NULL,
    from_village   TEXT NOT NULL,
    neighbour      TEXT NOT NULL,
    role           TEXT NOT NULL CHECK (role IN ('from', 'to')),
    status         TEXT NOT NULL,
    terms          BLOB NOT NULL,
    from_signature BLOB NOT NULL,
    to_signature   BLOB,
    from_user      TEXT,
    to_user        TEXT,
    member         INTEGER REFERENCES member (id), -- ours; NULL if nobody here has that name
    reserved       INTEGER NOT NULL DEFAULT 0 CHECK (reserved IN (0, 1)),
    certificate    BLOB,
    told           INTEGER NOT NULL DEFAULT 0 CHECK (told IN (0, 1)), -- the neighbour has stored this status
    closed         INTEGER NOT NULL DEFAULT 0 CHECK (closed IN (0, 1)), -- nothing is left to say
    reason         TEXT NOT NULL DEFAULT '', -- why it ended, in plain words
    created_ms     INTEGER NOT NULL,
    changed_ms     INTEGER NOT NULL,
    UNIQUE (from_village, trade_id)
) STRICT;

CREATE INDEX trade_open ON trade (neighbour, changed_ms) WHERE closed = 0;
CREATE INDEX trade_member ON trade (member, created_ms);

CREATE TABLE vote (
    subject   BLOB NOT NULL,
    village   TEXT NOT NULL,
    round     INTEGER NOT NULL,
    step      TEXT NOT NULL,
    value     TEXT NOT NULL,
    signature BLOB NOT NULL,
    PRIMARY KEY (subject, village, round, step)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER vote_kept BEFORE DELETE ON vote BEGIN SELECT RAISE(ABORT, 'votes are kept'); END;
CREATE TRIGGER vote_fixed BEFORE UPDATE ON vote BEGIN SELECT RAISE(ABORT, 'votes are kept'); END;

CREATE TABLE fact (
    name  TEXT PRIMARY KEY, -- village_id, last_stamp_ms, clean_stop, ...
    value TEXT NOT NULL
) STRICT;
