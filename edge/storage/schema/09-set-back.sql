-- A box that was set back, to a backup or by its disk, takes back what its village has said since.

-- Records of the own log as a neighbour has given them back: not checked, and not in the log yet.
CREATE TABLE returned (
    idx    INTEGER PRIMARY KEY,
    record BLOB NOT NULL CHECK (length(record) <= 60000)
) STRICT;

-- Own records that came back without their private rows, which no neighbour has.
CREATE TABLE lost (
    idx     INTEGER PRIMARY KEY,
    account TEXT NOT NULL -- of a hold: whom it is booked to; else empty
) STRICT;

-- Trades of two villages on which this one may have voted before: it votes again once the other has
-- returned its votes.
CREATE TABLE unsure (
    subject BLOB PRIMARY KEY CHECK (length(subject) = 32)
) STRICT, WITHOUT ROWID;

ALTER TABLE neighbour ADD COLUMN asked INTEGER NOT NULL DEFAULT 0 CHECK (asked IN (0, 1)); -- for the own log, since it was set back
