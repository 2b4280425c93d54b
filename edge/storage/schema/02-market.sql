-- What people offer, want, agree on at home, and look up: all of it beside the log.

-- Offers and wants, this village's and its neighbours'. People can erase them.
CREATE TABLE listing (
    village     TEXT NOT NULL,    -- whose it is
    id          TEXT NOT NULL,    -- 16 hex digits, chosen by that village
    version     INTEGER NOT NULL, -- grows with every change to any listing of that village
    ends_minute INTEGER NOT NULL, -- it is gone after this; so is the note that it was taken back
    side        TEXT CHECK (side IN ('offer', 'want')), -- NULL, and all that follows: taken back
    asset       TEXT,
    decimals    INTEGER,
    quantity    INTEGER CHECK (quantity >= 0), -- what is left of it, in minor units
    price_asset TEXT,             -- NULL: for nothing
    price_kind  TEXT,
    price_decimals INTEGER,
    price       INTEGER CHECK (price > 0), -- for one (10^decimals minor units) of the asset
    text        TEXT,
    search      TEXT,             -- what a search looks through, case folded
    member      INTEGER REFERENCES member (id), -- who listed it here; NULL for a neighbour's
    listed_ms   INTEGER,          -- when it was first seen here
    changed_ms  INTEGER NOT NULL, -- when it last changed here, or was taken back
    PRIMARY KEY (village, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX listing_version ON listing (village, version);
CREATE INDEX listing_newest ON listing (listed_ms) WHERE side IS NOT NULL;
CREATE INDEX listing_newest_of ON listing (village, listed_ms) WHERE side IS NOT NULL;
CREATE INDEX listing_changed ON listing (changed_ms);
CREATE INDEX listing_member ON listing (member) WHERE member IS NOT NULL;

ALTER TABLE neighbour ADD COLUMN listings_have INTEGER NOT NULL DEFAULT 0; -- version of its listings kept here
ALTER TABLE neighbour ADD COLUMN knows_listings INTEGER NOT NULL DEFAULT 0; -- version of ours that it says it keeps

CREATE INDEX trade_changed ON trade (member, changed_ms);
ALTER TABLE trade ADD COLUMN listing TEXT NOT NULL DEFAULT ''; -- the acceptor's listing that it answers
CREATE INDEX trade_dead ON trade (neighbour, changed_ms)
    WHERE closed = 1 AND role = 'to' AND status IN ('CANCELLED', 'EXPIRED', 'REJECTED');

-- Trades between two members of this village: one sealed record settles both sides.
CREATE TABLE deal (
    id             TEXT PRIMARY KEY, -- 16 hex digits
    from_member    INTEGER NOT NULL REFERENCES member (id),
    to_member      INTEGER NOT NULL REFERENCES member (id),
    status         TEXT NOT NULL CHECK (status IN ('PENDING', 'SETTLED', 'REJECTED', 'CANCELLED', 'EXPIRED')),
    offer_asset    TEXT NOT NULL,
    offer          INTEGER NOT NULL CHECK (offer >= 0), -- set aside while PENDING
    request_asset  TEXT NOT NULL,
    request        INTEGER NOT NULL CHECK (request >= 0),
    listing        TEXT NOT NULL DEFAULT '',
    deadline_minute INTEGER NOT NULL,
    record         INTEGER, -- index of the sealed record that settled it
    created_ms     INTEGER NOT NULL,
    changed_ms     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX deal_from ON deal (from_member, changed_ms);
CREATE INDEX deal_to ON deal (to_member, changed_ms);
CREATE INDEX deal_record ON deal (record) WHERE record IS NOT NULL;
CREATE INDEX deal_pending ON deal (deadline_minute) WHERE status = 'PENDING';

-- What the records have posted to members and the treasury, for their histories. Rows are added at
-- the table's end: an account's are linked, each with the one before it, from the newest on.
CREATE TABLE movement (
    idx       INTEGER NOT NULL, -- of the own record that posted it
    account   TEXT NOT NULL,
    asset     TEXT NOT NULL,
    amount    INTEGER NOT NULL, -- above zero: came in
    balance   INTEGER NOT NULL, -- with it
    previous  INTEGER,          -- idx of the movement before, of this account and asset
    operation TEXT NOT NULL,    -- of the sealed posting; a settled hold's is 'trade'
    stamp_ms  INTEGER NOT NULL, -- the posting's; of a settled hold, the beginning of its end's minute
    PRIMARY KEY (idx, account, asset)
) STRICT, WITHOUT ROWID;

ALTER TABLE balance ADD COLUMN newest INTEGER; -- idx of its newest movement; NULL: none

INSERT INTO movement (idx, account, asset, amount, balance, previous, operation, stamp_ms)
WITH private (idx, posting) AS (SELECT idx, CAST(posting AS TEXT) FROM sealed),
posted (idx, operation, stamp_ms, posting) AS (
    SELECT idx, json_extract(posting, '$.operation'), json_extract(posting, '$.stamp_ms'), posting
    FROM private
    WHERE json_extract(posting, '$.operation') <> 'trade' -- a hold's, which is not posted by itself
    UNION ALL
    SELECT ended.idx, 'trade', json_extract(CAST(entry.record AS TEXT), '$.minute') * 60000, posting
    FROM statement AS ended
    JOIN entry ON entry.position = ended.idx -- the own log is log 0
    JOIN statement AS held ON held.subject = ended.subject AND held.log = 0 AND held.kind = 'hold'
    JOIN private ON private.idx = held.idx
    WHERE ended.log = 0 AND ended.kind = 'settle'
),
moved (idx, account, asset, amount, operation, stamp_ms) AS (
    SELECT posted.idx, json_extract(leg.value, '$[0]'), json_extract(leg.value, '$[1]'),
        sum(json_extract(leg.value, '$[2]')), operation, stamp_ms
    FROM posted, json_each(posting, '$.entries') AS leg
    GROUP BY 1, 2, 3
)
SELECT idx, account, asset, amount, sum(amount) OVER history, lag(idx) OVER history, operation,
    stamp_ms
FROM moved
WHERE account = 'treasury' OR account GLOB 'member:*'
WINDOW history AS (PARTITION BY account, asset ORDER BY idx);

UPDATE balance SET newest = last.idx
FROM (SELECT account, asset, max(idx) AS idx FROM movement GROUP BY account, asset) AS last
WHERE balance.account = last.account AND balance.asset = last.asset;

ALTER TABLE member ADD COLUMN steward INTEGER NOT NULL DEFAULT 0 CHECK (steward IN (0, 1));

-- What a member's own programs show in place of a PIN; kept as hashes.
CREATE TABLE api_token (
    id           INTEGER PRIMARY KEY,
    member       INTEGER NOT NULL REFERENCES member (id),
    digest       BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    name         TEXT NOT NULL,
    scopes       TEXT NOT NULL, -- of read, trade, steward, with a space between
    created_ms   INTEGER NOT NULL,
    used_ms      INTEGER NOT NULL DEFAULT 0 -- last use, to the hour
) STRICT;

CREATE INDEX api_token_member ON api_token (member);

-- Sessions of the pages that were ended before their time: their cookies are worth nothing.
CREATE TABLE ended_session (
    id      TEXT PRIMARY KEY,
    member  INTEGER NOT NULL REFERENCES member (id),
    ends_ms INTEGER NOT NULL -- when the cookie would have ended by itself
) STRICT, WITHOUT ROWID;

CREATE INDEX ended_session_member ON ended_session (member);

-- How many bytes of a neighbour's records count against its allowance, and when that was; they
-- count for less as time passes.
ALTER TABLE neighbour ADD COLUMN taken_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE neighbour ADD COLUMN taken_ms INTEGER NOT NULL DEFAULT 0;

-- When a request was answered, of those before now: at the ledger's last change. Answers are forgotten
-- after a while.
ALTER TABLE request ADD COLUMN stamp_ms INTEGER NOT NULL DEFAULT 0;
UPDATE request SET stamp_ms = max(
    coalesce((SELECT max(stamp_ms) FROM movement), 0),
    coalesce((SELECT max(changed_ms) FROM trade), 0)
);
CREATE INDEX request_stamp ON request (stamp_ms);
CREATE INDEX request_scope ON request (scope, stamp_ms);
