-- Proof that a village has broken the rules of councils: found here or brought by a neighbour, kept
-- once for each subject and village, numbered in the order in which neighbours are told of it.
DROP TABLE misbehaviour;

CREATE TABLE misbehaviour (
    number     INTEGER PRIMARY KEY,
    subject    BLOB NOT NULL CHECK (length(subject) = 32),
    village    TEXT NOT NULL,
    public_key BLOB NOT NULL CHECK (length(public_key) = 32), -- the one that has signed it
    what       TEXT NOT NULL, -- see core/misbehaviour.What
    proof      BLOB NOT NULL, -- as it is passed on
    source     TEXT NOT NULL, -- the neighbour that brought it; empty: found here
    announced  INTEGER NOT NULL DEFAULT 0 CHECK (announced IN (0, 1)), -- in the box's messages
    kept_ms    INTEGER NOT NULL,
    UNIQUE (subject, village)
) STRICT;

CREATE INDEX misbehaviour_of ON misbehaviour (village);
CREATE INDEX misbehaviour_new ON misbehaviour (number) WHERE announced = 0;

ALTER TABLE neighbour ADD COLUMN proofs_have INTEGER NOT NULL DEFAULT 0; -- number of its last proof heard here
ALTER TABLE neighbour ADD COLUMN knows_proofs INTEGER NOT NULL DEFAULT 0; -- number of ours that it says it has heard
ALTER TABLE neighbour ADD COLUMN examined INTEGER NOT NULL DEFAULT 0; -- how much of its log was looked through for misbehaviour
ALTER TABLE neighbour ADD COLUMN passed_over INTEGER NOT NULL DEFAULT 0; -- bad words since the last of which the box's messages told
ALTER TABLE neighbour ADD COLUMN passed_over_ms INTEGER NOT NULL DEFAULT 0; -- when that was

-- How many seats the councils of a charter have at most that an invitation leads to.
ALTER TABLE invitation ADD COLUMN council_seats INTEGER NOT NULL DEFAULT 4;
