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
    PRIMARY KEY (village, id)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX listing_version ON listing (village, version);
CREATE INDEX listing_newest ON listing (listed_ms) WHERE side IS NOT NULL;
CREATE INDEX listing_member ON listing (member) WHERE member IS NOT NULL;

ALTER TABLE neighbour ADD COLUMN listings_have INTEGER NOT NULL DEFAULT 0; -- version of its listings kept here
ALTER TABLE neighbour ADD COLUMN knows_listings INTEGER NOT NULL DEFAULT 0; -- version of ours that it says it keeps

ALTER TABLE trade ADD COLUMN listing TEXT NOT NULL DEFAULT ''; -- the acceptor's listing that it answers

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
CREATE INDEX deal_pending ON deal (deadline_minute) WHERE status = 'PENDING';

-- What the records have posted to members and the treasury, by account, for their histories.
CREATE TABLE movement (
    account  TEXT NOT NULL,
    idx      INTEGER NOT NULL, -- of the own record that posted it
    asset    TEXT NOT NULL,
    amount   INTEGER NOT NULL, -- above zero: came in
    stamp_ms INTEGER NOT NULL,
    PRIMARY KEY (account, idx, asset)
) STRICT, WITHOUT ROWID;

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
